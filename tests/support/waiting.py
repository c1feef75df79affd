"""Waiting for what has to happen: by looking again and again, never by the clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

#: Seconds. Long, since it costs nothing where all is well: a loaded machine is no failure.
PATIENCE = 100.0
_PAUSE = 0.01

Result = TypeVar("Result")


def wait_for(condition: Callable[[], Result], seconds: float = PATIENCE) -> Result:
    """The first true value that ``condition`` gives. AssertionError when there is none in time."""
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(_PAUSE)
    return result
