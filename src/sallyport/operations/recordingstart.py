"""Before a gateway's first session: the keys of recordings, and what an earlier run left behind;
and while it runs, what its index lost.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Protocol

import structlog

from sallyport.audit.completion import CompletionIndex, complete_recordings
from sallyport.audit.journal import journal_numbers
from sallyport.audit.keyfiles import KeyNotListedError
from sallyport.audit.keys import KeyRing
from sallyport.audit.recorder import Recorder
from sallyport.audit.recovery import RecoveryIndex, recover_interrupted
from sallyport.audit.tlog.heads import CatchUpIndex, HeadLog, LoggedRecovery
from sallyport.config import Config
from sallyport.core.errors import ConfigError
from sallyport.core.owners import worker_of
from sallyport.core.worker import Worker
from sallyport.operations.recordingkeys import key_settings, load_keys, unlisted_key

log = structlog.get_logger("sallyport")


class LeftBehindIndex(RecoveryIndex, CompletionIndex, Protocol):
    """The part of the store that this needs."""


async def gateway_keys(config: Config) -> KeyRing:
    """Raises ConfigError for a key that cannot be made or had."""
    keys = await load_keys(key_settings(config), config.recording_directory, make=True)
    missing = await asyncio.to_thread(unlisted_key, config.recording_directory, keys)
    if missing:
        log.error("recordings need a key that is not under recording.encryption", key=missing)
    return keys


def recover(
    recordings: Path, index: LeftBehindIndex, keys: KeyRing, worker: Worker | None = None
) -> None:
    """Bring recordings and index together, of owners that are dead. ``worker``: the one that
    starts; without it the only one. It recovers what earlier processes of its own number left, and
    the first worker what those left whose number nobody has any more: the sessions, then their
    journal, so that the heads of a session reach the log in the order of its blocks.

    Raises ConfigError when what the journal has cannot be recorded: it is not to be lost; or when a
    key is not listed that is needed for it.
    """
    worker = worker if worker is not None else Worker(processes=1)

    def takes_over(number: int) -> bool:
        return number == worker.number or (worker.is_first and number >= worker.processes)

    try:
        interrupted = recover_interrupted(
            recordings,
            index,
            keys,
            lambda _, owner: takes_over(worker_of(owner)) and index.is_dead(owner),
        )
        if interrupted:
            log.warning("sessions of an earlier run were interrupted", sessions=interrupted)
        count = 0
        for number in journal_numbers(recordings):
            if takes_over(number):
                count += complete_recordings(recordings, index, keys, number)
    except KeyNotListedError as error:
        raise ConfigError(
            f"what an earlier run left behind cannot be completed: {error}. If that key is lost "
            "for good, move the file that it names to another place: what it holds counts as lost"
        ) from None
    except OSError as error:
        raise ConfigError(
            f"the journal of an earlier run cannot be put into the recordings in {recordings}: "
            f"{error.strerror}. Make room, or let the gateway's user write there."
        ) from None
    if count:
        text = "statements of an earlier run were recovered from the journal"
        log.warning(text, statements=count)


def restore_lost(
    recordings: Path, index: CatchUpIndex, heads: HeadLog, keys: KeyRing, recorder: Recorder
) -> None:
    """After the store was away, or another server took its place, which may lack what the one
    before had acknowledged: bring sessions that ``recorder`` wrote to their end up to date. Those
    that are open it reports itself. ``heads`` gets theirs first: should this process die before
    ``recorder`` reports one that is just over, nobody looks at its row again. Blocks. Raises
    IndexUnreadableError, SQLAlchemyError, KeyNotListedError, OSError.
    """

    def is_lost(session: str, owner: str) -> bool:
        return owner == recorder.gateway and not recorder.is_open(session)

    restored = recover_interrupted(recordings, LoggedRecovery(index, heads), keys, is_lost)
    if restored:
        log.warning("the store lacked sessions that are over", sessions=restored)
