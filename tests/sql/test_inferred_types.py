"""The type that the gateway infers for an expression is PostgreSQL's own, or not told: by it the
overload is chosen that is judged.

Every function and operator of pg_catalog, and every kind of expression over pairs of types, is
described by a real server and compared.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import psycopg
import pytest

from sallyport.sql.analysis import Analysis, Context, Work
from sallyport.sql.catalog.snapshot import CatalogSnapshot
from sallyport.sql.extract import HANDLERS
from sallyport.sql.lineage import UNKNOWN_TYPE
from sallyport.sql.names.resolve import name_resolver
from sallyport.sql.names.scope import Scope
from sallyport.sql.text.parse import parse
from sallyport.sql.values.types import TEXT

TYPES = (
    "bool", "bytea", '"char"', "name", "int8", "int2", "int4", "text", "oid", "json", "jsonb",
    "xml", "float4", "float8", "bpchar",
    "varchar", "date", "time", "timestamp", "timestamptz", "timetz", "interval", "bit", "varbit",
    "numeric", "uuid", "inet", "cidr",
    "money", "point", "regclass", "tsvector", "int4[]", "text[]", "numeric[]", "int4range",
    "fx.mood", "fx.us_zip",
)  # fmt: skip
FEW = (
    "int2",
    "int4",
    "int8",
    "numeric",
    "float8",
    "text",
    "varchar",
    "name",
    "date",
    "timestamptz",
    "jsonb",
    "int4[]",
    "text[]",
    "numeric[]",
    "int2vector",
    "fx.us_zip",
    "fx.mood",
    "record",
)
LITERALS = (
    "1", "-1", "+1", "2147483647", "-2147483648", "2147483648", "-2147483649",
    "9223372036854775807", "9223372036854775808",
    "-9223372036854775808", "1.5", "-1.5", "1e3", "0x1F", "0o17", "0b11", "1_000", "- -1", "'x'",
    "NULL", "true", "B'1'", "X'1F'", "E'x'",
    "U&'x'", "$$x$$", "DATE '2020-01-01'", "INTERVAL '1' DAY", "interval(3) '1 s'", "int '4'",
    "N'x'", "ROW(1, 2)", "ARRAY[1, 2]",
)  # fmt: skip
PAIRS = (
    "CASE WHEN true THEN {} ELSE {} END", "COALESCE({}, {})", "GREATEST({}, {})", "NULLIF({}, {})",
    "ARRAY[{}, {}]",
    "(SELECT {} UNION ALL SELECT {} LIMIT 1)",
    "(SELECT v FROM (VALUES ({}), ({})) AS t(v) LIMIT 1)", "{} + {}", "{} || {}", "{} - {}",
    "{} * {}", "{} = {}", "{} IS DISTINCT FROM {}", "{} IN ({}, NULL)", "round({}, {})",
    "concat({}, {})", "array_append({}, {})",
    "array_cat({}, {})", "array_prepend({}, {})", "array_remove({}, {})",
    "array_replace({}, {}, NULL)", "{} || ARRAY[{}]", "ARRAY[{}] || {}",
    "ARRAY[{}] || ARRAY[{}]", "array_position({}, {})", "array_fill({}, {})", "mod({}, {})",
    "jsonb_build_array({}, {})", "width_bucket({}, {})", "lag({}, 1, {}) OVER ()",
)  # fmt: skip
SINGLES = (
    "{}", "({})", "-{}", "+{}", "NOT {}", "{} IS NULL", "({})[1]", "({})[1:2]", "ARRAY[{}]",
    "ARRAY[[{}]]", "ARRAY(SELECT {})",
    "(SELECT {})", "min({})", "max({})", "sum({})", "avg({})", "count({})", "array_agg({})",
    "json_agg({})", "string_agg({}, ',')",
    "first_value({}) OVER ()", "percentile_disc(0.5) WITHIN GROUP (ORDER BY {})",
    "mode() WITHIN GROUP (ORDER BY {})",
    "percentile_cont(0.5) WITHIN GROUP (ORDER BY {})", "abs({})", "lower({})", "length({})",
    "to_json({})", "to_jsonb({})",
    "({}) COLLATE \"C\"", "EXTRACT(epoch FROM {})", "date_trunc('day', {})",
    "{} AT TIME ZONE 'UTC'", "substring({} FROM 1)",
    "trim({})", "overlay({} PLACING 'x' FROM 1)", "position('x' IN {})", "{} LIKE 'x'", "{} ~ 'x'",
    "{} BETWEEN {} AND {}",
    "{}::text", "CAST({} AS varchar(3))", "unnest({})", "JSON_OBJECT('a': {})", "JSON_ARRAY({})",
    "JSON_SCALAR({})", "{} IS JSON",
    "json_build_object('a', {})", "{} -> 'a'", "{} ->> 'a'", "{} #> '{{a}}'", "coalesce({}, NULL)",
    "coalesce({}, 'x')", "coalesce({}, 1)",
    "JSON_VALUE({}, '$.a')", "JSON_QUERY({}, '$.a')", "JSON_EXISTS({}, '$.a')",
    "JSON_VALUE({}, '$.a' RETURNING int)",
    "JSON_ARRAYAGG({})", "JSON_OBJECTAGG('a': {})", "JSON_SERIALIZE({})", "JSON({})", "{} + '1'",
    "'1' + {}", "{} || 'x'", "'x' || {}",
    "{} + 1", "{} * 1.5", "{} / 2", "{} % 2", "{} ^ 2", "{} - '1'", "nullif({}, '1')",
    "nullif('1', {})", "greatest({}, '1')",
)  # fmt: skip
WORDS = (
    "current_date", "current_time", "current_timestamp", "localtime", "localtimestamp",
    "current_user", "session_user", "current_role",
    "user", "current_catalog", "current_schema", "current_timestamp(2)", "EXISTS (SELECT 1)",
    "1 = ANY (ARRAY[1])", "ROW(1, 2) = ROW(1, 2)",
    "(1, 2) < (1, 3)", "1 IN (SELECT 1)", "GROUPING(1)", "row_number() OVER ()", "count(*)",
    "rank() OVER (ORDER BY 1)", "ntile(2) OVER ()",
)  # fmt: skip


def _inferred(catalog: CatalogSnapshot, sql: str) -> int | None:
    """0: not told. None: the gateway would refuse the statement whatever type it has."""
    assert HANDLERS  # registered by their import
    statement = parse(sql.encode())[0].node
    analysis = Analysis(
        name_resolver(catalog, ("public",)), Context(search_path=("public",)), Work()
    )
    columns = analysis.query(statement, Scope())
    if analysis.facts(0, len(sql)).unknowns:
        return None
    return columns[0].value.type if columns else 0


def _compare(
    dsn: str, catalog: CatalogSnapshot, expressions: Iterator[str] | list[str]
) -> tuple[int, list[str]]:
    """How many types were told, and the differences."""
    told, wrong = 0, []
    with psycopg.connect(dsn, autocommit=True) as db:
        for expression in expressions:
            sql = f"SELECT {expression}"
            if db.pgconn.prepare(b"", sql.encode()).error_message:
                continue
            actual = db.pgconn.describe_prepared(b"").ftype(0)
            inferred = _inferred(catalog, sql)
            if not inferred:
                continue
            told += 1
            if inferred != actual and not (inferred == UNKNOWN_TYPE and actual == TEXT):
                wrong.append(f"{sql}: inferred {inferred}, is {actual}")
    return told, wrong


def _values() -> list[str]:
    return [*(f"NULL::{type_}" for type_ in TYPES), *LITERALS]


def test_of_each_type_alone(facts_dsn: str, catalog: CatalogSnapshot) -> None:
    expressions = [shape.format(*[value] * 3) for shape, value in product(SINGLES, _values())]
    told, wrong = _compare(facts_dsn, catalog, [*WORDS, *expressions])
    assert not wrong, "\n".join(wrong)
    assert told > 500


@pytest.mark.parametrize("shape", PAIRS)
def test_of_pairs(facts_dsn: str, catalog: CatalogSnapshot, shape: str) -> None:
    values = [*(f"NULL::{type_}" for type_ in FEW), *LITERALS[:14], "'x'", "NULL"]
    told, wrong = _compare(
        facts_dsn, catalog, [shape.format(left, two) for left, two in product(values, values)]
    )
    assert not wrong, "\n".join(wrong)
    assert told


_FUNCTIONS = """
SELECT quote_ident(p.proname) || '(' || coalesce(string_agg('NULL::' || format_type(t.type, NULL),
  ', ' ORDER BY t.n), '') || ')'
