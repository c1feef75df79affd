"""Everything that the extensions of each server bring, against extensions.tsv: nothing without a
judgement, nothing listed that is not there.

Debian's server adds PostGIS, the wheel's pgvector; all have PostgreSQL's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import psycopg
import pytest

from sallyport.sql.catalog.extensions import _tables, knows_type, listed, unreadable
from sallyport.sql.catalog.functions import (
    _INTERNAL_TYPES,
    _NOT_BUILT_IN,
    _NOT_LISTED,
    NO_CAST,
    classify,
    classify_cast,
    classify_operator,
    is_known,
    type_names,
)
from sallyport.sql.catalog.snapshot import CatalogSnapshot, Function
from sallyport.sql.extract import Context, analyze
from tests.support.postgres import DEBIAN, WHEEL, Server
from tests.targets.query import catalog_of

#: Not classified: what they bring is the policy's to name. Languages and what ties them to types;
#: PostGIS beyond its vector part.
_NOT_CLASSIFIED = {"plpgsql", "plperl", "plperlu", "plpython3u", "pltcl", "pltclu"} | {
    "postgis_raster", "postgis_sfcgal", "postgis_tiger_geocoder", "postgis_topology",
    "address_standardizer_data_us",
}  # fmt: skip
#: Control files without a script or a library that these servers have.
_CANNOT_BE_MADE = ("_plperl", "_plperlu", "_plpython2u", "_plpython3u", "_plpythonu", "-3",
"plperl", "plperlu", "plpython3u")  # fmt: skip
#: Neither C nor one SELECT: users' functions as far as the gateway can tell, so the policy must
#: name them.
_FOR_POLICY = {
    ("postgis", name)
    for name in (
        "_postgis_deprecate", "get_proj4_from_srid", "postgis_full_version", "postgis_svn_version",
        "st_bdmpolyfromtext", "st_bdpolyfromtext", "st_letters",
        # over types that only indexes handle
        "contains_2d", "is_contained_2d", "overlaps_2d", "overlaps_geog", "overlaps_nd",
    )
}  # fmt: skip
#: Types of index keys: no value of them is ever written as text.
_INDEX_KEYS = {
    "gbtreekey2", "gbtreekey4", "gbtreekey8", "gbtreekey16", "gbtreekey32", "gbtreekey_var",
    "intbig_gkey", "ltree_gist", "box2df", "gidx",
}  # fmt: skip
#: Readable where a rule allows it: they hold or describe nothing but geometry's own reference data.
_PLAIN_RELATIONS = {"spatial_ref_sys", "geometry_columns", "geography_columns"}
#: The major version that brought or last had them.
_SINCE = {
    ("btree_gist", "gist_translate_cmptype_btree"): 18,
    ("fuzzystrmatch", "daitch_mokotoff"): 16,
    ("ltree", "hash_ltree"): 17,
    ("ltree", "hash_ltree_extended"): 17,
    ("pgcrypto", "fips_mode"): 18,
}
_NAMED = [
    "pgcrypto", "citext", "hstore", "pg_trgm", "uuid-ossp", "ltree", "unaccent", "tablefunc",
    "dblink",
    "postgres_fdw", "lo", "file_fdw", "pageinspect", "pg_stat_statements",
]  # fmt: skip


class Extended(NamedTuple):
    server: Server
    dsn: str
    catalog: CatalogSnapshot
    installed: frozenset[str]

    def members(self) -> list[Function]:
        return [
            f
            for f in self.catalog.functions.values()
            if f.extension and f.extension not in _NOT_CLASSIFIED
        ]


@pytest.fixture(scope="module")
def extended(extended_postgres: Server) -> Iterator[Extended]:
    """A database with every extension that the server can make."""
    with psycopg.connect(extended_postgres.superuser_dsn, autocommit=True) as connection:
        connection.execute("drop database if exists members with (force)")
        connection.execute("create database members")
        dsn = extended_postgres.superuser_dsn.rpartition("/")[0] + "/members"
        try:
            with psycopg.connect(dsn, autocommit=True) as inside:
                for (name,) in inside.execute(
                    "select name from pg_available_extensions"
                ).fetchall():
                    if not name.endswith(_CANNOT_BE_MADE):
                        inside.execute(f'create extension if not exists "{name}" cascade'.encode())
                installed = inside.execute("select extname from pg_extension").fetchall()
            yield Extended(
                extended_postgres, dsn, catalog_of(dsn), frozenset(name for (name,) in installed)
            )
        finally:
            connection.execute("drop database if exists members with (force)")


def _arguments(function: Function) -> tuple[str, ...]:
    names = type_names()
    return tuple(names.get(oid, "") for oid in function.arg_types)


def _is_internal(function: Function) -> bool:
    returns = type_names().get(function.return_type, "")
    return not _INTERNAL_TYPES.isdisjoint((*_arguments(function), returns))


def _signature(function: Function) -> str:
    return f"{function.name}({','.join(a or '?' for a in _arguments(function))})"


def _call(extended: Extended, function: Function) -> str:
    types = [extended.catalog.types[oid] for oid in function.arg_types]
    return f'select "{function.schema}"."{function.name}"' + (
        "(" + ", ".join(f'null::"{t.schema}"."{t.name}"' for t in types) + ")"
    )


def _is_read(extended: Extended, function: Function) -> bool:
    """Whether a call is understood through the function's body."""
    sql = _call(extended, function).encode()
    (facts,) = analyze(sql, extended.catalog, Context(search_path=("public",)))
    return not facts.unknowns and not facts.functions


