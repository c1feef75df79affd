"""Values are shown as PostgreSQL prints them, and nothing recorded can act on a terminal."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sallyport.audit.display import inert, show_value


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ünïcode 漢字", "plain ünïcode 漢字"),
        ("\x1b[31mred", "\\e[31mred"),
        ("\x9b31m", "\\x9b31m"),
        ("a\x07b\x08c\x7f", "a\\x07b\\x08c\\x7f"),
        ("user\u202etxt.exe", "user\\u{202e}txt.exe"),
        ("\u2066x\u2069", "\\u{2066}x\\u{2069}"),
        ("ze\u200bro", "ze\\u{200b}ro"),
        ("tag\U000e0041", "tag\\u{e0041}"),
        ("two\nlines\r\n", "two\\nlines\\r\\n"),
        ("line\u2028line", "line\\u{2028}line"),
        ("nbsp\u00a0hangul\u3164", "nbsp\\xa0hangul\\u{3164}".replace("\\xa0", "\\u{a0}")),
        ("\udcff", "\\u{dcff}"),
    ],
)
def test_inert(text: str, shown: str) -> None:
    assert inert(text) == shown


def test_inert_keeps_newlines_when_asked() -> None:
    assert inert("a\nb\x1b", newlines=True) == "a\nb\\e"


@given(st.text())
def test_inert_text_is_printable(text: str) -> None:
    assert inert(text).isprintable()
    assert inert(inert(text)) == inert(text)


@pytest.mark.parametrize(
    ("oid", "value", "shown"),
    [
        (16, b"\x01", "t"),
        (21, b"\xff\xff", "-1"),
        (23, b"\x00\x00\x00\x07", "7"),
        (20, b"\x80" + bytes(7), "-9223372036854775808"),
        (26, b"\xff\xff\xff\xff", "4294967295"),
        (701, struct.pack("!d", 1.5), "1.5"),
        (25, "ß".encode(), "ß"),
        (17, b"\x00\xff", "\\x00ff"),
        (1082, struct.pack("!i", 0), "2000-01-01"),
        (1082, struct.pack("!i", 2**31 - 1), "infinity"),
        (1114, struct.pack("!q", 86_400_000_000 + 1_500_000), "2000-01-02 00:00:01.5"),
        (1184, struct.pack("!q", -1_000_000), "1999-12-31 23:59:59+00"),
        (1083, struct.pack("!q", 3_723_000_000), "01:02:03"),
        (1266, struct.pack("!qi", 0, -7200), "00:00:00+02"),
        (1186, struct.pack("!qii", 1_000_000, 2, 14), "1 year 2 mons 2 days 00:00:01"),
        (1700, bytes.fromhex("0002 0000 0000 0002 0001 0898".replace(" ", "")), "1.22"),
        (
            1700,
            struct.pack("!HhHH", 10, 9, 0x4000, 0) + struct.pack("!10H", *[1234] * 10),
            "-" + "1234" * 10,
        ),
        (1700, struct.pack("!HhHH", 1, 1, 0, 2) + struct.pack("!H", 5), "50000.00"),
        (1700, struct.pack("!HhHH", 0, 0, 0, 2), "0.00"),
        (1700, bytes.fromhex("0000 0000 C000 0000".replace(" ", "")), "NaN"),
        (2950, bytes(range(16)), "00010203-0405-0607-0809-0a0b0c0d0e0f"),
        (3802, b'\x01{"a": 1}', '{"a": 1}'),
        (869, b"\x02\x20\x00\x04\x7f\x00\x00\x01", "127.0.0.1"),
        (650, b"\x02\x08\x01\x04\x0a\x00\x00\x00", "10.0.0.0/8"),
        (1007, struct.pack("!iiIiiiiii", 1, 1, 23, 2, 1, 4, 5, -1, 0)[:-4], "{5,NULL}"),
        (600, b"\xff\xfe", "\\xfffe"),
    ],
)
def test_binary_values(oid: int, value: bytes, shown: str) -> None:
    assert show_value(value, oid, 1) == shown


def test_text_values_are_themselves() -> None:
    assert show_value(b"42", 23, 0) == "42"
    assert show_value(b"{1,2}", 1007, 0) == "{1,2}"
    assert show_value(b"2024-02-29 10:00:00+00", 1184, 0) == "2024-02-29 10:00:00+00"


def test_binary_that_was_announced_as_text_is_recognised() -> None:
    assert show_value(b"\x00\x00\x00\x2a", 23, 0) == "42"


@given(st.integers(0, 4000), st.binary(max_size=64), st.integers(0, 1))
def test_any_bytes_of_any_type_show_as_something(oid: int, value: bytes, code: int) -> None:
    assert isinstance(show_value(value, oid, code), str)


@pytest.mark.parametrize(
    "oid", [16, 21, 650, 700, 869, 1007, 1082, 1083, 1114, 1184, 1186, 1266, 1700, 2950, 3802]
)
@given(value=st.binary(max_size=64))
def test_garbage_of_known_types_shows_as_something(oid: int, value: bytes) -> None:
    assert isinstance(show_value(value, oid, 1), str)
