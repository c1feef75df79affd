"""The composition root: the only place where the parts are wired together.

:func:`serve` runs a gateway until it is told to stop; :func:`load_target_catalog` reads one
target's catalog for the command line. Both take a validated :class:`~sallyport.config.Config`;
nothing below sees the file.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import structlog

from sallyport.approvals.openrequests import Sharing
from sallyport.approvals.preview.measure import measure
from sallyport.approvals.service import Approvals
from sallyport.approvals.states import Preview
from sallyport.audit.actions import ActionLog
from sallyport.audit.tlog.cosigning import Cosigner
from sallyport.audit.tlog.log import TransparencyLog
from sallyport.channels import Channels, open_channels, reviewer_places
from sallyport.config import Config
from sallyport.config.secrets import secret_places
from sallyport.core.address import Networks
from sallyport.core.clock import SystemClock
from sallyport.core.errors import ConfigError, SallyportError, refuse
from sallyport.core.gateway_id import gateway_id
from sallyport.core.owners import Owners
from sallyport.core.secret import Secret
from sallyport.datadir import close_directory
from sallyport.gatewaystore import open_gateway_store
from sallyport.handover import Handover, open_handover
from sallyport.identity.authenticate import Authenticator
from sallyport.identity.locks import Locks
from sallyport.identity.session_tokens import SessionTokens
from sallyport.logs import configure_logging, keep_memory_private
from sallyport.managed_secrets import manager_of
from sallyport.operations import doctor
from sallyport.operations.access import AUDITOR, OPERATOR, REVIEWER, VIEWER, Access
from sallyport.operations.issuers import reread_issuers
from sallyport.operations.live import RunningGateway
from sallyport.operations.recordingstart import gateway_keys
from sallyport.operations.role_grants import grant_set
from sallyport.operations.saml_doctor import saml as doctor_of_saml
from sallyport.policy.file.load import load_policy
from sallyport.policy.file.source import PolicyFile
from sallyport.policy.for_target import at_target
from sallyport.policy.model import Policy
from sallyport.policy.versions import SIGNAL, STARTED, version_of
from sallyport.providers import issuer_names, issuer_settings, saml_providers, tokenless
from sallyport.record import open_record
from sallyport.server import tls
from sallyport.server.connection import ClientConnection
from sallyport.server.databases import Database
from sallyport.server.descriptors import Descriptors
from sallyport.server.ephemeral import EphemeralRoles
from sallyport.server.gateway import Gateway, Query
from sallyport.server.intents import IntentWriter
from sallyport.server.limits import GatewayLimits
from sallyport.server.ports import Closable
from sallyport.server.upstream import Dialer
from sallyport.session.held import HeldStatement
from sallyport.sharing import Shared, share_watching, streams_in_time
from sallyport.store.approvals import SqlApprovalStore
from sallyport.store.containments import SqlContainmentStore
from sallyport.store.locks import SqlLockStore
from sallyport.store.owners import SqlOwners
from sallyport.store.policies import SqlPolicyVersions
from sallyport.store.session_tokens import SqlSessionTokenStore
from sallyport.store.writer import Writer
from sallyport.target_logins import TargetLogins, keep_alive
from sallyport.watching import open_watching
from sallyport.workers.place import LonePlace, Place, WorkerPlace

if TYPE_CHECKING:
    from sallyport.identity.saml.provider import SamlProvider

log = structlog.get_logger("sallyport")

_BACKLOG = 512
#: Session tokens that expired so long ago (seconds) are deleted from the store.
_KEEP_TOKENS = 90 * 86400.0


def _roles(
    name: str,
    config: Config,
    logins: TargetLogins,
    static: Dialer,
    owners: Owners,
) -> EphemeralRoles | None:
    """What gives each session a role of its own at a target; None where all share one."""
    dialer = logins.administrator(name, static)
    if dialer is None:
        return None
    return EphemeralRoles(name, dialer, static, grant_set, owners.gateway, owners.runs)


def _database(
    name: str,
    config: Config,
    logins: TargetLogins,
    policy: Callable[[], Policy],
    keys: Mapping[str, Secret],
    owners: Owners,
) -> Database:
    dialer = logins.dialer(name)
    roles = _roles(name, config, logins, dialer, owners)
    return Database(
        name,
        dialer,
        lambda: at_target(policy(), name, config.targets[name].credential),
        keys,
        check_seconds=config.catalog.check_seconds,
        max_statement_bytes=config.limits.max_statement_bytes,
        roles=roles,
    )


def check_together(config: Config, policy: Policy) -> None:
    """What only configuration and policy together can show. Raises ConfigError."""
    for key in sorted(policy.hash_keys() - config.mask_keys.keys()):
        raise ConfigError(
            f"{policy.filename}: a hash mask uses the key {key!r}, which is not in the"
            f" configuration. Add 'mask_keys: {{{key}: {{file: ...}}}}' there"
        )


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


def examine(config: Config, target: str = "", *, from_agent: bool = False) -> list[doctor.Finding]:
    """What :mod:`sallyport.operations.doctor` finds; of one target, or ("") of everything.
    ``from_agent``: only the ways round the gateway. Raises ConfigError for a policy that cannot be
    loaded.
    """
    logins = TargetLogins(config)
    dialers = [logins.dialer(name) for name in config.targets if not target or name == target]

    async def look() -> list[doctor.Finding]:
        try:
            return await findings()
        finally:
            await logins.close()

    async def findings() -> list[doctor.Finding]:
        if from_agent:
            return [await doctor.way_round(dialer) for dialer in dialers]
        policy = load_policy(config.policy_path)
        found = list(doctor.data_directory(config.data_directory))
        for where, given in secret_places(config):
            if manager := manager_of(given):
                found.append(doctor.secret(where, manager, await logins.check(where, given)))
        for entry in config.identity.oidc:
            found += await doctor.issuer(issuer_settings(entry))
        try:
            saml = await saml_providers(config, _public_url(config), logins.secret)
            found += [finding for idp in saml.values() for finding in await doctor_of_saml(idp)]
        except SallyportError as error:
            found.append(doctor.Finding("identity.saml", "problem", str(error)))
        for dialer in dialers:
            found += await doctor.target(dialer, policy)
            admin = logins.administrator(dialer.target.name, dialer)
            if admin is not None:
                found += await doctor.administrator(dialer.target.name, admin, dialer.target.user)
        places = reviewer_places(config.approvals)
        found += doctor.reviewers(policy, config.console is not None, places)
        found += [await doctor.reachable(about, host, port) for about, host, port in places]
        return found

    return asyncio.run(look())


def _policy_file(config: Config, policies: SqlPolicyVersions) -> PolicyFile:
    """The policy to start with: the file's, or loudly the last good one. Raises ConfigError when
    there is neither.
    """
    policy = PolicyFile(
        config.policy_path,
        check=lambda candidate: check_together(config, candidate),
        last_good=lambda: next(iter(policies.recent(1)), None),
    )
    if policy.problem:
        log.error(
            "the policy file cannot be used; the version that was in force last is",
            version=policy.current.version,
            reason=policy.problem,
        )
    return policy


@asynccontextmanager
async def gateway_running(
    config: Config, *, accept_lost_state: bool = False, place: Place | None = None
) -> AsyncIterator[tuple[Gateway, tuple[str, int]]]:
    """A gateway that listens; gives it and the address it got. Everything it started ends with the
    block. ``place``: as one worker of several, that a supervisor started.
    """
    place = place if place is not None else LonePlace()
    worker = place.worker
    context = (
        tls.server_context(Path(config.tls.certificate), Path(config.tls.key))
        if config.tls is not None
        else None
    )
    logins = TargetLogins(config)
    keys = await logins.secrets(config.mask_keys)
    lock = place.take_directory(config.data_directory)
    own = f"{gateway_id(config.data_directory)}-{worker.number}-{worker.run}"
    owners = await asyncio.to_thread(Owners, config.data_directory, own)
    if config.recording_directory.exists():
        close_directory(config.recording_directory)
    recording_keys = await gateway_keys(config)
    opened = await open_gateway_store(
        config, lock, logins.secret, accept_lost_state=accept_lost_state
    )
    store = opened.engine
    writer = Writer(store)
    policies = SqlPolicyVersions(store, writer)
    policy = _policy_file(config, policies)
    worker = opened.tied(worker)
    beats = SqlOwners(opened.prompt, owners)
    index = opened.own_index(writer, beats.is_dead)
    record = await open_record(
        config, index, writer, logins.secret, recording_keys, worker, owners, opened
    )
    databases = {}
    for name in config.targets:
        databases[name] = _database(name, config, logins, lambda: policy.current, keys, owners)
    saml = await saml_providers(config, _public_url(config), logins.secret)
    channels = await open_channels(config.approvals, _public_url(config), logins.secret)
    locks = Locks(
        SqlLockStore(opened.prompt),
        SystemClock(),
        links=channels.identities.links,
        issuers=issuer_names(config),
    )
    issued = config.identity.session_tokens
    token_store = SqlSessionTokenStore(opened.prompt)
    await asyncio.to_thread(token_store.forget, time.time() - _KEEP_TOKENS)
    tokens = SessionTokens(token_store, SystemClock(), issued.lifetime, issued.per_subject)
    authenticator = Authenticator(
        [issuer_settings(i) for i in config.identity.oidc],
        required_claims=config.identity.required_claims,
        failures_per_minute=config.limits.failed_logins_per_minute,
        locks=locks,
        verifiers=tuple(saml.values()),
        session_tokens=tokens,
        counts=worker.counts,
    )
    approval_store = SqlApprovalStore(opened.prompt, opened.seal)
    approvals = Approvals(
        approval_store,
        SystemClock(),
        limits=channels.limits,
        notifiers=channels.notifiers,
        identities=channels.identities,
        sharing=Sharing(worker.announcements, owners.owner, beats.is_dead),
    )
    gateway = Gateway(
        databases,
        authenticator,
        record.recorder,
        policy,
        _limits(config),
        context,
        approvals,
        _public_url(config),
        worker,
    )
    gateway.measure = _measure
    gateway.log = record.log if isinstance(record.log, TransparencyLog) else None
    gateway.containments.keep_in(SqlContainmentStore(opened.prompt))
    actions = ActionLog(record.recorder)
    watching = open_watching(config.watch, gateway, opened, writer, channels, locks, actions)
    share_watching(worker, watching)
    shared = Shared(worker, gateway, approvals, locks, tokens, beats)
    siblings = shared.begin()
    gateway.intents = intents = IntentWriter(record.journal)
    loop = asyncio.get_running_loop()
    limits = gateway.limits
    recorder = record.recorder
    recorder.max_open = gateway.descriptors.recordings(limits.max_sessions_here, limits.max_logins)
    recorder.on_lost = lambda session: _call(loop, gateway.recording_lost, session)
    gateway.keep_alive = keep_alive(config)
    gateway.oauth, gateway.device_logins = await tokenless(config, logins.secret)
    gateway.proxies = Networks(config.proxy_protocol)

    def on_policy(taken: Policy, source: str) -> None:
        policies.keep(version_of(taken, source, time.time()))
        shared.policy_taken(taken.version)

    gateway.on_policy = on_policy
    source = f"{STARTED}; {opened.accepted}" if opened.accepted else STARTED
    policies.keep(version_of(policy.current, source, time.time()), again=bool(opened.accepted))
    gateway.state_problem, gateway.check_state = opened.problem, opened.check
    gateway.store_watch = opened.watch
    opened.begin(gateway.spawn)
    handover = await open_handover(config, index, logins.secret, recording_keys, opened)
    gateway.late_streams = streams_in_time(config, worker, handover.late_streams)
    gateway.late_streams()
    server = console = None
    try:
        await place.open()
        server = await _listen(config, gateway, place)
        await gateway.run()
        gateway.spawn(gateway.tasks.repeat(shared.look, "owners"), "owners")
        intents.start()
        if logins.managed.sources:
            gateway.spawn(gateway.tasks.repeat(logins.managed.keep, "leases"), "leases")
        if worker.is_first:
            handover.start()
        if config.console is not None and worker.is_first:
            console = await _start_console(
                config,
                logins,
                gateway,
                policies,
                channels,
                locks,
                tokens,
                saml,
                handover,
                actions,
                record.cosigner,
                RunningGateway(gateway, siblings, opened.rows()),
            )
        yield gateway, server.sockets[0].getsockname()[:2]
    finally:
        if server is not None:
            server.close()
        if console is not None:
            # First, and to its end: what was begun is answered, and open pages are not cut off.
            console.cancel()
            await asyncio.wait([console])
        await gateway.stop(_say_goodbye)
        await place.others_are_gone()
        await logins.close()
        if watching is not None:
            watching.close()
        await asyncio.to_thread(channels.close)
        await intents.close()
        await record.close()
        approval_store.close()
        writer.close()
        await handover.close()
        await opened.close()
        owners.close()
        lock.close()


def _call(loop: asyncio.AbstractEventLoop, function: Callable[[str], None], argument: str) -> None:
    """From another thread; once the loop is closed nobody is left to be told."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(function, argument)


