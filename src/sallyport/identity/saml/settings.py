"""What an operator says about a SAML identity provider; checked once, then read-only."""

from __future__ import annotations

from dataclasses import dataclass, field

from cryptography.x509 import Certificate

from sallyport.core.cel import Expression
from sallyport.core.secret import Secret
from sallyport.identity.claims import ClaimMapping

#: ``name_id`` is the NameID of the assertion; everything else is an attribute by its Name.
DEFAULT_CLAIMS = ClaimMapping(subject=("name_id",), groups=("groups",), agent=(), actor=())


@dataclass(frozen=True, slots=True)
class SamlSettings:
    """One identity provider.

    name: in URLs of the console. entity_id: the provider's. metadata: URL (https, http on loopback)
    or path of a file. sp_entity_id, acs_url: ours. binding: of our requests, redirect | post.
    signed: what must be signed, either (response or assertion) | both. idp_initiated: whether a
    response may come without a request. certificate, key: PEM; for signing requests and decrypting
    assertions. clock_skew: seconds. session_seconds: how long a sign-in holds when the provider
    does not say. metadata_signers: who must have signed the provider's metadata; (): nobody.
    slo_url: ours, for single logout; "" where that is switched off.
    """

    name: str
    entity_id: str
    metadata: str
    sp_entity_id: str
    acs_url: str
    title: str = ""
    claims: ClaimMapping = DEFAULT_CLAIMS
    require: tuple[Expression, ...] = ()
    binding: str = "redirect"
    signed: str = "either"
    idp_initiated: bool = False
    certificate: str = ""
    key: Secret | None = field(default=None, repr=False)
    clock_skew: float = 60.0
    session_seconds: float = 8 * 3600.0
    ca_file: str = ""
    metadata_signers: tuple[Certificate, ...] = ()
    slo_url: str = ""

    @property
    def signs_out(self) -> bool:
        """Whether there is single logout, all messages of which are signed."""
        return bool(self.slo_url) and self.key is not None
