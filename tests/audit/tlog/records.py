"""Data directories as a gateway leaves them: recordings, index and log."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sallyport.audit.keys import NO_KEYS, KeyRing, LocalKey
from sallyport.audit.recorder import Recorder
from sallyport.audit.tlog.entries import Head
from sallyport.audit.tlog.heads import LoggedIndex, catch_up
from sallyport.audit.tlog.keyfile import open_key
from sallyport.audit.tlog.log import TransparencyLog
from sallyport.audit.tlog.notes import Checkpoint, SigningKey
from sallyport.audit.tlog.witnesses import TreeSource
from sallyport.audit.verify import Verification
from sallyport.operations.sessions import Anchor, Sessions
from sallyport.store.database import open_database, open_readonly
from sallyport.store.sessions import SqlSessionIndex
from sallyport.store.writer import Writer
from tests.audit.helpers import begin, judged


@dataclass
class ListWitness:
    """Keeps what it gets."""

    name: str = "list"

    def __post_init__(self) -> None:
        self.got: list[Checkpoint] = []

    def newest(self, key: object) -> Checkpoint | None:
        return None

    def send(self, checkpoint: Checkpoint, tree: TreeSource) -> None:
        self.got.append(checkpoint)


def head(number: int, status: str = "ended") -> Head:
    digest = f"{number:064x}"
    return Head(time.time(), f"ses_{number}", status, digest, 1, 0, 1, 100)


def make_log(data: Path, entries: int, *, checkpoint_every: int = 10**9) -> SigningKey:
    """A log of so many entries, the first of which begins it. Its key."""
    log = TransparencyLog(data / "recordings" / "log", data)
    log.open()
    assert not log.problem
    while log.size + log.waiting < entries:
        log.append(head(log.size + log.waiting))
        if log.waiting >= checkpoint_every:
            log.make_checkpoint()
    log.make_checkpoint()
    log.close()
    return open_key(data, data / "recordings" / "log")


@contextmanager
def running(
    data: Path, witnesses: Sequence[ListWitness] = (), kek: LocalKey | None = None
) -> Iterator[Recorder]:
    """A recorder as the gateway makes it, with index and log; ended with the block."""
    engine = open_database(data)
    writer = Writer(engine, interval=0.01)
    index = SqlSessionIndex(engine, writer)
    log = TransparencyLog(data / "recordings" / "log", data, seconds=0.05, witnesses=witnesses)
    log.open()
    assert not log.problem, log.problem
    catch_up(index, log)
    writer.start()
    recorder = Recorder(data, LoggedIndex(index, log), interval=0.005, kek=kek)
    recorder.start()
    log.start()
    try:
        yield recorder
    finally:
        recorder.close()
        log.close()
        writer.close()
        engine.dispose()


def record(recorder: Recorder, session_id: str, statements: int = 3) -> None:
    session = begin(recorder, session_id)
    for number in range(1, statements + 1):
        session.statement(judged(number, f"SELECT {number}", outcome="allow"))
        session.complete(number, "SELECT 1", 1, "", 0.001)
        while session.backlog:
            time.sleep(0.002)
    session.end("terminated")


def verdicts(
    data: Path, anchor: Anchor | None = None, keys: KeyRing = NO_KEYS
) -> dict[str, Verification]:
    """What ``audit verify`` says, by the name of what it is about."""
    engine = open_readonly(data)
    try:
        sessions = Sessions(data / "recordings", SqlSessionIndex(engine), keys=keys)
        return {result.session: result for result in sessions.verify(anchor=anchor)}
    finally:
        engine.dispose()


def problems(results: dict[str, Verification]) -> list[str]:
    return [f"{name}: {problem}" for name, result in results.items() for problem in result.problems]
