"""For every function, aggregate, operator and cast of a server's own catalog: statements that would
fail or not, or return one thing or another, by a masked value. An argument is ``CASE WHEN m.ssn <
'M' THEN harmless ELSE hostile END``, all others are harmless.

What cannot be called from SQL (arguments of type internal), and types of which :mod:`hostile` knows
no value, are told in :class:`Catalog`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg

from tests.attacks.scan.hostile import TEXTS, arguments, values

#: Where the masked value is: row 3 of small, whose ssn is below 'M' in world 0 and above it in the
#: others.
SOURCE = "small m WHERE m.id = 3"
#: Sleeping, waiting or making the server do much: their effect is not what is asked about.
LEFT_OUT = frozenset(
    [
        "pg_sleep",
        "pg_sleep_for",
        "pg_sleep_until",
        "pg_terminate_backend",
        "pg_cancel_backend",
        "pg_reload_conf",
        "pg_rotate_logfile",
        "pg_switch_wal",
        "pg_promote",
        "pg_wal_replay_pause",
        "pg_wal_replay_resume",
        "pg_advisory_lock",
        "pg_advisory_xact_lock",
        "pg_advisory_lock_shared",
        "pg_advisory_xact_lock_shared",
        "pg_create_restore_point",
        "pg_wal_replay_wait",
        "pg_logical_emit_message",
        "pg_log_backend_memory_contexts",
        "pg_stat_reset",
        "pg_stat_reset_shared",
        "pg_isolation_test_session_is_blocked",
        "pg_log_standby_snapshot",
    ]
)

#: Whose rows can be without end: called in the target list, which makes no more of them than LIMIT
#: asks for.
_ENDLESS = frozenset({"generate_series", "generate_subscripts"})

_FUNCTIONS = """
SELECT n.nspname, p.proname, p.prokind::text, p.proretset, array(SELECT t.typname
  FROM unnest(p.proargtypes) WITH ORDINALITY a(oid, n)
    JOIN pg_type t ON t.oid = a.oid ORDER BY n)::text[], p.provariadic <> 0,
    coalesce(a.aggkind::text, ''), coalesce(a.aggnumdirectargs, 0)::int,
  p.provolatile::text
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace LEFT JOIN pg_aggregate a
  ON a.aggfnoid = p.oid
  LEFT JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
WHERE (p.pronamespace = 'pg_catalog'::regnamespace OR d.objid IS NOT NULL)
  AND p.prokind IN ('f', 'a', 'w')
