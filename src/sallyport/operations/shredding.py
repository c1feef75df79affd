"""Making recordings unreadable for good: the key of each is deleted, the recording stays as
evidence.

The action is recorded before anything is deleted, and what cannot be recorded is not done. Doing it
again finishes what was interrupted.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

import msgspec

from sallyport.audit import events as ev
from sallyport.audit.actions import SHRED, ActionLog
from sallyport.audit.archive import RecordingError, recording_path
from sallyport.audit.holds import hold_on, read_holds
from sallyport.audit.journal import journal_directories
from sallyport.audit.journal_reader import KEPT_SUFFIX
from sallyport.audit.keyfiles import (
    KeyState,
    Shredding,
    changing_keys,
    describe,
    key_path,
    read_key_file,
    shred_key,
)
from sallyport.audit.keys import KeyRing
from sallyport.audit.ports import ACTIONS, LIVE, SessionIndex, SessionRow
from sallyport.audit.reader import RecordingReader
from sallyport.audit.recorder import Recorder
from sallyport.core.errors import SallyportError
from sallyport.core.subject import Subject

_CHANNEL: Final = "cli"
#: Seconds that recording the action may take.
_SECONDS: Final = 10.0
#: Sessions that are deleted from the index of statements at once.
_PAGE: Final = 500


class ShreddingIndex(SessionIndex, Protocol):
    """The part of the store that shredding needs."""

    def forget(self, session_id: str, reason: str) -> int:
        """Delete what was kept of a session's statements, and say why in its row."""
        ...


class SearchIndex(Protocol):
    """The index of statements by their words."""

    def forget(self, sessions: Sequence[str]) -> int:
        """Delete what is kept of these sessions' statements."""
        ...


@dataclass(slots=True)
class Shredded:
    """``sessions``: whose keys were deleted now. ``statements``: deleted from the index. ``again``:
    they were shredded before. ``kept``: files of the journal that may hold statements of theirs.
    """

    sessions: list[str] = field(default_factory=list)
    statements: int = 0
    again: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)


def check_shreddable(directory: Path, row: SessionRow) -> bool:
    """Whether a recording has a key to delete; False: it was shredded before. Raises
    SallyportError, which says why it cannot be shredded.
    """
    if row.kind == ACTIONS:
        raise SallyportError(
            f"{row.id} is the record of what people did, and proves what was shredded; it is kept"
        )
    if row.status == LIVE:
        raise SallyportError(
            f"the session {row.id} is live. End it first; if its gateway died, start the gateway "
            "once, which completes the recording"
        )
    if held := hold_on(row, read_holds(directory)):
        raise SallyportError(
            f"the recording of {row.id} is held by {held.id} ({held.reason}). 'sallyport audit"
            " release' lifts a hold"
        )
    try:
        path = recording_path(directory, row.id, row.file)
        if not path.exists() and key_path(path).exists():  # only the archive has the recording
            return read_key_file(key_path(path)).shredded is None
        with RecordingReader(path) as reader:
            key = reader.key
    except (OSError, ValueError) as error:
        raise SallyportError(f"the key of {row.id}: {error}; nothing was deleted") from None
    except RecordingError as error:
        raise SallyportError(f"{error}; nothing was deleted") from None
    if key is None:
        raise SallyportError(
            f"the recording of {row.id} is not encrypted, so it has no key whose deletion would "
            "make copies of it unreadable. It is from before encryption, or was made with "
            "recording.encryption.enabled: false"
        )
    return key.state is not KeyState.SHREDDED


def shred(
    directory: Path,
    index: ShreddingIndex,
    rows: Sequence[SessionRow],
    keys: KeyRing,
    who: Subject,
    reason: str,
    search: SearchIndex | None = None,
) -> Shredded:
    """Shred recordings below ``directory``, all of which :func:`check_shreddable` allows. ``who``
    says so, ``reason`` why. ``search`` None: there is no index of statements. Raises SallyportError
    when it cannot be recorded, and OSError: then what was shredded until then is recorded, and
    nothing more is deleted.
    """
    fresh = {row.id for row in rows if check_shreddable(directory, row)}
    recorder = Recorder(directory.parent, index, directory=directory, fsync=True, kek=keys.current)
    log = ActionLog(recorder)
    recorder.start()
    result = Shredded(kept=[path.name for path in _kept(directory)])
    try:
        for row in rows:
            path = recording_path(directory, row.id, row.file)
            shredding = Shredding(time.time(), who.id, reason)
            if row.id in fresh:
                _record(log, recorder, row, who, reason)
                shredding = msgspec.structs.replace(shredding, recording=log.recording)
                try:
                    with changing_keys(directory):
                        shred_key(path, row.id, shredding)
                except OSError as error:
                    _record(log, recorder, row, who, reason, f"failed: {error.strerror}")
                    raise
                result.sessions.append(row.id)
            else:
                shredding = read_key_file(key_path(path)).shredded or shredding
                result.again.append(row.id)
            result.statements += index.forget(row.id, describe(shredding))
        if search is not None:
            ids = [row.id for row in rows]
            for start in range(0, len(ids), _PAGE):
                search.forget(ids[start : start + _PAGE])
    finally:
        recorder.close()
    return result


def _record(
    log: ActionLog,
    recorder: Recorder,
    row: SessionRow,
    who: Subject,
    reason: str,
    failure: str = "",
) -> None:
    """Record what is about to be done, or that it failed. Raises SallyportError."""
    log.record(
        SHRED,
        who,
        "",
        _CHANNEL,
        object_id=row.id,
        outcome=ev.FAILED if failure else ev.DONE,
        reason=failure or reason,
        details={"subject": row.subject, "target": row.target},
    )
    until = time.monotonic() + _SECONDS
    while recorder.backlog:
        if recorder.failed or time.monotonic() > until:
            raise SallyportError(
                f"it cannot be recorded that {row.id} is shredded, so it was not; see the log above"
            )
        time.sleep(0.005)


def _kept(directory: Path) -> list[Path]:
    places = journal_directories(directory)
    return [path for place in places for path in sorted(place.glob(f"*{KEPT_SUFFIX}"))]
