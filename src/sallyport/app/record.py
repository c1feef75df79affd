"""The record: from the configuration to recorder, journal and log.

:func:`open_record` brings what an earlier run left up to date and starts the threads;
:meth:`Record.close` ends them, in the order in which they depend on each other.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import httpx2
import structlog
from sqlalchemy.exc import SQLAlchemyError

from sallyport.app.gateway_store import GatewayStore
from sallyport.app.record_delivery import open_archive
from sallyport.approvals.channels.notify import signature
from sallyport.audit.journal import Journal
from sallyport.audit.keys import KeyRing
from sallyport.audit.ports import IndexUnreadableError
from sallyport.audit.recorder import Recorder
from sallyport.audit.retention import Retention
from sallyport.audit.tlog.cosigning import Cosigner, CosignRequest
from sallyport.audit.tlog.heads import LoggedIndex, LoggedRecovery, catch_up
from sallyport.audit.tlog.log import TransparencyLog
from sallyport.audit.tlog.notes import (
    Checkpoint,
    NoteError,
    Signature,
    VerifyKey,
    parse_signature,
)
from sallyport.audit.tlog.outbox import LogOutbox
from sallyport.audit.tlog.tiles import DIRECTORY as LOG_DIRECTORY
from sallyport.audit.tlog.witnesses import (
    FileWitness,
    ForkError,
    SyslogWitness,
    TreeSource,
    Witness,
    WitnessError,
    message,
)
from sallyport.config import Config
from sallyport.config.secrets import Resolve
from sallyport.core.errors import ConfigError, SallyportError
from sallyport.core.ids import new_id
from sallyport.core.owners import Owners
from sallyport.core.secret import Secret
from sallyport.core.tls import harden
from sallyport.core.worker import Worker
from sallyport.operations.archiving import forget_copies
from sallyport.operations.recordingstart import recover, restore_lost
from sallyport.store.archivewitness import ArchiveWitness
from sallyport.store.sessions import SqlSessionIndex
from sallyport.store.sharedsearch import SharedStatementSearch
from sallyport.store.statementsearch import FILE as SEARCH_FILE
from sallyport.store.statementsearch import StatementSearch
from sallyport.store.writer import Writer

log = structlog.get_logger("sallyport")

#: Seconds between the recorder's passes, shortest and longest. With strict each flushes every
#: session's file to the disk; statements wait for the journal's flushes, which must not stand
#: behind them.
_PASSES: Final = {"standard": (0.04, 1.0), "strict": (0.5, 2.0)}
_TIMEOUT: Final = 10.0
#: The task that restores what the index lost.
LOST: Final = "lost sessions"


@dataclass(frozen=True, slots=True)
class Record:
    """What writes down what happens."""

    recorder: Recorder
    journal: Journal
    log: TransparencyLog | LogOutbox
    retention: Retention | None
    cosigner: Cosigner | None
    restorer: IndexRestorer

    async def close(self) -> None:
        """Sessions that are still open end; the log gets their heads and its last checkpoint."""
        if self.retention is not None:
            await asyncio.to_thread(self.retention.close)
        self.recorder.close()
        await asyncio.to_thread(self.log.close)
        self.journal.close()


async def open_record(
    config: Config,
    index: SqlSessionIndex,
    writer: Writer,
    resolve: Resolve,
    keys: KeyRing,
    worker: Worker,
    owners: Owners,
    store: GatewayStore,
) -> Record:
    """Before any session; starts ``writer``, too. ``keys``: of recordings. Raises ConfigError."""
    strict = config.recording.durability == "strict"
    recordings = config.recording_directory
    transparency = await _log_of(config, resolve, worker)
    await asyncio.to_thread(take_up, recordings, index, transparency, keys, worker, owners)
    writer.start()
    interval, longest = _PASSES[config.recording.durability]
    recorder = Recorder(
        config.data_directory,
        LoggedIndex(index, transparency, config.audit.head_seconds, index.search),
        directory=recordings,
        fsync=strict,
        interval=interval,
        max_interval=longest,
        gateway=owners.owner,
        kek=keys.current,
    )
    journal = Journal(recordings, number=worker.number, sync=strict, kek=keys.current)
    recorder.journal = journal
    journal.open()
    recorder.start()
    transparency.start()
    retention = None
    audit = config.audit
    deletes = audit.retention_days or audit.retention_targets or audit.retention_bytes
    if deletes and isinstance(transparency, TransparencyLog):
        forget = partial(_forget, config, store)
        days, by_target = audit.retention_days, audit.retention_targets
        retention = Retention(
            recordings, index, transparency, days, forget, by_target, audit.retention_bytes
        )
        retention.start()
    restorer = IndexRestorer(partial(restore_lost, recordings, index, transparency, keys, recorder))
    if store.link is not None:
        store.link.on_resume(restorer.resume)
    return Record(recorder, journal, transparency, retention, _cosigner(config), restorer)


async def _log_of(config: Config, resolve: Resolve, worker: Worker) -> TransparencyLog | LogOutbox:
    """The log has one that appends; the other workers' heads reach it by a file of theirs."""
    directory, seconds = config.recording_directory / LOG_DIRECTORY, config.audit.checkpoint_seconds
    strict = config.recording.durability == "strict"
    if not worker.is_first:
        return LogOutbox(directory, worker.number, seconds=seconds, sync=strict)
    witnesses = await _witnesses(config, resolve)
    data = config.data_directory
    return TransparencyLog(directory, data, seconds=seconds, sync=strict, witnesses=witnesses)


