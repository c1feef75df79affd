"""``make bench ARGS=volume``: a million statements recorded, indexed, searched, verified, reported.

They are made up, and go through the gateway's recorder, encryption, store and signed log, without a
gateway: sessions of 200 statements, 16 at a time. Prints what each step took, the clock's time and
this process' CPU time, and how much memory it had. ``--soak N`` then records N more while retention
by size keeps the recordings below what the first million took: memory and disk must not grow.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

import psutil
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from bench.search import milliseconds
from sallyport.audit.keys import KeyRing, LocalKey
from sallyport.audit.recorder import Recorder
from sallyport.audit.recording import SessionRecording
from sallyport.audit.retention import delete_oldest
from sallyport.audit.tlog.heads import LoggedIndex
from sallyport.audit.tlog.log import TransparencyLog
from sallyport.audit.tlog.tiles import DIRECTORY
from sallyport.audit.writing import HIGH_WATER_TOTAL
from sallyport.core.ids import new_id
from sallyport.core.subject import Subject
from sallyport.operations.auditlog import ExportCursor, ExportQuery, audit_events
from sallyport.operations.auditreport import AuditReport, Gathering
from sallyport.operations.sessions import Sessions
from sallyport.operations.statementsearch import StatementIndexer, read_query
from sallyport.session.ports import JudgedStatement, RecordedVerdict
from sallyport.store.database import open_database
from sallyport.store.sessions import SqlSessionIndex
from sallyport.store.statementsearch import StatementSearch
from sallyport.store.writer import Writer

#: Statements of a session, and sessions at a time.
_SESSION: Final = 200
_AT_ONCE: Final = 16
#: Parts after each of which memory is measured.
_PARTS: Final = 10
_RUNS: Final = 20
_RELATIONS: Final = ("customers", "orders", "products", "payments", "employees")
_ANSWER: Final = b"D\0\0\0\x1f\0\x02\0\0\0\x0242\0\0\0\x0fd***@e***.com.\0C\0\0\0\x0dSELECT 1\0"
_SEARCHES: Final = (
    "verdict:deny",
    "relation:public.customers verdict:deny",
    "subject:agent-3 target:shop masked:email",
    "select orders",
    '"from customers where id"',
)


class Volume:
    """A record in ``directory``: what a gateway keeps of its sessions."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.recordings = directory, directory / "recordings"
        kek = LocalKey(bytes(32))
        self._engine = open_database(directory)
        self._writer = Writer(self._engine)
        self.index = SqlSessionIndex(self._engine, self._writer)
        self.log = TransparencyLog(self.recordings / DIRECTORY, directory)
        self.log.open()
        self.sessions = Sessions(self.recordings, self.index, keys=KeyRing(kek))
        self.recorder = Recorder(directory, LoggedIndex(self.index, self.log), kek=kek)
        for part in (self._writer, self.log, self.recorder):
            part.start()
        self._random = random.Random(7)

    def record(self, count: int) -> None:
        """So many statements, until they are on disk and in the index of sessions."""
        while count > 0:
            open_sessions = [self._session() for _ in range(_AT_ONCE)]
            for number in range(1, _SESSION + 1):
                for session in open_sessions[:count]:
                    self._statement(session, number)
                count -= len(open_sessions[:count])
            for session in open_sessions:
                session.end("the client left")
            self._settle(HIGH_WATER_TOTAL // 8)
        self._settle(0)
        self._writer.flush()

    def delete_oldest(self, max_bytes: int) -> int:
        """Retention by size. How many recordings went."""
        self.log.make_checkpoint()
        return delete_oldest(self.recordings, self.index, self.log, max_bytes)

    def size(self) -> int:
        """Bytes of the recordings."""
        return sum(path.stat().st_size for path in self.recordings.rglob("*.sprec"))

    def close(self) -> None:
        """Stop what writes."""
        self.recorder.close()
        self.log.close()
        self._writer.close()
        self._engine.dispose()

    def _session(self) -> SessionRecording:
        agent = Subject(
            f"agent-{self._random.randrange(50)}", "https://idp.example.com", frozenset({"agents"})
        )
        return self.recorder.open_session(new_id("ses"), agent, "shop", "127.0.0.1:50000", "bench")

    def _statement(self, session: SessionRecording, number: int) -> None:
        relation, row = self._random.choice(_RELATIONS), self._random.randrange(10**6)
        denied = self._random.random() < 0.05
        verdict = RecordedVerdict(
            "deny" if denied else "allow",
            "agents read",
            "SP1001" if denied else "",
            "p1-0123456789",
            "e1-0123456789",
            relations=(f"public.{relation}",),
            columns=(f"public.{relation}.id", f"public.{relation}.email"),
            masked=(f"public.{relation}.email",),
        )
        sql = f"SELECT id, email FROM {relation} WHERE id = {row}"
        session.statement(JudgedStatement(number, sql, verdict))
        if not denied:
            session.answered(number, _ANSWER, "SELECT 1", 1, 0.0003)

    def _settle(self, backlog: int) -> None:
        while self.recorder.backlog > backlog:
            time.sleep(0.005)


def print_volume(console: Console, count: int, soak: int) -> None:
    """``count``: statements; ``soak``: of them that are recorded afterwards, under retention."""
    with tempfile.TemporaryDirectory() as place:
        volume = Volume(Path(place))
        with _measured(console, f"{count:,} statements recorded", count):
            memory = _recorded(volume, count)
        size = volume.size()
        console.print(f"  {size / count:,.0f} bytes of recordings each; {_mebibytes(memory)}")
        search = StatementSearch(Path(place), writable=True, maximum=2 * count)
        with _measured(console, "indexed", count):
            indexed = StatementIndexer(volume.sessions, search, alone=True).fill()
        console.print(f"  {indexed:,} statements")
        _print_searches(console, StatementSearch(Path(place)))
        volume.log.make_checkpoint()
        with _measured(console, "verified", count):
            results = list(volume.sessions.verify())
        problems = [str(problem) for result in results for problem in result.problems]
        console.print(f"  {len(results):,} recordings and the log; problems: {problems[:3]}")
        with _measured(console, "reported", count):
            report = _report(volume.sessions)
        console.print(f"  {len(report.columns):,} sensitive columns, {len(report.unread)} unread")
        if soak:
            _print_soak(console, volume, soak, size)
        volume.close()


def _recorded(volume: Volume, count: int) -> list[int]:
    """Memory after each part, in bytes."""
    memory = []
    for part in range(_PARTS):
        volume.record(count * (part + 1) // _PARTS - count * part // _PARTS)
        memory.append(psutil.Process().memory_info().rss)
    return memory


def _print_soak(console: Console, volume: Volume, count: int, max_bytes: int) -> None:
    memory, sizes, deleted = [], [], 0
    with _measured(console, f"{count:,} more, with retention by size", count):
        for part in range(_PARTS):
            volume.record(count * (part + 1) // _PARTS - count * part // _PARTS)
            deleted += volume.delete_oldest(max_bytes)
            memory.append(psutil.Process().memory_info().rss)
            sizes.append(volume.size())
            shown = (
                f"{memory[-1] / 2**20:,.0f} MiB of memory, {sizes[-1] / 2**20:,.1f} of recordings"
            )
            console.print(f"[dim]· {part + 1} of {_PARTS} parts: {shown}[/]")
    console.print(f"  {deleted:,} recordings deleted; {_mebibytes(memory)}")
    most, bound = max(sizes) / 2**20, max_bytes / 2**20
    console.print(f"  recordings: at most {most:,.1f} MiB, and {bound:,.1f} were allowed")


def _print_searches(console: Console, reader: StatementSearch) -> None:
    table = Table("search", "hits", "median ms", "longest ms", box=SIMPLE)
    for text in _SEARCHES:
        query = read_query(text)
        hits = len(reader.search(query))
        times = sorted(milliseconds(partial(reader.search, query)) for _ in range(_RUNS))
        table.add_row(text, str(hits), f"{times[_RUNS // 2]:.1f}", f"{times[-1]:.1f}")
    console.print(table)


def _report(sessions: Sessions) -> AuditReport:
    """As ``sallyport audit report`` gathers it, without the verification."""
    now = time.time()
    made = AuditReport(now - 86_400.0, now, now)
    gathering = Gathering(made)
    query, unread = ExportQuery(made.since, made.until), _appender(made.unread)
    for event in audit_events(sessions, query, ExportCursor(), now, unread):
        gathering.add(event)
    gathering.finish()
    return made


def _appender(unread: list[tuple[str, str]]) -> Callable[[str, str], None]:
    return lambda recording, problem: unread.append((recording, problem))


@contextmanager
def _measured(console: Console, name: str, count: int) -> Iterator[None]:
    began, spent = time.perf_counter(), time.process_time()
    yield
    wall, cpu = time.perf_counter() - began, time.process_time() - spent
    console.print(
        f"{name}: {wall:,.1f} s, {cpu:,.1f} s of CPU; {cpu / count * 1e6:,.1f} µs a statement"
    )


def _mebibytes(values: Sequence[int]) -> str:
    return f"memory: {', '.join(f'{value / 2**20:.0f}' for value in values)} MiB"
