"""What reads untrusted text is sent once the containment that it causes is stored, or never."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sallyport.core.errors import RefusedError, refuse
from sallyport.core.subject import Subject
from sallyport.judge import Containments, UntrustedRead
from sallyport.policy.containment import COLUMN, Containment
from sallyport.server.keeping import keep_containments, store_left
from sallyport.server.tasks import Tasks
from sallyport.store.containments import SqlContainmentStore
from sallyport.store.database import open_database
from tests.server.test_intents import Bench, change, until

SUBJECT = Subject("sue", "https://idp.test", frozenset(), agent="claude", client="claude")
READ = UntrustedRead("public.tickets.body", "shop", "ses_1", 3, 3600.0, COLUMN)


class SlowStore:
    """Keeps when it is let, or fails."""

    def __init__(self, error: Exception | None = None) -> None:
        self.go = threading.Event()
        self.error = error
        self.kept: list[Containment] = []

    def keep(self, containment: Containment) -> None:
        assert self.go.wait(10)
        if self.error is not None:
            raise self.error
        self.kept.append(containment)

    def unreleased(self) -> list[Containment]:
        return []


def _start(bench: Bench, store: SlowStore) -> tuple[Any, Any, Any]:
    """A session's recording, link and gate, after a read whose containment is being stored."""
    recording, link, gate = bench.session()
    containments = Containments()
    containments.keep_in(store)  # type: ignore[arg-type]
    made = containments.note_read(SUBJECT, READ)
    session = SimpleNamespace(unkept=[made])
    gateway = SimpleNamespace(containments=containments, spawn=Tasks().spawn)
    held = SimpleNamespace(gate=gate)
    keep_containments(gateway, session, held, lambda: None)  # type: ignore[arg-type]
    assert session.unkept == []
    return recording, link, gate


def test_it_waits_behind_the_store_and_in_order(tmp_path: Path) -> None:
    bench, store = Bench(tmp_path), SlowStore()

    async def run() -> None:
        recording, link, gate = _start(bench, store)
        assert gate.keeps(b"select body")
        change(recording, 1)
        assert gate.keeps(b"update")
        await asyncio.sleep(0.05)  # the journal has the update by now
        assert link.sent == []
        store.go.set()
        await until(lambda: link.sent)
        assert link.sent == [b"select body", b"update"]
        assert not gate.keeps(b"sync")

    asyncio.run(run())
    assert [containment.column for containment in store.kept] == ["public.tickets.body"]


@pytest.mark.parametrize("error", [RefusedError(refuse("SP1801", "full")), OSError("a fault")])
def test_what_cannot_be_stored_is_never_sent(tmp_path: Path, error: Exception) -> None:
    bench, store = Bench(tmp_path), SlowStore(error)

    async def run() -> None:
        _, link, gate = _start(bench, store)
        assert gate.keeps(b"select body")
        store.go.set()
        await until(lambda: bench.failed)
        assert gate.keeps(b"more") and link.sent == []

    asyncio.run(run())


def test_a_read_in_another_session_waits_for_the_store_as_well(tmp_path: Path) -> None:
    """Whose containment is in force already, and is not stored yet; then it could not be."""
    bench, store = Bench(tmp_path), SlowStore(RefusedError(refuse("SP1801", "full")))
    containments = Containments()
    containments.keep_in(store)  # type: ignore[arg-type]
    made = containments.note_read(SUBJECT, READ)
    assert made is not None and containments.note_read(SUBJECT, READ) == made

    async def run() -> None:
        _, link, gate = bench.session()
        gateway = SimpleNamespace(containments=containments, spawn=Tasks().spawn)
        session, held = SimpleNamespace(unkept=[made]), SimpleNamespace(gate=gate)
        keep_containments(gateway, session, held, lambda: None)  # type: ignore[arg-type]
        assert gate.keeps(b"select body")
        store.go.set()
        await until(lambda: bench.failed)
        assert link.sent == [] and containments.note_read(SUBJECT, READ) == made
        with pytest.raises(RefusedError):
            await store_left(containments)
        store.error = None
        await store_left(containments)
        await store_left(containments)

    asyncio.run(run())
    assert store.kept == [made]
    assert containments.note_read(SUBJECT, READ) is None


def test_the_store_keeps_releases_and_the_latest_end(tmp_path: Path) -> None:
    store = SqlContainmentStore(open_database(tmp_path))
    containments = Containments(lambda: 1000.0)
    containments.keep_in(store)
    made = containments.note_read(SUBJECT, READ)
    assert made is not None
    store.keep(made)
    assert store.unreleased() == [made] == store.recent(5)
    released = containments.release(made.id, "olga")
    assert released is not None
    store.keep(released)
    store.keep(made)  # late, and from before the release
    assert store.unreleased() == [] and store.recent(5) == [released]
