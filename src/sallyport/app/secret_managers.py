"""Sources of secrets in managers, as the configuration describes them; each is made once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from sallyport.config.secrets import SecretManagers, SecretRef, VaultSecret
from sallyport.core.clock import Clock
from sallyport.core.errors import ConfigError
from sallyport.core.secret import Secret
from sallyport.operations.vaultlogin import vault_client
from sallyport.targets.managers.leases import LeasedRole, StaticRole
from sallyport.targets.managers.vault import VaultClient, read_kv
from sallyport.targets.secret_source import CredentialError, KeptSecret, ManagedSource

if TYPE_CHECKING:
    from sallyport.targets.managers.aws import AwsClient
    from sallyport.targets.managers.azure import AzureClient
    from sallyport.targets.managers.google import GoogleClient

_log = structlog.get_logger("sallyport.credentials")
_NAMES = {"vault": "Vault", "aws": "AWS", "google": "Google Cloud", "azure": "Azure"}
#: Seconds that a cloud provider's token is used for new logins; it is good for 15 minutes at least.
_TOKEN_SECONDS = 300.0
_LONGEST_WAIT = 2.0


@dataclass(frozen=True, slots=True)
class DatabaseLogin:
    """Where, and as whom, the gateway logs in: some tokens are for exactly that."""

    host: str
    port: int
    user: str


def manager_of(reference: SecretRef) -> str:
    """Its name for people; "" for what is on this machine."""
    return next((name for key, name in _NAMES.items() if getattr(reference, key) is not None), "")


class ManagedSecrets:
    """For one event loop. ``sources``: those that were asked for, by where they stand."""

    def __init__(self, settings: SecretManagers, clock: Clock) -> None:
        self._settings, self._clock = settings, clock
        self.sources: dict[str, ManagedSource] = {}
        self._vault: VaultClient | None = None
        self._aws: AwsClient | None = None
        self._google: GoogleClient | None = None
        self._azure: AzureClient | None = None

    def source(
        self,
        reference: SecretRef,
        where: str,
        login: DatabaseLogin | None,
    ) -> ManagedSource:
        """Of a secret at ``where`` in the configuration. Raises ConfigError."""
        if where not in self.sources:
            if reference.vault is not None:
                made = self._in_vault(reference.vault)
            else:
                made = self._in_cloud(reference, where, login)
            self.sources[where] = made
        return self.sources[where]

    async def keep(self) -> None:
        """Renew and revoke what is due, and wait a little; made again and again."""
        waits = [await source.keep() for source in list(self.sources.values())]
        if self._vault is not None:
            try:
                waits.append(await self._vault.keep())
            except CredentialError as error:
                _log.warning("the login at Vault was not renewed", reason=str(error))
        await asyncio.sleep(min([*waits, _LONGEST_WAIT]))

    async def close(self) -> None:
        """Give leases back."""
        for source in self.sources.values():
            await source.close()
        for client in (self._vault, self._google, self._azure):
            if client is not None:
                await client.close()

    def _in_vault(self, entry: VaultSecret) -> ManagedSource:
        settings, clock = self._settings, self._clock
        if self._vault is None:
            self._vault = vault_client(settings.vault, clock)
        client = self._vault
        if entry.database:
            return LeasedRole(client, entry.mount or "database", entry.database, clock)
        if entry.static:
            mount, fresh = entry.mount or "database", settings.refresh_seconds
            return StaticRole(client, mount, entry.static, clock, fresh)
        mount = entry.mount or "secret"

        async def fetch() -> Secret:
            return await read_kv(client, mount, entry.path, entry.key)

        return self._kept(f"{{vault: {mount}/{entry.path}}}", fetch)

    def _in_cloud(
        self,
        reference: SecretRef,
        where: str,
        login: DatabaseLogin | None,
    ) -> ManagedSource:
        try:  # each is an extra of the package
            if reference.aws is not None:
                return self._in_aws(reference, login)
            if reference.google is not None:
                return self._in_google(reference)
            if reference.azure is not None:
                return self._in_azure(reference)
        except ImportError:
            name = next(key for key in _NAMES if getattr(reference, key) is not None)
            what = f"{where} needs more packages. Install 'sallyport[{name}]'."
            raise ConfigError(what) from None
        raise ConfigError(f"{where}: it is in no secret manager")

    def _in_aws(self, reference: SecretRef, login: DatabaseLogin | None) -> ManagedSource:
        from sallyport.targets.managers.aws import AwsClient

        entry, settings = reference.aws, self._settings.aws
        if self._aws is None:
            self._aws = AwsClient(settings.region, settings.endpoint)
        client = self._aws
        if entry is not None and entry.secret:
            name = f"{{aws: {entry.secret}}}"
            return self._kept(name, lambda: client.secret(entry.secret, entry.key))
        if login is None:
            raise ConfigError("rds_iam is for the passwords of targets")
        place = (login.host, login.port, login.user)
        return self._token("{aws: rds_iam}", lambda: client.rds_token(*place))

    def _in_google(self, reference: SecretRef) -> ManagedSource:
        from sallyport.targets.managers.google import GoogleClient

        entry, settings = reference.google, self._settings.google
        if self._google is None:
            self._google = GoogleClient(settings.project, settings.endpoint)
        client = self._google
        if entry is None or not entry.secret:
            return self._token("{google: sql_iam}", client.sql_token)
        return self._kept(
            f"{{google: {entry.secret}}}",
            lambda: client.secret(entry.secret, entry.version, entry.key),
        )

    def _in_azure(self, reference: SecretRef) -> ManagedSource:
        from sallyport.targets.managers.azure import AzureClient

        entry = reference.azure
        if self._azure is None:
            self._azure = AzureClient(self._settings.azure.vault_url)
        client = self._azure
        if entry is None or not entry.secret:
            return self._token("{azure: entra}", client.entra_token)
        return self._kept(
            f"{{azure: {entry.secret}}}",
            lambda: client.secret(entry.secret, entry.version, entry.key),
        )

    def _kept(self, name: str, fetch: Callable[[], Awaitable[Secret]]) -> KeptSecret:
        settings = self._settings
        fresh, stale = settings.refresh_seconds, settings.stale_seconds
        return KeptSecret(name, fetch, self._clock, fresh, stale)

    def _token(self, name: str, fetch: Callable[[], Awaitable[Secret]]) -> KeptSecret:
        return KeptSecret(name, fetch, self._clock, _TOKEN_SECONDS, _TOKEN_SECONDS)
