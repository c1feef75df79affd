"""How the gateway logs in at Vault, as the configuration says."""

from __future__ import annotations

from sallyport.config.secrets import SecretRef, Vault, VaultAuth
from sallyport.core.clock import Clock
from sallyport.core.errors import ConfigError
from sallyport.targets.credentials import Reference, reference_from
from sallyport.targets.managers.vault import PodToken, VaultClient, VaultLogin


def local_reference(reference: SecretRef, where: str) -> Reference:
    """A secret on this machine. Raises ConfigError."""
    parts = {"env": reference.env, "file": reference.file, "command": reference.command}
    return reference_from({k: v for k, v in parts.items() if v is not None}, where)


def vault_client(vault: Vault | None, clock: Clock) -> VaultClient:
    """Raises ConfigError."""
    if vault is None:
        raise ConfigError("the configuration does not say where Vault is (secrets.vault)")
    login = _vault_login(vault.auth)
    return VaultClient(vault.url, login, clock, namespace=vault.namespace, ca=vault.ca or "")


def _vault_login(auth: VaultAuth) -> VaultLogin:
    where = "secrets.vault.auth"
    if auth.token is not None:
        return VaultLogin("token", local_reference(auth.token, where))
    if auth.approle is not None:
        secret_id = local_reference(auth.approle.secret_id, where)
        return VaultLogin("approle", secret_id, auth.approle.role_id, auth.approle.mount)
    if auth.kubernetes is not None:
        pod = auth.kubernetes
        return VaultLogin("kubernetes", PodToken(pod.token_file), pod.role, pod.mount)
    raise ConfigError(f"{where}: it is missing")
