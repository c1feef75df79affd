"""How what came back is judged: bytes that must be equal, once what differs by nature is taken out."""

from __future__ import annotations

import re
from collections.abc import Sequence

from sallyport.wire import backend
from tests.attacks.client import messages

_DATABASE = re.compile(rb"(attack|build)db\d")
_SESSION = re.compile(rb"ses_[0-9A-Za-z]{10,40}")
_RUNTIME = re.compile(
    rb"((?:actual time|Planning Time|Execution Time|time=|\"Actual (?:Startup|Total) Time\":|\"(?:Planning|Execution) Time\":)\D{0,3})[\d.]+(?:\.\.[\d.]+)?"
)
_PROCESS = re.compile(rb"(process |PID )\d+", re.IGNORECASE)


def normalise(data: bytes, late_oid: int = 1 << 32) -> bytes:
    """Without process ids, cancel keys, session ids, the world's name, times of EXPLAIN ANALYZE, and OIDs of tables from
    ``late_oid`` on: they were made after the worlds were.
    """
    parts = []
    for kind, body in messages(data):
        if kind == backend.BACKEND_KEY_DATA:
            body = b"key"
        elif kind == backend.NOTIFICATION_RESPONSE:
            body = body[4:]
        elif kind == backend.ROW_DESCRIPTION:
            fields = backend.parse_row_description(body)
            if any(one.table_oid >= late_oid for one in fields):
                body = repr([one._replace(table_oid=min(one.table_oid, late_oid)) for one in fields]).encode()
        parts.append(bytes([kind]) + body)
    joined = b"\n".join(parts)
    joined = _DATABASE.sub(rb"\1db#", joined)
    joined = _SESSION.sub(b"ses_#", joined)
    joined = _RUNTIME.sub(rb"\1#", joined)
    return _PROCESS.sub(rb"\1#", joined)


def difference(one: bytes, other: bytes) -> str:
    """Where two answers part, shown; empty when they are equal."""
    if one == other:
        return ""
    at = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    start = max(0, at - 60)
    return f"{one[start : at + 60]!r} <> {other[start : at + 60]!r}"


def summary(data: bytes) -> str:
    """What an answer was, in few words: the refusals and errors in it, or its completions."""
    words = []
    for kind, body in messages(data):
        if kind == backend.ERROR_RESPONSE:
            fields = backend.parse_error_fields(body)
            words.append(f"{fields.get('C')} {fields.get('M', '')[:160]}")
        elif kind == backend.COMMAND_COMPLETE:
            words.append(body[:-1].decode(errors="replace"))
        elif kind == 0:
            words.append(f"{len(body)} bytes that are no message")
    return "; ".join(words) or "nothing"


def refusals(data: bytes) -> list[str]:
    """Codes of the gateway's refusals."""
    return re.findall(r"\[(SP\d{4})\]", data.decode("latin-1"))


def tags(data: bytes) -> list[str]:
    return [body[:-1].decode(errors="replace") for kind, body in messages(data) if kind == backend.COMMAND_COMPLETE]


_READING = ("SELECT", "FETCH", "SHOW", "MOVE", "BEGIN", "DECLARE", "CLOSE", "PREPARE", "DEALLOCATE", "SAVEPOINT", "RELEASE", "SET", "RESET")


def changed(data: bytes) -> bool:
    """Whether anything may have been written: a command completed that does not only read."""
    return any(not tag.startswith(_READING) for tag in tags(data)) or "SELECT INTO" in tags(data)


def cells(data: bytes) -> Sequence[tuple[list[str], list[bytes | None]]]:
    """Column names and values of every row."""
    names: list[str] = []
    rows = []
    for kind, body in messages(data):
        if kind == backend.ROW_DESCRIPTION:
            names = [one.name for one in backend.parse_row_description(body)]
        elif kind == backend.DATA_ROW:
            values: list[bytes | None] = []
            pos = 2
            for _ in range(int.from_bytes(body[:2], "big")):
                size = int.from_bytes(body[pos : pos + 4], "big", signed=True)
                pos += 4
                values.append(None if size < 0 else body[pos : pos + size])
                pos += max(size, 0)
            rows.append((names, values))
    return rows
