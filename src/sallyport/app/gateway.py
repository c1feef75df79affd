"""A gateway, made of its parts in the order in which they need each other, and taken apart in the
opposite one.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from sallyport.app.approval_channels import Channels, open_channels
from sallyport.app.console import public_url, start_console
from sallyport.app.containment_record import ContainmentRecord
from sallyport.app.databases import make_databases
from sallyport.app.gateway_store import GatewayStore, open_gateway_store
from sallyport.app.history import open_history
from sallyport.app.identity_providers import (
    ended_sessions,
    issuer_names,
    issuer_settings,
    saml_providers,
    tokenless,
)
from sallyport.app.policy_file import open_policy_file
from sallyport.app.record import LOST, Record, open_record
from sallyport.app.record_delivery import open_record_delivery
from sallyport.app.session_watch import open_watching
from sallyport.app.shared_state import SharedState, share_watching, streams_in_time
from sallyport.app.target_logins import TargetLogins, keep_alive
from sallyport.approvals.openrequests import Sharing
from sallyport.approvals.preview.measure import measure_held
from sallyport.approvals.service import Approvals
from sallyport.audit.actions import SETTLE_SECONDS, ActionLog
from sallyport.audit.keys import KeyRing
from sallyport.audit.tlog.log import TransparencyLog
from sallyport.config import Config
from sallyport.core.address import Networks
from sallyport.core.clock import SystemClock
from sallyport.core.data_directory import close_directory
from sallyport.core.errors import ConfigError, refuse
from sallyport.core.gateway_id import gateway_id
from sallyport.core.owners import Owners
from sallyport.core.secret import Secret
from sallyport.core.worker import Worker
from sallyport.identity.authenticate import Authenticator
from sallyport.identity.locks import Locks
from sallyport.identity.session_tokens import SessionTokens
from sallyport.identity.single_logout import EndedSessions
from sallyport.operations.live import RunningGateway
from sallyport.operations.recordingstart import gateway_keys
from sallyport.policy.file.source import PolicyFile
from sallyport.policy.model import Policy
from sallyport.policy.versions import STARTED, version_of
from sallyport.server import tls
from sallyport.server.connection import ClientConnection
from sallyport.server.descriptors import Descriptors
from sallyport.server.gateway import Gateway
from sallyport.server.intents import IntentWriter
from sallyport.server.limits import GatewayLimits
from sallyport.server.ports import Closable
from sallyport.store.approvals import SqlApprovalStore
from sallyport.store.containments import SqlContainmentStore
from sallyport.store.locks import SqlLockStore
from sallyport.store.owners import SqlOwners
from sallyport.store.policies import SqlPolicyVersions
from sallyport.store.publishedpolicies import SqlPublishedPolicies
from sallyport.store.session_tokens import SqlSessionTokenStore
from sallyport.store.sessions import SqlSessionIndex
from sallyport.store.sharedcounts import SqlSharedCounts
from sallyport.store.used_messages import SqlUsedMessageStore
from sallyport.store.writer import Writer
from sallyport.workers.place import LonePlace, Place

if TYPE_CHECKING:
    import ssl

    from sallyport.identity.saml.provider import SamlProvider

_BACKLOG = 512
#: Session tokens that expired so long ago (seconds) are deleted from the store.
_KEEP_TOKENS = 90 * 86400.0


@dataclass(frozen=True, slots=True)
class _Storage:
    """Secrets, and where the gateway keeps what it must not forget. ``keys``: of recordings.
    ``owners``: which processes live, by this data directory; ``beats``: by the store.
    """

    logins: TargetLogins
    mask_keys: Mapping[str, Secret]
    keys: KeyRing
    owners: Owners
    beats: SqlOwners
    store: GatewayStore
    worker: Worker
    writer: Writer
    index: SqlSessionIndex
    policies: SqlPolicyVersions
    approvals: SqlApprovalStore

    def shared_counts(self) -> SqlSharedCounts | None:
        """What all processes of the store count; None where this one is alone with its store."""
        return self.store.shared_counts(self.worker, self.owners.owner, self.beats.is_dead)


@dataclass(frozen=True, slots=True)
class _Identity:
    """Who may log in."""

    authenticator: Authenticator
    locks: Locks
    tokens: SessionTokens
    saml: Mapping[str, SamlProvider]
    channels: Channels
    ended: EndedSessions


@dataclass(slots=True)
class _Doors:
    """Where clients and browsers come in."""

    server: asyncio.Server | None = None
    console: asyncio.Task[None] | None = None

    async def close(self) -> None:
        """The console's to its end: what was begun is answered, and open pages are not cut off."""
        if self.server is not None:
            self.server.close()
        if self.console is not None:
            self.console.cancel()
            await asyncio.wait([self.console])


