"""The interpreter, shared between the event loop and threads that compute beside it: whose turn
it is, and when it looks for garbage.
"""

from __future__ import annotations

import asyncio
import gc
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

#: May be entered again: a collection that stands in front of it may run anything.
_collecting_lock = threading.RLock()
_not_collecting = 0
_collected_before = False

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


@contextmanager
def without_collecting() -> Iterator[None]:
    """No garbage is searched for, in no thread: for objects that are made by the ten thousand, none
    of them garbage, of which each collection would look at all. Several threads may be in here;
    with the last one it is as it was before the first.
    """
    global _not_collecting, _collected_before
    with _collecting_lock:
        if not _not_collecting:
            _collected_before = gc.isenabled()
            gc.disable()
        _not_collecting += 1
    try:
        yield
    finally:
        with _collecting_lock:
            _not_collecting -= 1
            if not _not_collecting and _collected_before:
                gc.enable()


async def compute_beside(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """What ``function`` returns or raises, computed on another thread."""

    def compute() -> T:
        with computing_beside():
            return function(*args, **kwargs)

    return await asyncio.to_thread(compute)
