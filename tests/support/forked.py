"""Gateways and commands forked from an interpreter that has imported them already: two thirds of
the processor time of a start are imports, and the suite starts hundreds.

What runs is what ``sallyport`` runs, with the arguments, environment and log that it is given.
Where a test is about the start itself, it uses :class:`~tests.support.processes.Program`.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any

from tests.support.processes import Program

#: What makes another interpreter or library of one, and so needs an exec.
_OF_THE_INTERPRETER = ("PYTHON", "LD_", "ASAN_", "UBSAN_", "LC_", "LANG")
#: A loaded machine is no failure.
_SECONDS = 120.0
SALLYPORT = str(Path(sys.executable).with_name("sallyport"))


class ForkServer:
    """One process of :mod:`tests.support.fork_server`; it ends with this one."""

    def __init__(self) -> None:
        self.environment = of_the_interpreter(os.environ)
        self._lock = Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(Path(__file__).with_name("fork_server.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        atexit.register(self._stop)

    def ask(self, **request: Any) -> dict[str, int]:
        """RuntimeError when it has ended."""
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise RuntimeError("the fork server has no pipes")
        with self._lock:
            stdin.write(json.dumps(request).encode() + b"\n")
            stdin.flush()
            line = stdout.readline()
        if not line:
            raise RuntimeError(f"the fork server ended with status {self._process.wait()}")
        answer: dict[str, int] = json.loads(line)
        return answer

    def _stop(self) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait(10)


class ForkedProcess:
    """What :class:`subprocess.Popen` is to a Program, of a child of the fork server."""

    def __init__(self, server: ForkServer, pid: int) -> None:
        self.pid, self.returncode = pid, None
        self._server = server
        self._handle = os.pidfd_open(pid)

    returncode: int | None

    def poll(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""
        return self.returncode if self._ended(0) else None

    def wait(self, timeout: float | None = None) -> int:
        """Raises subprocess.TimeoutExpired."""
        if not self._ended(timeout) or self.returncode is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Unless it has ended."""
        if self.poll() is None:
            signal.pidfd_send_signal(self._handle, number)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def _ended(self, timeout: float | None) -> bool:
        if self.returncode is not None:
            return True
        poll = select.poll()
        poll.register(self._handle, select.POLLIN)
        if not poll.poll(None if timeout is None else timeout * 1000):
            return False
        self.returncode = self._server.ask(wait=self.pid)["status"]
        os.close(self._handle)
        return True


class ForkedProgram(Program):
    """A :class:`Program` of the fork server."""

    def _start(self, command: Sequence[str], env: Mapping[str, str]) -> Any:
        return _fork(command, env, self.log, self.log)


def _fork(command: Sequence[str], env: Mapping[str, str], log: Path, errors: Path) -> ForkedProcess:
    server = fork_server()
    answer = server.ask(
        argv=list(command), env=dict(env), cwd=str(Path.cwd()), log=str(log), errors=str(errors)
    )
    return ForkedProcess(server, answer["pid"])


@cache
def fork_server() -> ForkServer:
    """This process's one."""
    return ForkServer()


def of_the_interpreter(env: Mapping[str, str]) -> dict[str, str]:
    """What an interpreter reads of its environment when it starts."""
    return {name: value for name, value in env.items() if name.startswith(_OF_THE_INTERPRETER)}


def _may_be_forked(command: Sequence[str], env: Mapping[str, str]) -> bool:
    """Whether that is the same as a new process."""
    is_ours = command[0] == SALLYPORT and sys.platform == "linux"
    return is_ours and of_the_interpreter(env) == fork_server().environment


def start(command: Sequence[str], log: Path, env: Mapping[str, str]) -> Program:
    """A program; env is added to the environment."""
    if _may_be_forked(command, {**os.environ, **env}):
        return ForkedProgram(command, log, env)
    return Program(command, log, env)


def run(
    command: Sequence[str], env: Mapping[str, str], base: Mapping[str, str] = os.environ
) -> subprocess.CompletedProcess[str]:
    """As :func:`subprocess.run` does, with both outputs; env is added to ``base``. Raises
    subprocess.TimeoutExpired.
    """
    environment = {**base, **env}
    if not _may_be_forked(command, environment):
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    with tempfile.TemporaryDirectory() as name:
        output, errors = Path(name, "output"), Path(name, "errors")
        process = _fork(command, environment, output, errors)
        try:
            status = process.wait(_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
        return subprocess.CompletedProcess(
            list(command), status, output.read_text(), errors.read_text()
        )
