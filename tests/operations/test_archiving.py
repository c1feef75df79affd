"""Recordings in S3 (moto's server): shipped once, compared before local copies go, read back."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from botocore.exceptions import ClientError

from sallyport.audit.archive import RecordingError
from sallyport.core.secret import Secret
from sallyport.operations.archiving import ArchiveLimits, Archiver, RecordingFetcher
from sallyport.operations.sessions import Sessions
from sallyport.store import objects
from sallyport.store.objects import ArchiveError, ArchivePlace, MissingError, ObjectArchive
from sallyport.store.reindex import reindex
from sallyport.store.sessions import SqlSessionIndex
from tests.audit.helpers import begin, judged
from tests.operations.record import Record
from tests.support.objectstore import ObjectStorage
from tests.support.proxy import Fault, FaultProxy


@pytest.fixture(scope="module")
def storage() -> Iterator[ObjectStorage]:
    made = ObjectStorage()
    yield made
    made.stop()


class Archived:
    """A record of three sessions that are over and one that is not, and an archive for it."""

    def __init__(self, data: Path, storage: ObjectStorage) -> None:
        self.data = data
        self.record = Record(data)
        for name in ("s_1", "s_2", "act_1"):
            session = begin(self.record.recorder, name)
            session.statement(judged(1, f"SELECT '{name}'", outcome="allow"))
            session.complete(1, "SELECT 1", 1, "", 0.1)
            session.end("disconnected")
        begin(self.record.recorder, "s_live")
        self.record.settle()
        for name in storage.names():
            storage.delete(name)
        self.archive = ObjectArchive(storage.place)

    @property
    def recordings(self) -> Path:
        return self.data / "recordings"

    def archiver(self, keep_seconds: float = 1e9, max_bytes: int = 0) -> Archiver:
        limits = ArchiveLimits(keep_seconds, max_bytes)
        return Archiver(self.sessions(), self.archive, self.data, self.recordings, limits)

    def sessions(self) -> Sessions:
        fetch = RecordingFetcher(self.archive, self.data / "archive-cache").path
        return Sessions(self.recordings, self.record.index, fetch=fetch)

    def file(self, session: str) -> Path:
        (path,) = self.recordings.glob(f"*/*/*/{session}.sprec")
        return path

    def local(self) -> set[str]:
        return {path.stem for path in self.recordings.glob("*/*/*/*.sprec")}


@pytest.fixture
def archived(tmp_path: Path, storage: ObjectStorage) -> Iterator[Archived]:
    made = Archived(tmp_path / "data", storage)
    yield made
    made.record.recorder.close()
    made.record.writer.close()


def test_what_is_over_is_shipped_once(archived: Archived, storage: ObjectStorage) -> None:
    archiver = archived.archiver()
    archiver.ship()
    assert archiver.shipped == 3
    names = storage.names()
    assert len(names) == 6 and not any("s_live" in name for name in names)
    (part,) = (name for name in names if name.endswith("s_1.sprec/000000"))
    assert storage.read(part) == archived.file("s_1").read_bytes()
    manifest = json.loads(storage.read(part.replace("000000", "manifest.json")))
    assert manifest["session"] == "s_1" and manifest["size"] == archived.file("s_1").stat().st_size
    archiver.ship()
    archived.archiver().ship()
    assert archiver.shipped == 3 and storage.names() == names


def test_it_goes_on_behind_the_parts_that_are_there(
    archived: Archived, storage: ObjectStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "PART", 100)
    archived.archiver().ship()
    names = sorted(name for name in storage.names() if "/s_1.sprec/" in name)
    assert len(names) > 3
    for name in (names[2], names[-1]):  # as if it had broken off; the last is the manifest
        storage.delete(name)
    (archived.data / "archive.db").unlink()
    again = archived.archiver()
    again.ship()
    assert again.shipped == 3
    assert sorted(name for name in storage.names() if "/s_1.sprec/" in name) == names
    assert b"".join(map(storage.read, names[:-1])) == archived.file("s_1").read_bytes()


def test_nothing_that_is_stored_is_replaced_and_the_others_go_on(
    archived: Archived, storage: ObjectStorage
) -> None:
    name = f"prefix/{archived.file('s_1').relative_to(archived.recordings)}/000000"
    storage.write(name, b"somebody else's")
    archiver = archived.archiver()
    with pytest.raises(ArchiveError, match="has something else"):
        archiver.ship()
    assert archiver.shipped == 2 and storage.read(name) == b"somebody else's"


def test_local_copies_go_when_they_are_old_and_are_read_all_the_same(archived: Archived) -> None:
    before = [list(archived.sessions().events(name)) for name in ("s_1", "s_2")]
    archiver = archived.archiver(keep_seconds=60.0)
    archiver.make_room(time.time() + 120)
    assert archived.local() == {"s_1", "s_2", "act_1", "s_live"}  # nothing was shipped yet
    archiver.ship()
    archiver.make_room(time.time())
    assert archived.local() == {"s_1", "s_2", "act_1", "s_live"}  # nor is it old
    archiver.make_room(time.time() + 120)
    assert archived.local() == {"act_1", "s_live"} and archiver.deleted == 2
    sessions = archived.sessions()
    assert [list(sessions.events(name)) for name in ("s_1", "s_2")] == before
    assert [line.sql for line in sessions.statements("s_1")] == ["SELECT 's_1'"]
    assert all(result.ok for name in ("s_1", "s_2") for result in sessions.verify(name))


def test_the_oldest_go_when_there_is_too_much(archived: Archived) -> None:
    archiver = archived.archiver(max_bytes=archived.file("s_2").stat().st_size)
    archiver.ship()
    archiver.make_room(time.time())
    assert archived.local() == {"s_2", "act_1", "s_live"}


def test_what_was_changed_since_is_not_deleted(archived: Archived) -> None:
    archiver = archived.archiver(keep_seconds=0.0)
    archiver.ship()
    path = archived.file("s_1")
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(ArchiveError, match="is not what the archive has"):
        archiver.make_room(time.time() + 1)
    assert "s_1" in archived.local()


def test_a_copy_that_was_changed_is_not_given(archived: Archived, storage: ObjectStorage) -> None:
    archiver = archived.archiver(keep_seconds=0.0)
    archiver.ship()
    archiver.make_room(time.time() + 1)
    (name,) = (name for name in storage.names() if name.endswith("/s_1.sprec/000000"))
    data = bytearray(storage.read(name))
    data[-1] ^= 1
    storage.write(name, bytes(data))
    with pytest.raises(RecordingError, match="not what was stored"):
        list(archived.sessions().events("s_1"))
    (result,) = archived.sessions().verify("s_1")
    assert not result.ok


def test_one_that_nobody_has_is_missing(archived: Archived, storage: ObjectStorage) -> None:
    archived.file("s_1").unlink()
    (result,) = archived.sessions().verify("s_1")
    assert [problem.kind for problem in result.problems] == ["deletion"]
    with pytest.raises(MissingError):
        archived.archive.manifest("2026/01/01/s_9.sprec")


def test_an_archive_that_is_away_deletes_nothing(archived: Archived) -> None:
    place = ArchivePlace("s3://record", "http://127.0.0.1:1", "us-east-1", Secret("k"), Secret("s"))
    archived.archive = ObjectArchive(place)
    archiver = archived.archiver(keep_seconds=0.0)
    with pytest.raises(ArchiveError, match="did not take"):
        archiver.ship()
    archiver.make_room(time.time() + 1)
    assert archived.local() == {"s_1", "s_2", "act_1", "s_live"}


def test_an_archive_that_is_slow_and_breaks_off_gets_everything_in_the_end(
    archived: Archived, storage: ObjectStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Connections end in the middle of what is sent; nothing goes from here before it is there."""
    monkeypatch.setattr(objects, "PART", 100)
    before = {name: archived.file(name).read_bytes() for name in ("s_1", "s_2")}
    address = urlsplit(storage.place.endpoint)
    with FaultProxy(str(address.hostname), int(address.port or 0)) as proxy:
        place = replace(storage.place, endpoint=f"http://127.0.0.1:{proxy.port}")
        archived.archive = ObjectArchive(place)
        archiver = archived.archiver(keep_seconds=0.0)
        proxy.from_client = Fault(cut_after=0)
        with pytest.raises(ArchiveError):
            archiver.ship()
        archiver.make_room(time.time() + 1)
        assert archived.local() == {"s_1", "s_2", "act_1", "s_live"}
        proxy.from_client = Fault(delay=0.02, piece=512)
        archiver.ship()
        archiver.make_room(time.time() + 1)
        assert archived.local() == {"act_1", "s_live"}
        sessions = archived.sessions()
        assert all(result.ok for name in before for result in sessions.verify(name))
    for name, content in before.items():
        parts = sorted(part for part in storage.names() if f"/{name}.sprec/0" in part)
        assert len(parts) > 3 and b"".join(map(storage.read, parts)) == content


