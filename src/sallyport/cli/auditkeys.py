"""``sallyport audit rotate-key`` and ``sallyport audit shred``: the keys of recordings."""

from __future__ import annotations

import getpass
import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sallyport.cli.auditindex import locked
from sallyport.cli.recorded import (
    WHERE,
    ConfigFile,
    DataDir,
    directories,
    errors_told,
    key_file,
    recording_keys,
)
from sallyport.core.errors import SallyportError
from sallyport.core.wording import counted

if TYPE_CHECKING:
    from sallyport.audit.ports import SessionRow
    from sallyport.cli.storeaccess import OwnStore
    from sallyport.operations.rotation import Rotated

_ROTATE = """Wrap the keys of all recordings by the current key-encryption key. Recordings are not
rewritten.

Either put a new key under recording.encryption.key and the old one under previous, restart the
gateway, and run this. Or stop the gateway and let --new make a new key in the place of the key
file.

Example: sallyport audit rotate-key --new
"""

_SHRED = """Make recordings unreadable for good, by deleting their keys: one session's, or all of a
subject.

Of several gateways that share a store each has its own recordings: run it where they were made.
What was done is recorded. 'audit verify' still proves what is left. Needs --reason, and asks before
it deletes.

Examples:

    sallyport audit shred ses_01m7xtb2 --reason "request 42"

    sallyport audit shred --subject agent-7 --reason "request 42" --yes
"""

_NAMED = 10


def add(commands: typer.Typer) -> None:
    """Add ``rotate-key`` and ``shred`` to ``audit``."""
    commands.command("rotate-key", help=_ROTATE)(rotate_key)
    commands.command("shred", help=_SHRED)(shred)


def rotate_key(
    config: ConfigFile = None,
    data: DataDir = None,
    new: Annotated[
        bool,
        typer.Option("--new", help="Make a new key in the file's place; stop the gateway first."),
    ] = False,
) -> None:
    """See ``--help``."""
    with errors_told():
        from sallyport.operations.rotation import make_new_key, rotate

        directory, recordings = existing_recordings(config, data)
        keys = recording_keys(config, data)
        if not new:
            result = rotate(recordings, keys)
        else:
            file = key_file(config, data)
            with locked(directory):
                try:
                    result, kept = make_new_key(file, recordings, keys)
                except OSError as error:
                    raise SallyportError(f"{error.filename}: {error.strerror}") from None
            if kept is not None:
                typer.echo(f"{file} is a new key. The one before is now {kept}.")
                typer.echo("Delete that once no backup is needed whose keys it wrapped.")
        _report(result)
        if result.failed:
            raise typer.Exit(1)


def _report(result: Rotated) -> None:
    from sallyport.audit.display import inert

    typer.echo(f"{result.wrapped} keys were wrapped by the current key.")
    for text in result.failed:
        typer.echo(inert(text), err=True)
    if result.needed:
        needed = ", ".join(sorted(result.needed))
        typer.echo(f"Still needed under recording.encryption.previous: {needed}.")
    elif not result.failed:
        typer.echo("No recording needs another key: 'previous' can be emptied.")


def shred(
    session: Annotated[str, typer.Argument(help="Session id, or enough of its beginning.")] = "",
    subject: Annotated[str, typer.Option(help="All sessions of this subject, exactly.")] = "",
    reason: Annotated[str, typer.Option(help="Why. Needed: it is recorded.")] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    config: ConfigFile = None,
    data: DataDir = None,
) -> None:
    """See ``--help``."""
    with errors_told():
        from sallyport.audit.display import inert
        from sallyport.cli.storeaccess import own_store
        from sallyport.core.subject import Subject
        from sallyport.operations.archiving import forget_copies
        from sallyport.operations.shredding import shred as shred_recordings
        from sallyport.store.sessions import SqlSessionIndex
        from sallyport.store.writer import Writer

        if bool(session) == bool(subject):
            raise SallyportError("say which: the id of a session, or --subject")
        if not reason.strip():
            raise SallyportError(
                "say why with --reason: it is recorded, and shown in the place of the content"
            )
        directory, recordings = existing_recordings(config, data)
        store = own_store(config, data, directory)
        keys = recording_keys(config, data)
        writer = Writer(store.engine)
        index = SqlSessionIndex(store.engine, writer, gateway=store.gateway)
        try:
            rows, refused = _chosen(store, recordings, session, subject)
            rows, fresh = _sorted_out(rows, recordings, refused, strict=bool(session))
            if fresh and not yes:
                _ask(fresh)
            writer.start()
            who = Subject(operating_user(), "", frozenset())
            try:
                result = shred_recordings(
                    recordings, index, rows, keys, who, reason.strip(), store.search_to_forget()
                )
                forget_copies(directory, [row.id for row in rows])
            except OSError as error:
                raise SallyportError(f"{error.filename}: {error.strerror}") from None
        finally:
            writer.close()
            store.engine.dispose()
        typer.echo(
            f"{counted(len(result.sessions), 'recording')} shredded,"
            f" {counted(result.statements, 'statement')} deleted from the index."
        )
        if result.again:
            typer.echo(f"{len(result.again)} were shredded before.")
        for text in refused:
            typer.echo(inert(text), err=True)
        if result.kept:
            typer.echo(
                f"The journal keeps {', '.join(result.kept)}, which may hold statements of these "
                "sessions. Delete it once 'audit verify' has been looked at."
            )
        if refused:
            raise typer.Exit(1)


