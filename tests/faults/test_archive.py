"""A gateway that archives its recordings, is killed in between, and reads them back."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from sallyport.demo.postgres import free_port
from tests.faults.test_crashes import command
from tests.handover.house import AUDITOR
from tests.support.approvals import Desk
from tests.support.gateway import Gateway
from tests.support.objectstore import ObjectStorage
from tests.support.waiting import wait_for


@pytest.fixture(scope="module")
def storage() -> Iterator[ObjectStorage]:
    made = ObjectStorage()
    yield made
    made.stop()


def session_of(gateway: Gateway) -> str:
    """One that is over."""
    with psycopg.connect(gateway.dsn(), autocommit=True) as db:
        db.execute("SELECT count(*) FROM products")
        row: Any = db.execute("SELECT current_setting('sallyport.session')").fetchone()
    return str(row[0])


def settings_of(storage: ObjectStorage) -> dict[str, Any]:
    place = storage.place
    return {
        "url": place.url, "endpoint": place.endpoint, "region": place.region, "keep_local_days": 0,
        "access_key_id": {"command": ["echo", "key"]},
        "secret_access_key": {"command": ["echo", "secret"]},
    }  # fmt: skip


def test_recordings_move_to_the_archive_and_are_read_from_there(
    make_gateway: Callable[..., Gateway], storage: ObjectStorage
) -> None:
    archive = settings_of(storage)
    console = {"listen": f"127.0.0.1:{free_port()}", "roles": {"auditor": ["audit"]}}
    gateway = make_gateway(extra={"archive": archive, "console": console})
    recordings = gateway.home / "var" / "recordings"

    def local() -> set[str]:
        return {path.stem for path in recordings.glob("*/*/*/ses_*.sprec")}

    def is_archived(session: str) -> bool:
        return any(f"{session}.sprec/manifest" in name for name in storage.names())

    sessions = [session_of(gateway)]
    wait_for(lambda: sessions[0] in local())  # what was only read may trail
    gateway.kill()
    gateway.start()
    sessions.append(session_of(gateway))
    wait_for(lambda: all(map(is_archived, sessions)) and not local())
    for session in sessions:
        shown = command(gateway, "sessions", "show", session)
        assert "count(*)" in shown.stdout, shown.stderr
        verified = command(gateway, "audit", "verify", session, "--json")
        assert json.loads(verified.stdout)["ok"], verified.stdout
        steps = Desk(gateway, AUDITOR).get(f"/sessions/{session}/events")["events"]
        assert any(step["kind"] == "asked" for step in steps)
    assert not local()
    gateway._end()
    gateway.start()
    done = command(gateway, "audit", "export", "--session", sessions[0])
    first = json.loads(done.stdout.splitlines()[0])
    assert first["kind"] == "login" and first["session"] == sessions[0]


def test_a_directory_that_was_put_back_whole_shows_against_the_archive(
    make_gateway: Callable[..., Gateway], storage: ObjectStorage, tmp_path: Path
) -> None:
    audit = {"checkpoint_seconds": 0.2, "witnesses": [{"archive": True}]}
    gateway = make_gateway(extra={"archive": settings_of(storage), "audit": audit})
    session_of(gateway)
    gateway.stop()
    data = gateway.home / "var"
    shutil.copytree(data, tmp_path / "backup")
    gateway.start()
    session_of(gateway)
    gateway.stop()  # with everything under a checkpoint, which the archive has
    assert command(gateway, "audit", "verify").returncode == 0
    shutil.rmtree(data)
    shutil.copytree(tmp_path / "backup", data)
    assert command(gateway, "audit", "verify", "--data", str(data)).returncode == 0
    verified = command(gateway, "audit", "verify")
    assert (verified.returncode, "rolled" in verified.stdout) == (1, True), verified.stdout
    gateway.start()
    assert "the log of recordings is not continued" in gateway.output()
