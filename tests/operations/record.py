"""A record that grows, and who follows it."""

from __future__ import annotations

import time
from pathlib import Path

from sallyport.audit.recorder import Recorder
from sallyport.operations.auditlog import ExportCursor
from sallyport.operations.following import RecordFollower
from sallyport.operations.sessions import Sessions
from sallyport.store.database import open_database
from sallyport.store.sessions import SqlSessionIndex
from sallyport.store.writer import Writer
from tests.support.waiting import wait_for


class Record:
    """A recorder with its index, and who follows them."""

    def __init__(self, directory: Path) -> None:
        engine = open_database(directory)
        self.writer = Writer(engine, interval=0.01)
        self.writer.start()
        self.recorder = Recorder(directory, SqlSessionIndex(engine, self.writer), interval=0.01)
        self.recorder.start()
        self.index = SqlSessionIndex(engine)
        self.sessions = Sessions(directory / "recordings", self.index)
        self.problems: list[str] = []
        self.follower = self.follow(ExportCursor())

    def follow(self, cursor: ExportCursor) -> RecordFollower:
        def note(session: str, problem: str) -> None:
            self.problems.append(problem)

        return RecordFollower(self.sessions, cursor, note)

    def settle(self) -> None:
        """Everything is on disk and in the index."""
        wait_for(lambda: not self.recorder.backlog)
        self.recorder._saved = 0.0  # the index is to hear of live sessions now
        self.recorder._wake.set()
        wait_for(lambda: self.recorder._saved)
        self.writer.flush()

    def ids(self, now: float | None = None) -> list[str]:
        return [event.id for event in self.follower.events(now or time.time())]
