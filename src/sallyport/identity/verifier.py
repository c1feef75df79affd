"""What checks tokens of one kind. :class:`~sallyport.identity.authenticate.Authenticator` asks
those it was given, in order.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Protocol

from sallyport.core.secret import Secret
from sallyport.core.subject import Subject
from sallyport.identity.problems import IdentityProblem


class Verifier(Protocol):
    """Of one kind of token: JWTs of OIDC issuers, session tokens ..."""

    @property
    def issuers(self) -> Collection[str]:
        """Whose tokens are accepted."""
        ...

    def accepts(self, token: str) -> bool:
        """Whether a token is of this kind, by its form alone. The first verifier that says so
        decides about it.
        """
        ...

    async def verify(self, token: Secret, label: str) -> Subject | IdentityProblem:
        """Whose token it is. label: the client's own name for itself. Never raises for a bad token,
        and keeps its text out of the Problem.
        """
        ...

    def still_accepted(self, subject: Subject) -> IdentityProblem | None:
        """What the configuration in force has against a subject of one of ``issuers`` that was
        verified earlier; None: nothing.
        """
        ...

    async def probe(self) -> Mapping[str, str]:
        """What is wrong, by issuer ("" when nothing is). For start-up checks; never raises
        for it.
        """
        ...

    def failures(self) -> Mapping[str, tuple[int, str]]:
        """By issuer: how many fetches of what it verifies with failed, and why the last one did (""
        when it did not).
        """
        ...

    async def close(self) -> None:
        """Stop fetching and forget every token."""
        ...


class Lookup(Protocol):
    """Asked at every login with a token of its issuer."""

    async def complete(self, subject: Subject, token: Secret) -> Subject | IdentityProblem:
        """The subject, with what was found out; or why it is refused. Never raises for it."""
        ...
