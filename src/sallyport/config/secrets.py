"""Secrets as the configuration names them: where each is, and the managers that hold them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import msgspec

from sallyport.core.secret import Secret

_SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount/token"


class VaultSecret(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Something in Vault or OpenBao: exactly one of ``path`` (KV version 2, one ``key`` of it),
    ``database`` (a role whose credentials are made for the gateway) and ``static`` (a role whose
    password Vault rotates). ``mount`` "": ``secret`` or ``database``.
    """

    path: str = ""
    database: str = ""
    static: str = ""
    key: str = "password"
    mount: str = ""


class AwsSecret(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``secret``: name or ARN in Secrets Manager; ``key``: of the JSON object in it, "" for the
    whole text. ``rds_iam``: a token for the target's role in place of a password.
    """

    secret: str = ""
    key: str = ""
    rds_iam: bool = False


class GoogleSecret(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``secret``: name in Secret Manager, or ``projects/P/secrets/S``. ``sql_iam``: a Cloud SQL
    token for the target's role in place of a password.
    """

    secret: str = ""
    version: str = "latest"
    key: str = ""
    sql_iam: bool = False


class AzureSecret(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``secret``: name in the Key Vault. ``version`` "": the newest. ``entra``: a Microsoft Entra
    token for Azure Database for PostgreSQL in place of a password.
    """

    secret: str = ""
    version: str = ""
    key: str = ""
    entra: bool = False


class SecretRef(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a secret is: exactly one of an environment variable, a file, a command whose standard
    output it is, or a secret manager.
    """

    env: str | None = None
    file: str | None = None
    command: tuple[str, ...] | None = None
    vault: VaultSecret | None = None
    aws: AwsSecret | None = None
    google: GoogleSecret | None = None
    azure: AzureSecret | None = None


class AppRole(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Vault's auth method for machines. ``secret_id``: env, file or command."""

    role_id: str
    secret_id: SecretRef
    mount: str = "approle"


class VaultKubernetes(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Vault's auth method by a pod's service-account token, read at every login."""

    role: str
    mount: str = "kubernetes"
    token_file: str = _SERVICE_ACCOUNT


class VaultAuth(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the gateway logs in at Vault: exactly one. ``token``: env, file or command."""

    token: SecretRef | None = None
    approle: AppRole | None = None
    kubernetes: VaultKubernetes | None = None


class Vault(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """HashiCorp Vault or OpenBao."""

    url: str
    auth: VaultAuth
    namespace: str = ""
    ca: str | None = None


class KeyService(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A key that never leaves its manager: exactly one of ``vault`` (a key of the transit engine at
    ``mount``), ``aws`` (id, ARN or alias in KMS) and ``google`` (``projects/.../cryptoKeys/K``).
    """

    vault: str = ""
    mount: str = "transit"
    aws: str = ""
    google: str = ""


class Aws(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``region`` "": from the environment. ``endpoint`` "": AWS's own."""

    region: str = ""
    endpoint: str = ""


class Google(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``project``: where secrets without one are. ``endpoint``: of Secret Manager;
    ``kms_endpoint``: of Cloud KMS.
    """

    project: str = ""
    endpoint: str = "https://secretmanager.googleapis.com"
    kms_endpoint: str = "https://cloudkms.googleapis.com"


class Azure(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``vault_url``: of the Key Vault."""

    vault_url: str = ""


class SecretManagers(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``refresh_seconds``: how long a secret is used before it is read again; a login that fails
    reads it at once. ``stale_seconds``: for how long after it was read a secret is still used while
    its manager cannot be reached.
    """

    vault: Vault | None = None
    aws: Aws = Aws()
    google: Google = Google()
    azure: Azure = Azure()
    refresh_seconds: float = 60.0
    stale_seconds: float = 3600.0


#: A reference and where it stands in the configuration -> the secret. Raises ConfigError.
Resolve = Callable[[SecretRef, str], Awaitable[Secret]]


def secret_places(settings: Any, where: str = "") -> Iterator[tuple[str, SecretRef]]:
    """Every secret that a configuration, or its part at ``where``, names; and where it stands."""
    if isinstance(settings, SecretRef):
        yield where, settings
    elif isinstance(settings, msgspec.Struct):
        for field in msgspec.structs.fields(settings):
            place = f"{where}.{field.encode_name}" if where else field.encode_name
            yield from secret_places(getattr(settings, field.name), place)
    elif isinstance(settings, dict):
        for key, value in settings.items():
            yield from secret_places(value, f"{where}.{key}")
    elif isinstance(settings, tuple):
        for i, value in enumerate(settings):
            yield from secret_places(value, f"{where}[{i}]")
