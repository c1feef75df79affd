"""The native hot loop, compiled and interpreted, against plain models of what it must do."""

from __future__ import annotations

import csv
import importlib.util
import io
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sallyport.core.errors import ProtocolError
from sallyport.wire import frames as installed
from sallyport.wire.fields import message

SOURCE = Path(__file__).parents[2] / "src" / "sallyport" / "wire" / "frames.py"


def _interpreted() -> ModuleType:
    spec = importlib.util.spec_from_file_location("frames_interpreted", SOURCE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


interpreted = _interpreted()
BOTH = [installed, interpreted]


def test_the_interpreted_module_is_not_the_compiled_one() -> None:
    assert interpreted.COMPILED is False
    assert interpreted.__file__ == str(SOURCE)


def test_it_runs_where_cython_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cython", None)
    assert _interpreted().data_row([b"a", None]) == b"D\0\0\0\x0f\0\x02\0\0\0\x01a\xff\xff\xff\xff"


def test_the_compiled_module_is_up_to_date() -> None:
    if not installed.COMPILED:
        pytest.skip("not compiled; run scripts/build-native")
    built = Path(installed.__file__).stat().st_mtime
    newest = max(SOURCE.stat().st_mtime, SOURCE.with_suffix(".pxd").stat().st_mtime)
    assert built > newest, "frames.py has changed since it was compiled: run scripts/build-native"


def both(run: Callable[[Any], Any]) -> Any:
    """Run it compiled and interpreted: the same result, or (returned) the same ProtocolError."""
    results: list[Any] = []
    for module in BOTH:
        try:
            results.append(run(module))
        except ProtocolError as error:
            results.append(str(error))
    assert results[0] == results[1]
    return results[0]


def refused(run: Callable[[Any], Any]) -> str:
    """It raises ProtocolError in both; returns the text."""
    result = both(run)
    assert isinstance(result, str), result
    return result


# --- split ----------------------------------------------------------------------------------------

message_lists = st.lists(st.tuples(st.sampled_from(b"DdTCZE"), st.binary(max_size=12)), max_size=8)


def plain_split(data: bytes, coalesce: bool) -> tuple[list[tuple[int, int, int, int]], int]:
    spans: list[tuple[int, int, int, int]] = []
    position = 0
    while len(data) - position >= 5:
        kind, end = (
            data[position],
            position + 1 + int.from_bytes(data[position + 1 : position + 5], "big"),
        )
        if end > len(data):
            break
        if coalesce and spans and spans[-1][0] == kind and kind in b"Dd":
            _, start, _, count = spans.pop()
            spans.append((kind, start, end, count + 1))
        else:
            spans.append((kind, position, end, 1))
        position = end
    return spans, position


@given(message_lists, st.booleans(), st.sampled_from([bytes, bytearray]))
def test_split_at_every_byte(
    messages: list[tuple[int, bytes]], coalesce: bool, buffer: Any
) -> None:
    data = b"".join(message(kind, body) for kind, body in messages)
    for cut in range(len(data) + 1):
        part = data[:cut]
        assert both(lambda m, part=part: m.split(buffer(part), 0, 100, coalesce)) == plain_split(
            part, coalesce
        )


@given(message_lists, st.binary(max_size=9))
def test_split_from_a_position_on(messages: list[tuple[int, bytes]], before: bytes) -> None:
    data = b"".join(message(kind, body) for kind, body in messages)
    spans, rest = plain_split(data, True)
    skip = len(before)
    moved = [(kind, start + skip, end + skip, count) for kind, start, end, count in spans]
    assert both(lambda m: m.split(before + data, skip, 100)) == (moved, rest + skip)


@pytest.mark.parametrize("length", [0, 1, 3, 101, 2**31 - 1, 2**31, 2**32 - 1])
@pytest.mark.parametrize("kind", [b"D", b"d", b"Z"])
@pytest.mark.parametrize("before", [b"", b"D\0\0\0\x06\0\0", b"d\0\0\0\x04"])
def test_split_refuses_a_length_as_soon_as_it_is_there(
    length: int, kind: bytes, before: bytes
) -> None:
    header = before + kind + length.to_bytes(4, "big")
    assert "length" in refused(lambda m: m.split(header, 0, 100))
    assert both(lambda m: m.split(header[:-1], 0, 100))[1] == len(before)


def test_split_allows_the_limit_itself() -> None:
    assert both(lambda m: m.split(b"Z" + (100).to_bytes(4, "big"), 0, 100)) == ([], 0)


@pytest.mark.parametrize("kind", [b"D", b"d"])
def test_split_gives_long_messages_spans_of_their_own(kind: bytes) -> None:
    short, long = message(kind[0], b"12345678"), message(kind[0], b"123456789")
    data = short + short + long + long + short + short
    spans = both(lambda m: m.split(data, 0, 100, True, 12))[0]
    assert [(end - start, count) for _, start, end, count in spans] == [
        (26, 2),
        (14, 1),
        (14, 1),
        (26, 2),
    ]


@pytest.mark.parametrize(("start", "end"), [(-1, 3), (2, 1), (0, 8), (9, 9)])
def test_spans_outside_the_buffer(start: int, end: int) -> None:
    for module in BOTH:
        with pytest.raises(ValueError, match="inside the buffer"):
            module.mask_rows(b"D\0\0\0\x06\0\0", start, end, module.RowProgram([]))


# --- DataRow --------------------------------------------------------------------------------------

REDACTED = b"[redacted]"
values = (
    st.none()
    | st.binary(max_size=20)
    | st.text(max_size=12).map(str.encode)
    | st.emails().map(str.encode)
)
op_names = st.sampled_from(["keep", "null", "constant", "unless_null", "partial", "email", "call"])


def shout(value: bytes) -> bytes | None:
    return None if value.startswith(b"n") else value.upper() * 3


def make_ops(module: Any, names: list[str]) -> list[Any]:
    made = {
        "keep": module.keep(),
        "null": module.null(),
        "constant": module.constant(b"const"),
        "unless_null": module.constant(b"a const, longer\tthan\nmany", False),
        "partial": module.partial(1, 2),
        "email": module.email(),
        "call": module.call(shout),
    }
    return [made[name] for name in names]


def model(name: str, value: bytes | None) -> bytes | None:
    """What each operation does, said plainly."""
    if name == "keep":
        return value
    if name == "constant":
        return b"const"
    if name == "null" or value is None:
        return None
    if name == "unless_null":
        return b"a const, longer\tthan\nmany"
    if name == "call":
        return shout(value)
    if name == "email":
        return model_email(value)
    try:
        text = value.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return REDACTED
    if len(text) <= 3:
        return b"*" * len(text)
    return (text[0] + "*" * (len(text) - 3) + text[-2:]).encode("utf-8", "surrogatepass")


def model_email(value: bytes) -> bytes | None:
    match = re.fullmatch(rb"([^\x00-\x20@]+)@([A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+)", value)
    if match is None:
        return REDACTED
    try:
        local = match[1].decode()
    except UnicodeDecodeError:
        return REDACTED
    return (local[0] if len(local) > 1 else "").encode() + b"***@" + match[2]


def odd(row: list[bytes | None]) -> bool:
    """Has bytes on which Python's strict decoder and the layout check of the loop may differ."""
    return any(v is not None and re.search(rb"[\xe0\xed\xf0\xf4]", v) is not None for v in row)


tables = st.lists(op_names, max_size=6).flatmap(
    lambda names: st.tuples(
        st.just(names),
        st.lists(st.lists(values, min_size=len(names), max_size=len(names)), max_size=5),
    )
)


@given(tables, st.sampled_from([bytes, bytearray]))
def test_mask_rows_does_what_the_model_says(
    table: tuple[list[str], list[Any]], buffer: Any
) -> None:
    names, rows = table
    rows = [row for row in rows if not odd(row)]
    data = b"".join(installed.data_row(row) for row in rows)
    expected = b"".join(
        installed.data_row([model(n, v) for n, v in zip(names, row, strict=True)]) for row in rows
    )

    def run(module: Any) -> Any:
        program = module.RowProgram(make_ops(module, names))
        return module.mask_rows(buffer(b"xx" + data + b"yy"), 2, 2 + len(data), program)

    assert both(run) == expected


@given(tables)
def test_rows_cut_anywhere_are_refused(table: tuple[list[str], list[Any]]) -> None:
    names, rows = table
    data = b"".join(installed.data_row(row) for row in rows[:2])
    boundaries = {0} | {end for _, _, end, _ in installed.split(data, 0, 10000, False)[0]}
    for cut in set(range(len(data))) - boundaries:
        refused(
            lambda m, cut=cut: m.mask_rows(data[:cut], 0, cut, m.RowProgram(make_ops(m, names)))
        )


@st.composite
def damaged(draw: st.DrawFn, data: bytes) -> bytes:
    out = bytearray(data)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, max(len(out) - 1, 0)))
        kind = draw(st.sampled_from(["set", "cut", "insert"]))
        if kind == "insert":
            out[at:at] = draw(st.binary(min_size=1, max_size=4))
        elif out and kind == "set":
            out[at] = draw(st.integers(0, 255))
        elif out:
            del out[at : at + draw(st.integers(1, 4))]
    return bytes(out)


