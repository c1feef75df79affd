"""Bind values as literals, so that the gateway can plan a parameterised statement with the values
it would run with. Pure.

A value in text format becomes a quoted literal of unknown type, which PostgreSQL reads as the
parameter's type: what Bind does. Values in binary format are written as text for the types below;
any other type is an error, and then there is no preview.
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Callable, Sequence
from typing import Final

from sallyport.wire import values


class UnreadableError(ValueError):
    """A bind value cannot be written as a literal; the text says which and why, without the
    value.
    """


def _text(data: bytes) -> str:
    return data.decode()


def _integer(data: bytes) -> str:
    return str(int.from_bytes(data, "big", signed=True))


def _numeric(data: bytes) -> str:
    return values.format_decimal(*values.decode_numeric(data)).decode()


#: By type OID (pg_type.dat). Floats are written with repr, which reads back as the same value.
_BINARY: Final[dict[int, Callable[[bytes], str]]] = {
    16: lambda data: "true" if data == b"\x01" else "false",
    **dict.fromkeys((20, 21, 23), _integer),
    26: lambda data: str(int.from_bytes(data, "big")),
    **dict.fromkeys((18, 19, 25, 114, 1042, 1043), _text),
    17: lambda data: "\\x" + data.hex(),
    700: lambda data: repr(struct.unpack("!f", data)[0]),
    701: lambda data: repr(struct.unpack("!d", data)[0]),
    1082: lambda data: values.format_date(values.decode_date(data)).decode(),
    1114: lambda data: values.format_timestamp(values.decode_timestamp(data), False).decode(),
    1184: lambda data: values.format_timestamp(values.decode_timestamp(data), True).decode(),
    1700: _numeric,
    2950: lambda data: str(uuid.UUID(bytes=data)),
    3802: lambda data: data[1:].decode(),
}


def literals(
    binds: Sequence[bytes | None], formats: Sequence[int], types: Sequence[int]
) -> list[str]:
    """One SQL literal for each value; ``formats`` as in Bind. Raises UnreadableError."""
    if len(types) != len(binds):
        raise UnreadableError(f"{len(binds)} bind values were sent for {len(types)} parameters")
    out = []
    for index, (value, type_) in enumerate(zip(binds, types, strict=True)):
        code = formats[index] if len(formats) > 1 else (formats[0] if formats else 0)
        out.append("NULL" if value is None else _literal(index, value, code, type_))
    return out


def _literal(index: int, value: bytes, code: int, type_: int) -> str:
    read = _text if code == 0 else _BINARY.get(type_)
    if read is None:
        raise UnreadableError(f"the value of ${index + 1} is in an unknown binary format")
    try:
        text = read(value)
    except (ValueError, struct.error):
        text = "\0"
    if "\0" in text:
        raise UnreadableError(f"the value of ${index + 1} is not valid for its type")
    return "'" + text.replace("'", "''") + "'"
