"""``sallyport sessions list|show|replay`` and ``sallyport audit verify``: look at what was recorded.

They read the data directory (``--data``, or the one that ``--config`` names) beside a running gateway and
change nothing. Exit status: 0; 1 when ``audit verify`` found a problem or a recording is damaged; 2 when
there is nothing to look at (no data directory, no such session), with what to do on standard error.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sallyport.core.errors import SallyportError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance
    from rich.console import Console

    from sallyport.audit.verify import Problem
    from sallyport.operations.sessions import Sessions

_DEFAULT_CONFIG = Path("sallyport.yaml")
_STATUSES = ("live", "ended", "interrupted")
_VERDICTS = ("allow", "hold", "deny")

ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config", "-c", help="The gateway's configuration; its data directory is read. [./sallyport.yaml]"
    ),
]
DataDir = Annotated[
    Path | None, typer.Option("--data", help="The data directory itself, instead of --config.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead.")]
SessionId = Annotated[str, typer.Argument(help="Session id, or enough of its beginning to be the only one.")]


def register(app: typer.Typer) -> None:
    """Add ``sessions`` and ``audit`` to the ``sallyport`` program."""
    sessions = typer.Typer(no_args_is_help=True, help="Look at recorded sessions.")
    sessions.command("list", help=_HELP_LIST)(list_sessions)
    sessions.command("show", help=_HELP_SHOW)(show_session)
    sessions.command("replay", help=_HELP_REPLAY)(replay_session)
    app.add_typer(sessions, name="sessions")
    audit = typer.Typer(no_args_is_help=True, help="Prove that recordings are what the gateway wrote.")
    audit.callback()(_audit)
    audit.command("verify", help=_HELP_VERIFY)(verify)
    app.add_typer(audit, name="audit")


_HELP_LIST = """List sessions, newest first.

Example: sallyport sessions list --target shop --limit 20, or: sallyport sessions list --relation public.orders --verdict deny
"""

_HELP_SHOW = """Show every statement of a session: verdict, rule, rows, time.

With --json: one object per line, the session first. Example: sallyport sessions show ses_01m7xtb2
"""

_HELP_REPLAY = """Replay a session as the agent saw it, at its pace.

With --json: one object per line and no waiting. Example: sallyport sessions replay ses_01m7xtb2 --speed 4
"""

_HELP_VERIFY = """Check the hash chain of one recording, or of all.

