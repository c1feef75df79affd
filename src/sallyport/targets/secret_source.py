"""What a secret is read from: :class:`SecretSource`. A login at a target asks it each time.

A source keeps what it read for some time and says by :meth:`SecretSource.replaces` whether reading
anew could give something else, so that a login which was refused is tried once more.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from sallyport.core.clock import Clock
from sallyport.core.errors import SallyportError
from sallyport.core.secret import Secret

_log = structlog.get_logger(__name__)

#: Seconds between two readings, however many logins are refused.
PAUSE = 1.0


class CredentialError(SallyportError):
    """A secret could not be fetched. The text names the reference, what is wrong, what to do."""


class ManagerUnavailableError(CredentialError):
    """Its manager does not answer, or not now: what was read before may still be used."""


@dataclass(frozen=True, slots=True)
class Credential:
    """A secret. ``user``: the database role that it is of, "" where the configuration says who.
    ``release``: to be called once when the login, or the session that it began, is over.
    ``serves``: whether a new login would still get it; what can, should log in anew when not.
    """

    secret: Secret
    user: str = ""
    release: Callable[[], None] | None = field(default=None, repr=False, compare=False)
    serves: Callable[[], bool] = field(default=lambda: True, repr=False, compare=False)


class SecretSource(Protocol):
    """For one event loop."""

    async def read(self) -> Credential:
        """Raises CredentialError."""
        ...

    def replaces(self, refused: Credential) -> bool:
        """Do not give again what the server ``refused``. Whether another reading could give another
        secret: this one was kept, and was not read this very moment, or another took its place
        since.
        """
        ...


class ManagedSource(SecretSource, Protocol):
    """One in a secret manager."""

    async def keep(self) -> float:
        """Renew and revoke what is due. Seconds until it is to be called again. Never raises."""
        ...

    async def close(self) -> None:
        """Give back what was taken. Never raises."""
        ...


class KeptSecret:
    """A source that reads by ``fetch`` and keeps what it got for ``fresh`` seconds; while the
    manager cannot be reached, for ``stale`` seconds. ``name``: for the log.
    """

    def __init__(
        self,
        name: str,
        fetch: Callable[[], Awaitable[Secret]],
        clock: Clock,
        fresh: float,
        stale: float,
    ) -> None:
        self._name, self._fetch, self._clock = name, fetch, clock
        self._fresh, self._stale = fresh, max(stale, fresh)
        self._credential: Credential | None = None
        self._read_at = -math.inf
        self._is_old = True
        self._lock = asyncio.Lock()

    async def read(self) -> Credential:
        """Raises CredentialError."""
        async with self._lock:
            age = self._clock.monotonic() - self._read_at
            kept = self._credential
            if kept is not None and age < (PAUSE if self._is_old else max(self._fresh, PAUSE)):
                return kept
            began = self._clock.monotonic()
            try:
                self._credential = Credential(await self._fetch())
            except ManagerUnavailableError as error:
                if kept is None or age >= self._stale or self._is_old:
                    raise
                _log.warning("an older secret is used", secret=self._name, reason=str(error))
                return kept
            self._read_at, self._is_old = began, False
            return self._credential

    def replaces(self, refused: Credential) -> bool:
        """See :class:`SecretSource`."""
        if refused is not self._credential:
            return True
        is_kept = self._clock.monotonic() - self._read_at >= PAUSE
        self._is_old = self._is_old or is_kept
        return is_kept

    async def keep(self) -> float:
        """Nothing has to be renewed."""
        return math.inf

    async def close(self) -> None:
        """Nothing was taken."""


def secret_text(text: str, key: str, name: str) -> Secret:
    """``text``, or one ``key`` of the JSON object that it is. ``name``: of the reference. Raises
    CredentialError, whose text has nothing of it.
    """
    if key:
        try:
            values = json.loads(text)
        except ValueError:
            what = f"{name}: it is not a JSON object, so it has no key {key!r}"
            raise CredentialError(what) from None
        value = values.get(key) if isinstance(values, dict) else None
        if not isinstance(value, str):
            raise CredentialError(f"{name}: there is no text under the key {key!r}")
        text = value
    if not text or "\0" in text:
        raise CredentialError(f"{name}: the secret is empty, or holds a NUL byte")
    return Secret(text)
