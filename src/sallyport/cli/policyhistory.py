"""``sallyport policy history``: the policies that were in force, and what each changed. Reads the
data directory beside a running gateway.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sallyport.core.errors import SallyportError

if TYPE_CHECKING:
    from sallyport.policy.versions import PolicyVersion
    from sallyport.store.policies import SqlPolicyVersions

_HELP = """List the policies that were in force, newest first; with VERSION, what that one changed.

Example:

    sallyport policy history

    sallyport policy history 3fa1 --against 0

VERSION is a number of the list, or the beginning of a version's hash; --against compares with
another than the one before, 0 with the newest.
"""


def add(commands: typer.Typer) -> None:
    """Add ``history`` to ``policy``."""

    @commands.command("history", help=_HELP)
    def history(
        version: Annotated[str, typer.Argument(help="Show what this version changed.")] = "",
        against: Annotated[
            str, typer.Option(help="Compare with this version; 0 is the newest.")
        ] = "",
        config: Annotated[
            Path, typer.Option("--config", "-c", help="The gateway's configuration.")
        ] = Path("sallyport.yaml"),
        data: Annotated[
            Path | None,
            typer.Option("--data", help="The data directory itself, instead of --config."),
        ] = None,
        limit: Annotated[int, typer.Option(min=1, help="How many.")] = 50,
        as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    ) -> None:
        kept = _kept(config, data)
        if version:
            _show(kept, version, against, as_json)
        else:
            _list(kept.recent(limit), as_json)


def _kept(config: Path, data: Path | None) -> SqlPolicyVersions:
    from sallyport.cli.storeaccess import readonly_engine
    from sallyport.config import load_config
    from sallyport.store.policies import SqlPolicyVersions

    directory = data or load_config(config).data_directory
    return SqlPolicyVersions(readonly_engine(config, data, directory))


def _list(versions: list[PolicyVersion], as_json: bool) -> None:
    from sallyport.audit.display import inert
    from sallyport.cli.sessionview import moment
    from sallyport.operations.jsondata import version_data

    if as_json:
        listed = [
            {name: value for name, value in version_data(entry).items() if name != "text"}
            for entry in versions
        ]
        typer.echo(json.dumps(listed, indent=1))
        return
    for entry in versions:
        owner = f", owned by {inert(entry.owner)}" if entry.owner else ""
        typer.echo(
            f"{entry.id:>5}  {entry.version}  {moment(entry.loaded)}  {inert(entry.source)}:"
            f" {inert(entry.filename)}{owner}"
        )
    if not versions:
        typer.echo("No policy versions.")


def _show(kept: SqlPolicyVersions, version: str, against: str, as_json: bool) -> None:
    from sallyport.audit.display import inert
    from sallyport.operations.policies import compared
    from sallyport.policy.versions import unified

    shown, compared_with, lines = compared(
        kept, _find(kept, version), _find(kept, against) if against else None
    )
    if as_json:
        typer.echo(
            json.dumps(
                {
                    "version": shown.id,
                    "against": compared_with and compared_with.id,
                    "diff": unified(lines),
                },
                indent=1,
            )
        )
        return
    before = (
        "nothing before it"
        if compared_with is None
        else (f"{compared_with.id} {compared_with.version}")
    )
    typer.echo(f"--- {before}")
    typer.echo(f"+++ {shown.id} {shown.version}")
    typer.echo(inert(unified(lines), newlines=True), nl=False)


def _find(kept: SqlPolicyVersions, text: str) -> int:
    """The number of a version. Raises SallyportError."""
    versions = kept.recent(1000)
    if text == "0" and versions:
        return versions[0].id
    for candidate in versions:
        if text == str(candidate.id) or (len(text) >= 4 and candidate.version.startswith(text)):
            return candidate.id
    raise SallyportError(
        f"no version {text!r} of the policy was kept; 'sallyport policy history' lists them"
    )
