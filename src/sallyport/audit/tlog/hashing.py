"""The Merkle tree of RFC 6962 section 2.1 with SHA-256: hashes, proofs and their verification.

A tree is named by its size and root. Hashes are 32 bytes. What makes proofs gets the hashes of
perfect subtrees from a function ``node(level, index)``: the root of the leaves from
``index << level`` on, ``1 << level`` of them. Verification follows RFC 9162 sections 2.1.3.2
and 2.1.4.2, whose proofs are those of RFC 6962.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Final

HASH_BYTES: Final = 32
#: Hashes in a full tile: a tile is a perfect subtree of this many leaves.
TILE_WIDTH: Final = 256
TILE_HEIGHT: Final = 8
#: The root of the tree without leaves.
EMPTY_ROOT: Final = hashlib.sha256(b"").digest()

#: (level, index) -> the root of a perfect subtree.
NodeSource = Callable[[int, int], bytes]


def leaf_hash(entry: bytes) -> bytes:
    """Of an entry: SHA-256(0x00 | entry)."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Of an inner node: SHA-256(0x01 | left | right)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def perfect_root(hashes: Sequence[bytes]) -> bytes:
    """The root over 1, 2, 4, 8, ... hashes."""
    level = list(hashes)
    while len(level) > 1:
        level = [node_hash(level[i], level[i + 1]) for i in range(0, len(level), 2)]
    return level[0]


def perfect_roots(hashes: Sequence[bytes]) -> list[bytes]:
    """The roots of the perfect subtrees that a row of hashes falls into, largest first."""
    roots, start = [], 0
    while start < len(hashes):
        width = 1 << ((len(hashes) - start).bit_length() - 1)
        roots.append(perfect_root(hashes[start : start + width]))
        start += width
    return roots


def folded_root(roots: Sequence[bytes]) -> bytes:
    """The root of a tree from those of its perfect subtrees, largest first."""
    if not roots:
        return EMPTY_ROOT
    root = roots[-1]
    for left in reversed(roots[:-1]):
        root = node_hash(left, root)
    return root


def _split(size: int) -> int:
    """The largest power of two below ``size``, which is at least 2."""
    return 1 << ((size - 1).bit_length() - 1)


def range_root(node: NodeSource, start: int, end: int) -> bytes:
    """The root over the leaves from ``start`` to ``end`` (excluded), a range that RFC 6962 makes:
    ``start`` is a multiple of the smallest power of two that is not below its length.
    """
    size = end - start
    if size == 0:
        return EMPTY_ROOT
    if size & (size - 1) == 0:
        level = size.bit_length() - 1
        return node(level, start >> level)
    middle = start + _split(size)
    return node_hash(range_root(node, start, middle), range_root(node, middle, end))


def inclusion_proof(node: NodeSource, index: int, size: int) -> list[bytes]:
    """That leaf ``index`` is in the tree of ``size``: sibling hashes, from the leaf to the root.
    Raises ValueError for a leaf that is not in the tree.
    """
    if not 0 <= index < size:
        raise ValueError(f"a tree of {size} has no leaf {index}")
    path: list[bytes] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            path.append(range_root(node, middle, end))
            end = middle
        else:
            path.append(range_root(node, start, middle))
            start = middle
    return path[::-1]


def consistency_proof(node: NodeSource, old: int, new: int) -> list[bytes]:
    """That the tree of size ``new`` begins with that of size ``old`` (RFC 6962 section 2.1.2).
    Raises ValueError unless 0 <= old <= new.
    """
    if not 0 <= old <= new:
        raise ValueError(f"a tree of {new} does not begin with one of {old}")
    if old in (0, new):
        return []
    path: list[bytes] = []
    start, end, complete = 0, new, True
    while old != end:
        middle = start + _split(end - start)
        if old <= middle:
            path.append(range_root(node, middle, end))
            end = middle
        else:
            path.append(range_root(node, start, middle))
            start, complete = middle, False
    if not complete:
        path.append(range_root(node, start, end))
    return path[::-1]


def verify_inclusion(
    leaf: bytes,
    index: int,
    size: int,
    proof: Sequence[bytes],
    root: bytes,
) -> bool:
    """Whether the proof says that the leaf with this hash is number ``index`` of the tree."""
    if not 0 <= index < size:
        return False
    number, last, result = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return False
        if number & 1 or number == last:
            result = node_hash(sibling, result)
            while not number & 1 and number:
                number, last = number >> 1, last >> 1
        else:
            result = node_hash(result, sibling)
        number, last = number >> 1, last >> 1
    return last == 0 and result == root


def verify_consistency(
    old: int,
    old_root: bytes,
    new: int,
    new_root: bytes,
    proof: Sequence[bytes],
) -> bool:
    """Whether the proof says that the tree of size ``new`` begins with that of size ``old``."""
    if not 0 <= old <= new:
        return False
    if old == new:
        return not proof and old_root == new_root
    if old == 0:
        return not proof and old_root == EMPTY_ROOT
    path = list(proof) if old & (old - 1) else [old_root, *proof]
    number, last = old - 1, new - 1
    while number & 1:
        number, last = number >> 1, last >> 1
    return bool(path) and _roots_of(path, number, last) == (old_root, new_root)


def _roots_of(path: Sequence[bytes], number: int, last: int) -> tuple[bytes, bytes] | None:
    """Both roots that a consistency proof leads to; None when it has too many or too few hashes."""
    first = second = path[0]
    for sibling in path[1:]:
        if last == 0:
            return None
        if number & 1 or number == last:
            first, second = node_hash(sibling, first), node_hash(sibling, second)
            while not number & 1 and number:
                number, last = number >> 1, last >> 1
        else:
            second = node_hash(second, sibling)
        number, last = number >> 1, last >> 1
    return (first, second) if last == 0 else None


class TreeEdge:
    """The right edge of a growing tree: for each level of tiles the hashes of the partial one.

    ``levels[n]`` has the roots of perfect subtrees of ``256 ** n`` leaves that are not yet in a
    full tile; at most 255. That is all that is needed to append leaves and to know the root.
    """

    __slots__ = ("levels", "size")

    def __init__(self, size: int = 0, levels: Sequence[Sequence[bytes]] = ()) -> None:
        self.size = size
        self.levels: list[list[bytes]] = [list(level) for level in levels]

    def copy(self) -> TreeEdge:
        return TreeEdge(self.size, self.levels)

    def append(self, leaf: bytes) -> list[tuple[int, int, bytes]]:
        """Add a leaf's hash. The tiles that it makes full: level, index and content of each."""
        self.size += 1
        full: list[tuple[int, int, bytes]] = []
        level, digest = 0, leaf
        while True:
            if level == len(self.levels):
                self.levels.append([])
            hashes = self.levels[level]
            hashes.append(digest)
            if len(hashes) < TILE_WIDTH:
                return full
            index = (self.size >> (TILE_HEIGHT * (level + 1))) - 1
            full.append((level, index, b"".join(hashes)))
            digest = perfect_root(hashes)
            hashes.clear()
            level += 1

    def partial(self) -> list[tuple[int, int, bytes]]:
        """The tiles that are not full: level, index and content of each, empty ones left out."""
        return [
            (level, self.size >> (TILE_HEIGHT * (level + 1)), b"".join(hashes))
            for level, hashes in enumerate(self.levels)
            if hashes
        ]

    def root(self) -> bytes:
        roots: list[bytes] = []
        for hashes in reversed(self.levels):
            roots += perfect_roots(hashes)
        return folded_root(roots)
