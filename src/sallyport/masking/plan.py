"""The mask plan of a result: which mask each output column gets, and the second lock that checks it.

Pure. :func:`build_plan` turns lineage and masks into a :class:`MaskPlan` when a statement is judged;
:func:`compile_rows` turns the plan into native operations once the server has described its result. The
server's own words about where each column comes from (RowDescription: table OID and attribute number) must
equal what was judged; else the caller gets a :class:`Mismatch` and withholds the result.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sallyport.core.secret import Secret
from sallyport.masking.maskers import operation
from sallyport.policy.decision import REDACT, ColumnMask, MaskSpec
from sallyport.sql.catalog import ColumnId, Type
from sallyport.sql.facts import Dependence, OutputColumn
from sallyport.wire.backend import Field
from sallyport.wire.frames import RowProgram


@dataclass(frozen=True, slots=True)
class PlannedColumn:
    """``spec`` None: passes as it is. ``origin``: what RowDescription must say, None for (0, 0)."""

    spec: MaskSpec | None
    origin: ColumnId | None
    name: str


@dataclass(frozen=True, slots=True)
class MaskPlan:
    """One entry per output column, in order. ``masked``: whether any of them is masked."""

    columns: tuple[PlannedColumn, ...]
    masked: bool = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "masked", any(column.spec is not None for column in self.columns))


@dataclass(frozen=True, slots=True)
class Mismatch:
    """The result is not what was judged. ``column``: 0-based, or -1 when the number of columns differs."""

    column: int
    expected: str
    found: str


def build_plan(columns: Sequence[OutputColumn], masks: Mapping[ColumnId, ColumnMask]) -> MaskPlan:
    """The plan for these output columns. ``masks``: every masked column for this subject."""
    return MaskPlan(
        tuple(PlannedColumn(_spec(column, masks), column.origin, column.name) for column in columns)
    )


def _spec(column: OutputColumn, masks: Mapping[ColumnId, ColumnMask]) -> MaskSpec | None:
    sources = column.sources if column.origin is None else column.sources | {column.origin}
    specs = {masks[source].spec for source in sources if source in masks}
    if not specs:
        return None
    if column.dependence is Dependence.IDENTITY and len(specs) == 1:
        return specs.pop()
    return REDACT


def compile_rows(
    plan: MaskPlan, fields: Sequence[Field], types: Mapping[int, Type], keys: Mapping[str, Secret]
) -> RowProgram | Mismatch:
    """The second lock, then one native operation per column.

    ``types``: the catalog's types by OID. ``keys``: HMAC keys by the name that a hash mask gives. When
    nothing is masked the result's ``keep_all`` is set (the lock has still been checked) and rows need not
    be masked.
    """
    if len(fields) != len(plan.columns):
        return Mismatch(-1, f"{len(plan.columns)} columns", f"{len(fields)} columns")
    for i, (planned, found) in enumerate(zip(plan.columns, fields, strict=True)):
        expected = planned.origin or ColumnId(0, 0)
        if (found.table_oid, found.column_number) != tuple(expected):
            return Mismatch(
                i, f"{expected.relation}.{expected.attnum}", f"{found.table_oid}.{found.column_number}"
            )
    return RowProgram(
        [
            operation(planned.spec, entry.type_oid, entry.format, types, keys)
            for planned, entry in zip(plan.columns, fields, strict=True)
        ]
    )