FROM pg_proc p LEFT JOIN LATERAL unnest(p.proargtypes) WITH ORDINALITY AS t(type, n) ON true
WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.prokind IN ('f', 'a') AND p.oid < 10000
  AND NOT EXISTS (SELECT FROM unnest(p.proargtypes) u JOIN pg_type y ON y.oid = u
  WHERE y.typtype = 'p')
GROUP BY p.oid, p.proname
"""
_OPERATORS = """
SELECT coalesce('NULL::' || format_type(nullif(o.oprleft, 0), NULL), '') || ' OPERATOR(pg_catalog.'
  || o.oprname || ') NULL::' ||
  format_type(o.oprright, NULL)
FROM pg_operator o JOIN pg_type r ON r.oid = o.oprright WHERE o.oid < 10000 AND r.typtype <> 'p'
  AND (o.oprleft = 0 OR (SELECT typtype <> 'p' FROM pg_type WHERE oid = o.oprleft))
"""


@pytest.mark.parametrize(
    ("query", "least"), [(_FUNCTIONS, 1000), (_OPERATORS, 600)], ids=["functions", "operators"]
)
def test_of_calls(facts_dsn: str, catalog: CatalogSnapshot, query: str, least: int) -> None:
    with psycopg.connect(facts_dsn) as db:
        expressions = [text for (text,) in db.execute(query).fetchall()]
    told, wrong = _compare(facts_dsn, catalog, expressions)
    assert not wrong, "\n".join(wrong)
    assert told > least
