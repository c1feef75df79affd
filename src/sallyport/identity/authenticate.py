"""The one way in: from a token to a :class:`~sallyport.core.subject.Subject`, for every entrance
(wire, web, MCP, CLI).

:meth:`Authenticator.authenticate` returns a subject whose token an issuer of the configuration
signed for this gateway, or raises :class:`LoginRefused`; there is no third outcome. Until the
signature has held, a refusal says only that the token is not valid here: nobody learns from
guesses. After that the owner is told what is wrong with it. The log says more in both cases, and
neither log, refusal, exception nor traceback frame above :meth:`~Authenticator.authenticate` holds
the token.

Each kind of token has a :class:`~sallyport.identity.verifier.Verifier`; here is what holds for all
of them: failures are bounded and logged, locks are asked.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import structlog

from sallyport.core.clock import Clock, SystemClock
from sallyport.core.counts import Counts
from sallyport.core.errors import Refusal, RefusedError, refuse
from sallyport.core.rate_limit import RateLimit
from sallyport.core.secret import Secret
from sallyport.core.subject import Subject
from sallyport.identity.failures import FailedLogins
from sallyport.identity.locks import Lock, Locks
from sallyport.identity.oidc.fetch import ClientFactory, default_client
from sallyport.identity.oidc.keys import CacheLimits
from sallyport.identity.oidc.verifier import JwtVerifier
from sallyport.identity.problems import IdentityProblem, printable, shown_label
from sallyport.identity.session_tokens import PREFIX, SessionTokens
from sallyport.identity.settings import IssuerSettings
from sallyport.identity.verifier import Verifier

__all__ = ["Authenticator", "IssuerSettings", "LockedError", "LoginRefused"]

_log = structlog.get_logger("sallyport.identity")

_VAGUE = "not a valid token for this gateway"
_VAGUE_HINT = (
    "As the password, send an access token (a JWT) from an issuer that this gateway trusts. Get a "
    "fresh one and connect again. If that fails too, tell the gateway's operator: the log has the "
    "reason."
)


class LoginRefused(RefusedError):
    """SP1601, SQLSTATE 28P01. ``refusal`` is what the client may see; ``reason`` is for logs,
    metrics and the record, ``whose`` with it: issuer, subject and audience as a signed token says
    them. Nothing has token text.
    """

    def __init__(
        self, refusal: Refusal, reason: str, whose: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        super().__init__(refusal)
        self.reason, self.whose = reason, whose


class LockedError(LoginRefused):
    """SP1608, SQLSTATE 28000: the token is good, but its ``subject`` or agent is locked.
    ``is_excessive``: its address failed too often in this minute, so it is neither logged nor
    recorded.
    """

    def __init__(self, lock: Lock, subject: Subject, *, is_excessive: bool = False) -> None:
        super().__init__(lock.refusal(), f"locked ({lock.id})")
        self.lock, self.subject, self.is_excessive = lock, subject, is_excessive


class Authenticator:
    """Checks tokens of every kind. For one event loop.

    issuers, client_factory, limits, remembered, required_claims, only_id_tokens: of the
    :class:`JwtVerifier`, which is asked last. verifiers: of other kinds of tokens, asked first.
    Raises ConfigError. failures_per_minute: refused tokens of one address that are told why, and
    logged. counts: of all processes of the gateway.
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
        verifiers: Sequence[Verifier] = (),
        session_tokens: SessionTokens | None = None,
        counts: Counts | None = None,
    ) -> None:
        self.locks = locks
        self.session_tokens = session_tokens
        self._clock = clock or SystemClock()
        self._only_id_tokens = only_id_tokens
        counts = counts if counts is not None else Counts(slots=1024, now=self._clock.now)
        self._failures = FailedLogins(self._clock, failures_per_minute, counts)
        self._look_ups = RateLimit(self._clock, 20, 1.0)
        jwt = JwtVerifier(
            issuers,
            self._clock,
            client_factory,
            limits=limits,
            remembered=remembered,
            required_claims=required_claims,
            only_id_tokens=only_id_tokens,
        )
        self.verifiers: tuple[Verifier, ...] = (*verifiers, jwt)
        #: Issuers that left the configuration since: whatever was verified of them counts no more.
        self.retired: frozenset[str] = frozenset()

    async def authenticate(
        self,
        token: Secret,
        *,
        label: str,
        entrance: str,
        address: str = "",
        target: str | None = None,
        is_logged: bool = True,
    ) -> Subject:
        """Who sent ``token``. label: the client's own name for itself. entrance: wire, web, mcp or
        cli; for the log. address: the client's, for the bound on failures; "" for none. target:
        what is to be opened; None where that is not a target. A valid token passes that bound,
        except that of session tokens that this process has not seen yet 20 a second are looked up.
        is_logged: where it is valid, too; not for each request of a session that was logged.

        Raises LoginRefused (LockedError), RefusedError (SP1807). May wait for the store, and for
        the issuer (bounded by ``CacheLimits.timeout`` per document) when keys must be fetched.
        """
        outcome = await self._verify(token, label, address, target)
        return self.admit(
            outcome, label=label, entrance=entrance, address=address, is_logged=is_logged
        )

    def admit(
        self,
        outcome: Subject | IdentityProblem,
        *,
        label: str,
        entrance: str,
        address: str = "",
        is_logged: bool = True,
    ) -> Subject:
        """What :meth:`authenticate` does once it is known whose identity was shown, and how: for
        identities that are no bearer tokens. Raises LoginRefused (LockedError).
        """
        if isinstance(outcome, Subject) and outcome.issuer in self.retired:
            outcome = IdentityProblem(_retired(outcome))
        if isinstance(outcome, Subject):
            self.refuse_locked(outcome, entrance=entrance, address=address)
            if is_logged:
                _log_login(outcome, entrance)
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
            label=shown_label(label),
            reason=outcome.reason,
            **outcome.whose,
        )
        refusal = refuse(
            "SP1601",
            outcome.message or _VAGUE,
            hint=outcome.hint or ("" if outcome.message else _VAGUE_HINT),
        )
        raise LoginRefused(refusal, outcome.reason, outcome.whose)

    def refuse_locked(self, subject: Subject, *, entrance: str, address: str = "") -> None:
        """Raises LockedError, or LoginRefused (SP1610) for a session token that was revoked. Asked
        again where time passes between a login's check and its session. ``address``: where it
        counts as a failure, so that whoever is locked cannot fill the log and the record.
        """
        # An ID token's azp names the console's own client: locking an agent does not lock people
        # out of it.
        lock = (
            self.locks.of(subject, agents=not self._only_id_tokens)
            if self.locks is not None
            else None
        )
        if lock is None:
            tokens = self.session_tokens
            if subject.token_id and (tokens is None or not tokens.holds(subject.token_id)):
                raise LoginRefused(
                    refuse("SP1610", "the session token was revoked", hint="Get a fresh token."),
                    f"revoked ({subject.token_id})",
                )
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

    def refuse_retired(self, subject: Subject) -> None:
        """Raises LoginRefused when its issuer left the configuration. Asked again as
        :meth:`refuse_locked` is.
        """
        if subject.issuer in self.retired:
            raise LoginRefused(refuse("SP1601", _VAGUE, hint=_VAGUE_HINT), _retired(subject))

    async def probe(self) -> Mapping[str, str]:
        """Try what every issuer's tokens are verified with: what is wrong, by issuer ("" when
        nothing is). For start-up checks; never raises for it.
        """
        problems: dict[str, str] = {}
        for verifier in self.verifiers:
            problems |= await verifier.probe()
        return problems

    @property
    def issuers(self) -> Collection[str]:
        """Whose tokens are accepted."""
        return tuple(issuer for issuer in self.configured if issuer not in self.retired)

    @property
    def configured(self) -> Collection[str]:
        """Whose tokens were accepted when the gateway started."""
        return tuple(issuer for verifier in self.verifiers for issuer in verifier.issuers)

    def failures(self) -> Mapping[str, tuple[int, str]]:
        """By issuer: how many fetches of its keys failed, and why the last one did ("" when it
        did not).
        """
        failures: dict[str, tuple[int, str]] = {}
        for verifier in self.verifiers:
            failures |= verifier.failures()
        return failures

    async def close(self) -> None:
        """Stop fetching and forget every token."""
        for verifier in self.verifiers:
            await verifier.close()

    async def _verify(
        self, token: Secret, label: str, address: str, target: str | None
    ) -> Subject | IdentityProblem:
        text = token.reveal()
        if text.startswith(PREFIX):
            return await self._verify_session_token(text, label, address, target)
        verifier = next(verifier for verifier in self.verifiers if verifier.accepts(text))
        return await verifier.verify(token, label)

    async def _verify_session_token(
        self, text: str, label: str, address: str, target: str | None
    ) -> Subject | IdentityProblem:
        """What the configuration asks of the identity is asked again: it may have changed since the
        exchange.
        """
        if self.session_tokens is None:
            return IdentityProblem("session tokens are not accepted here")
        if self.session_tokens.needs_look(text):
            if address and self._failures.exceeded(address):
                # A valid token passes even then; what strangers can make the store do is bounded.
                if self._look_ups.exceeded(""):
                    return IdentityProblem("a session token that this process does not know")
                self._look_ups.count("")
            await self.session_tokens.look_up(text)
        subject = self.session_tokens.verify(text, address, target)
        if isinstance(subject, IdentityProblem):
            return subject
        return self.still_accepted(subject) or replace(subject, label=shown_label(label))

    def still_accepted(self, subject: Subject) -> IdentityProblem | None:
        """What the configuration in force has against a subject that was verified earlier, or
        elsewhere; None: nothing.
        """
        if subject.issuer in self.retired:
            return IdentityProblem(_retired(subject))
        verifier = next((v for v in self.verifiers if subject.issuer in v.issuers), None)
        if verifier is None:
            return IdentityProblem(
                f"unknown issuer {printable(subject.issuer, 200)} of a verified identity"
            )
        return verifier.still_accepted(subject)


def _log_login(subject: Subject, entrance: str) -> None:
    _log.info(
        "login",
        entrance=entrance,
        label=subject.label,
        issuer=subject.issuer,
        subject=subject.id,
        agent=subject.agent,
        groups=sorted(subject.groups),
    )


def _retired(subject: Subject) -> str:
    return f"the issuer {printable(subject.issuer, 200)} left the configuration"
