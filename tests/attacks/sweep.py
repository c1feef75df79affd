"""Every function, operator, aggregate and cast that PostgreSQL ships, over masked columns: what is
called harmless must be so for values at the edges of each type too. Made from a server's own
catalog, so that a new version brings its own.

``calls(connection)`` gives cases in the group "sweep": each function with a masked column in one
place and constants in the others, and with masked columns everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg

from tests.attacks.cases import Case

#: Type to a masked column of it, and a constant.
_COLUMNS = {
    "text": ("ssn", "'x'"), "varchar": ("phone", "'x'::varchar"), "bpchar": ("code", "'x'::bpchar"),
    "name": ("", "'x'::name"), "char": ("", "'x'::\"char\""),
    "int4": ("salary", "2"), "int2": ("small", "2::int2"), "int8": ("big", "2::int8"),
    "numeric": ("balance", "2.5"), "float8": ("rating", "2.5::float8"),
    "float4": ("", "2.5::float4"), "money": ("pay", "'2.5'::money"),
    "date": ("birth", "'2024-01-01'::date"), "timestamptz": ("seen", "'2024-01-01'::timestamptz"),
    "timestamp": ("moved", "'2024-01-01'::timestamp"), "time": ("wake", "'12:00'::time"),
    "timetz": ("", "'12:00+00'::timetz"),
    "interval": ("span", "'1 day'::interval"),
    "uuid": ("token", "'00000000-0000-0000-0000-000000000001'::uuid"),
    "jsonb": ("doc", "'{\"k\": 1}'::jsonb"),
    "json": ("raw", "'{\"k\": 1}'::json"), "_text": ("tags", "'{k}'::text[]"),
    "_int4": ("years", "'{1,2}'::int[]"), "bytea": ("blob", "'\\x00'::bytea"),
    "inet": ("addr", "'10.0.0.1'::inet"), "cidr": ("", "'10.0.0.0/8'::cidr"),
    "macaddr": ("mac", "'00:00:00:00:00:01'::macaddr"), "bool": ("flag", "true"),
    "varbit": ("bits", "B'01'::varbit"), "bit": ("bits", "B'01'"), "point": ("spot", "point(1, 2)"),
    "daterange": ("period", "'[2000-01-01,2020-01-01)'::daterange"),
    "tsvector": ("words", "'a:1'::tsvector"), "tsquery": ("", "'a'::tsquery"),
    "jsonpath": ("", "'$.k'::jsonpath"), "oid": ("", "1::oid"), "record": ("p", "ROW(1)"),
    "anyelement": ("salary", "2"), "anynonarray": ("ssn", "'x'::text"),
    "anyarray": ("tags", "'{k}'::text[]"), "anyenum": ("feeling", "'ok'::mood"),
    "anyrange": ("period", "'[2000-01-01,2020-01-01)'::daterange"),
    "anymultirange": ("multirange(period)", "'{}'::datemultirange"), "any": ("ssn", "'x'::text"),
    "anycompatible": ("ssn", "'k'::text"), "anycompatiblearray": ("tags", "'{k}'::text[]"),
    "anycompatiblenonarray": ("ssn", "'k'::text"),
    "anycompatiblerange": ("period", "'empty'::daterange"),
    "box": ("box(spot, spot)", "'(1,1),(0,0)'::box"), "regconfig": ("", "'simple'::regconfig"),
    "regclass": ("", "'people'::regclass"),
    "_float8": ("", "'{0.5}'::float8[]"), "xml": ("", "'<a/>'::xml"),
    "citext": ("nick", "'x'::citext"), "hstore": ("attrs", "'a=>1'::hstore"),
    "ltree": ("path", "'a.b'::ltree"),
    "_timestamptz": ("", "'{}'::timestamptz[]"), "bigint": ("big", "2"),
    "_numeric": ("", "'{1}'::numeric[]"),
}  # fmt: skip

_PLAIN = [
    column for name, (column, _) in _COLUMNS.items() if column and not name.startswith(("_", "any"))
]
#: Where any type will do, every one is tried.
_ANY = {
    key: [*_PLAIN, "tags", "years", "p", "p.home", "ROW(p.raw, p.doc)", "ARRAY[raw]"]
    for key in ("any", "anyelement", "anynonarray", "anycompatible", "record")
}

_FUNCTIONS = """
SELECT p.proname, p.prokind, p.proretset, array(SELECT t.typname
  FROM unnest(p.proargtypes) WITH ORDINALITY a(oid, n) JOIN pg_type t ON t.oid = a.oid
  ORDER BY n)::text[],
  p.provariadic <> 0 FROM pg_proc p LEFT JOIN pg_depend d ON d.classid = 'pg_proc'::regclass
  AND d.objid = p.oid AND d.deptype = 'e'
