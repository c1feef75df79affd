"""Backend messages: what we build reads back, garbage is a ProtocolError, and scrubbing lets
nothing by.
"""

from __future__ import annotations

import contextlib
import inspect
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sallyport.core.errors import ProtocolError, refuse
from sallyport.wire import backend
from sallyport.wire.backend import Field, parse_error_fields
from sallyport.wire.scrubbing import scrub_error

text = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
PARSERS = [
    parser
    for name, parser in inspect.getmembers(backend, inspect.isfunction)
    if name.startswith("parse_")
    and name != "parse_complete"
    and parser.__module__ == backend.__name__
]
CANARY = "canary-4929-1234"


def body_of(message: bytes) -> bytes:
    assert struct.unpack_from("!I", message, 1)[0] == len(message) - 1
    return message[5:]


def test_authentication_reads_back() -> None:
    assert backend.parse_authentication(body_of(backend.authentication_ok())) == (
        backend.AUTH_OK,
        b"",
    )
    assert backend.parse_authentication(body_of(backend.authentication_cleartext())) == (3, b"")
    code, data = backend.parse_authentication(body_of(backend.authentication_sasl(["A-PLUS", "A"])))
    assert (code, backend.parse_sasl_mechanisms(data)) == (backend.AUTH_SASL, ["A-PLUS", "A"])
    assert backend.parse_authentication(body_of(backend.authentication_sasl_continue(b"r="))) == (
        11,
        b"r=",
    )
    assert backend.parse_authentication(body_of(backend.authentication_sasl_final(b"v="))) == (
        12,
        b"v=",
    )


@given(text, text, st.integers(-(2**31), 2**31 - 1), st.binary(min_size=4, max_size=256))
def test_session_start_reads_back(name: str, value: str, pid: int, key: bytes) -> None:
    assert backend.parse_parameter_status(body_of(backend.parameter_status(name, value))) == (
        name,
        value,
    )
    assert backend.parse_backend_key_data(body_of(backend.backend_key_data(pid, key))) == (pid, key)


@pytest.mark.parametrize("status", [b"I", b"T", b"E"])
def test_ready_reads_back(status: bytes) -> None:
    assert backend.parse_ready(body_of(backend.ready_for_query(status))) == status


fields = st.builds(
    Field,
    text,
    st.integers(0, 2**32 - 1),
    st.integers(-(2**15), 2**15 - 1),
    st.integers(0, 2**32 - 1),
    st.integers(-(2**15), 2**15 - 1),
    st.integers(-(2**31), 2**31 - 1),
    st.integers(0, 1),
)


@given(
    st.lists(fields, max_size=5),
    st.lists(st.integers(0, 2**32 - 1), max_size=5),
    st.lists(text, max_size=3),
)
def test_descriptions_read_back(columns: list[Field], types: list[int], options: list[str]) -> None:
    assert backend.parse_row_description(body_of(backend.row_description(columns))) == columns
    described = backend.parse_parameter_description(body_of(backend.parameter_description(types)))
    assert described == tuple(types)
    negotiated = body_of(backend.negotiate_protocol_version(2, options))
    assert backend.parse_negotiate_protocol_version(negotiated) == (2, options)


@pytest.mark.parametrize(
    ("tag", "rows"),
    [
        ("SELECT 3", 3),
        ("INSERT 0 5", 5),
        ("UPDATE 0", 0),
        ("MERGE 2", 2),
        ("COPY 18446744073709551615", 2**64 - 1),
        ("CREATE TABLE", None),
        ("SELECT", None),
        ("COPY", None),
        ("ALTER ROLE 3", None),
        ("SELECT x", None),
        ("SELECT ²", None),
        ("", None),
    ],
)
def test_command_tags(tag: str, rows: int | None) -> None:
    assert backend.parse_command_complete(body_of(backend.command_complete(tag))) == (tag, rows)


def test_copy_and_notification() -> None:
    assert backend.parse_copy_response(b"\1\0\2\0\1\0\1") == (1, (1, 1))
    assert backend.parse_copy_response(b"\0\0\1\0\0") == (0, (0,))
    assert backend.parse_notification(b"\0\0\0\7jobs\0go\0") == (7, "jobs", "go")


def test_a_refusal_is_an_error_with_everything_a_reader_needs() -> None:
    refusal = refuse("SP1002", "no", detail='rule "x"', hint="ask", position=8)
    assert parse_error_fields(body_of(backend.refusal_error(refusal, "FATAL"))) == {
        "S": "FATAL",
        "V": "FATAL",
        "C": "42501",
        "M": "[SP1002] no",
        "D": 'rule "x"',
        "H": "ask",
        "P": "8",
        "R": "sallyport",
    }


@given(st.text(max_size=20), st.text(max_size=20))
def test_an_error_can_always_be_sent(message: str, detail: str) -> None:
    fields = parse_error_fields(
        body_of(backend.error_response("ERROR", "XX000", message, detail=detail))
    )
    assert fields["C"] == "XX000"
    assert "\0" not in fields["M"]
    assert fields["M"]


