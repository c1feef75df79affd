"""Messages from the frontend (protocol section 54.7): parsers for what clients send, builders for
what we send upstream.

Parsers take a body (the bytes after the 5-byte header) and give a frozen value; builders give a
whole message with header. Names and SQL stay bytes: they travel on unchanged, and are checked to be
UTF-8 because client_encoding is pinned to UTF8. Every parser raises ProtocolError, and nothing
else, for a body that is not exactly one message of its kind.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from sallyport.core.errors import ProtocolError
from sallyport.core.secret import Secret
from sallyport.wire.fields import (
    LARGE_BODY,
    SMALL_BODY,
    check_utf8,
    expect_end,
    message,
    number,
    read_formats,
    read_i32,
    read_string,
    read_u16,
    read_u32,
    read_values,
    string,
    to_text,
)

BIND: Final = 0x42  # B
CLOSE: Final = 0x43  # C
DESCRIBE: Final = 0x44  # D
EXECUTE: Final = 0x45  # E
FUNCTION_CALL: Final = 0x46  # F
FLUSH: Final = 0x48  # H
PARSE: Final = 0x50  # P
QUERY: Final = 0x51  # Q
SYNC: Final = 0x53  # S
TERMINATE: Final = 0x58  # X
COPY_DONE: Final = 0x63  # c
COPY_DATA: Final = 0x64  # d
COPY_FAIL: Final = 0x66  # f
#: p: PasswordMessage, SASLInitialResponse, SASLResponse and GSSResponse share it; the
#: authentication state tells which.
PASSWORD: Final = 0x70

SSL_REQUEST_CODE: Final = 80877103
GSSENC_REQUEST_CODE: Final = 80877104
CANCEL_REQUEST_CODE: Final = 80877102
#: PG_MAX_AUTH_TOKEN_LENGTH: what PostgreSQL takes before a peer is authenticated.
AUTH_BODY: Final = 65_535


class MessageType(NamedTuple):
    """What a message type is called and how long its body (without the header) may be, in bytes."""

    name: str
    minimum: int
    maximum: int


#: Every message a client may send after startup. Limits are those of PostgreSQL's SocketBackend
#: (tcop/postgres.c).
MESSAGES: Final[Mapping[int, MessageType]] = {
    BIND: MessageType("Bind", 8, LARGE_BODY - 4),
    CLOSE: MessageType("Close", 2, SMALL_BODY - 4),
    DESCRIBE: MessageType("Describe", 2, SMALL_BODY - 4),
    EXECUTE: MessageType("Execute", 5, SMALL_BODY - 4),
    FUNCTION_CALL: MessageType("FunctionCall", 10, LARGE_BODY - 4),
    FLUSH: MessageType("Flush", 0, 0),
    PARSE: MessageType("Parse", 4, LARGE_BODY - 4),
    QUERY: MessageType("Query", 1, LARGE_BODY - 4),
    SYNC: MessageType("Sync", 0, 0),
    TERMINATE: MessageType("Terminate", 0, 0),
    COPY_DONE: MessageType("CopyDone", 0, 0),
    COPY_DATA: MessageType("CopyData", 0, LARGE_BODY - 4),
    COPY_FAIL: MessageType("CopyFail", 1, SMALL_BODY - 4),
    PASSWORD: MessageType("PasswordMessage", 0, AUTH_BODY),
}


class Query(NamedTuple):
    """A simple query: ``sql`` may hold several statements."""

    sql: bytes


class Parse(NamedTuple):
    """``param_types``: type OIDs, 0 for one the server shall infer; may be shorter than the
    parameters.
    """

    name: bytes
    sql: bytes
    param_types: tuple[int, ...]


class Bind(NamedTuple):
    """``params``: raw values, None for NULL. Formats: none (all text), one for all, or one each; 0
    text, 1 binary.
    """

    portal: bytes
    statement: bytes
    param_formats: tuple[int, ...]
    params: list[bytes | None]
    result_formats: tuple[int, ...]


class Describe(NamedTuple):
    """``kind``: b"S" a prepared statement, b"P" a portal."""

    kind: bytes
    name: bytes


class Execute(NamedTuple):
    """``max_rows``: 0 means all."""

    portal: bytes
    max_rows: int


class Close(NamedTuple):
    """``kind``: b"S" a prepared statement, b"P" a portal."""

    kind: bytes
    name: bytes


# Messages without fields are not NamedTuples: those would be false, and equal to one another.
@dataclass(frozen=True, slots=True)
class Sync:
    """The end of a pipeline: asks for ReadyForQuery."""


@dataclass(frozen=True, slots=True)
class Flush:
    """Asks for what the server has, without ending the pipeline."""


class CopyData(NamedTuple):
    """A piece of a COPY's data, at any boundary."""

    data: bytes


