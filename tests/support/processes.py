"""Start a program, know when it is ready, read what it said, and always end it."""

from __future__ import annotations

import atexit
import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from sallyport.demo.postgres import die_with_parent


class Program:
    """A child process whose output goes to ``log``. It ends with this process at the latest."""

    def __init__(self, command: Sequence[str], log: Path, env: Mapping[str, str] | None = None) -> None:
        self.log = log
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(env or {})},
                start_new_session=True,
                preexec_fn=die_with_parent(signal.SIGTERM),
            )
        atexit.register(self.kill)

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace")

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def wait_listening(self, port: int, seconds: float = 30.0) -> None:
        """Return when something accepts connections on the port; RuntimeError with the output if that never
        comes.
        """
        deadline = time.monotonic() + seconds
        while self.alive and time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
            except OSError:
                time.sleep(0.02)
            else:
                return
        state = "still runs" if self.alive else f"ended with status {self.process.returncode}"
        raise RuntimeError(f"nothing listens on port {port}; the program {state}. Its output:\n{self.output}")

    def stop(self, seconds: float = 15.0) -> int:
        """SIGTERM and wait; returns the exit status. RuntimeError when it has to be killed."""
        atexit.unregister(self.kill)
        if self.alive:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise RuntimeError(
                f"did not end within {seconds} s of SIGTERM. Its output:\n{self.output}"
            ) from None

    def kill(self) -> None:
        """SIGKILL to the program and whatever it started."""
        atexit.unregister(self.kill)
        for process in [*self._family(), self.process]:
            try:
                process.kill()
            except (psutil.NoSuchProcess, ProcessLookupError):
                continue
        self.process.wait(10)

    def rss(self) -> int:
        """Resident memory in bytes, of the program and its children."""
        return sum(
            process.memory_info().rss for process in [psutil.Process(self.process.pid), *self._family()]
        )

    def _family(self) -> list[psutil.Process]:
        try:
            return psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []
