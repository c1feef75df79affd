"""Frontend messages: what we build reads back the same, and anything else is a ProtocolError."""

from __future__ import annotations

import contextlib
import inspect
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sallyport.core.errors import ProtocolError
from sallyport.core.secret import Secret
from sallyport.wire import frontend
from sallyport.wire.fields import EncodingError

names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20).map(str.encode)
oids = st.integers(0, 2**32 - 1)
values = st.lists(st.none() | st.binary(max_size=30), max_size=6)
PARSERS = [
    parser
    for name, parser in inspect.getmembers(frontend, inspect.isfunction)
    if name.startswith("parse_") and parser.__module__ == frontend.__name__
]
PARSERS.sort(key=lambda parser: parser.__name__)


def body_of(message: bytes) -> bytes:
    """The body of exactly one message, after checking its length word."""
    assert struct.unpack_from("!I", message, 1)[0] == len(message) - 1
    return message[5:]


@given(names)
def test_query_reads_back(sql: bytes) -> None:
    assert frontend.parse_query(body_of(frontend.query(sql))) == (sql,)


@given(names, names, st.lists(oids, max_size=5))
def test_parse_reads_back(name: bytes, sql: bytes, types: list[int]) -> None:
    assert frontend.parse_parse(body_of(frontend.parse(name, sql, types))) == (
        name,
        sql,
        tuple(types),
    )


@given(st.data(), names, names, values, st.lists(st.integers(0, 1), max_size=4))
def test_bind_reads_back(
    data: st.DataObject,
    portal: bytes,
    statement: bytes,
    params: list[bytes | None],
    results: list[int],
) -> None:
    count = data.draw(st.sampled_from([0, 1, len(params)]))
    formats = data.draw(st.lists(st.integers(0, 1), min_size=count, max_size=count))
    message = frontend.bind(portal, statement, params, formats, results)
    assert frontend.parse_bind(body_of(message)) == (
        portal,
        statement,
        tuple(formats),
        params,
        tuple(results),
    )


@given(st.sampled_from([b"S", b"P"]), names, st.integers(0, 2**31 - 1))
def test_describe_close_and_execute_read_back(kind: bytes, name: bytes, rows: int) -> None:
    assert frontend.parse_describe(body_of(frontend.describe(kind, name))) == (kind, name)
    assert frontend.parse_close(body_of(frontend.close(kind, name))) == (kind, name)
    assert frontend.parse_execute(body_of(frontend.execute(name, rows))) == (name, rows)


@given(names, st.none() | st.binary(max_size=40))
def test_password_and_sasl_read_back(text: bytes, data: bytes | None) -> None:
    word = text.decode()
    parsed = frontend.parse_password(body_of(frontend.password(Secret(word))))
    assert parsed.password.reveal() == word
    initial = frontend.parse_sasl_initial(body_of(frontend.sasl_initial("SCRAM-SHA-256", data)))
    assert initial == ("SCRAM-SHA-256", data)
    assert frontend.parse_sasl_response(body_of(frontend.sasl_response(data or b""))).data == (
        data or b""
    )


def test_a_password_is_in_no_repr() -> None:
    assert "hunter2" not in repr(frontend.parse_password(b"hunter2\0"))


def test_bare_messages_read_back() -> None:
    assert frontend.parse_sync(body_of(frontend.sync())) == frontend.Sync()
    assert frontend.parse_flush(body_of(frontend.flush())) == frontend.Flush()
    assert frontend.parse_terminate(body_of(frontend.terminate())) == frontend.Terminate()
    assert frontend.parse_copy_done(body_of(frontend.copy_done())) == frontend.CopyDone()
    assert frontend.parse_copy_data(body_of(frontend.copy_data(b"\0a"))) == (b"\0a",)
    assert frontend.parse_copy_fail(body_of(frontend.copy_fail("no"))) == (b"no",)


def test_messages_without_fields_are_true_and_differ() -> None:
    bare = [frontend.Sync(), frontend.Flush(), frontend.CopyDone(), frontend.Terminate()]
    assert all(bare)
    assert len(set(bare)) == len(bare)


def test_execute_takes_zero_and_below_as_all_rows() -> None:
    assert frontend.parse_execute(b"\0\xff\xff\xff\xff").max_rows == 0


def test_function_call_is_read_for_the_record() -> None:
    body = struct.pack("!IHHHi", 1598, 1, 1, 1, 4) + b"abcd" + struct.pack("!H", 0)
    assert frontend.parse_function_call(body) == (1598, (1,), [b"abcd"], 0)