ORDER BY 2, 5"""
_OPERATORS = """
SELECT o.oprname, l.typname::text, r.typname::text, n.nspname FROM pg_operator o JOIN pg_namespace n
  ON n.oid = o.oprnamespace
  LEFT JOIN pg_type l ON l.oid = o.oprleft LEFT JOIN pg_type r ON r.oid = o.oprright ORDER BY 1, 2,
  3"""
_CASTS = """
SELECT s.typname, format_type(t.oid, NULL) FROM pg_cast c JOIN pg_type s ON s.oid = c.castsource
  JOIN pg_type t ON t.oid = c.casttarget ORDER BY 1, 2"""
_TYPES = """
SELECT format_type(oid, NULL), typname FROM pg_type WHERE typtype IN ('b', 'd', 'e', 'r', 'm')
  AND typname !~ '^(_|pg_)' ORDER BY 1"""


@dataclass(frozen=True)
class Attempt:
    """One statement. ``kind``: function, aggregate, window, operator, cast; ``name``: which one.
    ``volatile``: not to be run beside the gateway.
    """

    kind: str
    name: str
    sql: str
    volatile: bool = False


@dataclass
class Catalog:
    """What a server has. ``uncallable``: functions that SQL cannot call; ``unknown``: what needs
    types of which no value is known.
    """

    attempts: list[Attempt] = field(default_factory=list)
    uncallable: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)


def read(connection: psycopg.Connection[Any], depth: int = 2) -> Catalog:
    """``depth``: how many hostile values are tried per argument."""
    catalog = Catalog()
    for row in connection.execute(_FUNCTIONS).fetchall():
        _function(catalog, row, depth)
    for name, left, right, schema in connection.execute(_OPERATORS).fetchall():
        _operator(catalog, f"OPERATOR({schema}.{name})", left, right, depth)
    for source, target in connection.execute(_CASTS).fetchall():
        source_values = values(source)
        if not source_values:
            catalog.unknown.append(f"cast {source} to {target}")
        for argument in _choices(source_values, depth):
            _add(catalog, "cast", f"{source} to {target}", f"({argument})::{target}")
    for target, _ in connection.execute(_TYPES).fetchall():
        harmless = "'2'"
        for text in TEXTS[: max(depth * 3, 3)]:
            _add(
                catalog,
                "cast",
                f"text to {target}",
                f"(CASE WHEN m.ssn < 'M' THEN {harmless} ELSE {text} END)::{target}",
            )
    return catalog


def _add(catalog: Catalog, kind: str, name: str, expression: str, volatile: bool = False) -> None:
    catalog.attempts.append(Attempt(kind, name, f"SELECT {expression} FROM {SOURCE}", volatile))


def _choices(literals: Sequence[str], depth: int) -> Iterator[str]:
    """By the masked value a harmless or a hostile argument; ``known``: as :func:`hostile.values`
    gives them.
    """
    hostile = literals[1 : depth + 1] or tuple(
        f"NULL::{value.rpartition('::')[2]}" for value in literals[:1] if "::" in value
    )
    for value in hostile:
        yield f"CASE WHEN m.ssn < 'M' THEN {literals[0]} ELSE {value} END"


def _argument_lists(kinds: Sequence[str], depth: int, function: str = "") -> Iterator[list[str]]:
    """One argument by the masked value, the others harmless; then all by it."""
    choices = [arguments(function, kind) for kind in kinds]
    for place, options in enumerate(choices):
        for chosen in _choices(options, depth):
            yield [
                chosen if place == position else literals[0]
                for position, literals in enumerate(choices)
            ]
    if len(choices) > 1:
        yield [next(_choices(options, 1), options[0]) for options in choices]


def _function(catalog: Catalog, row: Sequence[Any], depth: int) -> None:
    schema, name, kind, many, kinds, variadic, aggregate, direct, volatility = row
    label = f"{name}({', '.join(kinds)})"
    if name in LEFT_OUT:
        return
    if any(
        kind in ("internal", "trigger", "event_trigger", "language_handler", "fdw_handler")
        for kind in kinds
    ):
        catalog.uncallable.append(label)
        return
    if not all(values(kind) for kind in kinds):
        catalog.unknown.append(label)
        return
    called = f'{schema}."{name}"'
    for argument_list in _argument_lists(kinds, depth, name):
        if variadic and kinds[-1] != "any":
            argument_list[-1] = f"VARIADIC {argument_list[-1]}"
        call = f"{called}({', '.join(argument_list)})"
        if kind == "a":
            _aggregate(catalog, label, called, argument_list, aggregate, direct)
        elif kind == "w":
            _add(catalog, "window", label, f"{call} OVER ()")
        elif name in _ENDLESS:
            _add(catalog, "function", label, f"{call} FROM {SOURCE} LIMIT 5 --", volatility == "v")
        elif many:
            text = f"SELECT x FROM {SOURCE.replace(' WHERE', f', LATERAL {call} x WHERE')} LIMIT 5"
            catalog.attempts.append(Attempt("function", label, text, volatility == "v"))
        else:
            _add(catalog, "function", label, call, volatility == "v")


def _aggregate(
    catalog: Catalog, label: str, called: str, argument_list: list[str], aggregate: str, direct: int
) -> None:
    """Over two rows; ordered-set aggregates WITHIN GROUP, and ordinary ones as window functions
    too.
    """
    source = SOURCE.replace(" WHERE", ", generate_series(1, 2) g WHERE")
    texts = [f"{called}({', '.join(argument_list)})"]
    if aggregate in ("o", "h"):
        before, ordered = argument_list[:direct], argument_list[direct:] or argument_list[-1:]
        texts = [
            f"{called}({', '.join(before)}) WITHIN GROUP (ORDER BY"
            f" {', '.join(ordered).replace('VARIADIC ', '')})"
        ]
    elif "VARIADIC" not in texts[0]:
        texts.append(f"{called}({', '.join(argument_list)}) OVER (ORDER BY g ROWS 1 PRECEDING)")
    for text in texts:
        catalog.attempts.append(Attempt("aggregate", label, f"SELECT {text} FROM {source}"))


def _operator(catalog: Catalog, name: str, left: str | None, right: str | None, depth: int) -> None:
    label = f"{left or ''} {name} {right or ''}"
    kinds = [kind for kind in (left, right) if kind]
    if not all(values(kind) for kind in kinds):
        catalog.unknown.append(f"operator {label}")
        return
    for argument_list in _argument_lists(kinds, depth):
        terms = [f"({argument})" for argument in argument_list]
        text = (
            f"{terms[0]} {name} {terms[1]}"
            if left and right
            else f"{name} {terms[0]}"
            if right
            else f"{terms[0]} {name}"
        )
        _add(catalog, "operator", label, text)