def test_the_extensions_people_use_are_there(extended: Extended) -> None:
    """Without this the tests below could pass by looking at nothing."""
    lacking = set(_NAMED) - extended.installed
    if extended.server.version == WHEEL:  # built without OpenSSL and a UUID library
        lacking -= {"pgcrypto", "uuid-ossp"}
        assert "vector" in extended.installed
    if extended.server.version == DEBIAN:
        assert "postgis" in extended.installed
    assert not lacking
    assert len(extended.members()) > 1000


def test_every_function_has_a_judgement(extended: Extended) -> None:
    unknown = [
        (f.extension, _signature(f), f.language)
        for f in extended.members()
        if (f.extension, f.name) not in _FOR_POLICY
        and not _is_internal(f)
        and listed(f, _arguments(f)) is None
        and not (f.language == "sql" and _is_read(extended, f))
    ]
    assert unknown == []


def test_what_only_the_server_handles_is_never_safe(extended: Extended) -> None:
    internal = [f for f in extended.members() if _is_internal(f)]
    assert len(internal) > 300
    assert [_signature(f) for f in internal if classify(f).safe] == []


def test_what_the_policy_must_name_is_nothing_else(extended: Extended) -> None:
    """An entry of _FOR_POLICY that the gateway has learned to read should go."""
    if "postgis" in extended.installed:
        names = {(f.extension, f.name) for f in extended.members() if not is_known(f)}
        assert names >= _FOR_POLICY


def test_every_operator_has_a_judgement(extended: Extended) -> None:
    operators = [
        o for o in extended.catalog.operators if o.extension and o.extension not in _NOT_CLASSIFIED
    ]
    assert len(operators) > 300
    unknown = []
    for operator in operators:
        function = extended.catalog.functions[operator.function]
        judgement = classify_operator(operator, extended.catalog)
        if (
            judgement in (_NOT_BUILT_IN, _NOT_LISTED)
            and (function.extension, function.name) not in _FOR_POLICY
        ):
            unknown.append((operator.extension, operator.name, function.name))
    assert unknown == []


def test_every_cast_has_a_judgement(extended: Extended) -> None:
    types, functions = extended.catalog.types, extended.catalog.functions
    seen, unknown = 0, []
    for cast in extended.catalog.casts:
        function = functions.get(cast.function)
        owners = {
            types[cast.source].extension,
            types[cast.target].extension,
            function and function.extension,
        }
        if not any(owners) or owners & _NOT_CLASSIFIED:
            continue
        seen += 1
        judgement = classify_cast(cast.source, cast.target, extended.catalog)
        if judgement in (_NOT_BUILT_IN, _NOT_LISTED, NO_CAST):
            unknown.append((types[cast.source].name, types[cast.target].name))
    assert seen > 20
    assert unknown == []


def test_every_type_has_a_judgement(extended: Extended) -> None:
    unknown = [
        (t.extension, t.name)
        for t in extended.catalog.types.values()
        if t.extension and t.extension not in _NOT_CLASSIFIED
        if t.kind == "b" and not t.element and not knows_type(t) and t.name not in _INDEX_KEYS
    ]
    assert unknown == []


def test_every_domain_has_a_check_that_is_known(extended: Extended) -> None:
    functions = extended.catalog.functions
    domains = [t for t in extended.catalog.types.values() if t.extension and t.kind == "d"]
    assert {t.name for t in domains} >= {"earth", "lo"}
    for domain in domains:
        if domain.extension not in _NOT_CLASSIFIED:
            assert all(classify(functions[oid]).safe for oid in domain.check_functions), domain.name


def test_every_relation_has_a_judgement(extended: Extended) -> None:
    relations = [
        r
        for r in extended.catalog.relations.values()
        if r.extension and r.extension not in _NOT_CLASSIFIED and r.kind in "rpvmf"
    ]
    assert len(relations) > 2
    assert [
        r.qualified for r in relations if not unreadable(r) and r.name not in _PLAIN_RELATIONS
    ] == []


def test_what_is_listed_exists(extended: Extended) -> None:
    """A name that is wrong judges nothing: whoever wrote it meant another."""
    here = {(f.extension, name) for f in extended.members() for name in (f.name, _signature(f))}
    entries = [entry for entry in _tables().functions if entry[0] in extended.installed]
    assert len(entries) > 250
    absent = [e for e in entries if e not in here and _SINCE.get(e, 0) <= extended.server.major]
    early = [e for e in entries if e in here and _SINCE.get(e, 0) > extended.server.major]
    assert (absent, early) == ([], [])
    types = {(t.extension, t.name) for t in extended.catalog.types.values()}
    assert [t for t in _tables().types if t[0] in extended.installed and t not in types] == []


def test_a_listed_safe_function_is_written_in_c(extended: Extended) -> None:
    """Otherwise the entry has no effect, and the body speaks (see
    sallyport.sql.catalog.extensions).
    """
    languages: dict[tuple[str, str], set[str]] = {}
    for function in extended.members():
        for name in (function.name, _signature(function)):
            languages.setdefault((function.extension, name), set()).add(function.language)
    idle = [
        entry
        for entry, kind in _tables().functions.items()
        if kind == "safe" and entry in languages and languages[entry].isdisjoint({"c", "internal"})
    ]
    assert idle == [("earthdistance", "earth")] * (idle != [])
