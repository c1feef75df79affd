"""Reads a target's catalog into a :class:`~sallyport.sql.catalog.CatalogSnapshot`, over the gateway's own
connection.

Promises: :func:`load_catalog` reads everything in one read-only snapshot with an empty search_path, so
that the text of views and expressions is fully qualified; the epoch is a hash of all that was read, so
two gateways agree on it. :func:`fingerprint` is one cheap query whose answer changes whenever something
that is read here changed (a needless change is possible, a missed one is not). Take the fingerprint
*before* loading: then a change that falls in between is seen at the next check.

Raises :class:`CatalogError` for a server that is not PostgreSQL 14 to 18 or an answer that makes no
sense; what ``query`` raises passes through. The connection is left outside any transaction in every case.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace

from sallyport.core.errors import SallyportError
from sallyport.sql.catalog import (
    Cast,
    CatalogSnapshot,
    Column,
    Constraint,
    Function,
    Operator,
    Relation,
    Type,
)
from sallyport.sql.search_path import split_search_path
from sallyport.targets import catalog_queries as queries

Row = list[str | None]
#: Runs one statement through the simple protocol; rows as text, None for NULL. Raises when the server does.
Query = Callable[[str], Awaitable[list[Row]]]

SUPPORTED = range(14, 19)
_TRUE = frozenset({"true", "on", "yes", "1", "t", "y"})


class CatalogError(SallyportError):
    """The catalog cannot be read or understood; the text says what and why."""


async def fingerprint(query: Query) -> str:
    """32 hex digits that change when the catalog did. One query, some milliseconds."""
    rows = await query(queries.FINGERPRINT)
    if len(rows) != 1 or not rows[0] or not rows[0][0]:
        raise CatalogError("the catalog fingerprint query gave no answer")
    return rows[0][0]


async def load_catalog(query: Query) -> CatalogSnapshot:
    """Read the whole catalog as the role of this connection sees it (a fraction of a second)."""
    search_path = _text((await query(queries.DEFAULT_SEARCH_PATH))[0][0])
    server = await query(queries.SERVER)
    _check_version(server[0])
    try:
        for statement in queries.PREPARE:
            await query(statement)
        loaded = {name: await query(sql) for name, sql in _QUERIES.items()}
    except BaseException:
        await query("ROLLBACK")
        raise
    await query("COMMIT")
    # Tens of milliseconds of pure computing: other sessions go on meanwhile.
    return await asyncio.to_thread(_snapshot, search_path, {"server": server, **loaded})


async def load_inside(query: Query, default_search_path: tuple[str, ...]) -> CatalogSnapshot:
    """Read the catalog as an open transaction sees it, over its own connection; the transaction stays as it was.

    ``default_search_path``: that of new sessions, which cannot be asked for there. Raises what ``query`` raises and CatalogError.
    """
    server = await query(queries.SERVER)
    _check_version(server[0])
    try:
        for statement in queries.INSIDE:
            await query(statement)
        loaded = {name: await query(sql) for name, sql in _QUERIES.items()}
    finally:
        for statement in queries.OUTSIDE:
            await query(statement)
    snapshot = await asyncio.to_thread(_snapshot, "", {"server": server, **loaded})
    return replace(snapshot, default_search_path=default_search_path)


_QUERIES = {
    "schemas": queries.SCHEMAS,
    "relations": queries.RELATIONS,
    "columns": queries.COLUMNS,
    "constraints": queries.CONSTRAINTS,
    "indexes": queries.INDEXES,
    "event_triggers": queries.EVENT_TRIGGERS,
    "inheritance": queries.INHERITANCE,
    "types": queries.TYPES,
    "functions": queries.FUNCTIONS,
    "operators": queries.OPERATORS,
    "casts": queries.CASTS,
    "members": queries.EXTENSION_MEMBERS,
    "hidden": queries.HIDDEN_FUNCTIONS,
}


def _check_version(server: Row) -> None:
    version = _text(server[0])
    if int(version) // 10000 not in SUPPORTED:
        raise CatalogError(
            f"the server's version is {version}; supported are PostgreSQL {SUPPORTED[0]} to {SUPPORTED[-1]}"
        )


def _snapshot(search_path: str, loaded: Mapping[str, list[Row]]) -> CatalogSnapshot:
    version, database, role = (_text(value) for value in loaded["server"][0])
    members = {(_text(r[0]).removeprefix("pg_catalog."), _int(r[1])): _text(r[2]) for r in loaded["members"]}
    on_relation, on_domain = _hidden(loaded["hidden"])
    return CatalogSnapshot.make(
        server_version=int(version),
        epoch=_epoch(search_path, loaded),
        database=database,
        role=role,
        default_search_path=_path(search_path),
        schemas=frozenset(_text(row[0]) for row in loaded["schemas"]),
        unusable=frozenset(_text(row[0]) for row in loaded["schemas"] if not _bool(row[1])),
        relations=_relations(loaded, members, on_relation),
        types=tuple(_type(row, members, on_domain) for row in loaded["types"]),
        functions=tuple(_function(row, members) for row in loaded["functions"]),
        operators=tuple(_operator(row, members) for row in loaded["operators"]),
        casts=tuple(
            Cast(_int(r[0]), _int(r[1]), _int(r[2]), _text(r[3]), _text(r[4])) for r in loaded["casts"]
        ),
        indexes={(_text(r[0]), _text(r[1])): _int(r[2]) for r in loaded["indexes"]},
        event_triggers=bool(loaded["event_triggers"]),
    )


def _path(setting: str) -> tuple[str, ...]:
    path = split_search_path(setting)
    if path is None:
        raise CatalogError(f"search_path is not a list of names: {setting}")
    return path


def _epoch(search_path: str, loaded: Mapping[str, list[Row]]) -> str:
    content = json.dumps([search_path, dict(loaded)], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def _text(value: str | None) -> str:
    if value is None:
        raise CatalogError("the catalog holds NULL where it cannot be")
    return value


def _int(value: str | None) -> int:
    return int(_text(value))


def _bool(value: str | None) -> bool:
    return value == "t"


def _security_invoker(options: str | None) -> bool:
    for option in (options or "").split(","):
        name, _, value = option.partition("=")
        if name == "security_invoker":
            return value.lower() in _TRUE
    return False


def _hidden(rows: list[Row]) -> tuple[dict[int, tuple[int, ...]], dict[int, tuple[int, ...]]]:
    on_relation: dict[int, tuple[int, ...]] = {}
    on_domain: dict[int, tuple[int, ...]] = {}
    for row in rows:
        relation, domain, function = _int(row[0]), _int(row[1]), _int(row[2])
        owner, key = (on_domain, domain) if domain else (on_relation, relation)
        owner[key] = (*owner.get(key, ()), function)
    return on_relation, on_domain


def _relations(
    loaded: Mapping[str, list[Row]],
    members: Mapping[tuple[str, int], str],
    hidden: Mapping[int, tuple[int, ...]],
) -> tuple[Relation, ...]:
    columns: dict[int, list[Column]] = {}
    for row in loaded["columns"]:
        columns.setdefault(_int(row[0]), []).append(
            Column(
                name=_text(row[1]),
                attnum=_int(row[2]),
                type_oid=_int(row[3]),
                not_null=_bool(row[4]),
                has_default=_bool(row[5]),
                generated=row[6] or "",
                default=row[7] or "",
                typmod=_int(row[8]),
            )
        )
    constraints: dict[int, list[Constraint]] = {}
    for row in loaded["constraints"]:
        constraints.setdefault(_int(row[0]), []).append(_constraint(row))
    parents: dict[int, list[int]] = {}
    children: dict[int, list[int]] = {}
    for row in loaded["inheritance"]:
        child, parent = _int(row[0]), _int(row[1])
        parents.setdefault(child, []).append(parent)
        children.setdefault(parent, []).append(child)
    out = []
    for row in loaded["relations"]:
        oid = _int(row[0])
        out.append(
            Relation(
                oid=oid,
                schema=_text(row[1]),
                name=_text(row[2]),
                kind=_text(row[3]),
                columns=tuple(columns.get(oid, ())),
                parents=tuple(parents.get(oid, ())),
                children=tuple(children.get(oid, ())),
                view_definition=row[10] or "",
                security_invoker=_security_invoker(row[7]),
                has_rules=_bool(row[8]),
                has_triggers=_bool(row[9]),
                row_security=_bool(row[5]),
                row_type=_int(row[6]),
                extension=members.get(("pg_class", oid), ""),
                persistence=_text(row[4]),
                hidden_functions=hidden.get(oid, ()),
                constraints=tuple(constraints.get(oid, ())),
                partition_key=tuple(json.loads(row[11] or "[]")),
            )
        )
    return tuple(out)


def _constraint(row: Row) -> Constraint:
    return Constraint(
        kind=_text(row[1]),
        columns=tuple(json.loads(row[2] or "[]")),
        referenced=_int(row[3]),
        referenced_columns=tuple(json.loads(row[4] or "[]")),
        on_delete=_text(row[5]),
        on_update=_text(row[6]),
        expression=_text(row[7]),
        name=_text(row[8]),
    )


def _type(row: Row, members: Mapping[tuple[str, int], str], checks: Mapping[int, tuple[int, ...]]) -> Type:
    oid = _int(row[0])
    return Type(
        oid=oid,
        schema=_text(row[1]),
        name=_text(row[2]),
        kind=_text(row[3]),
        category=_text(row[4]),
        element=_int(row[5]),
        array=_int(row[6]),
        base=_int(row[7]),
        relation=_int(row[8]),
        extension=members.get(("pg_type", oid), ""),
        check_functions=checks.get(oid, ()),
        preferred=_bool(row[9]),
    )


def _outputs(
    modes: str | None, names: str | None, types: str | None
) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Names and types of OUT, INOUT and TABLE columns; unnamed ones are called column1, column2, ... by
    position."""
    if modes is None or types is None:
        return (), ()
    oids = [int(oid) for oid in json.loads(types)]
    labels = json.loads(names) if names is not None else [""] * len(oids)
    found = [
        (label, oid)
        for mode, label, oid in zip(json.loads(modes), labels, oids, strict=True)
        if mode in "obt"
    ]
    return (
        tuple(label or f"column{position}" for position, (label, _) in enumerate(found, 1)),
        tuple(oid for _, oid in found),
    )


