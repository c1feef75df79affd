"""Which statements may change something at the database: their intent is journaled before they are
sent.

A statement reads only when everything that is known of it says so; whatever is not known counts as
a change.
"""

from __future__ import annotations

from typing import Final

from sallyport.policy.actions import READ, SESSION, canonical
from sallyport.policy.checks.needs import chain
from sallyport.sql.catalog.snapshot import CatalogSnapshot
from sallyport.sql.facts import EffectKind, StatementFacts

#: Kinds of statements that change nothing by themselves: they read, or concern the session alone.
#: COMMIT is among them, since what it makes durable was journaled statement by statement.
_UNCHANGING: Final = READ | SESSION
#: Relations that PostgreSQL reads by itself, without code that somebody wrote.
_PLAIN_KINDS: Final = frozenset("rpvmtS")
#: Statements that run another one, known by its name.
_RUNS_NAMED: Final = frozenset({EffectKind.EXECUTE, EffectKind.EXPLAIN, EffectKind.FETCH})


def may_change(facts: StatementFacts, catalog: CatalogSnapshot) -> bool:
    """Whether the statement, or one that it wraps, may change something. PREPARE and DECLARE count
    as what they wrap, so that the journal has the text that an EXECUTE or FETCH in it stands for.
    What EXECUTE and FETCH run is not looked at: see :func:`runs_named`.
    """
    return any(_changes(level, catalog) for level in chain(facts))


def runs_named(facts: StatementFacts) -> bool:
    """Whether the statement runs a prepared statement, or a cursor, that only the session knows."""
    return any(effect.kind in _RUNS_NAMED for effect in facts.effects)


def _changes(facts: StatementFacts, catalog: CatalogSnapshot) -> bool:
    if (
        canonical(facts.kind) not in _UNCHANGING
        or facts.functions
        or facts.followed
        or facts.unknowns
        or any(effect.kind is EffectKind.NOTIFY for effect in facts.effects)
    ):
        return True
    return any(
        access.action != "select" or runs_code(access.relation, catalog)
        for access in facts.accesses
    )


def runs_code(oid: int, catalog: CatalogSnapshot) -> bool:
    """Whether reading the relation may run functions that users made (row security, rules, foreign
    tables).
    """
    relation = catalog.relations.get(oid)
    if relation is None or relation.kind not in _PLAIN_KINDS or relation.has_rules:
        return True
    return relation.row_security and bool(relation.hidden_functions)
