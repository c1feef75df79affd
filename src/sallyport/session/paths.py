"""The search_path setting as text."""

from __future__ import annotations

import re

_PLAIN = re.compile(r"[a-z_][a-z0-9_]*", re.ASCII).fullmatch


def parse_search_path(value: str) -> tuple[str, ...]:
    """Split a search_path setting into names, as PostgreSQL's SplitIdentifierString (varlena.c) does."""
    names: list[str] = []
    position, size = 0, len(value)
    while position < size:
        if value[position] in ", \t\n\r\f\v":
            position += 1
            continue
        if value[position] == '"':
            end = position + 1
            name = ""
            while end < size:
                if value[end] == '"':
                    if value[end + 1 : end + 2] != '"':
                        break
                    end += 1
                name += value[end]
                end += 1
            names.append(name)
            position = end + 1
            continue
        end = position
        while end < size and value[end] not in ", \t\n\r\f\v":
            end += 1
        names.append(value[position:end].lower())
        position = end
    return tuple(names)


def format_search_path(path: tuple[str, ...]) -> str:
    """The setting's text for these names, quoted where PostgreSQL would: what :func:`parse_search_path` reads back."""
    return ", ".join(name if _PLAIN(name) else '"' + name.replace('"', '""') + '"' for name in path)
