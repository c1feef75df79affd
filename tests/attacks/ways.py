"""The ways in which a statement can be sent: five on the wire, and over MCP. Each gives the bytes
of one or more exchanges, every one ending in one Sync or Query, so that one ReadyForQuery answers
it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import count

from sallyport.wire import frontend as f
from sallyport.wire.fields import message

_names = count(1)

Exchange = list[bytes]


def _parse(name: bytes, sql: bytes) -> bytes:
    """Unlike the gateway's own builder, also with bytes that do not belong there."""
    return message(f.PARSE, name + b"\0" + sql + b"\0\0\0")


def simple(sql: bytes) -> Exchange:
    return [message(f.QUERY, sql + b"\0")]


def _extended(sql: bytes, format: int) -> Exchange:
    asked = f.describe(b"P", b"") + f.execute() + f.sync()
    return [_parse(b"", sql) + f.bind(b"", b"", result_formats=[format]) + asked]


def extended_text(sql: bytes) -> Exchange:
    return _extended(sql, 0)


def extended_binary(sql: bytes) -> Exchange:
    return _extended(sql, 1)


def prepared_twice(sql: bytes) -> Exchange:
    """A named statement, described, run twice, the second time in pieces of two rows."""
    name = f"a{next(_names)}".encode()
    first = _parse(name, sql) + f.describe(b"S", name) + f.bind(b"", name) + f.execute() + f.sync()
    again = (
        f.bind(b"p", name, result_formats=[1])
        + f.execute(b"p", 2)
        + f.execute(b"p", 2)
        + f.execute(b"p")
    )
    return [first, again + f.close(b"P", b"p") + f.sync(), f.close(b"S", name) + f.sync()]


def prepared_plainly(sql: bytes) -> Exchange:
    """A named statement run twice, as a driver would."""
    name = f"b{next(_names)}".encode()
    first = _parse(name, sql) + f.describe(b"S", name) + f.bind(b"", name) + f.execute() + f.sync()
    again = f.bind(b"", name, result_formats=[1]) + f.execute() + f.sync()
    return [first, again, f.close(b"S", name) + f.sync()]


def pipelined(sql: bytes) -> Exchange:
    """Behind a statement that is allowed, and before another."""
    allowed = f.parse(b"", b"SELECT name FROM people WHERE id = 1") + f.bind(b"", b"") + f.execute()
    behind = _parse(b"", sql) + f.bind(b"", b"") + f.describe(b"P", b"") + f.execute()
    return [allowed + behind + allowed + f.sync()]


#: Over ``/mcp``, by clients of its own (:mod:`mcp_client`), to which a Query is a tool call.
MCP = "mcp"
_ON_THE_WIRE: Mapping[str, Callable[[bytes], Exchange]] = {
    "simple": simple,
    "text": extended_text,
    "binary": extended_binary,
    "twice": prepared_twice,
    "pipelined": pipelined,
}
WAYS: Mapping[str, Callable[[bytes], Exchange]] = {**_ON_THE_WIRE, MCP: simple}

#: What drivers do, for statements that must work.
PLAIN_WAYS: Mapping[str, Callable[[bytes], Exchange]] = {
    **_ON_THE_WIRE,
    "twice": prepared_plainly,
}
