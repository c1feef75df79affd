"""The first packets: lengths, layouts, versions and parameters."""

from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sallyport.core.errors import ProtocolError, Refusal, RefusedError
from sallyport.wire import frontend, startup
from sallyport.wire.backend import parse_negotiate_protocol_version
from sallyport.wire.startup import negotiate, parse_first, read_parameters, split_options

PACKETS = [
    (frontend.ssl_request(), startup.SSLRequest()),
    (frontend.gssenc_request(), startup.GSSENCRequest()),
    (frontend.cancel_request(-5, b"abcd"), startup.CancelRequest(-5, b"abcd")),
    (frontend.cancel_request(7, bytes(256)), startup.CancelRequest(7, bytes(256))),
    (
        frontend.startup_message({"user": "agent", "database": "shöp"}, minor=2),
        startup.StartupMessage(3, 2, {"user": "agent", "database": "shöp"}),
    ),
]


def packet(code: int, rest: bytes = b"") -> bytes:
    return struct.pack("!II", len(rest) + 8, code) + rest


@pytest.mark.parametrize(("raw", "expected"), PACKETS)
def test_packets_whole_byte_by_byte_and_with_more_behind(
    raw: bytes, expected: startup.Packet
) -> None:
    for size in range(len(raw)):
        assert parse_first(raw[:size]) == (None, 0)
    assert parse_first(raw) == (expected, len(raw))
    assert parse_first(bytearray(b"xx" + raw + b"more"), 2) == (expected, len(raw))
    assert type(parse_first(raw)[0]) is type(expected)


@pytest.mark.parametrize("length", [0, 3, 4, 7, 10_005, 2**31 - 1, 2**31, 2**32 - 1])
def test_lengths_out_of_bounds_do_not_wait_for_a_body(length: int) -> None:
    with pytest.raises(ProtocolError):
        parse_first(struct.pack("!I", length))


def test_a_first_byte_that_can_only_be_too_long_is_enough() -> None:
    with pytest.raises(ProtocolError):
        parse_first(b"G")  # GET / HTTP/1.1


def test_the_longest_packet_postgresql_takes_is_taken() -> None:
    room = 10_000 - 4 - len(b"user\0\0\0")
    raw = frontend.startup_message({"user": "u" * room})
    assert len(raw) == 10_004
    assert parse_first(raw)[1] == 10_004
    with pytest.raises(ProtocolError):
        parse_first(frontend.startup_message({"user": "u" * (room + 1)}))


@pytest.mark.parametrize(
    "raw",
    [
        packet(80877103, b"\0"),
        packet(80877104, b"startup"),
        packet(80877102, b"\0\0\0\1"),
        packet(80877102, b"\0\0\0\1abc"),
        packet(80877102, b"\0\0\0\1" + bytes(257)),
        packet(0x30000),
        packet(0x30000, b"user\0agent\0"),
        packet(0x30000, b"user\0agent\0\0\0"),
        packet(0x30000, b"user\0agent\0\0more\0"),
        packet(0x30000, b"user\0agent"),
        packet(0x30000, b"user\0\0"),
        packet(0x30000, b"user\0\0\0"),
        packet(0x30000, b"database\0shop\0\0"),
        packet(0x30000, b"user\0a\0user\0b\0\0"),
        packet(0x30000, b"user\0\xff\0\0"),
        packet(0x30000, b"\0"),
    ],
)
def test_malformed_packets(raw: bytes) -> None:
    with pytest.raises(ProtocolError):
        parse_first(raw)


@given(st.binary(max_size=60), st.sampled_from([b"", *(raw for raw, _ in PACKETS)]))
def test_any_bytes_give_a_packet_nothing_or_a_protocol_error(noise: bytes, start: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        parse_first(start[: len(noise)] + noise)
    with contextlib.suppress(ProtocolError):
        parse_first(struct.pack("!I", len(noise) + 4) + noise)


names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=9)


@given(st.dictionaries(names, names, max_size=5), st.integers(0, 65_535))
def test_startup_reads_back(more: dict[str, str], minor: int) -> None:
    parameters = {"user": "agent", **more}
    message, _ = parse_first(frontend.startup_message(parameters, minor))
    assert message == (3, minor, parameters)


def test_direct_tls() -> None:
    assert startup.is_direct_tls(0x16)
    assert not startup.is_direct_tls(0)


