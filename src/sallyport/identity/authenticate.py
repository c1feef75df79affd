"""The one way in: from a token to a :class:`~sallyport.core.subject.Subject`, for every entrance (wire, web,
MCP, CLI).

:meth:`Authenticator.authenticate` returns a subject whose token an issuer of the configuration signed for
this gateway, or raises :class:`LoginRefused`; there is no third outcome. Until the signature has held, a
refusal says only that the token is not valid here: nobody learns from guesses. After that the owner is told
what is wrong with it. The log says more in both cases, and neither log, refusal, exception nor traceback
frame above :meth:`~Authenticator.authenticate` holds the token.

A verified token is remembered by its SHA-256 until it runs out, so that connection pools reconnect cheaply;
what is remembered is forgotten as soon as the issuer no longer publishes the key that signed it.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import structlog

from sallyport.core.clock import Clock, SystemClock
from sallyport.core.errors import ConfigError, Refusal, RefusedError, refuse
from sallyport.core.secret import Secret
from sallyport.core.subject import Subject
from sallyport.identity.failures import FailedLogins
from sallyport.identity.fetch import ClientFactory, default_client
from sallyport.identity.jwt import (
    ParsedToken,
    Problem,
    audience_problem,
    parse,
    party_problem,
    printable,
    signature_is_valid,
    time_problem,
)
from sallyport.identity.locks import Lock, Locks
from sallyport.identity.oidc import CacheLimits, KeySource, KeysUnavailableError
from sallyport.identity.settings import IssuerSettings
from sallyport.identity.subjects import required_problem, subject_of

__all__ = ["Authenticator", "IssuerSettings", "LockedError", "LoginRefused"]

_log = structlog.get_logger("sallyport.identity")

_VAGUE = "not a valid token for this gateway"
_VAGUE_HINT = (
    "Send an access token (a JWT) from an issuer that this gateway trusts as the password. Get a fresh one "
    "and connect again; if that fails too, the gateway's operator finds the reason in its log."
)
_UNREACHABLE = "the identity provider cannot be reached, so the token cannot be checked"
_UNREACHABLE_HINT = "Try again in a minute. The gateway's log says what went wrong."


class LoginRefused(RefusedError):
    """SP1601, SQLSTATE 28P01. ``refusal`` is what the client may see; ``reason`` is for logs and metrics.
    Neither has token text.
    """

    def __init__(self, refusal: Refusal, reason: str) -> None:
        super().__init__(refusal)
        self.reason = reason


class LockedError(LoginRefused):
    """SP1608, SQLSTATE 28000: the token is good, but its ``subject`` or agent is locked. ``is_excessive``: its address
    failed too often in this minute, so it is neither logged nor recorded.
    """

    def __init__(self, lock: Lock, subject: Subject, *, is_excessive: bool = False) -> None:
        super().__init__(lock.refusal(), f"locked ({lock.id})")
        self.lock, self.subject, self.is_excessive = lock, subject, is_excessive


@dataclass(frozen=True, slots=True)
class _Verified:
    subject: Subject
    thumbprint: str
    source: KeySource


class Authenticator:
    """Checks tokens of the configured issuers. For one event loop.

    issuers: each ``issuer`` once, else ConfigError. client_factory: makes the HTTP client for a key fetch.
    limits: of the key cache. remembered: how many verified tokens are kept. required_claims: claim name
    or path -> value or list of values; a token must have one of them, whoever its issuer is. only_id_tokens:
    every token is an ID token of the client that is the issuer's audience, as at the console's sign-in.
    failures_per_minute: refused tokens of one address that are told why, and logged.
    """

    def __init__(
        self,
        issuers: Sequence[IssuerSettings],
        clock: Clock | None = None,
        client_factory: ClientFactory = default_client,
        *,
        limits: CacheLimits | None = None,
        remembered: int = 4096,
        required_claims: Mapping[str, Any] | None = None,
        only_id_tokens: bool = False,
        failures_per_minute: int = 30,
        locks: Locks | None = None,
    ) -> None:
        self.locks = locks
        self._clock = clock or SystemClock()
        self._remembered = remembered
        self._required = dict(required_claims or {})
        self._only_id_tokens = only_id_tokens
        self._failures = FailedLogins(self._clock, failures_per_minute)
        self._verified: OrderedDict[bytes, _Verified] = OrderedDict()
        self._sources: dict[str, KeySource] = {}
        for settings in issuers:
            if settings.issuer in self._sources:
                raise ConfigError(f"identity.oidc lists the issuer {settings.issuer!r} twice: keep one entry")
            self._sources[settings.issuer] = KeySource(settings, self._clock, client_factory, limits)

    async def authenticate(self, token: Secret, *, label: str, entrance: str, address: str = "") -> Subject:
        """Who sent ``token``. label: the client's own name for itself. entrance: wire, web, mcp or cli; for
        the log. address: the client's, for the bound on failures; "" for none. A valid token passes that bound.

        Raises LoginRefused (LockedError). May wait for the issuer (bounded by ``CacheLimits.timeout`` per document) when
        keys must be fetched.
        """
        outcome = await self._judge(token, label)
        if isinstance(outcome, Subject):
            self.refuse_locked(outcome, entrance=entrance, address=address)
            _log.info(
                "login",
                entrance=entrance,
                label=outcome.label,
                issuer=outcome.issuer,
                subject=outcome.id,
                agent=outcome.agent,
                groups=sorted(outcome.groups),
            )
            return outcome
        if address and self._failures.exceeded(address):
            self._failures.count(address)
            raise LoginRefused(self._failures.refusal(), "too many failed logins from this address")
        if address:
            self._failures.count(address)
        _log.warning(
            "login_refused",
            entrance=entrance,
            address=address,
            label=printable(label, 256),
            reason=outcome.reason,
            **outcome.whose,
        )
        refusal = refuse(
            "SP1601", outcome.message or _VAGUE, hint=outcome.hint or ("" if outcome.message else _VAGUE_HINT)
        )
        raise LoginRefused(refusal, outcome.reason)

    def refuse_locked(self, subject: Subject, *, entrance: str, address: str = "") -> None:
        """Raises LockedError. Asked again where time passes between a login's check and its session. ``address``: where
        it counts as a failure, so that whoever is locked cannot fill the log and the record.
        """
        # An ID token's azp names the console's own client: locking an agent does not lock people out of it.
        lock = self.locks.of(subject, agents=not self._only_id_tokens) if self.locks is not None else None
        if lock is None:
            return
        is_excessive = bool(address) and self._failures.exceeded(address)
        if address:
            self._failures.count(address)
        if is_excessive:
            raise LockedError(lock, subject, is_excessive=True)
        _log.warning(
            "login_refused",
            entrance=entrance,
            label=subject.label,
            reason=f"locked ({lock.id})",
            issuer=subject.issuer,
            subject=subject.id,
            agent=subject.agent,
        )
        raise LockedError(lock, subject)

    async def probe(self) -> Mapping[str, str]:
        """Fetch every issuer's keys now: what is wrong, by issuer ("" when nothing is). For start-up checks;
        never raises for it.
        """
        found: dict[str, str] = {}
        for name, source in self._sources.items():
            try:
                await source.current()
                found[name] = ""
            except KeysUnavailableError as error:
                found[name] = str(error)
        return found

    @property
    def issuers(self) -> Collection[str]:
        """Whose tokens are accepted."""
        return tuple(self._sources)

    def failures(self) -> Mapping[str, tuple[int, str]]:
        """By issuer: how many fetches of its keys failed, and why the last one did ("" when it
        did not).
        """
        return {name: (source.failures, source.error) for name, source in self._sources.items()}

    async def close(self) -> None:
        """Stop fetching and forget every token."""
        self._verified.clear()
        for source in self._sources.values():
            await source.close()

    async def _judge(self, token: Secret, label: str) -> Subject | Problem:
        text = token.reveal()
        if not text.isascii():
            return Problem("not ASCII")
        digest = hashlib.sha256(text.encode("ascii")).digest()
        known = self._verified.get(digest)
        if known is not None and await self._still_good(digest, known):
            return replace(known.subject, label=printable(label, 256))
        parsed = parse(text)
        if isinstance(parsed, Problem):
            return parsed
        outcome = await self._verify(parsed, label)
        if isinstance(outcome, Problem):
            return outcome
        self._remember(digest, outcome)
        return outcome.subject

    async def _still_good(self, digest: bytes, known: _Verified) -> bool:
        try:
            trusted = known.thumbprint in (await known.source.current()).thumbprints
        except KeysUnavailableError:
            trusted = False
        if trusted and self._clock.now() < known.subject.expires_at:
            if digest in self._verified:
                self._verified.move_to_end(digest)
            return True
        self._verified.pop(digest, None)
        return False

    def _remember(self, digest: bytes, verified: _Verified) -> None:
        self._verified[digest] = verified
        while len(self._verified) > self._remembered:
            self._verified.popitem(last=False)

    async def _verify(self, parsed: ParsedToken, label: str) -> _Verified | Problem:
        source = self._sources.get(parsed.issuer)
        if source is None:
            return Problem(f"unknown issuer {printable(parsed.issuer, 200)}")
        settings = source.settings
        if parsed.algorithm not in settings.algorithms:
            return Problem(f"algorithm {printable(parsed.algorithm, 16)} is not accepted")
        try:
            ring = await source.having(parsed.kid)
        except KeysUnavailableError as error:
            return Problem(f"issuer {settings.issuer}: {error}", _UNREACHABLE, _UNREACHABLE_HINT)
        key = ring.find(parsed.algorithm, parsed.kid)
        if key is None:
            kid = "none" if parsed.kid is None else printable(parsed.kid, 64)
            return Problem(
                f"issuer {settings.issuer} has not exactly one key for {parsed.algorithm}, kid {kid}"
            )
        if not signature_is_valid(parsed, key.key):
            return Problem(f"issuer {settings.issuer}: the signature is wrong")
        outcome = self._accept(parsed, source, key.thumbprint, label)
        return replace(outcome, whose=_whose(parsed.claims)) if isinstance(outcome, Problem) else outcome

    def _accept(
        self, parsed: ParsedToken, source: KeySource, thumbprint: str, label: str
    ) -> _Verified | Problem:
        settings = source.settings
        problem = (
            audience_problem(parsed.claims, settings)
            or party_problem(parsed.claims, settings, self._only_id_tokens)
            or time_problem(parsed.claims, settings, self._clock.now())
        )
        if problem is not None:
            return problem
        subject = subject_of(parsed.claims, settings, label)
        if isinstance(subject, Problem):
            return subject
        return required_problem(parsed.claims, self._required) or _Verified(subject, thumbprint, source)


def _whose(claims: Mapping[str, Any]) -> dict[str, str]:
    """Of a token whose signature held, for the log: what tells the operator which one it was."""
    audience = claims.get("aud")
    shown = ", ".join(map(str, audience)) if isinstance(audience, list) else str(audience or "")
    return {
        "issuer": printable(str(claims.get("iss", "")), 200),
        "subject": printable(str(claims.get("sub", "")), 200),
        "audience": printable(shown, 200),
    }
