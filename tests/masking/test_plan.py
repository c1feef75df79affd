"""Plans from lineage, RowDescription, and the second lock."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sallyport.core.errors import ProtocolError
from sallyport.masking.plan import (
    Field,
    MaskPlan,
    Mismatch,
    PlannedColumn,
    build_plan,
    compile_rows,
    parse_row_description,
    with_formats,
)
from sallyport.policy.decision import REDACT, ColumnMask, MaskSpec
from sallyport.sql.catalog import ColumnId
from sallyport.sql.facts import Dependence, OutputColumn
from sallyport.wire.frames import RowProgram, data_row, mask_rows

EMAIL, SSN, PUBLIC = ColumnId(100, 2), ColumnId(100, 3), ColumnId(100, 1)
VIEW_EMAIL = ColumnId(200, 1)
EMAIL_MASK, SSN_MASK = MaskSpec("email"), MaskSpec("partial", keep_last=4)
MASKS = {EMAIL: ColumnMask(EMAIL_MASK), SSN: ColumnMask(SSN_MASK)}


@pytest.mark.parametrize(
    ("sources", "dependence", "spec"),
    [
        ({PUBLIC}, Dependence.IDENTITY, None),
        ({PUBLIC}, Dependence.DERIVED, None),
        (set(), Dependence.DERIVED, None),
        ({EMAIL}, Dependence.IDENTITY, EMAIL_MASK),
        ({EMAIL, VIEW_EMAIL}, Dependence.IDENTITY, EMAIL_MASK),  # through a view
        ({EMAIL, PUBLIC}, Dependence.IDENTITY, EMAIL_MASK),  # UNION with a public column
        ({EMAIL, SSN}, Dependence.IDENTITY, REDACT),  # UNION of two masks
        ({EMAIL}, Dependence.DERIVED, REDACT),
        ({EMAIL, PUBLIC}, Dependence.OPAQUE, REDACT),
    ],
)
def test_the_mask_of_a_column(sources: set[ColumnId], dependence: Dependence, spec: MaskSpec | None) -> None:
    plan = build_plan([OutputColumn("c", frozenset(sources), dependence)], MASKS)
    assert plan == MaskPlan((PlannedColumn(spec, None, "c"),))
    assert plan.masked is (spec is not None)


def test_a_masked_origin_counts_even_when_lineage_missed_it() -> None:
    column = OutputColumn("c", frozenset(), Dependence.IDENTITY, origin=SSN)
    assert build_plan([column], MASKS).columns[0].spec == SSN_MASK


fields = st.builds(
    Field,
    st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=10),
    st.integers(0, 2**32 - 1),
    st.integers(-(2**15), 2**15 - 1),
    st.integers(0, 2**32 - 1),
    st.integers(-(2**15), 2**15 - 1),
    st.integers(-(2**31), 2**31 - 1),
    st.integers(0, 1),
)


def row_description(entries: list[Field]) -> bytes:
    parts = [f.name.encode() + b"\0" + struct.pack(">IhIhih", *f[1:]) for f in entries]
    return len(entries).to_bytes(2, "big") + b"".join(parts)


@given(st.lists(fields, max_size=5))
def test_row_description_whole_cut_and_trailing(entries: list[Field]) -> None:
    body = row_description(entries)
    assert parse_row_description(body) == entries
    for cut in range(len(body)):
        with pytest.raises(ProtocolError):
            parse_row_description(body[:cut])
    with pytest.raises(ProtocolError):
        parse_row_description(body + b"\0")


@given(st.binary(max_size=60))
def test_garbage_row_description(body: bytes) -> None:
    try:
        assert row_description(parse_row_description(body)) == body
    except ProtocolError:
        pass


@pytest.mark.parametrize("code", [2, -1, 256])
def test_row_description_with_an_unknown_format(code: int) -> None:
    with pytest.raises(ProtocolError, match="format"):
        parse_row_description(row_description([Field("a", 0, 0, 25, -1, -1, code)]))


def test_formats_of_bind() -> None:
    two = [Field("a", 0, 0, 25, -1, -1, 0), Field("b", 0, 0, 23, 4, -1, 0)]
    assert [f.format for f in with_formats(two, [])] == [0, 0]
    assert [f.format for f in with_formats(two, [1])] == [1, 1]
    assert [f.format for f in with_formats(two, [0, 1])] == [0, 1]
    assert with_formats([], [1]) == []
    for bad in ([0, 0, 0], [2], [-1, 0]):
        with pytest.raises(ProtocolError):
            with_formats(two, bad)


PLAN = MaskPlan((PlannedColumn(None, PUBLIC, "id"), PlannedColumn(REDACT, None, "x")))


@pytest.mark.parametrize(
    ("found", "mismatch"),
    [
        ([(100, 1)], Mismatch(-1, "2 columns", "1 columns")),
        ([(100, 1), (0, 0), (0, 0)], Mismatch(-1, "2 columns", "3 columns")),
        ([(100, 2), (0, 0)], Mismatch(0, "100.1", "100.2")),
        ([(101, 1), (0, 0)], Mismatch(0, "100.1", "101.1")),
        ([(0, 0), (0, 0)], Mismatch(0, "100.1", "0.0")),
        ([(100, 1), (100, 3)], Mismatch(1, "0.0", "100.3")),
        ([(100, 1), (0, 3)], Mismatch(1, "0.0", "0.3")),
    ],
)
def test_the_second_lock_holds(found: list[tuple[int, int]], mismatch: Mismatch) -> None:
    entries = [Field("c", oid, attnum, 25, -1, -1, 0) for oid, attnum in found]
    assert compile_rows(PLAN, entries, {}, {}) == mismatch


def test_the_second_lock_holds_when_nothing_is_masked() -> None:
    plan = MaskPlan((PlannedColumn(None, PUBLIC, "id"),))
    assert isinstance(compile_rows(plan, [Field("id", 100, 2, 25, -1, -1, 0)], {}, {}), Mismatch)
    program = compile_rows(plan, [Field("id", 100, 1, 25, -1, -1, 0)], {}, {})
    assert isinstance(program, RowProgram)
    assert program.keep_all


def test_rows_through_a_plan() -> None:
    program = compile_rows(PLAN, [Field("id", 100, 1, 23, 4, -1, 0), Field("x", 0, 0, 25, -1, -1, 0)], {}, {})
    assert isinstance(program, RowProgram)
    assert not program.keep_all
    row = data_row([b"7", b"canary"])
    assert mask_rows(row, 0, len(row), program) == data_row([b"7", b"[redacted]"])
