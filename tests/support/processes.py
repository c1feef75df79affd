"""Programs under test: what the demo uses to run one, and what memory and processor it takes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import psutil

from sallyport.demo.process import ProcessError, Program

__all__ = ["ProcessError", "ProcessorTime", "Program", "processor_time", "rss"]


class ProcessorTime(NamedTuple):
    """Seconds of processor; ``user``: of them outside the kernel."""

    total: float
    user: float

    def since(self, before: ProcessorTime) -> ProcessorTime:
        return ProcessorTime(self.total - before.total, self.user - before.user)

    def each(self, count: int) -> ProcessorTime:
        """Of so many equal pieces of work, one."""
        return ProcessorTime(self.total / count, self.user / count)


def processor_time(program: Program) -> ProcessorTime:
    """So far, of a program and its children, by the scheduler's accounting (proc(5), schedstat and
    stat).
    """
    parent = psutil.Process(program.process.pid)
    tasks = [
        task
        for process in [parent, *parent.children(recursive=True)]
        for task in Path(f"/proc/{process.pid}/task").iterdir()
    ]
    total = sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9
    stats = [(task / "stat").read_text().rpartition(")")[2].split() for task in tasks]
    user = sum(int(fields[11]) for fields in stats)
    return ProcessorTime(total, user / os.sysconf("SC_CLK_TCK"))


def rss(program: Program) -> int:
    """Resident memory in bytes, of a program and its children."""
    parent = psutil.Process(program.process.pid)
    return sum(process.memory_info().rss for process in [parent, *parent.children(recursive=True)])