@asynccontextmanager
async def gateway_running(
    config: Config, *, accept_lost_state: bool = False, place: Place | None = None
) -> AsyncIterator[tuple[Gateway, tuple[str, int]]]:
    """A gateway that listens; gives it and the address it got. Everything it started ends with the
    block. ``place``: as one worker of several, that a supervisor started.
    """
    place = place if place is not None else LonePlace()
    context = _tls_context(config)
    # What stands in ``foundation`` ends behind all ``parts``, whenever it was made.
    async with AsyncExitStack() as foundation, AsyncExitStack() as parts:
        storage = await _open_storage(config, place, foundation, accept_lost_state)
        parts.callback(storage.writer.close)
        published = storage.store.published()
        policy = open_policy_file(config, storage.policies, published)
        record, intents = await _open_record(config, storage, parts)
        identity = await _open_identity(config, storage, parts)
        approvals = _open_approvals(storage, identity.channels)
        gateway = _make_gateway(config, storage, identity, record, policy, approvals, context)
        await _configure(gateway, config, storage, record, intents)
        actions = _open_actions(gateway, record, parts)
        _watch_sessions(gateway, config, storage, identity, actions, parts)
        history = await open_history(gateway, storage.store, storage.writer, storage.owners, parts)
        shared = _shared_state(storage, gateway, approvals, identity, published)
        foundation.push_async_callback(shared.end)
        siblings = await shared.begin()
        _keep_policies(gateway, storage, shared)
        storage.store.begin(gateway.tasks)
        gateway.spawn(gateway.tasks.repeat(record.restorer.step, LOST), LOST)
        delivery = await open_record_delivery(
            config, storage.index, storage.logins.secret, storage.keys, storage.store
        )
        foundation.push_async_callback(delivery.close)
        gateway.late_streams = streams_in_time(config, storage.worker, delivery.late_streams)
        parts.push_async_callback(place.others_are_gone)
        parts.push_async_callback(gateway.stop, say_goodbye)
        doors = _Doors()
        parts.push_async_callback(doors.close)
        await place.open()
        doors.server = await _listen(config, gateway, place)
        await _begin_tasks(gateway, storage, shared, intents)
        if storage.worker.is_first:
            delivery.start()
            doors.console = await start_console(
                config,
                gateway,
                RunningGateway(gateway, siblings, storage.store.rows()),
                storage.logins.secret,
                policies=storage.policies,
                slack=identity.channels.slack,
                locks=identity.locks,
                session_tokens=identity.tokens,
                saml=identity.saml,
                delivery=delivery,
                actions=actions,
                cosigner=record.cosigner,
                members=storage.beats,
                history=history,
                store=storage.store,
            )
        yield gateway, doors.server.sockets[0].getsockname()[:2]


def _tls_context(config: Config) -> ssl.SSLContext | None:
    if config.tls is None:
        return None
    return tls.server_context(Path(config.tls.certificate), Path(config.tls.key))


async def _open_storage(
    config: Config, place: Place, foundation: AsyncExitStack, accept_lost_state: bool
) -> _Storage:
    """``foundation``: closes what is opened here, but for the writer. Raises ConfigError."""
    logins = TargetLogins(config)
    foundation.push_async_callback(logins.close)
    mask_keys = await logins.secrets(config.mask_keys)
    lock = place.take_directory(config.data_directory)
    foundation.callback(lock.close)
    worker = place.worker
    own = f"{gateway_id(config.data_directory)}-{worker.number}-{worker.run}"
    owners = await asyncio.to_thread(Owners, config.data_directory, own)
    foundation.callback(owners.close)
    if config.recording_directory.exists():
        close_directory(config.recording_directory)
    keys = await gateway_keys(config)
    store = await open_gateway_store(
        config, lock, logins.secret, accept_lost_state=accept_lost_state, worker=worker.number
    )
    foundation.push_async_callback(store.close)
    approvals = SqlApprovalStore(store.prompt, store.seal)
    foundation.callback(approvals.close)
    writer = Writer(store.engine)
    beats = SqlOwners(store.prompt, owners)
    beats.name = store.name
    return _Storage(
        logins,
        mask_keys,
        keys,
        owners,
        beats,
        store,
        store.tied(worker),
        writer,
        store.own_index(writer, beats.is_dead),
        SqlPolicyVersions(store.engine, writer),
        approvals,
    )


