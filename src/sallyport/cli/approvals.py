"""``sallyport approvals list|show|approve|deny``: decide about held statements, over the REST
interface of the running gateway.

The gateway checks who may decide; this only asks. The address is ``--url`` (or SALLYPORT_URL), the
token SALLYPORT_TOKEN or the one that ``sallyport login`` kept. A token goes to https and to this
machine only. Exit status: 0; 1 when the gateway says no (unknown, not yours, not pending any more);
2 when it cannot be asked.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Annotated, Any, Final
from urllib.parse import quote

import typer

from sallyport.cli.rest import LOCAL, AsJson, RestClient, Url, inert, run_request
from sallyport.core.clock import unix_seconds

_POLL: Final = 1.0

ApprovalId = Annotated[str, typer.Argument(help="Id of the approval, apr_...")]

_HELP_LIST = """List requests for approval, oldest first.

With --watch, it keeps running and prints each new request. Example: sallyport approvals list
--watch
"""
_HELP_SHOW = """Show one request: the requester, the statement, and what it would change.

With --watch, it waits until the request is decided. Example: sallyport approvals show apr_01m7xtb2
"""
_HELP_APPROVE = """Approve one statement, for one execution.

With --minutes, statements like it are approved for that time. Example: sallyport approvals approve
apr_01m7xtb2 --reason "ticket 12"
"""
_HELP_DENY = """Deny one statement. The agent reads the reason.

