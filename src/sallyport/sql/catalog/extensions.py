"""What common extensions bring: functions, types and relations. Pure; the judgement is data in
``extensions.tsv``.

Promises: a function counts as the extension's only if PostgreSQL records it as a member
(``pg_depend``), it is written in C, which only a superuser can add or change, it does not run as
its owner, and the data names it. Functions in SQL are not counted: an owner can put others in their
place, and older ones find what they call through the search_path. They are read like users'
functions (:mod:`sallyport.sql.expressions.function_bodies`), with what they call. A user's function
of the same name is nobody's.

Not seen here: an aggregate that its owner replaced. Members belong to a superuser unless one gave
them away.

Listed does not mean safe: the class says which (:func:`sallyport.sql.catalog.functions.classify`
makes a sentence of it).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import NamedTuple

from sallyport.sql.catalog.snapshot import Function, Relation, Type

#: Extensions whose relations show other people's statements, other sessions or the server's memory.
_UNREADABLE = {
    "pg_stat_statements": "holds other people's statements",
    "pg_stat_monitor": "holds other people's statements",
    "pg_qualstats": "holds other people's constants",
    "pg_buffercache": "shows the server's memory",
}


#: Functions in SQL that count where their text is one of these: a domain's check calls them, and
#: checks are not read.
_CONSTANTS = {
    ("earthdistance", "earth"): ("SELECT '6378168'::float8", "RETURN '6378168'::double precision"),
}


class _Tables(NamedTuple):
    """Classes are those of functions.tsv."""

    functions: dict[tuple[str, str], str]  # (extension, name or name(argument types)) -> class
    prefixes: tuple[tuple[str, str, str], ...]  # refused: (extension, how the name begins, class)
    types: frozenset[tuple[str, str]]


@cache
def _tables() -> _Tables:
    functions: dict[tuple[str, str], str] = {}
    prefixes: list[tuple[str, str, str]] = []
    types: set[tuple[str, str]] = set()
    text = (
        resources.files("sallyport.sql.catalog")
        .joinpath("extensions.tsv")
        .read_text(encoding="utf-8")
    )
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        kind, extension, names = line.split("\t")
        for name in names.split(" "):
            if kind == "type":
                types.add((extension, name))
            elif name.endswith("*"):
                prefixes.append((extension, name[:-1], kind))
            else:
                functions[extension, name] = kind
    if any(kind == "safe" for _, _, kind in prefixes):
        raise ValueError("extensions.tsv: a safe function is named in full")
    return _Tables(functions, tuple(prefixes), frozenset(types))


def listed(function: Function, arguments: Sequence[str]) -> str | None:
    """The class in the data of a function of an extension; None for every other function.

    ``arguments``: type names, "" if not built in.
    """
    extension, name = function.extension, function.name
    if not extension:
        return None
    tables = _tables()
    for owner, start, kind in tables.prefixes:
        if owner == extension and name.startswith(start):
            return kind  # refused, in whatever language
    signature = f"{name}({','.join(a or '?' for a in arguments)})"
    exact = tables.functions.get((extension, signature)) or tables.functions.get((extension, name))
    if exact == "safe" and not _is_as_shipped(function):
        return None
    return exact


def _is_as_shipped(function: Function) -> bool:
    if function.security_definer:
        return False
    if function.language == "sql":
        return function.body in _CONSTANTS.get((function.extension, function.name), ())
    return function.language in ("c", "internal")


def knows_type(type_: Type) -> bool:
    """Whether text may be read as this base type: its input function is the extension's and reads
    nothing else.
    """
    return (type_.extension, type_.name) in _tables().types


def unreadable(relation: Relation) -> str:
    """Why a relation of an extension is not readable; "" when nothing speaks against it."""
    return _UNREADABLE.get(relation.extension, "")
