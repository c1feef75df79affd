"""Who counts as dead, on the clock of the store."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from sqlalchemy import Engine, update

from sallyport.core.clock import ManualClock
from sallyport.core.owners import Owners
from sallyport.store.dialect import is_postgresql
from sallyport.store.owners import BEAT, DEAD, SqlOwners
from sallyport.store.tables import owners

SILENT = "bbbbbbbb-0-222222"


def begun(engine: Engine, directory: Path, owner: str, clock: ManualClock) -> SqlOwners:
    directory.mkdir(exist_ok=True)
    return SqlOwners(engine, Owners(directory, owner), clock.now)


def live(owners: SqlOwners, clock: ManualClock, seconds: float) -> None:
    for _ in range(int(seconds / BEAT)):
        clock.advance(BEAT)
        owners.beat()


def silence(engine: Engine, owner: str, seconds: float) -> None:
    """It said so long ago that it lives."""
    with engine.begin() as connection:
        values = {"beat": owners.c.beat - seconds}
        connection.execute(update(owners).where(owners.c.id == owner).values(values))


def test_nobody_is_judged_before_everybody_could_speak(engine: Engine, tmp_path: Path) -> None:
    clock, is_shared = ManualClock(), is_postgresql(engine)
    begun(engine, tmp_path / "b", SILENT, clock)
    silence(engine, SILENT, DEAD + 1)
    own = begun(engine, tmp_path / "a", "aaaaaaaa-0-111111", clock)
    if not is_shared:
        assert own.is_dead(SILENT), "no such file in this data directory"
        return
    assert not own.is_dead(SILENT)
    live(own, clock, DEAD)
    assert own.is_dead(SILENT) and not own.is_dead(own.owner)
    clock.advance(DEAD)
    assert not own.is_dead(SILENT), "this process was silent itself"
    live(own, clock, DEAD / 2)
    assert not own.is_dead(SILENT)
    live(own, clock, DEAD)
    assert own.is_dead(SILENT)
    own.begin_again()
    assert not own.is_dead(SILENT)


def test_clocks_of_machines_are_not_compared(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not is_postgresql(engine):
        pytest.skip("one machine has a store in a file")
    clock, real = ManualClock(), time.time
    monkeypatch.setattr(time, "time", lambda: real() - 3600)
    late = begun(engine, tmp_path / "b", SILENT, clock)
    monkeypatch.setattr(time, "time", real)
    own = begun(engine, tmp_path / "a", "aaaaaaaa-0-111111", clock)
    live(own, clock, DEAD + BEAT)
    assert not own.is_dead(late.owner)
