"""The gateway's store, a file of its own or one that is shared."""

from __future__ import annotations

import asyncio
import re
import secrets
import socket
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Final

from sqlalchemy import Engine, event
from sqlalchemy.engine import ExceptionContext

from sallyport.config import Config
from sallyport.config.secrets import Resolve
from sallyport.config.storage import SharedStore
from sallyport.core.address import parse_address
from sallyport.core.announcements import Announcements, JoinedAnnouncements
from sallyport.core.errors import ConfigError
from sallyport.core.files import create_private
from sallyport.core.worker import Worker
from sallyport.server import tls
from sallyport.server.storewatch import StoreWatch
from sallyport.server.tasks import Tasks
from sallyport.store.database import StoreError
from sallyport.store.dialect import StoreLostError
from sallyport.store.link import StoreLink
from sallyport.store.mark import identity_of, open_shared_store, open_store
from sallyport.store.postgres import PROMPT, StoreAddress, engine_of
from sallyport.store.postgresdialect import sqlstate_of
from sallyport.store.publishedpolicies import SqlPublishedPolicies
from sallyport.store.sealing import Seal, open_seal
from sallyport.store.sessions import SqlSessionIndex
from sallyport.store.sharedcounts import SqlSharedCounts
from sallyport.store.timeline import FILE, Timeline
from sallyport.store.writer import Writer

NAME_FILE: Final = "gateway.name"
#: Seconds that what other gateways count is good for at least: some exchanges.
_COUNTS_GOOD: Final = 5.0
#: The SQLSTATE of a statement that ran into ``statement_timeout``: the server answers, the store
#: does not (PostgreSQL, appendix A).
_QUERY_CANCELED: Final = "57014"


@dataclass(frozen=True, slots=True)
class GatewayStore:
    """``engine``: for threads. ``prompt``: where the event loop waits for the answer, which fails
    at once while the store is lost. ``name``: of this gateway, "" in a store of its own; there
    ``link`` is None. ``problem``, ``accepted``, ``check``: see :mod:`sallyport.store.mark`.
    """

    engine: Engine
    prompt: Engine
    seal: Seal
    problem: str
    accepted: str
    check: Callable[[], str]
    name: str = ""
    link: StoreLink | None = None
    watch: StoreWatch = field(default_factory=lambda: StoreWatch(float, 0.0))

    def own_index(self, writer: Writer, is_dead: Callable[[str], bool]) -> SqlSessionIndex:
        """Of the sessions whose recordings this gateway has. ``is_dead``: as in the index."""
        return SqlSessionIndex(self.engine, writer, is_dead, gateway=self.name)

    def shared_counts(
        self, worker: Worker, owner: str, is_dead: Callable[[str], bool]
    ) -> SqlSharedCounts | None:
        """What this process (``owner``) counts together with other gateways; None without them."""
        if self.link is None:
            return None
        counts, number = worker.counts, worker.number
        worker.counts.share(max(self.watch.grace, _COUNTS_GOOD))
        return SqlSharedCounts(self.prompt, counts, number, owner, self.name, is_dead)

    def published(self) -> SqlPublishedPolicies | None:
        """Policies for every gateway; None where there is but one."""
        return None if self.link is None else SqlPublishedPolicies(self.engine, self.seal)

    def rows(self) -> SqlSessionIndex:
        """The sessions of all gateways, for the event loop."""
        return SqlSessionIndex(self.prompt)

    def tied(self, worker: Worker) -> Worker:
        """With the messages of the gateways that share the store. Workers of this gateway go on to
        tell each other what changed when the store is away.
        """
        if self.link is None:
            return worker
        announcements: Announcements = self.link
        if not worker.is_alone:
            announcements = JoinedAnnouncements(worker.announcements, self.link)
        return replace(worker, announcements=announcements, shares_store=True)

    def begin(self, tasks: Tasks) -> None:
        """Keep the connection to the gateways that share the store, as a task. Whatever ends it,
        it is made again; meanwhile the store counts as lost.
        """
        if (link := self.link) is not None:
            keep = tasks.repeat(link.run, "shared store", lambda: link.is_closed)
            tasks.spawn(keep, "shared store")

    async def close(self) -> None:
        """Give everything back."""
        if self.link is not None:
            await self.link.close()
        self.prompt.dispose()
        self.engine.dispose()


