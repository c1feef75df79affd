"""What dead workers left is recovered by those that start, whichever of them starts first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

import pytest

from sallyport.app.record import take_up
from sallyport.audit.journal import Journal
from sallyport.audit.keys import NO_KEYS
from sallyport.audit.ports import INTERRUPTED
from sallyport.audit.recorder import Recorder
from sallyport.audit.tlog.log import TransparencyLog
from sallyport.audit.tlog.outbox import LogOutbox
from sallyport.audit.tlog.tiles import DIRECTORY
from sallyport.core.owners import Owners
from sallyport.core.worker import Worker
from sallyport.operations.sessions import Sessions
from sallyport.store.database import open_database
from sallyport.store.sessions import SqlSessionIndex
from tests.audit.helpers import ListIndex, begin, judged
from tests.support.waiting import wait_for


@dataclass
class Home:
    """A gateway's data directory. ``processes``: workers of the next start."""

    path: Path
    processes: int

    def __post_init__(self) -> None:
        self.recordings = self.path / "recordings"
        self.engine = open_database(self.path)
        log = TransparencyLog(self.recordings / DIRECTORY, self.path)
        log.open()
        log.make_checkpoint()
        log.close()

    def leave(self, number: int) -> str:
        """A worker dies with a session of which the journal knows more than the recording, and the
        index nothing. The session's id.
        """
        journal = Journal(self.recordings, number=number)
        journal.open()
        recorder = Recorder(
            self.path, ListIndex(), interval=0.001, gateway=f"gateway-{number}-dead"
        )
        recorder.journal = journal
        recorder.start()
        session = begin(recorder)
        session.statement(judged(1, "UPDATE t SET n = 1", outcome="allow"))
        wait_for(lambda: recorder.backlog == 0)
        recorder._stopping = True
        recorder._wake.set()
        assert recorder._thread is not None
        recorder._thread.join()
        session.statement(judged(2, "UPDATE t SET n = 2", outcome="allow"))
        batch = journal.take()
        assert batch is not None
        journal.write(batch)
        journal.close()
        return session.id

    def start(self, number: int) -> None:
        """Worker ``number`` takes up what is there, and ends."""
        owners = Owners(self.path, f"gateway-{number}-new")
        index = SqlSessionIndex(self.engine, is_dead=owners.is_dead)
        directory = self.recordings / DIRECTORY
        log: TransparencyLog | LogOutbox = LogOutbox(directory, number)
        if number == 0:
            log = TransparencyLog(directory, self.path)
        worker = Worker(number, self.processes)
        take_up(self.recordings, index, log, NO_KEYS, worker, owners)
        log.close()
        owners.close()

    def problems(self) -> list[str]:
        sessions = Sessions(self.recordings, SqlSessionIndex(self.engine))
        return [str(problem) for result in sessions.verify() for problem in result.problems]


@pytest.mark.parametrize("order", [*permutations((0, 1, 2)), (0, 1), (1, 0)], ids=str)
def test_the_log_has_heads_in_the_order_of_blocks(tmp_path: Path, order: Sequence[int]) -> None:
    """Of three workers that died; as many start again, or two."""
    home = Home(tmp_path, processes=len(order))
    ids = [home.leave(number) for number in range(3)]
    for number in order:
        home.start(number)
    assert home.problems() == []
    rows = [SqlSessionIndex(home.engine).get(id_) for id_ in ids]
    assert [row and (row.status, row.statements) for row in rows] == [(INTERRUPTED, 2)] * 3
    home.engine.dispose()
