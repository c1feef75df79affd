"""The program itself: version, help, and errors that are one line."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest
import typer
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


def test_each_command_is_in_the_module_that_its_name_loads() -> None:
    """A module that is named like a command of another would hide it."""
    for name in _top_level(build()) & set(COMMANDS):
        assert name in _top_level(build([name])), name


def _top_level(app: typer.Typer) -> set[str]:
    return set(typer.main.get_group(app).commands)


def test_a_command_does_not_import_the_others() -> None:
    program = (
        "import sys; from sallyport.cli.main import main\n"
        "try: main(['policy', 'check', '/no/such/file.yaml'])\n"
        "finally: print([m for m in sys.modules if m.startswith('sallyport.cli.') and m[14:] in"
        f" {COMMANDS!r}])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (2, "['sallyport.cli.policy']")


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