async def open_gateway_store(
    config: Config,
    lock: IO[bytes],
    resolve: Resolve,
    *,
    accept_lost_state: bool,
    worker: int = 0,
) -> GatewayStore:
    """``lock``: of the data directory. ``worker``: the number of this process, which has a
    connection of its own. Raises StoreError, ConfigError.
    """
    data = config.data_directory
    if not isinstance(config.store, SharedStore):
        opened = await asyncio.to_thread(
            open_store,
            data,
            config.recording_directory,
            lock,
            accept_lost_state=accept_lost_state,
        )
        seal = await asyncio.to_thread(open_seal, data)
        engine, check = opened.engine, opened.mark.check
        return GatewayStore(engine, engine, seal, opened.problem, opened.accepted, check)
    address = await store_address(config.store, resolve, Timeline(data / FILE))
    seal = Seal(sealing_key((await resolve(config.store.key, "store.key")).reveal()))
    opened = await asyncio.to_thread(
        open_shared_store, data, lock, address, accept_lost_state=accept_lost_state
    )
    name = await asyncio.to_thread(gateway_name, data)
    identity = await asyncio.to_thread(identity_of, opened.engine)
    link = StoreLink(address, name, identity, worker)
    try:
        await link.open()
    except StoreError:
        opened.engine.dispose()
        raise
    prompt = prompt_engine(address, link)
    watch = StoreWatch(link.lost_seconds, config.store.grace_seconds)
    check = opened.mark.check
    return GatewayStore(
        opened.engine, prompt, seal, opened.problem, opened.accepted, check, name, link, watch
    )


def prompt_engine(address: StoreAddress, link: StoreLink) -> Engine:
    """Of the shared store, for the event loop: while ``link`` is lost it refuses at once, also to
    connect. Connections that it keeps are not asked then whether they still work. A call that gets
    no answer in time is the last one that waits.
    """

    def refuse_lost(*_: object) -> None:
        if link.is_lost:
            raise StoreLostError(f"the store cannot be reached: {link.problem}")

    def suspect(context: ExceptionContext) -> None:
        error = context.original_exception
        if isinstance(error.__cause__, TimeoutError) or sqlstate_of(error) == _QUERY_CANCELED:
            link.suspect()

    engine = engine_of(address, PROMPT, refuse_lost)
    event.listen(engine, "handle_error", suspect)
    event.listen(engine, "begin", refuse_lost)
    link.on_lost = engine.dispose
    return engine


async def store_address(
    settings: SharedStore, resolve: Resolve, timeline: Timeline | None = None
) -> StoreAddress:
    """``timeline``: that a data directory keeps. Raises ConfigError for a password or a CA that
    cannot be read.
    """
    password = None
    if settings.password is not None:
        password = await resolve(settings.password, "store.password")
    return StoreAddress(
        settings.host,
        settings.port,
        settings.database,
        settings.user,
        password,
        tls.client_context(settings.tls, Path(settings.ca) if settings.ca else None),
        settings.connect_seconds,
        tuple((each.host, each.port) for each in map(parse_address, settings.standbys)),
        timeline or Timeline(),
    )


def gateway_name(data: Path) -> str:
    """By which people know this gateway: its host's name and four digits, kept in the data
    directory. Raises ConfigError.
    """
    host = re.sub(r"[^A-Za-z0-9.-]", "-", socket.gethostname())[:40] or "gateway"
    path = data / NAME_FILE
    try:
        create_private(path, f"{host}-{secrets.token_hex(2)}\n".encode())
        name = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be used: {error}") from None
    if not re.fullmatch(r"[A-Za-z0-9.-]{1,60}", name):
        raise ConfigError(f"{path} holds no name: write letters, digits, dots and hyphens")
    return name


def sealing_key(digits: str) -> bytes:
    """``store.key``. Raises ConfigError, which does not show it."""
    if not re.fullmatch(r"[0-9a-fA-F]{64}", digits.strip()):
        raise ConfigError(
            "store.key is not a key: it has 64 hexadecimal digits, the same for every gateway of"
            " the store. Make one with: openssl rand -hex 32"
        )
    return bytes.fromhex(digits.strip())
