"""How the gateway logs in at its targets, and what other secrets it reads, as configured."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from sallyport.app.secret_managers import (
    DatabaseLogin,
    ManagedSecrets,
    manager_of,
)
from sallyport.config import Config, SecretRef
from sallyport.core.clock import SystemClock
from sallyport.core.secret import Secret
from sallyport.operations.vaultlogin import local_reference
from sallyport.server import tls
from sallyport.server.peers import KeepAlive
from sallyport.server.upstream import Dialer
from sallyport.targets.secret_source import CredentialError, SecretSource
from sallyport.targets.targets import Target


class TargetLogins:
    """What dials targets, with sources of secrets that are made once. For one event loop."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self.managed = ManagedSecrets(config.secrets, SystemClock())

    def dialer(self, name: str) -> Dialer:
        """Of a target, with the gateway's own credential. Raises ConfigError."""
        reference = self._config.targets[name]
        login = DatabaseLogin(reference.host, reference.port, reference.user)
        target = Target(
            name=name,
            host=reference.host,
            port=reference.port,
            database=reference.database,
            user=reference.user,
            password=self._source(reference.password, f"targets.{name}.password", login),
            tls=reference.tls,
            ca=None if reference.ca is None else Path(reference.ca),
            auth=reference.auth,
            channel_binding=reference.channel_binding,
        )
        return self._dialer(target)

    def administrator(self, name: str, static: Dialer) -> Dialer | None:
        """Of the role that makes the roles of sessions; None where there is none."""
        admin = self._config.targets[name].admin
        if admin is None:
            return None
        password = self._source(admin.password, f"targets.{name}.admin.password")
        return self._dialer(dataclasses.replace(static.target, user=admin.user, password=password))

    def _dialer(self, target: Target) -> Dialer:
        seconds = self._config.targets[target.name].connect_seconds
        context = tls.client_context(target.tls, target.ca)
        return Dialer(target, context, seconds, keep_alive(self._config))

    async def secret(self, reference: SecretRef, where: str) -> Secret:
        """What is read once, when the gateway starts. Raises CredentialError, ConfigError."""
        return (await self._made(reference, where).read()).secret

    async def secrets(self, references: Mapping[str, SecretRef]) -> dict[str, Secret]:
        """The keys of hash masks. Raises CredentialError."""
        keys = {}
        for name, reference in references.items():
            keys[name] = await self.secret(reference, f"mask_keys.{name}")
        return keys

    async def check(self, where: str, reference: SecretRef) -> str:
        """Why the secret at ``where`` cannot be read now; "" when it can. Raises ConfigError."""
        try:
            credential = await self._made(reference, where).read()
        except CredentialError as error:
            return str(error)
        if credential.release is not None:
            credential.release()
        return ""

    async def close(self) -> None:
        """Give back what was leased."""
        await self.managed.close()

    def _source(
        self, reference: SecretRef | None, where: str, login: DatabaseLogin | None = None
    ) -> SecretSource | None:
        return None if reference is None else self._made(reference, where, login)

    def _made(
        self,
        reference: SecretRef,
        where: str,
        login: DatabaseLogin | None = None,
    ) -> SecretSource:
        if manager_of(reference):
            return self.managed.source(reference, where, login)
        return local_reference(reference, where)


def keep_alive(config: Config) -> KeepAlive:
    """How peers that vanish are noticed."""
    network = config.network
    return KeepAlive(
        network.keepalive_idle_seconds,
        network.keepalive_interval_seconds,
        network.keepalive_probes,
        network.user_timeout_seconds,
    )
