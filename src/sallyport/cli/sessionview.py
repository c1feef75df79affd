"""How recorded sessions look in a terminal, and as JSON. Everything recorded is shown inert: see
:func:`inert`.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
from rich import box
from rich.table import Table
from rich.text import Text

from sallyport.audit import replay as rp
from sallyport.audit.display import inert, outcome_of
from sallyport.audit.ports import SessionRow
from sallyport.operations.jsondata import row_data, struct_data

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from sallyport.audit.actions import RecordedAction
    from sallyport.operations.sessions import StatementLine

#: Characters of one value that a table shows.
_CELL = 200


def moment(seconds: float | None) -> str:
    """Unix seconds as UTC."""
    if seconds is None:
        return ""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S") + "Z"


def duration(seconds: float) -> str:
    """Seconds as people read them."""
    if seconds < 1:
        return f"{seconds * 1000:.1f} ms"
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}h {minutes % 60}m" if minutes >= 60 else f"{minutes}m {rest}s"


def who(row: SessionRow) -> str:
    """The subject, and the label where that is another name."""
    return inert(row.subject) + (
        f" ({inert(row.label)})" if row.label and row.label != row.subject else ""
    )


#: Narrower than this, the list of sessions is told in fewer characters.
WIDE = 130
#: Of an id, what a list of sessions shows then: the time in milliseconds and 4 random characters.
_SHORT_ID = 18


def session_table(rows: list[SessionRow], width: int = WIDE) -> Table:
    """width: of the terminal. At 100 columns, nothing but names is broken into lines."""
    return _wide(rows) if width >= WIDE else _narrow(rows)


def _narrow(rows: list[SessionRow]) -> Table:
    """``show`` and ``replay`` take the beginning of an id."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 0))
    table.add_column("session", no_wrap=True)
    table.add_column("started (UTC)", no_wrap=True)
    table.add_column("took", no_wrap=True)
    table.add_column("who", overflow="fold")
    table.add_column("target", overflow="fold")
    for name in ("stmts", "refused", "rows"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("status", no_wrap=True)
    for row in rows:
        via = f" via {inert(row.agent)}" if row.agent and row.agent != row.subject else ""
        cells = [
            row.id[:_SHORT_ID],
            moment(row.started)[:16],
            _took(row),
            who(row) + via,
            inert(row.target),
        ]
        numbers = (Text(str(row.statements)), _refused(row), Text(str(row.rows)))
        table.add_row(*map(Text, cells), *numbers, _status(row))
    return table


def _took(row: SessionRow) -> str:
    return "" if row.ended is None else duration(max(row.ended - row.started, 0.0))


def _refused(row: SessionRow) -> Text:
    return Text(str(row.refused), style="red" if row.refused else "")


def _status(row: SessionRow) -> Text:
    return Text(row.status, style={"live": "green", "interrupted": "yellow"}.get(row.status, ""))


def _wide(rows: list[SessionRow]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("session", "started", "took", "who", "agent", "target"):
        table.add_column(name, no_wrap=name in ("session", "started"), overflow="fold")
    for name in ("statements", "refused", "rows"):
        table.add_column(name, justify="right")
    table.add_column("status", no_wrap=True)
    for row in rows:
        cells: list[RenderableType] = [
            Text(text) for text in (row.id, moment(row.started), _took(row))
        ]
        cells += [Text(text) for text in (who(row), inert(row.agent), inert(row.target))]
        table.add_row(
            *cells, Text(str(row.statements)), _refused(row), Text(str(row.rows)), _status(row)
        )
    return table


def statement_table(lines: Iterable[StatementLine], *, full: bool) -> Iterator[Table]:
    """Tables of up to 500 statements each, so that a long session is shown as it is read."""
    table, count = _statement_head(), 0
    for line in lines:
        sql = inert(line.sql, newlines=full)
        if not full:
            sql = " ".join(line.sql.split())
            sql = inert(sql if len(sql) <= _CELL else sql[:_CELL] + "…")
        shown = Text(sql)
        if full and line.sent:
            shown.append(f"\nsent as: {inert(line.sent, newlines=True)}", style="dim")
        if line.notice:
            shown.append(f"\n{inert(line.notice)}", style="dim")
        for label, text in (("", line.message), ("DETAIL: ", line.detail), ("HINT: ", line.hint)):
            if text:
                shown.append(f"\n{label}{inert(text)}", style="dim")
        verdict = Text(outcome_of(line.outcome), style=_STYLES.get(line.outcome, ""))
        because = " ".join(filter(None, (line.code, line.rule)))
        took = "" if line.seconds is None else f"{line.seconds * 1000:.1f}"
        table.add_row(
            str(line.number),
            f"{line.at:.3f}",
            verdict,
            Text(inert(because)),
            Text(str(line.rows) if line.seconds is not None else ""),
            Text(took),
            Text(inert(line.sqlstate or line.command)),
            shown,
        )
        count += 1
        if count == 500:
            yield table
            table, count = _statement_head(), 0
    if count:
        yield table


_STYLES = {"allow": "green", "deny": "red", "hold": "yellow", "refused": "red", "failed": "yellow"}


def _statement_head() -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("#", justify="right")
    table.add_column("at s", justify="right")
    table.add_column("outcome")
    table.add_column("why", overflow="fold")
    table.add_column("rows", justify="right")
    table.add_column("ms", justify="right")
    table.add_column("result", overflow="fold")
    table.add_column("SQL", overflow="fold", ratio=1)
    return table


def action_table(actions: Iterable[RecordedAction]) -> Table:
    """What people did: who, from where, what, to what, with which outcome."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("when (UTC)", no_wrap=True)
    for name in ("who", "from", "action", "object", "outcome"):
        table.add_column(name, overflow="fold")
    table.add_column("details", overflow="fold", ratio=1)
    for recorded in actions:
        action = recorded.action
        details = [
            f"{key}={_short(' '.join(value.split()))}" for key, value in action.details.items()
        ]
        outcome = Text(action.outcome, style=_STYLES.get(action.outcome, ""))
        if action.reason:
            outcome.append(f": {inert(_short(action.reason))}", style="dim")
        cells = (
            action.subject.email or action.subject.id or "nobody",
            f"{action.channel} {action.address}",
            action.name,
            action.object,
        )
        shown = [Text(inert(cell)) for cell in cells]
        table.add_row(moment(recorded.time), *shown, outcome, Text(inert(", ".join(details))))
    return table


class ReplayView:
    """Prints steps as a terminal session. ``limit``: rows of each result that are shown; the rest
    is counted.
    """

    def __init__(
        self, console: Console, *, limit: int = 50, pause: Callable[[float], None] | None = None
    ) -> None:
        self._console = console
        self._limit = limit
        self._pause = pause
        self._at = 0.0
        self._name = "agent"
        self._columns: rp.Columns | None = None
        self._rows: list[tuple[str | None, ...]] = []
        self._more = 0

    def show(self, steps: Iterable[rp.Step]) -> None:
        for step in steps:
            if not isinstance(step, rp.ResultRow) and not rp.is_notice(step):
                self._table()
            if self._pause is not None and step.at > self._at:
                self._pause(step.at - self._at)
            self._at = max(self._at, step.at)
            self._step(step)
        self._table()

    def _step(self, step: rp.Step) -> None:
        match step:
            case rp.ResultRow():
                if len(self._rows) < self._limit:
                    self._rows.append(step.values)
                else:
                    self._more += 1
            case rp.Columns():
                self._columns = step
            case rp.Asked():
                self._asked(step)
            case rp.Diagnostic():
                self._diagnostic(step)
            case rp.CommandCompleted():
                self._line(f"  {step.tag}", "dim")
            case rp.Copied():
                self._copied(step)
            case rp.StatementEnded():
                if step.complete.seconds >= 0.001:
                    self._line(f"  {duration(step.complete.seconds)}", "dim")
            case rp.Opened():
                self._opened(step)
            case rp.Remark():
                self._line(
                    f"-- {step.kind}: {step.text}", "yellow" if step.kind == "gap" else "dim"
                )
            case rp.Closed():
                self._line(f"[+{step.at:.3f}] session over: {step.reason}", "bold")

    def _line(self, text: str, style: str = "") -> None:
        self._console.print(Text(inert(text), style=style), soft_wrap=True)

    def _opened(self, step: rp.Opened) -> None:
        login = step.login
        subject = login.subject
        self._name = inert(subject.agent or subject.label or subject.id)
        self._line(f"session {login.session}, {moment(login.started)}", "bold")
        self._line(
            f"  {subject.id} of {subject.issuer}, groups {', '.join(subject.groups) or 'none'}"
        )
        self._line(
            f"  agent {subject.agent or '-'}, label {subject.label or '-'} (user name as the client"
            f" gave it, not verified), application {login.application or '-'} (not verified)"
        )
        if subject.actors:
            self._line(f"  acting for {subject.id}: {', for '.join(subject.actors)}")
        role = f" as {login.role}" if login.role else ""
        self._line(f"  {login.client} -> {login.target}{role}")
        for what, values in (("claims", login.claims), ("settings", login.settings)):
            if values:
                pairs = ", ".join(f"{name}={value}" for name, value in values.items())
                self._line(f"  {what}: {pairs}")

    def _asked(self, step: rp.Asked) -> None:
        statement = step.statement
        self._console.print()
        head = f"[+{step.at:.3f}] {self._name}"
        for place, line in enumerate(inert(statement.sql, newlines=True).split("\n")):
            prompt = f"{head}> " if place == 0 else f"{'.' * len(head)}> "
            self._console.print(
                Text(prompt, style="cyan").append(line, style="bold white"), soft_wrap=True
            )
        for place, (value, binary) in enumerate(zip(step.binds, step.binary, strict=True), 1):
            self._line(f"  ${place} = {_bind(value, binary)}", "dim")
        if statement.outcome != "allow":
            because = " ".join(
                filter(None, (statement.code, statement.rule and f'by "{statement.rule}"'))
            )
            self._line(
                f"  {outcome_of(statement.outcome)} {because}",
                _STYLES.get(statement.outcome, "red"),
            )

    def _diagnostic(self, step: rp.Diagnostic) -> None:
        bad = step.severity in ("ERROR", "FATAL", "PANIC")
        style = "red" if bad else "yellow"
        self._line(f"  {step.severity} {step.sqlstate}: {step.message}", style)
        if step.detail:
            self._line(f"  DETAIL: {step.detail}", style)
        if step.hint:
            self._line(f"  HINT: {step.hint}", style)

    def _copied(self, step: rp.Copied) -> None:
        arrow = "<" if step.direction == "in" else ">"
        text = step.data.decode("utf-8", "backslashreplace").removesuffix("\n")
        for line in text.split("\n")[: self._limit]:
            self._line(f"  {arrow} {_short(line)}", "dim")

    def _table(self) -> None:
        columns, self._columns = self._columns, None
        rows, self._rows = self._rows, []
        more, self._more = self._more, 0
        if columns is None:
            return
        table = Table(box=box.ROUNDED, show_edge=True)
        for name in columns.names:
            table.add_column(Text(inert(name)), overflow="fold")
        for row in rows:
            table.add_row(
                *(
                    Text("NULL", style="dim") if cell is None else Text(_short(inert(cell)))
                    for cell in row
                )
            )
        self._console.print(table)
        if more:
            self._line(f"  ... and {more} more rows", "dim")


def _bind(value: str | None, binary: bool) -> str:
    """A parameter. ``binary``: nobody said its type; of the sizes of an integer, most are one."""
    if value is None:
        return "NULL"
    if not binary:
        return f"'{_short(value)}'"
    raw = bytes.fromhex(value[2:])
    number = (
        f", {int.from_bytes(raw, 'big', signed=True)} if an integer"
        if len(raw) in (2, 4, 8)
        else ""
    )
    return f"{_short(value)} (binary, type unknown{number})"


def _short(text: str) -> str:
    return text if len(text) <= _CELL else f"{text[:_CELL]}… ({len(text)} characters)"


def as_json(value: object) -> str:
    """One line of JSON, ASCII only (so inert in a terminal); bytes as base64, values of ours as
    objects.
    """
    return json.dumps(value, default=_plain).replace("\x7f", "\\u007f")


def _plain(value: Any) -> Any:
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(value).decode()
    if isinstance(value, SessionRow):
        return row_data(value)
    if isinstance(value, msgspec.Struct):
        return struct_data(value)
    if is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    return str(value)