def _cosigner(config: Config) -> Cosigner | None:
    """Raises ConfigError."""
    if not config.audit.cosign:
        return None
    try:
        keys = [VerifyKey.parse(key) for key in config.audit.cosign]
        return Cosigner(config.data_directory, keys)
    except NoteError as error:
        raise ConfigError(f"audit.cosign: {error}") from None
    except OSError as error:
        raise ConfigError(f"{error.filename}: the cosigner's key: {error.strerror}") from None


def _forget(config: Config, store: GatewayStore, ids: Sequence[str]) -> None:
    """Delete what the index of statements has of these sessions, and copies of archived recordings.
    Raises SearchError, OSError.
    """
    forget_copies(config.data_directory, ids)
    if store.name:
        SharedStatementSearch(store.engine).forget(ids)
    elif (config.data_directory / SEARCH_FILE).is_file():
        StatementSearch(config.data_directory, writable=True).forget(ids)


def take_up(
    recordings: Path,
    index: SqlSessionIndex,
    transparency: TransparencyLog | LogOutbox,
    keys: KeyRing,
    worker: Worker,
    owners: Owners,
) -> None:
    """What owners that are dead left: sessions, their journals, and heads that the log lacks."""
    transparency.open()
    with owners.taking_over():
        recover(recordings, LoggedRecovery(index, transparency), keys, worker)
        owners.forget_dead()
    if isinstance(transparency, TransparencyLog):
        transparency.take_outboxes()
        _catch_up(index, transparency)


class IndexRestorer:
    """Restores what the index lost each time that a shared store is back: it may come without what
    it had acknowledged. ``restore``: blocks.
    """

    def __init__(self, restore: Callable[[], None]) -> None:
        self._restore = restore
        self._is_due = asyncio.Event()

    def resume(self) -> None:
        """The store is back."""
        self._is_due.set()

    async def step(self) -> None:
        """Restore once that is due. What fails because the store does is due again."""
        await self._is_due.wait()
        self._is_due.clear()
        try:
            await asyncio.to_thread(self._restore)
        except (IndexUnreadableError, SQLAlchemyError):
            self._is_due.set()
            raise


def _catch_up(index: SqlSessionIndex, transparency: TransparencyLog) -> None:
    try:
        late = catch_up(index, transparency)
    except SallyportError as error:
        log.error("heads of earlier sessions cannot be added to the log", reason=str(error))
    else:
        if late:
            log.warning("sessions that the log lacked were added to it", sessions=late)


async def _witnesses(config: Config, resolve: Resolve) -> list[Witness]:
    witnesses: list[Witness] = []
    for i, witness in enumerate(config.audit.witnesses):
        if witness.file:
            witnesses.append(FileWitness(Path(witness.file)))
        elif witness.archive:
            archive = await open_archive(config, resolve)
            if archive is None:
                raise ConfigError(f"audit.witnesses[{i}].archive: there is no archive")
            witnesses.append(ArchiveWitness(archive))
        elif witness.syslog:
            parts = urlsplit(witness.syslog)
            port = parts.port or (6514 if parts.scheme == "tls" else 514)
            witnesses.append(SyslogWitness(parts.scheme, parts.hostname or "", port, witness.ca))
        elif witness.cosigner:
            try:
                key = VerifyKey.parse(witness.key)
            except NoteError as error:
                raise ConfigError(f"audit.witnesses[{i}].key: {error}") from None
            witnesses.append(CosigningWitness(witness.cosigner, key, witness.ca))
        elif witness.webhook and witness.secret is not None:
            secret = await resolve(witness.secret, f"audit.witnesses[{i}].secret")
            witnesses.append(WebhookWitness(witness.webhook, secret))
    return witnesses