def test_fetched_copies_are_bounded(archived: Archived) -> None:
    archiver = archived.archiver(keep_seconds=0.0)
    archiver.ship()
    archiver.make_room(time.time() + 1)
    cache = archived.data / "archive-cache"
    fetch = RecordingFetcher(archived.archive, cache, maximum=1).path
    sessions = Sessions(archived.recordings, archived.record.index, fetch=fetch)
    for name in ("s_1", "s_2", "s_1"):
        assert list(sessions.events(name))
        assert [path.stem for path in cache.glob("*.sprec")] == [name]


def test_reindex_does_not_suspect_what_the_archive_has(archived: Archived) -> None:
    archiver = archived.archiver(keep_seconds=0.0)
    archiver.ship()
    archiver.make_room(time.time() + 1)
    archived.record.recorder.close()
    archived.record.writer.close()
    engine, result = reindex(archived.data, archived.recordings)
    assert result.suspicious == [] and SqlSessionIndex(engine).get("s_1") is not None
    engine.dispose()


@pytest.fixture
def locking(storage: ObjectStorage) -> Iterator[ArchivePlace]:
    """A bucket with object lock."""
    bucket = f"locking-{time.monotonic_ns()}"
    storage.client.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)
    yield replace(storage.place, url=f"s3://{bucket}/prefix", lock_seconds=30 * 86_400.0)


