"""What may change something waits for the journal, in order; what only reads does not."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest

from sallyport.audit.journal import Journal
from sallyport.audit.journal_reader import read_journal
from sallyport.audit.recorder import Recorder
from sallyport.audit.recording import SessionRecording
from sallyport.demo.postgres import free_port
from sallyport.server import intents
from sallyport.server.intents import IntentWriter, WriteGate
from sallyport.server.lane import COMPILED
from tests.audit.helpers import begin, judged
from tests.faults.test_crashes import recorded
from tests.support import acknowledged as ack
from tests.support.gateway import Gateway
from tests.support.postgres import Server
from tests.support.recordings import keys_of
from tests.support.waiting import wait_for


class Link:
    """The target's side: what was sent, and whether the client may send more."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.paused: list[bool] = []
        self.on_pause = self.paused.append

    def send(self, data: bytes) -> None:
        self.sent.append(bytes(data))


class Bench:
    """Sessions before a journal, without a gateway."""

    def __init__(self, home: Path, *, sync: bool = False) -> None:
        self.journal = Journal(home / "recordings", sync=sync)
        self.journal.open()
        self.recorder = Recorder(home)
        self.recorder.journal = self.journal
        self.writer = IntentWriter(self.journal)
        self.failed: list[SessionRecording] = []

    def session(self) -> tuple[SessionRecording, Link, WriteGate]:
        recording, link = begin(self.recorder), Link()
        gate = self.writer.gate(recording, link, lambda: self.failed.append(recording))
        return recording, link, gate


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110  what is waited for has no event
            await asyncio.sleep(0.001)


def change(recording: SessionRecording, number: int) -> None:
    recording.statement(judged(number, f"UPDATE t SET n = {number}", outcome="allow"))


def test_everything_of_one_turn_is_written_at_once_and_sent_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path)
    writes: list[int] = []
    write = bench.journal.write
    monkeypatch.setattr(
        bench.journal, "write", lambda batch: (writes.append(len(batch.intents)), write(batch))
    )

    async def run() -> None:
        sessions = [bench.session() for _ in range(3)]
        for recording, link, gate in sessions:
            assert not gate.keeps(b"select")
            change(recording, 1)
            assert gate.keeps(b"one")
            assert gate.keeps(b"two")
            assert link.sent == []
        reader = bench.session()
        assert not reader[2].keeps(b"select")
        await asyncio.sleep(0)
        assert [link.sent for _, link, _ in sessions] == [[b"one", b"two"]] * 3
        assert not sessions[0][2].keeps(b"sync")

    asyncio.run(run())
    assert writes == [3]
    assert len(journaled(bench)) == 3


def journaled(bench: Bench) -> list[str]:
    return list(read_journal(bench.journal.directory.parent).sessions)


def test_strict_waits_for_the_disk_and_commits_in_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path, sync=True)
    syncing, go = threading.Event(), threading.Semaphore(0)
    synced: list[int] = []
    fdatasync = os.fdatasync

    def slow(fd: int) -> None:
        syncing.set()
        assert go.acquire(timeout=60)
        fdatasync(fd)
        synced.append(fd)

    monkeypatch.setattr(os, "fdatasync", slow)

    async def run() -> None:
        first, second = bench.session(), bench.session()
        change(first[0], 1)
        assert first[2].keeps(b"first")
        await until(syncing.is_set)
        for number in (1, 2, 3):  # while the disk is busy
            change(second[0], number)
            assert second[2].keeps(b"%d" % number)
        change(first[0], 2)
        assert first[2].keeps(b"again")
        reader = bench.session()
        assert not reader[2].keeps(b"select")
        done: list[str] = []
        second[2].after(lambda: done.append("closed"))
        assert first[1].sent == second[1].sent == done == []
        go.release()
        await until(lambda: first[1].sent)
        assert (first[1].sent, second[1].sent) == ([b"first"], [])
        go.release()
        await until(lambda: second[1].sent)
        assert (first[1].sent, second[1].sent) == ([b"first", b"again"], [b"1", b"2", b"3"])
        assert done == ["closed"]
        assert len(synced) == 2
        await bench.writer.close()

    asyncio.run(run())


