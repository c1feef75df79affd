"""What a recording, the index and whoever watches may see of a statement's text and bind values.

In a statement that touches relations with masked columns a literal stays as it was sent only where
the lineage knows that it meets nothing but unmasked columns. One that is compared with the whole of
a masked column by ``=``, or written to it, is masked as that column is; any other, and whatever the
lineage does not know, is replaced by :data:`HIDDEN`, comments included.
"""

from __future__ import annotations

import re
from collections.abc import Container, Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from sallyport.core.errors import RefusedError
from sallyport.core.secret import Secret
from sallyport.masking.maskers import operation
from sallyport.policy.checks.needs import chain
from sallyport.policy.decision import ColumnMask, MaskSpec
from sallyport.sql.catalog.snapshot import CatalogSnapshot, ColumnId, Type
from sallyport.sql.facts import StatementFacts
from sallyport.sql.text import template
from sallyport.sql.text.tokens import token_spans
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
#: Names, quoted or not, and as its group the parameters and Booleans of a template.
_IN_TEMPLATE = re.compile(
    rb'"[^"]*"|(\$[0-9]+|(?:true|false)(?![a-z0-9_]))|[a-z_][a-z0-9_]*', re.IGNORECASE
)
#: What a literal, a parameter, a comment or a comma can begin with.
_COMMA = ord(",")
_FIRST = frozenset(b"'.$,-/0123456789eEbBxXnNuUtTfF")
_FIRST_HIDDEN = _FIRST | {ord('"')}
#: What may stand around the statement of a script without being recorded in another form.
_BETWEEN = b" \t\r\n\f\v;"
_KEEP = keep()
#: What becomes of a value: kept, masked as a column of this type (pg_type OID), or (None) hidden.
Treatment = Op | tuple[MaskSpec, int] | None


class Masking(Struct, frozen=True):
    """What masks need to be computed."""

    masks: Mapping[ColumnId, ColumnMask]
    catalog: CatalogSnapshot
    keys: Mapping[str, Secret]


class _Readings(Struct, frozen=True):
    """What was read once of a judged text. ``shown``: the statement as it may be recorded, unless
    it is a template. ``by_number``: of parameters. ``in_order``: of a template's literals, TRUE and
    FALSE among them. ``hides_outside``: of those outside the expressions of output columns
    (``StatementFacts.quoted``), one at least.
    """

    shown: bytes
    by_number: Mapping[int, Treatment]
    in_order: tuple[Treatment, ...]
    hides_any: bool
    hides_text: bool
    hides_outside: bool


