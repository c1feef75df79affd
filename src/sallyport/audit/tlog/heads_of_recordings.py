"""A recording's blocks as the log knows them, and whether a head that was proven is one of them."""

from __future__ import annotations

from pathlib import Path

from sallyport.audit.archive import RecordingError
from sallyport.audit.ports import LIVE
from sallyport.audit.reader import RecordingReader
from sallyport.audit.tlog.entries import Head
from sallyport.audit.verify import (
    INSERTION,
    REPLACED,
    TRUNCATED,
    UNREADABLE,
    Verification,
    VerificationProblem,
)


def block_hashes(path: Path) -> list[str]:
    """In hex, as they stand in the file. Raises RecordingError, OSError."""
    with RecordingReader(path) as reader:
        return [digest.hex() for digest in reader.hashes()]


def compare_head(result: Verification, head: Head) -> None:
    """Add to the verdict on a recording whether its newest block is the head that a proof has."""
    if result.session != head.session:
        text = f"this is the recording of {result.session}, the proof is about {head.session}"
        result.problems.append(VerificationProblem(REPLACED, text))
        return
    try:
        hashes = block_hashes(result.path)
    except (RecordingError, OSError) as error:
        result.problems.append(VerificationProblem(UNREADABLE, str(error)))
        return
    if head.head not in hashes:
        kind = REPLACED if result.ended else TRUNCATED
        result.problems.append(
            VerificationProblem(kind, "the block that is proven is not in the file")
        )
    elif head.status != LIVE and hashes[-1] != head.head:
        result.problems.append(
            VerificationProblem(INSERTION, "blocks follow the one that is proven as the last"),
        )
