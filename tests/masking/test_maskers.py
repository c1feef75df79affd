"""Every mask on every type, in text and binary: golden values, and the promises of the module."""

from __future__ import annotations

import datetime
import struct
import uuid
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sallyport.core.secret import Secret
from sallyport.masking.maskers import operation
from sallyport.policy.decision import MaskSpec
from sallyport.sql.catalog.snapshot import Type
from sallyport.wire import values
from sallyport.wire.frames import RowProgram, data_row, mask_rows

KEYS = {"k": Secret("a key of this test"), "other": Secret("another key")}
TYPES = {
    t.oid: t
    for t in (
        Type(20001, "public", "citext", "b", "S", extension="citext"),
        Type(20002, "public", "mood", "e", "E"),
        Type(20003, "public", "email_address", "d", "S", base=25),
        Type(20004, "public", "of_domain", "d", "S", base=20003),
        Type(20005, "public", "stranger", "b", "S"),
        Type(20006, "public", "endless", "d", "S", base=20006),
        Type(20007, "public", "customers", "c", "C", relation=5),
        Type(20008, "public", "mood_range", "r", "R"),
        Type(20009, "public", "positive", "d", "N", base=23),
        Type(20010, "public", "_citext", "b", "A", element=20001),
    )
}
ANY_OID = [*range(16, 5100), *TYPES, 0, 99999]
KINDS = {
    "redact": MaskSpec("redact"),
    "null": MaskSpec("null"),
    "partial": MaskSpec("partial", keep_first=1, keep_last=2),
    "email": MaskSpec("email"),
    "hash": MaskSpec("hash", key="k"),
    "date": MaskSpec("date"),
    "bucket": MaskSpec("bucket", size=10),
    "constant": MaskSpec("constant", value="1"),
    "nonsense": MaskSpec("nonsense"),
}


def masked(spec: MaskSpec, oid: int, format: int, value: bytes | None) -> bytes | None:
    """One cell through the hot loop."""
    row = data_row([value])
    result = mask_rows(row, 0, len(row), RowProgram([operation(spec, oid, format, TYPES, KEYS)]))[
        7:
    ]
    return None if result == b"\xff\xff\xff\xff" else result[4:]


TEXT, JSON, JSONB, BPCHAR, INT4 = values.TEXT, values.JSON, values.JSONB, values.BPCHAR, values.INT4
MONEY, BYTEA, INET, TIME, TEXT_ARRAY, XML, CHAR = 790, 17, 869, 1083, 1009, 142, 18
DATE, TIMESTAMP, TIMESTAMPTZ = values.DATE, values.TIMESTAMP, values.TIMESTAMPTZ
YEAR, MONTH, DAY = (MaskSpec("date", precision=p) for p in ("year", "month", "day"))
TEN, HALF = MaskSpec("bucket", size=10), MaskSpec("bucket", size=0.5)


