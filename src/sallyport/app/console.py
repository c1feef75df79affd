"""The console of a gateway: what it is given, and serving it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import structlog

from sallyport.app.gateway_store import GatewayStore
from sallyport.app.identity_providers import issuer_settings
from sallyport.app.mcp_entrance import mcp_entrance
from sallyport.app.record_delivery import RecordDelivery
from sallyport.approvals.channels.slack import Slack
from sallyport.audit.actions import ActionLog
from sallyport.audit.tlog.cosigning import Cosigner
from sallyport.config import Config, Console
from sallyport.config.secrets import Resolve
from sallyport.core.address import Address, Networks
from sallyport.core.errors import ConfigError, RefusedError
from sallyport.identity.locks import Locks
from sallyport.identity.session_tokens import SessionTokens
from sallyport.operations.access import AUDITOR, OPERATOR, REVIEWER, VIEWER, Access
from sallyport.operations.history import History
from sallyport.operations.live import RunningGateway
from sallyport.operations.policies import Members, PolicyVersions
from sallyport.server.gateway import Gateway
from sallyport.store.sign_ins import SqlSignInStore
from sallyport.store.used_messages import SqlUsedMessageStore

if TYPE_CHECKING:
    from sallyport.identity.saml.provider import SamlProvider
    from sallyport.web.auth.shared_signins import SharedSignIns
    from sallyport.web.settings import ConsoleSettings, Services, SharedConsole

log = structlog.get_logger("sallyport")

#: Between two looks at who signed out while the store was away.
_SETTLE_SECONDS = 5.0


def public_url(config: Config) -> str:
    """Where browsers find the console; "" without one."""
    console, address = config.console, config.console_address
    if console is None or address is None:
        return ""
    return console.public_url or f"{'https' if config.tls is not None else 'http'}://{address}"


async def start_console(
    config: Config,
    gateway: Gateway,
    live: RunningGateway,
    resolve: Resolve,
    *,
    policies: PolicyVersions,
    slack: Slack | None,
    locks: Locks,
    session_tokens: SessionTokens,
    saml: Mapping[str, SamlProvider],
    delivery: RecordDelivery,
    actions: ActionLog,
    cosigner: Cosigner | None,
    members: Members,
    history: History,
    store: GatewayStore,
) -> asyncio.Task[None] | None:
    """The task that serves it, once it listens; None where there is none. Raises ConfigError."""
    address, console = config.console_address, config.console
    if address is None or console is None:
        return None
    from sallyport.web.settings import Services  # the console's modules take a while

    services = Services(
        settings=await _settings(config, console, resolve),
        access=_access(console),
        authenticator=gateway.authenticator,
        sessions=delivery.sessions,
        gateway=live,
        approvals=gateway.approvals,
        slack=slack,
        cosigner=cosigner,
        policies=policies,
        members=members,
        history=history,
        directories={"data": config.data_directory, "recordings": config.recording_directory},
        search=delivery.open_index,
        streams=delivery.streams,
        actions=actions,
        watching=gateway.watching,
        archiver=delivery.archiver,
        locks=locks,
        saml=saml,
        session_tokens=session_tokens,
        mcp=await mcp_entrance(config, gateway, public_url(config)),
        shared=_shared(gateway, store),
    )
    return await _serve(config, gateway, services, address)


def _shared(gateway: Gateway, store: GatewayStore) -> SharedConsole:
    """In a store of its own a gateway's sign-ins end with its process."""
    from sallyport.web.auth.shared_signins import SharedSignIns
    from sallyport.web.settings import SharedConsole

    box, signins = store.seal.console, None
    if store.link is not None:
        signins = SharedSignIns(SqlSignInStore(store.prompt), box)
        settle = gateway.tasks.repeat(partial(_settle, signins), "sign-ins")
        gateway.spawn(settle, "sign-ins")
    return SharedConsole(box, SqlUsedMessageStore(store.prompt), signins)


async def _settle(signins: SharedSignIns) -> None:
    await asyncio.sleep(_SETTLE_SECONDS)
    with contextlib.suppress(RefusedError):  # the store logs it
        signins.settle()


def _access(console: Console) -> Access:
    roles = console.roles
    return Access(
        {
            VIEWER: frozenset(roles.viewer),
            REVIEWER: frozenset(roles.reviewer),
            AUDITOR: frozenset(roles.auditor),
            OPERATOR: frozenset(roles.operator),
        }
    )


async def _settings(config: Config, console: Console, resolve: Resolve) -> ConsoleSettings:
    from sallyport.web.settings import ConsoleSettings

    issuers = [
        issuer_settings(issuer)
        for issuer in config.identity.oidc
        if not console.issuer or issuer.issuer == console.issuer
    ]
    if not issuers and not config.identity.saml:
        raise ConfigError(f"console.issuer {console.issuer!r} is not one of identity.oidc")
    secret = None
    if console.client_secret is not None:
        secret = await resolve(console.client_secret, "console.client_secret")
    url = public_url(config)
    return ConsoleSettings(
        public_url=url,
        issuer=issuers[0] if issuers else None,
        client_id=console.client_id,
        client_secret=secret,
        scopes=console.scopes,
        session_seconds=console.session_seconds,
        idle_seconds=console.idle_seconds,
        forwarding_header=console.forwarding_header,
        wire_address=f"{urlsplit(url).hostname}:{config.address.port}",
        proxies=Networks(console.trusted_proxies),
    )


async def _serve(
    config: Config, gateway: Gateway, services: Services, address: Address
) -> asyncio.Task[None]:
    from sallyport.web import app
    from sallyport.web.serve import serve_always, server_context

    context = (
        server_context(Path(config.tls.certificate), Path(config.tls.key))
        if config.tls is not None
        else None
    )
    listening = asyncio.Event()

    def ready(host: str, port: int) -> None:
        log.info("console listens", address=f"{host}:{port}")
        listening.set()

    running = gateway.spawn(
        serve_always(lambda: app.build(services), address.host, address.port, context, ready),
        "console",
    )
    waiting = asyncio.get_running_loop().create_task(listening.wait(), name="console start")
    await asyncio.wait({running, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if running.done():
        running.result()
    return running