class Literals(Struct):
    """Of one judged text. Nothing of it is read before somebody asks: the judge seldom does, and
    the recorder once.

    ``sql``: the script. ``facts``: of the statement in it; None: nothing of its values is shown.
    ``is_template``: the text that was judged has parameters in the place of literals.
    """

    masking: Masking
    sql: bytes
    facts: StatementFacts | None
    is_template: bool = False
    shown: dict[bytes, str] = {}
    ops: dict[tuple[MaskSpec, int, int], Op] = {}
    readings: _Readings | None = None

    def text(self, sql: bytes, offset: int = 0) -> str:
        """The text as it may be recorded. ``offset``: of ``sql`` in the script that was judged."""
        if self.is_template:
            return self._of_template(sql)
        shown = self.shown.get(sql)
        if shown is None:
            shown = self._of_text(sql, offset).decode("utf-8", "replace")
            if len(self.shown) < 4:
                self.shown[sql] = shown
        return shown

    def bind(
        self, values: Sequence[bytes | None], formats: Sequence[int], types: Sequence[int]
    ) -> tuple[tuple[bytes | None, ...], tuple[int, ...]]:
        """Bind values and their formats (one for each) as they may be recorded. ``types``: OIDs of
        the parameters, 0: not known.
        """
        shown: list[bytes | None] = []
        codes: list[int] = []
        by_number = {} if self.is_template else self._read().by_number
        for number, value in enumerate(values, 1):
            code = formats[0] if len(formats) == 1 else formats[number - 1] if formats else 0
            treatment = by_number.get(number)
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
        by_number = self._read().by_number
        return (
            bool(by_number)
            and not self.is_template
            and all(treatment is _KEEP for treatment in by_number.values())
        )

    @property
    def hides_any(self) -> bool:
        """Whether one of the literals or parameters, at least, is not recorded as it was sent."""
        return self._read().hides_any

    @property
    def hides_outside(self) -> bool:
        """Whether one that is not recorded as it was sent stands outside the expressions of output
        columns.
        """
        return self._read().hides_outside

    @property
    def hides_text(self) -> bool:
        """Whether the text, of the statement or of the script that it is alone in, is not recorded
        as it was sent.
        """
        return self._read().hides_text

    def _read(self) -> _Readings:
        readings = self.readings
        if readings is None:
            readings = self.readings = (
                self._of_parameters() if self.is_template else self._of_statement()
            )
        return readings

    def _of_parameters(self) -> _Readings:
        """Of a template: parameters are its literals."""
        by_position, _ = self._treatments()
        quoted, hides_outside = self._quoted(), False
        by_number: dict[int, Treatment] = {}
        in_order: list[Treatment] = []
        for match in _IN_TEMPLATE.finditer(self.sql):
            if match.lastindex is None:
                continue
            token = match.group()
            treatment = by_position.get(match.start())
            if token[:1] == b"$":
                number = int(token[1:])
                treatment = self._of_parameter(number, treatment, by_number)
                by_number[number] = treatment
            in_order.append(treatment)
            hides_outside |= treatment is not _KEEP and match.start() not in quoted
        hides = any(value_treatment is not _KEEP for value_treatment in in_order)
        return _Readings(b"", by_number, tuple(in_order), hides, hides, hides_outside)

    def _of_statement(self) -> _Readings:
        facts, start, end = self.facts, 0, len(self.sql)
        # of a statement inside another one the place is not known
        if facts is not None and facts.start >= 0:
            start, end = facts.start, facts.end
        sql, around = self.sql[start:end], self.sql[:start] + self.sql[end:]
        try:
            readings = self._scanned(sql, start)
        except RefusedError:
            return _Readings(unreadable(sql).encode(), {}, (), True, True, True)
        return replace(readings, hides_text=True) if around.strip(_BETWEEN) else readings

    def _of_template(self, sql: bytes) -> str:
        readings = self._read()
        if not readings.hides_text:
            return sql.decode("utf-8", "replace")
        parts: list[bytes] = []
        position = 0
        treatments = iter(readings.in_order)
        for match in template.tokens(sql):
            token = match.group()
            if template.is_name(token) and token.lower() not in _BOOLEANS:
                continue
            treatment = next(treatments, None)
            if treatment is not _KEEP:
                parts += (sql[position : match.start()], self._literal(treatment, token))
                position = match.end()
        return (b"".join(parts) + sql[position:]).decode("utf-8", "replace")

    def _of_text(self, sql: bytes, offset: int) -> bytes:
        """``sql`` is the statement, or the script that it is alone in."""
        facts = self.facts
        if facts is not None:
            start, end = facts.start - offset, facts.end - offset
            if start >= 0 and sql[start:end] == self.sql[facts.start : facts.end]:
                before, after = sql[:start], sql[end:]
                if not (before + after).strip(_BETWEEN):
                    return before + self._read().shown + after
        try:
            return self._scanned(sql, offset).shown
        except RefusedError:
            return unreadable(sql).encode()

    def _scanned(self, sql: bytes, offset: int) -> _Readings:
        """Raises RefusedError (SP1101)."""
        by_position, listed = self._treatments()
        quoted, hides_any, hides_outside = self._quoted(), False, False
        by_number: dict[int, Treatment] = {}
        parts: list[bytes] = []
        position = 0
        # of the two tokens before: the treatment of a listed literal, "," or ""
        before: list[Treatment | str] = ["", ""]
        previous = -1
        for start, end in token_spans(sql):
            first = sql[start]
            current: Treatment | str = ""
            if first in _FIRST:
                token = shown = sql[start:end]
                if token[:2] in (b"--", b"/*"):
                    shown = _HIDDEN_COMMENT
                elif first == _COMMA:
                    current = ","
                elif is_literal(token):
                    at = start + offset
                    signed = previous >= 0 and sql[previous:start].strip() in (b"-", b"+")
                    key = at if at in by_position else previous + offset if signed else at
                    is_listed = key in listed
                    treatment = by_position.get(key)
                    if (
                        key not in by_position
                        and before[1] == ","
                        and not isinstance(before[0], str)
                    ):
                        treatment, is_listed = before[0], True
                    if treatment is not _KEEP:
                        shown, hides_any = self._literal(treatment, token), True
                        places = {at, previous + offset} if signed else {at}
                        hides_outside |= quoted.isdisjoint(places)
                    if is_listed:
                        current = treatment
                elif _PARAMETER.fullmatch(token):
                    number = int(token[1:])
                    treatment = self._of_parameter(
                        number, by_position.get(start + offset), by_number
                    )
                    if by_number.setdefault(number, treatment) != treatment:
                        by_number[number] = treatment = None
                    if treatment is not _KEEP:
                        hides_any = True
                        hides_outside |= start + offset not in quoted
                if shown is not token:
                    parts += (sql[position:start], shown)
                    position = end
            before = [before[1], current]
            previous = start
        shown = b"".join(parts) + sql[position:]
        return _Readings(shown, by_number, (), hides_any, bool(parts), hides_outside)

    def _quoted(self) -> frozenset[int]:
        levels = chain(self.facts) if self.facts is not None else ()
        return frozenset[int]().union(*[level.quoted for level in levels])

    def _of_parameter(
        self, number: int, treatment: Treatment, by_number: Mapping[int, Treatment]
    ) -> Treatment:
        """``treatment``, or in a long list, of which the analysis saw the first parameters only,
        that of the one which stands for it.
        """
        stands_for = number if self.facts is None else self.facts.meant_by(number)
        return treatment if stands_for == number else by_number.get(stands_for)

    def _treatments(self) -> tuple[dict[int, Treatment], set[int]]:
        """Of literals and parameters by their byte offset in the script; and the offsets of those
        that begin a list.
        """
        by_position: dict[int, Treatment] = {}
        listed: set[int] = set()
        for level in chain(self.facts) if self.facts is not None else ():
            for use in level.constants:
                treatment = _treatment(self.masking, use.columns, use.is_value)
                if use.position in by_position and by_position[use.position] != treatment:
                    treatment = None
                by_position[use.position] = treatment
                if use.listed:
                    listed.add(use.position)
        return by_position, listed

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


