"""Rows of the system catalogs, as :mod:`sallyport.targets.catalog_queries` gives them, made into
what a snapshot holds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from sallyport.core.errors import SallyportError
from sallyport.sql.catalog.snapshot import (
    Column,
    Constraint,
    Function,
    Operator,
    Relation,
    Type,
)
from sallyport.sql.names.search_path import split_search_path

Row = list[str | None]

_TRUE = frozenset({"true", "on", "yes", "1", "t", "y"})
_UNSET = frozenset({"", "false", "off", "no", "0", "f", "n"})


class CatalogError(SallyportError):
    """The catalog cannot be read or understood; the text says what and why."""


def path_of(setting: str) -> tuple[str, ...]:
    """The schemas of a ``search_path``. Raises CatalogError."""
    path = split_search_path(setting)
    if path is None:
        raise CatalogError(f"search_path is not a list of names: {setting}")
    return path


def text(value: str | None) -> str:
    """Raises CatalogError for NULL."""
    if value is None:
        raise CatalogError("the catalog holds NULL where it cannot be")
    return value


def int_of(value: str | None) -> int:
    """A number. Raises CatalogError for NULL."""
    return int(text(value))


def bool_of(value: str | None) -> bool:
    """A boolean; NULL is false."""
    return value == "t"


def _option(options: str | None, name: str) -> str:
    """The value of a relation's option, in lower case; "" where it is not set."""
    settings = (option.partition("=") for option in (options or "").split(","))
    return next((value.lower() for key, _, value in settings if key == name), "")


def hidden_functions(
    rows: list[Row],
) -> tuple[dict[int, tuple[int, ...]], dict[int, tuple[int, ...]]]:
    """Functions that a relation or a domain calls by itself, by the OID of the one and of the
    other.
    """
    on_relation: dict[int, tuple[int, ...]] = {}
    on_domain: dict[int, tuple[int, ...]] = {}
    for row in rows:
        relation, domain, function = int_of(row[0]), int_of(row[1]), int_of(row[2])
        owner, key = (on_domain, domain) if domain else (on_relation, relation)
        owner[key] = (*owner.get(key, ()), function)
    return on_relation, on_domain


def _owner(value: str | None) -> tuple[int, int] | None:
    parts = json.loads(value or "[]")
    return (parts[0], parts[1]) if len(parts) == 2 else None


def relation_of(
    row: Row,
    columns: list[Row],
    constraints: list[Row],
    parents: tuple[int, ...],
    children: tuple[int, ...],
    extension: str,
    hidden: tuple[int, ...],
) -> Relation:
    """``columns`` and ``constraints``: the relation's own. ``hidden``: functions that its own
    machinery calls.
    """
    return Relation(
        oid=int_of(row[0]),
        schema=text(row[1]),
        name=text(row[2]),
        kind=text(row[3]),
        columns=tuple([_column(part) for part in columns]),
        parents=parents,
        children=children,
        view_definition=row[10] or "",
        security_invoker=_option(row[7], "security_invoker") in _TRUE,
        security_barrier=_option(row[7], "security_barrier") not in _UNSET,
        check_option=_option(row[7], "check_option") not in _UNSET,
        has_rules=bool_of(row[8]),
        has_triggers=bool_of(row[9]),
        row_security=bool_of(row[5]),
        readable=bool_of(row[12]),
        row_type=int_of(row[6]),
        extension=extension,
        persistence=text(row[4]),
        hidden_functions=hidden,
        constraints=tuple([_constraint(part) for part in constraints]),
        partition_key=tuple(json.loads(row[11] or "[]")),
        owner=_owner(row[13]),
    )


def _column(row: Row) -> Column:
    return Column(
        name=text(row[1]),
        attnum=int_of(row[2]),
        type_oid=int_of(row[3]),
        not_null=bool_of(row[4]),
        has_default=bool_of(row[5]),
        generated=row[6] or "",
        default=row[7] or "",
        typmod=int_of(row[8]),
    )


