"""How file descriptors are shared out."""

from __future__ import annotations

import pytest

from sallyport.server.descriptors import Descriptors


@pytest.mark.parametrize(
    ("limit", "sessions", "recordings"),
    [(1 << 20, 1000, 1064), (4096, 1000, 1064), (3000, 1000, 456), (2048, 1000, 64)],
)
def test_recordings_stay_open_as_far_as_descriptors_suffice(
    limit: int, sessions: int, recordings: int
) -> None:
    descriptors = Descriptors(limit, reserve=min(limit // 8, 1024))
    assert descriptors.recordings(sessions, logins=105) == recordings
