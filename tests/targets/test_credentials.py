"""Secrets by reference: what is fetched, and that no error tells the value."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path

import psutil
import pytest
from structlog.testing import capture_logs

from sallyport.core.errors import ConfigError
from sallyport.targets import credentials
from sallyport.targets.credentials import CredentialError, Reference, reference_from, resolve

CANARY = "canary-5f2e"


def fetch(reference: dict[str, object]) -> str:
    return asyncio.run(resolve(reference)).reveal()


def refused(reference: dict[str, object]) -> str:
    with pytest.raises(CredentialError) as caught:
        fetch(reference)
    seen: BaseException | None = caught.value
    while seen is not None:  # the whole chain, as a log would show it
        assert CANARY not in f"{seen} {seen!r}"
        seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)
    return str(caught.value)


def command(script: str, *arguments: str) -> dict[str, object]:
    return {"command": [sys.executable, "-c", script, *arguments]}


def secret_file(folder: Path, content: bytes, mode: int = 0o600) -> dict[str, object]:
    path = folder / "password"
    path.write_bytes(content)
    path.chmod(mode)
    return {"file": str(path)}


def test_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_PASSWORD", " pässword \n")
    assert fetch({"env": "SHOP_PASSWORD"}) == " pässword \n"
    monkeypatch.delenv("SHOP_PASSWORD")
    assert (
        refused({"env": "SHOP_PASSWORD"})
        == "{env: SHOP_PASSWORD}: the environment variable is not set"
    )
    monkeypatch.setenv("SHOP_PASSWORD", "")
    assert "empty" in refused({"env": "SHOP_PASSWORD"})


@pytest.mark.parametrize(
    ("content", "secret"),
    [(b"s", "s"), (b"s\n", "s"), (b"s\r\n", "s"), (b"s\n\n", "s\n"), (b" s ", " s ")],
)
def test_a_file_loses_one_newline(tmp_path: Path, content: bytes, secret: str) -> None:
    assert fetch(secret_file(tmp_path, content)) == secret


def test_a_file_that_its_group_can_read_is_warned_about(tmp_path: Path) -> None:
    with capture_logs() as logs:
        fetch(secret_file(tmp_path, CANARY.encode()))
    assert logs == []
    with capture_logs() as logs:
        assert fetch(secret_file(tmp_path, CANARY.encode(), 0o640)) == CANARY
    assert [log["log_level"] for log in logs] == ["warning"]
    assert CANARY not in str(logs)


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o602])
def test_a_file_in_everybodys_hands_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "everybody"
    path.write_bytes(CANARY.encode())
    path.chmod(mode)
    assert "every user of this machine" in refused({"file": str(path)})


def test_bad_files(tmp_path: Path) -> None:
    canary = CANARY.encode()
    assert "No such file" in refused({"file": str(tmp_path / "none")})
    assert "not a regular file" in refused({"file": str(tmp_path)})
    os.mkfifo(tmp_path / "pipe")
    assert "not a regular file" in refused({"file": str(tmp_path / "pipe")})
    assert "not UTF-8" in refused(secret_file(tmp_path, canary + b"\xff"))
    assert "NUL" in refused(secret_file(tmp_path, canary + b"\0"))
    assert "longer than" in refused(secret_file(tmp_path, canary * 10_000))
    assert "empty" in refused(secret_file(tmp_path, b"\n"))


def test_command() -> None:
    assert (
        fetch(command("print('from ' + __import__('sys').argv[1])", "$HOME; `id`"))
        == "from $HOME; `id`"
    )


def test_failing_commands() -> None:
    told = refused(
        command(f"import sys; print('{CANARY}'); print('{CANARY}', file=sys.stderr); sys.exit(3)")
    )
    assert "ended with status 3" in told
    assert "-c" not in told
    assert "No such file" in refused({"command": ["/nonexistent/program", CANARY]})
    assert "printed more than" in refused(command(f"print('{CANARY}' * 100000)"))
    assert "empty" in refused(command("pass"))


def test_a_slow_command_is_killed_with_its_children(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(credentials, "COMMAND_TIMEOUT", 1.0)
    pids = tmp_path / "pids"
    script = (
        "import os, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "open(sys.argv[1], 'w').write(f'{os.getpid()} {child.pid}')\n"
        "time.sleep(60)\n"
    )
    assert "took longer than 1 seconds" in refused(command(script, str(pids)))
    deadline = time.monotonic() + 5
    running = [int(pid) for pid in pids.read_text().split()]
    assert len(running) == 2
    while any(
        psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie" for pid in running
    ):
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize(
    "value",
    [
        CANARY,
        {},
        {"env": "A", "file": "b"},
        {"vault": "x"},
        {"env": ""},
        {"env": 5},
        {"file": "a\0b"},
        {"command": "echo hi"},
        {"command": []},
        {"command": [""]},
        {"command": ["a", 5]},
        None,
        7,
    ],
)
def test_bad_references(value: object) -> None:
    with pytest.raises(ConfigError, match=r"^target shop: password") as caught:
        reference_from(value, "target shop: password")
    assert CANARY not in str(caught.value)


def test_relative_files_start_at_the_configuration() -> None:
    assert reference_from({"file": "pw"}, "x", Path("/etc/sallyport")) == Reference(
        "file", "/etc/sallyport/pw"
    )
    assert reference_from({"file": "/run/pw"}, "x", Path("/etc")) == Reference("file", "/run/pw")