def operating_user() -> str:
    """The user of the operating system that this runs as."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # containers know numbers alone
        return f"uid {os.getuid()}"


def _chosen(
    store: OwnStore, recordings: Path, session: str, subject: str
) -> tuple[list[SessionRow], list[str]]:
    """Those that this gateway recorded, and where the subject's others are. Raises SallyportError
    when there is none.
    """
    from sallyport.audit.ports import SESSION
    from sallyport.operations.sessions import Sessions
    from sallyport.store.sessions import SqlSessionIndex

    index = SqlSessionIndex(store.engine)
    if session:
        id_ = session
        if index.get(session) is None:
            id_ = Sessions(recordings, index).find(session).id
        row = index.get(id_)
        if row is None:
            text = f"the index does not know {id_}. Run 'sallyport audit reindex' first"
            raise SallyportError(text)
        if row.gateway != store.gateway:
            raise SallyportError(f"{id_} was recorded by {row.gateway}: run this on that gateway")
        return [row], []
    rows = index.recent(limit=None, subject=subject, kind=SESSION)
    if not rows:
        raise SallyportError(
            f"no session of the subject {subject!r}; 'sallyport sessions list' shows subjects"
        )
    elsewhere = Counter(row.gateway for row in rows if row.gateway != store.gateway)
    return [row for row in rows if row.gateway == store.gateway], [
        f"{count} more were recorded by {gateway}: run this on that gateway too"
        for gateway, count in sorted(elsewhere.items())
    ]


def _sorted_out(
    rows: list[SessionRow], recordings: Path, refused: list[str], *, strict: bool
) -> tuple[list[SessionRow], list[SessionRow]]:
    """Those that can be shredded, and those of them that were not yet; ``refused`` gets why the
    rest cannot. Raises SallyportError instead of the last when ``strict``.
    """
    from sallyport.operations.shredding import check_shreddable

    shreddable: list[SessionRow] = []
    fresh: list[SessionRow] = []
    for row in rows:
        try:
            is_fresh = check_shreddable(recordings, row)
        except SallyportError as error:
            if strict:
                raise
            refused.append(str(error))
            continue
        shreddable.append(row)
        if is_fresh:
            fresh.append(row)
    return shreddable, fresh


def _ask(rows: list[SessionRow]) -> None:
    """Raises SallyportError unless somebody says yes."""
    from sallyport.audit.display import inert
    from sallyport.cli.sessionview import moment

    for row in rows[:_NAMED]:
        typer.echo(inert(f"{row.id}  {moment(row.started)}  {row.subject}  {row.target}"))
    if len(rows) > _NAMED:
        typer.echo(f"... and {len(rows) - _NAMED} more")
    if not typer.confirm(f"Make {counted(len(rows), 'recording')} unreadable for good?"):
        raise SallyportError("nothing was shredded")


def existing_recordings(config: Path | None, data: Path | None) -> tuple[Path, Path]:
    """The data directory, and where the recordings are. Raises SallyportError without them."""
    directory, recordings = directories(config, data)
    if not recordings.is_dir():
        raise SallyportError(f"there are no recordings in {recordings.absolute()}. {WHERE}")
    return directory, recordings
