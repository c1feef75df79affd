"""The mask plan of a result: which mask each output column gets, and the second lock that checks it.

Pure. :func:`build_plan` turns lineage and masks into a :class:`MaskPlan` when a statement is judged;
:func:`compile_rows` turns the plan into native operations once the server has described its result. The
server's own words about where each column comes from (RowDescription: table OID and attribute number) must
equal what was judged; else the caller gets a :class:`Mismatch` and withholds the result.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from sallyport.core.errors import ProtocolError
from sallyport.core.secret import Secret
from sallyport.masking.maskers import operation
from sallyport.policy.decision import REDACT, ColumnMask, MaskSpec
from sallyport.sql.catalog import ColumnId, Type
from sallyport.sql.facts import Dependence, OutputColumn
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


class Field(NamedTuple):
    """A column of RowDescription. ``format``: 0 text, 1 binary."""

    name: str
    table_oid: int
    attnum: int
    type_oid: int
    type_size: int
    type_modifier: int
    format: int


@dataclass(frozen=True, slots=True)
class Mismatch:
    """The result is not what was judged. ``column``: 0-based, or -1 when the number of columns differs."""

    column: int
    expected: str
    found: str


_FIELD = struct.Struct(">IhIhih")


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


def parse_row_description(body: bytes) -> list[Field]:
    """The body (no type, no length) of RowDescription. Raises ProtocolError unless it is exactly that."""
    if len(body) < 2:
        raise ProtocolError("a RowDescription without a column count")
    fields: list[Field] = []
    position = 2
    for _ in range(int.from_bytes(body[:2], "big")):
        end = body.find(b"\0", position)
        if end < 0 or len(body) - end - 1 < _FIELD.size:
            raise ProtocolError("a RowDescription that ends too early")
        try:
            name = body[position:end].decode()
        except UnicodeDecodeError:
            raise ProtocolError("a column name that is not UTF-8") from None
        entry = Field(name, *_FIELD.unpack_from(body, end + 1))
        if entry.format not in (0, 1):
            raise ProtocolError("a RowDescription with an unknown format code")
        fields.append(entry)
        position = end + 1 + _FIELD.size
    if position != len(body):
        raise ProtocolError("a RowDescription with trailing bytes")
    return fields


def with_formats(fields: Sequence[Field], formats: Sequence[int]) -> list[Field]:
    """The fields with the result format codes of a Bind message: none (all text), one for all, or one each.

    A RowDescription that answers Describe of a *statement* says text for all, whatever Bind asks for later.
    Raises ProtocolError for another number of codes, or codes that are not 0 or 1.
    """
    if any(code not in (0, 1) for code in formats) or len(formats) not in (0, 1, len(fields)):
        raise ProtocolError("Bind with result format codes that do not fit the result")
    codes = formats if len(formats) == len(fields) else [formats[0] if formats else 0] * len(fields)
    return [entry._replace(format=code) for entry, code in zip(fields, codes, strict=True)]


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
        if (found.table_oid, found.attnum) != tuple(expected):
            return Mismatch(i, f"{expected.relation}.{expected.attnum}", f"{found.table_oid}.{found.attnum}")
    return RowProgram(
        [
            operation(planned.spec, entry.type_oid, entry.format, types, keys)
            for planned, entry in zip(plan.columns, fields, strict=True)
        ]
    )
