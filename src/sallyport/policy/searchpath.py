"""Values of ``search_path``, split as PostgreSQL does (SplitIdentifierString in
src/backend/utils/adt/varlena.c).
"""

from __future__ import annotations

import re

_NAME = re.compile(r'\s*(?:"((?:[^"]|"")+)"|([^\s",][^\s",]*))\s*')


def split_search_path(text: str) -> tuple[str, ...]:
    """Schema names of a search_path value: unquoted ones folded to lower case, quoted ones as they are. ()
    when it is malformed.
    """
    names: list[str] = []
    at = 0
    while True:
        match = _NAME.match(text, at)
        if match is None:
            return ()
        quoted, plain = match.groups()
        names.append(quoted.replace('""', '"') if quoted is not None else plain.lower())
        at = match.end()
        if at == len(text):
            return tuple(names)
        if text[at] != ",":
            return ()
        at += 1
