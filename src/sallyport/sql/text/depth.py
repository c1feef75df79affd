"""Room for the recursion that judging takes: Python's recursion limit and the stacks of threads.

The analysis recurses once per level of a statement's tree. Measured over every shape of
``tests/server/test_depth.py`` at :data:`~sallyport.sql.text.parse.MAX_DEPTH` levels: at most three
Python frames a level (set operations), 1,422 in all. Definitions of views and bodies of functions
are walked inside the statement that names them, so the limit leaves room for a few of them; beyond
it RecursionError is SP1105.

CPython 3.11 keeps Python frames off the C stack; only calls that pass through C (the JSON decoder,
``any`` over a generator) use it. With :data:`RECURSION_LIMIT` frames that is below 4 MB where every
frame is such a call, and below 256 kB for statements of the accepted depth.
"""

from __future__ import annotations

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from sallyport.sql.text.parse import MAX_DEPTH

_FRAMES_PER_LEVEL: Final = 3
#: Frames below the judge: an event loop, a web framework, a test runner.
_BELOW: Final = 1_000
RECURSION_LIMIT: Final = _BELOW + 3 * _FRAMES_PER_LEVEL * MAX_DEPTH
#: Bytes of stack of a thread that judges (reserved, not touched). The event loop's has what the
#: system gives a process, mostly 8 MB.
THREAD_STACK: Final = 32 << 20


def make_room() -> None:
    """Raise the interpreter's recursion limit to :data:`RECURSION_LIMIT`; a higher one stays."""
    if sys.getrecursionlimit() < RECURSION_LIMIT:
        sys.setrecursionlimit(RECURSION_LIMIT)


def deep_thread(name: str) -> ThreadPoolExecutor:
    """One thread with a stack of :data:`THREAD_STACK` bytes, started at once. Raises RuntimeError
    when it cannot be.
    """
    executor = ThreadPoolExecutor(1, thread_name_prefix=name)
    before = threading.stack_size(THREAD_STACK)
    try:
        executor.submit(make_room)
    finally:
        threading.stack_size(before)
    return executor