async def _open_identity(config: Config, storage: _Storage, parts: AsyncExitStack) -> _Identity:
    """Starts the threads of channels, which ``parts`` ends. Raises ConfigError."""
    store, clock = storage.store.prompt, SystemClock()
    ended = await ended_sessions(store, clock)
    saml = await saml_providers(
        config, public_url(config), storage.logins.secret, ended, SqlUsedMessageStore(store)
    )
    issued = config.identity.session_tokens
    token_store = SqlSessionTokenStore(store)
    await asyncio.to_thread(token_store.forget, time.time() - _KEEP_TOKENS)
    tokens = SessionTokens(token_store, clock, issued.lifetime, issued.per_subject)
    channels = await open_channels(config.approvals, public_url(config), storage.logins.secret)
    parts.push_async_callback(asyncio.to_thread, channels.close)
    locks = Locks(
        SqlLockStore(store), clock, links=channels.identities.links, issuers=issuer_names(config)
    )
    authenticator = Authenticator(
        [issuer_settings(issuer) for issuer in config.identity.oidc],
        required_claims=config.identity.required_claims,
        failures_per_minute=config.limits.failed_logins_per_minute,
        locks=locks,
        verifiers=tuple(saml.values()),
        session_tokens=tokens,
        counts=storage.worker.counts,
    )
    return _Identity(authenticator, locks, tokens, saml, channels, ended)


def _open_approvals(storage: _Storage, channels: Channels) -> Approvals:
    announcements, owner = storage.worker.announcements, storage.owners.owner
    return Approvals(
        storage.approvals,
        SystemClock(),
        limits=channels.limits,
        notifiers=channels.notifiers,
        identities=channels.identities,
        sharing=Sharing(announcements, owner, storage.beats.is_dead),
    )


async def _open_record(
    config: Config, storage: _Storage, parts: AsyncExitStack
) -> tuple[Record, IntentWriter]:
    record = await open_record(
        config,
        storage.index,
        storage.writer,
        storage.logins.secret,
        storage.keys,
        storage.worker,
        storage.owners,
        storage.store,
    )
    parts.push_async_callback(record.close)
    intents = IntentWriter(record.journal)
    parts.push_async_callback(intents.close)
    return record, intents


def _make_gateway(
    config: Config,
    storage: _Storage,
    identity: _Identity,
    record: Record,
    policy: PolicyFile,
    approvals: Approvals,
    context: ssl.SSLContext | None,
) -> Gateway:
    databases = make_databases(
        config, storage.logins, lambda: policy.current, storage.mask_keys, storage.owners
    )
    return Gateway(
        databases,
        identity.authenticator,
        record.recorder,
        policy,
        _limits(config),
        context,
        approvals,
        public_url(config),
        storage.worker,
    )


async def _configure(
    gateway: Gateway, config: Config, storage: _Storage, record: Record, intents: IntentWriter
) -> None:
    """Give the gateway what it may do without."""
    gateway.measure = measure_held
    gateway.log = record.log if isinstance(record.log, TransparencyLog) else None
    gateway.containments.keep_in(SqlContainmentStore(storage.store.prompt))
    gateway.intents = intents
    recorder, limits = record.recorder, gateway.limits
    recorder.max_open = gateway.descriptors.recordings(limits.max_sessions_here, limits.max_logins)
    loop = asyncio.get_running_loop()
    recorder.on_lost = lambda session: _call(loop, gateway.recording_lost, session)
    gateway.keep_alive = keep_alive(config)
    gateway.oauth, gateway.device_logins = await tokenless(config, storage.logins.secret)
    gateway.proxies = Networks(config.proxy_protocol)
    store = storage.store
    gateway.state_problem, gateway.check_state = store.problem, store.check
    gateway.store_watch = store.watch


