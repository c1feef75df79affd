"""Waiting for what has to happen: by looking again and again, never by the clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

#: Seconds. Long, since it costs nothing where all is well: a loaded machine is no failure.
PATIENCE = 100.0
#: Seconds between two looks: a look may be a command, or a request, of a good part of a core.
_SHORTEST, _LONGEST = 0.01, 0.25

Result = TypeVar("Result")


def wait_for(condition: Callable[[], Result], seconds: float = PATIENCE) -> Result:
    """The first true value that ``condition`` gives. AssertionError when there is none in time.
    Pauses grow to a quarter of what it has waited.
    """
    began = time.monotonic()
    while not (result := condition()):
        waited = time.monotonic() - began
        assert waited < seconds, "it did not happen in time"
        time.sleep(min(max(_SHORTEST, waited / 4), _LONGEST))
    return result
