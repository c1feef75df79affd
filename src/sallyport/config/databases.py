"""The databases behind the gateway: names, credentials, TLS."""

from __future__ import annotations

import msgspec

from sallyport.config import managed
from sallyport.config.check import Check
from sallyport.config.model import Administrator, TargetSettings
from sallyport.core.address import is_loopback
from sallyport.core.yamltext import YamlPath


def read_targets(check: Check) -> dict[str, TargetSettings]:
    """All targets of the document, each under its name. Raises ConfigError."""
    targets = check.document.data.get("targets")
    if not isinstance(targets, dict) or not targets:
        fix = "Add 'targets:' with a name, and host, database and user under it"
        raise check.error(("targets",), "at least one target is needed", fix)
    out = {}
    for name in targets:
        if (
            not name
            or len(name.encode()) > 63
            or any(ord(c) < 33 for c in name)
            or "*" in name
            or "?" in name
        ):
            raise check.error(
                ("targets", name),
                f"{name!r} is not usable as a database name",
                "Use letters, digits, - and _",
            )
        out[name] = check.document.convert(("targets", name), TargetSettings)
    return out


def target(check: Check, name: str, target: TargetSettings) -> TargetSettings:
    """One target, with its secrets and files found. Raises ConfigError."""
    path: YamlPath = ("targets", name)
    password = None
    if target.password is not None:
        password = managed.secret(check, (*path, "password"), target.password, is_login=True)
    vault = target.password.vault if target.password is not None else None
    names_user = vault is not None and bool(vault.database or vault.static)
    if names_user and target.user:
        raise check.error((*path, "user"), "Vault names the role", "Remove 'user'")
    for key in ("host", "database", "user"):
        if key == "user" and names_user:
            continue
        if not getattr(target, key):
            raise check.error((*path, key), "the value is empty", "Write it, or remove the target")
    if not 0 < target.port < 65536:
        raise check.error(
            (*path, "port"), f"{target.port} is not a port", "Write 1 to 65535; 5432 is usual"
        )
    if not target.auth:
        raise check.error(
            (*path, "auth"), "the list is empty", "Name at least one, for example [scram-sha-256]"
        )
    if target.connect_seconds <= 0:
        raise check.error((*path, "connect_seconds"), "must be more than 0", "10 is usual")
    _cloud_token(check, path, target)
    _target_tls(check, path, target)
    replaced: TargetSettings = msgspec.structs.replace(
        target,
        password=password,
        admin=_administrator(check, path, target),
        ca=check.absolute(target.ca) if target.ca else None,
    )
    return replaced


def _administrator(check: Check, path: YamlPath, target: TargetSettings) -> Administrator | None:
    admin = target.admin
    if target.credential == "static":
        if admin is not None:
            fix = "Write 'credential: ephemeral', or remove 'admin'"
            raise check.error((*path, "admin"), "nothing uses it with 'credential: static'", fix)
        return None
    if admin is None or not admin.user:
        fix = (
            "Add 'admin: {user: ..., password: ...}': a role with CREATEROLE that may grant what"
            " policy allows"
        )
        raise check.error((*path, "credential"), "'ephemeral' needs an administrator's role", fix)
    if admin.user == target.user:
        fix = "Make a role for each: the gateway reads the catalog as 'user'"
        raise check.error((*path, "admin", "user"), "it is the same role as 'user'", fix)
    if "scram-sha-256" not in target.auth:
        fix = "Add scram-sha-256 to 'auth'"
        raise check.error((*path, "auth"), "ephemeral roles log in with scram-sha-256", fix)
    password, place = admin.password, (*path, "admin", "password")
    if password is not None:
        if password.vault is not None and (password.vault.database or password.vault.static):
            fix = "Write 'path: ...': a role whose password is kept in Vault"
            raise check.error(place, "the administrator is 'user', and one that stays", fix)
        password = managed.secret(check, place, password)
    replaced: Administrator = msgspec.structs.replace(admin, password=password)
    return replaced


def _cloud_token(check: Check, path: YamlPath, target: TargetSettings) -> None:
    """Servers of cloud providers ask for tokens as for a password in clear."""
    ref = target.password
    entries = () if ref is None else (ref.aws, ref.google, ref.azure)
    ways = ("rds_iam", "sql_iam", "entra")
    if not any(getattr(entry, way, False) for entry in entries for way in ways):
        return
    if target.tls != "verify-full":
        fix = "Write 'tls: verify-full'"
        raise check.error((*path, "tls"), "a token needs a server that is known", fix)
    if "password" not in target.auth:
        fix = "Write 'auth: [password]'; it crosses the network inside TLS only"
        raise check.error((*path, "auth"), "the server asks for a token as a password", fix)


def _target_tls(check: Check, path: YamlPath, target: TargetSettings) -> None:
    if target.ca:
        check.readable((*path, "ca"), target.ca)
        if target.tls != "verify-full":
            fix = "Write 'tls: verify-full', or remove 'ca'"
            raise check.error((*path, "ca"), f"the CA is not used with 'tls: {target.tls}'", fix)
    local = target.host.startswith("/") or is_loopback(target.host)
    if target.host.startswith("/") and target.tls != "disable":
        raise check.error((*path, "tls"), "a Unix socket has no TLS", "Write 'tls: disable'")
    if target.tls == "disable":
        if target.channel_binding == "require":
            raise check.error(
                (*path, "channel_binding"), "channel binding needs TLS", "Write 'tls: verify-full'"
            )
        if "password" in target.auth and not local:
            fix = "Write 'tls: verify-full', or remove 'password' from 'auth'"
            raise check.error((*path, "auth"), "the password would cross the network in clear", fix)
