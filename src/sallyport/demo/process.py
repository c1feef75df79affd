"""A child process with a log: started, awaited, always ended. For the demo's gateway, and for
tests.
"""

from __future__ import annotations

import atexit
import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from sallyport.core.errors import SallyportError
from sallyport.demo.endings import ending, last_words
from sallyport.demo.postgres import die_with_parent


class ProcessError(SallyportError):
    """A child process failed; the text ends with what it said."""


class Program:
    """Runs ``command`` in a session of its own (Ctrl-C does not reach it) with its output appended
    to ``log``.

    It ends with this process at the latest. env is added to the environment.
    """

    def __init__(
        self, command: Sequence[str], log: Path, env: Mapping[str, str] | None = None
    ) -> None:
        self.log = log
        self._log_start = log.stat().st_size if log.exists() else 0
        self.process = self._start(command, {**os.environ, **(env or {})})
        atexit.register(self.kill)

    def _start(self, command: Sequence[str], env: Mapping[str, str]) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as output:
            return subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=env,
                start_new_session=True,
                preexec_fn=die_with_parent(signal.SIGTERM),
            )

    @property
    def output(self) -> str:
        """What it has said so far."""
        with self.log.open("rb") as log:
            log.seek(self._log_start)
            return log.read().decode(errors="replace")

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def wait_listening(self, port: int, seconds: float = 30.0) -> None:
        """Return once something accepts connections on 127.0.0.1, ``port``; ProcessError when that
        never comes.
        """
        deadline = time.monotonic() + seconds
        while self.alive and time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
            except OSError:
                time.sleep(0.02)
            else:
                return
        raise ProcessError(f"Nothing listens on port {port}; {self._end()}")

    def wait_saying(self, text: str, seconds: float = 30.0) -> None:
        """Return once it has said ``text``; ProcessError when that never comes. Unlike a port that
        answers, only this program can have said it.
        """
        deadline = time.monotonic() + seconds
        while text not in self.output:
            if not self.alive or time.monotonic() > deadline:
                raise ProcessError(f"It did not get ready; {self._end()}")
            time.sleep(0.02)

    def stop(self, seconds: float = 15.0) -> int:
        """SIGTERM, then wait; returns the exit status. ProcessError when it had to be killed."""
        atexit.unregister(self.kill)
        if self.alive:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise ProcessError(f"It did not end within {seconds:.0f} s; {self._end()}") from None

    def kill(self) -> None:
        """SIGKILL, for it and whatever it started and left in its process group."""
        atexit.unregister(self.kill)
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait(10)

    def _end(self) -> str:
        how = ending(self.process.poll())
        return (
            f"the program {how}. The end of its log, {self.log}:\n{last_words(self.output[-4000:])}"
        )
