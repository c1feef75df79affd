"""``sallyport store``: the store that gateways share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sallyport.core.errors import SallyportError

if TYPE_CHECKING:
    from sqlalchemy import Engine

_Config = Annotated[
    Path, typer.Option("--config", "-c", help="The gateway's configuration. [./sallyport.yaml]")
]

_MIGRATE = """Copy the store in the data directory into the shared one. Stop the gateway first.

The configuration names both: 'data', and 'store' with the empty database. Nothing is removed; the
file that was copied is renamed, so that it does not serve again.
Example: sallyport store migrate --from sqlite --config sallyport.yaml
"""
_STATUS = """Where the store is, and what it holds. Example: sallyport store status"""


def register(app: typer.Typer) -> None:
    """Add ``store`` and its commands."""
    commands = typer.Typer(help="The store that gateways share.", no_args_is_help=True)
    app.add_typer(commands, name="store")
    commands.command("migrate", help=_MIGRATE)(migrate)
    commands.command("status", help=_STATUS)(status)


def migrate(
    source: Annotated[str, typer.Option("--from", help="What to copy: sqlite.")],
    config: _Config = Path("sallyport.yaml"),
) -> None:
    """See ``--help``."""
    from sallyport.app.gateway_store import gateway_name
    from sallyport.cli.auditindex import locked
    from sallyport.cli.storeaccess import shared_key, shared_store_of
    from sallyport.config import load_config
    from sallyport.store.transfer import move_to_postgres

    if source != "sqlite":
        raise SallyportError(f"cannot copy from {source!r}: write --from sqlite")
    settings = load_config(config)
    address = shared_store_of(settings)
    if address is None:
        raise SallyportError(f"{config} names no shared store: add 'store'")
    data = settings.data_directory
    with locked(data):
        counts = move_to_postgres(data, address, gateway_name(data), shared_key(settings))
    for name, count in counts.items():
        if count:
            typer.echo(f"{name.replace('_', ' ')}: {count}")
    typer.echo(f"Copied to {address}; counts agree. Start the gateway.")


def status(
    config: _Config = Path("sallyport.yaml"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead.")] = False,
) -> None:
    """See ``--help``."""
    from sallyport.cli.storeaccess import readonly_engine, shared_store_of
    from sallyport.config import load_config

    settings = load_config(config)
    address = shared_store_of(settings)
    engine = readonly_engine(config, None, settings.data_directory)
    try:
        state = _state(engine, str(address or settings.data_directory / "sallyport.db"))
    finally:
        engine.dispose()
    if as_json:
        typer.echo(json.dumps(state))
        return
    for name, value in state.items():
        typer.echo(f"{name}: {(', '.join(value) or 'none') if isinstance(value, list) else value}")


def _state(engine: Engine, place: str) -> dict[str, Any]:
    from sqlalchemy import func, select, text

    from sallyport.store.database import HEAD
    from sallyport.store.dialect import is_postgresql
    from sallyport.store.sessions import of_kind
    from sallyport.store.tables import approvals, locks, sessions

    with engine.connect() as connection:

        def count(table: Any, *conditions: Any) -> int:
            query = select(func.count()).select_from(table).where(*conditions)
            return int(connection.execute(query).scalar_one())

        state: dict[str, Any] = {
            "store": place,
            "schema": HEAD,
            "sessions": count(sessions, of_kind("")),
            "live sessions": count(sessions, of_kind(""), sessions.c.status == "live"),
            "pending approvals": count(approvals, approvals.c.status == "pending"),
            "locks": count(locks, locks.c.released_at.is_(None)),
        }
        if is_postgresql(engine):
            names = connection.execute(
                text(
                    "SELECT DISTINCT substr(application_name, 11) FROM pg_stat_activity WHERE"
                    " datname = current_database() AND application_name LIKE 'sallyport %'"
                )
            )
            state["gateways connected"] = sorted(names.scalars())
    return state
