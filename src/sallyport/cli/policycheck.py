"""``sallyport policy check``: is the policy valid, and does it fit the configuration, the databases
and the people it names.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from sallyport.audit.display import inert
from sallyport.core.errors import ConfigError, SallyportError
from sallyport.core.wording import counted

if TYPE_CHECKING:
    from sallyport.config import Config
    from sallyport.policy.model import Policy
    from sallyport.sql.catalog.snapshot import CatalogSnapshot

CatalogSource: TypeAlias = "Callable[[Config, str], CatalogSnapshot]"

_HELP = """Check a policy: OK, or what is wrong on which line.

Without FILE, or with --config, the configuration is checked as well, patterns and masks are
compared with the real names and types in the database of every target, and groups with those that
tokens have carried so far. What could not be compared is said. With --strict the exit status is 1
when there is a warning.

Example:

    sallyport policy check --config sallyport.yaml --strict
"""


@dataclass
class _Findings:
    """``missed``: why something was not compared. ``unreached``: of these, the targets that could
    not be asked.
    """

    warnings: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    unreached: list[str] = field(default_factory=list)


def add(commands: typer.Typer, source: CatalogSource) -> None:
    """Add ``check`` to ``policy``."""

    @commands.command("check", help=_HELP)
    def check(
        file: Annotated[
            Path | None,
            typer.Argument(help="A policy file; without it, the one of the configuration."),
        ] = None,
        config: Annotated[
            Path | None,
            typer.Option(
                "--config", "-c", help="The gateway's configuration. [without FILE: sallyport.yaml]"
            ),
        ] = None,
        offline: Annotated[
            bool, typer.Option("--offline", help="Do not connect to any target.")
        ] = False,
        strict: Annotated[
            bool, typer.Option("--strict", help="Treat warnings as errors: exit status 1.")
        ] = False,
        as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    ) -> None:
        policy, findings = _check(file, config, None if offline else source)
        failed = strict and bool(findings.warnings or findings.unreached)
        if as_json:
            data = {
                "ok": not failed,
                "version": policy.version,
                "file": policy.filename,
                "warnings": findings.warnings,
                "not_compared": [*findings.unreached, *findings.missed],
            }
            typer.echo(json.dumps(data, indent=2))
        else:
            _show(policy, findings, failed)
        if failed:
            raise typer.Exit(1)


def _show(policy: Policy, findings: _Findings, failed: bool) -> None:
    for warning in findings.warnings:
        typer.echo(f"{'error' if failed else 'warning'}: {inert(warning)}")
    said = "not accepted by --strict" if failed else "OK"
    typer.echo(f"{said}: version {policy.version}, {_counts(policy)}: {policy.filename}")
    for reason in (*findings.unreached, *findings.missed):
        typer.echo(f"not compared with a database: {inert(reason)}")


def _check(
    file: Path | None, config_path: Path | None, source: CatalogSource | None
) -> tuple[Policy, _Findings]:
    from sallyport.config import load_config
    from sallyport.policy.file.load import load_policy

    if file is not None:
        _not_a_configuration(file)
    config = (
        load_config(config_path or Path("sallyport.yaml")) if file is None or config_path else None
    )
    policy = load_policy(file or Path(config.policy if config else ""))
    findings = _Findings(list(policy.warnings))
    if config is None:
        findings.missed.append("no configuration was named; use --config")
    else:
        _check_together(config, policy, source, findings)
    findings.warnings = list(dict.fromkeys(findings.warnings))
    return policy, findings


def _check_together(
    config: Config, policy: Policy, source: CatalogSource | None, findings: _Findings
) -> None:
    from sallyport.app.policy_file import check_together
    from sallyport.core.yamltext import suggest

    check_together(config, policy)
    findings.warnings += [
        f"rule or mask for target pattern {p!r}: no such target."
        f" {suggest(p, sorted(config.targets))}Targets are {', '.join(sorted(config.targets))}"
        for p in map(str, _unused_targets(config, policy))
    ]
    findings.warnings += _undecidable(config, policy)
    findings.warnings += _without_effect(config, policy)
    findings.warnings += _unpresented(config, policy)
    if source is None:
        findings.missed.append("--offline")
    else:
        _compare(config, policy, source, findings)


def _counts(policy: Policy) -> str:
    """How many rules and masks are the file's own, and how many those of its packs."""
    own = _counted(policy, from_packs=False)
    if not policy.packs:
        return own
    packs = _counted(policy, from_packs=True)
    of = "the pack" if len(policy.packs) == 1 else "the packs"
    return f"{own} of its own; {packs} of {of} {' and '.join(policy.packs)}"


