r"""One mask on one column as an SQL expression, with the values of
:mod:`sallyport.masking.maskers`.

Promises, for servers 14 to 18:

* No stored value makes an expression fail. Values are tested before they are worked on; what lies
  outside the range of the work is NULL. Text is tested through functions that look at single bytes
  (``to_ascii``, ``textsend``, ``encode``), as ``length``, ``left`` and ``strpos`` raise errors for
  bytes that are not UTF-8.
* No session setting changes a value; ``client_encoding``, which the gateway pins to UTF8, aside.
* Every function, operator, type and collation is schema-qualified. ``IN``, ``BETWEEN``, ``LIKE``,
  ``NULLIF`` and ``CASE x WHEN`` look for their operators in search_path and are not used.
* The expression has the column's type (of a domain: its base type), without a type modifier.
* The key of a hash is not in the text (:mod:`sallyport.masking.sqlhash`).

Results computed from text keep the column's collation; constants have their type's default. How
jsonb and floats are spelled in text format is up to PostgreSQL.

Where the value is not that of the native mask (it is NULL, unless said otherwise):

* partial, email: values over 10 MB; ``name`` over 61 bytes (email). "[redacted]" for text that is
  laid out as UTF-8 but is not (overlong forms, surrogates, beyond U+10FFFF)
* partial, email, hash: servers whose encoding is neither UTF8 nor of one byte a character
* hash: values over 10 MB
* date: before 4713-01-01 BC (there are five weeks more)
* bucket: numeric from 10**500, or with more than 490 decimals; float8 from 1.7976e308; floats when
  the size is under 1e-30
* constant: dates and timestamps that PostgreSQL cannot store; ``name`` over 63 bytes; jsonb that
  PostgreSQL cannot store; characters that the server's encoding lacks
* any: types of category S that are not PostgreSQL's own or citext; ``unknown``
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from sallyport.masking import sqlhash
from sallyport.masking.maskers import Family, base_type, classify
from sallyport.masking.sqlconstants import SINGLE_BYTE, constant, literal, redacted
from sallyport.masking.sqlfloors import bucket, truncated
from sallyport.masking.sqlhash import hash_settings
from sallyport.policy.decision import MaskSpec
from sallyport.policy.mask_kinds import is_value_independent
from sallyport.sql.catalog.snapshot import Type
from sallyport.sql.catalog.type_names import qualified_type
from sallyport.wire import frames, values

__all__ = ["hash_settings", "mask_expression", "null_expression", "reads_column"]

#: Longer text is not worked on, in bytes. No step needs more than eight times as much memory.
MAX_TEXT: Final = 10_000_000
#: Bytes; so that '***' in place of one character still fits a name.
_MAX_NAME: Final = 61

#: Well-formed UTF-8 (Unicode, table 3-7), in hex.
_UTF8: Final = (
    "^([0-7].|(c[2-9a-f]|d.|e0[ab].|e[1-9a-cef][89ab].|ed[89].|f0[9ab].[89ab].|f[123]([89ab].){2}"
    "|f48.[89ab].)[89ab].)*$"
)
#: As frames.email: the local part has no blanks and no control characters, the domain has a dot.
_EMAIL: Final = r"^[^\x01-\x20@]+@[a-zA-Z0-9-]+([.][a-zA-Z0-9-]+)+$"
_REDACTED: Final = literal(frames.REDACTED.decode())
#: PostgreSQL's number of the encoding; given its name, to_ascii would look it up for each value.
_LATIN1: Final = 8


@dataclass(frozen=True, slots=True)
class ColumnExpression:
    """The column that a mask works on. ``text``: SQL of a reference to it, as its base type
    ``type_oid``. ``encoding``: of the server.
    """

    text: str
    type_oid: int
    family: Family
    size: int
    types: Mapping[int, Type]
    encoding: str


def mask_expression(
    spec: MaskSpec, column: str, type_oid: int, types: Mapping[int, Type], encoding: str = "UTF8"
) -> str:
    """The mask of ``column`` as SQL that needs no parentheses around it.

    ``column``: SQL of a reference to the column, quoted and qualified; it may occur many times.
    ``encoding``: of the server, as ``server_encoding`` names it. What cannot be treated is a typed
    NULL. Raises ValueError for a type that ``types`` cannot name.
    """
    base = base_type(type_oid, types)
    if base != type_oid:
        column = f"{column}::{_type_name(base, types)}"
    text = _expression(spec, column, base, types, encoding)
    return null_expression(type_oid, types) if text is None else text


def null_expression(type_oid: int, types: Mapping[int, Type]) -> str:
    """NULL of the type (of a domain: its base type). ValueError if ``types`` cannot name it."""
    return f"NULL::{_type_name(base_type(type_oid, types), types)}"


def reads_column(spec: MaskSpec, type_oid: int, types: Mapping[int, Type]) -> bool:
    """Whether the mask's expression refers to the column; if not, it is a constant."""
    base = base_type(type_oid, types)
    return (
        not is_value_independent(spec) and _expression(spec, "c", base, types, "UTF8") is not None
    )


