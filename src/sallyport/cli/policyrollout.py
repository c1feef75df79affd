"""``sallyport policy publish | gateways``: one policy for every gateway of a store, and which of
them runs which version.
"""

from __future__ import annotations

import getpass
import json
import socket
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from sallyport.core.errors import SallyportError

_PUBLISH = """Put a policy in force at every gateway whose 'store' says 'policy: published'.

Without FILE, the one that the configuration names. It is checked first, as 'policy check' does with
the file alone.
Example: sallyport policy publish policy.yaml --config sallyport.yaml
"""
_GATEWAYS = """Which gateway runs which version of the policy, one line a process.

A gateway that runs another policy than its file, or than the one that is published, says so. Exit
status 1 when not all run the same version.
Example: sallyport policy gateways --json
"""
_Config = Annotated[Path, typer.Option("--config", "-c", help="The gateway's configuration.")]


def add(commands: typer.Typer) -> None:
    """Add both to ``policy``."""
    commands.command("publish", help=_PUBLISH)(publish)
    commands.command("gateways", help=_GATEWAYS)(gateways)


def publish(
    file: Annotated[Path | None, typer.Argument(help="The policy.")] = None,
    config: _Config = Path("sallyport.yaml"),
) -> None:
    """See ``--help``."""
    from sallyport.app.policy_file import check_together
    from sallyport.cli.storeaccess import readonly_engine, shared_key, shared_store_of
    from sallyport.config import load_config
    from sallyport.policy.file.load import load_policy
    from sallyport.store.publishedpolicies import SqlPublishedPolicies
    from sallyport.store.sealing import Seal

    settings = load_config(config)
    if shared_store_of(settings) is None:
        raise SallyportError(f"{config} names no shared store: a gateway alone reads its file")
    policy = load_policy(file or settings.policy_path)
    check_together(settings, policy)
    engine = readonly_engine(config, None, settings.data_directory)
    try:
        policies = SqlPublishedPolicies(engine, Seal(shared_key(settings)))
        number = policies.publish(policy, f"{getpass.getuser()} at {socket.gethostname()}")
    finally:
        engine.dispose()
    typer.echo(f"Published {policy.version} as number {number}.")
    if getattr(settings.store, "policy", "file") != "published":
        typer.echo(f"{config} says 'policy: file' under 'store': such a gateway does not take it.")


def gateways(
    config: _Config = Path("sallyport.yaml"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """See ``--help``."""
    from sallyport.audit.display import inert
    from sallyport.cli.storeaccess import readonly_engine
    from sallyport.config import load_config
    from sallyport.store.owners import members_of

    engine = readonly_engine(config, None, load_config(config).data_directory)
    try:
        with engine.connect() as connection:
            members = members_of(connection)
    finally:
        engine.dispose()
    if as_json:
        typer.echo(json.dumps([asdict(member) for member in members], indent=1))
    for member in () if as_json else members:
        note = f"  {inert(member.policy_problem)}" if member.policy_problem else ""
        typer.echo(f"{inert(member.gateway)}/{member.worker}  {member.policy}{note}")
    if not members and not as_json:
        typer.echo("No gateway runs.")
    if len({member.policy for member in members}) > 1:
        raise typer.Exit(1)
