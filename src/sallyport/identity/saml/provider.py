"""A SAML identity provider, as the console and the exchange of assertions use it."""

from __future__ import annotations

import structlog

from sallyport.core.clock import Clock
from sallyport.core.subject import Subject
from sallyport.identity.problems import Problem
from sallyport.identity.saml.metadata import MetadataSource, descriptor
from sallyport.identity.saml.replay import UsedAssertions
from sallyport.identity.saml.request import SamlRequest, authn_request
from sallyport.identity.saml.response import ResponseCheck
from sallyport.identity.saml.settings import SamlSettings
from sallyport.identity.saml.xml import SamlError

_log = structlog.get_logger("sallyport.identity")


class SamlProvider:
    """For one event loop. ``used``: shared by all providers of a process."""

    def __init__(self, settings: SamlSettings, clock: Clock, used: UsedAssertions) -> None:
        self.settings, self._clock, self._used = settings, clock, used
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
    ) -> Subject | Problem:
        """Whose response it is. response: base64, as the browser posted it. request_id: of our request; "" when there was none, which
        ``idp_initiated`` must allow. Uses the assertion: a second time it is refused. Never raises for a bad response.
        """
        try:
            metadata = await self.metadata.current()
        except SamlError as error:
            return Problem(
                str(error), "the identity provider's metadata cannot be had", "Try again in a minute."
            )
        check = ResponseCheck(self.settings, metadata.certificates, self._clock, self._used)
        try:
            # At most 256 kB of XML and two signatures: a few milliseconds.
            return check.subject(response, request_id, label)
        except SamlError as error:
            _log.warning("saml_response_refused", provider=self.settings.name, reason=str(error))
            return Problem(str(error), "the identity provider's response was refused")

    def descriptor(self) -> bytes:
        """Our metadata, as XML."""
        return descriptor(self.settings)
