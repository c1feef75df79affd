"""A SAML identity provider, as the console and the exchange of responses use it.

Also the :class:`~sallyport.identity.verifier.Verifier` of session tokens that were given to its
people: no password is a SAML response.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import structlog

from sallyport.core.clock import Clock
from sallyport.core.secret import Secret
from sallyport.core.subject import Subject
from sallyport.identity.claims import require_problem
from sallyport.identity.problems import IdentityProblem
from sallyport.identity.saml.metadata import MetadataSource, descriptor
from sallyport.identity.saml.replay import UsedAssertions
from sallyport.identity.saml.request import SamlRequest, authn_request
from sallyport.identity.saml.response import ResponseCheck
from sallyport.identity.saml.settings import SamlSettings
from sallyport.identity.saml.xml import SamlError
from sallyport.identity.subjects import required_problem

_log = structlog.get_logger("sallyport.identity")


class SamlProvider:
    """For one event loop. ``used``: shared by all providers of a process, each of which there is
    once. ``required_claims``: attributes that whoever opens the gateway must have, as for
    :class:`~sallyport.identity.oidc.verifier.JwtVerifier`.
    """

    def __init__(
        self,
        settings: SamlSettings,
        clock: Clock,
        used: UsedAssertions,
        required_claims: Mapping[str, Any] | None = None,
    ) -> None:
        self.settings, self._clock, self._used = settings, clock, used
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
        second time it is refused. Never raises for a bad response.
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
            return check.subject(response, request_id, label)
        except SamlError as error:
            _log.warning("saml_response_refused", provider=self.settings.name, reason=str(error))
            return IdentityProblem(str(error), "the identity provider's response was refused")

    @property
    def issuers(self) -> Collection[str]:
        return (self.settings.entity_id,)

    def accepts(self, token: str) -> bool:
        """Nothing: a response is exchanged for a session token first."""
        return False

    async def verify(self, token: Secret, label: str) -> Subject | IdentityProblem:
        return IdentityProblem("a SAML response is not accepted as a password")

    def still_accepted(self, subject: Subject) -> IdentityProblem | None:
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
        """Our metadata, as XML."""
        return descriptor(self.settings)