def _open_actions(gateway: Gateway, record: Record, parts: AsyncExitStack) -> ActionLog:
    """What people do, and refused logins, from now on."""
    actions = ActionLog(record.recorder)
    parts.callback(actions.close)
    gateway.refused_logins.record = actions.login_refused
    gateway.spawn(gateway.tasks.repeat(partial(_settle, actions), "actions"), "actions")
    return actions


async def _settle(actions: ActionLog) -> None:
    """What was counted is recorded, also where nothing more happens."""
    await asyncio.sleep(SETTLE_SECONDS)
    actions.settle()


def _watch_sessions(
    gateway: Gateway,
    config: Config,
    storage: _Storage,
    identity: _Identity,
    actions: ActionLog,
    parts: AsyncExitStack,
) -> None:
    ContainmentRecord(actions, gateway.containments)
    store, writer = storage.store, storage.writer
    watching = open_watching(
        config.watch, gateway, store, writer, identity.channels, identity.locks, actions
    )
    if watching is not None:
        parts.callback(watching.close)
    share_watching(storage.worker, watching)


def _shared_state(
    storage: _Storage,
    gateway: Gateway,
    approvals: Approvals,
    identity: _Identity,
    published: SqlPublishedPolicies | None,
) -> SharedState:
    return SharedState(
        storage.worker,
        gateway,
        approvals,
        identity.locks,
        identity.tokens,
        storage.beats,
        identity.ended,
        storage.shared_counts(),
        published,
    )


def _keep_policies(gateway: Gateway, storage: _Storage, shared: SharedState) -> None:
    """Each policy that is taken is kept, the one in force now first."""
    policies, accepted = storage.policies, storage.store.accepted

    def on_policy(taken: Policy, source: str) -> None:
        policies.keep(version_of(taken, source, time.time()))
        shared.policy_taken(taken.version)

    gateway.on_policy = on_policy
    storage.beats.policy = shared.policy_in_force
    source = f"{STARTED}; {accepted}" if accepted else STARTED
    current = version_of(gateway.policy.current, source, time.time())
    policies.keep(current, again=bool(accepted))


async def _begin_tasks(
    gateway: Gateway, storage: _Storage, shared: SharedState, intents: IntentWriter
) -> None:
    await gateway.run()
    shared.start()
    intents.start()
    managed = storage.logins.managed
    if managed.sources:
        gateway.spawn(gateway.tasks.repeat(managed.keep, "leases"), "leases")


def _limits(config: Config) -> GatewayLimits:
    limits, descriptors = config.limits, Descriptors.raised()
    logins = descriptors.logins(limits.max_logins)
    here = descriptors.sessions(limits.max_sessions, logins)
    return GatewayLimits(
        login_seconds=limits.login_seconds,
        max_logins=logins,
        max_logins_per_address=limits.max_logins_per_address,
        max_sessions=min(limits.max_sessions, here * config.worker_count),
        max_sessions_here=here,
        max_sessions_per_subject=limits.max_sessions_per_subject,
        max_message_bytes=limits.max_message_bytes,
        max_row_bytes=limits.max_row_bytes,
        session_seconds=limits.session_seconds,
        expiry_grace_seconds=config.identity.expiry.grace,
        idle_seconds=limits.idle_seconds,
        held_in_transaction_seconds=limits.held_in_transaction_seconds,
        held_reminder_seconds=limits.held_reminder_seconds,
    )


def _call(loop: asyncio.AbstractEventLoop, function: Callable[[str], None], argument: str) -> None:
    """From another thread; once the loop is closed nobody is left to be told."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(function, argument)


async def _listen(config: Config, gateway: Gateway, place: Place) -> asyncio.Server:
    address = config.address
    try:
        return await asyncio.get_running_loop().create_server(
            lambda: ClientConnection(gateway),
            address.host,
            place.port or address.port,
            backlog=_BACKLOG,
            reuse_port=bool(place.port) or None,
        )
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {address}: {error.strerror}. Is another gateway running there? "
            "Change 'listen' in the configuration."
        ) from None


def say_goodbye(peer: Closable) -> None:
    """Tell one client that the gateway ends."""
    peer.shut(
        refuse("SP1803", "the gateway is shutting down", hint="Connect again in a moment."),
        "the gateway is shutting down",
    )
