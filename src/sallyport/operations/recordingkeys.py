"""The key-encryption keys of a gateway's recordings, from where its configuration says they are.

Without a word in the configuration the key is the file ``recording.key`` in the data directory. A
file that is not there is made (mode 0600) when a gateway starts for the first time; never once
there are recordings that another key has wrapped: then it is missing, and has to come back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from sallyport.audit.keyfiles import SUFFIX, read_key_file
from sallyport.audit.keys import KeyEncryptionKey, KeyRing, LocalKey, local_key, new_key_text
from sallyport.config import Config, SecretRef
from sallyport.config.secrets import KeyService, SecretManagers
from sallyport.core.errors import ConfigError
from sallyport.core.files import create_private
from sallyport.operations.managedkeys import managed_key, manager_name, wrapped_file
from sallyport.targets.credentials import CredentialError, Reference, resolve

FILE: Final = "recording.key"
_WHERE: Final = "recording.encryption"
#: Recordings whose keys are looked at when a gateway starts.
_NEWEST: Final = 100


@dataclass(frozen=True, slots=True)
class KeySettings:
    """``data``: where ``recording.key`` is. ``key`` None: that file, or ``kms``. ``managers``:
    where these are. See :class:`RecordingEncryption`.
    """

    data: Path
    enabled: bool = True
    key: Reference | None = None
    previous: Sequence[Reference] = ()
    kms: KeyService | None = None
    previous_kms: Sequence[KeyService] = ()
    managers: SecretManagers = field(default_factory=SecretManagers)

    @property
    def place(self) -> str:
        """Where the current key is, for people."""
        return manager_name(self.kms) if self.kms is not None else str(self.reference)

    @property
    def reference(self) -> Reference:
        """Where the current key is."""
        return self.key or Reference("file", str(self.data / FILE))


def key_settings(config: Config) -> KeySettings:
    """As the configuration says."""
    encryption = config.recording.encryption
    return KeySettings(
        config.data_directory,
        encryption.enabled,
        None if encryption.key is None else _reference(encryption.key),
        [_reference(reference) for reference in encryption.previous],
        encryption.kms,
        encryption.previous_kms,
        config.secrets,
    )


def _reference(ref: SecretRef) -> Reference:
    if ref.command is not None:
        return Reference("command", argv=ref.command)
    return Reference("env", ref.env) if ref.env is not None else Reference("file", ref.file or "")


async def load_keys(settings: KeySettings, recordings: Path, *, make: bool = False) -> KeyRing:
    """For a gateway (``make``), the key file is made when it starts for the first time, and a key
    that cannot be had is a ConfigError. Readers of recordings go on without it: what it wrapped
    cannot be decrypted, and says why. Raises ConfigError for a key that is not one, and as said.
    """
    previous: list[KeyEncryptionKey] = []
    absent: list[str] = []
    for reference in settings.previous:
        fetch = _key(reference, f"{_WHERE}.previous")
        await _add(fetch, f"{_WHERE}.previous", previous, None if make else absent)
    for service in settings.previous_kms:
        fetch = _managed(settings, service)
        await _add(fetch, f"{_WHERE}.previous_kms", previous, None if make else absent)
    if settings.kms is not None:
        return await _managed_ring(settings, recordings, previous, absent, make=make)
    reference = settings.reference
    path = Path(reference.value)
    if reference.kind == "file" and not await asyncio.to_thread(path.exists):
        if not settings.enabled or (not make and settings.key is None):
            return KeyRing(None, previous, absent)
        if make:
            await asyncio.to_thread(_make, path, recordings, previous)
    current: list[KeyEncryptionKey] = []
    fetch = _key(reference, f"{_WHERE}.key")
    await _add(fetch, f"{_WHERE}.key", current, None if make else absent)
    if settings.enabled and current:
        return KeyRing(current[0], previous, absent)
    return KeyRing(None, [*previous, *current], absent)


def _managed(
    settings: KeySettings, service: KeyService, *, make: bool = False
) -> Coroutine[Any, Any, LocalKey]:
    return managed_key(service, settings.managers, settings.data, make=make)


async def _managed_ring(
    settings: KeySettings,
    recordings: Path,
    previous: list[KeyEncryptionKey],
    absent: list[str],
    *,
    make: bool,
) -> KeyRing:
    """The keys, the current one in the care of a manager. Raises ConfigError."""
    if settings.kms is None:
        raise ConfigError(f"{_WHERE}.kms is missing")
    path, current = wrapped_file(settings.data, settings.kms), list[KeyEncryptionKey]()
    if make and not await asyncio.to_thread(path.exists):
        await asyncio.to_thread(_refuse_replacing, path, recordings, previous)
    fetch = _managed(settings, settings.kms, make=make)
    await _add(fetch, f"{_WHERE}.kms", current, None if make else absent)
    if settings.enabled and current:
        return KeyRing(current[0], previous, absent)
    return KeyRing(None, [*previous, *current], absent)


async def _add(
    fetch: Coroutine[Any, Any, LocalKey],
    where: str,
    keys: list[KeyEncryptionKey],
    absent: list[str] | None,
) -> None:
    """Raises ConfigError; where ``absent`` is given, it gets why a key cannot be had."""
    try:
        keys.append(await fetch)
    except CredentialError as error:
        text = f"{where}: the key of recordings cannot be had: {error}"
        if absent is None:
            raise ConfigError(text) from None
        absent.append(text)


async def _key(reference: Reference, where: str) -> LocalKey:
    """Raises CredentialError, ConfigError."""
    return local_key((await resolve(reference)).reveal(), f"{where}: {reference}")


def unlisted_key(recordings: Path, keys: KeyRing) -> str:
    """A key-encryption key that recordings of the newest day need and ``keys`` lack; "" when there
    is none.
    """
    days = sorted(recordings.glob("????/??/??"))
    for wrapped in sorted(days[-1].glob(f"*{SUFFIX}"))[-_NEWEST:] if days else ():
        try:
            kek = read_key_file(wrapped).kek
        except (OSError, ValueError):
            continue
        if kek and kek not in keys:
            return kek
    return ""


def _refuse_replacing(path: Path, recordings: Path, previous: Sequence[KeyEncryptionKey]) -> None:
    """Raises ConfigError when recordings need a key file that was there before."""
    listed = {key.identifier for key in previous}
    for wrapped in recordings.glob(f"????/??/??/*{SUFFIX}"):
        try:
            kek = read_key_file(wrapped).kek
        except (OSError, ValueError):
            continue
        if kek and kek not in listed:
            raise ConfigError(
                f"{_WHERE}.key: {path} is missing, and recordings are encrypted under it "
                f"({wrapped.name}, by {kek}). Restore the file from a backup. If it is lost for "
                "good, so is the content of those recordings: make another with "
                f"'openssl rand -base64 32 > {path}', and chmod 600"
            )


def _make(path: Path, recordings: Path, previous: Sequence[KeyEncryptionKey]) -> None:
    """Make the key file. Raises ConfigError when recordings need one that was there before."""
    _refuse_replacing(path, recordings, previous)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        create_private(path, new_key_text().encode())
    except OSError as error:
        raise ConfigError(f"{_WHERE}.key: {path} cannot be made: {error.strerror}") from None
