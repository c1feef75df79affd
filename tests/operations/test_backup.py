"""A backup is made while the gateway runs, and what is made of it verifies and serves."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from sallyport.operations.backup import BackupError, make_backup, restore_backup
from tests.support.forked import run as run_command
from tests.support.gateway import Gateway
from tests.support.waiting import wait_for


def run(gateway: Gateway, *words: str, config: bool = True) -> str:
    command = gateway.command(*words) if config else [gateway.command()[0], *words]
    done = run_command(command, gateway.environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_what_is_restored_verifies_and_serves(
    make_gateway: Callable[..., Gateway], tmp_path: Path
) -> None:
    gateway = make_gateway()
    with psycopg.connect(gateway.dsn(), autocommit=True) as over:
        over.execute("SELECT count(*) FROM products")
    with psycopg.connect(gateway.dsn(), autocommit=True) as db:
        for number in range(200):
            db.execute(f"SELECT {number}")
        said = run(gateway, "backup", str(tmp_path / "backup.tar"))
        db.execute("SELECT 'after the backup'")
    assert "recording.key" in said and (tmp_path / "backup.tar").stat().st_mode & 0o777 == 0o600
    with tarfile.open(tmp_path / "backup.tar") as archive:
        names = archive.getnames()
    assert not any(name.startswith("data/") and name.endswith(".key") for name in names)
    data = tmp_path / "restored"
    said = run(gateway, "restore", str(tmp_path / "backup.tar"), "--data", str(data), config=False)
    for key in (gateway.home / "var").glob("*.key"):
        assert key.name in said
        (data / key.name).write_bytes(key.read_bytes())
        (data / key.name).chmod(0o600)
    assert (data / "configuration" / "policy.yaml").read_text() == gateway.policy
    gateway.stop()
    gateway.extra = {"data": str(data)}
    gateway.start()
    with psycopg.connect(gateway.dsn(), autocommit=True) as db:
        db.execute("SELECT count(*) FROM products")

    def is_intact() -> bool:
        """The index has an ended session a moment later than its recording."""
        results = list(
            map(json.loads, gateway.run("audit", "verify", "--json").stdout.splitlines())
        )
        return len(results) >= 4 and all(result["ok"] for result in results)

    wait_for(is_intact)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    directory = tmp_path / "var"
    (directory / "recordings").mkdir(parents=True)
    (directory / "recordings" / "one.sprec").write_bytes(b"recorded" * 1000)
    (directory / "approvals.key").write_bytes(b"secret key of approvals 12345678")
    return directory


def test_nothing_is_overwritten(data: Path, tmp_path: Path) -> None:
    target = tmp_path / "backup.tar"
    make_backup(data, data / "recordings", [], target)
    assert b"secret key" not in target.read_bytes()
    with pytest.raises(BackupError, match="exists already"):
        make_backup(data, data / "recordings", [], target)
    with pytest.raises(BackupError, match="is not empty"):
        restore_backup(target, data)


def test_what_is_restored_is_for_its_owner_alone(data: Path, tmp_path: Path) -> None:
    (data / "recordings" / "2026" / "12" / "01").mkdir(parents=True)
    (data / "recordings" / "2026" / "12" / "01" / "two.sprec").write_bytes(b"recorded")
    make_backup(data, data / "recordings", [], tmp_path / "backup.tar")
    restore_backup(tmp_path / "backup.tar", tmp_path / "new")
    restored = [tmp_path / "new", *(tmp_path / "new").rglob("*")]
    assert len(restored) >= 7
    assert {path.name for path in restored if path.stat().st_mode & 0o077} == set()


def test_a_changed_backup_is_refused_and_leaves_nothing(data: Path, tmp_path: Path) -> None:
    target = tmp_path / "backup.tar"
    make_backup(data, data / "recordings", [], target)
    target.write_bytes(target.read_bytes().replace(b"recordedrecorded", b"recordeDrecorded", 1))
    with pytest.raises(BackupError, match="is not what was backed up"):
        restore_backup(target, tmp_path / "new")
    target.write_bytes(b"nothing")
    with pytest.raises(BackupError, match="is not a backup"):
        restore_backup(target, tmp_path / "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["backup.tar", "var"]
