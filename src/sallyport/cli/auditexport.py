"""``sallyport audit export``: the record for another system, one line an event, on standard
output.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sallyport.cli.recorded import ConfigFile, DataDir, errors_told, open_sessions
from sallyport.core.errors import SallyportError

if TYPE_CHECKING:
    from sallyport.operations.auditlog import ExportCursor, ExportQuery
    from sallyport.operations.sessions import Sessions

FORMATS = ("jsonl", "cef", "ocsf")
VERDICTS = ("allow", "hold", "deny")

HELP = """Write the record for another system: one line for each login, statement, end of a
session, gap, decision and action.

jsonl is JSON Lines with everything; cef is ArcSight CEF 0; ocsf is OCSF 1.8.0 (Datastore Activity,
API Activity). Values of masked columns are masked as in the recordings. Times are UTC; --to is
excluded. Afterwards a cursor stands on standard error; --since with it goes on from there, or
--cursor keeps it in a file. An event that comes twice has the same id.

Examples:

    sallyport audit export --from 2026-11-01 --to 2026-12-01 > november.jsonl

    sallyport audit export --format cef --verdict deny --target shop

    sallyport audit export --format ocsf --cursor /var/lib/siem/sallyport.cursor >> events.json
"""

From = Annotated[
    str, typer.Option("--from", help="2026-11-29 or 2026-11-29T08:00, UTC; or with an offset.")
]
To = Annotated[str, typer.Option("--to", help="As --from; this moment is excluded.")]


def moment_of(text: str, option: str) -> float | None:
    """Unix seconds of an ISO 8601 date or time, None for "". Raises SallyportError."""
    if not text:
        return None
    try:
        at = datetime.fromisoformat(text)
        return at.replace(tzinfo=at.tzinfo or UTC).timestamp()
    except (ValueError, OverflowError):
        raise SallyportError(
            f"{option} {text!r} is not a time. Write 2026-11-29 or 2026-11-29T08:00 (UTC)"
        ) from None


def add(commands: typer.Typer) -> None:
    """Add ``export`` to ``audit``."""
    commands.command("export", help=HELP)(export)


def export(
    config: ConfigFile = None,
    data: DataDir = None,
    format_: Annotated[str, typer.Option("--format", help="jsonl, cef or ocsf.")] = "jsonl",
    begin: From = "",
    end: To = "",
    subject: Annotated[str, typer.Option(help="Only this subject's, by id or e-mail.")] = "",
    target: Annotated[str, typer.Option(help="Only on this target; actions have none.")] = "",
    session: Annotated[str, typer.Option(help="Only this session; enough of its beginning.")] = "",
    kind: Annotated[
        list[str] | None,
        typer.Option(help="login, statement, end, gap, decision, action; repeatable."),
    ] = None,
    verdict: Annotated[
        str, typer.Option(help="Only statements that got this: allow, hold or deny.")
    ] = "",
    since: Annotated[
        str, typer.Option(help="Continue after this cursor of an earlier export.")
    ] = "",
    cursor_file: Annotated[
        Path | None,
        typer.Option(
            "--cursor",
            help="Keep the cursor in this file, and continue from it if the file exists.",
        ),
    ] = None,
) -> None:
    """See ``--help``."""
    with errors_told():
        from sallyport.operations.auditlog import ExportQuery

        _check("--format", format_, FORMATS)
        _check("--verdict", verdict, ("", *VERDICTS))
        query = ExportQuery(
            since=moment_of(begin, "--from"), until=moment_of(end, "--to"), subject=subject,
            target=target,
            session=session, kinds=_kinds(kind or []), verdict=verdict,
        )  # fmt: skip
        cursor = _cursor(since, cursor_file, query)
        is_damaged = _write(open_sessions(config, data), query, cursor, format_)
        if not query.session and query.until is None:
            if cursor_file is None:
                typer.echo(f"cursor: {cursor}", err=True)
            else:
                _keep(cursor_file, str(cursor))
        if is_damaged:
            raise typer.Exit(1)


def _check(option: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise SallyportError(f"{option} takes {', '.join(filter(None, choices))}; not {value!r}")


def _kinds(kinds: list[str]) -> tuple[str, ...]:
    from sallyport.operations.auditlog import KINDS

    for kind in kinds:
        _check("--kind", kind, KINDS)
    return tuple(kinds)


def _cursor(since: str, file: Path | None, query: ExportQuery) -> ExportCursor:
    """Raises SallyportError."""
    from sallyport.operations.auditlog import ExportCursor

    if (since or file is not None) and (query.session or query.until is not None):
        raise SallyportError("--since and --cursor cannot be combined with --session or --to")
    if since and file is not None:
        raise SallyportError("give --since or --cursor, not both")
    if file is not None and file.exists():
        since = file.read_text(errors="replace")
    return ExportCursor.parse(since) if since else ExportCursor()


def _write(sessions: Sessions, query: ExportQuery, cursor: ExportCursor, format_: str) -> bool:
    """Whether a recording could not be read to its end. OSError when standard output cannot be
    written.
    """
    from sallyport.audit.display import inert
    from sallyport.operations.auditcef import cef_line
    from sallyport.operations.auditlog import audit_events, json_line
    from sallyport.operations.auditocsf import ocsf_line

    damaged: list[str] = []

    def warn(recording: str, problem: str) -> None:
        damaged.append(recording)
        typer.echo(
            f"warning: {inert(recording)}: {inert(problem)}; see 'sallyport audit verify'", err=True
        )

    line = {"jsonl": json_line, "cef": cef_line, "ocsf": ocsf_line}[format_]
    out = sys.stdout.buffer
    for event in audit_events(sessions, query, cursor, time.time(), warn):
        out.write(f"{line(event)}\n".encode())
    out.flush()
    return bool(damaged)


def _keep(file: Path, text: str) -> None:
    """Replace the file whole, so that what breaks off leaves the cursor before. Raises
    SallyportError.
    """
    draft = file.with_name(f".{file.name}.new")
    try:
        draft.write_text(f"{text}\n")
        os.replace(draft, file)
    except OSError as error:
        raise SallyportError(f"cannot keep the cursor in {file}: {error.strerror}") from None
