"""What the supervisor makes of silence."""

from __future__ import annotations

import pytest

from sallyport.workers import frames, hub
from sallyport.workers.frames import Frame
from sallyport.workers.hub import Hub


def test_silence_counts_from_the_last_sign_of_life(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(hub.time, "monotonic", lambda: now)
    made = Hub(lambda number, address: None)
    assert made.silent_seconds(1) == 0.0, "it was not started"
    made.take(Frame(frames.BEAT, 1))
    now = 130.0
    assert made.silent_seconds(1) == 30.0 and made.silent_seconds(0) == 0.0
    made.forgive_silence()  # the machine was suspended
    assert made.silent_seconds(1) == 0.0
    now = 131.0
    assert made.silent_seconds(1) == 1.0
    made.take(Frame(frames.SAY, 1, "locks", b""))
    assert made.silent_seconds(1) == 0.0
    made.remove(1)
    now = 200.0
    assert made.silent_seconds(1) == 0.0, "another one takes its place"
