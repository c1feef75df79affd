"""The signing keys of one OIDC issuer: found by discovery, cached, refreshed, and let go.

Sources: OpenID Connect Discovery 1.0 sections 3 and 4, RFC 7517 (JWK).

- First use fetches; logins share one fetch, and ``max_waiting`` at most wait for it: the next ones
  are refused at once, so that a slow issuer does not keep those of others out. Start-up needs no
  issuer.
- A set is fresh for its Cache-Control max-age within bounds; in the last fifth of that time a login
  starts a refresh in the background and does not wait for it.
- A ``kid`` that is not in the set is reason for one fetch, at most every ``min_interval`` seconds
  however many ask.
- While the issuer cannot be reached, the last set keeps serving for ``max_stale`` seconds after it
  ran out; then :class:`KeysUnavailableError`. After a failure the next try comes no sooner than
  ``retry_interval``, and nobody who can be served from the cache waits for it.
- Keys that cannot be used (symmetric, for encryption, RSA under 2048 bits, unknown, damaged) are
  left out; private parts that an issuer publishes by accident are not kept.
"""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from joserfc.errors import JoseError, SecurityWarning
from joserfc.jwk import ECKey, OKPKey, RSAKey

from sallyport.core.clock import Clock
from sallyport.identity.oidc.discovery import discover
from sallyport.identity.oidc.fetch import (
    ClientFactory,
    Document,
    FetchError,
    default_client,
    fetch_json,
)
from sallyport.identity.oidc.jwt import PublicKey, json_object, key_fits
from sallyport.identity.settings import MAX_RSA_BITS, MIN_RSA_BITS, IssuerSettings

_log = structlog.get_logger("sallyport.identity")


class KeysUnavailableError(Exception):
    """No usable keys of this issuer can be had now. The text is for the log."""


@dataclass(frozen=True, slots=True)
class CacheLimits:
    """Seconds, but for ``max_bytes`` (per document), ``max_keys`` (per set) and ``max_waiting``:
    logins that wait for one fetch. A slow issuer must not hold those of others.
    """

    default_ttl: float = 600.0
    min_ttl: float = 60.0
    max_ttl: float = 3600.0
    max_stale: float = 14_400.0
    min_interval: float = 10.0
    retry_interval: float = 5.0
    timeout: float = 5.0
    max_bytes: int = 262_144
    max_keys: int = 100
    max_waiting: int = 100


@dataclass(frozen=True, slots=True)
class SigningKey:
    """One public key. thumbprint: RFC 7638, the same for the same key whatever it is called."""

    kid: str | None
    thumbprint: str
    key: PublicKey


@dataclass(frozen=True, slots=True)
class KeyRing:
    """The keys of an issuer at one moment."""

    keys: tuple[SigningKey, ...]
    thumbprints: frozenset[str]

    def find(self, algorithm: str, kid: str | None) -> SigningKey | None:
        """The one key that fits; None when there is none or more than one."""
        fitting = [
            key for key in self.keys if kid in (None, key.kid) and key_fits(key.key, algorithm)
        ]
        return fitting[0] if len(fitting) == 1 else None

    def knows(self, kid: str | None) -> bool:
        return kid is None or any(key.kid == kid for key in self.keys)


