"""``sallyport audit reindex``: make a lost or damaged index anew from the recordings, while no
gateway runs.
"""

from __future__ import annotations

from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated

import typer

from sallyport.cli.recorded import WHERE, archive_fetcher, directories, recording_keys
from sallyport.cli.storeaccess import shared_store
from sallyport.core.errors import SallyportError
from sallyport.core.files import open_locked

if TYPE_CHECKING:
    from sallyport.audit.keys import KeyRing
    from sallyport.cli.storeaccess import OwnStore
    from sallyport.operations.sessions import Fetch
    from sallyport.store.postgres import StoreAddress
    from sallyport.store.reindex import Reindexed

_HELP = """Rebuild the indexes of sessions and statements from the recordings. Stop the gateway
first.

In a store that gateways share, this adds what the gateway of this data directory recorded. A
damaged database is set aside, and what can be read of it is kept. Locks and containments are made
anew from the record of actions.
Approvals and policy versions are not in the recordings; the command says when they were lost.

Example: sallyport audit reindex
"""


def add(commands: typer.Typer) -> None:
    """Add ``reindex`` to ``audit``."""

    @commands.command("reindex", help=_HELP)
    def reindex(
        config: Annotated[
            Path | None,
            typer.Option("--config", "-c", help="The gateway's configuration. [./sallyport.yaml]"),
        ] = None,
        data: Annotated[
            Path | None,
            typer.Option("--data", help="The data directory itself, instead of --config."),
        ] = None,
    ) -> None:
        directory, recordings = directories(config, data)
        if not directory.is_dir():
            raise SallyportError(f"there is no data directory {directory.absolute()}. {WHERE}")
        keys = recording_keys(config, data)
        with locked(directory) as lock:
            address = shared_store(config, data)
            if address is None:
                store, result, lost = _rebuild_own(directory, recordings, keys, lock)
            else:
                store, result, lost = _rebuild_shared(address, directory, recordings, keys, lock)
            try:
                fetch = archive_fetcher(config, data)
                statements = _index_statements(store, recordings, keys, fetch)
            finally:
                store.engine.dispose()
        _report(result, lost)
        typer.echo(f"{statements} statements can be searched.")


def _rebuild_own(
    directory: Path, recordings: Path, keys: KeyRing, lock: IO[bytes]
) -> tuple[OwnStore, Reindexed, str]:
    """Of the file in the data directory. The last: why state was lost, or "". Raises StoreError."""
    from sallyport.cli.storeaccess import OwnStore
    from sallyport.store.mark import StoreMark
    from sallyport.store.reindex import reindex

    mark = StoreMark(lock, directory)
    lost = mark.missing(recordings)
    engine, result = reindex(directory, recordings, keys)
    lost = lost or mark.differs(engine)
    mark.take(engine, reindexed=True)
    return OwnStore(engine, directory, ""), result, lost


def _rebuild_shared(
    address: StoreAddress, directory: Path, recordings: Path, keys: KeyRing, lock: IO[bytes]
) -> tuple[OwnStore, Reindexed, str]:
    """As :func:`_rebuild_own`, of what this gateway has in a store that several share."""
    from sallyport.app.gateway_store import gateway_name
    from sallyport.cli.storeaccess import OwnStore
    from sallyport.store.mark import StoreMark
    from sallyport.store.postgres import open_postgres
    from sallyport.store.reindex import reindex_shared
    from sallyport.store.timeline import FILE, Timeline

    mark = StoreMark(lock, directory, str(address))
    engine = open_postgres(address)
    name = gateway_name(directory)
    result = reindex_shared(engine, name, directory, recordings, keys)
    lost = mark.missing(directory) or mark.differs(engine)
    if lost:  # another database may be on another server, whose timeline says nothing
        Timeline(directory / FILE).forget()
    mark.take(engine, reindexed=True)
    return OwnStore(engine, directory, name), result, lost


def _index_statements(store: OwnStore, recordings: Path, keys: KeyRing, fetch: Fetch | None) -> int:
    """Make the index of statements anew; how many it holds. Raises SallyportError."""
    from sallyport.operations.sessions import Sessions
    from sallyport.operations.statementsearch import StatementIndexer
    from sallyport.store.sessions import SqlSessionIndex

    search = store.statement_search()
    search.clear()
    index = SqlSessionIndex(store.engine, gateway=store.gateway)
    sessions = Sessions(recordings, index, keys=keys, fetch=fetch)
    StatementIndexer(sessions, search, alone=True).fill()
    search.trim()
    return search.state().statements


def locked(directory: Path) -> IO[bytes]:
    """The data directory's lock. Raises SallyportError while a gateway has it."""
    try:
        lock = open_locked(directory / "gateway.lock")
    except OSError as error:
        raise SallyportError(f"cannot write in {directory}: {error.strerror}") from None
    if lock is None:
        raise SallyportError(
            f"a gateway uses the data directory {directory}. Stop it, then run this again"
        )
    return lock


def _report(result: Reindexed, lost: str) -> None:
    from sallyport.audit.display import inert

    typer.echo(f"{result.kept} sessions kept, {result.rebuilt} rebuilt from their recordings.")
    for path in result.unreadable:
        typer.echo(f"cannot be read: {inert(str(path))}")
    for session in result.shredded:
        typer.echo(f"shredded, so that no row can be made of it: {inert(session)}")
    for text in result.locked:
        typer.echo(inert(text))
    for session in result.suspicious:
        typer.echo(f"not what the index remembers: {inert(session)}; see 'sallyport audit verify'")
    if result.set_aside is not None:
        typer.echo(f"The damaged database is now {result.set_aside}.")
    if result.locks:
        typer.echo(
            f"{result.locks} locks made anew from the record of what people did: 'sallyport lock"
            " --all'."
        )
    if result.containments:
        typer.echo(
            f"{result.containments} containments made anew from the record of actions: 'sallyport"
            " contain list --all'."
        )
    for recording in dict.fromkeys(result.doubtful):
        typer.echo(
            f"cannot be read to its end: {recording}. Locks and containments, or their release, may"
            " be missing."
        )
    tables = [name for name in result.lost if name not in ("locks", "containments")]
    if tables or (lost and result.set_aside is None):
        what = f"of {', '.join(tables)}" if tables else "approvals and policy versions"
        typer.echo(
            f"Lost for good, unless there is a backup: {what}. Look at the locks and"
            " containments before you start."
        )
