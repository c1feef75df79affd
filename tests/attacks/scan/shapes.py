"""Reads ``shapes.sql``: statements with places for relations with masked columns, and writes them
for the gateway (the relation's name) or by hand (a subselect with masks), to see what the tests
would find without the gateway's care.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from tests.attacks.scan.places import HERE

_PLACE = re.compile(r"\{(\w+)\}")
_WITHOUT_ALIAS = re.compile(r"\}(?=\)| WHERE|$)")
_OPTION = re.compile(r"\[(since|writes|for|unserved)(?: ([^\]]*))?\]\s*")


@dataclass(frozen=True)
class Shape:
    group: str
    line: int
    text: str
    since: int = 0
    writes: bool = False
    agents: tuple[str, ...] = ()  # only for these
    unserved: bool = False  # may be refused

    def sql(self, write: Callable[[str], str] = str) -> str:
        """``write``: what stands for a relation's name."""
        text = self.text if write is str else _WITHOUT_ALIAS.sub("} x", self.text)
        return _PLACE.sub(lambda place: write(place[1]), text)

    @property
    def simple_relations(self) -> bool:
        """Whether :func:`by_hand` knows all of its relations with masks."""
        return all(name in _COLUMNS for name in _PLACE.findall(self.text))

    def steps(self, *before: str) -> list[bytes]:
        """What an agent sends; whatever it writes is undone."""
        statements = [
            *before,
            *(("BEGIN", self.sql(), "ROLLBACK") if self.writes else (self.sql(),)),
        ]
        return [statement.encode() for statement in statements]


def read(major: int, agent: str = "") -> list[Shape]:
    """Every shape that this version can run, and this agent."""
    shapes, group = [], ""
    for number, line in enumerate((HERE / "shapes.sql").read_text().splitlines(), 1):
        if line.startswith("--:"):
            group = line[3:].strip()
        if line.startswith("--") or not line.strip():
            continue
        options: dict[str, str] = {}
        while match := _OPTION.match(line):
            options[match[1]] = match[2] or ""
            line = line[match.end() :]
        agents = tuple(options.get("for", "").split())
        shape = Shape(
            group,
            number,
            line.strip(),
            int(options.get("since", 0)),
            "writes" in options,
            agents,
            "unserved" in options,
        )
        if shape.since <= major and (not agents or agent in agents):
            shapes.append(shape)
    return shapes


#: Masks by hand, for :func:`by_hand`: column name to an expression over it.
_MASKS = {
    "ssn": "pg_catalog.repeat('*', pg_catalog.length(t.ssn) - 4) || pg_catalog.right(t.ssn, 4)",
    "email": "pg_catalog.left(t.email, 1) || '***@' || pg_catalog.split_part(t.email, '@', 2)",
    "notes": "'[redacted]'::text", "phone": "NULL::text", "label": "'same'::text",
    "pad": "'[redacted]'::text", "token": "NULL::uuid",
    "salary": "t.salary / 1000 * 1000",
    "born": "pg_catalog.make_date(extract(year FROM t.born)::int, 1, 1)",
    "score": "pg_catalog.floor(t.score / 10) * 10",
    "seen": "pg_catalog.date_trunc('day', t.seen, 'UTC')", "extra": "NULL::text",
    "pin": "pg_catalog.left(t.pin, 2)",
}  # fmt: skip
_COLUMNS = {
    "customers": "id age salary born seen token active city void ssn email notes phone label pad",
    "small": "id name ssn email notes phone label salary score born",
    "mm": "id ssn",
    "pp": "a ssn z",
    "one": "ssn",
    "events": "id day kind ssn",
    "parent": "id pin",
}


def by_hand(arm: bool) -> Callable[[str], str]:
    """Writes a subselect for a relation: with an arm that gives no row, or without (which
    PostgreSQL flattens).
    """

    def write(relation: str) -> str:
        columns = _COLUMNS.get(relation)
        if columns is None:
            return relation
        names = columns.split()
        shown = ", ".join(
            f"{_MASKS[name]} AS {name}" if name in _MASKS else f"t.{name}" for name in names
        )
        select = f"SELECT {shown} FROM public.{relation} t"
        if arm:
            nothing = ", ".join("NULL" if n in _MASKS else f"t.{n}" for n in names)
            select += f" UNION ALL SELECT {nothing} FROM public.{relation} t WHERE false"
        return f"({select})"

    return write
