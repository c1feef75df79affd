"""Every action a policy can name, and the groups that stand for several.

An action is the ``kind`` of a statement or the ``action`` of an access in
:mod:`sallyport.sql.facts`, written with hyphens (``create_table`` and ``create-table`` mean the
same). A kind that is not in this table is never allowed, whatever the rules say; deny and hold
rules on ``ddl`` do match kinds that look like DDL.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from sallyport.core.yamltext import suggest


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


READ = frozenset({"select", "copy-out", "explain", "show", "declare", "fetch", "move", "close"})
WRITE = frozenset({"insert", "update", "delete", "merge", "copy-in"})

#: What only moves the session along. It needs no rule of its own for a subject that may do anything
#: at all on the target; what it runs (FETCH, EXECUTE) was judged when it was declared or prepared.
#: Deny and hold rules may still name it.
SESSION = _words(
    """
    begin start-transaction commit end rollback abort savepoint release rollback-to set-transaction
    set-constraints set reset show prepare execute deallocate fetch move close discard unlisten
    empty
    """
)

#: Statements that wrap another: the wrapper's action must be allowed on every relation that the
#: inner statement touches.
WRAPPERS = frozenset({"explain", "declare", "copy-out", "copy-in"})

OTHER = _words(
    """
    truncate call do lock listen notify checkpoint load prepare-transaction commit-prepared
    rollback-prepared function-source
    """
)

#: Actions that never concern a relation, so that rules about relations are not about them.
NO_RELATION = OTHER - _words("truncate call do lock") | {"temp"}

_OBJECTS = _words(
    """
    access-method aggregate cast collation conversion database default-privileges domain
    event-trigger extension foreign-data-wrapper foreign-table function group index language
    large-object materialized-view operator operator-class operator-family policy procedure
    property-graph publication role routine rule schema sequence server statistics subscription
    system table tablespace text-search-configuration text-search-dictionary text-search-parser
    text-search-template transform trigger type user user-mapping view
    """
)

DDL = frozenset(
    f"{verb}-{name}" for verb in ("create", "alter", "drop") for name in _OBJECTS
) | _words(
    """
    create-table-as select-into refresh-materialized-view comment security-label grant revoke
    grant-role revoke-role rename create alter drop alter-owner set-schema alter-depends drop-owned
    reassign-owned import-foreign-schema reindex cluster vacuum analyze repack
    """
)

GROUPS = {
    "read": READ,
    "write": WRITE,
    "ddl": DDL,
    "all": READ | WRITE | DDL | OTHER | SESSION,
}

#: Making temporary tables and sequences, and all that is done with them. In no group: a rule names
#: it.
TEMP = "temp"

ACTIONS = GROUPS["all"] | {TEMP}

#: What makes code, as facts name it; in ``pg_temp`` it needs TEMP besides.
MAKING_FUNCTIONS = frozenset({"create_function", "create_procedure"})

_SAME = {
    "start-transaction": "begin",
    "end": "commit",
    "abort": "rollback",
    "rollback-to-savepoint": "rollback-to",
    "release-savepoint": "release",
    "copy-to": "copy-out",
    "copy-from": "copy-in",
    "ctas": "create-table-as",
    "values": "select",
    "table": "select",
}


@lru_cache(512)
def canonical(kind: str) -> str:
    """The action's spelling in this table, for a kind or action as facts or a policy write it."""
    name = kind.strip().lower().replace("_", "-").replace(" ", "-")
    return _SAME.get(name, name)


def is_ddl(action: str) -> bool:
    """Whether a (canonical) action is DDL, or an unlisted one that looks like it: for deny and hold
    rules.
    """
    return action in DDL or (
        action not in ACTIONS and action.partition("-")[0] in ("create", "alter", "drop")
    )


def expand(names: Iterable[str]) -> frozenset[str]:
    """Actions for a list of names and groups. ValueError with a suggestion for an unknown one."""
    out: set[str] = set()
    for name in names:
        action = canonical(name)
        if action in GROUPS:
            out |= GROUPS[action]
        elif action in ACTIONS:
            out.add(action)
        else:
            hint = suggest(action, sorted(ACTIONS | GROUPS.keys()))
            raise ValueError(
                f"unknown action {name!r}. {hint}Groups are {', '.join(GROUPS)}; see docs/policy.md"
            )
    return frozenset(out)
