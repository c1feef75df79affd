"""Part of the composition root: what takes the record on from the recordings."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from sallyport.config import Config, SecretRef
from sallyport.config.model import StreamTarget
from sallyport.core.address import parse_address
from sallyport.core.errors import ConfigError, SallyportError
from sallyport.core.secret import Secret
from sallyport.operations.sessions import Sessions
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
from sallyport.store.statementsearch import SearchError, StatementSearch

#: A reference and where it stands in the configuration -> the secret. Raises ConfigError.
Resolve = Callable[[SecretRef, str], Awaitable[Secret]]


@dataclass(frozen=True, slots=True)
class Handover:
    """``indexer``: of statements, None for none. ``open_index``: opens its index for reading."""

    indexer: StatementIndexer | None
    open_index: Callable[[], StatementSearch] | None
    streams: tuple[Stream, ...]

    def late_streams(self) -> str:
        """Names of streams that must not be as late as they are, "" for none."""
        return late_streams(self.streams)

    def start(self) -> None:
        """Begin to follow the record."""
        for follower in (self.indexer, *self.streams):
            if follower is not None:
                follower.start()

    async def close(self) -> None:
        """Once everything is recorded: take it in, for some seconds at most, and stop."""
        followers = [follower for follower in (self.indexer, *self.streams) if follower is not None]
        await asyncio.gather(*(asyncio.to_thread(follower.close) for follower in followers))


async def open_handover(config: Config, sessions: Sessions, resolve: Resolve) -> Handover:
    """Nothing of it is started yet. Raises ConfigError: no FTS5, a secret that is missing."""
    streams = await _open_streams(config, sessions, resolve)
    most = config.recording.search_statements
    if not most:
        return Handover(None, None, streams)
    try:
        search = StatementSearch(config.data_directory, writable=True, most=most)
    except SearchError as error:
        raise ConfigError(str(error)) from None
    indexer = StatementIndexer(sessions, search)
    return Handover(indexer, lambda: StatementSearch(config.data_directory), streams)


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
            target.format,
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
    if target.to == "elastic":
        return ElasticSink(target.url, target.index, token, context)
    address = parse_address(target.address)
    return SyslogSink(address.host, address.port, None if target.tls == "disable" else context)
