"""Recordings that are deleted or damaged under a running gateway."""

from __future__ import annotations

import os
import urllib.request
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from sallyport.demo.postgres import free_port
from tests.support.gateway import Gateway
from tests.support.waiting import wait_for


def recordings(gateway: Gateway) -> set[Path]:
    return set((gateway.home / "var" / "recordings").rglob("*.sprec"))


def connect(gateway: Gateway) -> tuple[psycopg.Connection[tuple[object, ...]], Path]:
    """A session, and its recording once it is on disk."""
    before = recordings(gateway)
    db = psycopg.connect(gateway.dsn(), autocommit=True)
    db.execute("SELECT count(*) FROM products")
    wait_for(lambda: len(recordings(gateway) - before) == 1)
    (path,) = recordings(gateway) - before
    wait_for(lambda: path.stat().st_size > 0)
    return db, path


def answers(db: psycopg.Connection[tuple[object, ...]]) -> bool:
    return db.execute("SELECT count(*) FROM products").fetchone() == (120,)


def fails(db: psycopg.Connection[tuple[object, ...]]) -> bool:
    try:
        db.execute("SELECT count(*) FROM products")
    except psycopg.Error:
        return db.closed
    return False


@pytest.mark.parametrize("idle", [False, True], ids=["busy", "idle"])
@pytest.mark.parametrize("damage", ["deleted", "cut short", "replaced"])
def test_a_damaged_recording_ends_its_own_session_and_no_other(
    make_gateway: Callable[..., Gateway], damage: str, idle: bool
) -> None:
    console = free_port()
    gateway = make_gateway(extra={"console": {"listen": f"127.0.0.1:{console}"}})

    def get(path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{console}{path}", timeout=60) as answer:
            return str(answer.read().decode())

    (staying, _), (going, path) = connect(gateway), connect(gateway)
    if damage == "cut short":
        os.truncate(path, 60)
    else:
        content = path.read_bytes()
        path.unlink()
        if damage == "replaced":
            path.write_bytes(content)
    if idle:
        wait_for(lambda: "sallyport_recordings_lost_total 1.0" in get("/metrics"))
        with pytest.raises(psycopg.OperationalError):
            going.execute("SELECT 1")
    else:
        wait_for(lambda: fails(going))
    assert going.closed
    assert answers(staying)
    for _ in range(3):
        with psycopg.connect(gateway.dsn(), autocommit=True) as db:
            assert answers(db)
    get("/readyz")  # raises for 503
    assert "sallyport_recorder_failed 0.0" in get("/metrics")
    assert "sallyport_recordings_lost_total 1.0" in get("/metrics")
    assert gateway.log.read_text().count("a recording is lost; its session ends") == 1
    staying.close()
    going.close()
