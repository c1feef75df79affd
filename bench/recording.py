"""``python -m bench.recording``: CPU time of recording, with made-up statements and no gateway.

For 8, 200 and 500 active sessions: microseconds a statement (with its answer) on the caller's
thread, the recorder's and the store's, and how long events waited at most for the disk. Then a
large result: CPU seconds for 100 MB. CPU time is disturbed less by a shared machine than the clock
is, but it is not undisturbed: compare runs that were made in turn.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import threading
import time
from pathlib import Path

from sallyport.audit.keys import LocalKey
from sallyport.audit.recorder import Recorder
from sallyport.audit.recording import SessionRecording
from sallyport.audit.writing import HIGH_WATER
from sallyport.core.ids import new_id
from sallyport.core.subject import Subject
from sallyport.server.lag import RecorderLag
from sallyport.session.ports import JudgedStatement, RecordedVerdict
from sallyport.store.database import open_database
from sallyport.store.sessions import SqlSessionIndex
from sallyport.store.writer import Writer

AGENT = Subject("agent", "https://idp.example.com", frozenset({"agents"}))
VERDICT = RecordedVerdict(
    "allow", "reads", "", "p1-0123456789", "e1-0123456789", relations=("public.pgbench_accounts",)
)
ANSWER = (
    b"T\0\0\0\x21\0\x01abalance\0"
    + bytes(18)
    + b"D\0\0\0\x0c\0\x01\0\0\0\x0212C\0\0\0\x0dSELECT 1\0"
)
#: Different statements of a session: few, as of an application.
TEXTS = 5
_TICK = 0.002


class Recording:
    """A recorder with a store, in a directory of its own."""

    def __init__(self, directory: Path, sessions: int, kek: LocalKey | None) -> None:
        self.store = Writer(open_database(directory))
        self.store.start()
        index = SqlSessionIndex(open_database(directory), self.store)
        self.recorder = Recorder(directory, index, max_open=sessions, kek=kek)
        self.recorder.start()
        self.sessions = [self._session() for _ in range(sessions)]

    def _session(self) -> SessionRecording:
        return self.recorder.open_session(new_id("ses"), AGENT, "shop", "127.0.0.1:50000", "bench")

    def cpu_times(self) -> tuple[float, float, float]:
        """Of the caller, the recorder and the store, in seconds."""
        threads = (self.recorder._thread, self.store._thread)
        recorder, store = (
            time.clock_gettime(time.pthread_getcpuclockid(thread.ident))
            for thread in threads
            if isinstance(thread, threading.Thread) and thread.ident is not None
        )
        return time.thread_time(), recorder, store

    def close(self) -> None:
        self.recorder.close()
        self.store.close()


def statements(sessions: int, rate: int, seconds: float, kek: LocalKey | None) -> None:
    with tempfile.TemporaryDirectory() as directory:
        recording = Recording(Path(directory), sessions, kek)
        time.sleep(1.5)  # what logins cost is over
        lag, worst, count = RecorderLag(), 0.0, 0
        before, began, caller = recording.cpu_times(), time.monotonic(), 0.0
        while (now := time.monotonic() - began) < seconds:
            busy = time.thread_time()
            while count < now * rate:
                session, number = recording.sessions[count % sessions], count // sessions
                sql = f"SELECT abalance FROM pgbench_accounts WHERE aid = {number % TEXTS}"
                session.statement(JudgedStatement(number, sql, VERDICT))
                session.answered(number, ANSWER, "SELECT 1", 1, 0.0003)
                count += 1
            caller += time.thread_time() - busy
            recorder = recording.recorder
            lag.note(now, recorder.accepted, recorder.accepted - recorder.backlog)
            worst = max(worst, lag.seconds(now, recorder.accepted - recorder.backlog))
            time.sleep(_TICK)
        _drain(recording.recorder)
        _, thread, store = (
            (after - start) / count * 1e6
            for after, start in zip(recording.cpu_times(), before, strict=True)
        )
        recording.close()
    print(
        f"{sessions:4} sessions, {count / seconds:6.0f} statements/s: caller"
        f" {caller / count * 1e6:5.2f}, recorder {thread:5.2f}, store {store:5.2f} µs a statement;"
        f" waited {worst * 1000:.0f} ms at most"
    )


def large_result(megabytes: int, piece: int, kek: LocalKey | None) -> None:
    random_ = random.Random(1)
    rows = b"".join(
        b"D\0\0\0\x40%010d user%06d@example.com ***-**-%04d [redacted]"
        % (number, random_.randrange(10**6), random_.randrange(10**4))
        for number in range(60_000)
    )
    with tempfile.TemporaryDirectory() as directory:
        recording = Recording(Path(directory), 1, kek)
        (session,) = recording.sessions
        _drain(recording.recorder)
        before, began, sent = recording.cpu_times(), time.monotonic(), 0
        while sent < megabytes << 20:
            start = sent % (len(rows) - piece)
            session.reply(1, rows[start : start + piece])
            sent += piece
            while session.backlog > HIGH_WATER:
                time.sleep(0.0005)
        _drain(recording.recorder)
        took = time.monotonic() - began
        caller, thread, _ = (
            (after - start) / sent * 1e8
            for after, start in zip(recording.cpu_times(), before, strict=True)
        )
        recording.close()
    print(
        f"a large result, {piece >> 10} kB at a time: {sent / took / 1e6:.0f} MB/s; "
        f"caller {caller:.3f}, recorder {thread:.3f} s of CPU for 100 MB"
    )


def _drain(recorder: Recorder) -> None:
    while recorder.backlog:
        time.sleep(0.005)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.recording", description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each run")
    parser.add_argument("--clear", action="store_true", help="without encryption")
    options = parser.parse_args()
    kek = None if options.clear else LocalKey(bytes(32))
    for sessions, rate in ((8, 15_000), (200, 10_000), (500, 10_000)):
        statements(sessions, rate, options.seconds, kek)
    large_result(300, 64 << 10, kek)


if __name__ == "__main__":
    main()
