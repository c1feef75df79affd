"""``sallyport lock``: keep a subject or an agent out at once, over the REST interface of the
running gateway.

The gateway checks who may (the role operator, as for ending sessions); this only asks. See
:mod:`sallyport.cli.rest` for address and token. Exit status: 0; 1 when the gateway says no (not
permitted, not locked); 2 when it cannot be asked.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import quote

import typer

from sallyport.cli.rest import LOCAL, AsJson, RestClient, Url, inert, run_request
from sallyport.core.errors import SallyportError
from sallyport.core.wording import counted

_HELP = """Lock a subject, an agent, a token or an issuer: its live sessions end, its logins and
tokens are refused.

The subject is the token's sub, the agent its azp or client_id, as 'sallyport sessions list' shows
them; a token is its jti or the id of a session token. --issuer alone locks the issuer, with another
option it narrows that. Without any of them, the locks in force are listed.

Example: sallyport lock --agent claude-code --minutes 60 --reason "it deleted orders"

Let it in again: sallyport lock --release --agent claude-code
"""


def register(app: typer.Typer) -> None:
    """Add ``lock`` to the ``sallyport`` program."""
    app.command("lock", help=_HELP)(lock)


def lock(
    subject: Annotated[str, typer.Option(help="The token's sub.")] = "",
    agent: Annotated[str, typer.Option(help="The token's azp or client_id.")] = "",
    token: Annotated[str, typer.Option(help="The token's jti, or the id of a session token.")] = "",
    issuer: Annotated[
        str, typer.Option(help="Only of this issuer's tokens; alone: all of them. [any]")
    ] = "",
    reason: Annotated[
        str, typer.Option(help="The reason. Required: the locked person or agent reads it.")
    ] = "",
    minutes: Annotated[
        int,
        typer.Option(
            min=0, max=5_256_000, help="The duration; 0 for a lock that stays until it is released."
        ),
    ] = 0,
    release: Annotated[bool, typer.Option("--release", help="Release the lock.")] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="List released and expired locks, too.")
    ] = False,
    url: Url = LOCAL,
    as_json: AsJson = False,
) -> None:
    """See ``--help``."""

    def run() -> None:
        kind, name, of = _whom({"subject": subject, "agent": agent, "token": token}, issuer)
        if release:
            _release(RestClient(url), kind, name, of, as_json)
        elif not name:
            if reason or minutes:
                raise SallyportError("say whom to lock: --subject, --agent, --token or --issuer")
            _list(RestClient(url), everything, as_json)
        else:
            if not reason.strip():
                raise SallyportError("say why with --reason: whoever is locked reads it")
            body = {"kind": kind, "name": name, "issuer": of, "reason": reason, "minutes": minutes}
            _lock(RestClient(url), body, as_json)

    run_request(run)


def _whom(names: Mapping[str, str], issuer: str) -> tuple[str, str, str]:
    """Kind and name of what is meant, and the issuer that narrows it. Raises SallyportError for two
    at once.
    """
    said = [(kind, name) for kind, name in names.items() if name]
    if len(said) > 1:
        raise SallyportError("say one of --subject, --agent and --token: lock one after the other")
    if said:
        return (*said[0], issuer)
    return "issuer", issuer, ""


def _lock(gateway: RestClient, body: Mapping[str, Any], as_json: bool) -> None:
    answer = gateway.post("/locks", body)
    if as_json:
        typer.echo(json.dumps(answer))
        return
    count = answer["sessions"]
    sessions = f"{counted(count, 'live session')} ended"
    typer.echo(f"{_line(answer['lock'])}\n{sessions}.")
    if not count:
        typer.echo("Is the name right? 'sallyport sessions list' shows subjects and agents.")


def _release(gateway: RestClient, kind: str, name: str, issuer: str, as_json: bool) -> None:
    if not name:
        raise SallyportError("say whose lock to release: --subject, --agent, --token or --issuer")
    locks = [
        lock
        for lock in gateway.get("/locks", limit="500")["locks"]
        if lock["kind"] == kind and lock["name"] == name and issuer in ("", lock["issuer"])
    ]
    if not locks:
        typer.echo(
            inert(f"sallyport: the {kind} {name} is not locked; 'sallyport lock' lists the locks"),
            err=True,
        )
        raise typer.Exit(1)
    for lock in locks:
        released = gateway.post(f"/locks/{quote(lock['id'], safe='')}/release", {})
        typer.echo(json.dumps(released) if as_json else _line(released))


def _list(gateway: RestClient, everything: bool, as_json: bool) -> None:
    locks = gateway.get("/locks", limit="500", **({"status": "all"} if everything else {}))["locks"]
    for lock in locks:
        typer.echo(json.dumps(lock) if as_json else _line(lock))
    if not locks and not as_json:
        typer.echo("No locks are in force." if not everything else "No locks.")


def _line(lock: Mapping[str, Any]) -> str:
    """One lock: who, until when, by whom, why."""
    of = f" of {lock['issuer']}" if lock["issuer"] else ""
    if lock["released_at"] is not None:
        state = f"released {lock['released_at']} by {lock['released_by']}"
    elif lock["expires_at"] is None:
        state = "until released"
    else:
        state = f"{'until' if lock['in_force'] else 'expired'} {lock['expires_at']}"
    text = (
        f"{lock['id']}  {lock['kind']} {lock['name']}{of}  {state}  locked by {lock['by']}:"
        f" {lock['reason']}"
    )
    return inert(text)