def test_what_is_archived_is_locked_where_that_is_asked_for(
    archived: Archived, storage: ObjectStorage, locking: ArchivePlace
) -> None:
    archived.archive = ObjectArchive(locking)
    before = time.time()
    archived.archiver().ship()
    bucket = locking.url.split("/")[2]
    names = [e["Key"] for e in storage.client.list_objects_v2(Bucket=bucket)["Contents"]]
    assert len(names) == 6, "parts and manifests of three"
    for name in names:
        kept = storage.client.head_object(Bucket=bucket, Key=name)
        assert kept["ObjectLockMode"] == "COMPLIANCE"
        assert kept["ObjectLockRetainUntilDate"].timestamp() >= before + 30 * 86_400 - 1
        version = kept["VersionId"]
        with pytest.raises(ClientError, match="AccessDenied"):
            storage.client.delete_object(Bucket=bucket, Key=name, VersionId=version)
    # Read back without notice; shipped again it is what is there, and nothing else replaces it.
    archived.archiver(keep_seconds=-1).make_room(time.time())
    assert archived.local() == {"act_1", "s_live"}
    assert [line.sql for line in archived.sessions().statements("s_1")] == ["SELECT 's_1'"]
    file = archived.data / "another"
    file.write_bytes(b"something else")
    row = archived.record.index.get("s_1")
    assert row is not None
    with pytest.raises(ArchiveError, match="has something else"):
        archived.archive.put("s_1", row.file, file)


def test_a_bucket_without_object_lock_takes_nothing(
    archived: Archived, storage: ObjectStorage
) -> None:
    archived.archive = ObjectArchive(replace(storage.place, lock_seconds=86_400.0))
    with pytest.raises(ArchiveError, match="must have object lock"):
        archived.archiver().ship()
    assert storage.names() == [] and archived.local() == {"s_1", "s_2", "act_1", "s_live"}