def _treatment(masking: Masking, columns: frozenset[ColumnId], is_whole: bool) -> Treatment:
    masked = [column for column in columns if column in masking.masks]
    if not masked:
        return _KEEP
    specs = {masking.masks[column].spec for column in masked}
    types = {
        catalog_column.type_oid
        for masked_column in masked
        if (catalog_column := masking.catalog.column(masked_column)) is not None
    }
    if not is_whole or len(specs) != 1 or len(types) != 1:
        return None
    return specs.pop(), types.pop()


def is_literal(token: bytes) -> bool:
    """Whether a token of PostgreSQL's scanner is a value: a string of any kind, a number, TRUE or
    FALSE.
    """
    first = token[:1]
    if first in (b"'", b".") or first.isdigit():
        return token not in (b".", b"..")
    if first == b"$":
        return not _PARAMETER.fullmatch(token)
    return _PREFIXED.match(token) is not None or token.lower() in _BOOLEANS


def blanked(sql: bytes, names: Container[str] | None = None, unknown: Container[int] = ()) -> str:
    """The text without any of its literals and comments. ``names``: the quoted identifiers that may
    stay; None: all of them. ``unknown``: where names stand that mean nothing, as values do that
    somebody forgot to quote.
    """
    try:
        spans = token_spans(sql)
    except RefusedError:
        return unreadable(sql)
    parts: list[bytes] = []
    position = 0
    for start, end in spans:
        if sql[start] not in _FIRST_HIDDEN and start not in unknown:
            continue
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