@pytest.mark.parametrize(
    ("spec", "oid", "value", "expected"),
    [
        (KINDS["redact"], TEXT, b"x", b"[redacted]"),
        (KINDS["redact"], BPCHAR, b"x  ", b"[redacted]"),
        (KINDS["redact"], 20001, b"x", b"[redacted]"),
        (KINDS["redact"], 20004, b"x", b"[redacted]"),
        (KINDS["redact"], 20005, b"x", b"[redacted]"),
        (KINDS["redact"], JSON, b"{}", b'"[redacted]"'),
        (KINDS["redact"], JSONB, b"{}", b'"[redacted]"'),
        *[
            (KINDS["redact"], oid, b"1", None)
            for oid in (INT4, 16, BYTEA, MONEY, INET, TIME, TEXT_ARRAY, XML, CHAR)
        ],
        *[
            (KINDS["redact"], oid, b"1", None)
            for oid in (20002, 20006, 20007, 20008, 20009, 20010, 99999, 0)
        ],
        (KINDS["partial"], TEXT, b"abcdef", b"a***ef"),
        (KINDS["partial"], JSON, b'"abcdef"', None),
        (KINDS["email"], values.VARCHAR, b"jane@example.com", b"j***@example.com"),
        (KINDS["email"], 20002, b"happy", None),
        (KINDS["partial"], TEXT_ARRAY, b"{abc,def}", None),
        (YEAR, DATE, b"2024-07-06", b"2024-01-01"),
        (MONTH, DATE, b"2024-07-06", b"2024-07-01"),
        (DAY, DATE, b"2024-07-06", b"2024-07-06"),
        (YEAR, DATE, b"0044-03-15 BC", b"0044-01-01 BC"),
        (YEAR, DATE, b"12024-07-06", b"12024-01-01"),
        (YEAR, DATE, b"infinity", None),
        (YEAR, DATE, b"07/06/2024", None),
        (YEAR, DATE, b"06.07.2024", None),
        (MONTH, TIMESTAMP, b"2024-07-06 10:11:12.123456", b"2024-07-01 00:00:00"),
        (DAY, TIMESTAMP, b"0044-03-15 10:11:12 BC", b"0044-03-15 00:00:00 BC"),
        (MONTH, TIMESTAMP, b"Sat Jul 06 10:11:12 2024", None),
        (MONTH, TIMESTAMP, b"2024-07-06 10:11:12+02", None),
        (DAY, TIMESTAMPTZ, b"2024-07-06 01:11:12+02", b"2024-07-05 00:00:00+00"),
        (YEAR, TIMESTAMPTZ, b"2024-07-06 01:11:12-03:30", b"2024-01-01 00:00:00+00"),
        (YEAR, TIMESTAMPTZ, b"2024-07-06 01:11:12 CEST", None),
        (YEAR, TIMESTAMPTZ, b"-infinity", None),
        (YEAR, TEXT, b"2024-07-06", None),
        (YEAR, TIME, b"10:11:12", None),
        (MaskSpec("date", precision="hour"), DATE, b"2024-07-06", None),
        (TEN, INT4, b"47", b"40"),
        (TEN, INT4, b"-41", b"-50"),
        (TEN, 20009, b"47", b"40"),
        (TEN, values.INT2, b"-32768", None),
        (HALF, INT4, b"7", b"7"),
        (HALF, values.NUMERIC, b"1234.77", b"1234.5"),
        (TEN, values.NUMERIC, b"-0.01", b"-10"),
        (TEN, values.NUMERIC, b"NaN", None),
        (TEN, values.NUMERIC, b"9" * 2000, None),
        (MaskSpec("bucket", size=0.1), values.FLOAT8, b"0.3", b"0.3"),
        (TEN, values.FLOAT8, b"1.5e+20", b"1.5e+20"),
        (TEN, values.FLOAT8, b"Infinity", None),
        (TEN, TEXT, b"47", None),
        (TEN, MONEY, b"$47.00", None),
        (MaskSpec("bucket", size=0), INT4, b"47", None),
        (MaskSpec("bucket", size=-1), INT4, b"47", None),
        (MaskSpec("bucket", size=float("nan")), INT4, b"47", None),
        (MaskSpec("constant", value="n/a"), TEXT, b"x", b"n/a"),
        (MaskSpec("constant", value=""), TEXT, b"x", b""),
        (MaskSpec("constant", value="a\0b"), TEXT, b"x", None),
        (MaskSpec("constant", value="n/a"), INT4, b"1", None),
        (MaskSpec("constant", value="-7"), INT4, b"1", b"-7"),
        (MaskSpec("constant", value="7.5"), INT4, b"1", None),
        (MaskSpec("constant", value="70000"), values.INT2, b"1", None),
        (MaskSpec("constant", value="7.50"), values.NUMERIC, b"1", b"7.50"),
        (MaskSpec("constant", value="7.50"), values.FLOAT8, b"1", b"7.5"),
        (MaskSpec("constant", value="1970-01-01"), DATE, b"2024-07-06", b"1970-01-01"),
        (
            MaskSpec("constant", value="1970-01-01 00:00:00+01"),
            TIMESTAMPTZ,
            b"",
            b"1969-12-31 23:00:00+00",
        ),
        (MaskSpec("constant", value="yes"), values.BOOL, b"f", b"t"),
        (MaskSpec("constant", value='{"a": 1}'), JSONB, b"2", b'{"a": 1}'),
        (MaskSpec("constant", value="{a"), JSONB, b"2", None),
        (MaskSpec("constant", value="NaN"), JSON, b"2", None),
        (MaskSpec("constant", value="{1,2}"), TEXT_ARRAY, b"{}", None),
        (MaskSpec("hash", key="missing"), TEXT, b"x", None),
        (MaskSpec("hash"), TEXT, b"x", None),
        (KINDS["hash"], INT4, b"1", None),
        (KINDS["hash"], values.UUID, b"not a uuid", None),
        (KINDS["nonsense"], TEXT, b"x", None),
    ],
)
def test_golden(spec: MaskSpec, oid: int, value: bytes, expected: bytes | None) -> None:
    assert masked(spec, oid, 0, value) == expected


