"""``sallyport connect``: psql, or any program that reads libpq's environment variables, with a
fresh token as the password. ``sallyport proxy``: a local port or socket for programs that keep a
password; see :mod:`sallyport.cli.localproxy`.

Exit status: the program's own; 2 with the reason on standard error when there is no token.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, NoReturn

import typer

from sallyport.cli.tokenoptions import TokenOptions, takes_token_options
from sallyport.core.address import is_loopback, parse_address
from sallyport.core.errors import SallyportError

if TYPE_CHECKING:
    from sallyport.cli.localproxy import LocalProxy
    from sallyport.cli.persontokens import PersonTokens
    from sallyport.cli.tokensource import TokenSource

Gateway = Annotated[
    str, typer.Option(envvar="SALLYPORT_GATEWAY", help="The gateway's address, host:port.")
]
GatewayCa = Annotated[str, typer.Option(help="PEM file of the CA of the gateway's certificate.")]
LOCAL = "127.0.0.1:6432"
_CONNECT = """Run psql, or another PostgreSQL program, through the gateway.

The token comes from --token-file, from the issuer (--client-id), or from `sallyport login`. With
--sign-in you sign in for it.

Example: sallyport connect shop

Example: sallyport connect shop --gateway gateway.example.com:6432 -- pg_dump --schema-only
"""
_PROXY = """Open a local port or socket whose password never changes, and put fresh tokens behind
it.

For graphical clients, JDBC URLs and containers. It prints the connection string. Sessions go on
when their token expires: it is renewed between two statements. With --sign-in you sign in once, and
the refresh token stays in memory.

Example: sallyport proxy --target shop --gateway gateway.example.com:6432

Example: sallyport proxy --target shop --socket ~/.sallyport
"""


#: libpq prefers the address to the host, and what a service says to both.
_ELSEWHERE: Final = frozenset(("PGHOSTADDR", "PGSERVICE"))


def register(app: typer.Typer) -> None:
    """Add the commands to the ``sallyport`` program."""
    app.command("connect", help=_CONNECT)(connect)
    app.command("proxy", help=_PROXY)(proxy)


@takes_token_options
def connect(
    target: Annotated[str, typer.Argument(help="The target's name.")],
    program: Annotated[
        list[str] | None, typer.Argument(help="The program to run, after --. [psql]")
    ] = None,
    gateway: Gateway = LOCAL,
    ca: GatewayCa = "",
    user: Annotated[str, typer.Option(help="The label that is recorded.")] = "",
    *,
    options: TokenOptions,
) -> None:
    """See ``--help``."""
    # Start-up time: other commands need no HTTP client.
    from sallyport.cli.tokensource import tokens_of

    try:
        source = tokens_of(options)
        host, port = gateway_address(gateway)
        token = source.fetch_now().token
    except SallyportError as error:
        fail(str(error))
    words = program or ["psql"]
    executable = shutil.which(words[0])
    if executable is None:
        fail(f"{words[0]} is not installed, or not in PATH")
    # Each of these would send the token to another server.
    env = {name: value for name, value in os.environ.items() if name not in _ELSEWHERE}
    env |= {"PGHOST": host, "PGPORT": str(port), "PGDATABASE": target}
    env["PGPASSWORD"] = token.reveal()
    env.setdefault("PGUSER", user or os.environ.get("USER", "") or "sallyport")
    if user:
        env["PGUSER"] = user
    env.setdefault("PGSSLMODE", "prefer" if is_loopback(host) else "verify-full")
    if ca:
        env |= {"PGSSLROOTCERT": ca, "PGSSLMODE": "verify-full"}
    elif env["PGSSLMODE"] == "verify-full":
        env.setdefault("PGSSLROOTCERT", "system")  # libpq 16 and newer
    os.execve(executable, words, env)  # noqa: S606 - the program that the user named


@takes_token_options
def proxy(
    target: Annotated[str, typer.Option(help="The target's name.")],
    listen: Annotated[str, typer.Option(help="Loopback address and port.")] = "127.0.0.1:6543",
    socket: Annotated[
        Path | None,
        typer.Option(help="Directory for a Unix socket, in place of the port. No password."),
    ] = None,
    gateway: Gateway = LOCAL,
    ca: GatewayCa = "",
    *,
    options: TokenOptions,
) -> None:
    """See ``--help``."""
    # Start-up time: other commands need neither TLS nor the wire protocol.
    from sallyport.cli.localproxy import Door, LocalProxy, kept_password
    from sallyport.cli.tokensource import tokens_of

    try:
        source = tokens_of(options)
        host, port = gateway_address(gateway)
        here = gateway_address(listen)
        if not is_loopback(here[0]):
            raise SallyportError(
                f"--listen {listen}: use a loopback address, because whoever reaches the port"
                " connects as you"
            )
        password = None if socket is not None else kept_password(target)
        local = LocalProxy(Door(host, port, target, ca), source.fetch, password, source.renew)
        asyncio.run(_serve(local, here, socket, source if options.sign_in else None))
    except SallyportError as error:
        fail(str(error))
    except KeyboardInterrupt:
        raise typer.Exit(0) from None


async def _serve(
    local: LocalProxy,
    here: tuple[str, int],
    socket: Path | None,
    person: TokenSource | PersonTokens | None,
) -> None:
    if person is not None:
        await person.fetch()  # they sit before the terminal now
    await local.run(here, socket, lambda said: typer.echo(said, err=True))


def gateway_address(text: str) -> tuple[str, int]:
    """Host and port. Raises SallyportError."""
    try:
        address = parse_address(text)
    except ValueError as error:
        raise SallyportError(f"{error}. Write host:port, like 127.0.0.1:6432") from None
    return address.host, address.port


def fail(why: str) -> NoReturn:
    """End the program with the reason."""
    typer.echo(f"sallyport: {why}", err=True)
    raise typer.Exit(2)