WHERE (p.pronamespace = 'pg_catalog'::regnamespace OR d.objid IS NOT NULL)
  AND p.prokind IN ('f', 'a') AND p.pronargs BETWEEN 1 AND 4
  AND p.prorettype NOT IN ('internal'::regtype, 'cstring'::regtype, 'trigger'::regtype,
  'event_trigger'::regtype)
ORDER BY 1, 4"""
_OPERATORS = """
SELECT o.oprname, l.typname::text, r.typname::text FROM pg_operator o LEFT JOIN pg_type l
  ON l.oid = o.oprleft JOIN pg_type r ON r.oid = o.oprright ORDER BY 1, 2, 3"""
_TYPES = (
    "SELECT typname FROM pg_type WHERE typtype IN ('b', 'r', 'm') AND typnamespace ="
    " 'pg_catalog'::regnamespace AND typelem = 0 ORDER BY 1"
)


def _arguments(types: list[str]) -> Iterator[list[str]]:
    """All masked; then each one alone."""
    if not all(name in _COLUMNS for name in types):
        return
    both = [_COLUMNS[name] for name in types]
    masked = [number for number, (column, _) in enumerate(both) if column]
    if not masked:
        return
    yield [column or constant for column, constant in both]
    if len(masked) > 1 or len(both) > 1:
        for chosen in masked:
            yield [
                column if number == chosen else constant
                for number, (column, constant) in enumerate(both)
            ]
    for number, name in enumerate(types):
        for column in _ANY.get(name, ()):
            yield [
                column if position == number else constant
                for position, (_, constant) in enumerate(both)
            ]


def texts(connection: psycopg.Connection[Any]) -> Iterator[str]:
    for name, kind, sets, types, variadic in connection.execute(_FUNCTIONS).fetchall():
        for arguments in _arguments(types):
            spread = (
                [*arguments[:-1], f"VARIADIC {arguments[-1]}"]
                if variadic and types[-1].startswith(("_", "any")) and types[-1] != "any"
                else arguments
            )
            call = f'"{name}"({", ".join(spread)})'
            if kind == "a" or not sets:
                yield f"SELECT {call} FROM people p"
            else:
                yield f"SELECT x FROM people p, LATERAL {call} x"
    for name, left, right in connection.execute(_OPERATORS).fetchall():
        for arguments in _arguments([left, right] if left else [right]):
            yield (
                f"SELECT {f' {name} '.join(['', *arguments] if not left else arguments)} FROM"
                " people p"
            )
    targets = [row[0] for row in connection.execute(_TYPES).fetchall()]
    for column, _ in dict.fromkeys(_COLUMNS.values()):
        if column:
            for target in targets:
                yield f'SELECT ({column})::"{target}" FROM people p'
                yield f'SELECT (ARRAY[{column}])::"{target}"[] FROM people p'


def calls(connection: psycopg.Connection[Any]) -> list[Case]:
    return [
        Case("sweep", number, text, {"simple": ""})
        for number, text in enumerate(dict.fromkeys(texts(connection)), 1)
    ]
