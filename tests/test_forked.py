"""A forked gateway is like a new process of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.forked import SALLYPORT, ForkedProcess, run, start
from tests.support.gateway import Gateway
from tests.support.places import ROOT


def test_its_status_and_log_are_its_own(tmp_path: Path) -> None:
    absent = tmp_path / "absent.yaml"
    program = start([SALLYPORT, "serve", "--config", str(absent)], tmp_path / "log", {})
    assert isinstance(program.process, ForkedProcess)
    assert program.process.wait(100) == 2
    assert str(absent) in program.output
    assert not program.alive


def test_a_running_one_has_its_session_and_signal_handlers(gateway: Gateway) -> None:
    assert os.getsid(gateway.pid) == gateway.pid
    status = Path(f"/proc/{gateway.pid}/status").read_text()
    caught = int(next(line.split()[1] for line in status.splitlines() if "SigCgt" in line), 16)
    assert caught >> (signal.SIGHUP - 1) & 1
    assert caught >> (signal.SIGTERM - 1) & 1


def test_one_that_is_killed_says_so(tmp_path: Path, gateway: Gateway) -> None:
    file = tmp_path / "sallyport.yaml"
    file.write_text(gateway.config_file.read_text().replace(str(gateway.home / "var"), "var"))
    program = start([SALLYPORT, "serve", "--config", str(file)], tmp_path / "log", {})
    os.kill(program.process.pid, signal.SIGKILL)
    assert program.process.wait(100) == -signal.SIGKILL


@pytest.mark.parametrize(
    ("command", "name"),
    [([SALLYPORT, "--version"], "PYTHONOPTIMIZE"), (["/bin/true"], "ANYTHING")],
)
def test_what_is_another_program_or_interpreter_is_a_new_process(
    tmp_path: Path, command: list[str], name: str
) -> None:
    program = start(command, tmp_path / "log", {name: "1"})
    assert not isinstance(program.process, ForkedProcess)
    assert program.process.wait(100) == 0


def test_a_command_has_outputs_and_a_directory_of_its_own(
    gateway: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run([SALLYPORT, "policy", "check", "absent.yaml"], {})
    assert (done.returncode, done.stdout) == (2, "")
    assert "absent.yaml" in done.stderr
    (tmp_path / "present.yaml").write_text(gateway.policy)
    assert run([SALLYPORT, "policy", "check", "present.yaml"], {}).returncode == 0


def test_one_ends_after_its_threads_exit_handlers_and_output() -> None:
    code = """
import atexit, sys, threading, time
from tests.support import fork_server

def main():
    atexit.register(print, "handler", end="")
    threading.Thread(target=lambda: (time.sleep(0.2), print("thread", end=" "))).start()
    sys.exit(3)

fork_server.main = main
fork_server._run()
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (3, "thread handler", "")