def _expression(
    spec: MaskSpec, column: str, base: int, types: Mapping[int, Type], encoding: str
) -> str | None:
    """None for what the mask cannot treat."""
    mask = SQL_MASKS.get(spec.kind)
    family, size = _family(base, types)
    if mask is None or family is Family.OTHER:
        return None
    return mask(spec, ColumnExpression(column, base, family, size, types, encoding))


def _family(base: int, types: Mapping[int, Type]) -> tuple[Family, int]:
    """By the binary format, where a type of an extension is text only if it is known to be."""
    return (Family.OTHER, -1) if base == values.UNKNOWN else classify(base, 1, types)


# --- names and literals ---------------------------------------------------------------------------


def _type_name(oid: int, types: Mapping[int, Type]) -> str:
    entry = types.get(oid)
    if entry is None or entry.kind == "d":
        raise ValueError(f"the type with OID {oid} is not in the catalog")
    return qualified_type(entry)


def _cast(text: str | None, base: int, types: Mapping[int, Type]) -> str | None:
    """``text``, which is of type text, as the column's type: a change of name, but for ``name``."""
    return text if text is None or base == values.TEXT else f"{text}::{_type_name(base, types)}"


# --- redact and constant --------------------------------------------------------------------------


def _constant(text: str | None, column: ColumnExpression) -> str | None:
    return None if text is None else f"{literal(text)}::{_type_name(column.type_oid, column.types)}"


# --- text -----------------------------------------------------------------------------------------


def _text(column: str, base: int) -> str:
    """The value as text: char(n) with its padding, as it is sent (its cast would strip it)."""
    if base == values.BPCHAR:
        return f"pg_catalog.textin(pg_catalog.bpcharout({column}))"
    return column if base == values.TEXT else f"{column}::pg_catalog.text"


def _bytewise(text: str) -> str:
    """In collation C: nondeterministic ones have no substring search, no regular expressions."""
    return f'({text} COLLATE pg_catalog."C")'


def _malformed(text: str, encoding: str) -> str | None:
    """A condition: the value is not text of the server's encoding. None: every value is.

    ``to_ascii`` changes every byte from 0x80 on, and no other: most values need no second look.
    """
    if encoding == "UTF8":
        data = f"pg_catalog.encode(pg_catalog.textsend({text}), 'hex')"
        broken = f"{_bytewise(data)} OPERATOR(pg_catalog.!~) {literal(_UTF8)}"
    elif undefined := undefined_bytes(encoding):
        pattern = "[" + "".join(f"\\x{byte:02x}" for byte in undefined) + "]"
        broken = f"{_bytewise(text)} OPERATOR(pg_catalog.~) {literal(pattern)}"
    else:
        return None
    ascii = f"pg_catalog.to_ascii({text}, {_LATIN1})"
    return f"{ascii} OPERATOR(pg_catalog.<>) {_bytewise(text)} AND {broken}"


@lru_cache
def undefined_bytes(encoding: str) -> bytes:
    """The bytes without a meaning in an encoding with one byte a character; KeyError for others."""
    codec = codecs.lookup(SINGLE_BYTE[encoding])
    return bytes(byte for byte in range(1, 256) if codec.decode(bytes([byte]), "ignore")[0] == "")


def _partial(spec: MaskSpec, column: str, base: int, encoding: str) -> str | None:
    first, last = min(spec.keep_first, 255), min(spec.keep_last, 255)
    if first < 0 or last < 0:
        return None
    text = _text(column, base)
    length = f"pg_catalog.length({text})"
    parts = [f"pg_catalog.repeat('*', {length} OPERATOR(pg_catalog.-) {first + last})"]
    if first:
        parts.insert(0, f"pg_catalog.left({text}, {first})")
    if last:
        parts.append(f"pg_catalog.right({text}, {last})")
    return (
        f"CASE{_unless_null_or_long(column, base)}{_redact_malformed(text, encoding)} WHEN {length}"
        f" OPERATOR(pg_catalog.<=) {first + last} THEN pg_catalog.repeat('*', {length}) ELSE"
        f" {' OPERATOR(pg_catalog.||) '.join(parts)} END"
    )


