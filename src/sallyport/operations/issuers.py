"""An issuer that leaves the configuration while the gateway runs, and what was verified of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import Final

import structlog

from sallyport.core.errors import ConfigError, RefusedError, refuse
from sallyport.identity.session_tokens import SessionTokens
from sallyport.server.gateway import Gateway

_log = structlog.get_logger("sallyport.identity")
_BY: Final = "the configuration"


async def reread_issuers(gateway: Gateway, read: Callable[[], Collection[str]]) -> None:
    """``read``: the issuers of the configuration now, or ConfigError, and all stay. Those that are
    gone are refused from here on, their sessions end, their session tokens are revoked. One that is
    new needs a restart.
    """
    try:
        present = await asyncio.to_thread(read)
    except ConfigError as error:
        _log.error("the configuration cannot be read; its issuers stay", reason=str(error))
        return
    authenticator = gateway.authenticator
    before, authenticator.retired = (
        authenticator.retired,
        frozenset(authenticator.configured) - frozenset(present),
    )
    for issuer in sorted(authenticator.retired - before):
        _log.warning("an issuer left the configuration", issuer=issuer)
    for issuer in sorted(before - authenticator.retired):
        _log.warning("an issuer is in the configuration again", issuer=issuer)
    for issuer in sorted(frozenset(present) - frozenset(authenticator.configured)):
        _log.warning("a new issuer is accepted after a restart", issuer=issuer)
    refusal = refuse(
        "SP1609",
        "the issuer of the session's token is no longer accepted",
        "The gateway's operator took it out of the configuration.",
        "Connect again with a token of an issuer that the gateway accepts.",
    )
    for hosted in [h for h in gateway.hosted() if h.subject.issuer in authenticator.retired]:
        hosted.shut(refusal, "its issuer left the configuration")
    if authenticator.session_tokens is not None:
        await _revoke(authenticator.session_tokens, authenticator.retired)


async def _revoke(tokens: SessionTokens, issuers: Collection[str]) -> None:
    for token in [t for t in tokens.active() if t.subject.issuer in issuers]:
        revoked = tokens.revoke(token, _BY)
        try:
            await asyncio.to_thread(tokens.store.revoke, revoked)
        except RefusedError as error:
            _log.error("a revocation was not stored", token=token.id, reason=error.refusal.text)
