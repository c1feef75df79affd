"""Reads the tables of statements (``attacks/*.sql``, ``benign/*.sql``).

One case is one line; a line that begins with white space goes on with the line before. ``;;``
separates the steps of a case, which run one after the other in one session. ``<<<`` after a COPY
... FROM STDIN gives the data. ``{table.column}`` is a masked value of world 0, ``{table.column+1}``
that of the next row. ``\\xNN`` is a byte. Lines that begin with ``--`` are comments, and headings
when they begin with ``--:``. A case may begin with options in brackets:

``[as builder]`` run as the builder, in worlds that may be ruined. ``[restless]`` the answer differs
by itself (clocks, transaction ids), so only canaries are looked for. ``[masked a b*]`` in benign
cases: these output columns show their mask; with ``*``: are computed from masks. ``[since 16]``:
needs this version. ``[simple]``: the simple protocol only. ``[residual WHY]`` documented in
docs/threat-model.md as not defended: reported apart.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
_OPTION = re.compile(r"\[([a-z]+)((?: [^\]]*)?)\]\s*")
_VALUE = re.compile(r"\{([a-z]\w*)\.([a-z]\w*)(?:\+(\d))?\}")
_BYTE = re.compile(rb"\\x([0-9a-f]{2})")


@dataclass(frozen=True)
class Step:
    """One statement. ``data``: what COPY FROM STDIN is given."""

    sql: bytes
    data: bytes | None = None


@dataclass(frozen=True)
class Case:
    group: str
    line: int
    text: str
    options: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.group}:{self.line}: {self.text}"

    def steps(self, value: Callable[[str, str, int], str]) -> list[Step]:
        """``value(table, column, row)`` fills in what the attacker guesses."""
        filled = _VALUE.sub(lambda m: value(m[1], m[2], int(m[3] or 0)), self.text)
        out = []
        for part in filled.split(";;"):
            sql, marker, data = part.partition("<<<")
            rows = (
                data.strip().encode().decode("unicode_escape").encode() + b"\n" if marker else None
            )
            raw = _BYTE.sub(lambda m: bytes([int(m[1], 16)]), sql.strip().encode())
            out.append(Step(raw, rows))
        return out


def read(folder: str, major: int) -> list[Case]:
    """Every case of a folder that this version of PostgreSQL can run."""
    cases = [case for path in sorted((HERE / folder).glob("*.sql")) for case in _read(path)]
    return [case for case in cases if int(case.options.get("since", 0)) <= major]


def _read(path: Path) -> list[Case]:
    lines: list[tuple[int, str]] = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if line.startswith("--") or not line.strip():
            continue
        if line[0] in " \t":
            lines[-1] = (lines[-1][0], f"{lines[-1][1]}\n{line.strip()}")
        else:
            lines.append((number, line.rstrip()))
    cases = []
    for number, text in lines:
        options: dict[str, str] = {}
        while match := _OPTION.match(text):
            options[match[1]] = match[2].strip()
            text = text[match.end() :]
        cases.append(Case(path.stem, number, text, options))
    return cases
