"""Why a token is refused, as a value: exceptions would carry the token's text in their frames."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

#: What session tokens begin with (:mod:`sallyport.identity.session_tokens`), and JWTs: ``{"`` in
#: base64.
_TOKENS: Final = ("spt_", "eyJ")


@dataclass(frozen=True, slots=True)
class IdentityProblem:
    """Why a token is refused. reason: for the log. message, hint: for the token's owner; only set
    once the signature held. whose: more for the log, then: issuer, subject and audience, as the
    token says.
    """

    reason: str
    message: str = ""
    hint: str = ""
    whose: Mapping[str, str] = field(default_factory=dict)


def shown_label(label: str) -> str:
    """A client's name for itself, for logs and records. Who mistakes the field sends the token in
    it: that is left out.
    """
    if label.startswith(_TOKENS):
        return "(a token)"
    return printable(label, 256)


def printable(text: str, limit: int) -> str:
    """Text that is safe in a log line or an error: control and invisible characters become ``?``,
    cut at ``limit``.
    """
    clean = "".join(char if char.isprintable() else "?" for char in text[:limit])
    return clean + "..." if len(text) > limit else clean