@dataclass(frozen=True, slots=True)
class CopyDone:
    """The end of a COPY's data."""


class CopyFail(NamedTuple):
    """The client gives a COPY up; ``reason`` is for the server's error message."""

    reason: bytes


@dataclass(frozen=True, slots=True)
class Terminate:
    """The client ends the session."""


class PasswordMessage(NamedTuple):
    """The password is wrapped so that no repr or log shows it."""

    password: Secret


class SASLInitialResponse(NamedTuple):
    """``data`` is None when the client sent no initial response (length -1)."""

    mechanism: str
    data: bytes | None


class SASLResponse(NamedTuple):
    """``data``: of the mechanism."""

    data: bytes


class FunctionCall(NamedTuple):
    """``function``: its OID. ``args``: raw values, None for NULL. Formats as in :class:`Bind`; the
    result has one.
    """

    function: int
    arg_formats: tuple[int, ...]
    args: list[bytes | None]
    result_format: int


# --- parsers ------------------------------------------------------------


def parse_query(body: bytes) -> Query:
    """Read a Query."""
    end = len(body) - 1
    if body.find(0) != end or end < 0:
        raise ProtocolError("Query: the string is not terminated exactly at the end of the message")
    return Query(check_utf8(body[:end], "Query"))


def parse_parse(body: bytes) -> Parse:
    """Read a Parse."""
    name, pos = read_string(body, 0, "Parse")
    sql, pos = read_string(body, pos, "Parse")
    count, pos = read_u16(body, pos, "Parse")
    if pos + 4 * count != len(body):
        raise ProtocolError(f"Parse: {count} parameter types do not fill the rest of the message")
    return Parse(name, sql, struct.unpack_from(f"!{count}I", body, pos))


def parse_bind(body: bytes) -> Bind:
    """Read a Bind: as many parameter formats as parameters, or at most one."""
    portal, pos = read_string(body, 0, "Bind")
    statement, pos = read_string(body, pos, "Bind")
    param_formats, pos = read_formats(body, pos, "Bind")
    params, pos = read_values(body, pos, "Bind")
    if len(param_formats) > 1 and len(param_formats) != len(params):
        raise ProtocolError(
            f"Bind has {len(param_formats)} parameter formats but {len(params)} parameters"
        )
    result_formats, pos = read_formats(body, pos, "Bind")
    expect_end(body, pos, "Bind")
    return Bind(portal, statement, param_formats, params, result_formats)


def _read_target(body: bytes, what: str) -> tuple[bytes, bytes]:
    kind = body[:1]
    if kind not in (b"S", b"P"):
        raise ProtocolError(f"{what}: the kind is neither S (statement) nor P (portal)")
    name, pos = read_string(body, 1, what)
    expect_end(body, pos, what)
    return kind, name


def parse_describe(body: bytes) -> Describe:
    """Read a Describe."""
    return Describe(*_read_target(body, "Describe"))


def parse_close(body: bytes) -> Close:
    """Read a Close."""
    return Close(*_read_target(body, "Close"))


