"""Checks what the configuration says of secret managers, and of secrets in them."""

from __future__ import annotations

import msgspec

from sallyport.config.check import Check
from sallyport.config.secrets import (
    AwsSecret,
    AzureSecret,
    GoogleSecret,
    KeyService,
    SecretManagers,
    SecretRef,
    Vault,
    VaultAuth,
    VaultSecret,
)
from sallyport.core.yamltext import YamlPath

_LOCAL = ("env", "file", "command")
_KINDS = (*_LOCAL, "vault", "aws", "google", "azure")


def secret(check: Check, path: YamlPath, ref: SecretRef, *, is_login: bool = False) -> SecretRef:
    """A checked reference, its paths absolute. ``is_login``: the password of a database role, which
    may also be made for the login (Vault's database engine, tokens of cloud providers). Raises
    ConfigError.
    """
    named = [kind for kind in _KINDS if getattr(ref, kind) is not None]
    if len(named) != 1 or not getattr(ref, named[0]):
        fix = (
            "Write {env: NAME}, {file: PATH}, {command: [PROGRAM, ARGUMENT]}, "
            "or where a secret manager has it: {vault: {path: ...}}, {aws: {secret: ...}}, ..."
        )
        raise check.error(path, f"exactly one of {', '.join(_KINDS)} is needed", fix)
    (kind,) = named
    if kind not in _LOCAL:
        _in_manager(check, (*path, kind), getattr(ref, kind), is_login)
    file = check.absolute(ref.file) if ref.file else None
    replaced: SecretRef = msgspec.structs.replace(ref, file=file)
    return replaced


def _in_manager(
    check: Check,
    path: YamlPath,
    entry: VaultSecret | AwsSecret | GoogleSecret | AzureSecret,
    is_login: bool,
) -> None:
    ways = ("path", "database", "static", "secret", "rds_iam", "sql_iam", "entra")
    there = [way for way in ways if hasattr(entry, way)]
    chosen = [way for way in there if getattr(entry, way)]
    if len(chosen) != 1:
        what = f"exactly one of {', '.join(there)} is needed"
        raise check.error(path, what, f"Write {there[0]}: ...")
    if chosen[0] not in ("path", "secret") and not is_login:
        what = f"{chosen[0]} makes a login at a database, which this is not"
        raise check.error((*path, chosen[0]), what, f"Write {there[0]}: ...")
    section = check.document.data.get("secrets")
    if isinstance(entry, VaultSecret):
        if not isinstance(section, dict) or "vault" not in section:
            fix = "Add 'secrets: {vault: {url: ..., auth: ...}}'"
            raise check.error(path, "the configuration does not say where Vault is", fix)
        for name in ("path", "database", "static", "mount"):
            _usable_path(check, (*path, name), getattr(entry, name))
    if isinstance(entry, AzureSecret) and entry.secret and not _has(section, "azure", "vault_url"):
        fix = "Add 'secrets: {azure: {vault_url: https://NAME.vault.azure.net}}'"
        raise check.error(path, "the configuration does not say which Key Vault", fix)


def _has(section: object, manager: str, key: str) -> bool:
    settings = section.get(manager) if isinstance(section, dict) else None
    return isinstance(settings, dict) and bool(settings.get(key))


def _usable_path(check: Check, path: YamlPath, text: str) -> None:
    parts = text.split("/") if text else []
    if any(part in ("", ".", "..") for part in parts) or not text.isprintable():
        raise check.error(path, f"{text!r} is not a path in Vault", "Write it like team/shop")


def key_service(check: Check, path: YamlPath, service: KeyService) -> None:
    """Raises ConfigError."""
    chosen = [name for name in ("vault", "aws", "google") if getattr(service, name)]
    if len(chosen) != 1:
        fix = "Write {vault: KEY}, {aws: ARN} or {google: projects/.../cryptoKeys/KEY}"
        raise check.error(path, "exactly one of vault, aws, google is needed", fix)
    if chosen == ["vault"]:
        _usable_path(check, (*path, "vault"), service.vault)
        _usable_path(check, (*path, "mount"), service.mount)
        section = check.document.data.get("secrets")
        if not (isinstance(section, dict) and section.get("vault")):
            raise check.error(path, "nothing says where Vault is", "Write 'secrets: {vault: ...}'")


def managers(check: Check, settings: SecretManagers) -> SecretManagers:
    """Raises ConfigError."""
    for key in ("refresh_seconds", "stale_seconds"):
        if getattr(settings, key) < 0:
            raise check.error(("secrets", key), "must not be negative", "60 is usual")
    for path, url in (
        (("secrets", "aws", "endpoint"), settings.aws.endpoint),
        (("secrets", "google", "endpoint"), settings.google.endpoint),
        (("secrets", "google", "kms_endpoint"), settings.google.kms_endpoint),
        (("secrets", "azure", "vault_url"), settings.azure.vault_url),
    ):
        if url:
            check.url(path, url)
    vault = None if settings.vault is None else _vault(check, settings.vault)
    replaced: SecretManagers = msgspec.structs.replace(settings, vault=vault)
    return replaced


def _vault(check: Check, vault: Vault) -> Vault:
    path: YamlPath = ("secrets", "vault")
    check.url((*path, "url"), vault.url)
    if vault.ca:
        check.readable((*path, "ca"), vault.ca)
    replaced: Vault = msgspec.structs.replace(
        vault,
        auth=_auth(check, (*path, "auth"), vault.auth),
        ca=check.absolute(vault.ca) if vault.ca else None,
    )
    return replaced


def _auth(check: Check, path: YamlPath, auth: VaultAuth) -> VaultAuth:
    methods = [name for name in ("token", "approle", "kubernetes") if getattr(auth, name)]
    if len(methods) != 1:
        fix = "Write, for example, {approle: {role_id: ..., secret_id: {file: ...}}}"
        raise check.error(path, "exactly one of token, approle and kubernetes is needed", fix)
    token, approle, pod = auth.token, auth.approle, auth.kubernetes
    if token is not None:
        token = local_secret(check, (*path, "token"), token)
    if approle is not None:
        secret_id = local_secret(check, (*path, "approle", "secret_id"), approle.secret_id)
        approle = msgspec.structs.replace(approle, secret_id=secret_id)
    if pod is not None:
        pod = msgspec.structs.replace(pod, token_file=check.absolute(pod.token_file))
    return VaultAuth(token, approle, pod)


def local_secret(check: Check, path: YamlPath, ref: SecretRef) -> SecretRef:
    """A checked reference to what is needed before a secret manager can be asked, or without one.
    Raises ConfigError.
    """
    fix = "Write {env: NAME}, {file: PATH} or {command: [PROGRAM, ARGUMENT]}"
    if any(getattr(ref, kind) is not None for kind in _KINDS if kind not in _LOCAL):
        raise check.error(path, "this secret must be on this machine", fix)
    if sum(bool(getattr(ref, kind)) for kind in _LOCAL) != 1:
        raise check.error(path, "exactly one of env, file and command is needed", fix)
    return secret(check, path, ref)
