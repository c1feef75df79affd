"""COPY streams: options, headers, the second lock, and streams fed in pieces."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sallyport.core.errors import ProtocolError, RefusedError
from sallyport.masking.copy import CopyMasker, compile_copy
from sallyport.masking.plan import MaskPlan, Mismatch, PlannedColumn
from sallyport.policy.decision import REDACT
from sallyport.sql.facts import CopyFormat
from sallyport.wire import values
from sallyport.wire.fields import message

PLAN = MaskPlan((PlannedColumn(None, None, "id"), PlannedColumn(REDACT, None, "secret")))
CSV = CopyFormat("csv", delimiter=",", null="")
SIGNATURE = b"PGCOPY\n\xff\r\n\0" + bytes(8)


def make(copy_format: CopyFormat, plan: MaskPlan = PLAN) -> CopyMasker:
    return compile_copy(plan, [values.INT4, values.TEXT][: len(plan.columns)], copy_format, {}, {})


def stream(*rows: bytes) -> bytes:
    return b"".join(message(0x64, row) for row in rows)


CASES = {
    "text": (CopyFormat(), [b"1\tcanary\n", b"2\t\\N\n"], [b"1\t[redacted]\n", b"2\t[redacted]\n"]),
    "text header": (
        CopyFormat(header=True),
        [b"id\tsecret\n", b"1\tcanary\n"],
        [b"id\tsecret\n", b"1\t[redacted]\n"],
    ),
    "csv": (CSV, [b'1,"can,ary"\n', b"2,\n"], [b"1,[redacted]\n", b"2,[redacted]\n"]),
    "csv header": (
        CopyFormat("csv", delimiter=",", null="", header=True),
        [b'id,"se,cret"\n', b"1,canary\n"],
        [b'id,"se,cret"\n', b"1,[redacted]\n"],
    ),
    "binary": (
        CopyFormat("binary"),
        [SIGNATURE + b"\0\x02\0\0\0\x04\0\0\0\x01\0\0\0\x06canary", b"\xff\xff"],
        [SIGNATURE + b"\0\x02\0\0\0\x04\0\0\0\x01\0\0\0\x0a[redacted]", b"\xff\xff"],
    ),
    "binary, no rows": (CopyFormat("binary"), [SIGNATURE + b"\xff\xff"], [SIGNATURE + b"\xff\xff"]),
}


@pytest.mark.parametrize("case", CASES)
def test_a_stream_whole_and_message_by_message(case: str) -> None:
    copy_format, given_rows, expected = CASES[case]
    data = stream(*given_rows)
    assert make(copy_format).feed(data, 0, len(data)) == stream(*expected)
    masker = make(copy_format)
    parts = [
        masker.feed(b"xx" + stream(row) + b"yy", 2, 2 + len(stream(row))) for row in given_rows
    ]
    assert b"".join(parts) == stream(*expected)
    assert masker.feed(b"", 0, 0) == b""


@pytest.mark.parametrize("case", CASES)
def test_a_stream_cut_inside_a_message(case: str) -> None:
    copy_format, given_rows, _ = CASES[case]
    data = stream(given_rows[0])
    for cut in range(1, len(data)):
        with pytest.raises(ProtocolError):
            make(copy_format).feed(data, 0, cut)


def test_a_header_with_another_number_of_columns() -> None:
    for form, line in (
        (CopyFormat(header=True), b"id\n"),
        (CopyFormat("csv", ",", "", header=True), b"a,b,c\n"),
    ):
        with pytest.raises(ProtocolError):
            make(form).feed(stream(line), 0, len(stream(line)))


def test_only_the_first_line_is_a_header() -> None:
    masker = make(CopyFormat(header=True))
    line = stream(b"id\tcanary\n")
    assert masker.feed(line, 0, len(line)) == line
    assert b"canary" not in masker.feed(line, 0, len(line))


@given(st.binary(max_size=50), st.sampled_from(sorted(CASES)))
def test_garbage(garbage: bytes, case: str) -> None:
    data = message(0x64, garbage)
    try:
        result = make(CASES[case][0]).feed(data, 0, len(data))
    except ProtocolError:
        return
    assert b"[redacted]" in result or "header" in case or case.startswith("binary")


def response(code: int, *columns: int) -> bytes:
    return (
        bytes([code])
        + len(columns).to_bytes(2, "big")
        + b"".join(c.to_bytes(2, "big") for c in columns)
    )


def test_the_second_lock() -> None:
    text, binary = make(CopyFormat()), make(CopyFormat("binary"))
    assert text.matches(response(0, 0, 0)) is None
    assert binary.matches(response(1, 1, 1)) is None
    assert make(CSV).matches(response(0, 0, 0)) is None
    for masker, body in (
        (text, response(1, 1, 1)),
        (text, response(0, 0, 1)),
        (text, response(0, 0)),
        (text, response(0, 0, 0, 0)),
        (binary, response(0, 0, 0)),
        (binary, response(1, 1, 0)),
    ):
        assert isinstance(masker.matches(body), Mismatch)
    for body in (b"", b"\0\0", response(0, 0, 0) + b"\0", response(0, 0, 0)[:-1]):
        with pytest.raises(ProtocolError):
            text.matches(body)


@pytest.mark.parametrize(
    "copy_format",
    [
        CopyFormat("json"),
        CopyFormat(delimiter=""),
        CopyFormat(delimiter="||"),
        CopyFormat(delimiter="é"),
        CopyFormat(delimiter="\n"),
        CopyFormat(delimiter="a"),
        CopyFormat(delimiter="\\"),
        CopyFormat(null="a\tb"),
        CopyFormat(null="a\nb"),
        CopyFormat("csv", delimiter='"', null=""),
        CopyFormat("csv", delimiter=",", null='"'),
        CopyFormat("csv", delimiter=",", null="", quote=""),
        CopyFormat("csv", delimiter=",", null="", escape="\\\\"),
    ],
)
def test_options_that_postgresql_refuses(copy_format: CopyFormat) -> None:
    with pytest.raises(RefusedError) as caught:
        make(copy_format)
    assert caught.value.refusal.code.id == "SP1107"


def test_another_number_of_types() -> None:
    with pytest.raises(RefusedError) as caught:
        compile_copy(PLAN, [values.INT4], CopyFormat(), {}, {})
    assert caught.value.refusal.code.id == "SP1203"


def test_nothing_masked_passes_untouched() -> None:
    masker = make(CopyFormat(), MaskPlan(PLAN.columns[:1]))
    assert masker.keep_all
    assert masker.feed(bytearray(stream(b"1\n")), 0, 7) == stream(b"1\n")