@pytest.mark.parametrize(
    ("parser", "body"),
    [
        (frontend.parse_query, b""),
        (frontend.parse_query, b"select 1"),
        (frontend.parse_query, b"select 1\0\0"),
        (frontend.parse_query, b"select\0 1\0"),
        (frontend.parse_query, b"select '\xff'\0"),
        (frontend.parse_query, b"select '\xed\xa0\x80'\0"),  # a surrogate
        (frontend.parse_query, b"select '\xc0\x80'\0"),  # an overlong NUL
        (frontend.parse_parse, b"\0select 1\0"),
        (frontend.parse_parse, b"\0select 1\0\0\1"),
        (frontend.parse_parse, b"\0select 1\0\0\0x"),
        (frontend.parse_parse, b"\0select 1\0\xff\xff" + bytes(4 * 65534)),
        (frontend.parse_bind, b"\0\0\0\0\0\0"),
        (frontend.parse_bind, b"\0\0\0\0\0\0\0\0\0"),
        (frontend.parse_bind, b"\0\0\0\1\0\2\0\0\0\0"),  # format 2
        # two formats, one value
        (frontend.parse_bind, b"\0\0\0\2\0\0\0\1\0\1\xff\xff\xff\xff\0\0"),
        (frontend.parse_bind, b"\0\0\0\0\0\1\xff\xff\xff\xfe\0\0"),  # length -2
        (frontend.parse_bind, b"\0\0\0\0\0\1\x7f\xff\xff\xff\0\0"),
        (frontend.parse_bind, b"\0\0\0\0\xff\xff\0\0"),
        (frontend.parse_bind, b"\0\0\0\0\0\0\xff\xff\0\0"),  # more result formats than there are
        (frontend.parse_describe, b""),
        (frontend.parse_describe, b"X\0"),
        (frontend.parse_describe, b"S"),
        (frontend.parse_close, b"Sname\0\0"),
        (frontend.parse_execute, b"\0\0\0\0"),
        (frontend.parse_execute, b"\0\0\0\0\0\0"),
        (frontend.parse_sync, b"\0"),
        (frontend.parse_password, b"secret"),
        (frontend.parse_password, b"secret\0more"),
        (frontend.parse_password, b"\xff\0"),
        (frontend.parse_sasl_initial, b"X\0\0\0\0\5abcd"),
        (frontend.parse_sasl_initial, b"X\0\xff\xff\xff\xffabcd"),
        (frontend.parse_sasl_initial, b"X\0\xff\xff\xff\xfe"),
        (frontend.parse_function_call, bytes(8) + b"\0\2"),
    ],
)
def test_malformed_bodies_are_protocol_errors(parser, body: bytes) -> None:
    with pytest.raises(ProtocolError):
        parser(body)


def test_what_is_not_utf8_can_be_told_apart() -> None:
    with pytest.raises(EncodingError) as caught:
        frontend.parse_query(b"select '\xff'\0")
    assert caught.value.sqlstate == "22021"


@pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.__name__)
@given(body=st.binary(max_size=80))
def test_any_bytes_give_a_value_or_a_protocol_error(parser, body: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        parser(body)


@given(names, names, values, st.data())
def test_no_cut_or_longer_bind_passes(
    portal: bytes, statement: bytes, params: list[bytes | None], data: st.DataObject
) -> None:
    body = body_of(frontend.bind(portal, statement, params, [], [1]))
    cut = data.draw(st.integers(0, len(body) - 1))
    with pytest.raises(ProtocolError):
        frontend.parse_bind(body + b"\0")
    with contextlib.suppress(ProtocolError):
        # A cut may by chance be a smaller valid Bind only if it then says fewer values.
        assert len(frontend.parse_bind(body[:cut]).params) < len(params)


@pytest.mark.parametrize(
    "build",
    [
        lambda: frontend.query("a\0b"),
        lambda: frontend.query(b"\xff"),
        lambda: frontend.query("\ud800"),
        lambda: frontend.parse("s", "select 1", [2**32]),
        lambda: frontend.bind(b"", b"", [None] * 65_536),
        lambda: frontend.describe(b"X", b""),
        lambda: frontend.startup_message({"": "x"}),
        lambda: frontend.startup_message({"user": "a\0b"}),
    ],
)
def test_builders_refuse_what_cannot_be_sent(build) -> None:
    with pytest.raises(ProtocolError):
        build()


def test_errors_do_not_quote_a_password() -> None:
    with pytest.raises(ProtocolError) as caught:
        frontend.password(Secret("hunter2\0x"))
    assert "hunter2" not in str(caught.value)


def test_every_client_message_of_the_protocol_is_listed() -> None:
    assert bytes(sorted(frontend.MESSAGES)) == b"BCDEFHPQSXcdfp"
    assert all(0 <= kind.minimum <= kind.maximum < 2**30 for kind in frontend.MESSAGES.values())
    assert [frontend.MESSAGES[kind].maximum for kind in b"SHXc"] == [0, 0, 0, 0]
