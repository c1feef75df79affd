"""``sallyport token`` and ``sallyport login``: get the token that goes where a password would.

``token`` prints a token and nothing else, so that it can stand in ``PGPASSWORD=$(sallyport token
...)``. With a client id it asks the issuer (client credentials); without, it prints the one that
``login`` kept. ``login`` is for people: it shows an address and a code, and keeps the token in a
file that only its owner can read. Exit status: 0, or 2 with the reason on standard error.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from sallyport.cli import sessiontokens
from sallyport.cli.kepttoken import keep
from sallyport.cli.rest import LOCAL, Url, run_request
from sallyport.cli.tokenoptions import (
    Audience,
    CaFile,
    ClientId,
    Issuer,
    Resource,
    Scope,
    SecretFile,
    SignIn,
    TokenOptions,
    takes_token_options,
)
from sallyport.core.clock import rfc3339
from sallyport.core.errors import SallyportError

if TYPE_CHECKING:
    from sallyport.identity.oidc.client import Grant

AsJson = Annotated[bool, typer.Option("--json", help="Print token and expiry as JSON.")]

_HELP = """Print a token for the gateway.

Example, a program with a client secret:

\b
    export PGPASSWORD=$(sallyport token --issuer https://idp.example.com --client-id ci)
    psql -h gateway -p 6432 shop

Example, after `sallyport login`:

\b
    PGPASSWORD=$(sallyport token) psql -h gateway -p 6432 shop

Session tokens, which the gateway issues in exchange: sallyport token exchange, list, revoke.
"""


def register(app: typer.Typer) -> None:
    """Add the commands to the ``sallyport`` program."""
    tokens = typer.Typer(invoke_without_command=True, no_args_is_help=False, help=_HELP)
    tokens.callback(help=_HELP)(token)
    sessiontokens.register(tokens)
    app.add_typer(tokens, name="token")
    app.command("login")(login)


@takes_token_options
def token(
    context: typer.Context,
    header: Annotated[
        bool,
        typer.Option(
            "--header",
            help="Print it as an HTTP header in JSON, as MCP clients' header helpers do.",
        ),
    ] = False,
    as_json: AsJson = False,
    *,
    options: TokenOptions,
) -> None:
    """See ``_HELP``. Subcommands: :mod:`sallyport.cli.sessiontokens`."""
    if context.invoked_subcommand is not None:
        return
    # Start-up time: other commands need no HTTP client.
    from sallyport.cli.tokensource import tokens_of

    try:
        grant = tokens_of(options).fetch_now()
    except SallyportError as error:
        _fail(str(error))
    if header:
        typer.echo(json.dumps({"Authorization": f"Bearer {grant.token.reveal()}"}))
    else:
        _print(grant, as_json)


def login(
    issuer: Issuer = "",
    client_id: ClientId = "",
    secret_file: SecretFile = None,
    scope: Scope = "openid",
    resource: Resource = "",
    audience: Audience = "",
    ca_file: CaFile = "",
    sign_in: SignIn = "device",
    saml: Annotated[
        bool,
        typer.Option(
            "--saml",
            help=(
                "Sign in at the gateway's console, with SAML or as it offers, and keep a session"
                " token."
            ),
        ),
    ] = False,
    url: Url = LOCAL,
    minutes: Annotated[
        int,
        typer.Option(
            min=0,
            max=525_600,
            help="With --saml: the lifetime of the session token; 0 for the longest.",
        ),
    ] = 0,
) -> None:
    """Log in with a browser and keep the token.

    Shows an address and a code; open the address in any browser, on any machine, and enter the
    code. With --sign-in browser, and with --saml, the browser has to be on this machine: it brings
    the sign-in back to it.

    Example:

    \b
        sallyport login --issuer https://idp.example.com --client-id sallyport-cli
        sallyport login --saml --url https://sallyport.example.com
    """
    if saml:
        _keep_session_token(url, minutes)
        return
    if not issuer or not client_id:
        _fail("--issuer and --client-id are needed; the gateway's operator knows them")
    # Start-up time: other commands need no HTTP client.
    from sallyport.cli.tokensource import tokens_of

    options = TokenOptions(
        None, issuer, client_id, secret_file, scope, resource, audience, ca_file,
        sign_in or "device",
    )  # fmt: skip
    try:
        keep(tokens_of(options).fetch_now())
    except SallyportError as error:
        _fail(str(error))
    typer.echo("Logged in. Next: PGPASSWORD=$(sallyport token) psql ...", err=True)


def _keep_session_token(url: str, minutes: int) -> None:
    from sallyport.cli.browserlogin import sign_in

    def run() -> None:
        keep(
            sign_in(
                url, minutes, lambda page: typer.echo(f"Open {page}\nand sign in there", err=True)
            )
        )
        typer.echo("Logged in. Next: PGPASSWORD=$(sallyport token) psql ...", err=True)

    run_request(run)


def _print(grant: Grant, as_json: bool) -> None:
    if as_json:
        until = rfc3339(grant.expires_at) if grant.expires_at else None
        typer.echo(json.dumps({"access_token": grant.token.reveal(), "expires_at": until}))
    else:
        typer.echo(grant.token.reveal())


def _fail(why: str) -> NoReturn:
    typer.echo(f"sallyport: {why}", err=True)
    raise typer.Exit(2)
