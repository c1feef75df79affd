"""Masks in SQL on real servers: never an error, and the native mask's value for every value there
is.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from sallyport.masking.sqlmasks import MAX_TEXT, mask_expression, null_expression, reads_column
from sallyport.policy.decision import MaskSpec
from sallyport.sql.catalog.snapshot import Type
from sallyport.sql.text.parse import parse
from tests.masking.sqlmasks_values import (
    HOSTILE,
    LAID_OUT,
    SETTINGS,
    SPECS,
    VALUES,
    cells,
    meaning,
    native_mask,
    type_oid,
)


def _is_corner(
    spec: MaskSpec, name: str, raw: bytes | None, masked: bytes | None, binary: bool
) -> bool:
    """Whether this is one of the differences that the module lists."""
    if masked == b"[redacted]":
        return raw is not None and raw.rstrip() in LAID_OUT
    if masked is not None:
        return False
    if spec.kind == "constant":
        unstorable = {"name": {"a" * 70}, "jsonb": {r'"\u0000"', r'"\ud800"', "1e400000"}}
        return spec.value in unstorable.get(
            name, {"9999999-01-01", "300000-01-01 00:00:00", "300000-01-01 00:00:00+00"}
        )
    if spec.kind == "bucket" and name in ("float4", "float8") and raw is not None:
        number = (
            float(raw) if not binary else struct.unpack(">f" if name == "float4" else ">d", raw)[0]
        )
        return spec.size < 1e-30 or abs(number) > 1.7976e308
    return spec.kind == "email" and name == "name" and len(raw or b"") > 61


@pytest.mark.parametrize("binary", [False, True], ids=["text", "binary"])
@pytest.mark.parametrize("name", VALUES)
def test_value_is_that_of_the_native_mask(
    connection: psycopg.Connection[Any], types: dict[int, Type], name: str, binary: bool
) -> None:
    table = f"v{list(VALUES).index(name)}"
    oid = type_oid(connection, table)
    for spec in SPECS:
        text = mask_expression(spec, 't."c"', oid, types)
        for raw, masked in cells(connection, f"SELECT t.c, {text} FROM {table} t", binary):
            expected = native_mask(spec, oid, int(binary), types, raw)
            if meaning(name, expected, binary) != meaning(name, masked, binary):
                assert _is_corner(spec, name, raw, masked, binary), (spec, raw, expected, masked)


@pytest.mark.parametrize("name", VALUES)
def test_no_setting_changes_a_value(
    dsn: str, connection: psycopg.Connection[Any], types: dict[int, Type], name: str
) -> None:
    table = f"v{list(VALUES).index(name)}"
    oid = type_oid(connection, table)
    queries = [
        f"SELECT {mask_expression(s, 't.c', oid, types)} FROM {table} t ORDER BY id" for s in SPECS
    ]
    ordinary = [cells(connection, query, True) for query in queries]
    for number in range(3):
        settings = {**SETTINGS, **{name: options[number] for name, options in HOSTILE.items()}}
        with psycopg.connect(dsn, autocommit=True) as hostile:
            for setting, value in settings.items():
                hostile.execute("SELECT set_config(%s, %s, false)", (setting, value))
            assert [cells(hostile, query, True) for query in queries] == ordinary


@pytest.mark.parametrize("name", VALUES)
def test_type_is_the_base_type_without_a_modifier(
    connection: psycopg.Connection[Any], types: dict[int, Type], name: str
) -> None:
    table = f"v{list(VALUES).index(name)}"
    oid = base = type_oid(connection, table)
    while types[base].kind == "d":
        base = types[base].base
    for spec in SPECS:
        text, null = mask_expression(spec, "t.c", oid, types), null_expression(oid, types)
        arms = f"SELECT {text} AS m FROM {table} t UNION ALL SELECT {null} FROM {table} WHERE false"
        for query in (
            f"SELECT {text} FROM {table} t",
            f"SELECT {null}",
            f"SELECT m FROM ({arms}) a",
        ):
            result = connection.execute(query.encode()).pgresult
            assert result is not None
            assert (result.ftype(0), result.fmod(0)) == (base, -1), query
        assert reads_column(spec, oid, types) == ("t.c" in text)


def test_no_value_is_too_long(connection: psycopg.Connection[Any], types: dict[int, Type]) -> None:
    """Up to MAX_TEXT bytes the mask, beyond it NULL."""
    connection.execute("CREATE TEMP TABLE long AS SELECT repeat('a', 50000000) AS c")
    connection.execute(
        "INSERT INTO long SELECT repeat(unit, %s / octet_length(unit) + more)"
        " FROM unnest('{ü,a}'::text[]) unit, generate_series(0, 1) more",
        (MAX_TEXT,),
    )
    connection.execute("INSERT INTO long VALUES ('a' || repeat('b', 1000000) || '@example.com')")
    specs = [
        MaskSpec("email"),
        MaskSpec("partial", keep_first=2, keep_last=3),
        MaskSpec("hash", key="k"),
    ]
    masks = ", ".join(mask_expression(spec, "t.c", 25, types) for spec in specs)
    rows = cells(
        connection, f"SELECT {masks} FROM long t WHERE octet_length(c) > {MAX_TEXT}", False
    )
    assert rows == [(None,) * len(specs)] * 3
    rows = cells(
        connection, f"SELECT c, {masks} FROM long t WHERE octet_length(c) <= {MAX_TEXT}", False
    )
    assert len(rows) == 3
    for raw, email, partial, token in rows:
        # the native masks of text take seconds where they are not compiled
        text = (raw or b"").decode()
        assert email == (b"a***@example.com" if "@" in text else b"[redacted]")
        assert partial == f"{text[:2]}{'*' * (len(text) - 5)}{text[-3:]}".encode()
        assert token == native_mask(specs[2], 25, 0, types, raw)


def test_what_is_only_laid_out_as_utf8_is_redacted(
    connection: psycopg.Connection[Any], types: dict[int, Type]
) -> None:
    connection.execute("CREATE TEMP TABLE laid_out (c text)")
    insert = "INSERT INTO laid_out VALUES ((%s::bytea)::text)"
    connection.cursor().executemany(insert, [(value,) for value in LAID_OUT])
    for spec in (MaskSpec("email"), MaskSpec("partial", keep_last=1)):
        query = f"SELECT {mask_expression(spec, 't.c', 25, types)} FROM laid_out t"
        assert cells(connection, query, False) == [(b"[redacted]",)] * len(LAID_OUT)


def test_what_is_out_of_range_is_null(
    connection: psycopg.Connection[Any], types: dict[int, Type]
) -> None:
    for name, value in [
        *(
            ("numeric", number)
            for number in ("1e500", "-1e500", "1e131071", "-1e131071", "1e-16383", "1e-491")
        ),
        *(("date", day) for day in ("4714-11-24 BC", "4714-12-31 BC")),
        ("timestamp", "4714-11-24 00:00:00 BC"),
        ("timestamptz", "4714-11-24 00:00:00+00 BC"),
    ]:
        oid = {"numeric": 1700, "date": 1082, "timestamp": 1114, "timestamptz": 1184}[name]
        for spec in SPECS:
            if spec.kind in ("bucket", "date"):
                text = mask_expression(spec, "t.c", oid, types)
                assert cells(
                    connection,
                    f"SELECT {text} FROM (SELECT '{value}'::{name} AS c OFFSET 0) t",
                    True,
                ) == [(None,)]


# --- names ----------------------------------------------------------------------------------------

_PLAIN_NODES = {
    "SelectStmt",
    "ResTarget",
    "ColumnRef",
    "A_Const",
    "CaseWhen",
    "NullTest",
    "BoolExpr",
    "String",
}


def _unqualified(node: Any) -> Iterator[Any]:
    """Names in a parse tree that search_path would resolve."""
    if isinstance(node, list):
        for element in node:
            yield from _unqualified(element)
    elif isinstance(node, dict):
        for key, child in node.items():
            names = {"FuncCall": "funcname", "A_Expr": "name", "CollateClause": "collname"}.get(key)
            if key in ("TypeName", "typeName"):
                names = "names"
            if names is not None:
                parts = [part["String"]["sval"] for part in child[names]]
                if len(parts) != 2 or (parts[0] != "pg_catalog" and parts[1] != "citext"):
                    yield parts
            is_odd = (key == "A_Expr" and child["kind"] != "AEXPR_OP") or (
                key == "CaseExpr" and "arg" in child
            )
            if is_odd or (key == "SubLink" and "testexpr" in child):
                yield child
            if (
                key[0].isupper()
                and names is None
                and key not in _PLAIN_NODES | {"CaseExpr", "SubLink", "TypeCast", "List"}
            ):
                yield key
            yield from _unqualified(child)


@pytest.mark.parametrize("name", VALUES)
def test_all_names_are_qualified(
    connection: psycopg.Connection[Any], types: dict[int, Type], name: str
) -> None:
    oid = type_oid(connection, f"v{list(VALUES).index(name)}")
    for spec in SPECS:
        for encoding in ("UTF8", "WIN1252", "LATIN1"):
            text = mask_expression(spec, "t.c", oid, types, encoding)
            select = parse(f"SELECT {text} FROM v".encode())[0].node["SelectStmt"]
            names = [
                qualified
                for qualified in _unqualified(select["targetList"])
                if qualified != ["public", name.removesuffix("[]")]
            ]
            assert [n for n in names if n[0] != "public"] == [], text


_SHADOWED_FUNCTIONS = """
SELECT DISTINCT format('CREATE FUNCTION shadow.%%I(%%s) RETURNS %%s
    LANGUAGE plpgsql AS $$BEGIN RAISE ''shadow''; END$$',
  proname, pg_get_function_identity_arguments(p.oid), prorettype::regtype)
