"""What a statement needs permission for: facts flattened into (action, relation, columns), wrappers
and inner statements included.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from sallyport.policy.actions import MAKING_FUNCTIONS, SESSION, TEMP, WRAPPERS, canonical
from sallyport.sql.catalog.snapshot import TEMPORARY, CatalogSnapshot, ColumnId
from sallyport.sql.facts import StatementFacts


class RequiredPermission(Struct, frozen=True):
    """``relation`` 0: the action concerns no (existing) relation. ``indirect``: reached through a
    view; needs no rule, but deny and hold see it. ``object_name``: schema and name of
    something that is no relation yet, or none at all (:class:`sallyport.sql.facts.NamedObject`).
    ``action_aliases``: other names of the action.
    """

    action: str
    relation: int = 0
    columns: frozenset[ColumnId] = frozenset()
    indirect: bool = False
    object_name: tuple[str, str] | None = None
    action_aliases: frozenset[str] = frozenset()

    def text(self, catalog: CatalogSnapshot) -> str:
        """``delete on public.orders`` for messages."""
        if self.object_name is not None and self.object_name[0]:
            schema, name = self.object_name
            return (
                f"{self.action} on {schema}.{name}" if name else f"{self.action} on schema {schema}"
            )
        if not self.relation:
            return self.action
        relation = catalog.relations.get(self.relation)
        return f"{self.action} on {relation.qualified if relation else self.relation}"


def chain(facts: StatementFacts) -> Iterator[StatementFacts]:
    """The statement and what it wraps, outermost first."""
    level: StatementFacts | None = facts
    while level is not None:
        yield level
        level = level.inner


def has_where(facts: StatementFacts) -> bool | None:
    """False when any level changes rows without WHERE; True when one has WHERE; None when nothing
    says.
    """
    values = [level.has_where for level in chain(facts)]
    return False if False in values else True if True in values else None


def needs_of(facts: StatementFacts) -> tuple[RequiredPermission, ...]:
    """Every permission the statement needs, without duplicates, in the order of the facts."""
    out: dict[RequiredPermission, None] = {}
    levels = list(chain(facts))
    for i, level in enumerate(levels):
        direct: set[str] = set()
        action_aliases = frozenset(canonical(name) for name in level.action_aliases)
        for access in level.accesses:
            action = canonical(access.action)
            more = action_aliases if access.action == level.kind else frozenset[str]()
            out[
                RequiredPermission(
                    action, access.relation, access.columns, access.indirect, action_aliases=more
                )
            ] = None
            if not access.indirect:
                direct.add(action)
        for naming in level.named_objects:
            action = canonical(naming.action)
            out[
                RequiredPermission(
                    action, object_name=(naming.schema, naming.name), action_aliases=action_aliases
                )
            ] = None
            direct.add(action)
            if naming.schema == TEMPORARY and naming.action in MAKING_FUNCTIONS:
                out[RequiredPermission(action)] = None
        for need in _unlisted_reads(level):
            out[need] = None
        kind = canonical(level.kind)
        if kind in WRAPPERS:
            for need in _wrapper_needs(kind, levels[i:]):
                out[need] = None
        elif kind == "lock" and direct == {"select"}:
            pass  # LOCK ... IN ACCESS SHARE MODE, which every SELECT takes
        elif kind in SESSION or kind not in direct:
            out[RequiredPermission(kind, action_aliases=action_aliases)] = None
    temporary = frozenset[int]().union(*[level.temporary for level in levels])
    return tuple(
        dict.fromkeys([RequiredPermission(TEMP) if _is_temporary(n, temporary) else n for n in out])
    )


def _is_temporary(need: RequiredPermission, temporary: frozenset[int]) -> bool:
    """Whether it is about a temporary relation of the session: whatever is done with it is one
    action.
    """
    return need.relation in temporary or (
        need.object_name is not None and need.object_name[0] == TEMPORARY
    )


def _wrapper_needs(kind: str, levels: list[StatementFacts]) -> list[RequiredPermission]:
    inside = [a for level in levels for a in level.accesses if not a.indirect]
    return [RequiredPermission(kind, a.relation, a.columns) for a in inside] or [
        RequiredPermission(kind)
    ]


def _unlisted_reads(level: StatementFacts) -> Iterator[RequiredPermission]:
    """Columns that the statement reads without a read access of their relation (RETURNING, WHERE of
    an UPDATE): as in PostgreSQL, they need permission to select. A relation reached only through a
    view stays indirect.
    """
    read = {a.relation for a in level.accesses if canonical(a.action) == "select"}
    named = {a.relation for a in level.accesses if not a.indirect}
    by_relation: dict[int, set[ColumnId]] = {}
    sources = [output.sources for output in level.columns or ()]
    sources += [flow.sources for flow in level.flows]
    sources.append(frozenset(influence.column for influence in level.influences))
    for column in frozenset[ColumnId]().union(*sources):
        if column.relation not in read:
            by_relation.setdefault(column.relation, set()).add(column)
    for relation, columns in by_relation.items():
        yield RequiredPermission(
            "select", relation, frozenset(columns), indirect=relation not in named
        )