class SharedGate:
    """Of many sessions, whose newest intent is ``intent``."""

    def __init__(self, intent: int) -> None:
        self.intent = intent
        self.is_released = False

    def release(self, written: int) -> bool:
        self.is_released = written >= self.intent
        return self.is_released

    def fail_waiting(self) -> None:
        raise AssertionError


@pytest.mark.parametrize("sync", [False, True])
def test_a_commit_of_what_others_have_written_releases_its_gate(tmp_path: Path, sync: bool) -> None:
    bench = Bench(tmp_path, sync=sync)

    async def run() -> None:
        earlier, link, gate = bench.session()
        change(earlier, 1)
        gate.keeps(b"one")
        recording, _, _ = bench.session()
        change(recording, 1)
        shared = SharedGate(recording.intent)
        await until(lambda: link.sent)  # the write of the first gate takes all that is queued
        bench.writer.commit(shared)
        assert shared.is_released
        await bench.writer.close()

    asyncio.run(run())


def test_a_client_that_sends_much_meanwhile_is_not_read(tmp_path: Path) -> None:
    bench = Bench(tmp_path)

    async def run() -> None:
        recording, link, gate = bench.session()
        change(recording, 1)
        gate.keeps(bytes(intents._HIGH_WATER))
        assert link.paused == []
        gate.keeps(b"x")
        assert link.paused == [True]
        await asyncio.sleep(0)
        assert link.paused == [True, False]
        assert sum(map(len, link.sent)) == intents._HIGH_WATER + 1

    asyncio.run(run())


@pytest.mark.parametrize("sync", [False, True])
def test_what_cannot_be_journaled_is_never_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sync: bool
) -> None:
    bench = Bench(tmp_path, sync=sync)
    monkeypatch.setattr(intents, "_RETRY", 0.01)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    async def run() -> None:
        recording, link, gate = bench.session()
        reader = bench.session()
        done: list[str] = []
        with monkeypatch.context() as patch:
            patch.setattr("sallyport.audit.journal._write_all", full)
            change(recording, 1)
            assert gate.keeps(b"update")
            gate.after(lambda: done.append("closed"))
            await until(lambda: bench.failed)
            assert bench.failed == [recording] and done == ["closed"]
            assert gate.keeps(b"terminate")
            assert recording.journal_failed and reader[0].journal_failed
            assert not reader[2].keeps(b"select")
            change(reader[0], 1)  # nothing should come here; if it does, it is not sent either
            assert reader[2].keeps(b"update")
            await until(lambda: len(bench.failed) == 2)
        await until(lambda: not recording.journal_failed)
        later = bench.session()
        change(later[0], 1)
        assert later[2].keeps(b"update")
        await until(lambda: later[1].sent)
        assert link.sent == reader[1].sent == []
        await bench.writer.close()

    asyncio.run(run())


