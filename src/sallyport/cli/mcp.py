"""``sallyport mcp``: an MCP server over standard input and output, for Claude Code, Claude Desktop
and others, that reaches the gateway over the PostgreSQL wire protocol.

Exit status: 0 when the client goes away, 2 with the reason on standard error when it cannot start.
Standard output has MCP messages and nothing else.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import time
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from sallyport.cli.connect import (
    LOCAL,
    Gateway,
    GatewayCa,
    fail,
    gateway_address,
)
from sallyport.cli.quiet import log_to_stderr
from sallyport.cli.tokenoptions import TokenOptions, takes_token_options
from sallyport.core.errors import SallyportError

if TYPE_CHECKING:
    from sallyport.cli.persontokens import PersonTokens
    from sallyport.cli.tokensource import TokenSource
    from sallyport.core.secret import Secret
    from sallyport.identity.oidc.client import Grant
    from sallyport.mcp.wire_session import Dial

_HELP: Final = """Serve MCP on standard input and output, for Claude Code and other clients.

Its tools run SQL on the gateway's targets as you: with the token of --token-file, of the issuer
(--client-id), or of `sallyport login`. Needs the extra `mcp`: pip install 'sallyport[mcp]'.

Example: sallyport mcp --target shop

Example: claude mcp add shop -- sallyport mcp --target shop --gateway gateway.example.com:6432
"""


def register(app: typer.Typer) -> None:
    """Add the command to the ``sallyport`` program."""
    app.command("mcp", help=_HELP)(mcp)


@takes_token_options
def mcp(
    target: Annotated[
        list[str], typer.Option(help="The target's name; again for each that may be used.")
    ],
    gateway: Gateway = LOCAL,
    ca: GatewayCa = "",
    user: Annotated[str, typer.Option(help="The label that is recorded.")] = "",
    *,
    options: TokenOptions,
) -> None:
    """Serve until the client goes away; see :data:`_HELP`."""
    if importlib.util.find_spec("mcp") is None:
        fail("the package mcp is not installed: pip install 'sallyport[mcp]'")
    # Start-up time: other commands need neither TLS nor the wire protocol.
    from sallyport.cli.localproxy import Door, dial
    from sallyport.cli.tokensource import tokens_of

    try:
        source = tokens_of(options)
        host, port = gateway_address(gateway)
        # the target is each session's own
        entrance = StdioEntrance(
            partial(dial, Door(host, port, "", ca)), source, tuple(target), user
        )
        log_to_stderr()
        asyncio.run(entrance.serve())
    except SallyportError as error:
        fail(str(error))
    except KeyboardInterrupt:
        raise typer.Exit(0) from None


class StdioEntrance:
    """One MCP client: whoever started this process. ``user``: the label; "" for the login name."""

    def __init__(
        self,
        dial: Dial,
        source: TokenSource | PersonTokens,
        targets: tuple[str, ...],
        user: str,
    ) -> None:
        self._dial, self._source, self._targets = dial, source, targets
        self._user = user or os.environ.get("USER", "") or "mcp"
        self._grant: Grant | None = None
        self._renew_at = 0.0
        self._lock = asyncio.Lock()  # calls in parallel share one token

    async def serve(self) -> None:
        """Until standard input ends."""
        from mcp.server.stdio import stdio_server

        from sallyport.cli.main import installed_version
        from sallyport.mcp.sessions import SessionBook
        from sallyport.mcp.tools import server

        book = SessionBook()
        mcp_server = server(book, self._caller, installed_version())
        sweeping = asyncio.get_running_loop().create_task(book.run(), name="mcp sessions")
        try:
            async with stdio_server() as (reading, writing):
                await mcp_server.run(reading, writing, mcp_server.create_initialization_options())
        finally:
            sweeping.cancel()
            await asyncio.wait([sweeping])

    async def _caller(self, context: Any) -> Any:
        from sallyport.mcp.sessions import Caller
        from sallyport.mcp.tools import program_name

        startup = {
            "user": self._user,
            "application_name": program_name(context.session.client_params),
            "client_encoding": "UTF8",
        }
        return Caller(
            "", "stdio", await self._token(), self._dial, startup, self._targets,
            {"label": self._user},
        )  # fmt: skip

    async def _token(self) -> Secret:
        """A token that is good for a while. Raises SallyportError."""
        async with self._lock:
            if self._grant is None or time.monotonic() >= self._renew_at:
                self._grant = await self._source.fetch()
                is_dated = self._grant.expires_at > 0
                left = self._grant.until_renewal() if is_dated else 0.0
                self._renew_at = time.monotonic() + left
            return self._grant.token
