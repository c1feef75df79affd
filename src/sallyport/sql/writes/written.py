"""Relations whose triggers, rules, defaults and checks one write may set off."""

from __future__ import annotations

from collections.abc import Iterator

from sallyport.sql.catalog.snapshot import CatalogSnapshot, Relation

#: pg_constraint.confdeltype and confupdtype of actions that write to the relation with the foreign
#: key.
_CASCADING = frozenset("cnd")


def written(catalog: CatalogSnapshot, oid: int, cascades: bool = True) -> Iterator[Relation | None]:
    """The relation, its partitions and children, and with ``cascades`` what refers to those or to
    what they are part of by a foreign key with an action; None for one that is not in the snapshot.
    """
    seen, rest = {oid}, [oid]
    while rest:
        relation = catalog.relations.get(rest.pop())
        yield relation
        if relation is None:
            continue
        referring = _referring(catalog, relation) if cascades else set()
        new = {*relation.children, *referring} - seen
        seen |= new
        rest += new


def _referring(catalog: CatalogSnapshot, relation: Relation) -> set[int]:
    """Relations that PostgreSQL writes to when rows of this one are changed or deleted."""
    sources: set[int] = set()
    seen, rest = {relation.oid}, [relation]
    while rest:
        member = rest.pop()
        for source, key in catalog.references.get(member.oid, ()):
            if key.on_delete in _CASCADING or key.on_update in _CASCADING:
                sources.add(source)
        parents = [p for oid in member.parents if (p := catalog.relations.get(oid)) is not None]
        rest += [parent for parent in parents if parent.oid not in seen]
        seen.update(member.parents)
    return sources
