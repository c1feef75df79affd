"""The entrance for MCP clients, as the console's web server carries it."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable
from importlib.metadata import version
from typing import TYPE_CHECKING

from sallyport.audit.refusedlogins import RefusedLogin
from sallyport.config import Config
from sallyport.core.address import Networks, forwarded_address
from sallyport.core.subject import Subject
from sallyport.identity.authenticate import LoginRefused
from sallyport.identity.problems import printable
from sallyport.server.connection import Origin
from sallyport.server.gateway import Gateway
from sallyport.server.in_process import connect

if TYPE_CHECKING:
    from starlette.requests import Request

    from sallyport.mcp.http import HttpEntrance
    from sallyport.mcp.wire_session import Streams


async def mcp_entrance(
    config: Config, gateway: Gateway, url: str
) -> Callable[[], HttpEntrance] | None:
    """Makes one, each time the web server starts; None where the configuration has none. ``url``:
    of the web server.
    """
    console, settings = config.console, config.mcp
    if settings is None or console is None:
        return None
    # It takes a second or two, in which sessions go on.
    await asyncio.to_thread(importlib.import_module, "mcp.server.streamable_http_manager")
    from sallyport.mcp.http import HttpEntrance, HttpSettings, Services
    from sallyport.mcp.sessions import Limits

    proxies = Networks(console.trusted_proxies)

    def address(request: Request) -> str:
        peer = request.client.host if request.client else ""
        if not console.forwarding_header:
            return peer
        return forwarded_address(peer, request.headers.getlist(console.forwarding_header), proxies)

    async def to_gateway(host: str, port: int) -> Streams:
        return await connect(gateway, Origin("mcp", host, port))

    def refused(host: str, error: LoginRefused) -> None:
        asked = {name: printable(text, 100) for name, text in error.whose.items()}
        code = error.refusal.code.id
        refused_login = RefusedLogin(host, "mcp", code, error.reason, details=asked)
        gateway.refused_logins.add_request(refused_login)

    http = HttpSettings(
        url,
        version("sallyport"),
        settings.authorization_servers,
        settings.scopes,
        Limits(settings.idle_seconds, settings.sessions),
    )
    services = Services(
        gateway.authenticator,
        to_gateway,
        lambda subject: _open_targets(gateway, subject),
        address,
        refused,
    )
    return lambda: HttpEntrance(http, services)


def _open_targets(gateway: Gateway, subject: Subject) -> tuple[str, ...]:
    """Names of the targets that the subject may use now. One whose catalog was not read yet is not
    known to be open.
    """
    return tuple(
        name
        for name, database in gateway.databases.items()
        if database.judge is not None and database.judge.subject_policy(subject).may_connect
    )
