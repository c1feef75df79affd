"""Expressions for the generated statements: what can be computed from the columns in a scope, by
kind of type.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

#: Relation to its columns, as ``name:kind``.
_TABLES = {
    "people": (
        "id:int team_id:int city:text level:int name:text email:text phone:text ssn:text card:text"
        " birth:date joined:stamp seen:stamptz salary:int score:num weight:float big:int small:int"
        " active:bool mood:mood code:uuid tags:texts doc:jsonb note:json zip:text nick:citext"
        " ip:inet raw:bytea label:text domain:text double_level:int"
    ),
    "teams": (
        "team_id:int team_name:text lead_email:text budget:num region:text founded:date size:int"
    ),
    "visits": "visit_id:int person_id:int day:date page:text address:text cost:num token:text",
    "docs": "doc_id:int owner_id:int title:text body:text price:int",
    "items": "item_id:int person_id:int kind:text amount:num sold_on:date email:text",
    "v_people": "id:int name:text email:text city:text team_id:int level:int birth:date salary:int",
    "v_team_people": (
        "team_id:int team_name:text lead_email:text id:int name:text email:text score:num city:text"
    ),
    "v_domains": "domain:text members:int first_email:text",
    "m_people": "id:int email:text phone:text city:text level:int",
}
_TABLES |= {"visits_2024": _TABLES["visits"], "memos": _TABLES["docs"] + " urgent:bool"}
TABLES = {
    name: dict(column.split(":", 1) for column in columns.split())
    for name, columns in _TABLES.items()
}
#: Columns that tell each row of a relation from all others.
KEYS: dict[str, tuple[str, ...]] = {
    "people": ("id",), "teams": ("team_id",), "visits": ("visit_id",), "visits_2024": ("visit_id",),
    "docs": ("doc_id",),
    "memos": ("doc_id",), "items": ("item_id",), "v_people": ("id",), "v_team_people": ("id",),
    "v_domains": ("domain",),
    "m_people": ("id",),
}  # fmt: skip
PERSON = {"people": "id", "visits": "person_id", "visits_2024": "person_id", "docs": "owner_id",
"memos": "owner_id",
          "items": "person_id", "v_people": "id", "v_team_people": "id",
          "m_people": "id"}  # fmt: skip
#: Kinds that sort and group without two equal values that look different.
SORTABLE = ("int", "num", "text", "date", "stamp", "stamptz", "bool", "mood", "uuid")
_TEXTS = (
    "'a***@example.org'", "'ada4@example.org'", "'[redacted]'", "'hidden'", "'A'", "''", "'Oslo'",
    "'north'", "'1007'", "'+1'",
)  # fmt: skip
_PATTERNS = ("'%example%'", "'a%'", "'%***%'", "'%@%.org'", "'%1%'", "'_d%'", "'%555%'", "'[%'")
_REGEXES = ("'^[a-m]'", "'\\*'", "'@example'", "'[0-9]{3}'", "'(a|b)+'")


@dataclass(frozen=True)
class Source:
    """A range variable. ``keys``: () when its rows cannot be told apart. ``row``: whether it stands
    for a whole row.
    """

    alias: str
    columns: dict[str, str]
    keys: tuple[str, ...] = ()
    row: bool = True


@dataclass
class Scope:
    """``sources``: what names reach. ``bare``: columns may go without their alias, as there is one
    source only.
    """

    sources: list[Source] = field(default_factory=list)
    bare: bool = False

    @property
    def keys(self) -> list[str]:
        """Expressions that order the rows totally; [] when some source has no key."""
        if any(not source.keys for source in self.sources):
            return []
        return [f"{source.alias}.{key}" for source in self.sources for key in source.keys]

    def columns(self, *kinds: str) -> list[str]:
        """Every column of these kinds, qualified."""
        return [
            name if self.bare else f"{source.alias}.{name}"
            for source in self.sources
            for name, kind in source.columns.items()
            if kind in kinds
        ]


class Expressions:
    """``dice``: all chance comes from it, so that a seed gives the same statements."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice

    def pick(self, options: Sequence[str]) -> str:
        return self.dice.choice(options)

    def chance(self, percent: int) -> bool:
        return self.dice.randrange(100) < percent

    def value(self, kind: str, scope: Scope, depth: int = 1) -> str:
        """An expression of kind int, num, text, date or bool; a constant where no column serves."""
        columns = scope.columns(*_CASTS.get(kind, {}), kind)
        if depth <= 0 or self.chance(30):
            return self._leaf(kind, scope, columns)
        makers: dict[str, Callable[[Scope, int], str]] = {
            "text": self._text, "int": self._int, "num": self._num, "date": self._date,
            "bool": self._bool,
        }  # fmt: skip
        return makers[kind](scope, depth - 1)

    def _leaf(self, kind: str, scope: Scope, columns: list[str]) -> str:
        if kind == "bool":
            return self._bool(scope, 0)
        if not columns:
            return _CONSTANTS[kind]
        column = self.pick(columns)
        for source, cast in _CASTS.get(kind, {}).items():
            if column in scope.columns(source):
                return cast.format(column)
        return column

    def any_value(self, scope: Scope, depth: int = 1) -> str:
        return self.value(self.pick(("text", "text", "int", "num", "date", "bool")), scope, depth)

    def _text(self, scope: Scope, depth: int) -> str:
        def text() -> str:
            return self.value("text", scope, depth)

        forms: list[Callable[[], str]] = [
            lambda: f"lower({text()})", lambda: f"upper({text()})",
            lambda: f"left({text()}, {self.dice.randrange(-2, 5)})",
            lambda: f"right({text()}, 4)", lambda: f"substr({text()}, 2, 3)",
            lambda: f"split_part({text()}, '@', 2)",
            lambda: f"replace({text()}, '*', '#')", lambda: f"({text()} || '/' || {text()})",
            lambda: f"coalesce({text()}, 'none')",
            lambda: f"regexp_replace({text()}, '[^0-9]', '', 'g')",
            lambda: f"md5({text()})", lambda: (f"format('%s-%s', {text()},"
                f" {self.value('int', scope, depth)})"),
            lambda: f"nullif({text()}, {self.pick(_TEXTS)})", lambda: f"initcap({text()})",
            lambda: f"reverse({text()})",
            lambda: f"CASE WHEN {self.value('bool', scope, depth)} THEN {text()} ELSE {text()} END",
            lambda: f"to_char({self.value('date', scope, depth)}, 'YYYY-MM')",
            lambda: f"({self.value('date', scope, depth)})::text",
            lambda: f"({self.value('int', scope, depth)})::text",
            lambda: f"concat_ws(',', {text()}, {text()})",
            lambda: f"greatest({text()}, {text()})", lambda: f"lpad({text()}, 6, '.')",
            lambda: f"quote_nullable({text()})",
            lambda: f"substring({text()} from '[a-z]+')",
            lambda: f"(string_to_array({text()}, '.'))[1]",
            lambda: f"translate({text()}, '0123456789', '9876543210')",
            lambda: f"({self.value('num', scope, depth)})::text",
        ]  # fmt: skip
        return self.dice.choice(forms)()

    def _int(self, scope: Scope, depth: int) -> str:
        def integer() -> str:
            return self.value("int", scope, depth)

        forms: list[Callable[[], str]] = [
            lambda: f"length({self.value('text', scope, depth)})",
            lambda: f"({integer()} + {self.dice.randrange(9)})",
            lambda: f"coalesce({integer()}, 0)", lambda: f"abs({integer()})",
            lambda: f"({integer()} % 7)",
            lambda: f"position('@' in {self.value('text', scope, depth)})",
            lambda: f"ascii({self.value('text', scope, depth)})",
            lambda: f"CASE WHEN {self.value('bool', scope, depth)} THEN 1 ELSE 0 END",
            lambda: f"least({integer()}, {integer()})",
            lambda: f"octet_length({self.value('text', scope, depth)})", lambda: f"-({integer()})",
            lambda: f"({integer()} / nullif({integer()} % 5, 0))",
        ]  # fmt: skip
        return self.dice.choice(forms)()

    def _num(self, scope: Scope, depth: int) -> str:
        def number() -> str:
            return self.value("num", scope, depth)

        forms: list[Callable[[], str]] = [
            lambda: f"round({number()}, 1)", lambda: f"({number()} * 2)",
            lambda: f"coalesce({number()}, 0)",
            lambda: f"({number()} + {self.value('int', scope, depth)})",
            lambda: f"extract(year from {self.value('date', scope, depth)})",
            lambda: f"floor({number()})", lambda: f"({self.value('int', scope, depth)} / 4.0)",
            lambda: f"extract(month from {self.value('date', scope, depth)})",
            lambda: f"trunc({number()}, -1)",
        ]  # fmt: skip
        return self.dice.choice(forms)()

    def _date(self, scope: Scope, depth: int) -> str:
        def date() -> str:
            return self.value("date", scope, depth)

        forms: list[Callable[[], str]] = [
            lambda: f"date_trunc('month', {date()})::date", lambda: f"({date()} + 31)",
            lambda: f"coalesce({date()}, date '2000-01-01')",
            lambda: f"greatest({date()}, date '1980-06-15')",
            lambda: f"({date()} - interval '1 month')::date",
            lambda: f"CASE WHEN {self.value('bool', scope, depth)} THEN {date()} END",
        ]  # fmt: skip
        return self.dice.choice(forms)()

    def _bool(self, scope: Scope, depth: int) -> str:
        def text() -> str:
            return self.value("text", scope, depth)

        kind = self.pick(("text", "int", "num", "date"))
        left = self.value(kind, scope, depth)
        forms: list[Callable[[], str]] = [
            lambda: f"{text()} LIKE {self.pick(_PATTERNS)}",
            lambda: f"{text()} ~ {self.pick(_REGEXES)}",
            lambda: f"{left} IS {self.pick(('NULL', 'NOT NULL'))}",
            lambda: f"{left} {self.pick(('=', '<', '>=', '<>'))} {self.constant(kind)}",
            lambda: f"{left} BETWEEN {self.constant(kind)} AND {self.constant(kind)}",
            lambda: f"{left} IN ({self.constant(kind)}, {self.constant(kind)})",
            lambda: f"{text()} = {self.pick(_TEXTS)}",
            lambda: f"{left} = ANY (ARRAY[{self.constant(kind)}, {self.constant(kind)}])",
            lambda: f"{left} IS DISTINCT FROM {self.value(kind, scope, depth)}",
            lambda: f"{left} < {self.value(kind, scope, depth)}",
            lambda: f"starts_with({text()}, 'a')",
            lambda: f"{text()} ILIKE '%EXAMPLE%'",
            lambda: f"({left}, 1) >= ({self.constant(kind)}, 0)",
            lambda: self.special(scope) or f"{text()} > 'f'",
        ]  # fmt: skip
        if depth > 0:
            forms += [
                lambda: (
                    f"({self.value('bool', scope, depth)} AND {self.value('bool', scope, depth)})"
                ),
                lambda: (
                    f"({self.value('bool', scope, depth)} OR {self.value('bool', scope, depth)})"
                ),
                lambda: f"NOT ({self.value('bool', scope, depth)})",
            ]
        return self.dice.choice(forms)()

    def special(self, scope: Scope) -> str:
        """A condition on a column of one of the rarer types; "" when there is none."""
        columns = [(c, kind) for kind in _CONDITIONS for c in scope.columns(kind)]
        if not columns:
            return ""
        column, kind = self.dice.choice(columns)
        return self.pick(_CONDITIONS[kind]).format(column)

    def constant(self, kind: str) -> str:
        if kind == "text":
            return self.pick(_TEXTS)
        if kind == "date":
            return f"date '{self.dice.randrange(1950, 2026)}-{self.dice.randrange(1, 13):02}-01'"
        if kind == "num":
            return f"{self.dice.randrange(0, 100)}.5"
        return str(self.dice.choice((0, 1, 2, 3, 5, 10, 20, 40, 1000, 25000, 40000)))


