"""``sallyport grants``: the script that makes a target's database role as narrow as the policy, and
the comparison with what it can do.

Nothing is changed: the target is only asked, over the gateway's own connection. Exit status: 0; 1
when ``--check`` finds that the role can do more than the policy ever allows; 2 when configuration,
policy or role are wrong or the target cannot be reached.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sallyport.audit.display import inert

if TYPE_CHECKING:
    from sallyport.operations.grants import Difference, RequiredPrivileges
    from sallyport.targets.privileges import Privileges

_GRANTS = """Print the SQL that makes the target's database role as narrow as the policy. Nothing
is run.

Example:

    sallyport grants --target shop > grants.sql

    psql -X -v ON_ERROR_STOP=1 -f grants.sql "host=db.internal dbname=shop user=postgres"

With --check: list what the role can do that the policy never lets anyone do, and the other way
round.
"""


def register(app: typer.Typer) -> None:
    """Add ``grants`` to the program."""

    @app.command("grants", help=_GRANTS)
    def grants(
        target: Annotated[str, typer.Option(help="A target of the configuration.")] = "",
        config: Annotated[
            Path, typer.Option("--config", "-c", help="The gateway's configuration.")
        ] = Path("sallyport.yaml"),
        role: Annotated[
            str, typer.Option(help="The database role. [the one the target's configuration names]")
        ] = "",
        check: Annotated[
            bool,
            typer.Option(
                "--check", help="Compare with the role's privileges; exit status 1 if it has more."
            ),
        ] = False,
        keep_public: Annotated[
            bool,
            typer.Option(
                "--keep-public", help="Leave what PUBLIC has, which other roles may need."
            ),
        ] = False,
        as_json: Annotated[bool, typer.Option("--json", help="With --check: print JSON.")] = False,
    ) -> None:
        _grants(config, target, role, check, keep_public, as_json)


def _grants(
    config_path: Path, target: str, role: str, check: bool, keep_public: bool, as_json: bool
) -> None:
    from sallyport.app.target_catalogs import load_target_privileges
    from sallyport.cli.quiet import log_to_stderr
    from sallyport.config import load_config
    from sallyport.core.errors import ConfigError
    from sallyport.operations.grant_script import script
    from sallyport.operations.grants import required_privileges
    from sallyport.policy.bind import bind
    from sallyport.policy.file.load import load_policy

    log_to_stderr()
    config = load_config(config_path)
    policy = load_policy(config.policy_path)
    if not target and len(config.targets) == 1:
        target = next(iter(config.targets))
    if target not in config.targets:
        raise ConfigError(
            f"there is no target {target!r}. Use --target with one of {', '.join(config.targets)}"
        )
    catalog, live = load_target_privileges(config, target, role)
    bound = bind(policy, catalog, target)
    for warning in bound.warnings:
        typer.echo(f"warning: {inert(warning)}", err=True)
    want = required_privileges(bound, live)
    if check:
        _check(want, live, as_json)
    else:
        which = f"{policy.filename} (version {policy.version})"
        typer.echo(
            script(want, live, target=target, policy=which, keep_public=keep_public), nl=False
        )


def _check(want: RequiredPrivileges, live: Privileges, as_json: bool) -> None:
    from sallyport.operations.grants import excess, missing, warnings_of

    more, less = excess(want, live), missing(want, live)
    if as_json:
        said = {
            "role": live.role,
            "excess": [asdict(d) for d in more],
            "missing": [asdict(d) for d in less],
            "warnings": warnings_of(want, live),
        }
        typer.echo(json.dumps(said, indent=2))
    else:
        for label, differences in (("too much", more), ("missing", less)):
            for line in _grouped(differences):
                typer.echo(f"{label}: {line}")
        for warning in warnings_of(want, live):
            typer.echo(f"note: {inert(warning)}")
        typer.echo(
            f"role {live.role} has {len(more)} privileges that the policy never needs, and lacks"
            f" {len(less)} that it needs"
            + ("; sallyport grants prints the script that corrects this" if more or less else "")
        )
    if more:
        raise typer.Exit(1)


def _grouped(differences: list[Difference]) -> Iterator[str]:
    """One line per object: ``DELETE, UPDATE on public.orders``."""
    groups: dict[tuple[str, str], list[str]] = {}
    for difference in differences:
        groups.setdefault((difference.on, difference.why), []).append(difference.privilege)
    for (on, why), privileges in sorted(groups.items()):
        yield inert(f"{', '.join(privileges)} on {on}" + (f": {why}" if why else ""))
