"""The composition root: the only place where the parts are wired together.

:func:`serve` runs a gateway until it is told to stop; :func:`load_target_catalog` reads one target's catalog for the command line. Both take
a validated :class:`~sallyport.config.Config`; nothing below sees the file.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import gc
import logging
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO

import structlog

from sallyport.approvals.preview import measure
from sallyport.approvals.service import Approvals
from sallyport.approvals.states import Preview
from sallyport.audit.recorder import Recorder
from sallyport.channels import Channels, open_channels
from sallyport.config import Config, Console, OidcIssuer, SecretRef
from sallyport.core.clock import SystemClock
from sallyport.core.errors import ConfigError, refuse
from sallyport.core.secret import Secret
from sallyport.identity.authenticate import Authenticator
from sallyport.identity.settings import ALGORITHMS, IssuerSettings
from sallyport.operations.access import AUDITOR, OPERATOR, REVIEWER, VIEWER, Access
from sallyport.operations.live import RunningGateway
from sallyport.operations.sessions import Sessions
from sallyport.policy.load import PolicyFile
from sallyport.policy.model import Policy
from sallyport.policy.versions import SIGNAL, STARTED, version_of
from sallyport.server import tls
from sallyport.server.connection import ClientConnection
from sallyport.server.databases import Database
from sallyport.server.gateway import Gateway, GatewayLimits, Query
from sallyport.server.query import QueryClient
from sallyport.server.upstream import Dialer
from sallyport.session.holding import HeldStatement
from sallyport.sql.catalog import CatalogSnapshot
from sallyport.store.approvals import SqlApprovalStore
from sallyport.store.database import open_database
from sallyport.store.policies import SqlPolicyVersions
from sallyport.store.sessions import SqlSessionIndex
from sallyport.store.writer import Writer
from sallyport.targets.catalog_loader import load_catalog
from sallyport.targets.credentials import Reference, reference_from, resolve
from sallyport.targets.privileges import Privileges, load_privileges
from sallyport.targets.targets import Target

log = structlog.get_logger("sallyport")

_BACKLOG = 512


def configure_logging(config: Config) -> None:
    """Structured lines on standard error: for people, or JSON."""
    render: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if config.log.format == "json"
        # Plain: a traceback with local variables would put rows and requests into the log.
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *([structlog.processors.format_exc_info] if config.log.format == "json" else []),
            render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, config.log.level.upper())),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def _target(name: str, config: Config) -> Target:
    given = config.targets[name]
    return Target(
        name=name,
        host=given.host,
        port=given.port,
        database=given.database,
        user=given.user,
        password=None if given.password is None else _reference(given.password, f"targets.{name}.password"),
        tls=given.tls,
        ca=None if given.ca is None else Path(given.ca),
        auth=given.auth,
        channel_binding=given.channel_binding,
    )


def _reference(given: SecretRef, where: str) -> Reference:
    parts = {"env": given.env, "file": given.file, "command": given.command}
    return reference_from({k: v for k, v in parts.items() if v is not None}, where)


def _dialer(name: str, config: Config) -> Dialer:
    target = _target(name, config)
    return Dialer(target, tls.client_context(target.tls, target.ca), config.targets[name].connect_seconds)


def _issuer(issuer: OidcIssuer) -> IssuerSettings:
    return IssuerSettings(
        issuer=issuer.issuer,
        audience=issuer.audience,
        groups_claim=issuer.groups_claim,
        agent_claim=issuer.agent_claim,
        algorithms=issuer.algorithms or ALGORITHMS,
        jwks_url=issuer.jwks_url,
        clock_skew=issuer.clock_skew,
        max_token_age=issuer.max_token_age,
        ca_file=issuer.ca or "",
    )


async def _secret(given: SecretRef, where: str) -> Secret:
    return await resolve(_reference(given, where))


async def _secrets(references: Mapping[str, SecretRef]) -> dict[str, Secret]:
    return {name: await resolve(_reference(given, f"mask_keys.{name}")) for name, given in references.items()}


def check_together(config: Config, policy: Policy) -> None:
    """What only configuration and policy together can show. Raises ConfigError."""
    for key in sorted(policy.hash_keys() - config.mask_keys.keys()):
        raise ConfigError(
            f"{policy.filename}: a hash mask uses the key {key!r}, which is not in the configuration. "
            f"Add 'mask_keys: {{{key}: {{file: ...}}}}' there"
        )


def _limits(config: Config) -> GatewayLimits:
    limits = config.limits
    return GatewayLimits(
        login_seconds=limits.login_seconds,
        max_sessions=limits.max_sessions,
        max_sessions_per_subject=limits.max_sessions_per_subject,
        max_message_bytes=limits.max_message_bytes,
        max_row_bytes=limits.max_row_bytes,
        session_seconds=limits.session_seconds,
        idle_seconds=limits.idle_seconds,
        held_in_transaction_seconds=limits.held_in_transaction_seconds,
        held_reminder_seconds=limits.held_reminder_seconds,
    )


async def load_target_catalog_async(config: Config, target: str) -> CatalogSnapshot:
    """Read a target's catalog over the gateway's own connection. Raises ConfigError, RefusedError."""
    if target not in config.targets:
        known = ", ".join(sorted(config.targets)) or "none"
        raise ConfigError(f"there is no target {target!r} in the configuration; there is: {known}")
    client = QueryClient(_dialer(target, config), 60.0)
    try:
        return await load_catalog(client.query)
    finally:
        await client.close()


def load_target_catalog(config: Config, target: str) -> CatalogSnapshot:
    """:func:`load_target_catalog_async` for callers without an event loop."""
    return asyncio.run(load_target_catalog_async(config, target))


def load_target_privileges(config: Config, target: str, role: str = "") -> tuple[CatalogSnapshot, Privileges]:
    """A target's catalog and what a role may do there ("": the gateway's own), for callers without an event loop.

    Raises ConfigError, RefusedError, PrivilegeError.
    """

    async def load() -> tuple[CatalogSnapshot, Privileges]:
        client = QueryClient(_dialer(target, config), 60.0)
        try:
            return await load_catalog(client.query), await load_privileges(client.query, role)
        finally:
            await client.close()

    return asyncio.run(load())


def _only_gateway(data: Path) -> IO[bytes]:
    """Hold the data directory: a second gateway on it would end the first one's sessions and requests in the books.

    Raises ConfigError when another process has it, or it cannot be made. The lock goes with the process.
    """
    try:
        data.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = open(data / "gateway.lock", "ab")  # noqa: SIM115 - held for as long as the gateway runs
    except OSError as error:
        raise ConfigError(
            f"the data directory {data} cannot be used: {error.strerror}. Set 'data' to one that can."
        ) from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise ConfigError(
            f"another gateway uses the data directory {data}. Stop it, or set 'data' to a directory of its own."
        ) from None
    return lock


@asynccontextmanager
async def gateway_running(config: Config) -> AsyncIterator[tuple[Gateway, tuple[str, int]]]:
    """A gateway that listens; gives it and the address it got. Everything it started ends with the block."""
    policy = PolicyFile(config.policy_path)
    check_together(config, policy.current)
    context = (
        tls.server_context(Path(config.tls.certificate), Path(config.tls.key))
        if config.tls is not None
        else None
    )
    keys = await _secrets(config.mask_keys)
    lock = _only_gateway(config.data_directory)
    store = open_database(config.data_directory)
    writer = Writer(store)
    index = SqlSessionIndex(store, writer)
    interrupted = index.mark_interrupted()
    if interrupted:
        log.warning("sessions of an earlier run were interrupted", sessions=interrupted)
    writer.start()
    recorder = Recorder(config.data_directory, index, directory=config.recording_directory)
    recorder.start()
    databases = {
        name: Database(
            name,
            _dialer(name, config),
            lambda: policy.current,
            keys,
            check_seconds=config.catalog.check_seconds,
            max_statement_bytes=config.limits.max_statement_bytes,
        )
        for name in config.targets
    }
    authenticator = Authenticator(
        [_issuer(i) for i in config.identity.oidc], required_claims=config.identity.required_claims
    )
    approval_store = SqlApprovalStore(store)
    channels = await open_channels(config.approvals, _public_url(config), _secret)
    approvals = Approvals(
        approval_store,
        SystemClock(),
        limits=channels.limits,
        notifiers=channels.notifiers,
        identities=channels.identities,
    )
    gateway = Gateway(
        databases, authenticator, recorder, policy, _limits(config), context, approvals, _public_url(config)
    )
    gateway.measure = _measure
    policies = SqlPolicyVersions(store, writer)
    gateway.on_policy = lambda taken, source: policies.keep(version_of(taken, source, time.time()))
    gateway.on_policy(policy.current, STARTED)
    server = console = None
    try:
        server = await _listen(config, gateway)
        await gateway.run()
        if config.console is not None:
            console = await _start_console(config, config.console, gateway, index, policies, channels)
        host, port = server.sockets[0].getsockname()[:2]
        yield gateway, (host, port)
    finally:
        if server is not None:
            server.close()
        if console is not None:
            # First, and to its end: what was begun is answered, and open pages are not cut off.
            console.cancel()
            await asyncio.wait([console])
        await gateway.stop(_say_goodbye)
        await asyncio.to_thread(channels.close)
        recorder.close()
        approval_store.close()
        writer.close()
        store.dispose()
        lock.close()


async def _measure(query: Query, held: HeldStatement) -> Preview:
    return await measure(
        query,
        held.verdict.facts,
        held.sql,
        held.binds,
        held.search_path,
        held.bind_formats,
        held.settings,
        held.types,
    )


def _public_url(config: Config) -> str:
    """Where browsers find the console; "" without one."""
    console, address = config.console, config.console_address
    if console is None or address is None:
        return ""
    return console.public_url or f"{'https' if config.tls is not None else 'http'}://{address}"


async def _start_console(
    config: Config,
    console: Console,
    gateway: Gateway,
    index: SqlSessionIndex,
    policies: SqlPolicyVersions,
    channels: Channels,
) -> asyncio.Task[None] | None:
    """The task that serves it, once it listens; None when there is none."""
    from sallyport.web import app as web
    from sallyport.web.serve import serve_always, server_context
    from sallyport.web.settings import ConsoleSettings, Services

    address = config.console_address
    if address is None:
        return None
    wanted = [_issuer(i) for i in config.identity.oidc if not console.issuer or i.issuer == console.issuer]
    if not wanted:
        raise ConfigError(f"console.issuer {console.issuer!r} is not one of identity.oidc")
    secret = None
    if console.client_secret is not None:
        secret = await resolve(_reference(console.client_secret, "console.client_secret"))
    roles = console.roles
    services = Services(
        settings=ConsoleSettings(
            public_url=_public_url(config),
            issuer=wanted[0],
            client_id=console.client_id,
            client_secret=secret,
            scopes=console.scopes,
            session_seconds=console.session_seconds,
            idle_seconds=console.idle_seconds,
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
        sessions=Sessions(config.recording_directory, index),
        gateway=RunningGateway(gateway),
        approvals=gateway.approvals,
        slack=channels.slack,
        policies=policies,
    )
    tls_context = (
        server_context(Path(config.tls.certificate), Path(config.tls.key)) if config.tls is not None else None
    )
    listening = asyncio.Event()

    def ready(host: str, port: int) -> None:
        log.info("console listens", address=f"{host}:{port}")
        listening.set()

    running = gateway.spawn(
        serve_always(lambda: web.build(services), address.host, address.port, tls_context, ready), "console"
    )
    waiting = asyncio.get_running_loop().create_task(listening.wait(), name="console start")
    await asyncio.wait({running, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if running.done():
        running.result()
    return running


async def _listen(config: Config, gateway: Gateway) -> asyncio.Server:
    address = config.address
    try:
        return await asyncio.get_running_loop().create_server(
            lambda: ClientConnection(gateway), address.host, address.port, backlog=_BACKLOG
        )
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {address}: {error.strerror}. Is another gateway running there? "
            "Change 'listen' in the configuration."
        ) from None


def _say_goodbye(connection: ClientConnection) -> None:
    connection.shut(
        refuse("SP1803", "the gateway is shutting down", hint="Connect again in a moment."),
        "the gateway is shutting down",
    )


async def serve_async(config: Config, ready: Callable[[str, int], None]) -> None:
    """Run until SIGINT or SIGTERM. ``ready`` is told the address once clients can connect."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with gateway_running(config) as (gateway, (host, port)):
        with contextlib.suppress(NotImplementedError):
            loop.add_signal_handler(signal.SIGHUP, gateway.reload_policy, SIGNAL)
        log.info("listening", address=f"{host}:{port}", targets=sorted(config.targets))
        ready(host, port)
        await stop.wait()
        log.info("stopping", sessions=gateway.sessions)


def serve(config: Config, ready: Callable[[str, int], None]) -> None:
    """:func:`serve_async` on uvloop where it is there. Blocks. Raises ConfigError."""
    configure_logging(config)
    # Messages make and drop many small tuples; the default thresholds would scan them all again and again.
    gc.set_threshold(20_000, 20, 50)
    try:
        import uvloop
    except ImportError:
        asyncio.run(serve_async(config, ready))
        return
    uvloop.run(serve_async(config, ready))
