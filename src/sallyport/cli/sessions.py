"""``sallyport sessions list|search|show|replay`` and ``sallyport audit verify|actions``: look at
what was recorded.

They read the data directory (``--data``, or the one that ``--config`` names) beside a running
gateway and change nothing. Exit status: 0; 1 when ``audit verify`` found a problem or a recording
is damaged; 2 when there is nothing to look at (no data directory, no such session), with what to do
on standard error.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sallyport.audit.ports import ACTIONS, SESSION
from sallyport.cli import (
    auditexport,
    auditholds,
    auditindex,
    auditkeys,
    auditproof,
    auditreceipt,
    auditreport,
    replayfiles,
    sessionsearch,
)
from sallyport.cli.recorded import ConfigFile, DataDir, errors_told, open_sessions
from sallyport.core.errors import SallyportError
from sallyport.core.wording import counted

if TYPE_CHECKING:
    from _typeshed import DataclassInstance
    from rich.console import Console

    from sallyport.audit.actions import RecordedAction

_STATUSES = ("live", "ended", "interrupted")
_VERDICTS = ("allow", "hold", "deny")
_OUTCOMES = ("done", "refused", "failed")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead.")]
SessionId = Annotated[str, typer.Argument(help="Session id, or the beginning of one.")]


def register(app: typer.Typer) -> None:
    """Add ``sessions`` and ``audit`` to the ``sallyport`` program."""
    sessions = typer.Typer(
        no_args_is_help=True, help="List, search, show and replay recorded sessions."
    )
    sessions.command("list", help=_HELP_LIST)(list_sessions)
    sessionsearch.add(sessions)
    sessions.command("show", help=_HELP_SHOW)(show_session)
    sessions.command("replay", help=_HELP_REPLAY)(replay_session)
    app.add_typer(sessions, name="sessions")
    audit = typer.Typer(
        no_args_is_help=True,
        help="Verify, prove, export, report on and shred recordings; list what people did.",
    )
    audit.command("verify", help=_HELP_VERIFY)(verify)
    auditindex.add(audit)
    auditexport.add(audit)
    auditreport.add(audit)
    auditkeys.add(audit)
    auditholds.add(audit)
    auditproof.add(audit)
    auditreceipt.add(audit)
    audit.command("actions", help=_HELP_ACTIONS)(list_actions)
    app.add_typer(audit, name="audit")


_HELP_LIST = """List sessions, newest first.

Example: sallyport sessions list --target shop --limit 20, or: sallyport sessions list --relation
public.orders --verdict deny
"""

_HELP_SHOW = """Show every statement of a session: verdict, rule, rows, time, and why it was refused
or failed.

With --json: one object per line, the session first. Example: sallyport sessions show ses_01m7xtb2
"""

_HELP_REPLAY = """Replay a session as the agent saw it, at its pace.

With --json: one object per line and no waiting. --as-psql shows it as psql would have; --html
writes one page that works from a disk,
--asciicast a recording for asciinema.

Examples:

    sallyport sessions replay ses_01m7xtb2 --speed 4

    sallyport sessions replay ses_01m7xtb2 --as-psql --instant

    sallyport sessions replay ses_01m7xtb2 --html session.html --asciicast session.cast
"""

_HELP_VERIFY = """Check every recording, or one, and the signed log of them, from the files.

Finds edits, deletions, insertions, reorderings, cut-off tails, replaced sessions and a rewritten
index, and says where; with --key a log of another key, with --checkpoint a rolled-back or forked
one. Where the archive is a witness of the log, it compares with what that has, unless --data is
given. Says what it could not check.
ses_... are sessions of agents, act_... are the actions of people ('sallyport audit actions').

Examples:

    sallyport audit verify

    sallyport audit verify --key sallyport.vkey --checkpoint /mnt/worm/sallyport.checkpoints
"""


_HELP_ACTIONS = """List what people did in the console, over REST and in Slack, and refused logins.

Newest first: who, what, when, from where, outcome.

Example: sallyport audit actions --subject dana --action approvals.decide

