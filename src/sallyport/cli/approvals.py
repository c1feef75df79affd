"""``sallyport approvals list|show|approve|deny``: decide about held statements, over the REST interface of the running gateway.

The gateway checks who may decide; this only asks. The address is ``--url`` (or SALLYPORT_URL), the token SALLYPORT_TOKEN or the one that
``sallyport login`` kept. A token goes to https and to this machine only. Exit status: 0; 1 when the gateway says no (unknown, not yours,
not pending any more); 2 when it cannot be asked.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Final
from urllib.parse import quote

import typer

from sallyport.core.address import is_loopback
from sallyport.core.errors import SallyportError
from sallyport.core.secret import Secret

if TYPE_CHECKING:
    import httpx2

_TOKEN_VARIABLE: Final = "SALLYPORT_TOKEN"  # noqa: S105 - the variable's name
_SECONDS: Final = 20.0
_POLL: Final = 1.0

Url = Annotated[str, typer.Option(envvar="SALLYPORT_URL", help="Address of the gateway's console.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead, one object per line.")]
ApprovalId = Annotated[str, typer.Argument(help="Id of the approval, apr_...")]
_LOCAL: Final = "http://127.0.0.1:8642"

_HELP_LIST = """List what waits for approval, oldest first.

With --watch it goes on and prints each request as it comes. Example: sallyport approvals list --watch
"""
_HELP_SHOW = """Show one request: who, what, and what it would do.

With --watch it waits until the request is decided. Example: sallyport approvals show apr_01m7xtb2
"""
_HELP_APPROVE = """Approve one statement, once.

With --minutes, also what is like it for so long. Example: sallyport approvals approve apr_01m7xtb2 --reason "ticket 12"
"""
_HELP_DENY = """Deny one statement; the reason is what the agent reads.

