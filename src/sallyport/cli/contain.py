"""``sallyport contain list | release``: who read untrusted text and is contained, over the REST
interface of the running gateway.

The gateway checks who may (the role operator releases); this only asks. See
:mod:`sallyport.cli.rest` for address and token. Exit status: 0; 1 when the gateway says no; 2 when
it cannot be asked.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import quote

import typer

from sallyport.cli.rest import LOCAL, AsJson, RestClient, Url, inert, run_request

_LIST = """List who is contained: subjects and agents that read an untrusted column.

Example: sallyport contain list --all
"""
_RELEASE = """Release a subject and its agent: from the next statement they are judged as everybody.

Nobody releases themselves.

Example: sallyport contain release con_01hzy3k8v0m9
"""


def register(app: typer.Typer) -> None:
    """Add ``contain`` to the ``sallyport`` program."""
    group = typer.Typer(
        no_args_is_help=True, help="List agents that read untrusted text, and release them."
    )
    group.command("list", help=_LIST)(list_contained)
    group.command("release", help=_RELEASE)(release)
    app.add_typer(group, name="contain")


def list_contained(
    everything: Annotated[bool, typer.Option("--all", help="Those that are over as well.")] = False,
    url: Url = LOCAL,
    as_json: AsJson = False,
) -> None:
    """Ask, and print one line each."""

    def run() -> None:
        status = {"status": "all"} if everything else {}
        containments = RestClient(url).get("/containments", limit="500", **status)["containments"]
        for containment in containments:
            typer.echo(json.dumps(containment) if as_json else _line(containment))
        if not containments and not as_json:
            typer.echo("Nobody was ever contained." if everything else "Nobody is contained.")

    run_request(run)


def release(
    id_: Annotated[str, typer.Argument(metavar="ID", help="As 'sallyport contain list' shows it.")],
    url: Url = LOCAL,
    as_json: AsJson = False,
) -> None:
    """Release one, and print it."""

    def run() -> None:
        released = RestClient(url).post(f"/containments/{quote(id_, safe='')}/release", {})
        typer.echo(json.dumps(released) if as_json else _line(released))

    run_request(run)


def _line(containment: Mapping[str, Any]) -> str:
    """One containment: who, what was read, until when."""
    from sallyport.cli.sessionview import moment

    who = containment["subject"]
    if containment["agents"]:
        who += f" ({', '.join(containment['agents'])})"
    if containment["released_at"] is not None:
        state = f"released {moment(containment['released_at'])} by {containment['released_by']}"
    else:
        word = "until" if containment["in_force"] else "over since"
        state = f"{word} {moment(containment['until'])}"
    place = f"statement {containment['statement']} of {containment['session']}"
    read = f"{containment['column']} on {containment['target']} with {place}"
    return inert(f"{containment['id']}  {who}  {state}  read {read}")
