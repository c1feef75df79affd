"""Who is asking: the authenticated identity, as every layer sees it.

A ``Subject`` is made only by :mod:`sallyport.identity` from a verified token. It is a plain frozen
value so that the pure layers (policy, masking) can read it without knowing how it was
authenticated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class Subject:
    """An authenticated identity.

    id: the token's ``sub`` claim. issuer: its ``iss``. groups: from the issuer's configured groups
    claim. agent: which program acts: the first of ``actors``, else the ``azp``/``client_id`` claim,
    or "". actors: who acts for the subject, the current one first (RFC 8693 ``act``); () when
    nobody does. client: the program that the token was given to, as ``agent`` would be without
    ``actors``. label: the user name that the client sent at startup; recorded and shown, never
    trusted. claims: the verified claims (never the token itself). expires_at: Unix seconds.
    token_id: of the session token that Sallyport issued, "" where there is none; by it the token is
    revoked.
    """

    id: str
    issuer: str
    groups: frozenset[str]
    agent: str = ""
    label: str = ""
    email: str = ""
    expires_at: float = 0.0
    token_id: str = ""
    claims: Mapping[str, Any] = field(default_factory=dict, hash=False, compare=False, repr=False)
    actors: tuple[str, ...] = ()
    client: str = ""


#: Claims that name the program that acts: OpenID Connect Core section 2, RFC 9068 section 2.2.
AGENT_CLAIMS: Final = ("azp", "client_id")


def agent_names(subject: Subject) -> list[str]:
    """Every name of the programs that act, from verified claims: for what must hold whichever of
    them is meant.
    """
    claimed = (subject.claims.get(claim) for claim in AGENT_CLAIMS)
    names = [subject.agent, subject.client, *subject.actors, *claimed]
    return [name for name in dict.fromkeys(names) if isinstance(name, str) and name]
