"""Identity providers as the configuration describes them, made into what :mod:`sallyport.identity`
works with.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from cryptography.x509 import Certificate, load_pem_x509_certificates
from sqlalchemy import Engine

from sallyport.config import Config, OidcIssuer, SecretRef
from sallyport.config.identity import CelSource, Claims, ClaimSources, SamlIdp
from sallyport.core.clock import Clock, SystemClock
from sallyport.core.errors import ConfigError
from sallyport.core.secret import Secret
from sallyport.identity.claims import ClaimMapping, Source, cel
from sallyport.identity.lookups import GoogleDirectory, TokenReview, directory_token
from sallyport.identity.oidc.discovery import discovery_url
from sallyport.identity.oidc.presets import presets
from sallyport.identity.settings import ALGORITHMS, IssuerSettings
from sallyport.identity.single_logout import EndedSessions
from sallyport.identity.verifier import Lookup
from sallyport.server.device_logins import DeviceFlowSettings, DeviceLogins
from sallyport.session.login.client import OAuthOffer
from sallyport.store.ended_sessions import SqlEndedSessionStore

if TYPE_CHECKING:
    from sallyport.identity.replay import UsedMessageStore
    from sallyport.identity.saml.provider import SamlProvider

#: Seconds for which an ended session stays in the store after it counts no more.
_KEEP_ENDED: Final = 86400.0


def _mapping(claims: Claims, default: ClaimMapping) -> ClaimMapping:
    """What is written, and the provider's default for the rest."""

    def sources(written: ClaimSources | None, otherwise: tuple[Source, ...]) -> tuple[Source, ...]:
        if written is None:
            return otherwise
        listed = written if isinstance(written, tuple) else (written,)
        return tuple(
            cel(source.cel) if isinstance(source, CelSource) else source for source in listed
        )

    return ClaimMapping(
        sources(claims.subject, default.subject),
        sources(claims.groups, default.groups),
        sources(claims.agent, default.agent),
        sources(claims.actor, default.actor),
    )


def issuer_settings(issuer: OidcIssuer) -> IssuerSettings:
    """Raises ConfigError."""
    provider = issuer.provider or ""
    return IssuerSettings(
        issuer=issuer.issuer,
        audience=issuer.audience,
        claims=_mapping(issuer.claims, presets()[provider].claims if provider else ClaimMapping()),
        require=tuple(cel(condition) for condition in issuer.require),
        provider=provider,
        algorithms=issuer.algorithms or ALGORITHMS,
        jwks_url=issuer.jwks_url,
        clock_skew=issuer.clock_skew,
        max_token_age=issuer.max_token_age,
        ca_file=issuer.ca or "",
        jwks_file=issuer.jwks_file or "",
        token_file=issuer.token_file or "",
        lookup=_lookup(issuer),
    )


def _lookup(issuer: OidcIssuer) -> Lookup | None:
    """What is asked about each token. Raises ConfigError."""
    if issuer.token_review:
        server = urlsplit(issuer.jwks_url)
        return TokenReview(
            f"{server.scheme}://{server.netloc}",
            issuer.audience,
            issuer.token_file or "",
            issuer.ca or "",
        )
    if issuer.directory is None:
        return None
    directory = issuer.directory
    try:
        token = directory_token(directory.credentials, directory.admin)
    except ImportError:
        raise ConfigError(
            "identity.oidc[].directory needs more packages. Install 'sallyport[google]'."
        ) from None
    return GoogleDirectory(token, directory.endpoint, seconds=directory.seconds)


def issuer_names(config: Config) -> list[str]:
    """Whose tokens and assertions are accepted."""
    identity = config.identity
    return [*(entry.issuer for entry in identity.oidc), *(idp.entity_id for idp in identity.saml)]


async def tokenless(
    config: Config, secret: Callable[[SecretRef, str], Awaitable[Secret]]
) -> tuple[OAuthOffer | None, DeviceLogins | None]:
    """What clients that connect without a token get: where OAUTHBEARER has one, and the device
    flow; None: nobody does. secret: resolves a reference. Raises ConfigError.
    """
    return _oauth_offer(config), await _device_logins(config, secret)


