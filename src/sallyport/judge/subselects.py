"""The subselects that stand for relations with masks: which columns they give, and their text."""

from __future__ import annotations

from dataclasses import dataclass, field

import structlog

from sallyport.judge.masked_relations import MaskedRelations
from sallyport.masking.plan import column_spec
from sallyport.masking.sqlmasks import mask_expression, null_expression, reads_column
from sallyport.policy.decision import MaskSpec
from sallyport.sql.catalog.snapshot import ColumnId, Relation
from sallyport.sql.facts import RangeVariable, StatementFacts
from sallyport.sql.names.scope import SYSTEM_COLUMNS
from sallyport.sql.rewrite.proof import is_subselect
from sallyport.sql.rewrite.ranges import cannot_rewrite
from sallyport.sql.text.identifiers import quoted

log = structlog.get_logger("sallyport.judge")

#: What a relation is called inside its subselect.
INNER = "t"
_SYSTEM_NAMES = {number: name for name, (number, _) in SYSTEM_COLUMNS.items()}
#: Where a row lies, as columns of a subselect that is sorted by it.
_PLACE = (
    ("sallyport_relation", f"{INNER}.tableoid", f"{INNER}.tableoid"),
    ("sallyport_place", f"{INNER}.ctid", f"{INNER}.ctid"),
)
#: Texts that are known to be subselects.
_KEPT = 4096


