"""Vault's database engine: roles that are made for the gateway and leased to it.

One lease serves all logins of a target until a third of its life is left and it cannot be renewed.
It is renewed for as long as a session goes by it, and revoked when the last one has ended.

Source: the API documentation of secret/databases and system/leases.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import structlog

from sallyport.core.clock import Clock
from sallyport.core.secret import Secret
from sallyport.targets.managers.vault import VaultClient, VaultToken, duration
from sallyport.targets.secret_source import (
    PAUSE,
    Credential,
    CredentialError,
    ManagerUnavailableError,
    secret_text,
)

_log = structlog.get_logger(__name__)
_RETRY: Final = 5.0


@dataclass(slots=True)
class _Lease:
    """``seconds``: as it was first given. Times are monotonic. ``uses``: logins and sessions.
    ``token``: the login at Vault that it ends with.
    """

    token: VaultToken
    id: str
    user: str
    secret: Secret
    renewable: bool
    seconds: float
    began: float
    renew_at: float
    ends: float
    uses: int = 0

    def serves(self, now: float) -> bool:
        """Whether a login may still begin with it."""
        return self.ends - now > self.seconds / 3

    def used(self) -> Callable[[], None]:
        """One use more; what ends it counts once."""
        self.uses += 1
        is_over = False

        def end() -> None:
            nonlocal is_over
            if not is_over:
                is_over, self.uses = True, self.uses - 1

        return end


class LeasedRole:
    """A source of logins: ``role`` of the database engine at ``mount``."""

    def __init__(self, client: VaultClient, mount: str, role: str, clock: Clock) -> None:
        self._client, self._mount, self._role, self._clock = client, mount, role, clock
        self._current: _Lease | None = None
        self._leases: list[_Lease] = []  # every one that Vault has
        self._lock = asyncio.Lock()

    async def read(self) -> Credential:
        """Raises CredentialError."""
        async with self._lock:
            now, lease = self._clock.monotonic(), self._current
            if lease is None or not self._may_begin(lease, now):
                try:
                    lease = self._current = await self._new(now)
                except ManagerUnavailableError as error:
                    if lease is None or now >= self._ends(lease):
                        raise
                    _log.warning("a lease near its end is used", role=self._role, reason=str(error))
            return Credential(lease.secret, lease.user, lease.used(), partial(self._serves, lease))

    def _serves(self, lease: _Lease) -> bool:
        return lease is self._current and self._may_begin(lease, self._clock.monotonic())

    def _may_begin(self, lease: _Lease, now: float) -> bool:
        """Whether a login may: Vault revokes a lease with the token that it was made by, however
        often the lease itself was renewed.
        """
        return lease.serves(now) and self._client.holds(lease.token)

    def _ends(self, lease: _Lease) -> float:
        return lease.ends if self._client.holds(lease.token) else min(lease.ends, lease.token.ends)

    def replaces(self, refused: Credential) -> bool:
        """See :class:`~sallyport.targets.secret_source.SecretSource`: somebody revoked it there."""
        lease = self._current
        if lease is None or lease.user != refused.user:
            return True
        if self._clock.monotonic() - lease.began < PAUSE:
            return False
        self._current = None
        return True

    async def keep(self) -> float:
        """See :class:`~sallyport.targets.secret_source.ManagedSource`."""
        wait = 60.0
        for lease in list(self._leases):
            now = self._clock.monotonic()
            if now >= self._ends(lease):
                self._leases.remove(lease)
                if lease.uses:
                    _log.error("a lease ended under its sessions", role=self._role, user=lease.user)
                continue
            if not lease.uses and lease is not self._current:
                await self._revoke(lease)
            elif lease.renewable and now >= lease.renew_at:
                await self._renew(lease, now)
            due = lease.renew_at if lease.renewable else lease.ends
            wait = min(wait, due - now, self._ends(lease) - now)
        return max(1.0, wait)

    async def close(self) -> None:
        """Revoke everything: the sessions are over."""
        self._current = None
        for lease in list(self._leases):
            await self._revoke(lease)

    async def _new(self, now: float) -> _Lease:
        path = f"{self._mount}/creds/{self._role}"
        answer, token = await self._client.leased("GET", path)
        user, secret = login_of(answer, f"{{vault: {path}}}")
        seconds, id_ = duration(answer.get("lease_duration")), answer.get("lease_id")
        if not seconds or not isinstance(id_, str):
            raise CredentialError(f"{{vault: {path}}}: it came without a lease")
        renewable = answer.get("renewable") is True
        half, ends = now + seconds / 2, now + seconds
        lease = _Lease(token, id_, user, secret, renewable, seconds, now, half, ends)
        self._leases.append(lease)
        _log.info("leased a role", role=self._role, user=user, seconds=seconds)
        return lease

    async def _renew(self, lease: _Lease, now: float) -> None:
        body = {"lease_id": lease.id, "increment": int(lease.seconds)}
        try:
            answer = await self._client.request("PUT", "sys/leases/renew", body)
        except ManagerUnavailableError as error:
            lease.renew_at = now + min(_RETRY, lease.seconds / 10)
            _log.warning("a lease was not renewed", role=self._role, reason=str(error))
            return
        except CredentialError as error:
            lease.renewable = False
            if lease is self._current:
                self._current = None
            _log.error("a lease cannot be renewed", role=self._role, reason=str(error))
            return
        seconds = duration(answer.get("lease_duration"))
        lease.ends, lease.renew_at = now + seconds, now + seconds / 2
        if not lease.serves(now):  # its max_ttl is near
            lease.renewable = False
            _log.info("a lease ends soon", role=self._role, user=lease.user, seconds=seconds)

    async def _revoke(self, lease: _Lease) -> None:
        if lease in self._leases:
            self._leases.remove(lease)
        try:
            await self._client.request("PUT", "sys/leases/revoke", {"lease_id": lease.id})
        except CredentialError as error:
            _log.warning("a lease was not revoked; it ends by itself", reason=str(error))


class StaticRole:
    """A source of logins: a ``role`` whose password Vault rotates. ``fresh``: seconds that one is
    kept, and never beyond its rotation.
    """

    def __init__(
        self,
        client: VaultClient,
        mount: str,
        role: str,
        clock: Clock,
        fresh: float,
    ) -> None:
        self._client, self._path, self._clock = client, f"{mount}/static-creds/{role}", clock
        self._fresh = fresh
        self._credential: Credential | None = None
        self._read_at = self._until = -math.inf
        self._lock = asyncio.Lock()

    async def read(self) -> Credential:
        """Raises CredentialError."""
        async with self._lock:
            now = self._clock.monotonic()
            if self._credential is not None and now < self._until:
                return self._credential
            answer = await self._client.request("GET", self._path)
            user, secret = login_of(answer, f"{{vault: {self._path}}}")
            data = answer.get("data")
            ttl = duration(data.get("ttl")) if isinstance(data, dict) else 0.0
            self._read_at, self._until = now, now + max(PAUSE, min(self._fresh, ttl))
            self._credential = Credential(secret, user)
            return self._credential

    def replaces(self, refused: Credential) -> bool:
        """See :class:`~sallyport.targets.secret_source.SecretSource`."""
        if refused is not self._credential:
            return True
        is_kept = self._clock.monotonic() - self._read_at >= PAUSE
        if is_kept:
            self._until = -math.inf
        return is_kept

    async def keep(self) -> float:
        """Nothing has to be renewed."""
        return math.inf

    async def close(self) -> None:
        """Nothing was taken."""


def login_of(answer: dict[str, Any], name: str) -> tuple[str, Secret]:
    """User and password of an answer of the database engine. Raises CredentialError."""
    data = answer.get("data")
    values = data if isinstance(data, dict) else {}
    user, password = values.get("username"), values.get("password")
    if not isinstance(user, str) or not isinstance(password, str) or not user or "\0" in user:
        do = "is this the database engine?"
        raise CredentialError(f"{name}: it has no username and password; {do}")
    return user, secret_text(password, "", name)
