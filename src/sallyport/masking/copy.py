"""Masks the data of ``COPY ... TO STDOUT`` in text, CSV and binary format.

PostgreSQL sends one row in each CopyData message; data laid out in any other way raises
ProtocolError, as does a row with another number of columns than was judged. Source: PostgreSQL
documentation, "COPY", section "File Formats".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sallyport.core.errors import ProtocolError, RefusedError, refuse
from sallyport.core.secret import Secret
from sallyport.masking.maskers import operation
from sallyport.masking.plan import MaskPlan, Mismatch
from sallyport.sql.catalog.snapshot import Type
from sallyport.sql.facts import CopyFormat
from sallyport.wire import frames
from sallyport.wire.frames import Buffer, CopyState, RowProgram

# PostgreSQL refuses these as delimiters (ProcessCopyOptions); in CSV the second lot is allowed.
_NO_DELIMITER = frozenset(b"\0\r\n")
_NO_TEXT_DELIMITER = frozenset(b"\\.abcdefghijklmnopqrstuvwxyz0123456789")


class CopyMasker:
    """Masks one COPY stream, span by span. Made by :func:`compile_copy`; used for one statement
    only.
    """

    def __init__(self, program: RowProgram, copy_format: CopyFormat) -> None:
        self.keep_all = program.keep_all
        self._program = program
        self._format = copy_format.format
        self._delimiter = ord(copy_format.delimiter)
        self._quote = ord(copy_format.quote)
        self._escape = ord(copy_format.escape)
        self._null = copy_format.null.encode()
        self._state = CopyState()
        self._header = copy_format.header and copy_format.format != "binary"

    def matches(self, body: bytes) -> Mismatch | None:
        """The second lock: the body of CopyOutResponse must say the judged format and number of
        columns.
        """
        if len(body) < 3 or len(body) != 3 + 2 * int.from_bytes(body[1:3], "big"):
            raise ProtocolError("a CopyOutResponse of the wrong length")
        code = 1 if self._format == "binary" else 0
        if body[0] != code or body[3:] != bytes([0, code]) * int.from_bytes(body[1:3], "big"):
            return Mismatch(-1, f"COPY data in {self._format} format", "another format")
        if int.from_bytes(body[1:3], "big") != self._program.columns:
            return Mismatch(
                -1,
                f"{self._program.columns} columns",
                f"{int.from_bytes(body[1:3], 'big')} columns",
            )
        return None

    def feed(self, buf: Buffer, start: int, end: int) -> bytes:
        """A span of CopyData messages, masked. Raises ProtocolError for what was not judged."""
        if self.keep_all:
            return bytes(buf[start:end])
        head = b""
        if self._header and start < end:
            stop = start + 1 + int.from_bytes(buf[start + 1 : start + 5], "big")
            if stop > end:
                raise ProtocolError("a CopyData message that does not fit its span")
            names = RowProgram([frames.keep()] * self._program.columns)
            head = self._mask(buf, start, stop, names)
            self._header, start = False, stop
        return head + self._mask(buf, start, end, self._program)

    def _mask(self, buf: Buffer, start: int, end: int, program: RowProgram) -> bytes:
        if self._format == "text":
            return frames.mask_copy_text(buf, start, end, program, self._delimiter, self._null)
        if self._format == "csv":
            return frames.mask_copy_csv(
                buf, start, end, program, self._delimiter, self._quote, self._escape, self._null
            )
        return frames.mask_copy_binary(buf, start, end, program, self._state)


def compile_copy(
    plan: MaskPlan,
    type_oids: Sequence[int],
    copy_format: CopyFormat,
    types: Mapping[int, Type],
    keys: Mapping[str, Secret],
) -> CopyMasker:
    """A masker for a COPY whose columns have these types, in order.

    Raises RefusedError (SP1203) when types and plan differ in number, (SP1107) for options that
    PostgreSQL would not accept or that this masker does not know.
    """
    if len(type_oids) != len(plan.columns):
        raise RefusedError(
            refuse(
                "SP1203",
                "the columns of this COPY are not the ones that were judged",
                f"{len(plan.columns)} columns were judged; the server has {len(type_oids)}.",
                "Run it again. If that fails too, list the columns: COPY table (a, b, ...).",
            )
        )
    _check(copy_format)
    code = 1 if copy_format.format == "binary" else 0
    pairs = zip(plan.columns, type_oids, strict=True)
    program = RowProgram([operation(column.spec, oid, code, types, keys) for column, oid in pairs])
    return CopyMasker(program, copy_format)


def _check(copy_format: CopyFormat) -> None:
    if copy_format.format not in ("text", "csv", "binary"):
        raise _unsupported(f"FORMAT {copy_format.format}")
    for option in ("delimiter", "quote", "escape"):
        value = getattr(copy_format, option)
        if len(value) != 1 or not value.isascii() or ord(value) in _NO_DELIMITER:
            raise _unsupported(f"this {option.upper()}")
    if copy_format.format == "text" and ord(copy_format.delimiter) in _NO_TEXT_DELIMITER:
        raise _unsupported("this DELIMITER")
    if copy_format.format == "csv" and (
        copy_format.delimiter == copy_format.quote or copy_format.quote in copy_format.null
    ):
        raise _unsupported("a QUOTE that is also in DELIMITER or NULL")
    if copy_format.format != "binary" and any(
        c in copy_format.null for c in ("\r", "\n", copy_format.delimiter)
    ):
        raise _unsupported("a NULL marker with a delimiter or a line end in it")


def _unsupported(what: str) -> RefusedError:
    return RefusedError(
        refuse(
            "SP1107",
            f"COPY with {what} is not supported through the gateway",
            hint="Use COPY ... TO STDOUT in FORMAT text, csv or binary with default characters.",
        )
    )
