"""Rows reach the database in batches, the newest wins, and nothing is lost while it cannot be
written.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy import Engine
from structlog.testing import capture_logs

from sallyport.audit.ports import IndexUnreadableError, SessionIndex, SessionRow
from sallyport.audit.recorder import Recorder
from sallyport.audit.recovery import recover_interrupted
from sallyport.audit.verify import verify
from sallyport.demo.postgres import free_port
from sallyport.store import writer as writer_module
from sallyport.store.postgres import StoreAddress, engine_of
from sallyport.store.sessions import SqlSessionIndex
from sallyport.store.writer import Writer
from tests.audit.helpers import begin, judged
from tests.support.stores import Store
from tests.support.waiting import wait_for


def row(id_: str, **changes: object) -> SessionRow:
    fields: dict[str, object] = {
        "subject": "agent", "issuer": "https://idp", "groups": ("a", "b"), "agent": "claude",
        "label": "bob",
        "target": "shop", "client": "127.0.0.1:1", "application": "psql", "started": 1.0,
    }  # fmt: skip
    return SessionRow(id=id_, **{**fields, **changes})  # type: ignore[arg-type]


@pytest.fixture
def writer(engine: Engine) -> Iterator[Writer]:
    writer = Writer(engine, interval=0.01)
    writer.start()
    yield writer
    writer.close()


@pytest.fixture
def index(engine: Engine, writer: Writer) -> SqlSessionIndex:
    return SqlSessionIndex(engine, writer)


def test_a_row_comes_back_as_it_was(index: SqlSessionIndex, writer: Writer) -> None:
    port: SessionIndex = index
    saved = row(
        "s_1",
        ended=2.5,
        reason="done",
        statements=3,
        refused=1,
        rows=9,
        bytes=1 << 40,
        file="x",
        last_hash="ab",
    )
    port.save(saved)
    assert writer.flush()
    assert index.get("s_1") == saved
    assert index.get("s_2") is None


def test_the_newest_report_wins(index: SqlSessionIndex, writer: Writer) -> None:
    mutable = row("s_1")
    for count in range(5):
        mutable.statements = count
        index.save(mutable)
    mutable.statements = 99  # after save: does not count
    assert writer.flush()
    assert index.get("s_1") == row("s_1", statements=4)
    index.save(row("s_1", status="ended"))
    assert writer.flush()
    assert index.get("s_1") == row("s_1", status="ended")


def test_recent_is_newest_first_and_filtered(index: SqlSessionIndex, writer: Writer) -> None:
    for number in range(5):
        index.save(
            row(f"s_{number}", started=float(number), status="ended" if number % 2 else "live")
        )
    index.save(row("s_x", started=9.0, target="other", subject="else"))
    assert writer.flush()
    assert [row.id for row in index.recent(limit=3)] == ["s_x", "s_4", "s_3"]
    assert [row.id for row in index.recent(limit=None, status="ended")] == ["s_3", "s_1"]
    assert [row.id for row in index.recent(target="other")] == ["s_x"]
    assert [row.id for row in index.recent(subject="else")] == ["s_x"]


def test_prefixes_are_literal(index: SqlSessionIndex, writer: Writer) -> None:
    index.save(row("s_1"))
    index.save(row("sa1"))
    assert writer.flush()
    assert index.ids_beginning("s_") == ["s_1"], "an underscore is no wildcard"
    assert index.ids_beginning("s%") == []


def test_what_a_dead_gateway_left_is_interrupted(
    index: SqlSessionIndex, writer: Writer, tmp_path: Path
) -> None:
    index.save(row("s_1"))
    index.save(row("s_2", status="ended"))
    assert writer.flush()
    assert recover_interrupted(tmp_path, index) == 1
    assert [(row.id, row.status) for row in index.recent()] == [
        ("s_2", "ended"),
        ("s_1", "interrupted"),
    ]
    assert recover_interrupted(tmp_path, index) == 0


def test_nothing_is_lost_while_the_database_cannot_be_written(
    engine: Engine, index: SqlSessionIndex, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "RETRY", 0.02)
    with engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE sessions RENAME TO away"))
    with capture_logs() as logs:
        index.save(row("s_1"))
        wait_for(lambda: writer.failed)
        index.save(row("s_1", statements=2))
        index.save(row("s_2"))
        with engine.begin() as connection:
            connection.execute(sa.text("ALTER TABLE away RENAME TO sessions"))
        wait_for(lambda: index.get("s_2") is not None)
    assert index.get("s_1") == row("s_1", statements=2)
    assert [log["log_level"] for log in logs] == ["error", "warning"]


def test_close_writes_what_is_queued(store: Store, engine: Engine) -> None:
    writer = Writer(engine, interval=60.0)
    writer.start()
    SqlSessionIndex(engine, writer).save(row("s_1"))
    writer.close()
    reader = SqlSessionIndex(readonly := store.readonly())
    assert reader.get("s_1") is not None
    readonly.dispose()


def test_the_recorder_reports_into_the_store(
    tmp_path: Path, index: SqlSessionIndex, writer: Writer
) -> None:
    recorder = Recorder(tmp_path, index, interval=0.005)
    recorder.start()
    session = begin(recorder)
    session.statement(judged(1, "select 1", outcome="allow"))
    session.end("terminated")
    recorder.close()
    assert writer.flush()
    stored = index.get(session.row.id)
    assert stored is not None
    assert (stored.status, stored.statements, stored.groups) == (
        "ended",
        1,
        ("ci", "claude-postgres"),
    )
    assert verify(tmp_path / "recordings" / stored.file, stored).ok


def test_a_server_that_is_away_is_an_index_that_cannot_be_read() -> None:
    """What its driver then raises is no DatabaseError."""
    engine = engine_of(StoreAddress("127.0.0.1", free_port(), "store", "nobody"))
    with pytest.raises(IndexUnreadableError, match="cannot be read"):
        SqlSessionIndex(engine).recent()
