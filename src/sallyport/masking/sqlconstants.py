"""String constants in SQL, and what the masks ``redact`` and ``constant`` write into them.

A constant that PostgreSQL could not store would fail in each statement that names the column: it is
checked here, and is None (NULL) if in doubt.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from sallyport.masking.maskers import Family, encode_constant
from sallyport.wire import frames, values

#: Python's codecs of the server encodings with one byte a character (pg_wchar.h, PG_LATIN1 and on).
SINGLE_BYTE: Final = {
    "LATIN1": "iso8859-1",
    "LATIN2": "iso8859-2",
    "LATIN3": "iso8859-3",
    "LATIN4": "iso8859-4",
    "LATIN5": "iso8859-9",
    "LATIN6": "iso8859-10",
    "LATIN7": "iso8859-13",
    "LATIN8": "iso8859-14",
    "LATIN9": "iso8859-15",
    "LATIN10": "iso8859-16",
    "ISO_8859_5": "iso8859-5",
    "ISO_8859_6": "iso8859-6",
    "ISO_8859_7": "iso8859-7",
    "ISO_8859_8": "iso8859-8",
    "KOI8R": "koi8-r",
    "KOI8U": "koi8-u",
    "WIN866": "cp866",
    "WIN874": "cp874",
    **{f"WIN{number}": f"cp{number}" for number in range(1250, 1259)},
}

_MAX_NAME: Final = 63  # bytes
# Days and microseconds since 2000-01-01 (datatype/timestamp.h); the end is excluded.
_DAYS: Final = range(-2_451_545, 2_145_031_949)
_MICROSECONDS: Final = range(-211_813_488_000_000_000, 9_223_371_331_200_000_000)


def literal(text: str) -> str:
    """A string constant that means the same whatever standard_conforming_strings says."""
    doubled = text.replace("'", "''")
    return "E'" + doubled.replace("\\", "\\\\") + "'" if "\\" in text else f"'{doubled}'"


def redacted(family: Family) -> str | None:
    """What ``redact`` shows of a type of this family, as text; None for NULL."""
    text = frames.REDACTED.decode()
    if family is Family.TEXT:
        return text
    return f'"{text}"' if family in (Family.JSON, Family.JSONB) else None


def constant(text: str, base: int, family: Family, size: int, encoding: str) -> str | None:
    """What the input function of type ``base`` reads as this constant, whatever the settings.

    ``size``: of the type's binary form, in bytes. None if it is not a value of the type, or a
    server with this ``encoding`` cannot store it.
    """
    native = encode_constant(text, family, size, False)
    if native is None or not _is_storable(native.decode(), encoding):
        return None
    if base == values.NAME and len(native) > _MAX_NAME:
        return None
    if family is Family.JSONB and not _is_jsonb(text, encoding):
        return None
    if family is Family.FLOAT:
        return _shortest_float(text, size)
    if family in (Family.DATE, Family.TIMESTAMP, Family.TIMESTAMPTZ):
        return native.decode() if _is_in_calendar(text, family, size) else None
    return native.decode()


def _is_storable(text: str, encoding: str) -> bool:
    """Whether the server's encoding has all characters of ``text``, as far as is known here."""
    if "\0" in text:
        return False
    codec = "utf-8" if encoding == "UTF8" else SINGLE_BYTE.get(encoding, "ascii")
    try:
        text.encode(codec)
    except UnicodeEncodeError:
        return False
    return True


def _is_jsonb(text: str, encoding: str) -> bool:
    """Whether jsonb can store this JSON: it unescapes strings and keeps numbers as numeric."""
    try:
        document = json.loads(text, parse_int=_number, parse_float=_number)
    except ValueError:
        return False
    return all(_is_storable(string, encoding) for string in _strings(document))


def _number(text: str) -> int:
    values.parse_decimal(text.encode())
    return 0


def _strings(document: Any) -> Iterator[str]:
    if isinstance(document, str):
        yield document
    elif isinstance(document, list):
        for element in document:
            yield from _strings(element)
    elif isinstance(document, dict):
        yield from document
        for element in document.values():
            yield from _strings(element)


def _shortest_float(text: str, size: int) -> str | None:
    """From the binary form: float4in refuses what is nearer to 0 than its smallest number."""
    data = encode_constant(text, Family.FLOAT, size, True)
    return None if data is None else values.format_decimal(*values.decode_float(data)).decode()


def _is_in_calendar(text: str, family: Family, size: int) -> bool:
    """Whether PostgreSQL can store this date or timestamp."""
    data = encode_constant(text, family, size, True)
    if data is None:
        return False
    return values.decode_int(data, size) in (_DAYS if family is Family.DATE else _MICROSECONDS)
