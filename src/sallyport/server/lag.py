"""How far the recorder is behind, in time.

Every so often somebody notes how much was accepted; what was noted longest ago and is not yet on
disk tells the age of the oldest event that waits, less the time to the next note.
"""

from __future__ import annotations

from collections import deque


class RecorderLag:
    """``accepted`` and ``written``: bytes since the start. ``now``: monotonic seconds."""

    def __init__(self) -> None:
        # (accepted, when), of what is not written yet
        self._marks: deque[tuple[int, float]] = deque()

    def note(self, now: float, accepted: int, written: int) -> None:
        """Remember how much was accepted by now."""
        self._forget(written)
        if accepted > written and (not self._marks or self._marks[-1][0] < accepted):
            self._marks.append((accepted, now))

    def seconds(self, now: float, written: int) -> float:
        """Age of the oldest event that is noted and not on disk; 0 when there is none."""
        self._forget(written)
        return now - self._marks[0][1] if self._marks else 0.0

    def _forget(self, written: int) -> None:
        while self._marks and self._marks[0][0] <= written:
            self._marks.popleft()
