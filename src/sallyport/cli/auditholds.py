"""``sallyport audit hold``, ``release`` and ``holds``: recordings that must not be deleted."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sallyport.cli.auditkeys import existing_recordings, operating_user
from sallyport.cli.recorded import ConfigFile, DataDir, errors_told, recording_keys
from sallyport.core.clock import rfc3339
from sallyport.core.errors import SallyportError

if TYPE_CHECKING:
    from sallyport.store.sessions import SqlSessionIndex

_HOLD = """Keep recordings: neither retention nor shredding touches them until the hold is released.

A hold of a subject or a target holds its sessions to come as well. That it was made is recorded.
Where gateways share a store, each holds what it recorded: give the command on the gateway that
recorded the session, or on all of them.

Examples:

    sallyport audit hold --session ses_01m7xtb2 --reason "case 7"

    sallyport audit hold --subject agent-7 --reason "case 7"
"""
_RELEASE = """Release a hold, by its id. What another hold covers stays.

Example: sallyport audit release hold_01m7xtb2 --reason "case 7 is closed"
"""
_HOLDS = """List the holds in force.

Example: sallyport audit holds --json
"""

Reason = Annotated[str, typer.Option(help="Why. Needed: it is recorded.")]


def add(commands: typer.Typer) -> None:
    """Add the commands to ``audit``."""
    commands.command("hold", help=_HOLD)(hold)
    commands.command("release", help=_RELEASE)(release)
    commands.command("holds", help=_HOLDS)(holds)


def hold(
    session: Annotated[str, typer.Option(help="Session id, or enough of its beginning.")] = "",
    subject: Annotated[str, typer.Option(help="All sessions of this subject, exactly.")] = "",
    target: Annotated[str, typer.Option(help="All sessions at this target.")] = "",
    reason: Reason = "",
    config: ConfigFile = None,
    data: DataDir = None,
) -> None:
    """See ``--help``."""
    with errors_told():
        from sallyport.audit.holds import Hold
        from sallyport.core.ids import new_id
        from sallyport.operations.holding import hold as make_hold
        from sallyport.operations.sessions import Sessions

        if sum(map(bool, (session, subject, target))) != 1:
            raise SallyportError("say which: one of --session, --subject and --target")
        why = _reason(reason)
        directory, recordings = existing_recordings(config, data)
        keys = recording_keys(config, data)
        with _index(config, data, directory) as (index, gateway):
            id_ = ""
            if session:
                row = Sessions(recordings, index).find(session)
                if row.gateway != gateway:
                    by = f"by the gateway {row.gateway}"
                    raise SallyportError(f"{row.id} was recorded {by}: run this command there")
                id_ = row.id
            made = Hold(new_id("hold"), time.time(), operating_user(), why, id_, subject, target)
            try:
                make_hold(recordings, index, keys, made)
            except OSError as error:
                raise SallyportError(f"{error.filename}: {error.strerror}") from None
        typer.echo(f"{made.id} is in force.")
        if gateway and not session:
            typer.echo(f"It holds what {gateway} recorded. Give this command on every gateway.")


def release(
    id_: Annotated[str, typer.Argument(metavar="HOLD", help="The hold's id.")],
    reason: Reason = "",
    config: ConfigFile = None,
    data: DataDir = None,
) -> None:
    """See ``--help``."""
    with errors_told():
        from sallyport.audit.holds import read_holds
        from sallyport.operations.holding import release as lift

        why = _reason(reason)
        directory, recordings = existing_recordings(config, data)
        keys = recording_keys(config, data)
        lifted = next((each for each in read_holds(recordings) if each.id == id_), None)
        if lifted is None:
            raise SallyportError(f"there is no hold {id_!r}. 'sallyport audit holds' lists them")
        with _index(config, data, directory) as (index, _):
            try:
                lift(recordings, index, keys, lifted, operating_user(), why)
            except OSError as error:
                raise SallyportError(f"{error.filename}: {error.strerror}") from None
        typer.echo(f"{id_} is released.")


def holds(
    config: ConfigFile = None,
    data: DataDir = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """See ``--help``."""
    with errors_told():
        from msgspec import to_builtins

        from sallyport.audit.display import inert
        from sallyport.audit.holds import read_holds

        _, recordings = existing_recordings(config, data)
        listed = read_holds(recordings)
        if as_json:
            typer.echo(json.dumps([to_builtins(h) | {"at": rfc3339(h.at)} for h in listed]))
            return
        for each in listed:
            what = next(
                f"{name} {value}"
                for name in ("session", "subject", "target")
                if (value := getattr(each, name))
            )
            typer.echo(inert(f"{each.id}  {rfc3339(each.at)}  {what}  {each.by}: {each.reason}"))
        if not listed:
            typer.echo("Nothing is held.", err=True)


def _reason(text: str) -> str:
    if not text.strip():
        raise SallyportError("say why with --reason: it is recorded")
    return text.strip()


@contextmanager
def _index(
    config: Path | None, data: Path | None, directory: Path
) -> Iterator[tuple[SqlSessionIndex, str]]:
    """And the gateway's name, "" where its store is its own."""
    from sallyport.app.gateway_store import gateway_name
    from sallyport.cli.storeaccess import readonly_engine, shared_store
    from sallyport.store.database import FILE, open_database
    from sallyport.store.sessions import SqlSessionIndex
    from sallyport.store.writer import Writer

    name = ""
    if shared_store(config, data) is not None:
        name = gateway_name(directory)
        engine = readonly_engine(config, data, directory)
    elif (directory / FILE).is_file():
        engine = open_database(directory)
    else:
        raise SallyportError(f"{directory / FILE} is missing. Run 'sallyport audit reindex' first")
    writer = Writer(engine)
    try:
        writer.start()
        yield SqlSessionIndex(engine, writer, gateway=name), name
    finally:
        writer.close()
        engine.dispose()
