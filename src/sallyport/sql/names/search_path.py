"""The search_path setting: text to schema names and back.

The only reader of such a text: what a client sets, what the server reports, what policy lists and
what the catalog says of the role's own path are compared with each other, so one rule must split
them all.
"""

from __future__ import annotations

import re
from typing import Final

from sallyport.sql.text.identifiers import quoted

_SPACE: Final = " \t\n\r\f\v"
_NAME: Final = re.compile(rf'"((?:[^"]|"")*)"|([^",{_SPACE}][^,{_SPACE}]*)')
_PLAIN = re.compile(r"[a-z_][a-z0-9_]*", re.ASCII).fullmatch
#: NAMEDATALEN - 1: longer names are cut there, at a character's boundary (truncate_identifier).
_BYTES: Final = 63


def split_search_path(text: str) -> tuple[str, ...] | None:
    """The names as PostgreSQL reads them (SplitIdentifierString in
    src/backend/utils/adt/varlena.c), None for malformed text.

    Unquoted names fold to lower case (ASCII only, as in a UTF-8 database), quoted ones keep theirs,
    both are cut at 63 bytes; ``"$user"`` stays ``$user``. Blank text is an empty path.
    """
    rest = text.strip(_SPACE)
    names: list[str] = []
    if not rest:
        return ()
    position = 0
    while True:
        match = _NAME.match(rest, position)
        if match is None:
            return None
        quoted, plain = match.groups()
        name = quoted.replace('""', '"') if plain is None else _fold(plain)
        names.append(name.encode()[:_BYTES].decode(errors="ignore"))
        position = match.end()
        while position < len(rest) and rest[position] in _SPACE:
            position += 1
        if position == len(rest):
            return tuple(names)
        if rest[position] != ",":
            return None
        position += 1
        while position < len(rest) and rest[position] in _SPACE:
            position += 1


def _fold(name: str) -> str:
    return "".join(c.lower() if c.isascii() else c for c in name)


def format_search_path(path: tuple[str, ...]) -> str:
    """The setting's text for these names, quoted where PostgreSQL would: what
    :func:`split_search_path` reads back.
    """
    return ", ".join(name if _PLAIN(name) else quoted(name) for name in path)
