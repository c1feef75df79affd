"""What a condition sees of a statement: the variable ``statement`` (docs/policy.md)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sallyport.policy.actions import canonical
from sallyport.policy.checks.needs import RequiredPermission, chain, has_where
from sallyport.sql.catalog.snapshot import CatalogSnapshot
from sallyport.sql.facts import StatementFacts


def statement_variables(
    catalog: CatalogSnapshot, facts: StatementFacts, needs: Sequence[RequiredPermission]
) -> dict[str, Any]:
    """``needs``: of the statement."""
    relations = {r.qualified for n in needs if (r := catalog.relations.get(n.relation)) is not None}
    relations |= {
        f"{n.object_name[0]}.{n.object_name[1]}"
        for n in needs
        if n.object_name is not None and all(n.object_name)
    }
    columns = {catalog.column_name(c) for n in needs for c in n.columns}
    functions = {f"{f.schema}.{f.name}" for level in chain(facts) for f in level.functions}
    return {
        "kind": canonical(facts.kind),
        "actions": sorted({name for n in needs for name in (n.action, *n.action_aliases)}),
        "relations": sorted(relations),
        "columns": sorted(columns),
        "functions": sorted(functions),
        "has_where": has_where(facts),
    }