def parse_execute(body: bytes) -> Execute:
    """Read an Execute; a negative number of rows means all, as for PostgreSQL."""
    portal, pos = read_string(body, 0, "Execute")
    max_rows, pos = read_i32(body, pos, "Execute")
    expect_end(body, pos, "Execute")
    # PostgreSQL reads zero and below as "all".
    return Execute(portal, max(max_rows, 0))


def parse_sync(body: bytes) -> Sync:
    """Read a Sync, which has no body."""
    expect_end(body, 0, "Sync")
    return Sync()


def parse_flush(body: bytes) -> Flush:
    """Read a Flush, which has no body."""
    expect_end(body, 0, "Flush")
    return Flush()


def parse_copy_data(body: bytes) -> CopyData:
    """Read a CopyData: any bytes."""
    return CopyData(body)


def parse_copy_done(body: bytes) -> CopyDone:
    """Read a CopyDone, which has no body."""
    expect_end(body, 0, "CopyDone")
    return CopyDone()


def parse_copy_fail(body: bytes) -> CopyFail:
    """Read a CopyFail."""
    reason, pos = read_string(body, 0, "CopyFail")
    expect_end(body, pos, "CopyFail")
    return CopyFail(reason)


def parse_terminate(body: bytes) -> Terminate:
    """Read a Terminate, which has no body."""
    expect_end(body, 0, "Terminate")
    return Terminate()


def parse_password(body: bytes) -> PasswordMessage:
    """Read a PasswordMessage."""
    password, pos = read_string(body, 0, "PasswordMessage")
    expect_end(body, pos, "PasswordMessage")
    return PasswordMessage(Secret(to_text(password, "PasswordMessage")))


def parse_sasl_initial(body: bytes) -> SASLInitialResponse:
    """Read a SASLInitialResponse."""
    mechanism, pos = read_string(body, 0, "SASLInitialResponse")
    length, pos = read_i32(body, pos, "SASLInitialResponse")
    if length == -1:
        expect_end(body, pos, "SASLInitialResponse")
        return SASLInitialResponse(to_text(mechanism, "SASLInitialResponse"), None)
    if length != len(body) - pos:
        raise ProtocolError("SASLInitialResponse: the data is not as long as it says")
    return SASLInitialResponse(to_text(mechanism, "SASLInitialResponse"), body[pos:])


def parse_sasl_response(body: bytes) -> SASLResponse:
    """Read a SASLResponse: any bytes."""
    return SASLResponse(body)


def parse_function_call(body: bytes) -> FunctionCall:
    """Read a FunctionCall: as many formats as arguments, or at most one."""
    function, pos = read_u32(body, 0, "FunctionCall")
    formats, pos = read_formats(body, pos, "FunctionCall")
    args, pos = read_values(body, pos, "FunctionCall")
    if len(formats) > 1 and len(formats) != len(args):
        raise ProtocolError(
            f"FunctionCall has {len(formats)} argument formats but {len(args)} arguments"
        )
    result_format, pos = read_u16(body, pos, "FunctionCall")
    if result_format > 1:
        raise ProtocolError(f"FunctionCall: unknown format code {result_format}")
    expect_end(body, pos, "FunctionCall")
    return FunctionCall(function, formats, args, result_format)


# --- builders ------------------------------------------------------------


def query(sql: str | bytes) -> bytes:
    """Build a Query."""
    return message(QUERY, string(sql, "the statement"))


def parse(name: str | bytes, sql: str | bytes, param_types: Sequence[int] = ()) -> bytes:
    """Build a Parse. ``param_types``: type OIDs, 0 for one that the server infers."""
    types = number(f"H{len(param_types)}I", len(param_types), *param_types)
    return message(PARSE, string(name, "a statement name") + string(sql, "the statement") + types)


