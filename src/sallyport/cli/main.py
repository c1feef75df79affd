"""The ``sallyport`` program: finds its commands, runs one, turns errors into one clear line.

Each command module defines ``register(app: typer.Typer) -> None``. Importing one is light; what is
heavy is imported when a command runs. Exit status: 0 when done, 1 when the answer is no (a failed
check), 2 for wrong usage, configuration or policy, 130 after Ctrl-C.
"""

from __future__ import annotations

import importlib
import importlib.util
import signal
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import sallyport
from sallyport.core.errors import SallyportError

if TYPE_CHECKING:
    import typer

#: In the order of ``sallyport --help``. A module that is not there yet is left out.
COMMANDS = (
    "serve",
    "demo",
    "policy",
    "grants",
    "doctor",
    "sessions",
    "approvals",
    "lock",
    "store",
    "backup",
    "findings",
    "contain",
    "identity",
    "connect",
    "passfile",
    "issuer",
    "mcp",
)


def build(modules: Sequence[str] = COMMANDS) -> typer.Typer:
    """The program with the commands of these modules, as far as they exist."""
    import typer

    def show_version(asked: bool) -> None:
        if asked:
            typer.echo(f"sallyport {getattr(sallyport, '__version__', '') or installed_version()}")
            raise typer.Exit

    def options(
        version: bool = typer.Option(
            False, "--version", callback=show_version, is_eager=True, help="Show the version."
        ),
    ) -> None:
        """Options of the program itself."""

    app = typer.Typer(
        name="sallyport",
        help="A PostgreSQL gateway for AI agents: identity, policy, masking, approvals and "
        "recordings. Start with: sallyport demo",
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )
    app.callback()(options)
    for name in modules:
        module = f"sallyport.cli.{name}"
        if importlib.util.find_spec(module) is not None:
            importlib.import_module(module).register(app)
    return app


def installed_version() -> str:
    """Of the distribution; "(not installed)" when there is none."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("sallyport")
    except PackageNotFoundError:
        return "(not installed)"


def _outlive_hangups() -> None:
    """Survive SIGHUP from here on, long before the gateway can act on it.

    A handler, not SIG_IGN: programs that the gateway starts must not inherit that. Nothing is
    lost: the policy file is compared once the gateway runs.
    """
    signal.signal(signal.SIGHUP, lambda number, frame: None)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the program. Errors made for people end in one line on standard error and exit
    status 2.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] == ["serve"]:
        _outlive_hangups()
    try:
        import typer  # after the signal is handled: importing it takes a while

        # One command needs neither the other modules nor typer's look at their parameters.
        build(words[:1] if words and words[0] in COMMANDS else COMMANDS)(args=words)
    except SallyportError as error:
        from sallyport.audit.display import inert

        # It may quote what it was given.
        typer.echo(f"sallyport: {inert(str(error), newlines=True)}", err=True)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