def test_a_gateway_whose_journal_fails_changes_nothing(
    make_gateway: Callable[..., Gateway],
) -> None:
    console = free_port()
    gateway = make_gateway(extra={"console": {"listen": f"127.0.0.1:{console}"}})

    def get(path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{console}{path}", timeout=60) as answer:
            return str(answer.read().decode())

    journal = gateway.home / "var" / "recordings" / "journal"
    touch = "UPDATE products SET stock = stock WHERE id = 1 RETURNING stock"
    first = psycopg.connect(gateway.dsn(), autocommit=True)
    second = psycopg.connect(gateway.dsn(), autocommit=True)
    first.execute(touch)
    shutil.rmtree(journal)
    journal.touch()  # so that it cannot be made anew
    with pytest.raises(psycopg.OperationalError, match="SP1801"):
        first.execute(touch)
    assert first.closed
    for statement in (touch, "BEGIN", f"WITH new AS ({touch}) SELECT * FROM new"):
        if statement != "BEGIN":
            with pytest.raises(psycopg.Error) as refused:
                second.execute(statement)
            assert refused.value.sqlstate == "58030" and "SP1801" in str(refused.value)
        assert not second.closed
        assert second.execute("SELECT count(*) FROM products").fetchone() == (120,)
    assert "sallyport_journal_failed 1.0" in get("/metrics")
    with pytest.raises(urllib.error.HTTPError, match="503"):
        get("/readyz")
    journal.unlink()
    wait_for(lambda: "sallyport_journal_failed 0.0" in get("/metrics"))
    assert second.execute(touch).fetchone() is not None
    get("/readyz")
    second.close()
    assert "the journal can be written again" in gateway.log.read_text()
    wait_for(lambda: any(s.number == 2 for s in recorded(gateway.home / "var" / "recordings")))


@pytest.mark.skipif(not COMPILED, reason="there is a lane only where there is a compiler")
@pytest.mark.parametrize("durability", ["standard", "strict"])
def test_what_waits_in_the_lane_is_not_sent_when_the_journal_fails(
    make_gateway: Callable[..., Gateway], own_postgres: Server, durability: str
) -> None:
    """With ``strict`` the lane waits for a thread that flushes; the session ends as elsewhere."""
    console = free_port()
    extra = {
        "console": {"listen": f"127.0.0.1:{console}"},
        "recording": {"durability": durability},
    }
    gateway = make_gateway(targets={"shop": own_postgres}, extra=extra)

    def lane_statements() -> float:
        with urllib.request.urlopen(f"http://127.0.0.1:{console}/metrics", timeout=30) as answer:
            text = answer.read().decode()
        sample = re.search(r"^sallyport_lane_statements_total ([0-9.e+]+)$", text, re.MULTILINE)
        return float(sample[1]) if sample else 0.0

    def stock() -> int:
        with psycopg.connect(own_postgres.superuser_dsn) as db:
            row = db.execute("SELECT stock FROM products WHERE id = 1").fetchone()
        return int(row[0]) if row else -1

    journal = gateway.home / "var" / "recordings" / "journal"
    more = "UPDATE products SET stock = stock + 1 WHERE id = 1"
    sessions = [psycopg.connect(gateway.dsn(), autocommit=True) for _ in range(3)]
    for session in sessions:
        for _ in range(5):
            session.execute(more)
    in_lane, before = lane_statements(), stock()
    for session in sessions:
        session.execute(more)
    assert lane_statements() >= in_lane + 3, "the sessions are in the lane"
    shutil.rmtree(journal)
    journal.touch()  # so that it cannot be made anew
    with ThreadPoolExecutor(3) as threads:
        ends = [threads.submit(session.execute, more) for session in sessions]
        errors = [end.exception() for end in ends]
    for error in errors:
        assert isinstance(error, psycopg.Error) and "SP1801" in str(error)
    assert stock() == before + 3, "nothing was sent that the journal does not have"
    journal.unlink()
    wait_for(lambda: "the journal can be written again" in gateway.log.read_text())
    with psycopg.connect(gateway.dsn(), autocommit=True) as session:
        session.execute(more)
    assert stock() == before + 4


def test_every_way_to_the_database_is_journaled(
    make_gateway: Callable[..., Gateway], postgres: Server
) -> None:
    """The journal has what changes something by the time that it is acknowledged, and nothing that
    reads.
    """
    gateway = make_gateway(policy=ack.POLICY)

    async def run(way: ack.Way) -> None:
        async with await psycopg.AsyncConnection.connect(gateway.dsn(), autocommit=True) as db:
            await way(db, f"{way.__name__} first.")
            await way(db, f"{way.__name__} second.")
            await db.execute("SELECT 1")
            await db.execute("SELECT count(*) FROM acknowledged")

    with ack.table(postgres):
        for way in ack.WAYS:
            asyncio.run(run(way))
    home = gateway.home / "var"
    texts = [
        " ".join([statement.sql, *(value.decode() for value in statement.binds or () if value)])
        for session in read_journal(home / "recordings", keys_of(home)).sessions.values()
        for statement in session.statements.values()
    ]
    for way in ack.WAYS:
        for marker in ("first.", "second."):
            assert any(f"{way.__name__} {marker}" in text for text in texts), (way, texts)
    assert not [text for text in texts if text.startswith("SELECT") and "INSERT" not in text]
