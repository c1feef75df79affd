"""Ships recordings that are over to the archive, and deletes local copies that are old or too many.

A thread of the gateway (:class:`Archiver`) goes over the sessions, oldest first. A local copy is
deleted only after its bytes were compared with the archive's manifest, and the deletion is written
down (``archive.db``) and logged before. Whoever reads a recording does not notice where it is:
:class:`RecordingFetcher` brings it back into a bounded cache.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import structlog

from sallyport.audit.archive import RecordingError, recording_path
from sallyport.audit.keyfiles import key_path
from sallyport.audit.ports import LIVE, SessionQuery, SessionRow
from sallyport.core.errors import SallyportError
from sallyport.core.files import replace_private
from sallyport.operations.sessions import Sessions
from sallyport.store.objects import ArchiveError, MissingError, ObjectArchive
from sallyport.store.shipped import Shipped, ShippedRecordings

#: Seconds between passes; recordings that fail before a pass ends.
_PAUSE: Final = 15.0
_PATIENCE: Final = 3
_PAGE: Final = 500
#: Sessions that began so recently (seconds) may reach the index after others that began later.
_SETTLING: Final = 60.0
#: In the data directory: recordings that were fetched back.
CACHE: Final = "archive-cache"
#: Bytes of recordings that were fetched and are kept.
CACHE_BYTES: Final = 2 << 30

_log = structlog.get_logger("sallyport.audit")


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    """When local copies of what is in the archive go. ``keep_seconds``: so long after the session's
    end. ``max_bytes``: when they take more, the oldest go before; 0: no such bound.
    """

    keep_seconds: float = 7 * 86400.0
    max_bytes: int = 0


class Archiver:
    """``shipped``, ``deleted``, ``failures``: since start. ``problem``: why the last pass did not
    get to its end, "".
    """

    def __init__(
        self,
        sessions: Sessions,
        archive: ObjectArchive,
        data: Path,
        recordings: Path,
        limits: ArchiveLimits,
    ) -> None:
        """Raises OSError, ShippedError for a data directory that cannot be used."""
        self.shipped = self.deleted = self.failures = 0
        self.problem = ""
        self._sessions, self._archive, self._recordings = sessions, archive, recordings
        self._limits = limits
        self._books = ShippedRecordings(data)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sallyport-archive", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """Stop; the part that is being sent is sent, the rest goes after the next start."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.ship()
                self.make_room(time.time())
                if self.problem:
                    _log.warning("the archive takes recordings again")
                    self.problem = ""
            except (SallyportError, OSError) as error:
                self.failures += 1
                if not self.problem:
                    _log.error("recordings cannot be archived; tried again", reason=str(error))
                self.problem = str(error)
            self._stop.wait(_PAUSE)

    def ship(self) -> None:
        """Everything that is over and not in the archive. Raises SallyportError, OSError."""
        mark, is_whole = self._books.mark(), True
        errors: list[ArchiveError] = []
        try:
            for row in self._rows(mark):
                if self._stop.is_set() or len(errors) >= _PATIENCE:
                    break
                if row.status == LIVE:
                    is_whole = False
                elif row.last_hash and not self._books.has(row.id):
                    try:
                        self._ship(row)
                    except ArchiveError as error:
                        errors.append(error)
                        is_whole = False
                if is_whole:
                    mark = min(row.started, time.time() - _SETTLING)
        finally:
            self._books.set_mark(mark)
        if errors:
            raise errors[0]

    def _rows(self, since: float) -> Iterator[SessionRow]:
        query = SessionQuery(since=since, limit=_PAGE, oldest_first=True)
        while True:
            page = self._sessions.search(query)
            yield from (match.row for match in page.matches)
            if page.after is None:
                return
            query = replace(query, after=page.after)

    def _ship(self, row: SessionRow) -> None:
        path = recording_path(self._recordings, row.id, row.file)
        if not path.exists():
            _log.error("a recording to be archived is missing", session=row.id, file=row.file)
            return
        stored = self._archive.put(row.id, row.file, path)
        ended = row.ended if row.ended is not None else row.started
        self._books.add(Shipped(row.id, row.file, stored.size, stored.sha256, ended, time.time()))
        self.shipped += 1

    def make_room(self, now: float) -> None:
        """Delete local copies that are old or too many. ``now``: Unix seconds. Raises
        SallyportError, OSError.
        """
        excess = self._books.local_bytes() - self._limits.max_bytes if self._limits.max_bytes else 0
        while local := self._books.local(_PAGE):
            for recording in local:
                is_old = recording.ended < now - self._limits.keep_seconds
                if self._stop.is_set() or not (is_old or excess > 0):
                    return
                self._delete(recording, now)
                excess -= recording.size

    def _delete(self, recording: Shipped, now: float) -> None:
        """Raises ArchiveError when the archive has not got what is here."""
        path = recording_path(self._recordings, recording.session, recording.file)
        if path.exists():
            stored = self._archive.manifest(recording.file)
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            if stored.sha256 != digest:
                raise ArchiveError(
                    f"the recording {recording.file} is not what the archive has; both stay. "
                    "See 'sallyport audit verify'"
                )
        self._books.set_deleted(recording.session, now)
        _log.info("local copy of an archived recording deleted", session=recording.session)
        path.unlink(missing_ok=True)
        self.deleted += 1


class RecordingFetcher:
    """Gives the path of a recording wherever it is. ``cache``: a directory of its own."""

    def __init__(self, archive: ObjectArchive, cache: Path, maximum: int = CACHE_BYTES) -> None:
        self._archive, self._cache, self._most = archive, cache, maximum
        self._lock = threading.Lock()

    def path(self, row: SessionRow, local: Path) -> Path:
        """``local``, or a copy where that is not there; ``local`` too when nobody has it. Raises
        RecordingError when the archive does not answer.
        """
        if os.path.lexists(local) or not row.file or row.status == LIVE:
            return local
        copy = self._cache / f"{row.id}.sprec"
        with self._lock:
            try:
                if not copy.exists():
                    self._cache.mkdir(mode=0o700, parents=True, exist_ok=True)
                    self._archive.fetch(row.file, copy)
                    self._trim(copy)
                os.utime(copy)
                _copy_key(local, copy)
            except MissingError:
                return local
            except ArchiveError as error:
                raise RecordingError(str(error)) from None
            except OSError as error:
                raise RecordingError(f"cannot write {self._cache}: {error.strerror}") from None
        return copy

    def _trim(self, newest: Path) -> None:
        """Let those go that were not read for longest. Whoever reads one keeps it open."""
        files = sorted(self._cache.glob("*.sprec"), key=lambda path: path.stat().st_mtime)
        size = sum(path.stat().st_size for path in files)
        for path in files:
            if size <= self._most or path == newest:
                return
            size -= path.stat().st_size
            path.unlink()
            key_path(path).unlink(missing_ok=True)


def forget_copies(data: Path, sessions: Iterable[str]) -> None:
    """Delete what is kept of recordings that were fetched back. Raises OSError."""
    for session in sessions:
        copy = data / CACHE / f"{session}.sprec"
        copy.unlink(missing_ok=True)
        key_path(copy).unlink(missing_ok=True)


def _copy_key(local: Path, copy: Path) -> None:
    """The wrapped key of a recording stays here, beside where the recording was; it is what
    rotation and shredding change. Raises OSError.
    """
    key = key_path(local)
    if key.is_file():
        replace_private(key_path(copy), key.read_bytes())
    else:
        key_path(copy).unlink(missing_ok=True)