def _constraint(row: Row) -> Constraint:
    return Constraint(
        kind=text(row[1]),
        columns=tuple(json.loads(row[2] or "[]")),
        referenced=int_of(row[3]),
        referenced_columns=tuple(json.loads(row[4] or "[]")),
        on_delete=text(row[5]),
        on_update=text(row[6]),
        expression=text(row[7]),
        name=text(row[8]),
        primary=bool_of(row[9]),
        in_order=tuple(json.loads(row[10] or "[]")),
    )


def type_of(
    row: Row, members: Mapping[tuple[str, int], str], checks: Mapping[int, tuple[int, ...]]
) -> Type:
    """A row of pg_type. ``members``: extensions by object. ``checks``: functions of domains."""
    oid = int_of(row[0])
    return Type(
        oid=oid,
        schema=text(row[1]),
        name=text(row[2]),
        kind=text(row[3]),
        category=text(row[4]),
        element=int_of(row[5]),
        array=int_of(row[6]),
        base=int_of(row[7]),
        relation=int_of(row[8]),
        extension=members.get(("pg_type", oid), ""),
        check_functions=checks.get(oid, ()),
        preferred=bool_of(row[9]),
    )


def _outputs(
    modes: str | None, names: str | None, types: str | None
) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Names and types of OUT, INOUT and TABLE columns; unnamed ones are called column1, column2,
    ... by position.
    """
    if modes is None or types is None:
        return (), ()
    oids = [int(oid) for oid in json.loads(types)]
    labels = json.loads(names) if names is not None else [""] * len(oids)
    outputs = [
        (label, oid)
        for mode, label, oid in zip(json.loads(modes), labels, oids, strict=True)
        if mode in "obt"
    ]
    return (
        tuple(label or f"column{position}" for position, (label, _) in enumerate(outputs, 1)),
        tuple(oid for _, oid in outputs),
    )


def _inputs(modes: str | None, names: str | None) -> tuple[str, ...]:
    """Names of the input arguments (get_func_input_arg_names in funcapi.c); () where none
    has one.
    """
    labels: list[str] = json.loads(names) if names is not None else []
    if modes is None:
        return tuple(labels)
    return tuple(
        label for mode, label in zip(json.loads(modes), labels, strict=False) if mode in "ibv"
    )


def _configured(config: str | None) -> tuple[tuple[str, ...] | None, bool]:
    """Of pg_proc.proconfig: the search_path that it sets, and whether it sets anything else."""
    path, has_others = None, False
    for entry in json.loads(config) if config is not None else ():
        name, _, value = entry.partition("=")
        if name == "search_path":
            path = split_search_path(value)
        has_others = has_others or name != "search_path" or path is None
    return path, has_others


def function_of(row: Row, members: Mapping[tuple[str, int], str]) -> Function:
    """A row of pg_proc. ``members``: extensions by object."""
    oid = int_of(row[0])
    out_names, out_types = _outputs(row[13], row[14], row[15])
    path, has_others = _configured(row[19])
    return Function(
        oid=oid,
        schema=text(row[1]),
        name=text(row[2]),
        kind=text(row[3]),
        arg_types=tuple(int(part) for part in text(row[4]).split()),
        return_type=int_of(row[5]),
        returns_set=bool_of(row[6]),
        n_defaults=int_of(row[7]),
        variadic=bool_of(row[8]),
        volatile=text(row[9]),
        strict=bool_of(row[10]),
        security_definer=bool_of(row[11]),
        language=text(row[12]),
        extension=members.get(("pg_proc", oid), ""),
        out_names=out_names,
        out_types=out_types,
        body=row[16] or "",
        body_bound=bool_of(row[17]),
        arg_names=_inputs(row[13], row[14]) if row[16] else (),
        defaults=row[18] or "",
        path=path,
        has_settings=has_others,
    )


def operator_of(row: Row, members: Mapping[tuple[str, int], str]) -> Operator:
    """A row of pg_operator. ``members``: extensions by object."""
    oid = int_of(row[0])
    return Operator(
        oid=oid,
        schema=text(row[1]),
        name=text(row[2]),
        left=int_of(row[3]),
        right=int_of(row[4]),
        result=int_of(row[5]),
        function=int_of(row[6]),
        extension=members.get(("pg_operator", oid), ""),
    )
