"""What was done, as the recordings of actions tell it: for what is made anew from them.

Of each recording what is sound counts, up to the first block that is not.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

from sallyport.audit import events as ev
from sallyport.audit.actions import RecordedAction, actions_of
from sallyport.audit.archive import RecordingError, find_recordings
from sallyport.audit.keys import NO_KEYS, KeyRing
from sallyport.audit.ports import ACTIONS_PREFIX
from sallyport.audit.verify import read_events


def done_actions(
    recordings: Path, names: Collection[str], doubtful: list[str], keys: KeyRing = NO_KEYS
) -> Iterator[RecordedAction]:
    """Actions of these names that were done, oldest first within a recording, recordings by their
    ids, which sort by time. ``doubtful`` gets the recordings that cannot be read to their end.
    """
    for id_, path in sorted(find_recordings(recordings).items()):
        if not id_.startswith(ACTIONS_PREFIX):
            continue
        problems: list[object] = []
        try:
            for recorded in actions_of(id_, read_events(path, id_, problems.append, keys)):
                if recorded.action.outcome == ev.DONE and recorded.action.name in names:
                    yield recorded
        except (RecordingError, OSError) as error:
            problems.append(error)
        if problems:
            doubtful.append(id_)
