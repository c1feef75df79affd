"""Which statements may run code that was not read: trusted functions, triggers, rules, policies.

Such code may make temporary relations, which hide others of the same name from everything that
comes behind it in the session. A statement runs none only when everything that is known of it says
so.
"""

from __future__ import annotations

from typing import Final

from sallyport.judge.changes import runs_code
from sallyport.policy.checks.needs import chain
from sallyport.sql.catalog.snapshot import TEMPORARY, CatalogSnapshot
from sallyport.sql.facts import EffectKind, StatementFacts
from sallyport.sql.writes.written import written

_KEY: Final = "unknown code"


def runs_unknown_code(facts: StatementFacts, catalog: CatalogSnapshot) -> bool:
    """Whether the statement, or one that it wraps, may run code that was not read. What EXECUTE and
    FETCH run is not looked at.
    """
    return any(_runs(level, catalog) for level in chain(facts))


def makes_temporary(facts: StatementFacts) -> bool:
    """Whether it makes, or renames, something in the temporary schema."""
    return any(
        naming.schema == TEMPORARY for level in chain(facts) for naming in level.named_objects
    )


def runs_late_bodies(facts: StatementFacts) -> bool:
    """Whether it runs the body of a function that looks its names up meanwhile."""
    return any(level.resolves_names_at_run_time and level.followed for level in chain(facts))


def _runs(facts: StatementFacts, catalog: CatalogSnapshot) -> bool:
    if facts.functions or facts.unknowns or facts.unread_code:
        return True
    changes_schema = any(effect.kind is EffectKind.DDL for effect in facts.effects)
    if changes_schema and catalog.event_triggers:
        return True
    if any(runs_code(access.relation, catalog) for access in facts.accesses):
        return True
    writes = () if changes_schema else (a.relation for a in facts.accesses if a.action != "select")
    return any(_writing_runs(relation, catalog) for relation in writes)


def _writing_runs(oid: int, catalog: CatalogSnapshot) -> bool:
    """Whether a write may set off triggers or rules: of the relation, of its partitions and
    children, or of what refers to those.
    """
    runs: bool | None = catalog.lookups.get((_KEY, oid))
    if runs is None:
        reached = written(catalog, oid)
        runs = any(r is None or r.has_triggers or r.has_rules for r in reached)
        catalog.keep((_KEY, oid), runs)
    return runs
