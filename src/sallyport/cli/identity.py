"""``sallyport token`` and ``sallyport login``: get the token that goes where a password would.

``token`` prints a token and nothing else, so that it can stand in ``PGPASSWORD=$(sallyport token
...)``. With a client id it asks the issuer (client credentials); without, it prints the one that
``login`` kept. ``login`` is for people: it shows an address and a code, and keeps the token in a
file that only its owner can read. Exit status: 0, or 2 with the reason on standard error.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from sallyport.cli import sessiontokens
from sallyport.cli.rest import LOCAL, Url, run_request
from sallyport.core.clock import rfc3339
from sallyport.core.errors import SallyportError

if TYPE_CHECKING:
    from sallyport.core.secret import Secret
    from sallyport.identity.oidc.client import Grant

_SECRET_VARIABLE = "SALLYPORT_CLIENT_SECRET"  # noqa: S105 - the variable's name
#: A token that ends within this many seconds is not handed out any more.
_MARGIN = 10.0

Issuer = Annotated[
    str,
    typer.Option(envvar="SALLYPORT_ISSUER", help="The issuer, as in the gateway's configuration."),
]
ClientId = Annotated[
    str, typer.Option(envvar="SALLYPORT_CLIENT_ID", help="Who asks: the OAuth client id.")
]
SecretFile = Annotated[
    Path | None,
    typer.Option(
        help=f"File with the client's secret; without it, the variable {_SECRET_VARIABLE} has it."
    ),
]
Scope = Annotated[str, typer.Option(help="Scope to ask for.")]
Resource = Annotated[
    str, typer.Option(help="Resource the token is for (RFC 8707), if the issuer wants one.")
]
Audience = Annotated[str, typer.Option(help="Audience parameter, for issuers that want one.")]
CaFile = Annotated[str, typer.Option(help="PEM file of the issuer's CA, instead of the system's.")]
TokenFile = Annotated[
    Path | None,
    typer.Option(
        envvar="SALLYPORT_TOKEN_FILE",
        help="File that has the token, as pods and CI jobs get it; read each time.",
    ),
]
SignIn = Annotated[
    str,
    typer.Option(
        "--sign-in",
        help="Have a person sign in: in a browser on this machine (browser), or on any (device).",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print token and expiry as JSON.")]

_HELP = """Print a token for the gateway.

Example, a program with a client secret:

\b
    PGPASSWORD=$(sallyport token --issuer https://idp.example.com --client-id ci) psql -h gateway -p 6432 shop

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


def token(
    context: typer.Context,
    token_file: TokenFile = None,
    header: Annotated[
        bool,
        typer.Option(
            "--header",
            help="Print it as an HTTP header in JSON, as MCP clients' header helpers do.",
        ),
    ] = False,
    issuer: Issuer = "",
    client_id: ClientId = "",
    secret_file: SecretFile = None,
    scope: Scope = "",
    resource: Resource = "",
    audience: Audience = "",
    ca_file: CaFile = "",
    sign_in: SignIn = "",
    as_json: AsJson = False,
) -> None:
    """See ``_HELP``. Subcommands: :mod:`sallyport.cli.sessiontokens`."""
    if context.invoked_subcommand is not None:
        return
    # Start-up time: most commands need no HTTP client.
    from sallyport.cli.tokensource import TokenSource

    secret = client_secret(secret_file) if client_id else None
    source = TokenSource(
        token_file, issuer, client_id, secret, scope, resource, audience, ca_file, sign_in
    )
    try:
        if not client_id and token_file is None and not sign_in:
            grant = kept()
        else:
            grant = source.tokens().fetch_now()
    except SallyportError as error:
        _fail(str(error))
    if header:
        typer.echo(json.dumps({"Authorization": f"Bearer {grant.token.reveal()}"}))
    else:
        _print(grant, as_json)


def own_token() -> Secret:
    """The token of whoever runs a command: of the client that the environment names, as for
    ``token``; or the one that ``login`` kept.
    """
    from sallyport.cli.tokensource import TokenSource

    issuer, client_id = (
        os.environ.get("SALLYPORT_ISSUER", ""),
        os.environ.get("SALLYPORT_CLIENT_ID", ""),
    )
    secret = client_secret(None) if client_id else None
    if secret is None:
        return kept().token
    try:
        return TokenSource(issuer=issuer, client_id=client_id, secret=secret).fetch_now().token
    except SallyportError as error:
        _fail(str(error))


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
    from sallyport.cli.tokensource import TokenSource

    secret = client_secret(secret_file)
    source = TokenSource(
        None, issuer, client_id, secret, scope, resource, audience, ca_file, sign_in or "device"
    )
    try:
        grant = source.tokens().fetch_now()
    except SallyportError as error:
        _fail(str(error))
    _keep(grant)
    typer.echo("Logged in. Next: PGPASSWORD=$(sallyport token) psql ...", err=True)


def _keep_session_token(url: str, minutes: int) -> None:
    from sallyport.cli.browserlogin import sign_in

    def run() -> None:
        _keep(
            sign_in(
                url, minutes, lambda page: typer.echo(f"Open {page}\nand sign in there", err=True)
            )
        )
        typer.echo("Logged in. Next: PGPASSWORD=$(sallyport token) psql ...", err=True)

    run_request(run)


def token_file() -> Path:
    """Where ``login`` keeps the token, below ``$XDG_STATE_HOME`` or ``~/.local/state``."""
    base = os.environ.get("XDG_STATE_HOME") or os.path.join(
        os.path.expanduser("~"), ".local", "state"
    )
    return Path(base) / "sallyport" / "token.json"


def client_secret(file: Path | None) -> Secret | None:
    """The client's secret, from the file or the environment. Ends the program when the file cannot
    be read.
    """
    from sallyport.core.secret import Secret

    if file is None:
        text = os.environ.get(_SECRET_VARIABLE, "")
    else:
        try:
            text = file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            _fail(f"the secret file {file} cannot be read: {type(error).__name__}")
    return Secret(text) if text else None


def _keep(grant: Grant) -> None:
    path = token_file()
    fresh = path.with_name(f".token-{os.getpid()}.json")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump({"access_token": grant.token.reveal(), "expires_at": grant.expires_at}, file)
        fresh.replace(path)
    except OSError as error:
        fresh.unlink(missing_ok=True)
        _fail(f"the token cannot be kept in {path}: {error.strerror}")


def kept() -> Grant:
    """The token that ``login`` kept. Ends the program when there is none."""
    from sallyport.core.secret import Secret
    from sallyport.identity.oidc.client import Grant

    path = token_file()
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        grant = Grant(Secret(str(kept["access_token"])), float(kept["expires_at"]))
    except FileNotFoundError:
        _fail(
            "no token here: run `sallyport login` first, or name a client with a secret: "
            f"SALLYPORT_ISSUER, SALLYPORT_CLIENT_ID and {_SECRET_VARIABLE}"
        )
    except (OSError, ValueError, TypeError, KeyError) as error:
        _fail(f"{path} cannot be read ({type(error).__name__}): run `sallyport login` again")
    if grant.expires_at and grant.expires_at - _MARGIN <= time.time():
        _fail("the token has expired: run `sallyport login` again")
    return grant


def _print(grant: Grant, as_json: bool) -> None:
    if as_json:
        until = rfc3339(grant.expires_at) if grant.expires_at else None
        typer.echo(json.dumps({"access_token": grant.token.reveal(), "expires_at": until}))
    else:
        typer.echo(grant.token.reveal())


def _fail(why: str) -> NoReturn:
    typer.echo(f"sallyport: {why}", err=True)
    raise typer.Exit(2)
