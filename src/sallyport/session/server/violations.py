"""Errors that name what stands against a write and quote no data, or only in their DETAIL.

A violated constraint is named where it reads no column that is masked for the subject: then that it
failed tells nothing that the subject may not see. The message of such an error holds names only
(execMain.c, nbtinsert.c, ri_triggers.c); DETAIL has the values, or the whole row, and is withheld.
Errors of privileges (aclchk.c) name objects and pass as they are. All this is true of PostgreSQL's
own errors: where code ran that was not read, RAISE may have made them.
"""

from __future__ import annotations

from collections.abc import Iterable

from sallyport.judge import SubjectJudge
from sallyport.sql.catalog.snapshot import CatalogSnapshot, ColumnId, Constraint, Relation

NO_PRIVILEGE = "42501"
_NOT_NULL = "23502"
#: SQLSTATE -> Constraint.kind.
_KINDS = {"23503": "f", "23505": "u", "23514": "c", "23P01": "x"}
#: Those whose DETAIL has the values of the constraint's columns, and no others.
_QUOTES_KEYS = frozenset({"23503", "23505", "23P01"})
#: Classes of SQLSTATE: integrity constraints, and WITH CHECK OPTION.
_VIOLATIONS = frozenset({"23", "44"})
_KEPT = ("S", "V", "C", "M", "s", "t", "c", "n", "P")


def named(judge: SubjectJudge, fields: dict[str, str]) -> dict[str, str] | None:
    """The fields of the error that the client gets in the place of ``fields``; None where it is no
    violation of a constraint that may be named.
    """
    catalog = judge.catalog
    relation = catalog.relation_by_name.get((fields.get("s", ""), fields.get("t", "")))
    if relation is None:
        return None
    columns = _columns(relation, fields)
    if not columns or any(column in judge.subject_policy.masks for column in columns):
        return None
    names = ", ".join(dict.fromkeys(map(catalog.column_name, sorted(columns))))
    kept = {kind: fields[kind] for kind in _KEPT if kind in fields}
    return {**kept, "D": f"This concerns {names}. The values are withheld."}


def without_untrusted(judge: SubjectJudge, fields: dict[str, str]) -> dict[str, str] | None:
    """The fields of the error that the client gets in the place of ``fields``, where the values in
    its DETAIL may be untrusted text that the statement does not read by itself: those of a key, or
    of the whole row, that a write violates a constraint with. None where it may pass.
    """
    untrusted = judge.subject_policy.untrusted
    sqlstate = fields.get("C", "")
    if not untrusted or sqlstate[:2] not in _VIOLATIONS or "D" not in fields:
        return None
    place = fields.get("s", ""), fields.get("t", "")
    relation = judge.catalog.relation_by_name.get(place)
    if relation is not None and untrusted.isdisjoint(_quoted(judge.catalog, relation, fields)):
        return None
    kept = {kind: fields[kind] for kind in _KEPT if kind in fields}
    return {**kept, "D": "The values are withheld: they may be untrusted text."}


def _quoted(
    catalog: CatalogSnapshot, relation: Relation, fields: dict[str, str]
) -> frozenset[ColumnId]:
    """The columns whose values the DETAIL may quote: of the constraint where it quotes keys, and
    all where it quotes the row, or where the constraint is not known.
    """
    keys = _columns(relation, fields) if fields["C"] in _QUOTES_KEYS else frozenset[ColumnId]()
    if keys:
        return keys
    referenced = {relation.oid, *(constraint.referenced for constraint in relation.constraints)}
    relations = [catalog.relations[oid] for oid in referenced if oid in catalog.relations]
    return frozenset([ColumnId(r.oid, column.attnum) for r in relations for column in r.columns])


def _columns(relation: Relation, fields: dict[str, str]) -> frozenset[ColumnId]:
    """What the violated constraint reads; empty for one that is not known."""
    sqlstate, name = fields.get("C", ""), fields.get("n", "")
    if sqlstate == _NOT_NULL:
        numbers = [c.attnum for c in relation.columns if c.name == fields.get("c")]
        return _of(relation.oid, numbers)
    kind = _KINDS.get(sqlstate)
    violated = [c for c in relation.constraints if c.kind == kind and c.name == name and name]
    if not all(map(_is_complete, violated)) or any(map(_reads_rows, relation.constraints)):
        return frozenset()
    return frozenset().union(
        *(_of(relation.oid, constraint.columns) for constraint in violated),
        *(_of(constraint.referenced, constraint.referenced_columns) for constraint in violated),
    )


def _is_complete(constraint: Constraint) -> bool:
    """Whether its columns are all that it reads. 0 stands for the whole row."""
    if constraint.kind == "f" and not constraint.referenced_columns:
        return False
    return bool(constraint.columns) and min(constraint.columns) > 0


def _reads_rows(constraint: Constraint) -> bool:
    """Whether an index's expression or predicate has the whole row, which pg_depend does not say
    of the index: pg_get_expr writes it with a star.
    """
    return constraint.kind == "e" and ".*" in constraint.expression


def _of(relation: int, numbers: Iterable[int]) -> frozenset[ColumnId]:
    return frozenset([ColumnId(relation, number) for number in numbers])