@dataclass(slots=True)
class Subselects:
    """Makes their texts, without parentheses."""

    relations: MaskedRelations
    _proved: set[str] = field(default_factory=set)

    def proved(self, text: str) -> str:
        """``text``, which is one subselect and nothing else. Raises RefusedError (SP1206) where it
        is not, a fault of the gateway.
        """
        if text in self._proved:
            return text
        if not is_subselect(text):
            log.error("rewritten statement refused", reason="a subselect does not parse")
            raise cannot_rewrite("A subselect with masks does not parse as one.")
        if len(self._proved) >= _KEPT:
            self._proved.clear()
        self._proved.add(text)
        return text

    def columns(
        self, facts: StatementFacts, variable: RangeVariable, relation: Relation
    ) -> list[tuple[str, str, str]]:
        """(name, expression, expression of the branch without rows) of what the statement reads of
        a relation, in its order.
        """
        everything = relation.oid in facts.positional or variable.has_column_aliases
        masks, types = self.relations.masks_of(relation), self.relations.catalog.types
        columns = []
        for column in relation.columns:
            if not everything and ColumnId(relation.oid, column.attnum) not in facts.read:
                continue
            name = quoted(column.name)
            raw = f"{INNER}.{name}"
            spec = masks.get(column.attnum)
            if spec is None:
                columns.append((name, raw, raw))
            else:
                shown = mask_expression(
                    spec, raw, column.type_oid, types, self.relations.catalog.encoding
                )
                columns.append((name, shown, null_expression(column.type_oid, types)))
        system = sorted(
            reference.attnum
            for reference in facts.system_columns
            if reference.relation == relation.oid
        )
        rows = any(reference.variable == variable.position for reference in facts.row_references)
        if system and (rows or relation.oid in facts.starred):
            raise cannot_rewrite(
                f"The statement uses a system column of {relation.qualified} together with *.",
                "List the columns instead of *, or leave the system column out.",
            )
        for number in reversed(system):
            raw = f"{INNER}.{_SYSTEM_NAMES[number]}"
            columns.append((_SYSTEM_NAMES[number], raw, raw))
        return columns

    def text(
        self,
        relation: Relation,
        columns: list[tuple[str, str, str]],
        locked: bool,
        rows: str,
        by_place: bool = False,
        measured: bool = False,
    ) -> str:
        """One over ``rows``, which is what stands behind FROM. ``locked``: FOR UPDATE may lock
        them. ``by_place``: they come as they lie in the relation, whatever index the server reads
        them by; those of a view, which lie nowhere, by what they show. ``measured``: the server
        tells how much memory nodes of the plan take, which keep whole rows of a scan where the
        subselect is flattened.
        """
        if by_place and relation.kind == "v":
            body = self.text(relation, columns, locked, rows, measured=measured)
            return _by_outputs(body, [f"{INNER}.{name}" for name, _, _ in columns], locked)
        shown = ", ".join(_entry(name, expression) for name, expression, _ in columns)
        places = f" ORDER BY {INNER}.tableoid, {INNER}.ctid" if by_place else ""
        if locked:
            # a query with WITH is not flattened either, and FOR UPDATE may lock its rows
            return f"WITH {INNER} AS (SELECT) SELECT {shown} FROM {rows}{places}"
        first = f"SELECT {shown} FROM {rows}"
        if not (measured or self._is_read(relation)):
            return f"{first}{places}"
        if by_place:
            # sorted outside of what computes the masks: a sort inside could keep the values
            columns = [*columns, *_PLACE]
            names = ", ".join(f"{INNER}.{name}" for name, _, _ in columns[: -len(_PLACE)])
            shown = ", ".join(_entry(name, expression) for name, expression, _ in columns)
            first = f"SELECT {shown} FROM {rows}"
        hidden = ", ".join(_entry(name, expression) for name, _, expression in columns)
        text = f"{first} UNION ALL SELECT {hidden} FROM {source(relation)} WHERE false"
        if by_place:
            order = ", ".join(f"{INNER}.{name}" for name, _, _ in _PLACE)
            return f"SELECT {names} FROM ({text}) AS {INNER} ORDER BY {order}"
        return text

    def _is_read(self, relation: Relation) -> bool:
        """Whether one of its masks reads its column."""
        masks, types = self.relations.masks_of(relation), self.relations.catalog.types
        return any(
            column.attnum in masks and reads_column(masks[column.attnum], column.type_oid, types)
            for column in relation.columns
        )

    def with_own_masks(self, view: Relation, facts: StatementFacts, body: str, locked: bool) -> str:
        """``body`` with those masks around it that policy gives to the view's own columns, and that
        are not applied in it.
        """
        own: dict[int, MaskSpec] = {}
        for column, output in zip(view.columns, facts.columns or (), strict=True):
            mask = self.relations.applied.get(ColumnId(view.oid, column.attnum))
            under = column_spec(output.sources, output.dependence, self.relations.applied)
            if mask is not None and mask.spec != under:
                own[column.attnum] = mask.spec
        if not own:
            return body
        shown, hidden = [], []
        for column in view.columns:
            name, spec = quoted(column.name), own.get(column.attnum)
            raw, types = f"{INNER}.{name}", self.relations.catalog.types
            if spec is None:
                shown.append(f"{raw} AS {name}")
            else:
                masked = mask_expression(
                    spec, raw, column.type_oid, types, self.relations.catalog.encoding
                )
                shown.append(f"{masked} AS {name}")
            hidden.append(f"{null_expression(column.type_oid, types)} AS {name}")
        if locked:
            return f"WITH {INNER} AS (SELECT) SELECT {', '.join(shown)} FROM ({body}) AS {INNER}"
        return (
            f"SELECT {', '.join(shown)} FROM ({body}) AS {INNER}"
            f" UNION ALL SELECT {', '.join(hidden)} FROM pg_catalog.pg_class AS {INNER} WHERE false"
        )


def _by_outputs(body: str, outputs: list[str], locked: bool) -> str:
    """Rows that look alike may come in any order."""
    row = f"ROW({', '.join(outputs)})::pg_catalog.text"
    text = f"SELECT {', '.join(outputs)} FROM ({body}) AS {INNER} ORDER BY {row}"
    return f"WITH {INNER} AS (SELECT) {text}" if locked else text


def source(relation: Relation) -> str:
    """The relation as it stands in FROM of its subselect."""
    return f"{quoted(relation.schema)}.{quoted(relation.name)} AS {INNER}"


def _entry(name: str, expression: str) -> str:
    return expression if expression == f"{INNER}.{name}" else f"{expression} AS {name}"
