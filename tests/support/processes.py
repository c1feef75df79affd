"""Programs under test: what the demo uses to run one, and how much memory it takes."""

from __future__ import annotations

import psutil

from sallyport.demo.process import ProcessError, Program

__all__ = ["ProcessError", "Program", "rss"]


def rss(program: Program) -> int:
    """Resident memory in bytes, of a program and its children."""
    parent = psutil.Process(program.process.pid)
    return sum(process.memory_info().rss for process in [parent, *parent.children(recursive=True)])
