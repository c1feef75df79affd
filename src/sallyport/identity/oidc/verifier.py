"""JWTs of OIDC issuers: the :class:`~sallyport.identity.verifier.Verifier` of access tokens and ID
tokens.

A verified token is remembered by its SHA-256 until it runs out, so that connection pools reconnect
cheaply; what is remembered is forgotten as soon as the issuer no longer publishes the key that
signed it.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sallyport.core.clock import Clock
from sallyport.core.errors import ConfigError
from sallyport.core.secret import Secret
from sallyport.core.subject import Subject
from sallyport.identity.claims import require_problem
from sallyport.identity.oidc.fetch import ClientFactory, default_client
from sallyport.identity.oidc.jwt import (
    ParsedToken,
    audience_problem,
    parse,
    party_problem,
    signature_is_valid,
    time_problem,
)
from sallyport.identity.oidc.keys import CacheLimits, KeySource, KeysUnavailableError
from sallyport.identity.oidc.presets import preset_problem
from sallyport.identity.problems import IdentityProblem, printable, shown_label
from sallyport.identity.settings import IssuerSettings
from sallyport.identity.subjects import required_problem, subject_of

_UNREACHABLE = "the identity provider cannot be reached, so the token cannot be checked"
_UNREACHABLE_HINT = "Try again in a minute. The gateway's log says what went wrong."


@dataclass(frozen=True, slots=True)
class _Verified:
    subject: Subject
    thumbprint: str
    source: KeySource


class JwtVerifier:
    """For one event loop.

    issuers: each ``issuer`` once, else ConfigError. client_factory: makes the HTTP client for a key
    fetch. limits: of the key cache. remembered: how many verified tokens are kept. required_claims:
    claim name or path -> value or list of values; a token must have one of them, whoever its issuer
    is. only_id_tokens: every token is an ID token of the client that is the issuer's audience, as
    at the console's sign-in.
    """

    def __init__(
        self,
        issuers: Sequence[IssuerSettings],
        clock: Clock,
        client_factory: ClientFactory = default_client,
        *,
        limits: CacheLimits | None = None,
        remembered: int = 4096,
        required_claims: Mapping[str, Any] | None = None,
        only_id_tokens: bool = False,
    ) -> None:
        self._clock = clock
        self._remembered = remembered
        self._required = dict(required_claims or {})
        self._only_id_tokens = only_id_tokens
        self._verified: OrderedDict[bytes, _Verified] = OrderedDict()
        self.sources: dict[str, KeySource] = {}
        for settings in issuers:
            if settings.issuer in self.sources:
                raise ConfigError(
                    f"identity.oidc lists the issuer {settings.issuer!r} twice: keep one entry"
                )
            self.sources[settings.issuer] = KeySource(settings, self._clock, client_factory, limits)

    @property
    def issuers(self) -> Collection[str]:
        return tuple(self.sources)

    def accepts(self, token: str) -> bool:
        """Anything: it is asked last, and says why something is no JWT."""
        return True

    async def probe(self) -> Mapping[str, str]:
        """Fetches every issuer's keys now."""
        problems: dict[str, str] = {}
        for name, source in self.sources.items():
            try:
                await source.current()
                problems[name] = ""
            except KeysUnavailableError as error:
                problems[name] = str(error)
        return problems

    def failures(self) -> Mapping[str, tuple[int, str]]:
        return {name: (source.failures, source.error) for name, source in self.sources.items()}

    async def close(self) -> None:
        self._verified.clear()
        for source in self.sources.values():
            await source.close()

    async def verify(self, token: Secret, label: str) -> Subject | IdentityProblem:
        """The subject of a token that one of the issuers signed for this gateway."""
        text = token.reveal()
        if not text.isascii():
            return IdentityProblem("not ASCII")
        digest = hashlib.sha256(text.encode("ascii")).digest()
        verified = self._verified.get(digest)
        if verified is not None and await self._still_good(digest, verified):
            return await self._looked_up(verified, token, label)
        parsed = parse(text)
        if isinstance(parsed, IdentityProblem):
            return parsed
        outcome = await self._verify(parsed, label)
        if isinstance(outcome, IdentityProblem):
            return outcome
        self._remember(digest, outcome)
        return await self._looked_up(outcome, token, label)

    def still_accepted(self, subject: Subject) -> IdentityProblem | None:
        """The claims that the configuration requires; not whether its token is still valid."""
        source = self.sources.get(subject.issuer)
        if source is None:
            return IdentityProblem(f"unknown issuer {printable(subject.issuer, 200)}")
        return required_problem(subject.claims, self._required) or require_problem(
            subject.claims, source.settings.require
        )

    async def _looked_up(
        self, verified: _Verified, token: Secret, label: str
    ) -> Subject | IdentityProblem:
        subject = replace(verified.subject, label=shown_label(label))
        lookup = verified.source.settings.lookup
        return subject if lookup is None else await lookup.complete(subject, token)

    async def _still_good(self, digest: bytes, verified: _Verified) -> bool:
        try:
            trusted = verified.thumbprint in (await verified.source.current()).thumbprints
        except KeysUnavailableError:
            trusted = False
        if trusted and self._clock.now() < verified.subject.expires_at:
            if digest in self._verified:
                self._verified.move_to_end(digest)
            return True
        self._verified.pop(digest, None)
        return False

    def _remember(self, digest: bytes, verified: _Verified) -> None:
        self._verified[digest] = verified
        while len(self._verified) > self._remembered:
            self._verified.popitem(last=False)

    async def _verify(self, parsed: ParsedToken, label: str) -> _Verified | IdentityProblem:
        source = self.sources.get(parsed.issuer)
        if source is None:
            return IdentityProblem(f"unknown issuer {printable(parsed.issuer, 200)}")
        settings = source.settings
        if parsed.algorithm not in settings.algorithms:
            return IdentityProblem(f"algorithm {printable(parsed.algorithm, 16)} is not accepted")
        try:
            ring = await source.having(parsed.kid)
        except KeysUnavailableError as error:
            return IdentityProblem(
                f"issuer {settings.issuer}: {error}", _UNREACHABLE, _UNREACHABLE_HINT
            )
        key = ring.find(parsed.algorithm, parsed.kid)
        if key is None:
            kid = "none" if parsed.kid is None else printable(parsed.kid, 64)
            return IdentityProblem(
                f"issuer {settings.issuer} has not exactly one key for {parsed.algorithm}, kid"
                f" {kid}"
            )
        if not signature_is_valid(parsed, key.key):
            return IdentityProblem(f"issuer {settings.issuer}: the signature is wrong")
        outcome = self._accept(parsed, source, key.thumbprint, label)
        return (
            replace(outcome, whose=_whose(parsed.claims))
            if isinstance(outcome, IdentityProblem)
            else outcome
        )

    def _accept(
        self, parsed: ParsedToken, source: KeySource, thumbprint: str, label: str
    ) -> _Verified | IdentityProblem:
        settings = source.settings
        claims = parsed.claims
        problem = (
            audience_problem(claims, settings)
            or party_problem(claims, settings, self._only_id_tokens)
            or time_problem(claims, settings, self._clock.now())
            or preset_problem(settings.provider, claims)
            or required_problem(claims, self._required)
            or require_problem(claims, settings.require)
        )
        if problem is not None:
            return problem
        subject = subject_of(claims, settings, label)
        if isinstance(subject, IdentityProblem):
            return subject
        return _Verified(subject, thumbprint, source)


def _whose(claims: Mapping[str, Any]) -> dict[str, str]:
    """Of a token whose signature held, for the log: what tells the operator which one it was."""
    audience = claims.get("aud")
    shown = ", ".join(map(str, audience)) if isinstance(audience, list) else str(audience or "")
    return {
        "issuer": printable(str(claims.get("iss", "")), 200),
        "subject": printable(str(claims.get("sub", "")), 200),
        "audience": printable(shown, 200),
    }
