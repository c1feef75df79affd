"""Rows longer than what is kept in memory, masked as they come: how long the masked cells are
decides nothing that the client can see.
"""

from __future__ import annotations

from typing import Final

from sallyport.core.errors import ProtocolError
from sallyport.wire.frames import RowProgram, constant, keep, mask_rows, null

Buffer = bytes | bytearray

_KEPT: Final = keep().code
#: Operations by which cells become the same whatever they hold, but for NULL.
_REPLACED: Final = frozenset({null().code, constant(b"").code, constant(b"", False).code})


class LongRow:
    """A DataRow that comes in pieces, and that is masked. ``bound``: bytes of the cells that are
    not masked, and twice that of those by whose values masks differ: what is over it becomes NULL,
    which every other mask replaces.
    """

    __slots__ = (
        *("_bound", "_cells", "_column", "_head", "_is_held"),
        *("_kept", "_left", "_program", "_room"),
    )

    def __init__(self, program: RowProgram, bound: int) -> None:
        self._program, self._bound = program, bound
        self._kept, self._room = 0, 2 * bound
        self._cells, self._head = bytearray(), bytearray()
        self._column, self._left, self._is_held = -1, 0, False

    @property
    def is_too_long(self) -> bool:
        return self._kept > self._bound

    def feed(self, data: Buffer) -> None:
        """The next bytes of the message. Raises ProtocolError where it is no row of the program."""
        position = 0
        while position < len(data) and not self.is_too_long:
            if self._left:
                end = position + min(self._left, len(data) - position)
                if self._is_held:
                    self._cells += memoryview(data)[position:end]
                self._left -= end - position
            else:
                end = position + (7 if self._column < 0 else 4) - len(self._head)
                self._head += memoryview(data)[position:end]
                if end <= len(data):
                    self._begin_cell()
            position = end

    def _begin_cell(self) -> None:
        column, size = self._column, int.from_bytes(self._head[-4:], "big", signed=True)
        self._column += 1
        count = int.from_bytes(self._head[5:7], "big")
        is_head = column < 0
        self._head.clear()
        if (is_head and count != self._program.columns) or column >= self._program.columns:
            raise ProtocolError("a row of other columns than its result has")
        if is_head:
            return
        self._left, self._is_held = max(size, 0), True
        if self._program.codes[column] == _KEPT:
            self._kept += 4 + self._left
        elif self._program.codes[column] in _REPLACED:
            self._is_held, size = False, min(size, 0)
        elif size > min(self._bound, self._room):
            self._is_held, size = False, -1
        else:
            self._room -= self._left
        self._cells += size.to_bytes(4, "big", signed=True)

    def masked(self) -> bytes:
        """The whole message. Raises ProtocolError where it is not complete."""
        if self._column != self._program.columns or self._left:
            raise ProtocolError("a row whose cells are not as long as it is")
        row = bytearray(b"D\0\0\0\0")
        row += self._program.columns.to_bytes(2, "big") + self._cells
        row[1:5] = (len(row) - 1).to_bytes(4, "big")
        return bytes(mask_rows(row, 0, len(row), self._program))


def masked_row(
    program: RowProgram, buffer: Buffer, start: int, end: int, bound: int
) -> bytes | None:
    """A row that came whole; None where it is too long."""
    row = LongRow(program, bound)
    row.feed(bytes(memoryview(buffer)[start:end]))
    return None if row.is_too_long else row.masked()
