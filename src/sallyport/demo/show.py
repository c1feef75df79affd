"""How the demo looks in a terminal (and in a log: without one, plain text of a fixed width)."""

from __future__ import annotations

from rich.box import SIMPLE
from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from sallyport.demo.review import Seen
from sallyport.demo.tour import Reply, Step

_WIDTH_WITHOUT_TERMINAL = 180


def console() -> Console:
    """As wide as the terminal, or of a fixed width where there is none."""
    plain = Console(highlight=False)
    return plain if plain.is_terminal else Console(highlight=False, width=_WIDTH_WITHOUT_TERMINAL)


def step(
    number: int,
    what: Step,
    reply: Reply,
    raw: Reply,
    problem: str,
    *,
    wide: bool,
    seen: Seen | None = None,
) -> RenderableType:
    """One step: title, statement, what came back (with the real data where that is the point),
    verdict.

    wide: there is room for two tables side by side. seen: what a reviewer had before them.
    """
    title = Text.assemble((f"{number}. ", "bold cyan"), (what.title, "bold"))
    sql = Text.assemble(("shop=> ", "dim"), f"{what.sql};".replace("\n", "\n       "))
    verdict = (
        Text(f"✗ {problem}", style="bold red")
        if problem
        else Text("✓ as it must be", style="green")
    )
    if reply.message:
        shown: RenderableType = refusal(reply)
    elif what.raw and reply != raw:
        shown = _pair(table(raw, "in the database"), table(reply, "what the agent gets"), wide=wide)
    else:
        shown = table(reply, "")
    parts: list[RenderableType] = [sql, *_waited(what, reply, seen), shown, verdict]
    return Group(Text(), title, *(Padding(part, (0, 0, 0, 3), expand=False) for part in parts))


def _waited(what: Step, reply: Reply, seen: Seen | None) -> list[RenderableType]:
    """What the client was told before the answer; and, where it waited, what the reviewer saw and
    did meanwhile.
    """
    told: list[RenderableType] = [
        Text.assemble(("NOTICE:  ", "bold blue"), notice.replace("\n", "\n         "))
        for notice in reply.notices
    ]
    if seen is None or what.review is None:
        return told
    rows = "rows not counted" if seen.rows is None else f"it would change {seen.rows} rows"
    plan = f" ({seen.plan})" if seen.plan else ""
    word = "approves" if what.review.approve else "denies"
    review: RenderableType = Group(
        Text(
            f"the reviewer sees {seen.id}: {seen.who} ({seen.agent}) wants to {seen.touches};"
            f" {rows}{plan}",
            style="italic",
        ),
        Text(f"{seen.by} {word} it over the REST interface: {what.review.reason}", style="italic"),
    )
    return [*told[:1], Padding(review, (0, 0, 0, 3), expand=False), *told[1:]]


def _pair(left: RenderableType, right: RenderableType, *, wide: bool) -> RenderableType:
    if not wide:
        return Group(left, right)
    grid = Table.grid(padding=(0, 4))
    grid.add_row(left, right)
    return grid


def table(reply: Reply, title: str) -> RenderableType:
    """The rows of a reply as psql shows them, under a title."""
    grid = Table(box=SIMPLE, pad_edge=False)
    for column in reply.columns:
        grid.add_column(escape(column), overflow="fold")
    for row in reply.rows:
        grid.add_row(*(escape(cell) for cell in row))
    return Group(Text(title, style="italic dim"), grid) if title else grid


def refusal(reply: Reply) -> RenderableType:
    """An error as psql prints it: SQLSTATE and message, DETAIL, HINT."""
    parts = [Text.assemble(("ERROR:  ", "bold red"), f"{reply.sqlstate}: {reply.message}")]
    if reply.detail:
        parts.append(Text.assemble(("DETAIL:  ", "bold"), reply.detail))
    if reply.hint:
        parts.append(Text.assemble(("HINT:  ", "bold yellow"), reply.hint))
    return Group(*parts)
