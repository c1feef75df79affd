# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
# cython: annotation_typing=False, infer_types=True
"""Events of plain traffic, written straight into a session's chunk
(:mod:`sallyport.audit.chunks`). Only ever used compiled (types in ``plain_record.pxd``).

Tags and fields are those of :mod:`sallyport.audit.events`; a test compares them.
"""

from __future__ import annotations

from typing import Any

from sallyport.audit.events import ANSWERED, COMPLETE, REPLY, STATEMENT, STATEMENT_ITEMS
from sallyport.server.plain_statement import PlainStatement
from sallyport.session.state import MOST_DESCRIBED

try:
    import cython
except ImportError:
    from sallyport.wire import interpreted as cython

if not cython.compiled:
    # C functions that plain_record.pxd imports; only ever called by compiled code.
    from sallyport.server.plain_parameters import put_parameters

    HEADER_BYTES: Any = None
    PyBytes_FromStringAndSize: Any = None
    now: Any = None
    put_array: Any = None
    put_bin: Any = None
    put_float64: Any = None
    put_raw: Any = None
    put_str: Any = None
    put_uint: Any = None

_STATEMENT: Any = STATEMENT
_STATEMENT_ITEMS: Any = STATEMENT_ITEMS
_REPLY: Any = REPLY
_COMPLETE: Any = COMPLETE
_ANSWERED: Any = ANSWERED
#: What is recorded in place of the tag that PortalSuspended has not.
_SUSPENDED_TAG = b"SUSPENDED"
_TOLD = MOST_DESCRIBED


def record_query(chunks: Any, number: int, text: bytes, statement: PlainStatement) -> Any:
    """A Statement event. Gives the event as the journal has it, None where that has none."""
    after = statement.after_in(chunks)
    start = chunks.reserve(4 * HEADER_BYTES + len(text) + len(after))
    p = put_uint(put_array(start, _STATEMENT_ITEMS), _STATEMENT)
    p = put_uint(put_float64(p, now()), number)
    p = put_str(p, _address(text), len(text))
    p = put_raw(p, _address(after), len(after))
    return _committed(chunks, start, p - start, len(after), statement)


def record_bundle(
    chunks: Any,
    number: int,
    text: bytes,
    statement: PlainStatement,
    src: Any,
    parameters: int,
    size: int,
) -> Any:
    """As :func:`record_query`, with bind values. ``src``: a Bind message of ``size`` bytes, whose
    parameters begin at ``parameters``.
    """
    before, after = statement.before, statement.after_in(chunks)
    # A parameter's length takes four bytes in the message, and its header at most five here; a
    # format two, and one here.
    start = chunks.reserve(7 * HEADER_BYTES + len(text) + len(before) + 2 * size + len(after))
    p = put_uint(put_array(start, _STATEMENT_ITEMS), _STATEMENT)
    p = put_uint(put_float64(p, now()), number)
    p = put_str(p, _address(text), len(text))
    p = put_raw(p, _address(before), len(before))
    p = put_parameters(p, src, parameters)
    p = put_raw(p, _address(after), len(after))
    return _committed(chunks, start, p - start, len(after), statement)


def _committed(chunks: Any, start: Any, size: int, after: int, statement: PlainStatement) -> Any:
    event = None
    if statement.changes:
        head = PyBytes_FromStringAndSize(cython.cast("const char *", start), size - after)
        event = head + statement.after
    chunks.commit(size, 1, 0, 0)
    return event


def record_answer(
    chunks: Any, number: int, started: float, src: Any, size: int, tag: int, rows: int
) -> int:
    """An Answered event. ``src``: what the client gets, which ends with CommandComplete; ``tag``:
    bytes of its tag, -1 for PortalSuspended.
    """
    start = chunks.reserve(7 * HEADER_BYTES + size + tag + len(_SUSPENDED_TAG))
    moment = now()
    p = put_uint(put_array(start, 7), _ANSWERED)
    p = put_uint(put_float64(p, moment), number)
    p = put_bin(p, src, size)
    p = _put_tag(p, src + (size - tag - 1), tag)
    p = put_uint(p, rows)
    p = put_float64(p, moment - started)
    return chunks.commit(p - start, 0, 0, rows)  # type: ignore[no-any-return]


def record_reply(chunks: Any, number: int, src: Any, size: int) -> int:
    """A Reply event: a part of an answer."""
    start = chunks.reserve(5 * HEADER_BYTES + size)
    p = put_uint(put_array(start, 4), _REPLY)
    p = put_uint(put_float64(p, now()), number)
    p = put_bin(p, src, size)
    return chunks.commit(p - start, 0, 0, 0)  # type: ignore[no-any-return]


def record_description(
    chunks: Any, told: dict[bytes, bytes], number: int, text: bytes, src: Any, size: int
) -> int:
    """The RowDescription at ``src`` as a Reply event, where it is new for its text. ``told``: as
    SessionState.described.
    """
    message = PyBytes_FromStringAndSize(cython.cast("const char *", src), size)
    if told.get(text) == message:
        return 0
    if len(told) >= _TOLD:
        told.clear()
    told[text] = message
    return record_reply(chunks, number, src, size)


def record_complete(chunks: Any, number: int, started: float, src: Any, tag: int, rows: int) -> int:
    """A Complete event. ``src``: the tag, of so many bytes, -1 for PortalSuspended. ``rows``: of
    the whole answer.
    """
    start = chunks.reserve(7 * HEADER_BYTES + tag + len(_SUSPENDED_TAG))
    moment = now()
    p = put_uint(put_array(start, 7), _COMPLETE)
    p = put_uint(put_float64(p, moment), number)
    p = _put_tag(p, src, tag)
    p = put_uint(p, rows)
    p = put_str(p, src, 0)
    p = put_float64(p, moment - started)
    return chunks.commit(p - start, 0, 0, rows)  # type: ignore[no-any-return]


def _put_tag(out: Any, src: Any, size: int) -> Any:
    if size >= 0:
        return put_str(out, src, size)
    return put_str(out, _address(_SUSPENDED_TAG), len(_SUSPENDED_TAG))


def _address(value: bytes) -> Any:
    return value