@pytest.mark.parametrize("kind", ["redact", "null", "constant"])
@pytest.mark.parametrize("format", [0, 1])
def test_redact_null_and_constant_do_not_depend_on_the_value(kind: str, format: int) -> None:
    """NULL, length and validity included, for any type there is."""
    for oid in ANY_OID:
        results = {
            masked(KINDS[kind], oid, format, v) for v in (None, b"", b"1", b"2", b"\xff" * 40)
        }
        assert len(results) == 1, oid


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("format", [0, 1, 2, -1])
def test_no_type_lets_a_value_through(kind: str, format: int) -> None:
    if kind in ("bucket", "date") and format == 1:
        return  # any bytes of the right number are a value, and what is near it looks like it
    for oid in ANY_OID:
        for value in (b"canary-value", b"canary@value", b"canary01", b"can1", b"canary-of-16-byt"):
            result = masked(KINDS[kind], oid, format, value)
            assert result is None or b"can" not in result, (oid, value)


@given(
    st.sampled_from(sorted(KINDS)),
    st.sampled_from(ANY_OID),
    st.integers(0, 1),
    st.binary(max_size=40),
)
def test_garbage_values_are_masked_or_null(kind: str, oid: int, format: int, value: bytes) -> None:
    result = masked(KINDS[kind], oid, format, value)
    assert (
        result is None
        or kind in ("date", "bucket")
        or result != value
        or value in (b"", b"1", b"*", b"**")
    )


@given(st.text())
def test_text_tokens_join(text: str) -> None:
    value = text.encode("utf-8", "replace")
    token = masked(KINDS["hash"], TEXT, 0, value)
    assert token is not None
    assert len(token) == 28
    for oid in (TEXT, values.VARCHAR, values.NAME, 20001, 20003):
        for format in (0, 1):
            assert masked(KINDS["hash"], oid, format, value) == token
    assert masked(KINDS["hash"], BPCHAR, 0, value + b"   ") == masked(
        KINDS["hash"], TEXT, 0, value.rstrip(b" ")
    )
    assert masked(MaskSpec("hash", key="other"), TEXT, 0, value) != token
    assert masked(KINDS["hash"], TEXT, 0, value + b"x") != token


@given(st.uuids())
def test_uuid_tokens_join(value: uuid.UUID) -> None:
    text = masked(KINDS["hash"], values.UUID, 0, str(value).encode())
    binary = masked(KINDS["hash"], values.UUID, 1, value.bytes)
    assert text is not None
    token = uuid.UUID(text.decode())
    assert token.bytes == binary
    assert (token.version, token.variant) == (8, uuid.RFC_4122)
    assert token != value


@given(st.dates(), st.sampled_from(["year", "month", "day"]))
def test_dates_agree_in_text_and_binary(date: datetime.date, precision: str) -> None:
    days = (date - datetime.date(2000, 1, 1)).days
    floor = date.replace(
        month=1 if precision == "year" else date.month, day=date.day if precision == "day" else 1
    )
    spec = MaskSpec("date", precision=precision)
    assert masked(spec, DATE, 0, date.isoformat().encode()) == floor.isoformat().encode()
    expected = (floor - datetime.date(2000, 1, 1)).days
    assert masked(spec, DATE, 1, struct.pack(">i", days)) == struct.pack(">i", expected)