def _inputs(modes: str | None, names: str | None) -> tuple[str, ...]:
    """Names of the input arguments (get_func_input_arg_names in funcapi.c); () where none has one."""
    labels: list[str] = json.loads(names) if names is not None else []
    if modes is None:
        return tuple(labels)
    return tuple(label for mode, label in zip(json.loads(modes), labels, strict=False) if mode in "ibv")


def _configured(config: str | None) -> tuple[tuple[str, ...] | None, bool]:
    """Of pg_proc.proconfig: the search_path that it sets, and whether it sets anything else."""
    path, others = None, False
    for entry in json.loads(config) if config is not None else ():
        name, _, value = entry.partition("=")
        if name == "search_path":
            path = split_search_path(value)
        others = others or name != "search_path" or path is None
    return path, others


def _function(row: Row, members: Mapping[tuple[str, int], str]) -> Function:
    oid = _int(row[0])
    out_names, out_types = _outputs(row[13], row[14], row[15])
    path, others = _configured(row[19])
    return Function(
        oid=oid,
        schema=_text(row[1]),
        name=_text(row[2]),
        kind=_text(row[3]),
        arg_types=tuple(int(part) for part in _text(row[4]).split()),
        return_type=_int(row[5]),
        returns_set=_bool(row[6]),
        n_defaults=_int(row[7]),
        variadic=_bool(row[8]),
        volatile=_text(row[9]),
        strict=_bool(row[10]),
        security_definer=_bool(row[11]),
        language=_text(row[12]),
        extension=members.get(("pg_proc", oid), ""),
        out_names=out_names,
        out_types=out_types,
        body=row[16] or "",
        body_bound=_bool(row[17]),
        arg_names=_inputs(row[13], row[14]) if row[16] else (),
        defaults=row[18] or "",
        path=path,
        has_settings=others,
    )


def _operator(row: Row, members: Mapping[tuple[str, int], str]) -> Operator:
    oid = _int(row[0])
    return Operator(
        oid=oid,
        schema=_text(row[1]),
        name=_text(row[2]),
        left=_int(row[3]),
        right=_int(row[4]),
        result=_int(row[5]),
        function=_int(row[6]),
        extension=members.get(("pg_operator", oid), ""),
    )
