"""The program itself: version, help, and errors that are one line."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest
from typer.testing import CliRunner

import sallyport
from sallyport.cli.main import COMMANDS, build, main


def test_version() -> None:
    result = CliRunner().invoke(build(), ["--version"])
    assert (result.exit_code, result.output) == (0, f"sallyport {sallyport.__version__}\n")


def test_every_command_module_that_exists_is_there() -> None:
    modules = [name for name in COMMANDS if importlib.util.find_spec(f"sallyport.cli.{name}")]
    assert "policy" in modules
    app = build()
    assert len(app.registered_commands) + len(app.registered_groups) >= len(modules)


def test_unknown_commands_are_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["polcy"])
    assert caught.value.code == 2
    assert "No such command 'polcy'" in capsys.readouterr().err


def test_errors_for_people_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["policy", "check", "/no/such/file.yaml"])
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith(
        "sallyport: /no/such/file.yaml: there is no such file. "
    )


def test_help_does_not_import_what_is_heavy() -> None:
    heavy = ["sqlalchemy", "cel", "httpx2", "uvloop", "asyncpg", "cryptography"]
    program = (
        "import sys; from sallyport.cli.main import build; build(); "
        f"print([m for m in {heavy!r} if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
