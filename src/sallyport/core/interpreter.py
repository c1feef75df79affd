"""The interpreter, shared between the event loop and threads that compute beside it."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

#: Seconds after which a thread that wants the interpreter gets it, while something is computed
#: beside the event loop.
_SWITCH = 0.0005
_USUAL_SWITCH = sys.getswitchinterval()

_lock = threading.Lock()
_computing = 0

P = ParamSpec("P")
T = TypeVar("T")


@contextmanager
def computing_beside() -> Iterator[None]:
    """For threads beside the event loop's, which meanwhile gets the interpreter back ten times as
    soon as usual.
    """
    global _computing
    with _lock:
        _computing += 1
        sys.setswitchinterval(_SWITCH)
    try:
        yield
    finally:
        with _lock:
            _computing -= 1
            if not _computing:
                sys.setswitchinterval(_USUAL_SWITCH)


async def compute_beside(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """What ``function`` returns or raises, computed on another thread."""

    def compute() -> T:
        with computing_beside():
            return function(*args, **kwargs)

    return await asyncio.to_thread(compute)
