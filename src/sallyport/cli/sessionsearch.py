"""``sallyport sessions search``: recorded statements by words and by what they touched."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from sallyport.cli.auditexport import From, To, moment_of
from sallyport.cli.recorded import ConfigFile, DataDir, directories, errors_told

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from sallyport.operations.statementsearch import SearchPage
    from sallyport.store.statementindex import StatementHit, StatementIndexPort

HELP = """Search recorded statements by words of the SQL and by filters, newest first.

A word is found in any case; "several words" must follow each other; drop* stands for every word
that begins so. Filters are kind:value: subject (id or e-mail), actor, agent, label, target,
session, verdict (allow, hold, deny), code, rule, relation, column, masked (a column that came back
masked), sqlstate, fingerprint. Schema and relation may be left out of names. All of it must hold of
one statement. Values of masked columns are searched as the recordings have them: masked.

A page that is full ends with what --after goes on from. With --json: one object a line, and the
last has next and what is searched.

Examples:

    sallyport sessions search "drop table" verdict:deny

    sallyport sessions search masked:customers.email agent:claude-code --from 2026-11-01

    sallyport sessions search 'email lower*' relation:customers sqlstate:42501 --limit 200 --json
"""


def add(commands: typer.Typer) -> None:
    """Add ``search`` to ``sessions``."""
    commands.command("search", help=HELP)(search)


def search(
    words: Annotated[
        list[str] | None, typer.Argument(help="Words of the SQL, and filters: kind:value.")
    ] = None,
    config: ConfigFile = None,
    data: DataDir = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON Lines instead.")] = False,
    begin: From = "",
    end: To = "",
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many.")] = 50,
    after: Annotated[str, typer.Option(help="Go on behind the page that ended with this.")] = "",
) -> None:
    """See :data:`HELP`."""
    with errors_told():
        from sallyport.cli.storeaccess import shared_store
        from sallyport.operations.sessions import permit
        from sallyport.operations.statementsearch import StatementSearches, read_query
        from sallyport.store.postgres import engine_of
        from sallyport.store.sharedsearch import SharedStatementSearch
        from sallyport.store.statementsearch import StatementSearch

        directory, _ = directories(config, data)
        query = read_query(
            _joined(words or []),
            since=moment_of(begin, "--from"),
            until=moment_of(end, "--to"),
            after=after,
            limit=limit,
        )
        address = shared_store(config, data)

        def index() -> StatementIndexPort:
            if address is None:
                return StatementSearch(directory)
            return SharedStatementSearch(engine_of(address))

        page = StatementSearches(index, permit).search(query)
        _print(page, as_json)


def _joined(words: Sequence[str]) -> str:
    """As one line. The shell has taken quotation marks away: what has spaces was quoted there."""
    return " ".join(_quoted(word) for word in words)


def _quoted(word: str) -> str:
    if not any(map(str.isspace, word)) or '"' in word:
        return word
    from sallyport.store.statementindex import KINDS

    kind, colon, value = word.partition(":")
    return f'{kind}:"{value}"' if colon and kind.lower() in KINDS else f'"{word}"'


def _print(page: SearchPage, as_json: bool) -> None:
    from sallyport.cli import sessionview
    from sallyport.operations.statementsearch import hit_data, state_text

    note = state_text(page.state, time.time())
    if as_json:
        for hit in page.hits:
            typer.echo(sessionview.as_json(hit_data(hit)))
        last = {
            "next": page.next,
            "statements": page.state.statements,
            "complete_until": page.state.complete_until,
            "oldest": page.state.oldest,
            "dropped": page.state.dropped,
        }
        typer.echo(sessionview.as_json(last))
        return
    if page.hits:
        from rich.console import Console

        console = Console(
            highlight=False, markup=False, emoji=False, width=None if sys.stdout.isatty() else 200
        )
        console.print(_table(page.hits))
    else:
        typer.echo("No statements like that.")
    if page.next is not None:
        typer.echo(f"More: --after {page.next}")
    if note:
        typer.echo(f"note: {note}", err=True)


def _table(hits: Sequence[StatementHit]) -> Table:
    from rich.table import Table

    from sallyport.audit.display import inert
    from sallyport.audit.ports import one_line
    from sallyport.core.clock import rfc3339

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in (
        "time",
        "session",
        "no.",
        "who",
        "agent",
        "target",
        "verdict",
        "code",
        "statement",
    ):
        table.add_column(name, overflow="fold", no_wrap=name in ("time", "no.", "verdict", "code"))
    for hit in hits:
        statement = hit.statement
        cells = (
            rfc3339(statement.at)[:19] + "Z", statement.session, str(statement.number),
            statement.email or statement.subject, statement.agent, statement.target,
            statement.outcome, statement.code or statement.sqlstate, one_line(statement.sql)[:300],
        )  # fmt: skip
        table.add_row(*map(inert, cells))
    return table