def _counted(policy: Policy, *, from_packs: bool) -> str:
    rules = sum(bool(rule.pack) is from_packs for rule in policy.rules)
    masks = sum(bool(mask.pack) is from_packs for mask in policy.masks)
    return f"{counted(rules, 'rule')}, {counted(masks, 'mask')}"


def _not_a_configuration(file: Path) -> None:
    """ConfigError when the file that should be a policy is a ``sallyport.yaml``."""
    from sallyport.core.yamltext import read_yaml

    if not file.is_file():
        what = "is a directory" if file.is_dir() else "there is no such file"
        raise ConfigError(f"{file}: {what}. Name a policy file, or the configuration with --config")
    if {"targets", "identity"} & read_yaml(file).data.keys():
        raise ConfigError(
            f"{file}: this is a gateway's configuration, not a policy. "
            f"Check it together with its policy: sallyport policy check --config {file}"
        )


def _compare(config: Config, policy: Policy, source: CatalogSource, findings: _Findings) -> None:
    """What matches nothing or does not fit in the targets, and why targets could not be asked."""
    from sallyport.masking.fit import unfit_masks
    from sallyport.policy.bind import bind
    from sallyport.policy.for_target import at_target

    for target in config.targets:
        try:
            catalog = source(config, target)
        except (SallyportError, OSError) as error:
            findings.unreached.append(f"target {target}: {error}")
        else:
            bound = bind(
                at_target(policy, target, config.targets[target].credential), catalog, target
            )
            findings.warnings += [*bound.warnings, *unfit_masks(bound)]


def _without_effect(config: Config, policy: Policy) -> Iterator[str]:
    """Rules that permit schema changes where the target's credential denies them."""
    from sallyport.policy.actions import DDL
    from sallyport.policy.model import applies_to_target

    ephemeral = [
        name for name, target in config.targets.items() if target.credential == "ephemeral"
    ]
    for rule in policy.rules:
        targets = [name for name in ephemeral if applies_to_target(rule.targets, name)]
        if rule.effect.value != "deny" and rule.named and targets and rule.actions <= DDL:
            yield (
                f'rule "{rule.name}" (line {rule.line}): target {", ".join(targets)} has'
                " credential: ephemeral, where the schema cannot be changed. Use a target with"
                " credential: static"
            )


def _undecidable(config: Config, policy: Policy) -> Iterator[str]:
    """Hold rules whose statements would wait for nobody."""
    for rule in policy.rules:
        if rule.effect.value != "hold":
            continue
        where = f'rule "{rule.name}" (line {rule.line}): nobody can decide what it holds'
        if rule.reviewers is None or not rule.reviewers.groups:
            yield f"{where}, as it names no reviewers. Add 'reviewers: {{groups: [...]}}'"
        elif config.console is None:
            yield (
                f"{where}, as the configuration has no 'console', where reviewers and commands"
                " decide"
            )
        elif not config.console.roles.reviewer:
            yield f"{where}, as console.roles gives no group the role 'reviewer'"


def _unpresented(config: Config, policy: Policy) -> Iterator[str]:
    """Groups that no login has carried so far; nothing before the first recorded session.

    Those with a role at the console are left out: their people sign in there.
    """
    from sallyport.cli.storeaccess import shared_store_of
    from sallyport.store.database import FILE, open_readonly
    from sallyport.store.postgres import open_postgres_readonly
    from sallyport.store.sessions import presented_groups

    address = shared_store_of(config)
    if address is not None:
        presented = presented_groups(open_postgres_readonly(address))
    elif (config.data_directory / FILE).is_file():
        presented = presented_groups(open_readonly(config.data_directory))
    else:
        return
    if presented:
        for group in sorted(policy.groups() - presented - _groups_with_roles(config)):
            yield (
                f"group {group!r}: no recorded session's token carried it so far. Is it spelt as in"
                " the tokens?"
            )


def _groups_with_roles(config: Config) -> frozenset[str]:
    from msgspec.structs import astuple

    return frozenset(chain(*astuple(config.console.roles))) if config.console else frozenset()


def _unused_targets(config: Config, policy: Policy) -> Iterator[str]:
    patterns = [e.targets for e in policy.rules] + [e.targets for e in policy.masks]
    for targets in patterns:
        for pattern in targets:
            if not any(pattern.fullmatch(name) for name in config.targets):
                yield pattern.pattern
