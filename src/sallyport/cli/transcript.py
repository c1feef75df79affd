"""A recorded session as psql would have shown it, for a terminal, a file or an asciicast.

Everything recorded is shown inert (:func:`sallyport.audit.display.inert`): the escapes in it are
visible, none acts.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Final

from rich.cells import cell_len

from sallyport.audit import replay as rp
from sallyport.audit.display import inert, outcome_of
from sallyport.core.wording import counted

#: Types whose values psql aligns to the right: numbers (src/include/catalog/pg_type.dat).
_NUMBERS: Final = frozenset((20, 21, 23, 26, 700, 701, 790, 1700))
#: Characters of one value that are shown.
_CELL: Final = 1000
_WIDTH, _HEIGHT = 120, 32


class PsqlTranscript:
    """``limit``: rows of each result that are shown; the rest is counted."""

    def __init__(self, limit: int = 50) -> None:
        self._limit = limit
        self._prompt = "=> "
        self._columns: rp.Columns | None = None
        self._rows: list[tuple[str | None, ...]] = []
        self._more = 0

    def texts(self, steps: Iterable[rp.Step]) -> Iterator[tuple[float, str]]:
        """What appears, and when: seconds since login. Each text ends in a line feed."""
        at = 0.0
        for step in steps:
            if isinstance(step, rp.ResultRow):
                self._add(step)
                continue
            if self._columns is not None and not rp.is_notice(step):
                yield at, self._table()
            at = max(at, step.at)
            if text := self._shown(step):
                yield at, text
        if self._columns is not None:
            yield at, self._table()

    def _add(self, step: rp.ResultRow) -> None:
        if len(self._rows) < self._limit:
            self._rows.append(step.values)
        else:
            self._more += 1

    def _shown(self, step: rp.Step) -> str:
        match step:
            case rp.Opened(login=login):
                self._prompt = f"{inert(login.target)}=> "
                who = f"{inert(login.subject.id)} of {inert(login.subject.issuer)}"
                agent = f", agent {inert(login.subject.agent)}" if login.subject.agent else ""
                return f"-- session {inert(login.session)}: {who}{agent}\n"
            case rp.Asked():
                return self._asked(step)
            case rp.Columns():
                self._columns = step
            case rp.Diagnostic():
                told = f"{step.severity}:  {inert(step.message, newlines=True)}\n"
                for name, text in (("DETAIL", step.detail), ("HINT", step.hint)):
                    told += f"{name}:  {inert(text, newlines=True)}\n" if text else ""
                return told
            case rp.CommandCompleted(tag=tag):
                return "" if tag.startswith(("SELECT ", "FETCH ")) else f"{inert(tag)}\n"
            case rp.Copied(direction=direction, data=data):
                text = inert(
                    data.decode("utf-8", "backslashreplace").removesuffix("\n"), newlines=True
                )
                return "".join(
                    f"{'>> ' if direction == 'in' else ''}{line}\n" for line in text.split("\n")
                )
            case rp.Remark():
                return f"-- {inert(step.kind)}: {inert(step.text)}\n"
            case rp.Closed(reason=reason):
                return f"-- the session ended: {inert(reason)}\n"
        return ""

    def _asked(self, step: rp.Asked) -> str:
        statement = step.statement
        lines = inert(statement.sql.rstrip().rstrip(";"), newlines=True).split("\n")
        going_on = self._prompt.replace("=>", "->")
        text = "".join(
            f"{going_on if place else self._prompt}{line}\n" for place, line in enumerate(lines)
        )
        text = f"{text[:-1]};\n"
        for place, value in enumerate(step.binds, 1):
            text += f"-- ${place} = {'NULL' if value is None else inert(value)}\n"
        if statement.outcome != "allow":
            because = " ".join(filter(None, (statement.code, statement.rule)))
            text += f"-- {outcome_of(inert(statement.outcome))}: {inert(because)}\n"
        if statement.sent:
            text += f"-- sent as: {inert(statement.sent)}\n"
        if statement.masked:
            text += f"-- masked: {inert(', '.join(statement.masked))}\n"
        return text

    def _table(self) -> str:
        """As psql's aligned format with border 1 (src/fe_utils/print.c)."""
        columns, rows, more = self._columns, self._rows, self._more
        self._columns, self._rows, self._more = None, [], 0
        if columns is None:
            return ""
        names = [_short(name) for name in columns.names]
        cells = [["" if value is None else _short(value) for value in row] for row in rows]
        widths = [max(map(cell_len, column)) for column in zip(names, *cells, strict=True)]
        head = "|".join(
            f" {_middle(name, width)} " for name, width in zip(names, widths, strict=True)
        )
        lines = [head, "+".join("-" * (width + 2) for width in widths)]
        for row in cells:
            placed = zip(row, widths, columns.types, strict=True)
            lines.append(
                "|".join(f" {_side(cell, width, oid)} " for cell, width, oid in placed).rstrip()
            )
        count = len(rows) + more
        if more:
            lines.append(f"-- {more} more rows are in the recording")
        lines.append(f"({counted(count, 'row')})")
        return "\n".join(lines) + "\n\n"


def _short(text: str) -> str:
    shown = inert(text)
    return shown if len(shown) <= _CELL else f"{shown[:_CELL]}… ({len(shown)} characters)"


def _middle(text: str, width: int) -> str:
    space = width - cell_len(text)
    return " " * (space // 2) + text + " " * (space - space // 2)


def _side(text: str, width: int, oid: int) -> str:
    space = " " * (width - cell_len(text))
    return space + text if oid in _NUMBERS else text + space


def asciicast(
    texts: Iterable[tuple[float, str]], title: str, started: float, max_pause: float
) -> Iterator[str]:
    """Lines of an asciicast v2 (docs.asciinema.org/manual/asciicast/v2), without their line feeds.
    ``started``: Unix seconds. ``max_pause``: seconds that a player waits at most.
    """
    yield json.dumps(
        {
            "version": 2, "width": _WIDTH, "height": _HEIGHT, "timestamp": int(started),
            "title": inert(title),
            "idle_time_limit": max_pause,
        }
    )  # fmt: skip
    for at, text in texts:
        yield json.dumps([round(at, 6), "o", text.replace("\n", "\r\n")])