def strict_rows(data: bytes) -> list[list[bytes | None]] | None:
    """The rows of a span of DataRow messages, or None when it is anything else."""
    rows: list[list[bytes | None]] = []
    while data:
        end = 1 + int.from_bytes(data[1:5], "big")
        if data[0] != 0x44 or not 7 <= end <= len(data):
            return None
        count, position = int.from_bytes(data[5:7], "big"), 7
        row: list[bytes | None] = []
        for _ in range(count):
            size = int.from_bytes(data[position : position + 4], "big", signed=True)
            if end - position < 4 or size < -1 or size > end - position - 4:
                return None
            row.append(None if size == -1 else data[position + 4 : position + 4 + size])
            position += 4 + max(size, 0)
        if position != end:
            return None
        rows.append(row)
        data = data[end:]
    return rows


@given(st.data())
def test_damaged_rows_are_refused_or_still_rows_and_masked(data: st.DataObject) -> None:
    names = ["keep", "constant", "null", "email"]
    row = installed.data_row([b"public", b"canary-one", b"canary-two", b"canary@three"])
    span = data.draw(damaged(row * 2))
    result = both(lambda m: m.mask_rows(span, 0, len(span), m.RowProgram(make_ops(m, names))))
    if isinstance(result, str):
        return
    rows = strict_rows(span)
    assert rows is not None
    assert all(len(r) == 4 for r in rows)
    assert result == b"".join(
        installed.data_row([model(n, v) for n, v in zip(names, r, strict=True)]) for r in rows
    )


