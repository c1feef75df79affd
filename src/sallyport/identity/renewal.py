"""Whether a fresh token may go on where another one began: :func:`is_same_identity`."""

from __future__ import annotations

from sallyport.core.subject import Subject, agent_names


def is_same_identity(subject: Subject, renewed: Subject) -> bool:
    """Issuer, subject, programs and who acts for whom (RFC 8693 section 4.1) are the same. Groups
    may differ.
    """
    return (
        (subject.issuer, subject.id) == (renewed.issuer, renewed.id)
        and agent_names(subject) == agent_names(renewed)
        and subject.actors == renewed.actors
    )
