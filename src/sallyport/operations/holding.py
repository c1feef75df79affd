"""Making and lifting legal holds: recorded first, and what cannot be recorded is not done."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from sallyport.audit import events as ev
from sallyport.audit.actions import ActionLog
from sallyport.audit.holds import Hold, read_holds, write_holds
from sallyport.audit.keyfiles import changing_keys
from sallyport.audit.keys import KeyRing
from sallyport.audit.ports import SessionIndex
from sallyport.audit.recorder import Recorder
from sallyport.core.errors import SallyportError
from sallyport.core.subject import Subject

HOLD: Final = "recordings.hold"
RELEASE: Final = "recordings.release"
#: Seconds that recording the action may take.
_SECONDS: Final = 10.0


def hold(recordings: Path, index: SessionIndex, keys: KeyRing, made: Hold) -> None:
    """Put ``made`` into force. Raises SallyportError, OSError."""

    def add() -> None:
        write_holds(recordings, (*read_holds(recordings), made))

    held = {"session": made.session, "subject": made.subject, "target": made.target}
    details = {name: value for name, value in held.items() if value}
    _change(recordings, index, keys, (HOLD, made.id, made.by, made.reason, details), add)


def release(
    recordings: Path, index: SessionIndex, keys: KeyRing, lifted: Hold, by: str, reason: str
) -> None:
    """Lift a hold. Raises SallyportError, OSError."""

    def remove() -> None:
        kept = [each for each in read_holds(recordings) if each.id != lifted.id]
        write_holds(recordings, kept)

    _change(recordings, index, keys, (RELEASE, lifted.id, by, reason, {}), remove)


def _change(
    recordings: Path,
    index: SessionIndex,
    keys: KeyRing,
    action: tuple[str, str, str, str, dict[str, str]],
    change: Callable[[], None],
) -> None:
    name, id_, by, reason, details = action
    recorder = Recorder(
        recordings.parent, index, directory=recordings, fsync=True, kek=keys.current
    )
    log = ActionLog(recorder)
    recorder.start()
    try:
        with changing_keys(recordings):  # shredding is not under way
            read_holds(recordings)  # or it says why it cannot be changed
            who = Subject(by, "", frozenset())
            log.record(
                name, who, "", "cli", object_id=id_, outcome=ev.DONE, reason=reason, details=details
            )
            until = time.monotonic() + _SECONDS
            while recorder.backlog:
                if recorder.failed or time.monotonic() > until:
                    raise SallyportError("it cannot be recorded, so it was not done; see the log")
                time.sleep(0.005)
            change()
    finally:
        recorder.close()