Example: sallyport approvals deny apr_01m7xtb2 --reason "cancel them in the shop instead"
"""


def register(app: typer.Typer) -> None:
    """Add ``approvals`` to the ``sallyport`` program."""
    group = typer.Typer(no_args_is_help=True, help="Decide about statements that wait for a person.")
    group.command("list", help=_HELP_LIST)(list_approvals)
    group.command("show", help=_HELP_SHOW)(show_approval)
    group.command("approve", help=_HELP_APPROVE)(approve)
    group.command("deny", help=_HELP_DENY)(deny)
    app.add_typer(group, name="approvals")


class _Problem(SallyportError):
    """The gateway said no."""


class _Gateway:
    """The REST interface, as somebody. Raises SallyportError for what is not an answer, _Problem for a no."""

    def __init__(self, url: str) -> None:
        import httpx2

        parts = httpx2.URL(url)
        if parts.scheme not in ("http", "https") or not parts.host:
            raise SallyportError(
                f"--url {url!r} is not an address; write it like https://gateway.example.com"
            )
        if parts.scheme == "http" and not is_loopback(parts.host):
            raise SallyportError(f"{url} is not https: a token does not go there in the clear")
        self._url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {_token().reveal()}", "Accept": "application/json"}

    def get(self, path: str, **query: str) -> Any:
        return self._ask("GET", path, query, None)

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        return self._ask("POST", path, {}, body)

    def _ask(self, method: str, path: str, query: Mapping[str, str], body: Mapping[str, Any] | None) -> Any:
        import httpx2

        try:
            # The environment's proxies and .netrc are not asked: the token goes to the gateway and nowhere else.
            with httpx2.Client(trust_env=False, timeout=_SECONDS, follow_redirects=False) as client:
                answer = client.request(
                    method, f"{self._url}/api/v1{path}", params=dict(query), json=body, headers=self._headers
                )
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise SallyportError(
                f"{self._url} cannot be reached ({type(error).__name__}): is the gateway's console on, and --url right?"
            ) from None
        return _answer(answer)


def _answer(answer: httpx2.Response) -> Any:
    try:
        value = answer.json()
    except ValueError:
        value = None
    if answer.status_code == 401:
        raise SallyportError("the token is not accepted: run 'sallyport login', or set SALLYPORT_TOKEN")
    if not isinstance(value, dict):
        raise SallyportError(
            f"the answer (status {answer.status_code}) is not of a Sallyport console; check --url"
        )
    if answer.is_success:
        return value
    raise _Problem(_inert(value.get("detail") or value.get("title") or f"status {answer.status_code}"))


def _token() -> Secret:
    if text := os.environ.get(_TOKEN_VARIABLE, "").strip():
        return Secret(text)
    from sallyport.cli.identity import _kept

    return _kept().token


def list_approvals(
    url: Url = _LOCAL,
    everything: Annotated[bool, typer.Option("--all", help="Decided ones as well, newest first.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=500, help="How many.")] = 50,
    watch: Annotated[bool, typer.Option("--watch", help="Go on, and print new ones as they come.")] = False,
    as_json: AsJson = False,
) -> None:
    def run() -> None:
        gateway = _Gateway(url)
        query = {"limit": str(limit)} | ({} if everything else {"status": "pending"})
        shown: set[str] = set()
        while True:
            found = [one for one in gateway.get("/approvals", **query)["approvals"] if one["id"] not in shown]
            shown.update(one["id"] for one in found)
            for one in found:
                typer.echo(json.dumps(one) if as_json else _line(one))
            if not watch:
                break
            time.sleep(_POLL)
        if not found and not as_json:
            typer.echo("Nothing waits for approval." if not everything else "No approvals yet.")

    _run(run)


def show_approval(
    approval: ApprovalId,
    url: Url = _LOCAL,
    watch: Annotated[bool, typer.Option("--watch", help="Wait until it is decided.")] = False,
    as_json: AsJson = False,
) -> None:
    def run() -> None:
        gateway = _Gateway(url)
        one = _one(gateway, approval)
        if not as_json:
            _show(one)
            if one["status"] == "pending":
                _show_sample(gateway.get(f"/approvals/{quote(approval, safe='')}/sample"))
        while watch and one["status"] == "pending":
            time.sleep(_POLL)
            one = _one(gateway, approval)
        if as_json:
            typer.echo(json.dumps(one))
        elif watch:
            _outcome(one)

    _run(run)


def approve(
    approval: ApprovalId,
    reason: Annotated[str, typer.Option(help="Why; it is recorded.")] = "",
    minutes: Annotated[
        int, typer.Option(min=0, max=480, help="Approve what is like it for so long, too.")
    ] = 0,
    scope: Annotated[
        str,
        typer.Option(help="With --minutes: 'statement' (this one with any values) or 'rule' (all it holds)."),
    ] = "statement",
    url: Url = _LOCAL,
    as_json: AsJson = False,
) -> None:
    body: dict[str, Any] = {"approve": True, "reason": reason}
    if minutes:
        body |= {"minutes": minutes, "scope": scope}
    _decide(approval, url, body, as_json)


def deny(
    approval: ApprovalId,
    reason: Annotated[str, typer.Option(help="Why. Needed: whoever asked reads it.")],
    url: Url = _LOCAL,
    as_json: AsJson = False,
) -> None:
    _decide(approval, url, {"approve": False, "reason": reason}, as_json)


def _decide(approval: str, url: str, body: Mapping[str, Any], as_json: bool) -> None:
    def run() -> None:
        one = _Gateway(url).post(f"/approvals/{quote(approval, safe='')}/decision", body)
        if as_json:
            typer.echo(json.dumps(one))
        else:
            _outcome(one)

    _run(run)


def _one(gateway: _Gateway, approval: str) -> Any:
    return gateway.get(f"/approvals/{quote(approval, safe='')}")


def _run(work: Any) -> None:
    try:
        work()
    except (_Problem, SallyportError) as error:
        typer.echo(f"sallyport: {error}", err=True)
        raise typer.Exit(1 if isinstance(error, _Problem) else 2) from None
    except (KeyError, TypeError, AttributeError):
        typer.echo("sallyport: the gateway's answer is of another version of Sallyport", err=True)
        raise typer.Exit(2) from None


# -- showing: everything below is hostile text --------------------------------------------------------------------


def _inert(value: object, *, newlines: bool = False) -> str:
    from sallyport.audit.display import inert

    return inert(str(value), newlines=newlines)


def _who(one: Mapping[str, Any]) -> str:
    subject = one["subject"]
    agent = f" through {subject['agent']}" if subject["agent"] else ""
    return _inert(f"{subject['email'] or subject['id']}{agent}")


def _line(one: Mapping[str, Any]) -> str:
    touches = ", ".join(one["touches"]) or one["kind"]
    rules = one["rules"]
    votes = ""
    if len(rules) > 1 or one["quorum"] > 1:
        votes = " " + "+".join(f"{rule['approvals']}/{rule['quorum']}" for rule in rules)
    names = ", ".join(rule["rule"] for rule in rules)
    left = max(0, int(one["expires_at"] - time.time()))
    until = f", {left // 60}m{left % 60:02d}s left" if one["status"] == "pending" else ""
    return _inert(
        f"{one['id']}  {one['status']}{votes}  {one['target']}  {touches}  by {_who(one)}  ({names}{until})"
    )


def _show(one: Mapping[str, Any]) -> None:
    echo = typer.echo
    echo(_line(one))
    echo(f"\n{_inert(one['sql'], newlines=True)}\n")
    for number, value in enumerate(one["binds"] or (), 1):
        echo(f"  ${number} = {_inert(json.dumps(value, ensure_ascii=False))}")
    if one["in_transaction"]:
        echo("It waits inside an open transaction, and keeps the locks that the transaction has.")
    preview = one["preview"]
    if preview is not None:
        if preview["rows"] is not None:
            echo(f"Rows it would touch: {preview['rows']}")
        for line in preview["actions"]:
            echo(f"  {_inert(line)}")
        for title, name in (("Lock", "locks"), ("Depends on it", "dependants"), ("Not known", "problems")):
            for line in preview[name]:
                echo(f"{title}: {_inert(line)}")
    for decision in one["decisions"]:
        word = "approved" if decision["approve"] else "denied"
        who = decision["email"] or decision["reviewer"]
        echo(_inert(f"{word} by {who} over {decision['channel']}: {decision['reason'] or 'no reason given'}"))
    if one["status"] == "pending":
        for rule in one["rules"]:
            wanted = f"{rule['quorum']} of {', '.join(rule['reviewers'])}"
            echo(_inert(f'{wanted} must approve it for "{rule["rule"]}"; {rule["approvals"]} did'))
        echo(f"  sallyport approvals approve {_inert(one['id'])}")
        echo(f"  sallyport approvals deny {_inert(one['id'])} --reason '...'")


def _show_sample(sample: Mapping[str, Any]) -> None:
    """Under the request: rows as policy shows them to whoever asks."""
    if sample["problem"]:
        typer.echo(f"Rows are not shown: {_inert(sample['problem'])}")
        return
    masked = f" (masked: {_inert(', '.join(sample['masked']))})" if sample["masked"] else ""
    typer.echo(
        f"Some of the rows, as policy shows them to you{masked}:" if sample["rows"] else "No rows now."
    )
    for row in sample["rows"]:
        pairs = zip(sample["columns"], row, strict=True)
        typer.echo("  " + _inert(", ".join(f"{name}={'NULL' if v is None else v}" for name, v in pairs)))


def _outcome(one: Mapping[str, Any]) -> None:
    if one["status"] == "pending":
        votes = " and ".join(f"{rule['approvals']} of {rule['quorum']}" for rule in one["rules"])
        typer.echo(f"{_inert(one['id'])}: {votes} have approved")
        return
    last = one["decisions"][-1] if one["decisions"] else None
    by = f" by {last['email'] or last['reviewer']}" if last else ""
    why = one["void_reason"] or (last["reason"] if last else "")
    typer.echo(_inert(f"{one['id']}: {one['status']}{by}" + (f": {why}" if why else "")))