class CosigningWitness:
    """A C2SP witness (tlog-witness), such as another Sallyport: signs what continues what it signed
    last. ``key``: its public key.
    """

    def __init__(self, url: str, key: VerifyKey, ca: str | None) -> None:
        self._url, self._key = f"{url.rstrip('/')}/add-checkpoint", key
        self._old = 0
        self.name = f"cosigner {urlsplit(url).hostname}"
        context = httpx2.create_ssl_context(trust_env=False)
        if ca is not None:
            context = ssl.create_default_context(cafile=ca)
        self._client = httpx2.Client(
            verify=harden(context), trust_env=False, timeout=_TIMEOUT, follow_redirects=False
        )

    def newest(self, key: VerifyKey) -> Checkpoint | None:
        return None

    def send(self, checkpoint: Checkpoint, tree: TreeSource) -> None:
        """:class:`sallyport.audit.tlog.witnesses.Witness`."""
        answer = self._post(checkpoint, tree)
        if answer.status_code == 409:
            self._old = self._size_of(answer.text, checkpoint)
            answer = self._post(checkpoint, tree)
        if answer.status_code in (409, 422):
            raise ForkError(f"has cosigned another log at size {self._old}")
        if not answer.is_success:
            raise WitnessError(f"answered {answer.status_code}")
        self._old = checkpoint.size
        tree.add_cosignature(checkpoint, self._signature_of(answer.text, checkpoint))

    def _post(self, checkpoint: Checkpoint, tree: TreeSource) -> httpx2.Response:
        proof = tree.consistency(self._old, checkpoint.size)
        body = CosignRequest(self._old, tuple(proof), checkpoint).encode()
        try:
            return self._client.post(self._url, content=body)
        except httpx2.HTTPError as error:
            raise WitnessError(type(error).__name__) from None

    @staticmethod
    def _size_of(text: str, checkpoint: Checkpoint) -> int:
        """The size that it signed last. Raises ForkError when this log was never so large."""
        if not re.fullmatch(r"[0-9]{1,19}\n", text):
            raise WitnessError("answered 409 without a size")
        if int(text) > checkpoint.size:
            raise ForkError(f"has cosigned {int(text)} entries: this log was rolled back")
        return int(text)

    def _signature_of(self, text: str, checkpoint: Checkpoint) -> Signature:
        for line in text.splitlines():
            with contextlib.suppress(NoteError):
                signature = parse_signature(line)
                if self._key.is_valid(signature, checkpoint.note.text):
                    return signature
        raise WitnessError("answered without a signature of its key")


class WebhookWitness:
    """Posts checkpoints, signed as the webhooks of approvals are (docs/approvals.md)."""

    def __init__(self, url: str, secret: Secret) -> None:
        self._url, self._secret = url, secret
        self.name = f"webhook {urlsplit(url).hostname}"
        self._client = httpx2.Client(
            verify=harden(httpx2.create_ssl_context(trust_env=False)),
            trust_env=False,
            timeout=_TIMEOUT,
            follow_redirects=False,
        )

    def newest(self, key: VerifyKey) -> Checkpoint | None:
        return None

    def send(self, checkpoint: Checkpoint, tree: TreeSource) -> None:
        """:class:`sallyport.audit.tlog.witnesses.Witness`."""
        body, now = (
            json.dumps({"event": "checkpoint", **json.loads(message(checkpoint))}),
            int(time.time()),
        )
        data = body.encode()
        headers = {
            "Content-Type": "application/json",
            "Sallyport-Timestamp": str(now),
            "Sallyport-Delivery": new_id("dlv"),
            "Sallyport-Signature": signature(self._secret, now, data),
        }
        try:
            answer = self._client.post(self._url, content=data, headers=headers)
        except httpx2.HTTPError as error:
            raise WitnessError(type(error).__name__) from None
        if not answer.is_success:
            raise WitnessError(f"answered {answer.status_code}")
