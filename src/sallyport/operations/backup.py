"""A backup of one gateway in one file, made while it runs, and the data directory made of it again.

The file is a tar archive. The databases are copied by SQLite first, then the signed log (its
checkpoint before its tiles), then the recordings: those only grow, so what was copied later has at
least what the databases and the checkpoint say. ``manifest.json``, the last member, has the SHA-256
of every other one. Keys are not in it: the manifest names them, with the hash by which the right
ones are told.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import sqlite3
import tarfile
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import IO, Final

import msgspec

from sallyport.core.errors import SallyportError

MANIFEST: Final = "manifest.json"
VERSION: Final = 1
_DATABASES: Final = ("sallyport.db", "archive.db")
#: Made again, or of the place where the data directory is.
_LEFT_OUT: Final = ("search.db", "gateway.lock", "gateway.id", "archive-cache")
_CHUNK: Final = 1 << 20


class BackupError(SallyportError):
    """The backup cannot be made or restored; the text says why."""


class Member(msgspec.Struct, frozen=True):
    """A file: its place in the archive, bytes, and SHA-256 in hexadecimal digits."""

    name: str
    size: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True):
    """``keys``: files that are not in the backup, and belong into the data directory. ``store``:
    sqlite, or where the shared store is, which is not in the backup.
    """

    version: int
    made: float
    store: str
    members: tuple[Member, ...]
    keys: tuple[Member, ...]


def make_backup(
    data: Path, recordings: Path, configuration: Sequence[Path], target: Path, store: str = "sqlite"
) -> Manifest:
    """Write ``target``, which must not exist. Raises BackupError."""
    draft = target.with_name(f".{target.name}.partial")
    try:
        if target.exists():
            raise BackupError(f"{target} exists already: a backup replaces nothing")
        draft.unlink(missing_ok=True)
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as file, tarfile.open(fileobj=file, mode="w") as archive:
            manifest = _write(archive, data, recordings, configuration, store)
            file.flush()
            os.fsync(fd)
        os.link(draft, target)  # fails where there is a file by now
    except OSError as error:
        raise BackupError(f"cannot back up: {error.filename}: {error.strerror}") from None
    except sqlite3.Error as error:
        raise BackupError(f"cannot back up the databases in {data}: {error}") from None
    finally:
        draft.unlink(missing_ok=True)
    return manifest


def _write(
    archive: tarfile.TarFile,
    data: Path,
    recordings: Path,
    configuration: Sequence[Path],
    store: str,
) -> Manifest:
    members = []
    with tempfile.TemporaryDirectory(prefix="sallyport-backup-", dir=data) as scratch:
        for name in _DATABASES:
            if (data / name).is_file():
                copied = _copied(data / name, Path(scratch) / name)
                members.append(_add(archive, f"data/{name}", copied))
    keys = []
    for path in _recording_files(recordings):
        place = f"recordings/{path.relative_to(recordings).as_posix()}"
        with contextlib.suppress(FileNotFoundError):  # deleted since it was listed
            members.append(_add(archive, place, path))
    for path in _data_files(data, recordings):
        if path.suffix == ".key":
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            keys.append(Member(path.name, path.stat().st_size, digest))
        else:
            place = f"data/{path.relative_to(data).as_posix()}"
            members.append(_add(archive, place, path))
    for path in configuration:
        members.append(_add(archive, f"data/configuration/{path.name}", path))
    manifest = Manifest(VERSION, time.time(), store, tuple(members), tuple(keys))
    encoded = msgspec.json.format(msgspec.json.encode(manifest))
    info = tarfile.TarInfo(MANIFEST)
    info.size, info.mode = len(encoded), 0o600
    archive.addfile(info, io.BytesIO(encoded))
    return manifest


def _copied(database: Path, copy: Path) -> Path:
    """As the database is at one moment, whoever writes to it."""
    with (
        contextlib.closing(
            sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)
        ) as a,
        contextlib.closing(sqlite3.connect(copy)) as b,
    ):
        a.backup(b)
    return copy


def _recording_files(recordings: Path) -> Iterator[Path]:
    """The log's checkpoint first, its other files next."""
    log = recordings / "log"
    files = [path for path in sorted(recordings.rglob("*")) if _is_plain(path)]
    yield from sorted(files, key=lambda p: (p != log / "checkpoint", log not in p.parents))


