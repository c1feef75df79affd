"""A proof that anybody can check with the log's public key alone: C2SP tlog-proof.

::

    c2sp.org/tlog-proof@v1
    extra <base64 of the entry>
    index <number of the leaf>
    <base64 of a hash, for each step from the leaf's sibling to the root>

    <checkpoint, a signed note>

The entry (:mod:`sallyport.audit.tlog.entries`) is what is proven; its hash is recomputed from
``extra``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sallyport.audit.tlog.entries import Entry, decode_entry
from sallyport.audit.tlog.hashing import HASH_BYTES, inclusion_proof, leaf_hash, verify_inclusion
from sallyport.audit.tlog.notes import (
    Checkpoint,
    NoteError,
    VerifyKey,
    decode_base64,
    encode_base64,
)
from sallyport.audit.tlog.reading import LogReader

_FIRST: Final = "c2sp.org/tlog-proof@v1"
_INDEX: Final = re.compile(r"index (0|[1-9][0-9]{0,18})")
_MAX_STEPS: Final = 63
_MAX_PROOF: Final = 500_000


@dataclass(frozen=True, slots=True)
class Proof:
    """``entry``: the leaf's bytes. ``hashes``: from the leaf's sibling on."""

    entry: bytes
    index: int
    hashes: tuple[bytes, ...]
    checkpoint: Checkpoint

    @classmethod
    def parse(cls, text: str) -> Proof:
        """Raises NoteError. Nothing of it is verified yet."""
        head, blank, note = text.partition("\n\n")
        lines = head.split("\n")
        if lines[0] != _FIRST or not blank or len(text) > _MAX_PROOF:
            raise NoteError(f"not a proof: it begins with the line {_FIRST!r}")
        if len(lines) < 3 or not lines[1].startswith("extra "):
            raise NoteError("the proof has no line 'extra' with the entry that it is about")
        number = _INDEX.fullmatch(lines[2])
        if number is None:
            raise NoteError("the proof has no line 'index' with the number of the leaf")
        hashes = tuple(decode_base64(line, "a line of the proof") for line in lines[3:])
        if len(hashes) > _MAX_STEPS or any(len(digest) != HASH_BYTES for digest in hashes):
            raise NoteError("a hash in the proof has not 32 bytes, or there are too many")
        entry = decode_base64(lines[1].removeprefix("extra "), "the entry")
        return cls(entry, int(number.group(1)), hashes, Checkpoint.parse(note))

    def __str__(self) -> str:
        lines = [_FIRST, f"extra {encode_base64(self.entry)}", f"index {self.index}"]
        lines += [encode_base64(digest) for digest in self.hashes]
        return "\n".join(lines) + f"\n\n{self.checkpoint}"

    def check(self, key: VerifyKey) -> Entry:
        """The entry that is proven. Raises NoteError when the proof does not hold: WrongKeyError
        for a checkpoint of another key; EntryError for an entry that this version does not know.
        """
        checkpoint = Checkpoint.parse(str(self.checkpoint), key)
        leaf = leaf_hash(self.entry)
        if not verify_inclusion(leaf, self.index, checkpoint.size, self.hashes, checkpoint.root):
            raise NoteError(
                f"the entry is not number {self.index} of the {checkpoint.size} entries that the "
                "checkpoint signs: entry, number, hashes or checkpoint were changed"
            )
        return decode_entry(self.entry)


def prove_session(directory: Path, session: str) -> Proof:
    """That the log has the newest head of a session. Raises NoteError when it has none, or none
    under a checkpoint; TileError for a log that cannot be read.
    """
    log = LogReader(directory)
    newest = log.newest_head(session)
    if newest is None:
        raise NoteError(
            f"the log has no entry of {session}: heads are logged when a session ends, and every "
            "ten minutes (audit.head_seconds) while it runs"
        )
    index = newest[0]
    if index >= log.checkpoint.size:
        raise NoteError(
            f"entry {index} of {session} is under no checkpoint yet. Try again in a minute: the "
            "running gateway makes one every audit.checkpoint_seconds, and one when it starts"
        )
    entry = log.tiles.entries(index // 256)[index % 256]
    hashes = inclusion_proof(log.tiles.node, index, log.checkpoint.size)
    return Proof(entry, index, tuple(hashes), log.checkpoint)
