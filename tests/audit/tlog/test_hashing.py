"""The tree against RFC 6962 written down as it stands there, for trees of all sizes up to some
hundreds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sallyport.audit.tlog.hashing import (
    EMPTY_ROOT,
    TILE_WIDTH,
    TreeEdge,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    perfect_root,
    verify_consistency,
    verify_inclusion,
)
from tests.support.sampling import examples


def sha(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def power_below(n: int) -> int:
    k = 1
    while k * 2 < n:
        k *= 2
    return k


def mth(entries: Sequence[bytes]) -> bytes:
    """RFC 6962 section 2.1."""
    if not entries:
        return sha(b"")
    if len(entries) == 1:
        return sha(b"\x00" + entries[0])
    k = power_below(len(entries))
    return sha(b"\x01" + mth(entries[:k]) + mth(entries[k:]))


def path(m: int, entries: Sequence[bytes]) -> list[bytes]:
    """RFC 6962 section 2.1.1."""
    if len(entries) == 1:
        return []
    k = power_below(len(entries))
    if m < k:
        return [*path(m, entries[:k]), mth(entries[k:])]
    return [*path(m - k, entries[k:]), mth(entries[:k])]


def subproof(m: int, entries: Sequence[bytes], complete: bool) -> list[bytes]:
    """RFC 6962 section 2.1.2."""
    n = len(entries)
    if m == n:
        return [] if complete else [mth(entries)]
    k = power_below(n)
    if m <= k:
        return [*subproof(m, entries[:k], complete), mth(entries[k:])]
    return [*subproof(m - k, entries[k:], False), mth(entries[:k])]


def entries_of(size: int) -> list[bytes]:
    return [f"entry {i}".encode() for i in range(size)]


class Nodes:
    """Hashes of perfect subtrees, as tiles would give them."""

    def __init__(self, entries: Sequence[bytes]) -> None:
        self.leaves = [leaf_hash(entry) for entry in entries]

    def __call__(self, level: int, index: int) -> bytes:
        row = self.leaves[index << level : (index + 1) << level]
        assert len(row) == 1 << level, "asked for a subtree that is not perfect"
        return perfect_root(row)


def test_roots_of_all_sizes() -> None:
    entries = entries_of(600)
    edge = TreeEdge()
    assert edge.root() == EMPTY_ROOT == mth([])
    for size, entry in enumerate(entries, 1):
        full = edge.append(leaf_hash(entry))
        assert edge.size == size
        assert edge.root() == mth(entries[:size]), size
        assert bool(full) == (size % TILE_WIDTH == 0)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 33, 255, 256, 257, 300])
def test_every_inclusion_proof(size: int) -> None:
    entries = entries_of(size)
    node, root = Nodes(entries), mth(entries)
    for index in range(size):
        proof = inclusion_proof(node, index, size)
        assert proof == path(index, entries)
        assert verify_inclusion(leaf_hash(entries[index]), index, size, proof, root)


@pytest.mark.parametrize("size", [*range(1, 66), 127, 128, 129])
def test_every_consistency_proof(size: int) -> None:
    entries = entries_of(size)
    node, root = Nodes(entries), mth(entries)
    for old in range(1, size + 1):
        proof = consistency_proof(node, old, size)
        assert proof == subproof(old, entries[:size], True)
        assert verify_consistency(old, mth(entries[:old]), size, root, proof)
    assert verify_consistency(0, EMPTY_ROOT, size, root, [])


sizes = st.integers(1, 600)


@settings(max_examples=examples(150))
@given(st.data(), sizes)
def test_an_inclusion_proof_holds_for_nothing_else(data: st.DataObject, size: int) -> None:
    entries = entries_of(size)
    index = data.draw(st.integers(0, size - 1))
    root, leaf = mth(entries), leaf_hash(entries[index])
    proof = inclusion_proof(Nodes(entries), index, size)
    assert proof == path(index, entries)
    assert verify_inclusion(leaf, index, size, proof, root)
    wrong_index = data.draw(st.integers(0, size).filter(lambda number: number != index))
    assert not verify_inclusion(leaf, wrong_index, size, proof, root)
    assert not verify_inclusion(leaf_hash(b"another"), index, size, proof, root)
    assert not verify_inclusion(leaf, index, size, proof, sha(b"another root"))
    assert not verify_inclusion(leaf, index, size, [*proof, leaf], root)
    if proof:
        assert not verify_inclusion(leaf, index, size, proof[:-1], root)
        place = data.draw(st.integers(0, len(proof) - 1))
        changed = [*proof[:place], sha(proof[place]), *proof[place + 1 :]]
        assert not verify_inclusion(leaf, index, size, changed, root)


@settings(max_examples=examples(150))
@given(st.data(), sizes)
def test_a_consistency_proof_holds_for_nothing_else(data: st.DataObject, size: int) -> None:
    entries = entries_of(size)
    old = data.draw(st.integers(1, size))
    before, after = mth(entries[:old]), mth(entries)
    proof = consistency_proof(Nodes(entries), old, size)
    assert proof == subproof(old, entries, True)
    assert verify_consistency(old, before, size, after, proof)
    changed = data.draw(st.integers(0, old - 1))
    fork = mth([*entries[:changed], b"forked", *entries[changed + 1 : old]])
    assert not verify_consistency(old, fork, size, after, proof)
    assert not verify_consistency(old, before, size, sha(b"another root"), proof)
    assert not verify_consistency(old, before, size, after, [*proof, after])
    if proof:
        assert not verify_consistency(old, before, size, after, proof[:-1])
        assert not verify_consistency(old, before, size, after, proof[1:])


def test_numbers_that_no_tree_has() -> None:
    node = Nodes(entries_of(3))
    for index, size in ((-1, 3), (3, 3), (0, 0)):
        with pytest.raises(ValueError):
            inclusion_proof(node, index, size)
        assert not verify_inclusion(b"", index, size, [], EMPTY_ROOT)
    with pytest.raises(ValueError):
        consistency_proof(node, 4, 3)
    assert not verify_consistency(4, EMPTY_ROOT, 3, EMPTY_ROOT, [])
