"""``sallyport issuer``: an OpenID Connect issuer for trying the gateway with a database of one's
own, without an identity provider. For development only: it listens on this machine's loopback, its
clients are given on the command line, and its keys and (unless SALLYPORT_CLIENT_SECRET is set)
their secret live as long as the command.

Exit status: 0 after Ctrl-C or SIGTERM; 2 when it cannot listen or a client is not written as
NAME=GROUP[,GROUP].
"""

from __future__ import annotations

import os
import secrets
import shlex
import signal
import threading
from typing import TYPE_CHECKING, Annotated

import typer

from sallyport.core.address import is_loopback, parse_address
from sallyport.core.errors import ConfigError

if TYPE_CHECKING:
    from sallyport.core.secret import Secret
    from sallyport.demo.issuer import DemoClient, DevIssuer

_SECRET_VARIABLE = "SALLYPORT_CLIENT_SECRET"  # noqa: S105 - the variable's name
_WARNING = (
    "DEVELOPMENT ONLY: whoever knows the clients' secret and reaches this port gets tokens. Real"
    " data wants a real issuer."
)
_HELP = """Run an issuer of tokens for trying Sallyport without an identity provider. DEVELOPMENT
ONLY.

It prints what belongs into sallyport.yaml and how to fetch a token, and stays until Ctrl-C.
Loopback only.

Example:

    sallyport issuer --client claude=agents --person dana=dba,staff

A client is a program, with the secret that is printed. A person signs in to the console and with
`sallyport login`, by a click.
"""


def register(app: typer.Typer) -> None:
    """Add the command to the ``sallyport`` program."""
    app.command("issuer", help=_HELP)(issuer)


def issuer(
    client: Annotated[
        list[str],
        typer.Option(metavar="NAME=GROUP[,GROUP]", help="A program, and its groups."),
    ],
    person: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=GROUP[,GROUP]", help="A person, and their groups."),
    ] = None,
    listen: Annotated[
        str, typer.Option(help="Where to listen; port 0 takes a free one.")
    ] = "127.0.0.1:8080",
    audience: Annotated[str, typer.Option(help="Audience of the tokens.")] = "sallyport",
    lifetime: Annotated[
        int, typer.Option(min=10, max=86400, help="Of a token, in seconds.")
    ] = 3600,
) -> None:
    """See ``--help``."""
    from sallyport.core.secret import Secret
    from sallyport.demo.issuer import DevIssuer

    host, port = _address(listen)
    kept = os.environ.get(_SECRET_VARIABLE, "")
    secret = Secret(kept or secrets.token_urlsafe(18))
    people = _clients(client, person or [], secret)
    over = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: over.set())
    try:
        running = DevIssuer(people, audience=audience, lifetime=lifetime, host=host, port=port)
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {listen}: {error.strerror}. Choose another address with --listen"
        ) from None
    with running:
        typer.secho(_WARNING, err=True, fg="red", bold=True)
        typer.echo(_said(running, next(iter(people)), None if kept else secret))
        while not over.wait(1.0):  # in pieces, so that a signal is seen at once
            pass


def _address(listen: str) -> tuple[str, int]:
    try:
        address = parse_address(listen)
    except ValueError as error:
        raise ConfigError(f"--listen: {error}. Write host:port, like 127.0.0.1:8080") from None
    if not is_loopback(address.host) or ":" in address.host:
        raise ConfigError(
            "--listen: this issuer is for development and listens on 127.0.0.1 only, not on"
            f" {address.host}"
        )
    return "127.0.0.1", address.port


def _clients(programs: list[str], persons: list[str], secret: Secret) -> dict[str, DemoClient]:
    from sallyport.core.secret import Secret
    from sallyport.demo.issuer import DemoClient

    clients: dict[str, DemoClient] = {}
    for text in (*programs, *persons):
        name, equals, groups = text.partition("=")
        listed = tuple(group for group in groups.split(",") if group)
        if not equals or not name.isprintable() or not name or " " in name or not listed:
            raise ConfigError(
                f"--client or --person {text!r}: write NAME=GROUP[,GROUP], like claude=agents"
            )
        if name in clients:
            raise ConfigError(
                f"--client or --person {name!r} is given twice. Name all its groups at once:"
                f" {name}=a,b"
            )
        # without a secret nobody gets a token for a person but by the page
        clients[name] = (
            DemoClient(name, Secret(""), listed, f"{name}@example.com", name=name)
            if text in persons
            else DemoClient(name, secret, listed)
        )
    return clients


def _said(running: DevIssuer, name: str, secret: Secret | None) -> str:
    lines = [
        "# In sallyport.yaml:",
        "identity:",
        f'  oidc: [{{issuer: "{running.url}", audience: {running.audience}}}]',
        *_console(running),
        "",
        *(f"# {client}: groups {', '.join(who.groups)}" for client, who in running.clients.items()),
        "# In another terminal, with the gateway running:",
        *([f"export {_SECRET_VARIABLE}={shlex.quote(secret.reveal())}"] if secret else []),
        f"export SALLYPORT_ISSUER={running.url} SALLYPORT_CLIENT_ID={shlex.quote(name)}",
        'PGPASSWORD="$(sallyport token)" psql "host=127.0.0.1 port=6432 dbname=TARGET user=me"',
        "",
        "Ctrl-C ends the issuer; its keys end with it.",
    ]
    return "\n".join(lines)


def _console(running: DevIssuer) -> list[str]:
    """What lets the issuer's people sign in; nothing when there are none."""
    from sallyport.demo.signin import CONSOLE_CLIENT

    if not running.people:
        return []
    groups = ", ".join(dict.fromkeys(group for person in running.people for group in person.groups))
    return [
        (
            f"console: {{client_id: {CONSOLE_CLIENT}, roles: {{reviewer: [{groups}],"
            f" auditor: [{groups}], operator: [{groups}]}}}}"
        ),
        "",
        "# People sign in to the console at http://127.0.0.1:8642, or in a terminal of their own:",
        f"#   sallyport login --issuer {running.url} --client-id {CONSOLE_CLIENT}",
    ]
