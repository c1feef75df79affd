"""Whether a fresh token may go on where another one began: :func:`is_same_identity`."""

from __future__ import annotations

from sallyport.core.subject import Subject
from sallyport.identity.locks import agent_names


def is_same_identity(subject: Subject, renewed: Subject) -> bool:
    """Issuer, subject, acting program and delegation chain (``act``, RFC 8693 section 4.1) are the same. Groups may differ."""
    return (
        (subject.issuer, subject.id) == (renewed.issuer, renewed.id)
        and agent_names(subject) == agent_names(renewed)
        and subject.claims.get("act") == renewed.claims.get("act")
    )
