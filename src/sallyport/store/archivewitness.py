"""The archive as a witness: each checkpoint of the log of recordings as an object that is created
once, so that nobody without the right to delete in the bucket takes it back. With object lock
nobody does until the lock is over.

Objects are named ``checkpoints/<origin>/<number>-<size>``. The number counts down, so that the
newest is the first in the order of names, which S3 lists by (ListObjectsV2).
"""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

from sallyport.audit.tlog.notes import Checkpoint, NoteError, VerifyKey
from sallyport.audit.tlog.witnesses import (
    ForkError,
    TreeSource,
    WitnessError,
    check_continues,
)
from sallyport.store.objects import ArchiveError, ConflictError, MissingError, ObjectArchive

_DIGITS: Final = 20
_LARGEST: Final = 10**_DIGITS - 1


class ArchiveWitness:
    """A :class:`sallyport.audit.tlog.witnesses.Witness`."""

    def __init__(self, archive: ObjectArchive) -> None:
        self._archive = archive
        self.name = f"archive {archive.url}"

    def send(self, checkpoint: Checkpoint, tree: TreeSource) -> None:
        """Raises WitnessError."""
        try:
            before = self._newest(checkpoint.origin)
            self._create(checkpoint)
        except ArchiveError as error:
            raise WitnessError(str(error)) from None
        check_continues(before, checkpoint, tree)

    def newest(self, key: VerifyKey) -> Checkpoint | None:
        """Raises WitnessError."""
        try:
            checkpoint = self._newest(key.name)
            return Checkpoint.parse(str(checkpoint), key) if checkpoint is not None else None
        except NoteError:
            return None
        except ArchiveError as error:
            raise WitnessError(str(error)) from None

    def seen(self, origin: str) -> str:
        """The newest checkpoint of a log, whose signature is not checked; "" where there is none.
        Raises ArchiveError.
        """
        checkpoint = self._newest(origin)
        return "" if checkpoint is None else str(checkpoint)

    def _create(self, checkpoint: Checkpoint) -> None:
        """Raises ArchiveError, and ForkError where another log has an object of this name."""
        name = f"{_prefix(checkpoint.origin)}{_LARGEST - checkpoint.size:020}-{checkpoint.size}"
        try:
            self._archive.create(name, f"{checkpoint}\n".encode())
        except ConflictError:  # the same, with other signatures of cosigners?
            kept = _parsed(self._archive.read(name))
            if kept is None or (kept.size, kept.root) != (checkpoint.size, checkpoint.root):
                raise ForkError(f"has seen another log at size {checkpoint.size}: a fork") from None

    def _newest(self, origin: str) -> Checkpoint | None:
        """Its signature is not checked. Raises ArchiveError."""
        name = self._archive.first(_prefix(origin))
        if name is None:
            return None
        try:
            return _parsed(self._archive.read(name))
        except MissingError:
            return None


def _prefix(origin: str) -> str:
    return f"checkpoints/{quote(origin)}/"


def _parsed(data: bytes) -> Checkpoint | None:
    try:
        return Checkpoint.parse(data.decode("utf-8", "replace").removesuffix("\n\n") + "\n")
    except NoteError:
        return None
