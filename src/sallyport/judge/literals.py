"""What a recording, the index and whoever watches may see of a statement's text and bind values.

In a statement that touches relations with masked columns a literal stays as it was sent only where the lineage knows that it meets
nothing but unmasked columns. One that is compared with the whole of a masked column by ``=``, or written to it, is masked as that
column is; any other, and whatever the lineage does not know, is replaced by :data:`HIDDEN`, comments included.
"""

from __future__ import annotations

import re
from collections.abc import Container, Mapping, Sequence

from msgspec import Struct

from sallyport.core.errors import RefusedError
from sallyport.core.secret import Secret
from sallyport.masking.maskers import operation
from sallyport.policy.decision import ColumnMask, MaskSpec
from sallyport.policy.needs import chain
from sallyport.sql import template
from sallyport.sql.catalog import CatalogSnapshot, ColumnId, Type
from sallyport.sql.facts import StatementFacts
from sallyport.sql.tokens import token_spans
from sallyport.wire.frames import Op, RowProgram, data_row, keep, mask_rows

#: What stands for a value that nobody may see: as a literal, and as a bind value in text format.
HIDDEN = b"'[redacted]'"
HIDDEN_BIND = b"[redacted]"
_HIDDEN_NAME = b'"[redacted]"'
_HIDDEN_COMMENT = b"/* [redacted] */"
_PARAMETER = re.compile(rb"\$[0-9]+")
_STRING = re.compile(rb"'(?:[^'\\]|'')*'")
_NUMBER = re.compile(rb"[0-9]+(?:\.[0-9]+)?")
_IDENTIFIER = re.compile(rb"[A-Za-z_\x80-\xff]")
_PREFIXED = re.compile(rb"[eEbBxXnN]'|[uU]&'")
_BOOLEANS = frozenset({b"true", b"false"})
_KEEP = keep()
#: What becomes of a value: kept, masked as a column of this type (pg_type OID), or (None) hidden.
Treatment = Op | tuple[MaskSpec, int] | None


class Masking(Struct, frozen=True):
    """What masks need to be computed."""

    masks: Mapping[ColumnId, ColumnMask]
    catalog: CatalogSnapshot
    keys: Mapping[str, Secret]


class Literals(Struct):
    """Of one judged text. ``by_position``: of literals, by byte offset in the script; ``listed``: those that begin a list.
    ``by_number``: of parameters. ``is_template``: the text that was judged has parameters in the place of literals. ``start``: of the
    statement in its script.
    """

    masking: Masking
    by_position: dict[int, Treatment] = {}
    listed: frozenset[int] = frozenset()
    by_number: dict[int, Treatment] = {}
    is_template: bool = False
    start: int = 0
    hides_any: bool = True  # one of its literals or parameters, at least, is not recorded as it was sent
    shown: dict[bytes, str] = {}
    ops: dict[tuple[MaskSpec, int, int], Op] = {}

    def text(self, sql: bytes, offset: int = 0) -> str:
        """The text as it may be recorded. ``offset``: of ``sql`` in the script that was judged."""
        if self.is_template:
            return self._of_template(sql)
        known = self.shown.get(sql)
        if known is None:
            known = self._of_text(sql, offset)
            if len(self.shown) < 4:
                self.shown[sql] = known
        return known

    def bind(
        self, values: Sequence[bytes | None], formats: Sequence[int], types: Sequence[int]
    ) -> tuple[tuple[bytes | None, ...], tuple[int, ...]]:
        """Bind values and their formats (one for each) as they may be recorded. ``types``: OIDs of the parameters, 0: not known."""
        shown: list[bytes | None] = []
        codes: list[int] = []
        for number, value in enumerate(values, 1):
            code = formats[0] if len(formats) == 1 else formats[number - 1] if formats else 0
            treatment = None if self.is_template else self.by_number.get(number)
            masked = value
            if value is not None and treatment is not _KEEP:
                declared = types[number - 1] if number <= len(types) else 0
                masked = self._masked(treatment, value, code, declared)
                if masked is None:
                    masked, code = HIDDEN_BIND, 0
            shown.append(masked)
            codes.append(code)
        return tuple(shown), tuple(codes)

    @property
    def shows_binds(self) -> bool:
        """Whether every bind value may be recorded as it is."""
        if self.is_template or not self.by_number:
            return False
        return all(one is _KEEP for one in self.by_number.values())

    def _of_template(self, sql: bytes) -> str:
        number = 0
        parts: list[bytes] = []
        position = 0
        for match in template.tokens(sql):
            token = match.group()
            if template.is_name(token):
                if token.lower() in _BOOLEANS:
                    parts += (sql[position : match.start()], HIDDEN)
                    position = match.end()
                continue
            number += 1
            treatment = self.by_number.get(number)
            if treatment is not _KEEP:
                parts += (sql[position : match.start()], self._literal(treatment, token))
                position = match.end()
        return (b"".join(parts) + sql[position:]).decode("utf-8", "replace")

    def _of_text(self, sql: bytes, offset: int) -> str:
        try:
            spans = token_spans(sql)
        except RefusedError:
            return unreadable(sql)
        parts: list[bytes] = []
        position = 0
        before: list[Treatment | str] = ["", ""]  # treatments of listed literals; other tokens as text
        previous = -1
        for start, end in spans:
            token = sql[start:end]
            shown = token
            this: Treatment | str = ""
            if token[:2] in (b"--", b"/*"):
                shown = _HIDDEN_COMMENT
            elif is_literal(token):
                at = start + offset
                signed = previous >= 0 and sql[previous:start].strip() in (b"-", b"+")
                key = at if at in self.by_position else previous + offset if signed else at
                listed = key in self.listed
                treatment = self.by_position.get(key)
                if key not in self.by_position and before[1] == "," and not isinstance(before[0], str):
                    treatment, listed = before[0], True
                if treatment is not _KEEP:
                    shown = self._literal(treatment, token)
                if listed:
                    this = treatment
            elif token == b",":
                this = ","
            if shown is not token:
                parts += (sql[position:start], shown)
                position = end
            before = [before[1], this]
            previous = start
        return (b"".join(parts) + sql[position:]).decode("utf-8", "replace")

    def _literal(self, treatment: Treatment, token: bytes) -> bytes:
        if treatment is None or isinstance(treatment, Op):
            return HIDDEN
        if _STRING.fullmatch(token):
            value = token[1:-1].replace(b"''", b"'")
        elif _NUMBER.fullmatch(token):
            value = token
        else:
            return HIDDEN
        masked = self._masked(treatment, value, 0, 0)
        return HIDDEN if masked is None else b"'" + masked.replace(b"'", b"''") + b"'"

    def _masked(self, treatment: Treatment, value: bytes, code: int, declared: int) -> bytes | None:
        """None: nothing of it may be shown."""
        if treatment is None or isinstance(treatment, Op):
            return None
        spec, column_type = treatment
        type_ = declared or column_type
        if code not in (0, 1) or (code == 1 and not declared):
            return None
        op = self.ops.get((spec, type_, code))
        if op is None:
            types: Mapping[int, Type] = self.masking.catalog.types
            op = operation(spec, type_, code, types, self.masking.keys)
            self.ops[spec, type_, code] = op
        row = data_row([value])
        cell = mask_rows(row, 0, len(row), RowProgram([op]))[7:]
        return cell[4:] if cell[:4] != b"\xff\xff\xff\xff" else None


