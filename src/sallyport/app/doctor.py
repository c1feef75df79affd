"""What ``sallyport doctor`` examines, made from the configuration."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from sallyport.app.approval_channels import reviewer_places
from sallyport.app.console import public_url
from sallyport.app.identity_providers import issuer_settings, saml_providers
from sallyport.app.secret_managers import manager_of
from sallyport.app.target_logins import TargetLogins
from sallyport.config import Config
from sallyport.config.secrets import secret_places
from sallyport.core.errors import ConfigError, SallyportError
from sallyport.operations import doctor
from sallyport.operations.saml_doctor import saml as doctor_of_saml
from sallyport.policy.file.load import load_policy
from sallyport.server.tls import client_context
from sallyport.server.upstream import Dialer
from sallyport.targets.targets import Target

_SECONDS: Final = 10.0


def examine(config: Config, target: str = "", *, from_agent: bool = False) -> list[doctor.Finding]:
    """What :mod:`sallyport.operations.doctor` finds; of one target, or ("") of everything.
    ``from_agent``: only the ways round the gateway. Raises ConfigError for a policy that cannot be
    loaded.
    """
    logins = TargetLogins(config)
    dialers = [logins.dialer(name) for name in config.targets if not target or name == target]

    async def look() -> list[doctor.Finding]:
        try:
            return await findings()
        finally:
            await logins.close()

    async def findings() -> list[doctor.Finding]:
        if from_agent:
            return [await doctor.way_round(dialer) for dialer in dialers]
        policy = load_policy(config.policy_path)
        results = list(doctor.data_directory(config.data_directory))
        if config.tls is not None:
            files = Path(config.tls.certificate), Path(config.tls.key)
            results.append(doctor.certificate(*files))
        for where, reference in secret_places(config):
            if manager := manager_of(reference):
                results.append(doctor.secret(where, manager, await logins.check(where, reference)))
        for entry in config.identity.oidc:
            results += await doctor.issuer(issuer_settings(entry))
        try:
            saml = await saml_providers(config, public_url(config), logins.secret)
            results += [finding for idp in saml.values() for finding in await doctor_of_saml(idp)]
        except SallyportError as error:
            results.append(doctor.Finding("identity.saml", "problem", str(error)))
        for dialer in dialers:
            results += await doctor.target(dialer, policy)
            admin = logins.administrator(dialer.target.name, dialer)
            if admin is not None:
                results += await doctor.administrator(dialer.target.name, admin, dialer.target.user)
        places = reviewer_places(config.approvals)
        results += doctor.reviewers(policy, config.console is not None, places)
        results += [await doctor.reachable(about, host, port) for about, host, port in places]
        return results

    return asyncio.run(look())


def ways_round(addresses: Sequence[str]) -> list[doctor.Finding]:
    """Past the gateway to databases, each ``postgresql://USER@HOST:PORT/DATABASE``, where there is
    no configuration. Raises ConfigError for anything else.
    """
    targets = [_target(address) for address in addresses]

    async def look() -> list[doctor.Finding]:
        return [
            await doctor.way_round(
                Dialer(target, client_context("require", None), _SECONDS),
                Dialer(replace(target, tls="disable"), None, _SECONDS),
            )
            for target in targets
        ]

    return asyncio.run(look())


def _target(address: str) -> Target:
    problem = ConfigError(
        "--database takes postgresql://USER@HOST:PORT/DATABASE, without a password, for each"
        " database that agents must not reach"
    )
    try:
        parts = urlsplit(address)
        host, port, database = parts.hostname, parts.port or 5432, parts.path[1:]
    except ValueError:
        raise problem from None
    is_ours = parts.scheme in ("postgresql", "postgres") and parts.password is None
    if not (is_ours and host and database):
        raise problem
    database, user = unquote(database), unquote(parts.username or "postgres")
    return Target(database, host, database, user, None, port, "require")