@pytest.mark.parametrize(
    ("parser", "body"),
    [
        (parse_error_fields, b""),
        (parse_error_fields, b"SERROR\0"),
        (parse_error_fields, b"SERROR"),
        (parse_error_fields, b"SERROR\0\0\0"),
        (parse_error_fields, b"SERROR\0SFATAL\0\0"),
        (backend.parse_ready, b""),
        (backend.parse_ready, b"X"),
        (backend.parse_ready, b"II"),
        (backend.parse_parameter_status, b"a\0"),
        (backend.parse_parameter_status, b"a\0b\0c"),
        (backend.parse_parameter_status, b"a\0\xff\0"),
        (backend.parse_backend_key_data, b"\0\0\0\1abc"),
        (backend.parse_backend_key_data, b"\0\0\0\1" + bytes(257)),
        (backend.parse_command_complete, b"SELECT 1"),
        (backend.parse_command_complete, b"SELECT " + b"9" * 5000 + b"\0"),
        (backend.parse_authentication, b"\0\0"),
        (backend.parse_sasl_mechanisms, b"A\0"),
        (backend.parse_sasl_mechanisms, b"A\0\0B\0"),
        (backend.parse_copy_response, b"\2\0\0"),
        (backend.parse_copy_response, b"\0\0\1"),
        (backend.parse_copy_response, b"\0\0\0\0"),
        (backend.parse_row_description, b"\0\1a\0" + bytes(17)),
        (backend.parse_row_description, b"\0\1a\0" + bytes(17) + b"\2"),
        (backend.parse_row_description, b"\0\0x"),
        (backend.parse_parameter_description, b"\0\2\0\0\0\1"),
        (backend.parse_negotiate_protocol_version, b"\0\3\0\2\x7f\xff\xff\xff"),
        (backend.parse_negotiate_protocol_version, b"\0\2\0\2\0\0\0\0"),
    ],
)
def test_malformed_bodies_are_protocol_errors(parser, body: bytes) -> None:
    with pytest.raises(ProtocolError):
        parser(body)


@pytest.mark.parametrize("parser", [*PARSERS, scrub_error], ids=lambda parser: parser.__name__)
@given(body=st.binary(max_size=80))
def test_any_bytes_give_a_value_or_a_protocol_error(parser, body: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        parser(body)


@pytest.mark.parametrize(
    "build",
    [
        lambda: backend.backend_key_data(1, b"abc"),
        lambda: backend.ready_for_query(b"X"),
        lambda: backend.parameter_status("a", "b\0c"),
        lambda: backend.row_description([Field("a", -1, 0, 0, 0, 0, 0)]),
    ],
)
def test_builders_refuse_what_cannot_be_sent(build) -> None:
    with pytest.raises(ProtocolError):
        build()


def test_every_server_message_of_the_protocol_is_listed() -> None:
    assert bytes(sorted(backend.MESSAGES)) == b"123ACDEGHIKNRSTVWZcdnstv"


# --- scrubbing -------------------------------------------------------


def raw_error(**values: str) -> bytes:
    return (
        b"".join(kind.encode() + value.encode() + b"\0" for kind, value in values.items()) + b"\0"
    )


def test_scrub_keeps_what_a_program_needs_and_withholds_the_rest() -> None:
    body = raw_error(
        S="ERROR",
        V="ERROR",
        C="23505",
        M=f"duplicate key value {CANARY}",
        D=f"Key (ssn)=({CANARY}) already exists.",
        H=CANARY,
        P="12",
        p="3",
        q=CANARY,
        W=CANARY,
        s="public",
        t="customers",
        c="ssn",
        d="text",
        n="customers_ssn_key",
        F="nbtinsert.c",
        L="666",
        R="_bt_check_unique",
    )
    assert parse_error_fields(scrub_error(body)) == {
        "S": "ERROR",
        "V": "ERROR",
        "C": "23505",
        "M": "unique violation (message withheld: it may quote masked data)",
        "P": "12",
        "s": "public",
        "t": "customers",
        "c": "ssn",
        "d": "text",
        "n": "customers_ssn_key",
    }


@pytest.mark.parametrize("kind", [chr(code) for code in range(1, 128) if chr(code) not in "stcdn"])
def test_a_canary_in_any_other_field_never_survives(kind: str) -> None:
    """Every possible field type, the unknown ones too; the known ones are filled with the canary
    instead.
    """
    body = raw_error(**{"S": "ERROR", "V": "ERROR", "C": "P0001", "M": "m", kind: CANARY})
    assert CANARY.encode() not in scrub_error(body)
    assert b"4929" not in scrub_error(body)


@given(st.integers(128, 255), st.binary(max_size=20))
def test_field_types_beyond_ascii_are_dropped(kind: int, value: bytes) -> None:
    body = b"SERROR\0" + bytes([kind]) + value.replace(b"\0", b"") + b"\0\0"
    assert scrub_error(body) == scrub_error(b"SERROR\0\0")


def test_what_makes_drivers_prepare_again_is_kept_by_its_routine() -> None:
    said = {"S": "ERROR", "V": "ERROR", "C": "0A000", "M": CANARY, "R": "RevalidateCachedQuery"}
    kept = parse_error_fields(scrub_error(backend.error_body(said)))
    assert kept == said | {"M": "cached plan must not change result type"}
    raised = parse_error_fields(scrub_error(backend.error_body(said | {"R": "exec_stmt_raise"})))
    assert "R" not in raised and "withheld" in raised["M"]


def test_raise_cannot_smuggle_through_sqlstate_position_or_names() -> None:
    body = raw_error(
        S="NOTICE", V="NOTICE", C="49291", M="m", P="4929x", s="public", t=CANARY, c="ssn"
    )
    fields = parse_error_fields(scrub_error(body, names={"public", "ssn"}))
    assert fields["C"] == "P0001"
    assert fields["V"] == "NOTICE"
    assert "P" not in fields
    assert (fields["s"], fields.get("t"), fields["c"]) == ("public", None, "ssn")


def test_localised_severity_becomes_the_plain_one() -> None:
    fields = parse_error_fields(
        scrub_error(raw_error(S="FEHLER", V="ERROR", C="22012", M="Division durch Null"))
    )
    assert (fields["S"], fields["M"].split(" (")[0]) == ("ERROR", "division by zero")