def bind(
    portal: str | bytes,
    statement: str | bytes,
    params: Sequence[bytes | None] = (),
    param_formats: Sequence[int] = (),
    result_formats: Sequence[int] = (),
) -> bytes:
    """Build a Bind. Values and formats as in :class:`Bind`."""
    parts = [
        string(portal, "a portal name"),
        string(statement, "a statement name"),
        _formats(param_formats),
    ]
    parts.append(number("H", len(params)))
    for value in params:
        parts.append(b"\xff\xff\xff\xff" if value is None else number("i", len(value)) + value)
    parts.append(_formats(result_formats))
    return message(BIND, b"".join(parts))


def _formats(codes: Sequence[int]) -> bytes:
    return number(f"H{len(codes)}H", len(codes), *codes)


def describe(kind: bytes, name: str | bytes) -> bytes:
    """Build a Describe. ``kind``: b"S" a prepared statement, b"P" a portal."""
    return message(DESCRIBE, _target(kind, name))


def close(kind: bytes, name: str | bytes) -> bytes:
    """Build a Close. ``kind``: b"S" a prepared statement, b"P" a portal."""
    return message(CLOSE, _target(kind, name))


def _target(kind: bytes, name: str | bytes) -> bytes:
    if kind not in (b"S", b"P"):
        raise ProtocolError("the kind is neither S (statement) nor P (portal)")
    return kind + string(name, "a name")


def execute(portal: str | bytes = b"", max_rows: int = 0) -> bytes:
    """Build an Execute. ``max_rows``: 0 means all."""
    return message(EXECUTE, string(portal, "a portal name") + number("i", max_rows))


def flush() -> bytes:
    """Build a Flush."""
    return message(FLUSH)


def sync() -> bytes:
    """Build a Sync."""
    return message(SYNC)


def terminate() -> bytes:
    """Build a Terminate."""
    return message(TERMINATE)


def copy_data(data: bytes) -> bytes:
    """Build a CopyData."""
    return message(COPY_DATA, data)


def copy_done() -> bytes:
    """Build a CopyDone."""
    return message(COPY_DONE)


def copy_fail(reason: str | bytes) -> bytes:
    """Build a CopyFail."""
    return message(COPY_FAIL, string(reason, "a reason"))


def password(value: Secret | bytes) -> bytes:
    """A PasswordMessage: a clear-text password, or the bytes of
    :func:`sallyport.wire.scram.md5_password`.
    """
    return message(
        PASSWORD, string(value.reveal() if isinstance(value, Secret) else value, "the password")
    )


def sasl_initial(mechanism: str, data: bytes | None) -> bytes:
    """Build a SASLInitialResponse. ``data`` None: there is no initial response."""
    tail = number("i", -1) if data is None else number("i", len(data)) + data
    return message(PASSWORD, string(mechanism, "a mechanism") + tail)


def sasl_response(data: bytes) -> bytes:
    """Build a SASLResponse."""
    return message(PASSWORD, data)


def startup_message(parameters: Mapping[str, str], minor: int = 0, *, major: int = 3) -> bytes:
    """A StartupMessage for protocol ``major.minor``; no type byte. Raises ProtocolError for an
    empty name.
    """
    parts = [number("HH", major, minor)]
    for name, value in parameters.items():
        if not name:
            raise ProtocolError("a startup parameter has no name")
        parts += [string(name, "a parameter name"), string(value, f"startup parameter {name}")]
    return _untyped(b"".join(parts) + b"\0")


def ssl_request() -> bytes:
    """Build an SSLRequest; no type byte."""
    return _untyped(number("I", SSL_REQUEST_CODE))


def gssenc_request() -> bytes:
    """Build a GSSENCRequest; no type byte."""
    return _untyped(number("I", GSSENC_REQUEST_CODE))


def cancel_request(pid: int, key: bytes) -> bytes:
    """``key``: 4 bytes under protocol 3.0, 4 to 256 under 3.2. ``pid`` is the signed Int32 of
    BackendKeyData.
    """
    return _untyped(number("Ii", CANCEL_REQUEST_CODE, pid) + key)


def _untyped(body: bytes) -> bytes:
    return number("I", len(body) + 4) + body