def _oauth_offer(config: Config) -> OAuthOffer | None:
    oauth = config.identity.oauthbearer
    issuers = [oauth.issuer] if oauth.issuer else [entry.issuer for entry in config.identity.oidc]
    if not oauth.user or not issuers:
        return None
    return OAuthOffer(oauth.user, discovery_url(issuers[0]), oauth.scope)


async def _device_logins(
    config: Config, secret: Callable[[SecretRef, str], Awaitable[Secret]]
) -> DeviceLogins | None:
    device = config.identity.device_login
    if not device.client_id:
        return None
    name = device.issuer or config.identity.oidc[0].issuer
    ca = next(entry.ca for entry in config.identity.oidc if entry.issuer == name)
    reference, key = device.client_secret, "identity.device_login.client_secret"
    settings = DeviceFlowSettings(
        user=device.user,
        issuer=name,
        client_id=device.client_id,
        secret=None if reference is None else await secret(reference, key),
        wants={"scope": device.scope, "audience": device.audience, "resource": device.resource},
        ca_file=ca or "",
        seconds=device.wait_seconds,
    )
    return DeviceLogins(settings)


async def saml_providers(
    config: Config,
    public_url: str,
    secret: Callable[[SecretRef, str], Awaitable[Secret]],
    ended: EndedSessions | None = None,
    used: UsedMessageStore | None = None,
) -> dict[str, SamlProvider]:
    """By name; to be made once, as what was used is remembered in them. public_url: the console's.
    secret: resolves a reference. ended: what single logout ends, in all processes.
    used: remembers used assertions. Raises ConfigError.
    """
    if not config.identity.saml:
        return {}
    try:  # lxml and signxml are an extra
        from sallyport.identity.replay import UsedMessages
        from sallyport.identity.saml.provider import SamlProvider
        from sallyport.identity.saml.settings import DEFAULT_CLAIMS, SamlSettings
    except ImportError:
        raise ConfigError("identity.saml needs more packages. Install 'sallyport[saml]'.") from None
    assertions = UsedMessages(SystemClock(), store=used)
    providers = {}
    for idp in config.identity.saml:
        base = f"{public_url}/saml/{idp.name}"
        key = None if idp.key is None else await secret(idp.key, f"identity.saml {idp.name} key")
        settings = SamlSettings(
            name=idp.name,
            entity_id=idp.entity_id,
            metadata=idp.metadata,
            sp_entity_id=idp.sp_entity_id or f"{base}/metadata",
            acs_url=f"{base}/acs",
            title=idp.title,
            claims=_mapping(idp.claims, DEFAULT_CLAIMS),
            require=tuple(cel(condition) for condition in idp.require),
            binding=idp.binding,
            signed=idp.signed,
            idp_initiated=idp.idp_initiated,
            certificate=await asyncio.to_thread(_pem, idp.certificate),
            key=key,
            clock_skew=idp.clock_skew,
            session_seconds=idp.session_seconds,
            ca_file=idp.ca or "",
            metadata_signers=await asyncio.to_thread(_signers, idp),
            slo_url=f"{base}/slo" if idp.single_logout else "",
        )
        required = config.identity.required_claims
        providers[idp.name] = SamlProvider(settings, SystemClock(), assertions, required, ended)
    return providers


def _pem(path: str | None) -> str:
    """The text of a file of certificates, "" when there is none. Raises ConfigError."""
    if not path:
        return ""
    try:
        return Path(path).read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"the certificate {path} cannot be read: {type(error).__name__}"
        ) from None


def _signers(idp: SamlIdp) -> tuple[Certificate, ...]:
    """Of the provider's metadata; () where nobody need sign it. Raises ConfigError."""
    if not idp.metadata_certificate:
        return ()
    try:
        return tuple(load_pem_x509_certificates(_pem(idp.metadata_certificate).encode()))
    except ValueError:
        raise ConfigError(
            f"identity.saml {idp.name}: metadata_certificate {idp.metadata_certificate} has no"
            " certificate in PEM"
        ) from None


async def ended_sessions(engine: Engine, clock: Clock) -> EndedSessions:
    """Those that were ended before this process began. Raises RefusedError."""
    store = SqlEndedSessionStore(engine)
    await asyncio.to_thread(store.forget, time.time() - _KEEP_ENDED)
    ended = EndedSessions(clock, store)
    await asyncio.to_thread(ended.reload)
    return ended
