"""Azure Key Vault, and Microsoft Entra tokens for Azure Database for PostgreSQL, with credentials
found by azure-identity (extra ``sallyport[azure]``): environment, workload identity, managed
identity.

Source: the REST reference of Key Vault ("Get Secret", version 7.4) and "Use Microsoft Entra ID for
authentication with Azure Database for PostgreSQL".
"""

from __future__ import annotations

import asyncio
from typing import Final
from urllib.parse import quote

from azure.core.exceptions import AzureError, ServiceRequestError
from azure.identity import DefaultAzureCredential

from sallyport.core.secret import Secret
from sallyport.targets.managers.http import JsonClient
from sallyport.targets.secret_source import CredentialError, ManagerUnavailableError, secret_text

_VAULT: Final = "https://vault.azure.net/.default"
_POSTGRES: Final = "https://ossrdbms-aad.database.windows.net/.default"
_NOT_NOW: Final = frozenset({429, 500, 502, 503, 504})


class AzureClient:
    """``vault_url``: of the Key Vault."""

    def __init__(self, vault_url: str) -> None:
        self._http = JsonClient(vault_url, "Azure Key Vault")
        self._credential: DefaultAzureCredential | None = None
        self._lock = asyncio.Lock()

    async def secret(self, id_: str, version: str, key: str) -> Secret:
        """The text of a secret, or of one ``key`` of it. Raises CredentialError."""
        name = f"{{azure: {id_}}}"
        token = await self.token(_VAULT, name)
        path = f"/secrets/{quote(id_, safe='')}/{quote(version, safe='')}".rstrip("/")
        headers = {"Authorization": f"Bearer {token.reveal()}"}
        status, answer = await self._http.send("GET", f"{path}?api-version=7.4", headers)
        if status in _NOT_NOW:
            raise ManagerUnavailableError(f"{name}: Key Vault answers {status}")
        value = answer.get("value")
        if status != 200 or not isinstance(value, str):
            do = {
                403: "give the gateway's identity the role Key Vault Secrets User",
                404: "is there such a secret in this Key Vault?",
            }
            raise CredentialError(
                f"{name}: Key Vault answers {status}: {do.get(status, 'see its documentation')}"
            )
        return secret_text(value, key, name)

    async def entra_token(self) -> Secret:
        """What Azure Database for PostgreSQL takes for a password. Raises CredentialError."""
        return await self.token(_POSTGRES, "{azure: entra}")

    async def token(self, scope: str, name: str) -> Secret:
        """An access token; azure-identity keeps it until it ends. Raises CredentialError."""
        async with self._lock:
            try:
                return Secret(await asyncio.to_thread(self._fresh, scope))
            except ServiceRequestError as error:
                why = f"{name}: no token from Microsoft Entra: {type(error).__name__}"
                raise ManagerUnavailableError(why) from None
            except (AzureError, ValueError) as error:
                raise CredentialError(
                    f"{name}: the gateway has no Azure credentials ({type(error).__name__}): use a "
                    "managed or workload identity, or set AZURE_CLIENT_ID and its companions"
                ) from None

    def _fresh(self, scope: str) -> str:
        if self._credential is None:
            # No developer's login of some tool on this machine: the gateway is a service.
            self._credential = DefaultAzureCredential(
                exclude_cli_credential=True,
                exclude_powershell_credential=True,
                exclude_developer_cli_credential=True,
                exclude_visual_studio_code_credential=True,
                exclude_shared_token_cache_credential=True,
                exclude_broker_credential=True,
            )
        token: str = self._credential.get_token(scope).token
        return token

    async def close(self) -> None:
        """Close its connections."""
        await self._http.close()
        if self._credential is not None:
            self._credential.close()
