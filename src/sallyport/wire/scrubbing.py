"""Errors and notices of the server without what could quote masked values (error fields: protocol
section 54.8), or with another cursor position.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Final

from sallyport.wire import backend
from sallyport.wire.sqlstate import CONDITIONS, condition_words

_SEVERITIES: Final = frozenset(
    ["ERROR", "FATAL", "PANIC", "WARNING", "NOTICE", "DEBUG", "INFO", "LOG"],
)
WITHHELD: Final = "(message withheld: it may quote masked data)"
#: What drivers look for, to prepare a statement again, by the routine that says it and nothing else
#: (plancache.c): before anything of the statement ran.
_CACHED_PLAN: Final = {"M": "cached plan must not change result type", "R": "RevalidateCachedQuery"}


def with_position(message: bytes, moved: Callable[[int], int]) -> bytes:
    """An ErrorResponse or NoticeResponse with another cursor position. ``moved``: from the old to
    the new one, in characters.
    """
    fields = backend.parse_error_fields(message[5:])
    position = fields.get("P", "")
    if position.isascii() and position.isdigit() and len(position) <= 10:
        fields["P"] = str(moved(int(position)))
    body = backend.error_body(fields)
    return message[:1] + (len(body) + 4).to_bytes(4, "big") + body


def scrub_error(body: bytes, names: Container[str] | None = None) -> bytes:
    """An ErrorResponse or NoticeResponse body without anything that could quote data.

    Kept: severity, SQLSTATE, cursor position, and the names of schema, table, column, type and
    constraint; and what says that a cached plan does not fit any more. The message becomes the
    condition's name; DETAIL, HINT, CONTEXT, internal query, file, line, routine and every field
    type this version does not know are dropped. What is kept is checked to be what it claims,
    because RAISE can put any text into SQLSTATE and the name fields: an unlisted SQLSTATE becomes
    P0001 (raise_exception), an odd severity or position goes, and where ``names`` is given only
    identifiers in it stay. Raises ProtocolError when malformed.
    """
    fields = backend.parse_error_fields(body)
    plain = fields.get("V", "")
    if plain not in _SEVERITIES:
        plain = "ERROR"
    code = fields.get("C", "")
    if code not in CONDITIONS:
        code = "P0001"
    kept = {"S": plain, "V": plain, "C": code, "M": f"{condition_words(code)} {WITHHELD}"}
    if code == "0A000" and fields.get("R") == _CACHED_PLAN["R"]:
        kept |= _CACHED_PLAN
    position = fields.get("P", "")
    if position.isascii() and position.isdigit() and len(position) <= 10:
        kept["P"] = position
    for kind in "stcdn":
        value = fields.get(kind)
        if value is not None and (names is None or value in names):
            kept[kind] = value
    return backend.error_body(kept)
