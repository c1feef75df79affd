"""Messages from the backend (protocol section 54.7): builders for what the gateway says itself,
parsers for what it reads.

Builders give a whole message; parsers take a body without the 5-byte header and raise
ProtocolError, and nothing else, when it is not exactly one message of its kind. Rows are not here:
DataRow and CopyData belong to :mod:`sallyport.wire.frames`. What keeps masked values out of
errors and notices is :mod:`sallyport.wire.scrubbing`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from sallyport.core.errors import ProtocolError, Refusal
from sallyport.wire.fields import (
    LARGE_BODY,
    expect_end,
    message,
    number,
    read_formats,
    read_i32,
    read_string,
    read_u16,
    read_u32,
    string,
    to_text,
)
from sallyport.wire.frontend import AUTH_BODY, MessageType

PARSE_COMPLETE: Final = 0x31  # 1
BIND_COMPLETE: Final = 0x32  # 2
CLOSE_COMPLETE: Final = 0x33  # 3
NOTIFICATION_RESPONSE: Final = 0x41  # A
COMMAND_COMPLETE: Final = 0x43  # C
DATA_ROW: Final = 0x44  # D
ERROR_RESPONSE: Final = 0x45  # E
COPY_IN_RESPONSE: Final = 0x47  # G
COPY_OUT_RESPONSE: Final = 0x48  # H
EMPTY_QUERY_RESPONSE: Final = 0x49  # I
BACKEND_KEY_DATA: Final = 0x4B  # K
NOTICE_RESPONSE: Final = 0x4E  # N
AUTHENTICATION: Final = 0x52  # R
PARAMETER_STATUS: Final = 0x53  # S
ROW_DESCRIPTION: Final = 0x54  # T
FUNCTION_CALL_RESPONSE: Final = 0x56  # V
COPY_BOTH_RESPONSE: Final = 0x57  # W
READY_FOR_QUERY: Final = 0x5A  # Z
COPY_DONE: Final = 0x63  # c
COPY_DATA: Final = 0x64  # d
NO_DATA: Final = 0x6E  # n
PORTAL_SUSPENDED: Final = 0x73  # s
PARAMETER_DESCRIPTION: Final = 0x74  # t
NEGOTIATE_PROTOCOL_VERSION: Final = 0x76  # v

_ANY = LARGE_BODY - 4
#: libpq takes at most 30,000 bytes of the kinds it does not expect to be long (fe-protocol3.c,
#: VALID_LONG_MESSAGE_TYPE).
_SHORT = 30_000

#: Every message a server may send after startup, with the allowed length of its body in bytes.
MESSAGES: Final[Mapping[int, MessageType]] = {
    PARSE_COMPLETE: MessageType("ParseComplete", 0, 0),
    BIND_COMPLETE: MessageType("BindComplete", 0, 0),
    CLOSE_COMPLETE: MessageType("CloseComplete", 0, 0),
    NOTIFICATION_RESPONSE: MessageType("NotificationResponse", 6, _ANY),
    COMMAND_COMPLETE: MessageType("CommandComplete", 1, _SHORT),
    DATA_ROW: MessageType("DataRow", 2, _ANY),
    ERROR_RESPONSE: MessageType("ErrorResponse", 1, _ANY),
    COPY_IN_RESPONSE: MessageType("CopyInResponse", 3, _SHORT),
    COPY_OUT_RESPONSE: MessageType("CopyOutResponse", 3, _SHORT),
    EMPTY_QUERY_RESPONSE: MessageType("EmptyQueryResponse", 0, 0),
    BACKEND_KEY_DATA: MessageType("BackendKeyData", 8, 260),
    NOTICE_RESPONSE: MessageType("NoticeResponse", 1, _ANY),
    AUTHENTICATION: MessageType("Authentication", 4, AUTH_BODY),
    PARAMETER_STATUS: MessageType("ParameterStatus", 2, _ANY),
    ROW_DESCRIPTION: MessageType("RowDescription", 2, _ANY),
    FUNCTION_CALL_RESPONSE: MessageType("FunctionCallResponse", 4, _ANY),
    COPY_BOTH_RESPONSE: MessageType("CopyBothResponse", 3, _SHORT),
    READY_FOR_QUERY: MessageType("ReadyForQuery", 1, 1),
    COPY_DONE: MessageType("CopyDone", 0, 0),
    COPY_DATA: MessageType("CopyData", 0, _ANY),
    NO_DATA: MessageType("NoData", 0, 0),
    PORTAL_SUSPENDED: MessageType("PortalSuspended", 0, 0),
    PARAMETER_DESCRIPTION: MessageType("ParameterDescription", 2, _ANY),
    NEGOTIATE_PROTOCOL_VERSION: MessageType("NegotiateProtocolVersion", 8, _SHORT),
}

# Authentication codes (protocol section 54.7, "Authentication...").
AUTH_OK: Final = 0
AUTH_CLEARTEXT: Final = 3
AUTH_MD5: Final = 5
AUTH_SASL: Final = 10
AUTH_SASL_CONTINUE: Final = 11
AUTH_SASL_FINAL: Final = 12


class Field(NamedTuple):
    """One column of a RowDescription. ``table_oid`` and ``column_number`` are 0 for what is not a
    table's column.
    """

    name: str
    table_oid: int
    column_number: int
    type_oid: int
    type_size: int
    type_modifier: int
    format: int


class Authentication(NamedTuple):
    """``code``: :data:`AUTH_OK` and the like. ``data``: what follows it."""

    code: int
    data: bytes


class BackendKeyData(NamedTuple):
    """What a CancelRequest names: ``pid``, a signed Int32, and ``key``, 4 to 256 bytes."""

    pid: int
    key: bytes


class CommandComplete(NamedTuple):
    """``rows``: the count at the end of the tag, None for a command that has none."""

    tag: str
    rows: int | None


class CopyResponse(NamedTuple):
    """``format``: 0 text or CSV, 1 binary. ``columns``: one format code each."""

    format: int
    columns: tuple[int, ...]


class Notification(NamedTuple):
    """NotificationResponse. ``pid``: of the backend that sent it."""

    pid: int
    channel: str
    payload: str


class ParameterStatus(NamedTuple):
    """A setting and the value that it has from now on."""

    name: str
    value: str


class ProtocolVersion(NamedTuple):
    """NegotiateProtocolVersion: the newest minor version the server speaks, and the options it does
    not know.
    """

    minor: int
    unsupported: list[str]


# --- builders ------------------------------------------------------------


def authentication_ok() -> bytes:
    """Build an AuthenticationOk."""
    return message(AUTHENTICATION, number("i", AUTH_OK))


def authentication_cleartext() -> bytes:
    """Build an AuthenticationCleartextPassword."""
    return message(AUTHENTICATION, number("i", AUTH_CLEARTEXT))


def authentication_sasl(mechanisms: Iterable[str]) -> bytes:
    """Build an AuthenticationSASL that offers these mechanisms."""
    names = b"".join(string(name, "a mechanism") for name in mechanisms)
    return message(AUTHENTICATION, number("i", AUTH_SASL) + names + b"\0")


def authentication_sasl_continue(data: bytes) -> bytes:
    """Build an AuthenticationSASLContinue. ``data``: of the mechanism."""
    return message(AUTHENTICATION, number("i", AUTH_SASL_CONTINUE) + data)


def authentication_sasl_final(data: bytes) -> bytes:
    """Build an AuthenticationSASLFinal. ``data``: of the mechanism."""
    return message(AUTHENTICATION, number("i", AUTH_SASL_FINAL) + data)


def parameter_status(name: str, value: str) -> bytes:
    """Build a ParameterStatus."""
    return message(
        PARAMETER_STATUS, string(name, "a parameter name") + string(value, f"parameter {name}")
    )


def backend_key_data(pid: int, key: bytes) -> bytes:
    """``key``: exactly 4 bytes for a 3.0 client, 4 to 256 for 3.2. ``pid`` is a signed Int32."""
    if not 4 <= len(key) <= 256:
        raise ProtocolError(f"a cancel key has 4 to 256 bytes, not {len(key)}")
    return message(BACKEND_KEY_DATA, number("i", pid) + key)


def ready_for_query(status: bytes) -> bytes:
    """``status``: b"I" idle, b"T" in a transaction, b"E" in a failed one."""
    if status not in (b"I", b"T", b"E"):
        raise ProtocolError("the transaction status is none of I, T, E")
    return message(READY_FOR_QUERY, status)


def error_response(severity: str, sqlstate: str, text: str, **more: str | int) -> bytes:
    """An ErrorResponse. ``severity``: ERROR, FATAL or PANIC. ``more``: any of detail, hint,
    position (1-based, in characters; 0 for none), where, schema, table, column, datatype,
    constraint, routine. Empty ones are left out. NULs and lone surrogates, which no field can hold,
    become U+FFFD: an error must never fail to be sent.
    """
    return message(ERROR_RESPONSE, _error_body(severity, sqlstate, text, more))


def notice_response(severity: str, sqlstate: str, text: str, **more: str | int) -> bytes:
    """A NoticeResponse. ``severity``: WARNING, NOTICE, DEBUG, INFO or LOG. Otherwise as
    :func:`error_response`.
    """
    return message(NOTICE_RESPONSE, _error_body(severity, sqlstate, text, more))


def refusal_error(refusal: Refusal, severity: str = "ERROR") -> bytes:
    """The ErrorResponse a client sees for a refusal: ``[SPnnnn] ...``, SQLSTATE, DETAIL, HINT,
    position, and :data:`ORIGIN`.
    """
    return error_response(
        severity,
        refusal.sqlstate,
        refusal.text,
        detail=refusal.detail,
        hint=refusal.hint,
        position=refusal.position,
        routine=ORIGIN,
    )


def without_origin(message: bytes) -> bytes | None:
    """An ErrorResponse or NoticeResponse of a server that claims to come from the gateway, without
    the claim; None where it makes none. Raises ProtocolError when malformed.
    """
    if _CLAIM not in message:
        return None
    fields = parse_error_fields(message[5:])
    fields.pop("R", None)
    body = error_body(fields)
    return message[:1] + number("I", len(body) + 4) + body


_MORE: Final = {
    "detail": "D",
    "hint": "H",
    "position": "P",
    "where": "W",
    "schema": "s",
    "table": "t",
    "column": "c",
    "datatype": "d",
    "constraint": "n",
    "routine": "R",
}
#: The routine (field R) of what the gateway says in its own name. No message of a server has it by
#: the time that it reaches a client: so who speaks is not a matter of words.
ORIGIN: Final = "sallyport"
_CLAIM: Final = f"R{ORIGIN}\0".encode()


def _error_body(severity: str, sqlstate: str, text: str, more: Mapping[str, str | int]) -> bytes:
    fields = {"S": severity, "V": severity, "C": sqlstate, "M": text or "no message"}
    for name, value in more.items():
        if name not in _MORE:
            raise TypeError(f"an error has no field {name!r}")
        if value:
            fields[_MORE[name]] = str(value)
    return error_body(fields)


def error_body(fields: Mapping[str, str]) -> bytes:
    """The body of an ErrorResponse or NoticeResponse, from one-character field types to values."""
    parts = []
    for kind, value in fields.items():
        safe = value.replace("\0", "�").encode("utf-8", "surrogatepass").decode("utf-8", "replace")
        parts.append(kind.encode("ascii") + safe.encode("utf-8") + b"\0")
    return b"".join(parts) + b"\0"


def command_complete(tag: str) -> bytes:
    """Build a CommandComplete. ``tag``: with its count, as ``SELECT 5``."""
    return message(COMMAND_COMPLETE, string(tag, "a command tag"))


def empty_query() -> bytes:
    """Build an EmptyQueryResponse."""
    return message(EMPTY_QUERY_RESPONSE)


def no_data() -> bytes:
    """Build a NoData."""
    return message(NO_DATA)


def parse_complete() -> bytes:
    """Build a ParseComplete."""
    return message(PARSE_COMPLETE)


def bind_complete() -> bytes:
    """Build a BindComplete."""
    return message(BIND_COMPLETE)


def close_complete() -> bytes:
    """Build a CloseComplete."""
    return message(CLOSE_COMPLETE)


def portal_suspended() -> bytes:
    """Build a PortalSuspended."""
    return message(PORTAL_SUSPENDED)


def negotiate_protocol_version(minor: int, unsupported: Sequence[str]) -> bytes:
    """Says protocol 3.``minor``. PostgreSQL sends the whole version number, and libpq expects it
    so.
    """
    names = b"".join(string(name, "an option") for name in unsupported)
    return message(NEGOTIATE_PROTOCOL_VERSION, number("HHi", 3, minor, len(unsupported)) + names)


def row_description(fields: Sequence[Field]) -> bytes:
    """Build a RowDescription."""
    parts = [number("H", len(fields))]
    for field in fields:
        parts += [string(field.name, "a column name"), number("IhIhiH", *field[1:])]
    return message(ROW_DESCRIPTION, b"".join(parts))


def parameter_description(types: Sequence[int]) -> bytes:
    """Build a ParameterDescription from type OIDs."""
    return message(PARAMETER_DESCRIPTION, number(f"H{len(types)}I", len(types), *types))


# --- parsers ------------------------------------------------------------


def parse_error_fields(body: bytes) -> dict[str, str]:
    """Field type (one character) -> value, in the order sent.

    Values are decoded leniently: before a session has its client_encoding a server may write in its
    own, and the reason why a login failed must not be lost over that.
    """
    fields: dict[str, str] = {}
    pos = 0
    while True:
        if pos >= len(body):
            raise ProtocolError("ErrorResponse: the final zero byte is missing")
        if body[pos] == 0:
            break
        end = body.find(0, pos + 1)
        if end < 0:
            raise ProtocolError("ErrorResponse: a field is not terminated")
        kind = chr(body[pos])
        if kind in fields:
            raise ProtocolError("ErrorResponse: a field occurs twice")
        fields[kind] = body[pos + 1 : end].decode("utf-8", "replace")
        pos = end + 1
    expect_end(body, pos + 1, "ErrorResponse")
    return fields


def parse_ready(body: bytes) -> bytes:
    """The transaction status: b"I", b"T" or b"E"."""
    if body not in (b"I", b"T", b"E"):
        raise ProtocolError("ReadyForQuery: the transaction status is none of I, T, E")
    return body


def parse_parameter_status(body: bytes) -> ParameterStatus:
    """Read a ParameterStatus."""
    name, pos = read_string(body, 0, "ParameterStatus")
    value, pos = read_string(body, pos, "ParameterStatus")
    expect_end(body, pos, "ParameterStatus")
    return ParameterStatus(to_text(name, "ParameterStatus"), to_text(value, "ParameterStatus"))


def parse_backend_key_data(body: bytes) -> BackendKeyData:
    """Read a BackendKeyData."""
    pid, pos = read_i32(body, 0, "BackendKeyData")
    if not 4 <= len(body) - pos <= 256:
        raise ProtocolError(
            f"BackendKeyData: a cancel key has 4 to 256 bytes, not {len(body) - pos}"
        )
    return BackendKeyData(pid, body[pos:])


#: Tags that end in a count (src/include/tcop/cmdtaglist.h); INSERT has an obsolete OID before it.
_COUNTED: Final = frozenset(
    {"SELECT", "UPDATE", "DELETE", "MERGE", "FETCH", "MOVE", "COPY", "INSERT"}
)


def parse_command_complete(body: bytes) -> CommandComplete:
    """Read a CommandComplete. Raises also for a count that no 64 bits hold."""
    raw, pos = read_string(body, 0, "CommandComplete")
    expect_end(body, pos, "CommandComplete")
    tag = to_text(raw, "CommandComplete")
    words = tag.split(" ")
    count = words[-1]
    if words[0] not in _COUNTED or len(words) < 2 or not (count.isascii() and count.isdigit()):
        return CommandComplete(tag, None)
    if len(count) > 20:
        raise ProtocolError("CommandComplete: the row count is not a 64-bit number")
    return CommandComplete(tag, int(count))


def parse_authentication(body: bytes) -> Authentication:
    """Read any Authentication message."""
    code, pos = read_i32(body, 0, "Authentication")
    return Authentication(code, body[pos:])


def parse_sasl_mechanisms(data: bytes) -> list[str]:
    """The ``data`` of an Authentication with code :data:`AUTH_SASL`."""
    names: list[str] = []
    pos = 0
    while True:
        raw, pos = read_string(data, pos, "AuthenticationSASL")
        if not raw:
            expect_end(data, pos, "AuthenticationSASL")
            return names
        names.append(to_text(raw, "AuthenticationSASL"))


def parse_copy_response(body: bytes) -> CopyResponse:
    """CopyInResponse, CopyOutResponse and CopyBothResponse."""
    if body[:1] not in (b"\0", b"\1"):
        raise ProtocolError("CopyResponse: the format is neither text nor binary")
    columns, pos = read_formats(body, 1, "CopyResponse")
    expect_end(body, pos, "CopyResponse")
    return CopyResponse(body[0], columns)


def parse_notification(body: bytes) -> Notification:
    """Read a NotificationResponse."""
    pid, pos = read_i32(body, 0, "NotificationResponse")
    channel, pos = read_string(body, pos, "NotificationResponse")
    payload, pos = read_string(body, pos, "NotificationResponse")
    expect_end(body, pos, "NotificationResponse")
    return Notification(pid, to_text(channel, "a channel"), to_text(payload, "a payload"))


def parse_row_description(body: bytes) -> list[Field]:
    """Read a RowDescription."""
    count, pos = read_u16(body, 0, "RowDescription")
    fields = []
    layout = struct.Struct("!IhIhiH")
    for _ in range(count):
        name, pos = read_string(body, pos, "RowDescription")
        if pos + layout.size > len(body):
            raise ProtocolError("RowDescription: ends inside a column")
        field = Field(to_text(name, "a column name"), *layout.unpack_from(body, pos))
        if field.format > 1:
            raise ProtocolError(f"RowDescription: unknown format code {field.format}")
        fields.append(field)
        pos += layout.size
    expect_end(body, pos, "RowDescription")
    return fields


def parse_parameter_description(body: bytes) -> tuple[int, ...]:
    """Read a ParameterDescription: type OIDs."""
    count, pos = read_u16(body, 0, "ParameterDescription")
    if pos + 4 * count != len(body):
        raise ProtocolError(
            f"ParameterDescription: {count} types do not fill the rest of the message"
        )
    return struct.unpack_from(f"!{count}I", body, pos)


def parse_negotiate_protocol_version(body: bytes) -> ProtocolVersion:
    """Read a NegotiateProtocolVersion."""
    version, pos = read_u32(body, 0, "NegotiateProtocolVersion")
    count, pos = read_i32(body, pos, "NegotiateProtocolVersion")
    if version >> 16 != 3 or not 0 <= count <= len(body) - pos:
        raise ProtocolError("NegotiateProtocolVersion: not protocol 3, or more options than fit")
    names = []
    for _ in range(count):
        name, pos = read_string(body, pos, "NegotiateProtocolVersion")
        names.append(to_text(name, "an option"))
    expect_end(body, pos, "NegotiateProtocolVersion")
    return ProtocolVersion(version & 0xFFFF, names)