def literals_of(masking: Masking, sql: bytes, facts: StatementFacts) -> Literals:
    """Of a statement that touches what is masked. ``sql``: the script it stands in."""
    by_position: dict[int, Treatment] = {}
    listed = set()
    for level in chain(facts):
        for use in level.constants:
            treatment = _treatment(masking, use.columns, use.whole)
            if use.position in by_position and by_position[use.position] != treatment:
                treatment = None
            by_position[use.position] = treatment
            if use.listed:
                listed.add(use.position)
    by_number: dict[int, Treatment] = {}
    hides_any = False
    for start, end in token_spans(sql):
        token = sql[start:end]
        if not facts.start <= start < facts.end:
            continue
        treatment = by_position.get(start)
        if _PARAMETER.fullmatch(token):
            number = int(token[1:])
            if by_number.setdefault(number, treatment) != treatment:
                by_number[number] = None
            hides_any |= treatment is not _KEEP
        elif is_literal(token):
            hides_any |= treatment is not _KEEP
    return Literals(
        masking, by_position, frozenset(listed), by_number, start=facts.start, hides_any=hides_any
    )


def _treatment(masking: Masking, columns: frozenset[ColumnId], whole: bool) -> Treatment:
    masked = [column for column in columns if column in masking.masks]
    if not masked:
        return _KEEP
    specs = {masking.masks[column].spec for column in masked}
    types = {found.type_oid for one in masked if (found := masking.catalog.column(one)) is not None}
    if not whole or len(specs) != 1 or len(types) != 1:
        return None
    return specs.pop(), types.pop()


def is_literal(token: bytes) -> bool:
    """Whether a token of PostgreSQL's scanner is a value: a string of any kind, a number, TRUE or FALSE."""
    first = token[:1]
    if first in (b"'", b".") or first.isdigit():
        return token not in (b".", b"..")
    if first == b"$":
        return not _PARAMETER.fullmatch(token)
    return _PREFIXED.match(token) is not None or token.lower() in _BOOLEANS


def blanked(sql: bytes, names: Container[str] | None = None, unknown: Container[int] = ()) -> str:
    """The text without any of its literals and comments. ``names``: the quoted identifiers that may stay; None: all of them.
    ``unknown``: where names stand that mean nothing, as values do that somebody forgot to quote.
    """
    try:
        spans = token_spans(sql)
    except RefusedError:
        return unreadable(sql)
    parts: list[bytes] = []
    position = 0
    for start, end in spans:
        token = sql[start:end]
        if token[:2] in (b"--", b"/*"):
            shown = _HIDDEN_COMMENT
        elif is_literal(token):
            shown = HIDDEN
        elif (names is not None and token[:1] == b'"' and _name(token) not in names) or (
            start in unknown and _IDENTIFIER.match(token)
        ):
            shown = _HIDDEN_NAME
        else:
            continue
        parts += (sql[position:start], shown)
        position = end
    return (b"".join(parts) + sql[position:]).decode("utf-8", "replace")


def _name(token: bytes) -> str:
    return token[1:-1].replace(b'""', b'"').decode("utf-8", "replace")


def unreadable(sql: bytes) -> str:
    """What is recorded of a text that PostgreSQL's scanner does not accept."""
    return f"-- a text of {len(sql)} bytes that cannot be read word by word"
