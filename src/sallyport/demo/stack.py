"""Everything the demo runs, built in ``directory`` and torn down in order: PostgreSQL, an issuer,
the gateway.

The data survives in the directory, so a second start takes seconds; ``demo.json`` (mode 0600) keeps
the passwords and where to fetch tokens. One demo at a time per directory.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import socket
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from importlib import resources
from pathlib import Path
from string import Template
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from sallyport.core.errors import SallyportError
from sallyport.demo import shop
from sallyport.demo.account import account, reachable_dir
from sallyport.demo.issuer import DevIssuer
from sallyport.demo.postgres import Cluster, bundled, free_port
from sallyport.demo.process import ProcessError, Program
from sallyport.demo.signin import CONSOLE_CLIENT

GATEWAY_PORT = 6432
CONSOLE_PORT = 8642
STATE = "demo.json"
_PORT_ATTEMPTS = 5
#: A loaded machine is no failure; one that ends is noticed at once.
_START_SECONDS = 120.0


class DemoError(SallyportError):
    """The demo cannot run; the text says why and what to do."""


@dataclass
class State:
    """What demo.json holds. ``shop``: fingerprint of the data that was loaded, "" while there is
    none. ``console``: its port, kept.
    """

    superuser_password: str = field(default_factory=lambda: secrets.token_hex(16), repr=False)
    agent_password: str = field(default_factory=lambda: secrets.token_hex(16), repr=False)
    admin_password: str = field(default_factory=lambda: secrets.token_hex(16), repr=False)
    shop: str = ""
    issuer: str = ""
    console: int = 0

    @classmethod
    def load(cls, file: Path) -> State:
        """The state in ``file``; a new one when there is none or it cannot be read."""
        try:
            return cls(**json.loads(file.read_text()))
        except (OSError, ValueError, TypeError):
            return cls()

    def save(self, file: Path) -> None:
        write_private(file, json.dumps(asdict(self), indent=2))


def write_private(file: Path, text: str) -> None:
    """Write a file that only its owner can read."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as handle:
        handle.write(text)


class DemoStack:
    """``with House(directory, say) as house:`` and it stands. ``say`` is told what happens, line by
    line.
    """

    def __init__(self, directory: Path, say: Callable[[str], None]) -> None:
        self.directory = directory.resolve()
        self.config = self.directory / "sallyport.yaml"
        self._say = say
        self._stack = ExitStack()
        self._state_file = self.directory / STATE

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.directory.mkdir(parents=True, exist_ok=True)
            self._lock(stack)
            self.state = State.load(self._state_file)
            self.database = self._start_database(stack)
            shop.add_administrator(self.database, bundled(), self.state.admin_password)
            self.issuer = stack.enter_context(DevIssuer(port=self._issuer_port()))
            self.state.issuer = self.issuer.url
            self.state.save(self._state_file)
            self._start_gateway(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def _lock(self, stack: ExitStack) -> None:
        handle = stack.enter_context((self.directory / "lock").open("w"))
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DemoError(
                f"Another demo runs in {self.directory}.\n"
                "End that one (Ctrl-C), or choose another --directory."
            ) from None

    def _start_database(self, stack: ExitStack) -> Cluster:
        home = reachable_dir(self.directory, account())
        cluster = Cluster(
            bundled(), home / "postgres", self.state.superuser_password, {"timezone": "UTC"}
        )
        fresh = self.state.shop != shop.fingerprint() or not cluster.initialised
        if fresh:
            self._say("Making a PostgreSQL 18 database with a small shop in it")
            shutil.rmtree(cluster.data, ignore_errors=True)
            self.state.shop = ""
            self.state.save(self._state_file)
        else:
            self._say("Starting PostgreSQL 18 with the shop made earlier")
        stack.callback(cluster.stop)
        cluster.start()
        if fresh:
            shop.load(cluster, bundled(), self.state.agent_password)
            self.state.shop = shop.fingerprint()
            self.state.save(self._state_file)
        return cluster

    def _start_gateway(self, stack: ExitStack) -> None:
        self._say("Starting the gateway")
        for attempt in range(_PORT_ATTEMPTS):
            self._choose_ports()
            self._write_configuration()
            log = self.directory / "gateway.log"
            log.unlink(missing_ok=True)
            self.gateway = Program(self.command("serve"), log)
            stack.callback(self._stop_gateway, self.gateway)
            try:
                listens = f"sallyport listens on 127.0.0.1:{self.port}"
                self.gateway.wait_saying(listens, _START_SECONDS)
            except ProcessError as problem:
                # Whoever else looked for a port at the same moment (another demo, for one) may have
                # been quicker.
                if attempt + 1 == _PORT_ATTEMPTS or "cannot listen on" not in self.gateway.output:
                    raise DemoError(f"The gateway did not start. {problem}") from None
            else:
                break
        if self.port != GATEWAY_PORT:
            self._say(f"Port {GATEWAY_PORT} is taken: the gateway listens on {self.port}")

    def _choose_ports(self) -> None:
        """The usual ones where they are free; the console's is that of last time, so that a browser
        finds it again.
        """
        self.port = GATEWAY_PORT if _is_free(GATEWAY_PORT) else free_port()
        candidates = (self.state.console, CONSOLE_PORT)
        self.state.console = (
            next((port for port in candidates if port and _is_free(port)), 0) or free_port()
        )
        self.state.save(self._state_file)

    def _issuer_port(self) -> int:
        """That of last time, where it is free: subjects stay the same people to the gateway, whose
        records and baselines know them by issuer.
        """
        last = urlsplit(self.state.issuer).port or 0
        return last if last and _is_free(last) else 0

    @property
    def console_url(self) -> str:
        """Where the console is."""
        return f"http://127.0.0.1:{self.state.console}"

    def _stop_gateway(self, gateway: Program) -> None:
        try:
            gateway.stop()
        except ProcessError as problem:  # it is dead now; the rest must still be torn down
            self._say(f"The gateway had to be killed. {problem}")

    def _write_configuration(self) -> None:
        write_private(self.directory / "agent-password", self.state.agent_password)
        write_private(self.directory / "admin-password", self.state.admin_password)
        values = {
            "listen": f"127.0.0.1:{self.port}",
            "console": f"127.0.0.1:{self.state.console}",
            "console_client": CONSOLE_CLIENT,
            "issuer": self.issuer.url,
            "database_port": self.database.port,
        }
        self.config.write_text(Template(_template("sallyport.yaml")).substitute(values))
        (self.directory / "policy.yaml").write_text(_template("policy.yaml"))

    def command(self, *words: str) -> list[str]:
        """A ``sallyport`` command with the demo's configuration, for subprocess."""
        return [sys.executable, "-m", "sallyport", *words, "--config", str(self.config)]


def _template(name: str) -> str:
    return resources.files("sallyport.demo").joinpath(name).read_text(encoding="utf-8")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