Example: sallyport approvals deny apr_01m7xtb2 --reason "cancel them in the shop instead"
"""


def register(app: typer.Typer) -> None:
    """Add ``approvals`` to the ``sallyport`` program."""
    group = typer.Typer(
        no_args_is_help=True, help="Decide about statements that wait for a person."
    )
    group.command("list", help=_HELP_LIST)(list_approvals)
    group.command("show", help=_HELP_SHOW)(show_approval)
    group.command("approve", help=_HELP_APPROVE)(approve)
    group.command("deny", help=_HELP_DENY)(deny)
    app.add_typer(group, name="approvals")


def list_approvals(
    url: Url = LOCAL,
    everything: Annotated[
        bool, typer.Option("--all", help="Also decided requests, newest first.")
    ] = False,
    limit: Annotated[
        int, typer.Option(min=1, max=500, help="The maximum number of requests.")
    ] = 50,
    watch: Annotated[
        bool, typer.Option("--watch", help="Keep running, and print new requests.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """See ``--help``."""

    def run() -> None:
        gateway = RestClient(url)
        query = {"limit": str(limit)} | ({} if everything else {"status": "pending"})
        shown: set[str] = set()
        while True:
            requests = [
                request
                for request in gateway.get("/approvals", **query)["approvals"]
                if request["id"] not in shown
            ]
            shown.update(request["id"] for request in requests)
            for request in requests:
                typer.echo(json.dumps(request) if as_json else _line(request))
            if not watch:
                break
            time.sleep(_POLL)
        if not requests and not as_json:
            typer.echo("No approvals are waiting." if not everything else "No approvals yet.")

    run_request(run)


def show_approval(
    approval: ApprovalId,
    url: Url = LOCAL,
    watch: Annotated[
        bool, typer.Option("--watch", help="Wait until the request is decided.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """See ``--help``."""

    def run() -> None:
        gateway = RestClient(url)
        request = _one(gateway, approval)
        if not as_json:
            _show(request)
            if request["status"] == "pending":
                _show_sample(gateway.get(f"/approvals/{quote(approval, safe='')}/sample"))
        while watch and request["status"] == "pending":
            time.sleep(_POLL)
            request = _one(gateway, approval)
        if as_json:
            typer.echo(json.dumps(request))
        elif watch:
            _outcome(request)

    run_request(run)


def approve(
    approval: ApprovalId,
    reason: Annotated[str, typer.Option(help="The reason; it is recorded.")] = "",
    minutes: Annotated[
        int, typer.Option(min=0, max=480, help="Also approve statements like it for this time.")
    ] = 0,
    scope: Annotated[
        str,
        typer.Option(
            help="With --minutes: 'statement' (this one with any values) or 'rule' (every "
            "statement that the rule holds)."
        ),
    ] = "statement",
    url: Url = LOCAL,
    as_json: AsJson = False,
) -> None:
    """See ``--help``."""
    body: dict[str, Any] = {"approve": True, "reason": reason}
    if minutes:
        body |= {"minutes": minutes, "scope": scope}
    _decide(approval, url, body, as_json)


def deny(
    approval: ApprovalId,
    reason: Annotated[str, typer.Option(help="The reason. Required: the requester reads it.")],
    url: Url = LOCAL,
    as_json: AsJson = False,
) -> None:
    """See ``--help``."""
    _decide(approval, url, {"approve": False, "reason": reason}, as_json)


def _decide(approval: str, url: str, body: Mapping[str, Any], as_json: bool) -> None:
    def run() -> None:
        request = RestClient(url).post(f"/approvals/{quote(approval, safe='')}/decision", body)
        if as_json:
            typer.echo(json.dumps(request))
        else:
            _outcome(request)

    run_request(run)


def _one(gateway: RestClient, approval: str) -> Any:
    return gateway.get(f"/approvals/{quote(approval, safe='')}")


# -- showing: everything below is hostile text -----------------------------------------------------


def _who(request: Mapping[str, Any]) -> str:
    subject = request["subject"]
    agent = f" through {subject['agent']}" if subject["agent"] else ""
    return inert(f"{subject['email'] or subject['id']}{agent}")


def _line(request: Mapping[str, Any]) -> str:
    touches = ", ".join(request["touches"]) or request["kind"]
    rules = request["rules"]
    votes = ""
    if len(rules) > 1 or request["quorum"] > 1:
        votes = " " + "+".join(f"{rule['approvals']}/{rule['quorum']}" for rule in rules)
    names = ", ".join(rule["rule"] for rule in rules)
    left = max(0, int(unix_seconds(request["expires_at"]) - time.time()))
    until = f", {left // 60}m{left % 60:02d}s left" if request["status"] == "pending" else ""
    return inert(
        f"{request['id']}  {request['status']}{votes}  {request['target']}  {touches}  by"
        f" {_who(request)}  ({names}{until})"
    )


def _show(request: Mapping[str, Any]) -> None:
    echo = typer.echo
    echo(_line(request))
    echo(f"\n{inert(request['sql'], newlines=True)}\n")
    if request["hidden"]:
        echo(f"{inert(request['hidden'])}\n")
    if request["sent"] not in ("", request["sql"]):
        echo(f"Sent to the database (masks applied):\n\n{inert(request['sent'], newlines=True)}\n")
    for number, value in enumerate(request["binds"] or (), 1):
        echo(f"  ${number} = {inert(json.dumps(value, ensure_ascii=False))}")
    if request["in_transaction"]:
        echo("It waits in an open transaction, which keeps its locks.")
    preview = request["preview"]
    if preview is not None:
        if preview["rows"] is not None:
            echo(f"Rows it would change: {preview['rows']}")
        for line in preview["actions"]:
            echo(f"  {inert(line)}")
        for title, name in (
            ("Lock", "locks"),
            ("Depends on it", "dependants"),
            ("Could not be computed", "problems"),
        ):
            for line in preview[name]:
                echo(f"{title}: {inert(line)}")
    for decision in request["decisions"]:
        word = "approved" if decision["approve"] else "denied"
        who = decision["email"] or decision["reviewer"]
        echo(
            inert(
                f"{word} by {who} over {decision['channel']}:"
                f" {decision['reason'] or 'no reason given'}"
            )
        )
    if request["status"] == "pending":
        for rule in request["rules"]:
            approvers = f"{rule['quorum']} of {', '.join(rule['reviewers'])}"
            echo(
                inert(f'{approvers} must approve it for "{rule["rule"]}"; {rule["approvals"]} did')
            )
        echo(f"  sallyport approvals approve {inert(request['id'])}")
        echo(f"  sallyport approvals deny {inert(request['id'])} --reason '...'")


def _show_sample(sample: Mapping[str, Any]) -> None:
    """Under the request: rows as policy shows them to whoever asks."""
    if sample["problem"]:
        typer.echo(f"Rows are not shown: {inert(sample['problem'])}")
        return
    masked = f" (masked: {inert(', '.join(sample['masked']))})" if sample["masked"] else ""
    typer.echo(
        f"Some of the rows, as the policy shows them to you{masked}:"
        if sample["rows"]
        else "There are no rows now."
    )
    for row in sample["rows"]:
        pairs = zip(sample["columns"], row, strict=True)
        typer.echo(
            "  " + inert(", ".join(f"{name}={'NULL' if v is None else v}" for name, v in pairs))
        )


def _outcome(request: Mapping[str, Any]) -> None:
    if request["status"] == "pending":
        votes = " and ".join(
            f"{rule['approvals']} of {rule['quorum']}" for rule in request["rules"]
        )
        typer.echo(f"{inert(request['id'])}: {votes} have approved")
        return
    last = request["decisions"][-1] if request["decisions"] else None
    by = f" by {last['email'] or last['reviewer']}" if last else ""
    why = request["void_reason"] or (last["reason"] if last else "")
    typer.echo(inert(f"{request['id']}: {request['status']}{by}" + (f": {why}" if why else "")))