@pytest.mark.parametrize(
    ("minor", "options", "used", "answered"),
    [
        (0, [], 0, None),
        (1, [], 0, None),
        (2, [], 2, None),
        (3, [], 2, (2, [])),
        (9999, [], 2, (2, [])),
        (0, ["_pq_.one", "_pq_.two"], 0, (0, ["_pq_.one", "_pq_.two"])),
        (1, ["_pq_.one"], 0, (1, ["_pq_.one"])),
        (9999, ["_pq_.test_protocol_negotiation"], 2, (2, ["_pq_.test_protocol_negotiation"])),
    ],
)
def test_negotiation(
    minor: int, options: list[str], used: int, answered: tuple[int, list[str]] | None
) -> None:
    negotiated = negotiate(3, minor, {"user": "x", **dict.fromkeys(options, "1")})
    assert (negotiated.minor_used, negotiated.unsupported) == (used, options)
    assert (negotiated.reply and parse_negotiate_protocol_version(negotiated.reply[5:])) == answered


@pytest.mark.parametrize("code", [0x20000, 0x40000, 0, 80877105, 0xFFFFFFFF])
def test_other_protocols_are_refused_whatever_follows(code: int) -> None:
    message, _ = parse_first(packet(code, b"anything"))
    assert isinstance(message, startup.StartupMessage)
    with pytest.raises(RefusedError) as caught:
        negotiate(*message)
    assert caught.value.refusal.code.id == "SP1502"


def test_what_drivers_send_is_read() -> None:
    sent = {
        "user": "agent",
        "database": "shop",
        "client_encoding": "'utf-8'",
        "DateStyle": "ISO",
        "timezone": "Europe/Paris",
        "application_name": "psql",
        "replication": "off",
        "_pq_.x": "1",
    }
    assert read_parameters(sent) == (
        "agent",
        "shop",
        {
            "client_encoding": "'utf-8'",
            "datestyle": "ISO",
            "timezone": "Europe/Paris",
            "application_name": "psql",
        },
    )


def test_the_database_defaults_to_the_user() -> None:
    for sent in ({"user": "shop"}, {"user": "shop", "database": ""}):
        assert read_parameters(sent) == ("shop", "shop", {})


def test_the_last_value_counts_whatever_the_case_of_the_name_and_parameters_override_options() -> (
    None
):
    parameters_read = read_parameters(
        {
            "user": "u",
            "Lock_Timeout": "5",
            "options": "-c lock_timeout=9 --search-path=a,b -c SEARCH_PATH=c",
            "USER": "postgres",
        }
    )
    assert parameters_read == (
        "u",
        "u",
        {"lock_timeout": "5", "search_path": "c", "user": "postgres"},
    )


def test_only_ascii_letters_have_a_case() -> None:
    result = read_parameters(
        {"user": "u", "loc\u212a_timeout": "0"}
    )  # the Kelvin sign, which lower() turns into k
    assert not isinstance(result, Refusal)
    assert list(result.settings) == ["loc\u212a_timeout"]


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ({"options": r"-c\ role=x"}, ""),
        ({"options": "-c"}, "SP1301"),
        ({"options": "--"}, "SP1301"),
        ({"options": "-c statement_timeout"}, "SP1301"),
        ({"options": "-d 5"}, "SP1301"),
        ({"options": "-O"}, "SP1301"),
        ({"options": "--statement_timeout 5"}, "SP1301"),
        ({"options": "\\"}, "SP1301"),
        ({"replication": "true"}, "SP1502"),
        ({"replication": "database"}, "SP1502"),
        ({"replication": "yes"}, "SP1502"),
        ({"replication": "o"}, "SP1502"),
        ({"replication": ""}, "SP1502"),
    ],
)
def test_what_is_no_setting_is_refused(parameters: dict[str, str], code: str) -> None:
    result = read_parameters({"user": "u", **parameters})
    if not code:
        assert not isinstance(result, Refusal)
        assert list(result.settings) == [" role"]  # which is no setting's name
        return
    assert isinstance(result, Refusal)
    assert result.code.id == code
    assert result.hint


def test_options_split_as_postgresql_splits_them() -> None:
    text = " -c DateStyle=ISO\\,\\ DMY\t--time-zone=a\\\\b\n-capplication_name=x=y --lock_timeout= "
    assert split_options(text) == [
        ("DateStyle", "ISO, DMY"),
        ("time_zone", "a\\b"),
        ("application_name", "x=y"),
        ("lock_timeout", ""),
    ]


@given(
    st.dictionaries(st.text(max_size=12), st.text(max_size=20), max_size=4), st.text(max_size=40)
)
def test_no_parameters_raise(parameters: dict[str, str], options: str) -> None:
    result = read_parameters({"user": "u", **parameters, "options": options})
    assert isinstance(result, Refusal) or result.user == parameters.get("user", "u")
