"""What carries the record on from the recordings: the index of statements, streams, the archive."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sallyport.app.gateway_store import GatewayStore
from sallyport.audit.archive import RecordingError
from sallyport.audit.keys import KeyRing
from sallyport.audit.ports import SessionRow
from sallyport.config import Config
from sallyport.config.model import StreamTarget
from sallyport.config.secrets import Resolve
from sallyport.core.address import parse_address
from sallyport.core.errors import ConfigError, SallyportError
from sallyport.core.secret import Secret
from sallyport.operations.archiving import CACHE, ArchiveLimits, Archiver, RecordingFetcher
from sallyport.operations.otlpsink import OtlpSink
from sallyport.operations.sessions import Fetch, Sessions
from sallyport.operations.statementsearch import StatementIndexer
from sallyport.operations.streaming import Stream, StreamSettings, late_streams
from sallyport.operations.streamsinks import (
    ElasticSink,
    FileSink,
    Sink,
    SplunkSink,
    StdoutSink,
    SyslogSink,
    tls_context,
)
from sallyport.store.objects import ArchiveError, ArchivePlace, ObjectArchive
from sallyport.store.sessions import SqlSessionIndex
from sallyport.store.sharedsearch import SharedStatementSearch
from sallyport.store.shipped import ShippedError
from sallyport.store.statementindex import SearchError, StatementIndexPort
from sallyport.store.statementsearch import StatementSearch


@dataclass(frozen=True, slots=True)
class RecordDelivery:
    """``sessions``: wherever their recordings are. ``indexer``: of statements, None for none.
    ``open_index``: opens its index for reading.
    """

    sessions: Sessions
    indexer: StatementIndexer | None
    open_index: Callable[[], StatementIndexPort] | None
    streams: tuple[Stream, ...]
    archiver: Archiver | None

    def late_streams(self) -> str:
        """Names of streams that must not be as late as they are, "" for none."""
        return late_streams(self.streams)

    def start(self) -> None:
        """Begin to follow the record."""
        for follower in self._followers():
            follower.start()

    async def close(self) -> None:
        """Once everything is recorded: take it in, for some seconds at most, and stop."""
        closing = (asyncio.to_thread(follower.close) for follower in self._followers())
        await asyncio.gather(*closing)

    def _followers(self) -> list[StatementIndexer | Stream | Archiver]:
        followers = (self.indexer, *self.streams, self.archiver)
        return [follower for follower in followers if follower is not None]


async def open_record_delivery(
    config: Config, index: SqlSessionIndex, resolve: Resolve, keys: KeyRing, store: GatewayStore
) -> RecordDelivery:
    """Nothing of it is started yet. ``index``: of this gateway's own recordings. ``keys``: of
    recordings. Raises ConfigError: no FTS5, a secret that is missing.
    """
    archive = await open_archive(config, resolve)
    fetch = fetcher(config, archive)
    own = Sessions(config.recording_directory, index, keys=keys, fetch=fetch)
    sessions = own
    if store.name:
        everywhere = SqlSessionIndex(store.engine)
        anywhere = partial(from_anywhere, fetch, store.name)
        sessions = Sessions(config.recording_directory, everywhere, keys=keys, fetch=anywhere)
    streams = await _open_streams(config, own, resolve)
    archiver = None if archive is None else _archiver(config, own, archive)
    maximum = config.recording.search_statements
    if not maximum:
        return RecordDelivery(sessions, None, None, streams, archiver)
    opener: Callable[[], StatementIndexPort] = partial(StatementSearch, config.data_directory)
    try:
        if store.name:
            opener = partial(SharedStatementSearch, store.engine)
            search: StatementIndexPort = await asyncio.to_thread(
                SharedStatementSearch, store.engine, store.name, maximum=maximum
            )
        else:
            search = StatementSearch(config.data_directory, writable=True, maximum=maximum)
    except SearchError as error:
        raise ConfigError(str(error)) from None
    indexer = StatementIndexer(own, search)
    return RecordDelivery(sessions, indexer, opener, streams, archiver)


async def open_archive(config: Config, resolve: Resolve) -> ObjectArchive | None:
    """None: there is none. Raises ConfigError."""
    archive = config.archive
    if archive is None:
        return None
    keys = {}
    for name in ("access_key_id", "secret_access_key"):
        reference = getattr(archive, name)
        if reference is not None:
            keys[name] = await resolve(reference, f"archive.{name}")
    try:
        return ObjectArchive(
            ArchivePlace(
                archive.url,
                archive.endpoint,
                archive.region,
                lock_seconds=archive.lock_days * 86400.0,
                lock_mode=archive.lock_mode.upper(),
                **keys,
            )
        )
    except ArchiveError as error:
        raise ConfigError(f"archive: {error}") from None


def fetcher(config: Config, archive: ObjectArchive | None) -> Fetch | None:
    """What brings recordings back that are in the archive only."""
    if archive is None:
        return None
    return RecordingFetcher(archive, config.data_directory / CACHE).path


def from_anywhere(fetch: Fetch | None, gateway: str, row: SessionRow, path: Path) -> Path:
    """Where a recording is that any gateway of the store may have made. Raises RecordingError."""
    path = path if fetch is None else fetch(row, path)
    if row.gateway in ("", gateway) or os.path.lexists(path):
        return path
    raise RecordingError(
        f"the gateway {row.gateway} has this recording: open it in that gateway's console. With an"
        " archive that all of them use, each reads it once the session is over and archived"
    )


def _archiver(config: Config, sessions: Sessions, archive: ObjectArchive) -> Archiver | None:
    if config.archive is None:
        return None
    limits = ArchiveLimits(config.archive.keep_local_days * 86400.0, config.archive.max_local_bytes)
    data, recordings = config.data_directory, config.recording_directory
    try:
        return Archiver(sessions, archive, data, recordings, limits)
    except ShippedError as error:
        raise ConfigError(f"archive: {error}") from None


async def _open_streams(
    config: Config,
    sessions: Sessions,
    resolve: Resolve,
) -> tuple[Stream, ...]:
    """Streams of the record, not started yet. Raises ConfigError."""
    streams = []
    for i, target in enumerate(config.audit.stream):
        where = f"audit.stream[{i}]"
        token = None
        if target.token is not None:
            token = await resolve(target.token, f"{where}.token")
        settings = StreamSettings(
            target.name,
            "otlp" if target.to == "otlp" else target.format,
            target.required,
            target.max_lag_seconds,
            target.begin == "beginning",
        )
        try:
            sink = _sink(target, token)
            streams.append(Stream(settings, sink, sessions, config.data_directory / "streams"))
        except OSError as error:
            raise ConfigError(f"{where}: {error.strerror or error}") from None
        except SallyportError as error:
            raise ConfigError(f"{where}: {error}") from None
    return tuple(streams)


def _sink(target: StreamTarget, token: Secret | None) -> Sink:
    """Raises OSError for files of TLS that cannot be used."""
    if target.to == "stdout":
        return StdoutSink()
    if target.to == "file":
        return FileSink(Path(target.path))
    files = (Path(name) if name else None for name in (target.ca, target.certificate, target.key))
    context = tls_context(*files)
    if target.to == "splunk" and token is not None:
        return SplunkSink(target.url, token, context)
    if target.to == "otlp":
        return OtlpSink(target.url, target.sample, token, context)
    if target.to == "elastic":
        return ElasticSink(target.url, target.index, token, context)
    address = parse_address(target.address)
    return SyslogSink(address.host, address.port, None if target.tls == "disable" else context)
