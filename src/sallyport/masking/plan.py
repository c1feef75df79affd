"""The mask plan of a result: which mask each output column gets, and the second lock that checks
it.

Pure. :func:`build_plan` turns lineage and masks into a :class:`MaskPlan` when a statement is
judged; :func:`compile_rows` turns the plan into native operations once the server has described its
result. The server's own words about where each column comes from (RowDescription: table OID and
attribute number) must equal what was judged; else the caller gets a :class:`Mismatch` and withholds
the result.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sallyport.core.secret import Secret
from sallyport.masking.maskers import operation
from sallyport.policy.decision import REDACT, ColumnMask, Filter, MaskSpec
from sallyport.sql.catalog.snapshot import ColumnId, Type
from sallyport.sql.facts import Dependence, OutputColumn
from sallyport.wire.backend import Field
from sallyport.wire.frames import RowProgram


@dataclass(frozen=True, slots=True)
class PlannedColumn:
    """``spec`` None: passes as it is. ``origin``: what RowDescription must say, None for (0, 0).

    ``free``: it may say anything but a masked column, since a subselect stands for the column's
    relation.
    """

    spec: MaskSpec | None
    origin: ColumnId | None
    name: str
    free: bool = False


@dataclass(frozen=True, slots=True)
class MaskPlan:
    """One entry per output column, in order. ``masked``: whether any of them is masked.

    ``forbidden``: columns that no column without a mask may come from. ``unread``: of rows whose
    query was not read, for a subject without masks: any columns pass, as they are.
    """

    columns: tuple[PlannedColumn, ...]
    forbidden: frozenset[ColumnId] = frozenset()
    unread: bool = False
    masked: bool = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "masked", any(column.spec is not None for column in self.columns))


#: The plan of a cursor that a function has opened.
UNREAD_ROWS = MaskPlan((), unread=True)


@dataclass(frozen=True, slots=True)
class Mismatch:
    """The result is not what was judged. ``column``: 0-based, or -1 when the number of columns
    differs.
    """

    column: int
    expected: str
    described: str


def build_plan(
    columns: Sequence[OutputColumn],
    masks: Mapping[ColumnId, ColumnMask],
    replaced: frozenset[int] = frozenset(),
) -> MaskPlan:
    """The plan for these output columns. ``masks``: every masked column for this subject.
    ``replaced``: OIDs of relations in whose place the text that is sent has subselects with the
    masks.
    """
    forbidden = frozenset(masks) if replaced else frozenset()
    return MaskPlan(tuple([_planned(column, masks, replaced) for column in columns]), forbidden)


def column_spec(
    sources: Iterable[ColumnId], dependence: Dependence, masks: Mapping[ColumnId, ColumnMask]
) -> MaskSpec | None:
    """The mask of a column with these sources; None for none. One computed from masked columns is
    redacted.
    """
    specs = {masks[source].spec for source in sources if source in masks}
    if not specs:
        return None
    if dependence is Dependence.IDENTITY and len(specs) == 1:
        return specs.pop()
    return REDACT


def _planned(
    column: OutputColumn, masks: Mapping[ColumnId, ColumnMask], replaced: frozenset[int]
) -> PlannedColumn:
    if replaced and not column.raw:
        # what it is computed from was masked in the scan, but for columns that expressions may see
        allowed = {c: m for c in column.sources if (m := masks.get(c)) and m.filter is Filter.ALLOW}
        spec = column_spec(column.sources, column.dependence, allowed)
        own = (
            column.origin is not None and column.origin.relation in replaced
        )  # a system column has no sources
        free = own or any(source.relation in replaced for source in column.sources)
        return PlannedColumn(spec, column.origin, column.name, free)
    sources = column.sources if column.origin is None else column.sources | {column.origin}
    return PlannedColumn(column_spec(sources, column.dependence, masks), column.origin, column.name)


def compile_rows(
    plan: MaskPlan, fields: Sequence[Field], types: Mapping[int, Type], keys: Mapping[str, Secret]
) -> RowProgram | Mismatch:
    """The second lock, then one native operation per column.

    ``types``: the catalog's types by OID. ``keys``: HMAC keys by the name that a hash mask gives.
    When nothing is masked the result's ``keep_all`` is set (the lock has still been checked) and
    rows need not be masked.
    """
    if plan.unread:
        plan = MaskPlan((PlannedColumn(None, None, "", free=True),) * len(fields))
    if len(fields) != len(plan.columns):
        return Mismatch(-1, f"{len(plan.columns)} columns", f"{len(fields)} columns")
    for i, (planned, described) in enumerate(zip(plan.columns, fields, strict=True)):
        expected = planned.origin or ColumnId(0, 0)
        origin = ColumnId(described.table_oid, described.column_number)
        if planned.spec is None and origin in plan.forbidden:
            return Mismatch(i, "no masked column", f"{origin.relation}.{origin.attnum}")
        if origin != expected and not planned.free:
            return Mismatch(
                i,
                f"{expected.relation}.{expected.attnum}",
                f"{described.table_oid}.{described.column_number}",
            )
    return RowProgram(
        [
            operation(planned.spec, entry.type_oid, entry.format, types, keys)
            for planned, entry in zip(plan.columns, fields, strict=True)
        ]
    )