def _email(spec: MaskSpec, column: str, base: int, encoding: str) -> str:
    text = _text(column, base)
    limit = _MAX_NAME if base == values.NAME else MAX_TEXT
    position = f"pg_catalog.strpos({_bytewise(text)}, '@')"
    return (
        f"CASE{_unless_null_or_long(column, base, limit)}{_redact_malformed(text, encoding)}"
        f" WHEN {_bytewise(text)} OPERATOR(pg_catalog.~) {literal(_EMAIL)} THEN"
        f" CASE WHEN {position} OPERATOR(pg_catalog.=) 2 THEN '***'"
        f" ELSE pg_catalog.left({text}, 1) OPERATOR(pg_catalog.||) '***' END"
        f" OPERATOR(pg_catalog.||) pg_catalog.right({text}, 1 OPERATOR(pg_catalog.-) {position})"
        f" ELSE {_REDACTED} END"
    )


def _unless_null_or_long(column: str, base: int, limit: int = MAX_TEXT) -> str:
    """The first branches. NULL is the column itself, from which the result takes its collation."""
    text = column if base == values.TEXT else f"{column}::pg_catalog.text"
    measured = column if base == values.BPCHAR else text  # octet_length(bpchar) counts the padding
    return (
        f" WHEN {column} IS NULL THEN {text}"
        f" WHEN pg_catalog.octet_length({measured}) OPERATOR(pg_catalog.>) {limit} THEN NULL"
    )


def _redact_malformed(text: str, encoding: str) -> str:
    malformed = _malformed(text, encoding)
    return "" if malformed is None else f" WHEN {malformed} THEN {_REDACTED}"


def _text_hash(spec: MaskSpec, column: str, base: int, encoding: str) -> str:
    """Of the bytes that the client would get: textsend converts to client_encoding."""
    text = _text(column, base)
    data = f"pg_catalog.textsend({text})"
    if base == values.BPCHAR:
        data = f"pg_catalog.rtrim({data}, ' '::pg_catalog.bytea)"
    broken = _malformed(text, encoding) if encoding != "UTF8" else None  # nothing is converted
    unless_broken = f" WHEN {broken} THEN NULL" if broken else ""
    token = sqlhash.text_token(data, spec.key)
    return f"CASE{_unless_null_or_long(column, base)}{unless_broken} ELSE {token} END"


# --- all of them ----------------------------------------------------------------------------------


def _of_text(
    make: Callable[[MaskSpec, str, int, str], str | None],
) -> Callable[[MaskSpec, ColumnExpression], str | None]:
    """A mask that works on characters, which not every encoding lets it count."""

    def mask(spec: MaskSpec, column: ColumnExpression) -> str | None:
        countable = column.encoding == "UTF8" or column.encoding in SINGLE_BYTE
        if column.family is not Family.TEXT or not countable:
            return None
        text = make(spec, column.text, column.type_oid, column.encoding)
        return _cast(text, column.type_oid, column.types)

    return mask


def _hash(spec: MaskSpec, column: ColumnExpression) -> str | None:
    if column.family is Family.UUID:
        return sqlhash.uuid_token(f"pg_catalog.textsend({column.text}::pg_catalog.text)", spec.key)
    return _of_text(_text_hash)(spec, column)


#: By the names of :data:`sallyport.policy.mask_kinds.MASK_KINDS`. None: typed NULL.
SQL_MASKS: Mapping[str, Callable[[MaskSpec, ColumnExpression], str | None]] = {
    "redact": lambda spec, column: _constant(redacted(column.family), column),
    "null": lambda spec, column: None,
    "partial": _of_text(_partial),
    "email": _of_text(_email),
    "hash": _hash,
    "date": lambda spec, column: truncated(spec.precision, column.text, column.family),
    "bucket": lambda spec, column: bucket(spec.size, column.text, column.type_oid, column.family),
    "constant": lambda spec, column: _constant(
        constant(spec.value, column.type_oid, column.family, column.size, column.encoding), column
    ),
}