Example, for who was refused, and why: sallyport audit actions --action login --address 192.0.2.7
"""


def list_sessions(
    config: ConfigFile = None,
    data: DataDir = None,
    as_json: AsJson = False,
    limit: Annotated[int, typer.Option(min=0, help="How many; 0 is all.")] = 50,
    status: Annotated[str, typer.Option(help="live, ended or interrupted.")] = "",
    subject: Annotated[str, typer.Option(help="Only this subject's.")] = "",
    target: Annotated[str, typer.Option(help="Only to this target.")] = "",
    text: Annotated[
        str,
        typer.Option(
            help="With a statement that contains this text, ignoring case and white space."
        ),
    ] = "",
    relation: Annotated[
        str,
        typer.Option(
            help="With a statement that touches this relation; the schema may be left out."
        ),
    ] = "",
    verdict: Annotated[
        str, typer.Option(help="With a statement of this verdict: allow, hold or deny.")
    ] = "",
    kind: Annotated[
        str,
        typer.Option(
            help=(
                "session, or actions: the recordings of what people did in the console and over"
                " REST."
            )
        ),
    ] = "session",
) -> None:
    """See ``--help``."""
    with errors_told():
        if status and status not in _STATUSES:
            raise SallyportError(
                f"there is no status {status!r}. --status takes {', '.join(_STATUSES)}"
            )
        if verdict and verdict not in _VERDICTS:
            raise SallyportError(
                f"there is no verdict {verdict!r}. --verdict takes {', '.join(_VERDICTS)}"
            )
        if kind not in (SESSION, ACTIONS):
            raise SallyportError(f"there is no kind {kind!r}. --kind takes {SESSION}, {ACTIONS}")
        sessions = open_sessions(config, data)
        if text or relation or verdict:
            page = sessions.with_statement(
                text=text, relation=relation, verdict=verdict,
                limit=limit or None, status=status, subject=subject, target=target, kind=kind,
            )  # fmt: skip
            rows = [match.row for match in page.matches]
            for id_ in page.unread:
                typer.echo(
                    f"warning: the recording of {id_} is damaged and was not searched whole",
                    err=True,
                )
        else:
            rows = sessions.recent(
                limit=limit or None, status=status, subject=subject, target=target, kind=kind
            )
        from sallyport.cli import sessionview

        if as_json:
            typer.echo("[" + ",\n ".join(sessionview.as_json(row) for row in rows) + "]")
        elif rows:
            console = _console()
            console.print(sessionview.session_table(rows, console.width))
        else:
            typer.echo("No sessions." if kind == SESSION else "No recordings of actions.")


def show_session(
    session: SessionId,
    config: ConfigFile = None,
    data: DataDir = None,
    as_json: AsJson = False,
    full: Annotated[bool, typer.Option("--full", help="Whole SQL texts, line by line.")] = False,
) -> None:
    """See ``--help``."""
    with errors_told() as problems:
        sessions = open_sessions(config, data)
        row = sessions.find(session)
        if row.kind == ACTIONS:
            _show_actions(sessions.actions(row.id, problems.append), as_json)
            return
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
    speed: Annotated[float, typer.Option(min=0.001, help="A factor for the recorded pace.")] = 1.0,
    instant: Annotated[bool, typer.Option("--instant", help="Do not wait.")] = False,
    max_pause: Annotated[float, typer.Option(min=0.0, help="The longest wait, in seconds.")] = 5.0,
    rows: Annotated[int, typer.Option(min=0, help="Rows shown of each result.")] = 50,
    as_psql: Annotated[
        bool, typer.Option("--as-psql", help="As psql would have shown it.")
    ] = False,
    html: Annotated[
        Path | None, typer.Option(help="Write one self-contained page to this file.")
    ] = None,
    cast: Annotated[
        Path | None, typer.Option("--asciicast", help="Write an asciicast v2 to this file.")
    ] = None,
) -> None:
    """See ``--help``."""
    with errors_told() as problems:
        sessions = open_sessions(config, data)
        if html is not None or cast is not None:
            replayfiles.write(sessions, session, html, cast, rows, max_pause, problems.append)
            return
        steps = sessions.replay(session, problems.append)
        from sallyport.audit.replay import kind_of
        from sallyport.cli import sessionview

        if as_json:
            for step in steps:
                typer.echo(sessionview.as_json({"step": kind_of(step), **_fields(step)}))
            return
        pause: Callable[[float], None] | None = None
        if not instant:

            def pause(seconds: float) -> None:
                time.sleep(min(seconds / speed, max_pause))

        try:
            if as_psql:
                replayfiles.play(steps, rows, pause)
            else:
                sessionview.ReplayView(_console(), limit=rows, pause=pause).show(steps)
        except KeyboardInterrupt:
            raise typer.Exit(130) from None


def list_actions(
    config: ConfigFile = None,
    data: DataDir = None,
    as_json: AsJson = False,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="How many.")] = 50,
    subject: Annotated[str, typer.Option(help="Part of the id or e-mail of who did it.")] = "",
    action: Annotated[
        str, typer.Option(help="What: sessions.replay, say, or sessions for all that begin so.")
    ] = "",
    on: Annotated[str, typer.Option("--object", help="The id of what it was done to.")] = "",
    outcome: Annotated[str, typer.Option(help="done, refused or failed.")] = "",
    address: Annotated[str, typer.Option(help="The address that they came from.")] = "",
) -> None:
    """See ``--help``."""
    with errors_told():
        from sallyport.operations.actions import ActionQuery, find_actions

        if outcome and outcome not in _OUTCOMES:
            raise SallyportError(
                f"there is no outcome {outcome!r}. --outcome takes {', '.join(_OUTCOMES)}"
            )
        query = ActionQuery(subject, action, on, outcome, address, limit=limit)
        page = find_actions(open_sessions(config, data), query)
        for id_ in page.damaged:
            typer.echo(
                f"warning: the recording {id_} is damaged; see 'sallyport audit verify'", err=True
            )
        _show_actions(page.actions, as_json)


def _show_actions(actions: Iterable[RecordedAction], as_json: bool) -> None:
    from sallyport.cli import sessionview
    from sallyport.operations.actions import action_data

    if as_json:
        for recorded in actions:
            typer.echo(sessionview.as_json(action_data(recorded)))
        return
    rows = list(actions)
    if rows:
        _console().print(sessionview.action_table(rows))
    else:
        typer.echo("No actions.")


def verify(
    session: Annotated[
        str, typer.Argument(help="Session id or its beginning; without it, every recording.")
    ] = "",
    config: ConfigFile = None,
    data: DataDir = None,
    key: auditproof.Key = "",
    checkpoint: auditproof.Checkpoints = None,
    as_json: AsJson = False,
) -> None:
    """See ``--help``."""
    with errors_told():
        checked = failed = 0
        from sallyport.audit.display import inert
        from sallyport.audit.ports import kind_of
        from sallyport.audit.tlog.verification import LOG
        from sallyport.cli import sessionview
        from sallyport.operations.sessions import BESIDE

        anchor = auditproof.anchor_of(config, data, key, checkpoint)
        sessions = open_sessions(config, data, verifying=True)
        for result in sessions.verify(session, anchor=anchor):
            beside = result.session in BESIDE
            checked += not beside
            failed += not result.ok
            if as_json:
                typer.echo(sessionview.as_json({"ok": result.ok, **_fields(result)}))
                continue
            name = inert(result.session)
            sound = "SHREDDED" if result.shredded else "OK"
            state = sound if result.ok else "FAILED"
            size = f"{counted(result.blocks, 'block')}, {counted(result.events, 'event')}"
            what = "  (what people did)" if kind_of(result.session) == ACTIONS else ""
            if result.session == LOG:
                what = f"  {result.events} entries"
            typer.echo(f"{name}  {state}" + (f"  {size}{what}" if not beside else what))
            for text in [*map(str, result.problems), *(f"note: {note}" for note in result.notes)]:
                typer.echo(f"    {inert(text)}")
        if not as_json:
            typer.echo(
                f"{counted(checked, 'recording')}, {failed} with problems."
                if checked
                else "No recordings."
            )
        if failed:
            raise typer.Exit(1)


def _fields(value: DataclassInstance) -> dict[str, object]:
    return {field.name: getattr(value, field.name) for field in fields(value)}


def _console() -> Console:
    from rich.console import Console

    # Into a pipe there is no width to fit: do not cut what someone will search.
    return Console(
        highlight=False, markup=False, emoji=False, width=None if sys.stdout.isatty() else 200
    )