_CONSTANTS = {"text": "'x'", "int": "1", "num": "1.5", "date": "date '2024-05-05'"}
#: Kind to the kinds that can stand for it, and how.
_CASTS: dict[str, dict[str, str]] = {
    "text": {
        "citext": "{}::text", "uuid": "{}::text", "mood": "{}::text", "inet": "host({})",
        "texts": "array_to_string({}, ',')",
        "jsonb": "({}->>'mail')", "bytea": "encode({}, 'hex')", "json": "({}::text)",
    },
    "date": {"stamp": "{}::date", "stamptz": "{}::date"},
    "num": {"float": "{}::numeric"},
}  # fmt: skip
_CONDITIONS = {
    "citext": ("{} = 'NEO'", "{} = 't***@trin'", "{} LIKE '%cy%'", "{} < 'p'"),
    "texts": ("'t1' = ANY ({})", "{} @> ARRAY['u1']", "cardinality({}) = 2",
    "{} && ARRAY['t2', 'u0']", "{} IS NULL"),
    "jsonb": ("{}->>'k' = '3'", "{} ? 'k'", "({}->'list'->>0)::int > 20", "{} @> '{{\"k\": 1}}'",
    "jsonb_typeof({}) = 'string'"),
    "json": ("({}->>'n')::int > 10", "json_typeof({}) IS NULL"),
    "mood": ("{} = 'happy'", "{} > 'sad'", "{} IS NULL"),
    "uuid": ("{}::text LIKE '0%'", "{} IS NOT NULL"),
    "inet": ("{} << '10.1.0.0/16'", "family({}) = 4", "{} IS NULL"),
    "bytea": ("length({}) = 4", "get_byte({}, 3) > 100", "{} IS NULL"),
    "bool": ("{}", "NOT {}", "{} IS NOT TRUE", "{} IS NULL"),
    "float": ("{} > 55.5", "{} IS NULL", "{} = 60"),
    "stamp": ("{} < '2019-08-01'", "extract(hour from {}) = 0", "{} >= timestamp '2019-07-01'"),
    "stamptz": ("{} < '2024-02-20 00:00+00'", "{} IS NULL", "date_part('day', {}) > 15"),
}  # fmt: skip