def _data_files(data: Path, recordings: Path) -> Iterator[Path]:
    for path in sorted(data.rglob("*")):
        first = path.relative_to(data).parts[0]
        left_out = first in _LEFT_OUT or first.startswith((*_DATABASES, "search.db-", "sallyport-"))
        if _is_plain(path) and not left_out and recordings not in path.parents:
            yield path


def _is_plain(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


class _Counted(io.RawIOBase):
    """The first ``size`` bytes of a file that may grow, with their hash."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file, self._left = file, size
        self.digest = hashlib.sha256()

    def read(self, count: int = -1) -> bytes:
        data = self._file.read(self._left if count < 0 else min(count, self._left))
        self._left -= len(data)
        self.digest.update(data)
        return data


def _add(archive: tarfile.TarFile, name: str, path: Path) -> Member:
    with path.open("rb") as file:
        info = tarfile.TarInfo(name)
        info.size, info.mode = os.fstat(file.fileno()).st_size, 0o600
        counted = _Counted(file, info.size)
        archive.addfile(info, counted)  # OSError when the file became shorter meanwhile
    return Member(name, info.size, counted.digest.hexdigest())


def restore_backup(source: Path, data: Path) -> Manifest:
    """Make the data directory of a backup, with the recordings in it. Raises BackupError, and then
    there is none.
    """
    if data.exists() and any(data.iterdir()):
        raise BackupError(f"{data} is not empty: a backup is restored into a new directory")
    data.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{data.name}.", dir=data.parent))
    try:
        with tarfile.open(source, mode="r:") as archive:
            manifest = _manifest(archive, source)
            for member in manifest.members:
                _extract(archive, member, draft)
        if data.exists():
            data.rmdir()
        draft.rename(data)
    except tarfile.TarError as error:
        raise BackupError(f"{source} is not a backup, or a damaged one: {error}") from None
    except (OSError, KeyError) as error:
        why = getattr(error, "strerror", None) or error
        raise BackupError(f"{source} cannot be restored: {why}") from None
    finally:
        _remove(draft)
    return manifest


def _manifest(archive: tarfile.TarFile, source: Path) -> Manifest:
    file = archive.extractfile(MANIFEST)
    try:
        manifest = msgspec.json.decode(file.read() if file is not None else b"", type=Manifest)
    except msgspec.DecodeError:
        raise BackupError(f"{source} is no backup of Sallyport: its manifest is damaged") from None
    if manifest.version != VERSION:
        raise BackupError(f"{source} was made by a newer version of Sallyport: upgrade")
    return manifest


def _extract(archive: tarfile.TarFile, member: Member, draft: Path) -> None:
    parts = PurePosixPath(member.name).parts
    if parts[0] not in ("data", "recordings") or ".." in parts or len(parts) < 2:
        raise BackupError(f"the backup has a member {member.name!r}, which is no place for a file")
    path = draft.joinpath(*(parts[1:] if parts[0] == "data" else parts))
    source = archive.extractfile(archive.getmember(member.name))
    if source is None:
        raise BackupError(f"the backup's {member.name} is no file")
    for directory in reversed(path.relative_to(draft).parents):  # mkdir's mode is not for parents
        (draft / directory).mkdir(mode=0o700, exist_ok=True)
    digest = hashlib.sha256()
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as target:
        while chunk := source.read(_CHUNK):
            digest.update(chunk)
            target.write(chunk)
    if digest.hexdigest() != member.sha256:
        raise BackupError(f"the backup's {member.name} is not what was backed up")


def _remove(directory: Path) -> None:
    import shutil

    shutil.rmtree(directory, ignore_errors=True)
