"""Every kind of mask is complete: its parameters, what it does to rows and what it does in SQL."""

from __future__ import annotations

import msgspec
import pytest

from sallyport.core.secret import Secret
from sallyport.masking.maskers import NATIVE_MASKS, Family, operation
from sallyport.masking.sqlmasks import SQL_MASKS, mask_expression, reads_column
from sallyport.policy.decision import MaskSpec
from sallyport.policy.file.load import parse_policy
from sallyport.policy.mask_kinds import MASK_KINDS, is_value_independent, spec_text
from sallyport.sql.catalog.snapshot import Type
from sallyport.wire import values
from sallyport.wire.frames import RowProgram, data_row, mask_rows

KEYS = {"default": Secret("a key of this test")}
#: A type of each family with two values that every mask can tell apart.
SAMPLES: dict[Family, tuple[int, str, bytes, bytes]] = {
    Family.TEXT: (values.TEXT, "text", b"ann@example.org", b"Some longer text"),
    Family.JSON: (values.JSON, "json", b'{"a": 1}', b"[]"),
    Family.JSONB: (values.JSONB, "jsonb", b'{"a": 1}', b"[]"),
    Family.BOOL: (values.BOOL, "bool", b"t", b"f"),
    Family.INTEGER: (values.INT4, "int4", b"5", b"123456"),
    Family.FLOAT: (values.FLOAT8, "float8", b"0.5", b"123456.25"),
    Family.NUMERIC: (values.NUMERIC, "numeric", b"0.5", b"123456.25"),
    Family.DATE: (values.DATE, "date", b"1999-05-17", b"2020-12-24"),
    Family.TIMESTAMP: (
        values.TIMESTAMP,
        "timestamp",
        b"1999-05-17 01:02:03",
        b"2020-12-24 01:02:03",
    ),
    Family.TIMESTAMPTZ: (
        values.TIMESTAMPTZ,
        "timestamptz",
        b"1999-05-17 01:02:03+00",
        b"2020-12-24 01:02:03+00",
    ),
    Family.UUID: (
        values.UUID,
        "uuid",
        b"5a1c8c3e-6f0b-4f57-9d0e-0a5ad4ab1a01",
        b"00000000-6f0b-4f57-9d0e-0a5ad4ab1a02",
    ),
}
TYPES = {oid: Type(oid, "pg_catalog", name, "b", "U") for oid, name, _, _ in SAMPLES.values()}


def spec_of(kind: str) -> MaskSpec:
    """The mask as a policy would ask for it, with the parameters of its example."""
    example = MASK_KINDS[kind].example
    asked = f"{{{kind}: {example}}}" if example else kind
    mask = f"{{columns: [public.people.ssn], filter: masked, with: {asked}}}"
    return parse_policy(f"version: 1\nmasks: [{mask}]\n", "policy.yaml").masks[0].spec


def shown(spec: MaskSpec, oid: int, value: bytes) -> bytes | None:
    row = data_row([value])
    program = RowProgram([operation(spec, oid, 0, TYPES, KEYS)])
    result = mask_rows(row, 0, len(row), program)[7:]
    return None if result == b"\xff\xff\xff\xff" else result[4:]


def test_the_registries_name_the_same_kinds() -> None:
    assert set(MASK_KINDS) == set(NATIVE_MASKS) == set(SQL_MASKS)


@pytest.mark.parametrize("kind", MASK_KINDS)
def test_required_parameters_have_an_example(kind: str) -> None:
    shape = MASK_KINDS[kind].parameters
    required = shape is not None and any(f.required for f in msgspec.structs.fields(shape))
    if required:
        assert MASK_KINDS[kind].example
    assert spec_of(kind).kind == kind
    assert spec_text(spec_of(kind)).startswith(kind)


@pytest.mark.parametrize("family", SAMPLES)
@pytest.mark.parametrize("kind", MASK_KINDS)
def test_rows_and_sql_agree_on_what_depends_on_the_value(kind: str, family: Family) -> None:
    spec = spec_of(kind)
    oid, _, first, second = SAMPLES[family]
    reads = reads_column(spec, oid, TYPES)
    assert ('"c"' in mask_expression(spec, '"c"', oid, TYPES)) is reads
    results = shown(spec, oid, first), shown(spec, oid, second)
    if is_value_independent(spec):
        assert not reads
        assert results[0] == results[1]
    elif family in NATIVE_MASKS[kind].families:
        assert reads
        assert None not in results
        assert results[0] != results[1]
    else:
        assert not reads
        assert results == (None, None)