async def _measure(query: Query, held: HeldStatement) -> Preview:
    return await measure(
        query,
        held.verdict.facts,
        held.sent,
        held.binds,
        held.search_path,
        held.bind_formats,
        held.settings,
        held.types,
        held.sent != held.sql,
    )


def _public_url(config: Config) -> str:
    """Where browsers find the console; "" without one."""
    console, address = config.console, config.console_address
    if console is None or address is None:
        return ""
    return console.public_url or f"{'https' if config.tls is not None else 'http'}://{address}"


async def _start_console(
    config: Config,
    logins: TargetLogins,
    gateway: Gateway,
    policies: SqlPolicyVersions,
    channels: Channels,
    locks: Locks,
    tokens: SessionTokens,
    saml: Mapping[str, SamlProvider],
    handover: Handover,
    actions: ActionLog,
    cosigner: Cosigner | None,
    live: RunningGateway,
) -> asyncio.Task[None] | None:
    """The task that serves it, once it listens; None when there is none."""
    from sallyport.web import app as web
    from sallyport.web.serve import serve_always, server_context
    from sallyport.web.settings import ConsoleSettings, Services

    address, console = config.console_address, config.console
    if address is None or console is None:
        return None
    issuers = [
        issuer_settings(i)
        for i in config.identity.oidc
        if not console.issuer or i.issuer == console.issuer
    ]
    if not issuers and not config.identity.saml:
        raise ConfigError(f"console.issuer {console.issuer!r} is not one of identity.oidc")
    secret = None
    if console.client_secret is not None:
        secret = await logins.secret(console.client_secret, "console.client_secret")
    roles = console.roles
    services = Services(
        settings=ConsoleSettings(
            public_url=_public_url(config),
            issuer=issuers[0] if issuers else None,
            client_id=console.client_id,
            client_secret=secret,
            scopes=console.scopes,
            session_seconds=console.session_seconds,
            idle_seconds=console.idle_seconds,
            forwarding_header=console.forwarding_header,
            wire_address=f"{urlsplit(_public_url(config)).hostname}:{config.address.port}",
            proxies=Networks(console.trusted_proxies),
        ),
        access=Access(
            {
                VIEWER: frozenset(roles.viewer),
                REVIEWER: frozenset(roles.reviewer),
                AUDITOR: frozenset(roles.auditor),
                OPERATOR: frozenset(roles.operator),
            }
        ),
        authenticator=gateway.authenticator,
        sessions=handover.sessions,
        gateway=live,
        approvals=gateway.approvals,
        slack=channels.slack,
        cosigner=cosigner,
        policies=policies,
        directories={"data": config.data_directory, "recordings": config.recording_directory},
        search=handover.open_index,
        streams=handover.streams,
        actions=actions,
        watching=gateway.watching,
        archiver=handover.archiver,
        locks=locks,
        saml=saml,
        session_tokens=tokens,
    )
    tls_context = (
        server_context(Path(config.tls.certificate), Path(config.tls.key))
        if config.tls is not None
        else None
    )
    listening = asyncio.Event()

    def ready(host: str, port: int) -> None:
        log.info("console listens", address=f"{host}:{port}")
        listening.set()

    running = gateway.spawn(
        serve_always(lambda: web.build(services), address.host, address.port, tls_context, ready),
        "console",
    )
    waiting = asyncio.get_running_loop().create_task(listening.wait(), name="console start")
    await asyncio.wait({running, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if running.done():
        running.result()
    return running


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


def _say_goodbye(peer: Closable) -> None:
    peer.shut(
        refuse("SP1803", "the gateway is shutting down", hint="Connect again in a moment."),
        "the gateway is shutting down",
    )


async def serve_async(
    config: Config,
    ready: Callable[[str, int], None],
    *,
    accept_lost_state: bool = False,
    reread: Callable[[], Config],
    place: WorkerPlace | None = None,
) -> None:
    """Run until SIGINT or SIGTERM, then drain; a second one cuts that short. ``ready`` is told the
    address once clients can connect. ``reread``: the configuration, for SIGHUP. ``place``: as one
    worker of several; when its supervisor is gone, that is as SIGTERM.
    """
    stop, hurry = asyncio.Event(), asyncio.Event()
    if place is not None:
        place.on_lost(stop.set)

    def end() -> None:
        (hurry if stop.is_set() else stop).set()

    def hang_up(gateway: Gateway) -> None:
        gateway.reload_policy(SIGNAL)
        gateway.spawn(reread_issuers(gateway, lambda: issuer_names(reread())), "reread issuers")

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, end)
    running = gateway_running(config, accept_lost_state=accept_lost_state, place=place)
    async with running as (gateway, (host, port)):
        with contextlib.suppress(NotImplementedError):
            loop.add_signal_handler(signal.SIGHUP, hang_up, gateway)
        log.info("listening", address=f"{host}:{port}", targets=sorted(config.targets))
        ready(host, port)
        await stop.wait()
        seconds = config.shutdown.drain_seconds
        log.info("stopping", sessions=gateway.sessions, drain_seconds=seconds)
        await gateway.drain(seconds, _say_goodbye, hurry)
        log.info("drained", sessions_left=gateway.sessions)


def serve(
    config: Config,
    ready: Callable[[str, int], None],
    *,
    accept_lost_state: bool = False,
    reread: Callable[[], Config],
    place: WorkerPlace | None = None,
) -> None:
    """:func:`serve_async` on uvloop where it is there. Blocks. Raises ConfigError."""
    configure_logging(config, None if place is None else place.worker.number)
    keep_memory_private()
    # Messages make and drop many small tuples; the default thresholds would scan them all again and
    # again.
    gc.set_threshold(20_000, 20, 50)
    try:
        import uvloop
    except ImportError:
        run = asyncio.run
    else:
        run = uvloop.run
    serving = serve_async(
        config, ready, accept_lost_state=accept_lost_state, reread=reread, place=place
    )
    run(serving)
