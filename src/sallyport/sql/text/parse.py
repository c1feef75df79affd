"""SQL text to PostgreSQL's own raw parse tree; the only importer of the SQL parser.

:func:`parse` calls libpg_query (PostgreSQL's grammar, bundled in the ``postgast`` wheel) through
ctypes and decodes its JSON. It promises never to crash the process and never to raise anything but
:class:`RefusedError`:

- SP1105 when the text is longer than the bound, its tree would be larger than the bound, or is
  deeper than :data:`MAX_DEPTH`;
- SP1101 with PostgreSQL's own message and position for a syntax error, NUL bytes and invalid UTF-8.

The grammar's left recursion is limited only by memory, and writing the tree out recurses once per
level: a chain of some 65,000 operators overflows an 8 MB stack and kills the process. Texts above
:data:`SMALL` bytes are therefore parsed on one thread that has a stack larger than the longest
accepted text can use (measured: at most 128 bytes of stack per byte of text; see tests/sql).

Runs of operator characters, which the scanner reads in quadratic time, are refused before it sees
them. So is what would make a large tree: the tree is written with one copy of ``SET (a, b, ...) =
(...)``'s source per column, so that a few kilobytes could become more than the library can hold,
upon which it ends the process. :func:`sallyport.wire.scan.outline` counts before anything is
parsed.

For a verdict (:func:`parse_counted`) long lists of constants are parsed as short ones: rows of
VALUES and constants in IN and ARRAY lists that repeat what two others show are spaces to the
grammar, see there; so are parameters behind the 32nd of a list that are used nowhere else. Offsets
stay what they are. What the server gets is always the text itself.

The library assumes ``standard_conforming_strings=on`` and UTF-8; the gateway pins both.
"""

from __future__ import annotations

import ctypes
import importlib.util
import operator
import os
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from sallyport.core.errors import RefusedError, refuse
from sallyport.core.interpreter import without_collecting
from sallyport.wire.scan import nesting, outline, runs

#: Bytes of text accepted when the caller does not say, and at most.
DEFAULT_LENGTH: Final = 1 << 20
MAX_LENGTH: Final = 2 << 20
#: Texts up to this many bytes are parsed on the caller's thread.
SMALL: Final = 8192
#: Trees of so many bytes of JSON are some thousand objects.
_LARGE_TREE: Final = 1 << 18
#: Tokens of a text that is judged, repeated rows and constants not counted. What takes 50 ms to
#: judge has more.
MAX_TOKENS: Final = 16_000
#: Statements of a script that are judged one by one.
MAX_STATEMENTS: Final = 2_000
#: Tokens of any text. The tree of as many takes some 50 MB.
_MAX_WHOLE: Final = 500_000
#: Levels of JSON objects and arrays accepted; an operator costs two, a parenthesised subquery about
#: eight.
MAX_DEPTH: Final = 480
_STACK: Final = 512 << 20

Node = dict[str, Any]


@dataclass(frozen=True, slots=True)
class RawStatement:
    """One statement of a script. ``start``/``end``: byte offsets in the script, without the
    semicolon.
    """

    node: Node
    start: int
    end: int


class _Error(ctypes.Structure):
    _fields_ = (
        ("message", ctypes.c_char_p),
        ("funcname", ctypes.c_char_p),
        ("filename", ctypes.c_char_p),
        ("lineno", ctypes.c_int),
        ("cursorpos", ctypes.c_int),
        ("context", ctypes.c_char_p),
    )


class _Result(ctypes.Structure):
    _fields_ = (
        ("parse_tree", ctypes.c_char_p),
        ("stderr_buffer", ctypes.c_char_p),
        ("error", ctypes.POINTER(_Error)),
    )


