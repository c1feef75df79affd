"""Plans from lineage, RowDescription, and the second lock."""

from __future__ import annotations

import pytest

from sallyport.masking.plan import (
    MaskPlan,
    Mismatch,
    PlannedColumn,
    build_plan,
    compile_rows,
)
from sallyport.policy.decision import REDACT, ColumnMask, MaskSpec
from sallyport.sql.catalog.snapshot import ColumnId
from sallyport.sql.facts import Dependence, OutputColumn
from sallyport.wire.backend import Field
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
def test_the_mask_of_a_column(
    sources: set[ColumnId], dependence: Dependence, spec: MaskSpec | None
) -> None:
    plan = build_plan([OutputColumn("c", frozenset(sources), dependence)], MASKS)
    assert plan == MaskPlan((PlannedColumn(spec, None, "c"),))
    assert plan.masked is (spec is not None)


def test_a_masked_origin_counts_even_when_lineage_missed_it() -> None:
    column = OutputColumn("c", frozenset(), Dependence.IDENTITY, origin=SSN)
    assert build_plan([column], MASKS).columns[0].spec == SSN_MASK


PLAN = MaskPlan((PlannedColumn(None, PUBLIC, "id"), PlannedColumn(REDACT, None, "x")))


@pytest.mark.parametrize(
    ("origins", "mismatch"),
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
def test_the_second_lock_holds(origins: list[tuple[int, int]], mismatch: Mismatch) -> None:
    entries = [Field("c", oid, attnum, 25, -1, -1, 0) for oid, attnum in origins]
    assert compile_rows(PLAN, entries, {}, {}) == mismatch


def test_the_second_lock_holds_when_nothing_is_masked() -> None:
    plan = MaskPlan((PlannedColumn(None, PUBLIC, "id"),))
    assert isinstance(compile_rows(plan, [Field("id", 100, 2, 25, -1, -1, 0)], {}, {}), Mismatch)
    program = compile_rows(plan, [Field("id", 100, 1, 25, -1, -1, 0)], {}, {})
    assert isinstance(program, RowProgram)
    assert program.keep_all


def test_rows_through_a_plan() -> None:
    program = compile_rows(
        PLAN, [Field("id", 100, 1, 23, 4, -1, 0), Field("x", 0, 0, 25, -1, -1, 0)], {}, {}
    )
    assert isinstance(program, RowProgram)
    assert not program.keep_all
    row = data_row([b"7", b"canary"])
    assert mask_rows(row, 0, len(row), program) == data_row([b"7", b"[redacted]"])
