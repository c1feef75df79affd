"""``sallyport serve``: run the gateway."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_SERVE = """Run the gateway until Ctrl-C.

Example:

    sallyport serve --config sallyport.yaml

Then connect with any PostgreSQL client, the identity token in place of the password:

    PGPASSWORD=$(sallyport token) psql "host=127.0.0.1 port=6432 dbname=shop user=claude"
"""


def register(app: typer.Typer) -> None:
    """Add ``serve``."""

    @app.command("serve", help=_SERVE)
    def run(
        config: Annotated[
            Path, typer.Option("--config", "-c", help="The gateway's configuration.")
        ] = Path("sallyport.yaml"),
        accept_lost_state: Annotated[
            bool,
            typer.Option(
                "--accept-lost-state",
                help="Allow logins although locks, approvals and policy versions were lost. This "
                "is recorded.",
            ),
        ] = False,
    ) -> None:
        from sallyport.app.gateway_log import configure_logging, keep_memory_private
        from sallyport.config import load_config
        from sallyport.workers.supervisor import supervise

        def ready(host: str, port: int) -> None:
            typer.echo(f"sallyport listens on {host}:{port}", err=True)

        loaded = load_config(config)
        if loaded.worker_count > 1:
            configure_logging(loaded)
            keep_memory_private()
            status = supervise(loaded, config, ready, accept_lost_state=accept_lost_state)
            raise typer.Exit(status)
        from sallyport.app.serve import serve

        serve(
            loaded,
            ready,
            accept_lost_state=accept_lost_state,
            reread=lambda: load_config(config),
        )
