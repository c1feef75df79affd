"""Programs under test: what the demo uses to run one, and what memory and processor it takes."""

from __future__ import annotations

from pathlib import Path

import psutil

from sallyport.demo.process import ProcessError, Program

__all__ = ["ProcessError", "Program", "cpu_seconds", "rss"]


def cpu_seconds(program: Program) -> float:
    """CPU time so far, of a program and its children, by the scheduler's accounting (proc(5),
    schedstat).
    """
    parent = psutil.Process(program.process.pid)
    tasks = [
        task
        for process in [parent, *parent.children(recursive=True)]
        for task in Path(f"/proc/{process.pid}/task").iterdir()
    ]
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def rss(program: Program) -> int:
    """Resident memory in bytes, of a program and its children."""
    parent = psutil.Process(program.process.pid)
    return sum(process.memory_info().rss for process in [parent, *parent.children(recursive=True)])
