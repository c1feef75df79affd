"""``sallyport findings``: unusual behaviour of agents, over REST of the running gateway.

See :mod:`sallyport.cli.rest` for address and token. Exit status: 0; 1 when the gateway says no (not
permitted, no such finding); 2 when it cannot be asked.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import quote

import typer

from sallyport.cli.rest import LOCAL, AsJson, RestClient, Url, inert, run_request
from sallyport.core.errors import SallyportError

_HELP = """List findings about agents, newest first; acknowledge one.

Example: sallyport findings --severity high --open

Look at one: sallyport findings fnd_01...

Acknowledge it: sallyport findings fnd_01... --acknowledge --expected --reason "month-end export"
"""


def register(app: typer.Typer) -> None:
    """Add ``findings`` to the ``sallyport`` program."""
    app.command("findings", help=_HELP)(findings)


def findings(
    finding: Annotated[str, typer.Argument(help="The id of one finding. [all]")] = "",
    severity: Annotated[str, typer.Option(help="low, medium or high. [any]")] = "",
    detector: Annotated[str, typer.Option(help="Only of this one. [any]")] = "",
    agent: Annotated[str, typer.Option(help="Part of the subject, actor or agent. [any]")] = "",
    session: Annotated[str, typer.Option(help="Of this session. [any]")] = "",
    unread: Annotated[bool, typer.Option("--open", help="Only those not acknowledged.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=500, help="At most so many.")] = 50,
    acknowledge: Annotated[
        bool, typer.Option("--acknowledge", help="Say that somebody has looked at it.")
    ] = False,
    reason: Annotated[str, typer.Option(help="Why. Needed to acknowledge.")] = "",
    expected: Annotated[
        bool, typer.Option("--expected", help="It is usual from now on, and no finding any more.")
    ] = False,
    url: Url = LOCAL,
    as_json: AsJson = False,
) -> None:
    """See :data:`_HELP`."""

    def run() -> None:
        if acknowledge:
            _acknowledge(RestClient(url), finding, reason, expected, as_json)
        elif finding:
            shown = RestClient(url).get(f"/findings/{quote(finding, safe='')}")
            typer.echo(json.dumps(shown) if as_json else _all_of(shown))
        else:
            asked = {
                "severity": severity,
                "detector": detector,
                "agent": agent,
                "session": session,
                "status": "open" if unread else "",
            }
            _list(RestClient(url), {k: v for k, v in asked.items() if v}, limit, as_json)

    run_request(run)


def _list(gateway: RestClient, asked: Mapping[str, str], limit: int, as_json: bool) -> None:
    listed = gateway.get("/findings", limit=str(limit), **asked)["findings"]
    for finding in listed:
        typer.echo(json.dumps(finding) if as_json else _line(finding))
    if not listed and not as_json:
        typer.echo("No findings like that." if asked else "No findings yet.")


def _acknowledge(
    gateway: RestClient,
    finding: str,
    reason: str,
    expected: bool,
    as_json: bool,
) -> None:
    if not finding:
        raise SallyportError("say which finding: 'sallyport findings' lists their ids")
    if not reason.strip():
        raise SallyportError("say why with --reason: it is kept with the finding")
    body = {"reason": reason, "expected": expected}
    done = gateway.post(f"/findings/{quote(finding, safe='')}/acknowledge", body)
    typer.echo(json.dumps(done) if as_json else _line(done))


def _line(finding: Mapping[str, Any]) -> str:
    """One finding: when, how severe, what."""
    from sallyport.cli.sessionview import moment

    state = f"  acknowledged by {finding['by']}" if finding["acknowledged"] else ""
    text = (
        f"{finding['id']}  {moment(finding['at'])}  {finding['severity']:<6}  "
        f"{finding['detector']}: {finding['evidence']}{state}"
    )
    return inert(text)


def _all_of(finding: Mapping[str, Any]) -> str:
    lines = [
        _line(finding),
        f"subject {finding['subject']}  agent {finding['agent']}  target {finding['target']}",
        f"session {finding['session']}, statements {finding['first']} to {finding['last']}",
        f"followed: {', '.join(finding['done']) or 'recorded only'}",
    ]
    if finding["acknowledged"]:
        usual = ", expected from now on" if finding["expected"] else ""
        lines.append(f"reason: {finding['reason']}{usual}")
    return "\n".join(inert(line) for line in lines)
