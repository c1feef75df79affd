"""Statements that differ only in their literals, as one: the key of a second verdict cache.

Clients that put values into the text (``... WHERE id = 42``, ``... WHERE id = 43``) would miss a
cache by exact text every time. A text whose numbers and plain strings are replaced by parameters is
judged instead: a parameter says less than a literal does, and the judge only allows what it
understands, so what is allowed for every value is allowed for this one. Where a literal's *value*
means something (``ORDER BY 1``, ``interval '1 day'``, ``varchar(10)``, ``set_config('role',
...)``), the text with parameters is not the same statement, does not parse, or is refused: then
there is no template, and the exact text is judged.

Reading a text wrongly here would let one statement pass for another, so anything that is not plain
is not touched: comments, backslashes, dollar signs, prefixed strings, characters outside ASCII.

Source: PostgreSQL documentation, section 4.1 "Lexical Structure"; src/backend/parser/scan.l.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator

from sallyport.sql.rewrite.cuts import Cut, Rewritten
from sallyport.sql.text.tokens import Tokens
from sallyport.wire.scan import literals

#: Texts longer than this, or with more literals, are judged as they are: long lists of values would
#: make long keys, of which each is seen once.
MAX_BYTES = 6_000
_MAX_LITERALS = 200

# Tokens of a text that `literals` found plain; whatever is between them stays.
_TOKEN = re.compile(rb"""\"[^\"]*\"|'(?:[^']|'')*'|[A-Za-z_][A-Za-z0-9_]*|\d+(?:\.\d+)?""")

_PARAMETER = re.compile(rb"\$(\d+)")

#: A parameter in a condition that was moved or typed (sallyport.sql.rewrite.conditions).
_CAST = re.compile(rb"\(\$(\d+)::")


def key(sql: bytes) -> bytes | None:
    """What stays the same when literals change, or None when the text is not plain enough.
    Injective but for the literals.

    A number is ``$`` in it, a string ``'$``.
    """
    text = literals(sql, MAX_BYTES)
    return text if text is None or text.count(b"$") <= _MAX_LITERALS else None


def with_parameters(key: bytes) -> bytes:
    """The text with ``$1``, ``$2``, ... for its literals, from its :func:`key`."""
    *parts, end = key.split(b"$")
    return (
        b"".join([b"%s$%d" % (part.removesuffix(b"'"), n) for n, part in enumerate(parts, 1)]) + end
    )


def pieces(rewritten: Rewritten) -> tuple[bytes | int, ...]:
    """What became of a text with parameters, in pieces: what stays, and the numbers of parameters
    (from 0).
    """
    parts: list[bytes | int] = []
    text = b""
    for part in _parts(rewritten):
        if isinstance(part, int):
            parts += [text, part]
            text = b""
        else:
            text += part
    return (*parts, text)


def _parts(rewritten: Rewritten) -> Iterator[bytes | int]:
    position = 0
    for cut in rewritten.cuts:
        yield from _parts_of_plain(rewritten.original[position : cut.start])
        yield from _parts_of_cut(cut.text)
        position = cut.end
    yield from _parts_of_plain(rewritten.original[position:])


def _parts_of_plain(text: bytes) -> Iterator[bytes | int]:
    """Of a text with parameters, in which a dollar sign is nothing else."""
    for number, part in enumerate(_PARAMETER.split(text)):
        yield int(part) - 1 if number % 2 else part


def _parts_of_cut(text: bytes) -> Iterator[bytes | int]:
    """Of other text, in which dollar signs may stand in literals and names."""
    position = 0
    if _PARAMETER.search(text):  # or the tokens need not be known
        tokens = Tokens(text)
        for start, end in zip(tokens.starts, tokens.ends, strict=True):
            parameter = _PARAMETER.fullmatch(text, start, end)
            if parameter is not None:
                yield text[position:start]
                yield int(parameter[1]) - 1
                position = end
    yield text[position:]


def filled(parts: Iterable[bytes | int], sql: bytes) -> bytes:
    """The pieces with the literals of ``sql`` in their places."""
    values = _values(sql)
    return b"".join([part if isinstance(part, bytes) else values[part] for part in parts])


def converts_numbers(texts: Iterable[bytes], sql: bytes) -> bool:
    """Whether ``texts``, made of :func:`with_parameters`, cast a parameter that is a number in
    ``sql``: 2.4 cast to integer is another.
    """
    numbers = [int(number) for text in texts for number in _CAST.findall(text)]
    values = _values(sql) if numbers else []
    return any(values[number - 1][:1].isdigit() for number in numbers)


def tokens(sql: bytes) -> Iterator[re.Match[bytes]]:
    """Names, keywords and literals of a text that has a :func:`key`, in order."""
    return _TOKEN.finditer(sql)


def _values(sql: bytes) -> list[bytes]:
    return [token for token in _TOKEN.findall(sql) if not is_name(token)]


def cuts_in(sql: bytes, cuts: Iterable[Cut]) -> list[Cut]:
    """Cuts in the text that :func:`with_parameters` gives, as cuts in ``sql``."""
    starts, shifts, values = [0], [0], []
    shift = 0
    for match in _TOKEN.finditer(sql):
        if not is_name(match.group()):
            values.append(match.group())
            shift += len(match.group()) - len(b"$%d" % len(values))
            starts.append(match.end() - shift)
            shifts.append(shift)

    def moved(offset: int) -> int:
        return offset + shifts[bisect_right(starts, offset) - 1]

    return [
        Cut(moved(cut.start), moved(cut.end), filled(_parts_of_cut(cut.text), sql)) for cut in cuts
    ]


def is_name(token: bytes) -> bool:
    """Whether a token of :func:`tokens` is no literal."""
    return token[:1].isalpha() or token[:1] in (b'"', b"_")
