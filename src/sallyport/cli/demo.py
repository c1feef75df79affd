"""``sallyport demo``: see what Sallyport does, in a minute, on this machine. The work is in
:mod:`sallyport.demo`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command(epilog="Example: sallyport demo --once")(demo)


def demo(
    once: Annotated[
        bool, typer.Option("--once", help="Run the tour and exit; exit status 1 if a step failed.")
    ] = False,
    token: Annotated[
        bool,
        typer.Option("--token", help="Print a token for the running demo, to use as the password."),
    ] = False,
    client: Annotated[
        str,
        typer.Option(
            "--as",
            metavar="NAME",
            help=(
                "Whose token --token prints: the name of an agent or person of the demo, such as"
                " dana-dba. "
                "(In 'policy explain', --as takes groups.)"
            ),
        ),
    ] = "claude-agent",
    directory: Annotated[
        Path, typer.Option(help="The directory of its database, files and log.")
    ] = Path("var/demo"),
) -> None:
    """Start PostgreSQL with a small shop, an identity provider and the gateway; take a tour; stay
    until Ctrl-C.

    Everything listens on loopback only and ends with the command.
    """
    from sallyport.demo import main

    if not token:
        raise typer.Exit(main.run(once=once, directory=directory))
    typer.echo(main.token(client, directory))
