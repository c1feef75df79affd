"""Random queries over the schema, for the same two oracles: a small typed grammar, and mutations of
the benign statements (public columns become masked ones; a whole statement becomes part of
another), and :mod:`shapes`, most of which is allowed. ``queries(seed, count)`` is the same for the
same seed.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator

from tests.attacks.cases import Case, read
from tests.attacks.shapes import Shapes

_PUBLIC = {"text": ["name", "city"], "int": ["id", "age"], "bool": ["active"], "date": ["joined"]}
_MASKED = {
    "text": ["ssn", "email", "phone", "zip::text"],
    "int": ["salary", "small"],
    "bool": ["flag"],
    "date": ["birth"],
}


class Grammar:
    """One query. ``spice``: how often a masked column is taken where a column is needed."""

    def __init__(self, dice: random.Random, spice: float) -> None:
        self.dice, self.spice = dice, spice
        self.aliases: list[str] = []

    def pick(self, *options: str) -> str:
        return self.dice.choice(options)

    def column(self, kind: str) -> str:
        names = _MASKED if self.dice.random() < self.spice else _PUBLIC
        return f"{self.dice.choice(self.aliases)}.{self.dice.choice(names[kind])}"

    def constant(self, kind: str) -> str:
        return {"text": self.pick("'m'", "'Ada'", "''"),
            "int": self.pick("0", "1", "3", "500000000"),
            "bool": self.pick("true", "false", "NULL"),
                "date": self.pick("'2024-03-12'::date", "'1950-01-01'::date")}[kind]  # fmt: skip

    def value(self, kind: str, depth: int) -> str:
        if depth <= 0 or self.dice.random() < 0.3:
            return (
                self.column(kind)
                if self.aliases and self.dice.random() < 0.8
                else self.constant(kind)
            )
        return getattr(self, f"_{kind}")(depth - 1)

    def _text(self, d: int) -> str:
        v = self.value
        return self.pick(
            f"upper({v('text', d)})", f"{v('text', d)} || {v('text', d)}",
            f"coalesce({v('text', d)}, {v('text', d)})",
            f"CASE WHEN {v('bool', d)} THEN {v('text', d)} ELSE {v('text', d)} END",
            f"left({v('text', d)}, {v('int', d)})",
            f"({v('int', d)})::text", f"concat({v('text', d)}, {v('date', d)})",
            f"nullif({v('text', d)}, {v('text', d)})",
            f"replace({v('text', d)}, 'a', {v('text', d)})", f"({v('date', d)})::text",
            f"format('%s', {v('text', d)})",
            f"(SELECT max(z.name) FROM people z WHERE z.id = {v('int', d)})",
            f"(ARRAY[{v('text', d)}, {v('text', d)}])[{v('int', d)}]",
            f"greatest({v('text', d)}, {v('text', d)})", f"to_jsonb({v('text', d)}) #>> '{{}}'",
            f"md5({v('text', d)})",
        )  # fmt: skip

    def _int(self, d: int) -> str:
        v = self.value
        return self.pick(
            f"length({v('text', d)})", f"({v('int', d)} % 7)", f"({v('int', d)} - {v('int', d)})",
            f"({v('bool', d)})::int",
            f"CASE WHEN {v('bool', d)} THEN {v('int', d)} END",
            f"coalesce({v('int', d)}, {v('int', d)})", f"({v('int', d)} / {v('int', d)})",
            f"extract(year FROM {v('date', d)})::int", f"least({v('int', d)}, {v('int', d)})",
            f"strpos({v('text', d)}, {v('text', d)})",
            f"(SELECT count(*) FROM orders o WHERE o.person_id = {v('int', d)})::int",
            f"num_nulls({v('text', d)}, {v('int', d)})",
            f"abs({v('int', d)})", f"({v('text', d)})::int", f"ascii({v('text', d)})",
        )  # fmt: skip

    def _bool(self, d: int) -> str:
        v = self.value
        kind = self.pick("text", "int", "date", "bool")
        operator = self.pick("=", "<", ">=", "<>", "IS DISTINCT FROM")
        return self.pick(
            f"({v(kind, d)} {operator} {v(kind, d)})", f"({v('bool', d)} AND {v('bool', d)})",
            f"({v('bool', d)} OR {v('bool', d)})",
            f"(NOT {v('bool', d)})", f"({v(kind, d)} IS NULL)", f"({v('text', d)} LIKE 'a%')",
            f"({v(kind, d)} IN ({v(kind, d)}, {v(kind, d)}))",
            f"EXISTS (SELECT FROM people z WHERE z.id = {v('int', d)} AND {v('bool', d)})",
            f"({v('int', d)} BETWEEN {v('int', d)} AND {v('int', d)})",
            f"coalesce({v('bool', d)}, {v('bool', d)})",
            f"({v('int', d)} = ANY (ARRAY[{v('int', d)}]))", f"({v('bool', d)} IS TRUE)",
            f"({v('int', d)} IN (SELECT z.id FROM people z WHERE {v('bool', d)}))",
        )  # fmt: skip

    def _date(self, d: int) -> str:
        v = self.value
        return self.pick(f"({v('date', d)} + {v('int', d)})",
            f"coalesce({v('date', d)}, {v('date', d)})",
            f"greatest({v('date', d)}, {v('date', d)})",
                         f"date_trunc('year', {v('date', d)})::date",
                         f"CASE WHEN {v('bool', d)} THEN {v('date', d)} END")  # fmt: skip

    def source(self, alias: str) -> str:
        columns = (
            "id, name, city, age, joined, active, ssn, email, phone, zip, salary, small, flag,"
            " birth"
        )
        self.aliases = [alias]
        kind = self.pick("table", "table", "table", "subquery", "lateral", "function")
        if kind == "subquery":
            where = (
                f" WHERE {self.value('bool', 1).replace(alias + '.', '')}"
                if self.dice.random() < 0.3
                else ""
            )
            return f"(SELECT {columns} FROM people{where}) {alias}"
        if kind == "lateral":
            return f"people x{alias} CROSS JOIN LATERAL (SELECT x{alias}.*) {alias}"
        if kind == "function":
            return f"generate_series(1, 2) g{alias} JOIN people {alias} ON {alias}.id > g{alias}"
        return f"people {alias}"

    def select(self, depth: int = 2) -> str:
        sources, aliases = [self.source("a")], ["a"]
        if self.dice.random() < 0.3:
            joined = self.source("b")
            aliases.append("b")
            self.aliases = aliases
            how = self.pick("JOIN", "LEFT JOIN", "FULL JOIN")
            condition = (
                "a.id = b.id"
                if how == "FULL JOIN" or self.dice.random() < 0.6
                else self.value("bool", 1)
            )
            sources = [f"{sources[0]} {how} {joined} ON {condition}"]
        self.aliases = aliases
        kinds = [self.pick("text", "int", "bool", "date") for _ in range(self.dice.randrange(1, 4))]
        items = [self.value(kind, depth) for kind in kinds]
        tail = ""
        shape = self.dice.random()
        if shape < 0.15:
            aggregates = [
                f"{self.pick('max', 'min', 'count')}({self.value(k, 1)})" for k in ("text", "int")
            ]
            items, tail = [*aggregates, f"count(*) FILTER (WHERE {self.value('bool', 1)})"], ""
        elif shape < 0.3:
            key = self.value(self.pick("text", "int", "bool"), 1)
            items, tail = [key, "count(*)", f"max({self.value('int', 1)})"], f" GROUP BY {key}"
        elif shape < 0.45:
            frame = f"PARTITION BY {self.value('bool', 0)} ORDER BY {self.value('int', 1)}, a.id"
            items.append(
                f"{self.pick('rank()', 'row_number()', 'lag(a.name)', 'sum(a.age)')} OVER ({frame})"
            )
        where = f" WHERE {self.value('bool', depth - 1)}" if self.dice.random() < 0.5 else ""
        if not tail and shape >= 0.3:
            tail = (
                f" ORDER BY {self.value('int', 1)}, a.id"
                if self.dice.random() < 0.3
                else " ORDER BY a.id"
            )
            tail += self.pick(
                "",
                "",
                " LIMIT 3",
                f" LIMIT (SELECT {self.pick('age', 'length(ssn)')} FROM people WHERE id = 1)",
            )
        distinct = "DISTINCT " if self.dice.random() < 0.08 and "ORDER" not in tail else ""
        return f"SELECT {distinct}{', '.join(items)} FROM {sources[0]}{where}{tail}"

    def statement(self) -> str:
        query = self.select()
        roll = self.dice.random()
        if roll < 0.55:
            return query
        first = query.split(" FROM ")[0].removeprefix("SELECT ")
        return self.pick(
            f"SELECT q.* FROM ({query}) q", f"WITH q AS ({query}) SELECT count(*) FROM q",
            f"WITH q AS MATERIALIZED ({query}) TABLE q",
            f"SELECT EXISTS ({query})", f"COPY ({query}) TO STDOUT", f"EXPLAIN (COSTS off) {query}",
            f"SELECT row_to_json(q) FROM ({query}) q",
            f"INSERT INTO notes (title) SELECT left({self._text(1)}, 5) FROM people a, people b",
            (f"UPDATE notes SET title = {self._text(1)} FROM people a JOIN people b ON a.id = b.id"
             f" WHERE a.id = notes.id RETURNING title"),
            (f"DELETE FROM orders USING people a, people b WHERE a.id = person_id AND"
             f" {self._bool(1)}"),
            f"EXPLAIN {query}", f"SELECT count(*) FROM ({query}) q",
            f"({query}) UNION ALL ({query})" if first else query,
        )  # fmt: skip


_SWAPS = {"name": ["ssn", "email", "phone"], "city": ["nick", "email"], "age": ["salary", "small"],
    "joined": ["birth"], "active": ["flag"],
          "holder": ["number"], "kind": ["secret"], "label": ["secret"]}  # fmt: skip
_WRAPS = ("SELECT q.* FROM ({}) q", "WITH q AS ({}) SELECT * FROM q", "SELECT count(*) FROM ({}) q",
    "SELECT EXISTS ({})", "COPY ({}) TO STDOUT",
          "EXPLAIN {}", "SELECT ARRAY(SELECT q::text FROM ({}) q)",
          "SELECT to_jsonb(q) FROM ({}) q", "({0}) UNION ALL ({0})",
          "SELECT q.* FROM people p, LATERAL ({}) q")  # fmt: skip


def _mutant(dice: random.Random, benign: list[Case]) -> str:
    text = dice.choice(benign).text
    for public, masked in _SWAPS.items():
        if dice.random() < 0.5:
            text = re.sub(
                rf"(?<![\w(]\()\b{public}\b(?!\s*\()",
                lambda _, m=masked, p=public: dice.choice(m) if dice.random() < 0.5 else p,
                text,
            )  # type: ignore[misc]
    if (
        text.startswith(("SELECT", "WITH", "TABLE", "VALUES"))
        and ";;" not in text
        and dice.random() < 0.3
    ):
        text = dice.choice(_WRAPS).format(text)
    return text


def queries(seed: int, count: int, major: int) -> Iterator[Case]:
    """``count`` cases in the group "generated"; the number of each is its seed."""
    benign = [
        c for c in read("benign", major) if "simple" not in c.options and "SHOW" not in c.text
    ]
    for number in range(seed, seed + count):
        dice = random.Random(number)
        kind = number % 6
        if kind == 0:
            text = _mutant(dice, benign)
        elif kind == 1:
            text = Grammar(dice, dice.choice([0.1, 0.25, 0.5])).statement()
        else:
            text = Shapes(dice, major, dice.choice([0, 0, 0.05, 0.2])).statement()
        restless = (
            {"restless": ""}
            if re.search(r"\bctid\b|random|reltuples|EXPLAIN.*(pg_|information_schema)", text)
            else {}
        )
        yield Case("generated", number, text, restless)