def _load() -> ctypes.CDLL:
    spec = importlib.util.find_spec("postgast")  # finds without importing: the import costs 0.3 s
    for location in (spec.submodule_search_locations or ()) if spec is not None else ():
        for path in sorted(Path(location).glob("libpg_query.*")):
            if path.suffix in (".so", ".dylib", ".dll"):
                library = ctypes.CDLL(str(path))
                library.pg_query_parse.argtypes = [ctypes.c_char_p]
                library.pg_query_parse.restype = _Result
                library.pg_query_free_parse_result.argtypes = [_Result]
                library.pg_query_free_parse_result.restype = None
                return library
    raise ImportError(
        "the SQL parser library (libpg_query) is missing: install the 'postgast' wheel"
    )


_library = _load()


def query_library() -> ctypes.CDLL:
    """libpg_query, for other readers of SQL text in this package."""
    return _library


_decode: Callable[[bytes], Any] = msgspec.json.Decoder().decode


def _call(sql: bytes) -> tuple[bytes, str, int]:
    """The JSON tree, or a syntax error's message and cursor position (1-based, in characters)."""
    result = _library.pg_query_parse(sql)
    try:
        if result.error:
            error = result.error.contents
            return (
                b"",
                (error.message or b"syntax error").decode("utf-8", "replace"),
                int(error.cursorpos),
            )
        return bytes(result.parse_tree or b""), "", 0
    finally:
        _library.pg_query_free_parse_result(result)


class _BigStack:
    """One thread with a stack of :data:`_STACK` bytes (reserved, not touched), started when first
    needed.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._jobs: queue.SimpleQueue[tuple[bytes, Future[tuple[bytes, str, int]]]] | None = None

    def _run(self, jobs: queue.SimpleQueue[tuple[bytes, Future[tuple[bytes, str, int]]]]) -> None:
        while True:
            sql, future = jobs.get()
            try:
                future.set_result(_call(sql))
            except Exception as error:  # noqa: BLE001  handed to the waiting caller, not swallowed
                future.set_exception(error)

    def call(self, sql: bytes) -> tuple[bytes, str, int]:
        with self._lock:
            if self._jobs is None:
                jobs: queue.SimpleQueue[tuple[bytes, Future[tuple[bytes, str, int]]]] = (
                    queue.SimpleQueue()
                )
                before = threading.stack_size(_STACK)
                try:
                    threading.Thread(
                        target=self._run, args=(jobs,), name="sql-parser", daemon=True
                    ).start()
                finally:
                    threading.stack_size(before)
                self._jobs = jobs
            future: Future[tuple[bytes, str, int]] = Future()
            self._jobs.put((sql, future))
        return future.result()


_big_stack = _BigStack()


def _after_fork() -> None:
    """A forked worker has none of its parent's threads."""
    global _big_stack
    _big_stack = _BigStack()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def too_deep() -> RefusedError:
    """The refusal of a statement that is nested deeper than the parser may go."""
    return RefusedError(
        refuse(
            "SP1105",
            "the statement is nested too deeply",
            f"Expressions and subqueries can be nested about {MAX_DEPTH // 2} levels deep.",
            "Split the statement, or write long chains as IN (...) or VALUES lists.",
        )
    )


def too_large() -> RefusedError:
    """The refusal of a statement whose text is longer than is read."""
    return RefusedError(
        refuse(
            "SP1105",
            "the statement is too large to be judged",
            f"The limit is about {MAX_TOKENS} tokens. Rows of VALUES and lists of constants that "
            "repeat do not count.",
            "Send data with COPY or as one array parameter (= ANY ($1)), or split the script.",
        )
    )


def too_many() -> RefusedError:
    """The refusal of a text with more statements than are read."""
    return RefusedError(
        refuse(
            "SP1105",
            f"the script has more than {MAX_STATEMENTS} different statements",
            hint="Split the script.",
        )
    )


#: The scanner reads a run of operator characters to its end for every token it takes from it
#: ("/*/*/*", "+-+-"): quadratic, and a megabyte would take minutes. Banners in comments, which
#: repeat one character, are harmless.
_RUN = 129
_CHANGES = 8


def is_slow_to_scan(sql: bytes) -> bool:
    """Whether PostgreSQL's scanner must not see the text: it is too long, or has such a run."""
    return len(sql) > MAX_LENGTH or any(
        b"+" * 64 in part or sum(map(operator.ne, part, part[1:])) > _CHANGES
        for run in runs(sql, _RUN)
        for part in (run[:1024], run)  # the beginning mostly tells
    )