Finds edits, deletions, insertions, reorderings and cut-off tails, and says where. Example: sallyport audit
verify
"""


def _audit() -> None:
    """Keeps ``audit`` a group while it has one command."""


def list_sessions(
    config: ConfigFile = None,
    data: DataDir = None,
    as_json: AsJson = False,
    limit: Annotated[int, typer.Option(min=0, help="How many; 0 is all.")] = 50,
    status: Annotated[str, typer.Option(help="live, ended or interrupted.")] = "",
    subject: Annotated[str, typer.Option(help="Only this subject's.")] = "",
    target: Annotated[str, typer.Option(help="Only to this target.")] = "",
    text: Annotated[
        str, typer.Option(help="With a statement that contains this, whatever case and layout.")
    ] = "",
    relation: Annotated[
        str, typer.Option(help="With a statement that touches this relation; the schema may be left out.")
    ] = "",
    verdict: Annotated[str, typer.Option(help="With a statement that got this: allow, hold or deny.")] = "",
) -> None:
    with _errors():
        if status and status not in _STATUSES:
            raise SallyportError(f"there is no status {status!r}. --status takes {', '.join(_STATUSES)}")
        if verdict and verdict not in _VERDICTS:
            raise SallyportError(f"there is no verdict {verdict!r}. --verdict takes {', '.join(_VERDICTS)}")
        sessions = _sessions(config, data)
        if text or relation or verdict:
            found = sessions.with_statement(
                text=text, relation=relation, verdict=verdict,
                limit=limit or None, status=status, subject=subject, target=target,
            )  # fmt: skip
            rows = [match.row for match in found.matches]
            for id_ in found.unread:
                typer.echo(f"warning: the recording of {id_} is damaged and was not searched whole", err=True)
        else:
            rows = sessions.recent(limit=limit or None, status=status, subject=subject, target=target)
        from sallyport.cli import sessionview

        if as_json:
            typer.echo("[" + ",\n ".join(sessionview.as_json(row) for row in rows) + "]")
        elif rows:
            console = _console()
            console.print(sessionview.session_table(rows, console.width))
        else:
            typer.echo("No sessions.")


def show_session(
    session: SessionId,
    config: ConfigFile = None,
    data: DataDir = None,
    as_json: AsJson = False,
    full: Annotated[bool, typer.Option("--full", help="Whole SQL texts, line by line.")] = False,
) -> None:
    with _errors() as problems:
        sessions = _sessions(config, data)
        row = sessions.find(session)
        lines = sessions.statements(row.id, problems.append)
        from sallyport.audit.display import inert
        from sallyport.cli import sessionview

        if as_json:
            typer.echo(sessionview.as_json(row))
            for line in lines:
                typer.echo(sessionview.as_json(line))
            return
        console = _console()
        console.print(sessionview.session_table([row]))
        if row.reason:
            typer.echo(f"{row.status}: {inert(row.reason)}")
        for table in sessionview.statement_table(lines, full=full):
            console.print(table)


def replay_session(
    session: SessionId,
    config: ConfigFile = None,
    data: DataDir = None,
    as_json: AsJson = False,
    speed: Annotated[float, typer.Option(min=0.001, help="Times the recorded pace.")] = 1.0,
    instant: Annotated[bool, typer.Option("--instant", help="Do not wait at all.")] = False,
    max_pause: Annotated[
        float, typer.Option(min=0.0, help="Longest wait in seconds, whatever the pace.")
    ] = 5.0,
    rows: Annotated[int, typer.Option(min=0, help="Rows shown of each result.")] = 50,
) -> None:
    with _errors() as problems:
        steps = _sessions(config, data).replay(session, problems.append)
        from sallyport.cli import sessionview

        if as_json:
            for step in steps:
                typer.echo(sessionview.as_json({"step": type(step).__name__.lower(), **_fields(step)}))
            return
        pause: Callable[[float], None] | None = None
        if not instant:

            def pause(seconds: float) -> None:
                time.sleep(min(seconds / speed, max_pause))

        try:
            sessionview.ReplayView(_console(), limit=rows, pause=pause).show(steps)
        except KeyboardInterrupt:
            raise typer.Exit(130) from None


def verify(
    session: Annotated[
        str, typer.Argument(help="Session id or its beginning; without it, every recording.")
    ] = "",
    config: ConfigFile = None,
    data: DataDir = None,
    as_json: AsJson = False,
) -> None:
    with _errors():
        found = failed = 0
        from sallyport.audit.display import inert
        from sallyport.cli import sessionview

        for result in _sessions(config, data).verify(session):
            found += 1
            failed += not result.ok
            if as_json:
                typer.echo(sessionview.as_json({"ok": result.ok, **_fields(result)}))
                continue
            name = inert(result.session)
            state = "OK" if result.ok else "FAILED"
            typer.echo(f"{name}  {state}  {_count(result.blocks, 'block')}, {_count(result.events, 'event')}")
            for text in [*map(str, result.problems), *(f"note: {note}" for note in result.notes)]:
                typer.echo(f"    {inert(text)}")
        if not as_json:
            typer.echo(
                f"{_count(found, 'recording')}, {failed} with problems." if found else "No recordings."
            )
        if failed:
            raise typer.Exit(1)


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" + ("" if number == 1 else "s")


def _fields(value: DataclassInstance) -> dict[str, object]:
    return {field.name: getattr(value, field.name) for field in fields(value)}


def _sessions(config: Path | None, data: Path | None) -> Sessions:
    """Raises SallyportError when there is no data directory."""
    from sallyport.operations.sessions import Sessions
    from sallyport.store.database import FILE, open_readonly
    from sallyport.store.sessions import SqlSessionIndex

    directory, recordings = (data, data / "recordings") if data is not None else _directories(config)
    if not directory.is_dir():
        raise SallyportError(f"there is no data directory {directory.absolute()}. {_WHERE}")
    if not (directory / FILE).exists():
        if not recordings.is_dir():
            raise SallyportError(f"no gateway has kept its data in {directory.absolute()}. {_WHERE}")
        return Sessions(recordings, None)
    return Sessions(recordings, SqlSessionIndex(open_readonly(directory)))


#: What to do when there is nothing in the place that was looked at.
_WHERE = (
    "Say which gateway's with --config sallyport.yaml (the demo's: --config var/demo/sallyport.yaml), "
    "or --data DIRECTORY"
)


def _directories(config: Path | None) -> tuple[Path, Path]:
    """The data directory, and where the recordings are."""
    if config is None and not _DEFAULT_CONFIG.exists():
        return Path("var"), Path("var/recordings")
    from sallyport.config import load_config

    settings = load_config(config or _DEFAULT_CONFIG)
    data = Path(settings.data)
    return data, Path(settings.recording.directory or data / "recordings")


def _console() -> Console:
    from rich.console import Console

    # Into a pipe there is no width to fit: do not cut what someone will search.
    return Console(highlight=False, markup=False, emoji=False, width=None if sys.stdout.isatty() else 200)


@contextmanager
def _errors() -> Iterator[list[Problem]]:
    """Errors as one line on standard error; what was found wrong with a recording as well, with status 1."""
    problems: list[Problem] = []
    try:
        yield problems
    except SallyportError as error:
        typer.echo(f"sallyport: {error}", err=True)
        raise typer.Exit(2) from None
    except BrokenPipeError:  # the reader has seen enough
        sys.stderr.close()
        raise typer.Exit(0) from None
    for problem in problems:
        typer.echo(f"warning: the recording stops here: {problem}; see 'sallyport audit verify'", err=True)
    if problems:
        raise typer.Exit(1)
