"""The targets, each as the gateway runs it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sallyport.app.target_logins import TargetLogins
from sallyport.config import Config
from sallyport.core.owners import Owners
from sallyport.core.secret import Secret
from sallyport.operations.role_grants import grant_set
from sallyport.policy.for_target import at_target
from sallyport.policy.model import Policy
from sallyport.server.databases import Database
from sallyport.server.ephemeral import EphemeralRoles
from sallyport.server.upstream import Dialer


def _roles(
    name: str, logins: TargetLogins, static: Dialer, owners: Owners
) -> EphemeralRoles | None:
    """What gives each session a role of its own at a target; None where all share one."""
    dialer = logins.administrator(name, static)
    if dialer is None:
        return None
    return EphemeralRoles(name, dialer, static, grant_set, owners.gateway, owners.runs)


def _database(
    name: str,
    config: Config,
    logins: TargetLogins,
    policy: Callable[[], Policy],
    keys: Mapping[str, Secret],
    owners: Owners,
) -> Database:
    dialer = logins.dialer(name)
    roles = _roles(name, logins, dialer, owners)
    return Database(
        name,
        dialer,
        lambda: at_target(policy(), name, config.targets[name].credential),
        keys,
        check_seconds=config.catalog.check_seconds,
        max_statement_bytes=config.limits.max_statement_bytes,
        roles=roles,
    )


def make_databases(
    config: Config,
    logins: TargetLogins,
    policy: Callable[[], Policy],
    keys: Mapping[str, Secret],
    owners: Owners,
) -> dict[str, Database]:
    """By name. ``policy`` gives the one in force; ``keys``: of hash masks. Raises ConfigError."""
    return {name: _database(name, config, logins, policy, keys, owners) for name in config.targets}