def _check_text(sql: bytes, max_length: int) -> None:
    limit = min(max_length, MAX_LENGTH)
    if len(sql) > limit:
        raise RefusedError(
            refuse(
                "SP1105",
                f"the statement is too long: {len(sql)} bytes, the limit is {limit}",
                hint="Send data with COPY or as parameters ($1, $2, ...), or split the script.",
            )
        )
    if is_slow_to_scan(sql):
        raise RefusedError(
            refuse(
                "SP1105",
                "the statement contains a run of more than 128 operator characters",
                hint="Put spaces between them. Pass a literal with such a run as a parameter ($1).",
            )
        )
    if b"\0" in sql:
        raise RefusedError(refuse("SP1101", "the statement contains a NUL byte"))
    try:
        sql.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RefusedError(
            refuse("SP1101", f"invalid byte sequence for encoding UTF8 at byte {error.start}")
        ) from None


def parse(sql: bytes, max_length: int = DEFAULT_LENGTH) -> list[RawStatement]:
    """The statements of a script, in order; [] when it holds none. Raises RefusedError (SP1101,
    SP1105).
    """
    _check_text(sql, max_length)
    if outline(sql, _MAX_WHOLE, False)[0] > _MAX_WHOLE:
        raise too_large()
    return _statements(sql, sql)


@dataclass(frozen=True, slots=True)
class CountedScript:
    """A script whose lists are shortened. ``tokens``: that were parsed. ``meant``: what stands for
    the parameters that were not, as :func:`sallyport.wire.scan.outline` gives it.
    """

    statements: list[RawStatement]
    tokens: int
    meant: bytes


def parse_counted(sql: bytes, max_length: int = DEFAULT_LENGTH) -> CountedScript:
    """The same for a verdict: smaller bounds, and lists of constants and parameters shortened (see
    the module).
    """
    _check_text(sql, max_length)
    tokens, plain, _, meant = outline(sql, MAX_TOKENS, True)
    if tokens > MAX_TOKENS:
        raise too_large()
    statements = _statements(sql, plain)
    if len(statements) > MAX_STATEMENTS:
        raise too_many()
    return CountedScript(statements, tokens, meant)


def may_parse(sql: bytes) -> bool:
    """Whether the library may be given the text on the caller's thread."""
    if len(sql) > SMALL:
        return False
    try:
        _check_text(sql, SMALL)
    except RefusedError:
        return False
    return outline(sql, MAX_TOKENS, False)[0] <= MAX_TOKENS


def _statements(sql: bytes, plain: bytes) -> list[RawStatement]:
    return [_raw(sql, item) for item in _tree(plain).get("stmts", ())]


def _tree(sql: bytes) -> Node:
    text, message, position = _call(sql) if len(sql) <= SMALL else _big_stack.call(sql)
    if message:
        code = "SP1105" if "memory exhausted" in message or "stack depth" in message else "SP1101"
        raise RefusedError(refuse(code, message, position=max(position, 0)))
    if nesting(text) > MAX_DEPTH:
        raise too_deep()
    try:
        with without_collecting() if len(text) >= _LARGE_TREE else nullcontext():
            tree: Node = _decode(text)
    except RecursionError:
        raise too_deep() from None
    except msgspec.DecodeError:
        raise RefusedError(refuse("SP1102", "cannot read the statement's parse tree")) from None
    return tree


#: What may stand around a statement: white space, and behind it the semicolon.
_SPACE = b" \t\r\n\f\v"


def _raw(sql: bytes, item: Node) -> RawStatement:
    start = item.get("stmt_location", 0)
    length = item.get("stmt_len", 0)
    text = sql[start : start + length if length else len(sql)].rstrip(_SPACE + b";")
    end = start + len(text)
    return RawStatement(item.get("stmt", {}), end - len(text.lstrip(_SPACE)), end)