class KeySource:
    """Keeps one issuer's :class:`KeyRing`. For one event loop; ``close`` ends a fetch in flight."""

    def __init__(
        self,
        settings: IssuerSettings,
        clock: Clock,
        client_factory: ClientFactory = default_client,
        limits: CacheLimits | None = None,
    ) -> None:
        self.settings = settings
        self.fetches = self.failures = 0
        self._clock = clock
        self._client_factory = client_factory
        self._limits = limits or CacheLimits()
        self._ring: KeyRing | None = None
        self._refresh_after = self._fresh_until = 0.0
        self._last_start: float | None = None
        self._last_failure: float | None = None
        self._error = ""
        self._flight: asyncio.Task[None] | None = None
        self._waiting = 0

    @property
    def error(self) -> str:
        """Why the last fetch failed; "" when it did not, or none was made."""
        return self._error

    async def current(self) -> KeyRing:
        """The keys to use now. Raises KeysUnavailableError."""
        now = self._clock.monotonic()
        if self._ring is not None and now < self._fresh_until:
            if now >= self._refresh_after and self._may_retry():
                self._start()
            return self._ring
        may_fetch = self._flight is not None or self._may_retry()
        if self._ring is not None and self._last_failure is not None and not self._too_old():
            # A known outage: keep trying, but nobody waits for a server that does not answer.
            if may_fetch:
                self._start()
            return self._ring
        if may_fetch:
            await self._fetched()
        return self._usable()

    async def having(self, kid: str | None) -> KeyRing:
        """The keys, fetched again first when ``kid`` is not among them and the rate limit allows.
        Raises KeysUnavailableError.
        """
        ring = await self.current()
        if ring.knows(kid) or not (self._flight is not None or self._interval_passed()):
            return ring
        await self._fetched()
        return self._usable()

    async def close(self) -> None:
        if self._flight is not None:
            self._flight.cancel()
            await asyncio.wait([self._flight])

    def _usable(self) -> KeyRing:
        if self._ring is None:
            raise KeysUnavailableError(self._error or "the keys have not been fetched")
        if self._too_old():
            raise KeysUnavailableError(f"the keys are too old: {self._error}")
        return self._ring

    def _too_old(self) -> bool:
        return self._clock.monotonic() >= self._fresh_until + self._limits.max_stale

    def _interval_passed(self) -> bool:
        return (
            self._last_start is None
            or self._clock.monotonic() - self._last_start >= self._limits.min_interval
        )

    def _may_retry(self) -> bool:
        failed = self._last_failure
        return failed is None or self._clock.monotonic() - failed >= self._limits.retry_interval

    def _start(self) -> asyncio.Task[None]:
        if self._flight is None:
            self._last_start = self._clock.monotonic()
            self._flight = asyncio.get_running_loop().create_task(self._refresh())
        return self._flight

    async def _fetched(self) -> None:
        if self._waiting >= self._limits.max_waiting:
            raise KeysUnavailableError(f"{self._waiting} logins wait for its keys already")
        self._waiting += 1
        try:
            # Shielded: a login that is cancelled must not take the keys away from the others that
            # wait.
            await asyncio.shield(self._start())
        finally:
            self._waiting -= 1

    async def _refresh(self) -> None:
        try:
            ring, ttl = await self._load()
        except FetchError as error:
            self._failed(str(error))
        except BaseException:
            self._failed("the fetch was interrupted")
            raise
        else:
            now = self._clock.monotonic()
            self._ring, self._last_failure, self._error = ring, None, ""
            self._fresh_until, self._refresh_after = now + ttl, now + ttl * 0.8
        finally:
            self._flight = None

    def _failed(self, why: str) -> None:
        self.failures += 1
        self._error, self._last_failure = why, self._clock.monotonic()
        _log.warning(
            "issuer_keys_unavailable",
            issuer=self.settings.issuer,
            error=why,
            cached=self._ring is not None,
        )

    async def _load(self) -> tuple[KeyRing, float]:
        limits, settings, self.fetches = self._limits, self.settings, self.fetches + 1
        if settings.jwks_file:
            document, url = (
                await asyncio.to_thread(_read_keys, settings.jwks_file, limits.max_bytes),
                settings.jwks_file,
            )
        else:
            # Reading the system's CAs takes milliseconds in which no session would move.
            async with await asyncio.to_thread(self._client_factory, settings) as client:
                url = settings.jwks_url
                if not url:
                    provider = await discover(
                        client, settings.issuer, timeout=limits.timeout, max_bytes=limits.max_bytes
                    )
                    url = provider.endpoint("jwks_uri")
                document = await fetch_json(
                    client, url, timeout=limits.timeout, max_bytes=limits.max_bytes
                )
        uses = {"sig", "jwt-svid"} if settings.provider == "spiffe" else {"sig"}
        ring = key_ring(document.value, settings.algorithms, limits.max_keys, uses)
        if not ring.keys:
            raise FetchError(f"{url} has no key that can check a signature")
        ttl = limits.default_ttl if document.max_age is None else document.max_age
        return ring, min(max(ttl, limits.min_ttl), limits.max_ttl)


def _read_keys(path: str, max_bytes: int) -> Document:
    try:
        with open(path, "rb") as file:
            data = file.read(max_bytes + 1)
    except OSError as error:
        raise FetchError(f"jwks_file {path} cannot be read: {error.strerror or error}") from None
    value = json_object(data) if len(data) <= max_bytes else None
    if value is None:
        raise FetchError(f"jwks_file {path} is not a JSON object of at most {max_bytes} bytes")
    return Document(value, None)


def key_ring(
    document: Mapping[str, Any],
    algorithms: Sequence[str],
    max_keys: int,
    uses: Collection[str] = ("sig",),
) -> KeyRing:
    """The usable keys of a JWK set. uses: accepted values of ``use`` (a missing one is accepted,
    too). Damaged and foreign entries are skipped. Raises FetchError for no set at all.
    """
    entries = document.get("keys")
    if not isinstance(entries, list):
        raise FetchError("the key set has no list of keys")
    if len(entries) > max_keys:
        raise FetchError(f"the key set has {len(entries)} keys, more than {max_keys}")
    keys: dict[tuple[str | None, str], SigningKey] = {}
    for entry in entries:
        key = _signing_key(entry, uses)
        if key is not None and any(key_fits(key.key, algorithm) for algorithm in algorithms):
            keys[key.kid, key.thumbprint] = key
    return KeyRing(tuple(keys.values()), frozenset(key.thumbprint for key in keys.values()))


_KINDS: dict[str, tuple[type[PublicKey], tuple[str, ...]]] = {
    "RSA": (RSAKey, ("n", "e")),
    "EC": (ECKey, ("crv", "x", "y")),
    "OKP": (OKPKey, ("crv", "x")),
}


def _signing_key(entry: object, uses: Collection[str]) -> SigningKey | None:
    if not isinstance(entry, dict) or ("use" in entry and entry["use"] not in tuple(uses)):
        return None
    kind = entry.get("kty")
    operations = entry.get("key_ops", ["verify"])
    if (
        not isinstance(kind, str)
        or kind not in _KINDS
        or not isinstance(operations, list)
        or "verify" not in operations
    ):
        return None
    key_type, fields = _KINDS[kind]
    public = {name: entry[name] for name in ("kty", *fields, "kid", "alg") if name in entry}
    if not all(isinstance(value, str) for value in public.values()):
        return None
    if kind == "OKP" and public.get("crv") not in ("Ed25519", "Ed448"):
        return None
    try:
        with warnings.catch_warnings():
            # small keys are refused below, not warned about
            warnings.simplefilter("ignore", SecurityWarning)
            key = key_type.import_key(public)
            thumbprint = key.thumbprint()
    except (JoseError, ValueError, TypeError, KeyError):
        return None
    if isinstance(key, RSAKey) and not MIN_RSA_BITS <= key.raw_value.key_size <= MAX_RSA_BITS:
        return None
    return SigningKey(public.get("kid"), thumbprint, key)
