"""``sallyport`` without its journal of intents, to measure what that costs. Never for use."""

from __future__ import annotations

from sallyport.audit.journal import Journal, JournaledRecording
from sallyport.cli.main import main


def append(journal: Journal, recording: JournaledRecording, statement: bytes, accepted: int) -> int:
    """Nothing waits for the intent that comes before the first."""
    return 0


if __name__ == "__main__":
    Journal.append = append  # type: ignore[method-assign]
    main()
