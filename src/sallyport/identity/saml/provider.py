"""A SAML identity provider, as the console and the exchange of responses use it.

Also the :class:`~sallyport.identity.verifier.Verifier` of session tokens that were given to its
people: no password is a SAML response.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import structlog

from sallyport.core.clock import Clock
from sallyport.core.errors import RefusedError
from sallyport.core.secret import Secret
from sallyport.core.subject import Subject
from sallyport.identity.claims import require_problem
from sallyport.identity.problems import IdentityProblem
from sallyport.identity.replay import MessageUse, UsedMessages
from sallyport.identity.saml.descriptor import descriptor
from sallyport.identity.saml.logout import (
    Carried,
    LogoutCheck,
    from_form,
    from_query,
)
from sallyport.identity.saml.metadata import MetadataSource
from sallyport.identity.saml.request import (
    SamlRequest,
    authn_request,
    logout_request,
    logout_response,
)
from sallyport.identity.saml.response import ResponseCheck
from sallyport.identity.saml.settings import SamlSettings
from sallyport.identity.saml.xml import SamlError
from sallyport.identity.single_logout import (
    EndedSession,
    EndedSessions,
    LogoutRequest,
    LogoutResponse,
    began_at,
    ended_session,
    name_of,
    session_indexes,
)
from sallyport.identity.subjects import required_problem

_log = structlog.get_logger("sallyport.identity")


class SamlProvider:
    """For one event loop. ``used``, ``ended``: shared by all providers of a process, each of which
    there is once. ``required_claims``: attributes that whoever opens the gateway must have, as for
    :class:`~sallyport.identity.oidc.verifier.JwtVerifier`.
    """

    def __init__(
        self,
        settings: SamlSettings,
        clock: Clock,
        used: UsedMessages,
        required_claims: Mapping[str, Any] | None = None,
        ended: EndedSessions | None = None,
    ) -> None:
        self.settings, self._clock, self._used = settings, clock, used
        self._ended = ended if ended is not None else EndedSessions(clock)
        self._required = dict(required_claims or {})
        self.metadata = MetadataSource(settings, clock)

    @property
    def name(self) -> str:
        return self.settings.name

    @property
    def title(self) -> str:
        """What its button says."""
        return self.settings.title or self.settings.name

    async def request(self, id_: str) -> SamlRequest:
        """Where a browser goes to sign in; the answer must name ``id_``. Raises SamlError."""
        return authn_request(self.settings, await self.metadata.current(), id_, self._clock.now())

    async def verify_response(
        self, response: str, request_id: str = "", *, label: str = ""
    ) -> Subject | IdentityProblem:
        """Whose response it is. response: base64, as the browser posted it. request_id: of our
        request; "" when there was none, which ``idp_initiated`` must allow. Uses the assertion: a
        second time it is refused, at every gateway of the store. Never raises for a bad response.
        """
        try:
            metadata = await self.metadata.current()
        except SamlError as error:
            return IdentityProblem(
                str(error),
                "the identity provider's metadata cannot be fetched",
                "Try again in a minute.",
            )
        check = ResponseCheck(self.settings, metadata.certificates, self._clock, self._used)
        try:
            # At most 256 kB of XML and two signatures: a few milliseconds.
            subject, use = check.subject(response, request_id, label)
            if not await self._used.use_everywhere(use):
                raise SamlError("the assertion was used before, at another gateway")
            if self._ended.covers(subject):
                raise SamlError("the provider has ended this session (single logout)")
            return subject
        except SamlError as error:
            _log.warning("saml_response_refused", provider=self.settings.name, reason=str(error))
            return IdentityProblem(str(error), "the identity provider's response was refused")
        except RefusedError as error:
            return IdentityProblem(
                f"whether the assertion was used before is not known: {error.refusal.message}",
                "the gateway's store cannot be reached",
                "Sign in again in a minute.",
            )

    # -- single logout ---------------------------------------------------------------------------

    @property
    def signs_out(self) -> bool:
        """Whether single logout is on: there is a key to sign its messages with."""
        return self.settings.signs_out

    def session_of(self, subject: Subject) -> EndedSession:
        """What is over when the subject signs out: the provider may have issued other assertions of
        that session meanwhile.
        """
        now = self._clock.now()
        until = now + self.settings.session_seconds + self.settings.clock_skew
        issuer, indexes = self.settings.entity_id, session_indexes(subject)
        at = max(now, began_at(subject))  # the provider's clock may be ahead
        return ended_session(issuer, name_of(subject), indexes, at, until)

    def end(self, ended: EndedSession) -> None:
        """Whoever came with that session is not accepted any more, in no process."""
        self._ended.end(ended)

    async def store_ended(self) -> bool:
        """Whether what was ended here is kept where processes find it that were away."""
        return await self._ended.store_all()

    def is_over(self, subject: Subject) -> bool:
        """Whether the session that the subject came with was ended."""
        return self._ended.covers(subject)

    async def logout_request(self, subject: Subject, id_: str) -> SamlRequest:
        """Where a browser goes to sign out at the provider; the answer must name ``id_``. Raises
        SamlError: the provider cannot be asked.
        """
        metadata, now = await self.metadata.current(), self._clock.now()
        return logout_request(self.settings, metadata, id_, subject, now)

    async def read_logout(
        self, query: str, form: Sequence[tuple[str, str]] | None
    ) -> LogoutRequest | LogoutResponse:
        """The provider's message, verified. query: as it came. form: None for a redirect. Uses a
        request. Raises SamlError, which is logged.
        """
        try:
            if not self.signs_out:
                raise SamlError("single logout is off: it needs 'certificate' and 'key'")
            carried: Carried = from_query(query) if form is None else from_form(form)
            metadata = await self.metadata.current()
            check = LogoutCheck(self.settings, metadata.certificates, self._clock, self._used)
            if not carried.is_request:
                return check.response(carried)
            request, use = check.request(carried)
            await self._refuse_used(use)
            return request
        except SamlError as error:
            _log.warning("saml_logout_refused", provider=self.settings.name, reason=str(error))
            raise

    async def _refuse_used(self, use: MessageUse) -> None:
        """Raises SamlError for a request that another gateway has used. While that is not known it
        counts: at worst it ends once more what it has ended.
        """
        try:
            is_new = await self._used.use_everywhere(use)
        except RefusedError:  # the store logs it
            return
        if not is_new:
            raise SamlError("the request was used before, at another gateway")

    async def logout_response(self, request: LogoutRequest, *, is_done: bool) -> SamlRequest:
        """Where a browser goes with our answer. Raises SamlError: it cannot be given."""
        return logout_response(
            self.settings,
            await self.metadata.current(),
            request.binding,
            request.id,
            is_done=is_done,
            relay_state=request.relay_state,
            now=self._clock.now(),
        )

    @property
    def issuers(self) -> Collection[str]:
        return (self.settings.entity_id,)

    def accepts(self, token: str) -> bool:
        """Nothing: a response is exchanged for a session token first."""
        return False

    async def verify(self, token: Secret, label: str) -> Subject | IdentityProblem:
        return IdentityProblem("a SAML response is not accepted as a password")

    def still_accepted(self, subject: Subject) -> IdentityProblem | None:
        if self._ended.covers(subject):
            return IdentityProblem(
                "single logout ended the session of the SAML provider",
                "you signed out at the identity provider, or from the console",
                "Sign in again.",
            )
        return required_problem(subject.claims, self._required) or require_problem(
            subject.claims, self.settings.require
        )

    async def probe(self) -> Mapping[str, str]:
        """Reads the metadata now."""
        try:
            await self.metadata.current()
        except SamlError as error:
            return {self.settings.entity_id: str(error)}
        return {self.settings.entity_id: ""}

    def failures(self) -> Mapping[str, tuple[int, str]]:
        return {self.settings.entity_id: (self.metadata.failures, self.metadata.error)}

    async def close(self) -> None:
        """Nothing is open between two calls."""

    def descriptor(self) -> bytes:
        """Our metadata, as XML. Raises SamlError."""
        return descriptor(self.settings)
