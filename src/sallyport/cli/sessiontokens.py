"""``sallyport token exchange``, ``list`` and ``revoke``: session tokens, through the REST interface
of the running gateway.

See :mod:`sallyport.cli.rest` for address and token. Exit status: 0; 1 when the gateway says no; 2
when it cannot be asked.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import quote

import typer

from sallyport.cli.rest import LOCAL, AsJson, RestClient, Url, inert, run_request
from sallyport.core.wording import counted

_EXCHANGE = """Exchange your identity token for a session token, and print that.

It fits into any password field, and expires no later than the identity token.

Example: PGPASSWORD=$(sallyport token exchange --target shop --minutes 30) psql -h gateway -p 6432
shop
"""
_LIST = """List your valid session tokens.

Example: sallyport token list
"""
_REVOKE = """Revoke a session token: its live sessions end.

Example: sallyport token revoke tok_01jd...
"""


def register(app: typer.Typer) -> None:
    """Add the commands below ``sallyport token``."""
    app.command("exchange", help=_EXCHANGE)(exchange)
    app.command("list", help=_LIST)(show)
    app.command("revoke", help=_REVOKE)(revoke)


def exchange(
    target: Annotated[str, typer.Option(help="The only target that it opens. [any]")] = "",
    network: Annotated[
        list[str] | None,
        typer.Option(help="The only address or network that may use it; repeatable."),
    ] = None,
    minutes: Annotated[
        int, typer.Option(min=0, max=525_600, help="The lifetime; 0 for the longest.")
    ] = 0,
    url: Url = LOCAL,
    as_json: AsJson = False,
) -> None:
    """See ``--help``."""

    def run() -> None:
        body = {"target": target, "networks": network or [], "minutes": minutes}
        answer = RestClient(url).post("/tokens", body)
        typer.echo(json.dumps(answer) if as_json else inert(answer["secret"]))

    run_request(run)


def show(
    everybody: Annotated[
        bool, typer.Option("--all", help="The session tokens of all subjects; needs a role.")
    ] = False,
    url: Url = LOCAL,
    as_json: AsJson = False,
) -> None:
    """See ``--help``."""

    def run() -> None:
        query = {"of": "everybody"} if everybody else {}
        tokens = RestClient(url).get("/tokens", **query)["tokens"]
        for token in tokens:
            typer.echo(json.dumps(token) if as_json else _line(token))
        if not tokens and not as_json:
            typer.echo("You have no valid session tokens.")

    run_request(run)


def revoke(
    token: Annotated[str, typer.Argument(help="Its id, as 'sallyport token list' shows it.")],
    url: Url = LOCAL,
    as_json: AsJson = False,
) -> None:
    """See ``--help``."""

    def run() -> None:
        answer = RestClient(url).post(f"/tokens/{quote(token, safe='')}/revoke", {})
        said = f"{token} is revoked; {counted(answer['sessions'], 'live session')} ended."
        typer.echo(json.dumps(answer) if as_json else inert(said))

    run_request(run)


def _line(token: Mapping[str, Any]) -> str:
    """One token: whose, for what, from where, until when."""
    target = token["target"] or "any target"
    networks = f"from {', '.join(token['networks'])}" if token["networks"] else "from anywhere"
    until = f"until {token['expires_at']}"
    return inert(
        f"{token['id']}  {token['subject']} of {token['issuer']}  {target}  {networks}  {until}"
    )
