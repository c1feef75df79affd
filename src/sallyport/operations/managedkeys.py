"""The key of recordings in the care of a key manager: Vault's transit engine, AWS KMS, Google Cloud
KMS.

The manager wraps one key of 32 bytes, which is in ``<data>/recording-<id>.wrapped`` and wraps the
keys of recordings as any other. So it is asked once when a gateway or a command starts, and not for
each session: a manager that is slow or away stops no statement. Without the manager the file is
worth nothing. It is wrapped again at each start of a gateway, with the manager's newest version.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
import structlog

from sallyport.audit.keys import LocalKey
from sallyport.config.secrets import KeyService, SecretManagers
from sallyport.core.clock import SystemClock
from sallyport.core.errors import ConfigError
from sallyport.core.files import create_private, replace_private
from sallyport.core.sealing import KEY_BYTES
from sallyport.operations.vaultlogin import vault_client
from sallyport.targets.managers.vault import transit_decrypt, transit_encrypt
from sallyport.targets.secret_source import CredentialError

_VERSION: Final = 1
_LONGEST: Final = 1 << 16
#: What AWS and Google authenticate the wrapped key with.
_CONTEXT: Final = "sallyport recordings"

log = structlog.get_logger("sallyport")


class WrappedKey(msgspec.Struct, frozen=True):
    """What the file holds. ``manager``: whose key wrapped it. ``identifier``: of the key in it."""

    version: int
    manager: str
    identifier: str
    key: bytes


@dataclass(frozen=True, slots=True)
class KeyManager:
    """One key of a manager. ``name``: of both, for people and files. Its calls raise
    CredentialError.
    """

    name: str
    wrap: Callable[[bytes], Awaitable[bytes]]
    unwrap: Callable[[bytes], Awaitable[bytes]]
    close: Callable[[], Awaitable[None]]


def manager_name(service: KeyService) -> str:
    """Such as ``vault:transit/recordings``."""
    if service.vault:
        return f"vault:{service.mount}/{service.vault}"
    return f"aws:{service.aws}" if service.aws else f"google:{service.google}"


def wrapped_file(data: Path, service: KeyService) -> Path:
    """Where the wrapped key is."""
    digest = hashlib.sha256(manager_name(service).encode()).hexdigest()[:8]
    return data / f"recording-{digest}.wrapped"


async def managed_key(
    service: KeyService, managers: SecretManagers, data: Path, *, make: bool
) -> LocalKey:
    """The key; ``make``: for a gateway, which makes the file where there is none, and wraps it
    again. Raises CredentialError when it cannot be had now, ConfigError for a file that is wrong.
    """
    path = wrapped_file(data, service)
    manager = key_manager(service, managers)
    try:
        stored = await asyncio.to_thread(_read, path)
        if stored is None:
            if not make:
                raise CredentialError(f"{path} is missing: restore it from a backup")
            return await _new(path, manager)
        if stored.manager != manager.name:
            raise ConfigError(f"{path} was wrapped by {stored.manager}, not by {manager.name}")
        key = await manager.unwrap(stored.key)
        if len(key) != KEY_BYTES or LocalKey(key).identifier != stored.identifier:
            raise ConfigError(f"{path} was changed: restore it from a backup")
        if make:
            await _wrap_again(path, manager, stored, key)
        return LocalKey(key)
    finally:
        await manager.close()


async def _new(path: Path, manager: KeyManager) -> LocalKey:
    key = os.urandom(KEY_BYTES)
    made, wrapped = LocalKey(key), await manager.wrap(key)
    if await manager.unwrap(wrapped) != key:
        raise ConfigError(f"{manager.name} does not give back what it wrapped")
    stored = WrappedKey(_VERSION, manager.name, made.identifier, wrapped)
    try:
        await asyncio.to_thread(path.parent.mkdir, 0o700, parents=True, exist_ok=True)
        await asyncio.to_thread(create_private, path, msgspec.json.encode(stored) + b"\n")
    except OSError as error:
        raise ConfigError(f"{path} cannot be made: {error.strerror}") from None
    return made


async def _wrap_again(path: Path, manager: KeyManager, stored: WrappedKey, key: bytes) -> None:
    """With the manager's newest version; the old one still does where that fails."""
    try:
        fresh = msgspec.structs.replace(stored, key=await manager.wrap(key))
        await asyncio.to_thread(replace_private, path, msgspec.json.encode(fresh) + b"\n")
    except (CredentialError, OSError) as error:
        log.warning("the key of recordings was not wrapped again", key=str(path), reason=str(error))


def _read(path: Path) -> WrappedKey | None:
    """None: there is none. Raises ConfigError."""
    try:
        with path.open("rb") as file:
            stored = msgspec.json.decode(file.read(_LONGEST), type=WrappedKey)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {type(error).__name__}") from None
    if stored.version != _VERSION:
        raise ConfigError(f"{path} has version {stored.version}: use a newer sallyport")
    return stored


def key_manager(service: KeyService, managers: SecretManagers) -> KeyManager:
    """Raises ConfigError."""
    try:  # each is an extra of the package
        if service.aws:
            return _aws(service, managers)
        if service.google:
            return _google(service, managers)
    except ImportError:
        name = "aws" if service.aws else "google"
        raise ConfigError(
            f"recording.encryption.kms needs more packages. Install 'sallyport[{name}]'."
        ) from None
    client = vault_client(managers.vault, SystemClock())

    async def wrap(key: bytes) -> bytes:
        return (await transit_encrypt(client, service.mount, service.vault, key)).encode()

    async def unwrap(wrapped: bytes) -> bytes:
        return await transit_decrypt(client, service.mount, service.vault, wrapped.decode("ascii"))

    return KeyManager(manager_name(service), wrap, unwrap, client.close)


def _aws(service: KeyService, managers: SecretManagers) -> KeyManager:
    from sallyport.targets.managers.aws import AwsClient

    client = AwsClient(managers.aws.region, managers.aws.endpoint)
    context = {"purpose": _CONTEXT}

    async def wrap(key: bytes) -> bytes:
        return await client.encrypt(service.aws, key, context)

    async def unwrap(wrapped: bytes) -> bytes:
        return await client.decrypt(service.aws, wrapped, context)

    async def close() -> None:
        """Nothing is open."""

    return KeyManager(manager_name(service), wrap, unwrap, close)


def _google(service: KeyService, managers: SecretManagers) -> KeyManager:
    from sallyport.targets.managers.google import GoogleClient

    client = GoogleClient(managers.google.project, managers.google.kms_endpoint)
    more = base64.b64encode(_CONTEXT.encode()).decode()

    async def wrap(key: bytes) -> bytes:
        return await client.crypt("encrypt", service.google, key, more)

    async def unwrap(wrapped: bytes) -> bytes:
        return await client.crypt("decrypt", service.google, wrapped, more)

    return KeyManager(manager_name(service), wrap, unwrap, client.close)
