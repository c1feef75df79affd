"""Witnessing the logs of others: C2SP tlog-witness and tlog-cosignature.

A :class:`Cosigner` signs a checkpoint of a log that it is configured with once it is proven to
continue the last one that it signed for that log, which it keeps on disk before it answers. A log
that was rolled back or forked therefore gets no signature from then on::

    request  = "old " size "\\n" (base64 of a hash "\\n")* "\\n" checkpoint
    answer   = signature lines

The key is the cosigner's own and serves nothing else.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from sallyport.audit.archive import make_directories
from sallyport.audit.tlog.hashing import EMPTY_ROOT, HASH_BYTES, verify_consistency
from sallyport.audit.tlog.keyfile import make_key, read_key
from sallyport.audit.tlog.notes import (
    Checkpoint,
    NoteError,
    SigningKey,
    VerifyKey,
    WrongKeyError,
    decode_base64,
    encode_base64,
)
from sallyport.audit.tlog.reading import read_checkpoint
from sallyport.audit.tlog.tiles import TileWriter
from sallyport.core.clock import Clock, SystemClock

#: In the data directory.
KEY_FILE: Final = "cosigner.key"
_DIRECTORY: Final = "cosigned"
_OLD: Final = re.compile(r"old (0|[1-9][0-9]{0,18})")
_MAX_STEPS: Final = 63
PLAIN: Final = "text/plain; charset=utf-8"
SIZE: Final = "text/x.tlog.size"

_log = structlog.get_logger("sallyport.audit")


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP status, and the body with its type."""

    status: int
    text: str
    content_type: str = PLAIN


@dataclass(frozen=True, slots=True)
class CosignRequest:
    """``old``: the size that the cosigner signed last. ``proof``: from it to the checkpoint."""

    old: int
    proof: tuple[bytes, ...]
    checkpoint: Checkpoint

    @classmethod
    def parse(cls, body: bytes) -> CosignRequest:
        """Raises NoteError. No signature is checked."""
        try:
            text = body.decode("utf-8")
        except UnicodeDecodeError:
            raise NoteError("not UTF-8") from None
        head, blank, note = text.partition("\n\n")
        lines = head.split("\n")
        size = _OLD.fullmatch(lines[0])
        if size is None or not blank:
            raise NoteError("the first line is 'old' and a size, and an empty line ends the proof")
        proof = tuple(decode_base64(line, "a line of the proof") for line in lines[1:])
        if len(proof) > _MAX_STEPS or any(len(digest) != HASH_BYTES for digest in proof):
            raise NoteError("a hash in the proof has not 32 bytes, or there are too many")
        return cls(int(size.group(1)), proof, Checkpoint.parse(note))

    def encode(self) -> bytes:
        """The body of a request."""
        lines = [f"old {self.old}", *map(encode_base64, self.proof)]
        return ("\n".join(lines) + f"\n\n{self.checkpoint}").encode()


class Cosigner:
    """``data``: where its key and what it signed last are kept; the key is made there when there is
    none. ``keys``: of the logs that it serves. Raises ConfigError, OSError.
    """

    def __init__(self, data: Path, keys: Sequence[VerifyKey], clock: Clock | None = None) -> None:
        path = data / KEY_FILE
        if not path.exists():
            seed_name = f"sallyport-witness/{secrets.token_hex(8)}"
            make_key(path, SigningKey.generate(seed_name).cosigner(seed_name))
        self._key = read_key(path)
        self._keys = {key.name: key for key in keys}
        self._directory = data / _DIRECTORY
        self._clock: Clock = clock or SystemClock()
        self._lock = threading.Lock()

    @property
    def public(self) -> VerifyKey:
        return self._key.public

    def add_checkpoint(self, body: bytes) -> Answer:
        """What a log gets for a request. Blocks: reads and writes files. Raises OSError,
        SallyportError when what was signed last cannot be read: nothing is signed then.
        """
        try:
            request = CosignRequest.parse(body)
        except NoteError as error:
            return Answer(400, f"{error}\n")
        checkpoint = request.checkpoint
        key = self._keys.get(checkpoint.origin)
        if key is None:
            return Answer(404, "this log is not one of audit.cosign\n")
        try:
            checkpoint.note.check(key)
        except WrongKeyError as error:
            return Answer(403, f"{error}\n")
        if request.old > checkpoint.size:
            return Answer(400, "the old size is above that of the checkpoint\n")
        with self._lock:
            return self._sign(request, key)

    def _sign(self, request: CosignRequest, key: VerifyKey) -> Answer:
        checkpoint = request.checkpoint
        path = self._directory / hashlib.sha256(checkpoint.origin.encode()).hexdigest()
        last = read_checkpoint(path, key) if path.exists() else None
        size, root = (0, EMPTY_ROOT) if last is None else (last.size, last.root)
        is_fork = size == checkpoint.size and root != checkpoint.root
        if request.old != size or is_fork:
            if is_fork:
                _log.error("a log has two trees of one size", origin=key.name, size=size)
            return Answer(409, f"{size}\n", SIZE)
        if not verify_consistency(size, root, checkpoint.size, checkpoint.root, request.proof):
            _log.error(
                "a log does not continue what was cosigned",
                origin=key.name,
                old=size,
                new=checkpoint.size,
            )
            return Answer(422, "the proof does not lead from the old tree to this one\n")
        make_directories(self._directory)
        writer = TileWriter(self._directory)
        writer.write(path.name, str(checkpoint).encode())
        writer.settle()
        signature = self._key.cosign(checkpoint.note.text, int(self._clock.now()))
        return Answer(200, signature.line())