@given(st.datetimes(), st.sampled_from([TIMESTAMP, TIMESTAMPTZ]))
def test_timestamps_agree_in_text_and_binary(moment: datetime.datetime, oid: int) -> None:
    micros = (moment - datetime.datetime(2000, 1, 1)) // datetime.timedelta(microseconds=1)
    zone = b"+00" if oid == TIMESTAMPTZ else b""
    text = masked(MONTH, oid, 0, moment.isoformat(" ").encode() + zone)
    assert (
        text == moment.strftime("%m-01 00:00:00").join([f"{moment.year:04}-", ""]).encode() + zone
    )
    binary = masked(MONTH, oid, 1, struct.pack(">q", micros))
    assert binary is not None
    assert values.format_timestamp(struct.unpack(">q", binary)[0], bool(zone)) == text


@pytest.mark.parametrize(("oid", "size"), [(DATE, 4), (TIMESTAMP, 8), (TIMESTAMPTZ, 8)])
def test_binary_infinities_and_wrong_sizes_become_null(oid: int, size: int) -> None:
    for value in (
        b"\x7f" + b"\xff" * (size - 1),
        b"\x80" + bytes(size - 1),
        bytes(size - 1),
        bytes(size + 1),
        b"",
    ):
        assert masked(YEAR, oid, 1, value) is None


@given(st.integers(-(2**31), 2**31 - 1), st.sampled_from([1.0, 10.0, 1000.0, 7.0]))
def test_integers_agree_in_text_and_binary(number: int, size: float) -> None:
    spec = MaskSpec("bucket", size=size)
    floor = number // int(size) * int(size)
    fits = floor >= -(2**31)
    assert masked(spec, INT4, 0, str(number).encode()) == (str(floor).encode() if fits else None)
    assert masked(spec, INT4, 1, struct.pack(">i", number)) == (
        struct.pack(">i", floor) if fits else None
    )


@given(
    st.floats(width=32, allow_nan=False, allow_infinity=False),
    st.sampled_from([0.1, 0.5, 10.0, 1e6]),
)
def test_floats_agree_in_text_and_binary(number: float, size: float) -> None:
    spec = MaskSpec("bucket", size=size)
    for oid, code in ((values.FLOAT4, ">f"), (values.FLOAT8, ">d")):
        data = struct.pack(code, number)
        units, scale = values.decode_float(data)
        assert struct.pack(code, values.to_float(units, scale)) == struct.pack(code, number + 0.0)
        text, binary = (
            masked(spec, oid, 0, values.format_decimal(units, scale)),
            masked(spec, oid, 1, data),
        )
        if text is None or binary is None:
            assert text == binary  # the floor is out of float4's range
        else:
            assert struct.pack(code, float(text)) == binary
            assert float(text) <= number or struct.pack(code, float(text)) == data


@given(
    st.decimals(
        allow_nan=False, allow_infinity=False, places=5, min_value=-(10**30), max_value=10**30
    )
)
def test_numeric_reads_back(number: Decimal) -> None:
    text = f"{number:f}".encode()
    units, scale = values.parse_decimal(text)
    assert values.decode_numeric(values.encode_numeric(units, scale)) == (units, scale)
    assert Decimal(values.format_decimal(units, scale).decode()) == number
    binary = masked(HALF, values.NUMERIC, 1, values.encode_numeric(units, scale))
    assert binary is not None
    assert values.format_decimal(*values.decode_numeric(binary)) == masked(
        HALF, values.NUMERIC, 0, text
    )


def test_binary_constants() -> None:
    assert masked(MaskSpec("constant", value="7"), INT4, 1, None) == b"\0\0\0\x07"
    assert masked(MaskSpec("constant", value="1"), values.BOOL, 1, None) == b"\x01"
    assert masked(MaskSpec("constant", value="[]"), JSONB, 1, None) == b"\x01[]"
    assert masked(MaskSpec("constant", value="2000-01-02"), DATE, 1, None) == b"\0\0\0\x01"
    assert masked(KINDS["redact"], JSONB, 1, None) == b'\x01"[redacted]"'
    assert masked(KINDS["redact"], 20005, 1, b"x") is None  # its binary form is not known
    assert masked(KINDS["redact"], 20001, 1, b"x") == b"[redacted]"


def test_secrets_are_in_no_repr() -> None:
    op = operation(KINDS["hash"], TEXT, 0, TYPES, KEYS)
    assert "a key of this test" not in repr(op)