FROM pg_proc p WHERE pronamespace = 'pg_catalog'::regnamespace AND prokind = 'f' AND NOT proretset
  AND proname = ANY (%s)
AND NOT EXISTS (SELECT FROM pg_type t WHERE typtype = 'p'
  AND (t.oid = prorettype OR t.oid = ANY (proargtypes)))"""
_SHADOWED_OPERATORS = """
SELECT format('CREATE FUNCTION shadow.o%%s(%%s, %%s) RETURNS %%s
    LANGUAGE plpgsql AS $$BEGIN RAISE ''shadow''; END$$;
  CREATE OPERATOR shadow.%%s (FUNCTION = shadow.o%%s, LEFTARG = %%s, RIGHTARG = %%s)',
  o.oid, oprleft::regtype, oprright::regtype, oprresult::regtype, oprname, o.oid, oprleft::regtype,
  oprright::regtype)
FROM pg_operator o WHERE oprnamespace = 'pg_catalog'::regnamespace AND oprleft <> 0
  AND oprname = ANY (%s)
AND NOT EXISTS (SELECT FROM pg_type t WHERE typtype = 'p'
  AND t.oid IN (oprresult, oprleft, oprright))"""


@pytest.fixture(scope="module")
def shadow(dsn: str, types: dict[int, Type]) -> str:
    """A search_path whose first schema has a failing one of every function, operator and type in
    the masks.
    """
    texts = " ".join(
        mask_expression(spec, "c", oid, types)
        for spec in SPECS
        for oid, kind in types.items()
        if kind.kind == "b" and kind.schema == "pg_catalog" and oid < 10000
    )
    functions = sorted(set(re.findall(r"pg_catalog\.(\w+)\(", texts)))
    operators = sorted(set(re.findall(r"OPERATOR\(pg_catalog\.([^)]+)\)", texts)))
    names = sorted(set(re.findall(r"::pg_catalog\.(\w+)", texts)))
    assert {"left", "sha256"} < set(functions)
    assert {"||", "=", "~"} < set(operators)
    assert {"text", "int8"} < set(names)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA shadow")
        for query, parameter in (
            (_SHADOWED_FUNCTIONS, functions),
            (_SHADOWED_OPERATORS, operators),
        ):
            for (statement,) in connection.execute(query, (parameter,)).fetchall():
                connection.execute(statement)
        for name in names:
            connection.execute(
                f"CREATE DOMAIN shadow.{name} AS pg_catalog.int4 CHECK (VALUE = 12345678)"
            )
    return "shadow, pg_catalog, public"


@pytest.mark.parametrize("name", VALUES)
def test_what_stands_first_in_search_path_is_not_used(
    connection: psycopg.Connection[Any], types: dict[int, Type], name: str, shadow: str
) -> None:
    table = f"v{list(VALUES).index(name)}"
    oid = type_oid(connection, table)
    queries = [
        f"SELECT {mask_expression(s, 't.c', oid, types)} FROM public.{table} t" for s in SPECS
    ]
    ordinary = [cells(connection, query, True) for query in queries]
    connection.execute("SELECT set_config('search_path', %s, false)", (shadow,))
    for statement in (
        "SELECT left('a'::pg_catalog.text, 1)",
        "SELECT 'a'::pg_catalog.text || 'b'",
        "SELECT 'a'::text",
    ):
        with pytest.raises(psycopg.Error):
            connection.execute(statement.encode())
    assert [cells(connection, query, True) for query in queries] == ordinary