@given(st.binary(max_size=60), st.integers(0, 3))
def test_garbage_among_rows_never_passes(garbage: bytes, columns: int) -> None:
    span = installed.data_row([b"x"] * columns) + garbage
    result = both(lambda m: m.mask_rows(span, 0, len(span), m.RowProgram([m.null()] * columns)))
    if not isinstance(result, str):
        assert set(strict_rows(result)[0] if columns else []) <= {None}  # type: ignore[index]
        assert strict_rows(span) is not None


@pytest.mark.parametrize("columns", [0, 1, 3])
def test_another_number_of_columns(columns: int) -> None:
    row = installed.data_row([b"canary", b"canary"])
    text = refused(lambda m: m.mask_rows(row, 0, len(row), m.RowProgram([m.keep()] * columns)))
    assert "canary" not in text


def test_a_masking_function_that_fails_stops_the_rows() -> None:
    row = installed.data_row([b"canary"])
    for module in BOTH:
        with pytest.raises(ZeroDivisionError):
            module.mask_rows(row, 0, len(row), module.RowProgram([module.call(lambda v: 1 // 0)]))
        with pytest.raises(TypeError):
            module.mask_rows(row, 0, len(row), module.RowProgram([module.call(lambda v: "text")]))


def test_the_buffer_cannot_shrink_under_the_loop() -> None:
    buffer = bytearray(installed.data_row([b"one", b"two"]))

    def shrink(value: bytes) -> bytes:
        buffer.clear()
        return value

    program = installed.RowProgram([installed.call(shrink), installed.keep()])
    if installed.COMPILED:
        with pytest.raises(BufferError):
            installed.mask_rows(buffer, 0, len(buffer), program)


def test_a_program_is_made_of_operations() -> None:
    for module in BOTH:
        for bad in (module.Op(7), module.Op(-1), module.Op(6), module.Op(0, function=shout)):
            with pytest.raises(ValueError):
                module.RowProgram([bad])
        with pytest.raises(ValueError):
            module.partial(-1, 0)
        assert module.RowProgram([module.keep()] * 3).keep_all
        assert not module.RowProgram([module.keep(), module.null()]).keep_all
        assert module.RowProgram([]).columns == 0


@pytest.mark.parametrize(
    ("first", "last", "value", "expected"),
    [
        (0, 4, "123-45-6789", "*******6789"),
        (0, 4, "6789", "****"),
        (0, 4, "56789", "*6789"),
        (2, 0, "Zoë Müller", "Zo********"),
        (1, 1, "日本語です", "日***す"),
        (0, 0, "secret", "******"),
        (300, 0, "a" * 256, "a" * 255 + "*"),
        (3, 3, "", ""),
    ],
)
def test_partial_keeps_characters(first: int, last: int, value: str, expected: str) -> None:
    row = installed.data_row([value.encode()])
    result = both(lambda m: m.mask_rows(row, 0, len(row), m.RowProgram([m.partial(first, last)])))
    assert result == installed.data_row([expected.encode()])


@pytest.mark.parametrize(
    "value", [b"\x80" * 9, b"abc\xe9", b"ab\xc3(cdef", b"\xff\xfe1234", b"x\xf0\x9f\x98"]
)
def test_partial_redacts_what_is_not_utf8(value: bytes) -> None:
    row = installed.data_row([value])
    result = both(lambda m: m.mask_rows(row, 0, len(row), m.RowProgram([m.partial(0, 4)])))
    assert result == installed.data_row([REDACTED])


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("jane@example.com", "j***@example.com"),
        ("jane.o'hara+tag@mail.example.co.uk", "j***@mail.example.co.uk"),
        ("ölaf@example.org", "ö***@example.org"),
        ("j@example.com", "***@example.com"),
        ("jane", "[redacted]"),
        ("jane@", "[redacted]"),
        ("@example.com", "[redacted]"),
        ("jane@localhost", "[redacted]"),
        ("jane@example..com", "[redacted]"),
        ("jane@.com", "[redacted]"),
        ("jane@example.com.", "[redacted]"),
        ("jane@example.com 123-45-6789", "[redacted]"),
        ("jane smith@example.com", "[redacted]"),
        ("a@b@example.com", "[redacted]"),
        ("", "[redacted]"),
    ],
)
def test_email(value: str, expected: str) -> None:
    row = installed.data_row([value.encode()])
    result = both(lambda m: m.mask_rows(row, 0, len(row), m.RowProgram([m.email()])))
    assert result == installed.data_row([expected.encode()])


# --- COPY text ------------------------------------------------------------------------------------

ESCAPES = {
    "\\": "\\\\",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\v": "\\v",
}


def text_cell(value: bytes | None, delimiter: str, null: str = "\\N") -> bytes:
    if value is None:
        return null.encode()
    text = value.decode("latin-1")
    return "".join(ESCAPES.get(c, "\\" + c if c == delimiter else c) for c in text).encode(
        "latin-1"
    )


def copy_rows(rows: list[bytes]) -> bytes:
    return b"".join(message(0x64, row + b"\n") for row in rows)


@given(tables, st.sampled_from(["\t", "|", ",", "\x01", "\b"]))
def test_copy_text(table: tuple[list[str], list[Any]], delimiter: str) -> None:
    names, rows = table
    rows = [row for row in rows if not odd(row)]

    def lay_out(table: list[list[bytes | None]]) -> bytes:
        separator = delimiter.encode()
        return copy_rows([separator.join(text_cell(v, delimiter) for v in row) for row in table])

    data = lay_out(rows)
    expected = lay_out([[model(n, v) for n, v in zip(names, row, strict=True)] for row in rows])

    def run(module: Any) -> Any:
        program = module.RowProgram(make_ops(module, names))
        return module.mask_copy_text(data, 0, len(data), program, ord(delimiter), b"\\N")

    assert both(run) == expected


@pytest.mark.parametrize(
    "row",
    [
        b"a\tb",  # no line feed
        b"",
        b"a\n",  # too few
        b"a\tb\tc\n",  # too many
        b"a\tb\na\tb\n",  # two rows in a message
        b"a\tb\\\n",  # the line feed is escaped
        b"a\t\\q\n",  # an escape that PostgreSQL does not write
        b"a\nb\tc\n",
    ],
)
def test_copy_text_that_is_not_one_row(row: bytes) -> None:
    data = message(0x64, row)
    refused(
        lambda m: m.mask_copy_text(
            data, 0, len(data), m.RowProgram([m.keep(), m.partial(0, 1)]), 9, b"\\N"
        )
    )


def test_copy_text_null_marker_is_no_oracle() -> None:
    """NULL 'guess' must not tell whether a value equals the guess."""
    cells = (b"123-45-6789", b"123-45-0000")
    data = copy_rows(list(cells))
    results = [
        both(
            lambda m, null=null: m.mask_copy_text(
                data, 0, len(data), m.RowProgram([m.partial(0, 0)]), 9, null
            )
        )
        for null in (b"\\N", *cells)
    ]
    assert results[0] == results[1] == results[2] == copy_rows([b"*" * 11] * 2)


@given(st.data(), st.sampled_from(["text", "csv", "binary"]))
def test_damaged_copy_never_crashes_and_never_shows_a_constant_column(
    data: st.DataObject, form: str
) -> None:
    rows = {
        "text": copy_rows([b"canary\tcanary"] * 2),
        "csv": copy_rows([b'canary,"can,ary"'] * 2),
        "binary": binary_copy([[b"canary", b"canary"]] * 2),
    }
    span = data.draw(damaged(rows[form]))

    def run(module: Any) -> Any:
        program = module.RowProgram([module.constant(b"X"), module.constant(b"Y")])
        if form == "text":
            return module.mask_copy_text(span, 0, len(span), program, 9, b"\\N")
        if form == "csv":
            return module.mask_copy_csv(span, 0, len(span), program, 44, 34, 34, b"")
        return module.mask_copy_binary(span, 0, len(span), program, module.CopyState())

    result = both(run)
    assert isinstance(result, str) or b"can" not in result


# --- COPY CSV -------------------------------------------------------------------------------------


def csv_cell(value: bytes | None, quote_all: bool) -> bytes:
    if value is None:
        return b""
    special = value in (b"", b"\\.") or any(c in value for c in b',"\r\n')
    return b'"' + value.replace(b'"', b'""') + b'"' if special or quote_all else value


@given(tables, st.booleans())
def test_copy_csv(table: tuple[list[str], list[Any]], quote_all: bool) -> None:
    names, rows = table
    rows = [row for row in rows if not odd(row)]
    data = copy_rows([b",".join(csv_cell(v, quote_all) for v in row) for row in rows])
    result = both(
        lambda m: m.mask_copy_csv(
            data, 0, len(data), m.RowProgram(make_ops(m, names)), 44, 34, 34, b""
        )
    )
    expected = copy_rows(
        [
            b",".join(
                csv_cell(model(n, v), quote_all and n == "keep")
                for n, v in zip(names, row, strict=True)
            )
            for row in rows
        ]
    )
    assert result == expected


@given(
    st.lists(
        st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1),
        min_size=1,
        max_size=4,
    )
)
def test_csv_with_other_characters(row: list[str]) -> None:
    stream = io.StringIO()
    csv.writer(
        stream,
        delimiter=";",
        quotechar="'",
        escapechar="\\",
        doublequote=False,
        lineterminator="",
        quoting=csv.QUOTE_ALL,
    ).writerow(row)
    data = copy_rows([stream.getvalue().encode()])
    same: Any = {"keep": both(lambda m: run_csv(m, data, m.keep(), len(row)))}
    assert same["keep"] == data
    called = both(lambda m: run_csv(m, data, m.call(lambda v: v + b"';\\"), len(row)))
    read = next(
        csv.reader(
            io.StringIO(called[5:-1].decode(), newline=""),
            delimiter=";",
            quotechar="'",
            escapechar="\\",
            doublequote=False,
        )
    )
    assert read == [cell + "';\\" for cell in row]


def run_csv(module: Any, data: bytes, op: Any, columns: int) -> Any:
    program = module.RowProgram([op] * columns)
    return module.mask_copy_csv(data, 0, len(data), program, ord(";"), ord("'"), ord("\\"), b"")


def test_csv_quoting_does_not_tell_what_was_there() -> None:
    rows = [b'"a,b"', b'""', b"", b"plain", b'"quote "" inside"']
    data = copy_rows(rows)
    result = both(
        lambda m: m.mask_copy_csv(
            data, 0, len(data), m.RowProgram([m.constant(b"X")]), 44, 34, 34, b""
        )
    )
    assert result == copy_rows([b"X"] * len(rows))


@pytest.mark.parametrize(
    "row", [b'"a\n', b'"a"b\n', b'a"b\n', b"a\nb\n", b"a,b\n", b"a", b"", b'"a""\n']
)
def test_csv_that_is_not_one_row(row: bytes) -> None:
    data = message(0x64, row)
    refused(
        lambda m: m.mask_copy_csv(data, 0, len(data), m.RowProgram([m.email()]), 44, 34, 34, b"")
    )


# --- COPY binary ----------------------------------------------------------------------------------

SIGNATURE = b"PGCOPY\n\xff\r\n\0" + bytes(8)


def binary_copy(rows: list[list[bytes | None]]) -> bytes:
    """As PostgreSQL sends it: the header in the first message, the trailer in the last."""
    bodies = [installed.data_row(row)[5:] for row in rows] + [b"\xff\xff"]
    bodies[0] = SIGNATURE + bodies[0]
    return b"".join(message(0x64, body) for body in bodies)


@given(tables)
def test_copy_binary(table: tuple[list[str], list[Any]]) -> None:
    names, rows = table
    rows = [row for row in rows if not odd(row)]
    data = binary_copy(rows)
    spans = [(start, end) for _, start, end, _ in installed.split(data, 0, 10000, False)[0]]

    def run(module: Any) -> Any:
        state, program = module.CopyState(), module.RowProgram(make_ops(module, names))
        return b"".join(
            module.mask_copy_binary(data, start, end, program, state) for start, end in spans
        )

    assert both(run) == binary_copy(
        [[model(n, v) for n, v in zip(names, row, strict=True)] for row in rows]
    )


@pytest.mark.parametrize(
    "bodies",
    [
        [b"\0\x01\0\0\0\x01x"],  # no header
        [SIGNATURE[:-1]],
        [SIGNATURE[:11] + b"\0\x01\0\0" + bytes(4)],  # with OIDs
        [SIGNATURE + b"\0\x02\0\0\0\x01x\0\0\0\x01x"],
        [SIGNATURE + b"\0\x01\0\0\0\x02x"],
        [SIGNATURE + b"\0\x01\xff\xff\xff\xfe"],
        [SIGNATURE + b"\0"],
        [SIGNATURE + b"\xff\xff", b"\0\x01\0\0\0\x01x"],  # a row after the trailer
        [SIGNATURE + b"\xff\xff" + b"\0\x01\0\0\0\x01x"],
        [SIGNATURE, b""],
    ],
)
def test_binary_that_is_not_what_postgresql_sends(bodies: list[bytes]) -> None:
    data = b"".join(message(0x64, body) for body in bodies)
    refused(
        lambda m: m.mask_copy_binary(data, 0, len(data), m.RowProgram([m.null()]), m.CopyState())
    )
