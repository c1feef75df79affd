"""How what came back is judged: bytes that must be equal, once what differs by nature is
taken out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from sallyport.wire import backend
from tests.attacks.client import messages

_DATABASE = re.compile(rb"(attack|build)db\d")
_SESSION = re.compile(rb"ses_[0-9A-Za-z]{10,40}")
_RUNTIME = re.compile(
    rb"((?:actual time|Planning Time|Execution Time|time=|\"Actual (?:Startup|Total)"
    rb" Time\":|\"(?:Planning|Execution) Time\":)\D{0,3})[\d.]+(?:\.\.[\d.]+)?"
)
#: Says which request waits, and until when.
_REQUEST = re.compile(rb"apr_[0-9a-z]{10,40}")
_PROCESS = re.compile(rb"(process |PID )\d+", re.IGNORECASE)


def normalise(data: bytes, late_oid: int = 1 << 32) -> bytes:
    """Without process ids, cancel keys, session ids, the world's name, times of EXPLAIN ANALYZE,
    and OIDs of tables from ``late_oid`` on: they were made after the worlds were.
    """
    parts = []
    for kind, body in messages(data):
        if kind == backend.NOTICE_RESPONSE and _REQUEST.search(body):
            body = b"waits"
        if kind == backend.BACKEND_KEY_DATA:
            body = b"key"
        elif kind == backend.NOTIFICATION_RESPONSE:
            body = body[4:]
        elif kind == backend.ROW_DESCRIPTION:
            fields = backend.parse_row_description(body)
            if any(field.table_oid >= late_oid for field in fields):
                body = repr(
                    [field._replace(table_oid=min(field.table_oid, late_oid)) for field in fields]
                ).encode()
        parts.append(bytes([kind]) + body)
    joined = b"\n".join(parts)
    joined = _DATABASE.sub(rb"\1db#", joined)
    joined = _SESSION.sub(b"ses_#", joined)
    joined = _RUNTIME.sub(rb"\1#", joined)
    return _PROCESS.sub(rb"\1#", joined)


def without_requests(data: bytes) -> bytes:
    """Without the ids of requests for approval, in which anything may stand."""
    return _REQUEST.sub(b"apr_", data)


def without_origins(data: bytes) -> bytes:
    """Without what masks at the scan change of an answer that shows the same: notices that say
    which masks were computed with, and the table and number that RowDescription gives for a column.
    """
    kept = bytearray()
    for kind, body in messages(data):
        if kind == backend.NOTICE_RESPONSE and b"[SP2001]" in body:
            continue
        if kind == backend.ROW_DESCRIPTION:
            body = _unplaced(body)
        kept += bytes([kind]) + (len(body) + 4).to_bytes(4, "big") + body
    return bytes(kept)


def _unplaced(body: bytes) -> bytes:
    """A RowDescription whose columns come from no table."""
    out, at = bytearray(body), 2
    for field in backend.parse_row_description(body):
        at += len(field.name.encode()) + 1
        out[at : at + 6] = bytes(6)
        at += 18
    return bytes(out)


def difference(left: bytes, right: bytes) -> str:
    """Where two answers part, shown; empty when they are equal."""
    if left == right:
        return ""
    at = next(
        (i for i, (a, b) in enumerate(zip(left, right, strict=False)) if a != b),
        min(len(left), len(right)),
    )
    start = max(0, at - 60)
    return f"{left[start : at + 60]!r} <> {right[start : at + 60]!r}"


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
    """Codes of the gateway's refusals: of errors, as its notices have codes too."""
    errors = (body for kind, body in messages(data) if kind == backend.ERROR_RESPONSE)
    return [
        code for body in errors for code in re.findall(r"\[(SP\d{4})\]", body.decode("latin-1"))
    ]


def tags(data: bytes) -> list[str]:
    return [
        body[:-1].decode(errors="replace")
        for kind, body in messages(data)
        if kind == backend.COMMAND_COMPLETE
    ]


_WRITING = re.compile(
    rb"\b(insert|update|delete|merge|truncate|copy|call|do|create|alter|drop|comment"
    rb"|select\s.*into|execute|refresh|grant|revoke|lo_|rename|nextval|setval|prepare|security|import"
    rb"|reassign|vacuum|cluster|reindex|lock)",
    re.IGNORECASE | re.DOTALL,
)


def may_have_changed(sql: bytes, answer: bytes) -> bool:
    """Whether anything may have been written: something completed, and the text has a word
    for it.
    """
    return bool(tags(answer)) and _WRITING.search(sql) is not None


def cells(data: bytes) -> Sequence[tuple[list[str], list[bytes | None]]]:
    """Column names and values of every row."""
    names: list[str] = []
    rows = []
    for kind, body in messages(data):
        if kind == backend.ROW_DESCRIPTION:
            names = [field.name for field in backend.parse_row_description(body)]
        elif kind == backend.BIND_COMPLETE:
            names = []  # rows of a portal that nobody described
        elif kind == backend.DATA_ROW:
            values: list[bytes | None] = []
            pos = 2
            for _ in range(int.from_bytes(body[:2], "big")):
                size = int.from_bytes(body[pos : pos + 4], "big", signed=True)
                pos += 4
                values.append(None if size < 0 else body[pos : pos + size])
                pos += max(size, 0)
            rows.append((names or ["?"] * len(values), values))
    return rows


def sqlstates(data: bytes) -> list[str]:
    return [
        backend.parse_error_fields(body)["C"]
        for kind, body in messages(data)
        if kind == backend.ERROR_RESPONSE
    ]


def masked_difference(
    unmasked: bytes, answer: bytes, masked: Sequence[str], shown: Sequence[bytes | None]
) -> str:
    """Where two answers differ, when columns named in ``masked`` must hold one of ``shown`` instead
    of the value; ``name*``: anything, as it is computed from masks.
    """
    kinds = [[kind for kind, _ in messages(reply)] for reply in (unmasked, answer)]
    if kinds[0] != kinds[1]:
        return f"{summary(unmasked)} <> {summary(answer)}"
    for (names, real), (_, got) in zip(cells(unmasked), cells(answer), strict=True):
        for name, value, cell in zip(names, real, got, strict=True):
            if name == "?" and cell in shown:
                continue
            if f"{name}*" in masked or (
                name == "?" and cell != value and any("*" in mask for mask in masked)
            ):
                continue
            if name in masked and cell not in shown:
                return f"{name} is not masked"
            if name not in masked and value != cell:
                return f"{name}: {value!r} <> {cell!r}"
    return ""


def without_errors(data: bytes) -> bytes:
    """Without ErrorResponse and NoticeResponse."""
    kept = [
        (kind, body)
        for kind, body in messages(data)
        if kind not in (backend.ERROR_RESPONSE, backend.NOTICE_RESPONSE)
    ]
    return b"".join(
        bytes([kind]) + (len(body) + 4).to_bytes(4, "big") + body for kind, body in kept
    )
