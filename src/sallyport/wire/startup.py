"""The untyped first packets and what follows from them (protocol sections 54.2.1, 54.2.2 and 54.7).

:func:`parse_first` reads SSLRequest, GSSENCRequest, CancelRequest or StartupMessage; its length is
bounded before anything waits for a body. :func:`negotiate` answers for the protocol version as
PostgreSQL 18 does (tcop/backend_startup.c), and :func:`read_parameters` finds the settings among
startup parameters, ``options`` included; which of them are allowed is decided where SET is decided,
once it is known who asks. Malformed bytes raise ProtocolError; what is well-formed and not
understood is a refusal with SP1301 or SP1502.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from sallyport.core.errors import ProtocolError, Refusal, RefusedError, refuse
from sallyport.wire import backend
from sallyport.wire.fields import read_i32, read_string, read_u32, to_text
from sallyport.wire.frontend import CANCEL_REQUEST_CODE, GSSENC_REQUEST_CODE, SSL_REQUEST_CODE

#: The newest minor version of protocol 3 spoken here.
NEWEST_MINOR: Final = 2
_PROTOCOL_OPTION: Final = "_pq_."
_SPACE: Final = " \t\n\v\f\r"


# Messages without fields are not NamedTuples: those would be false, and equal to one another.
@dataclass(frozen=True, slots=True)
class SSLRequest:
    """The client asks for TLS."""


@dataclass(frozen=True, slots=True)
class GSSENCRequest:
    """The client asks for GSSAPI encryption, which the gateway does not have."""


class CancelRequest(NamedTuple):
    """``pid`` and ``key``: of the BackendKeyData that the session was given."""

    pid: int
    key: bytes


class StartupMessage(NamedTuple):
    """``parameters`` is empty when ``major`` is not 3: the layout of other versions is not
    known.
    """

    major: int
    minor: int
    parameters: dict[str, str]


Packet = SSLRequest | GSSENCRequest | CancelRequest | StartupMessage


class Negotiation(NamedTuple):
    """``minor_used``: 0 or 2. ``reply``: a NegotiateProtocolVersion to send before authentication,
    or None.
    """

    minor_used: int
    unsupported: list[str]
    reply: bytes | None


class Parameters(NamedTuple):
    """``settings``: by name in lower case, the last value that was given for each; user and
    database are apart.
    """

    user: str
    database: str
    settings: dict[str, str]


def is_direct_tls(first_byte: int) -> bool:
    """Whether a connection begins with a TLS handshake record instead of a packet length."""
    return first_byte == 0x16


def parse_first(
    buf: bytes | bytearray, pos: int = 0, limit: int = 10_000
) -> tuple[Packet | None, int]:
    """Read one untyped packet at ``pos``: (packet, bytes consumed), or (None, 0) while it is
    incomplete.

    ``limit`` bounds the packet without its length word (bytes), like PostgreSQL's
    MAX_STARTUP_PACKET_LENGTH, as soon as the length is there. Ask :func:`is_direct_tls` about a
    connection's first byte before this. Raises ProtocolError for a length out of bounds or a body
    that is not what it says.
    """
    head = bytes(buf[pos : pos + 4])
    if len(head) < 4:
        # The first byte alone can already say that the length is out of bounds.
        if head and int.from_bytes(head.ljust(4, b"\0"), "big") > limit + 4:
            raise ProtocolError("the length of the startup packet is out of bounds")
        return None, 0
    length = int.from_bytes(head, "big")
    if not 8 <= length <= limit + 4:
        raise ProtocolError(f"the length of the startup packet, {length}, is out of bounds")
    if len(buf) - pos < length:
        return None, 0
    return _parse_packet(bytes(buf[pos + 4 : pos + length])), length


def _parse_packet(body: bytes) -> Packet:
    code, after = read_u32(body, 0, "startup packet")
    if code in (SSL_REQUEST_CODE, GSSENC_REQUEST_CODE):
        if len(body) != after:
            raise ProtocolError("an encryption request has nothing after its code")
        return SSLRequest() if code == SSL_REQUEST_CODE else GSSENCRequest()
    if code == CANCEL_REQUEST_CODE:
        pid, after = read_i32(body, after, "CancelRequest")
        if not 4 <= len(body) - after <= 256:
            raise ProtocolError(
                f"CancelRequest: a cancel key has 4 to 256 bytes, not {len(body) - after}"
            )
        return CancelRequest(pid, body[after:])
    major, minor = code >> 16, code & 0xFFFF
    # As in PostgreSQL the version comes first: the rest may look different in a version not known
    # here.
    return StartupMessage(major, minor, _parse_parameters(body, after) if major == 3 else {})


def _parse_parameters(body: bytes, pos: int) -> dict[str, str]:
    parameters: dict[str, str] = {}
    while True:
        raw_name, pos = read_string(body, pos, "StartupMessage")
        if not raw_name:
            break
        raw_value, pos = read_string(body, pos, "StartupMessage")
        name = to_text(raw_name, "StartupMessage")
        if name in parameters:
            raise ProtocolError("StartupMessage: a parameter is given twice")
        parameters[name] = to_text(raw_value, "StartupMessage")
    if pos != len(body):
        raise ProtocolError("StartupMessage: the terminator is not the last byte")
    if not parameters.get("user"):
        raise ProtocolError("StartupMessage: no user name is given")
    return parameters


def negotiate(major: int, minor: int, parameters: Mapping[str, str]) -> Negotiation:
    """Decide the protocol version. Raises RefusedError (SP1502) when ``major`` is not 3.

    As PostgreSQL 18: a newer minor, the greased 3.9999 among them, or an unknown ``_pq_.`` option
    is answered with NegotiateProtocolVersion naming min(asked, 3.2). 3.1 was never published: it
    gets no answer and means 3.0.
    """
    if major != 3:
        raise RefusedError(
            refuse(
                "SP1502",
                f"unsupported frontend protocol {major}.{minor}: 3.0 to 3.{NEWEST_MINOR} are"
                " supported",
                hint=(
                    "Use a client that speaks protocol 3, which every PostgreSQL client since 2003"
                    " does."
                ),
            )
        )
    unsupported = [name for name in parameters if name.startswith(_PROTOCOL_OPTION)]
    spoken = min(minor, NEWEST_MINOR)
    reply = None
    if minor > NEWEST_MINOR or unsupported:
        reply = backend.negotiate_protocol_version(spoken, unsupported)
    return Negotiation(NEWEST_MINOR if spoken == NEWEST_MINOR else 0, unsupported, reply)


def read_parameters(parameters: Mapping[str, str]) -> Parameters | Refusal:
    """What startup parameters ask for; a refusal for what is no setting: replication, other
    switches.

    Like PostgreSQL's process_startup_options, ``options`` comes first and parameters of their own
    override it. Names are compared as guc_name_compare does: without regard to the case of ASCII
    letters, and of no others.
    """
    user = parameters.get("user", "")
    options = split_options(parameters.get("options", ""))
    if isinstance(options, Refusal):
        return options
    for name, value in parameters.items():
        if name in ("user", "database", "options") or name.startswith(_PROTOCOL_OPTION):
            continue
        if name == "replication":
            if not _is_false(value):
                return _refuse_replication()
            continue
        options.append((name, value))
    settings: dict[str, str] = {}
    for name, value in options:
        settings["".join(c.lower() if c.isascii() else c for c in name)] = value
    return Parameters(user, parameters.get("database") or user, settings)


def split_options(text: str) -> list[tuple[str, str]] | Refusal:
    """The settings in an ``options`` parameter, in order: ``-c name=value``, ``-cname=value`` and
    ``--name=value``.

    Words end at white space, a backslash takes the next character literally (pg_split_opts), and
    dashes in a name mean underscores (ParseLongOption). Any other switch is refused.
    """
    words = iter(_split_words(text))
    options: list[tuple[str, str]] = []
    for word in words:
        if word == "-c":
            setting = next(words, "")
        elif word.startswith(("-c", "--")):
            setting = word[2:]
        else:
            setting = ""
        name, equals, value = setting.partition("=")
        if not name or not equals:
            return refuse(
                "SP1301",
                "the startup parameter options holds a switch that is not accepted",
                hint="Only -c name=value and --name=value are accepted in options (PGOPTIONS).",
            )
        options.append((name.replace("-", "_"), value))
    return options


def _split_words(text: str) -> list[str]:
    words: list[str] = []
    word: list[str] | None = None
    escaped = False
    for char in text:
        if char in _SPACE and not escaped:
            if word is not None:
                words.append("".join(word))
            word = None
            continue
        word = [] if word is None else word
        if char == "\\" and not escaped:
            escaped = True
        else:
            escaped = False
            word.append(char)
    if word is not None:
        words.append("".join(word))
    return words


def _is_false(value: str) -> bool:
    """PostgreSQL's parse_bool for false: any prefix of false or no, of off from two letters on, and
    0.
    """
    word = value.lower()
    return (
        word == "0"
        or word in ("of", "off")
        or (word != "" and ("false".startswith(word) or "no".startswith(word)))
    )


def _refuse_replication() -> Refusal:
    return refuse(
        "SP1502",
        "replication connections are not supported",
        detail="A replication stream carries data that is neither judged nor masked.",
        hint="Leave the replication parameter out, and read the data with SQL.",
    )
