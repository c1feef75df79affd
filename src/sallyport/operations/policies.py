"""The policies that were in force, compared with each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from sallyport.core.errors import SallyportError
from sallyport.core.owners import Member
from sallyport.policy.versions import DiffLine, PolicyVersion, diff


class UnknownVersionError(SallyportError):
    """There is no such version."""


class PolicyVersions(Protocol):
    """Where versions are kept."""

    def recent(self, limit: int = 50) -> Sequence[PolicyVersion]:
        """Newest first."""
        ...

    def get(self, id_: int) -> PolicyVersion | None: ...

    def before(self, id_: int) -> PolicyVersion | None:
        """The one that was in force before it."""
        ...


class Members(Protocol):
    """Who serves."""

    def members(self) -> Sequence[Member]:
        """Every process of every gateway of the store."""
        ...


def compared(
    versions: PolicyVersions, id_: int, against: int | None = None
) -> tuple[PolicyVersion, PolicyVersion | None, list[DiffLine]]:
    """A version, the one it is compared with (``against``, else the one before it), and what it
    changed of that.

    Raises UnknownVersionError.
    """
    version = versions.get(id_)
    earlier = versions.before(id_) if against is None else versions.get(against)
    if version is None or (earlier is None and against is not None):
        missing = id_ if version is None else against
        raise UnknownVersionError(f"There is no version {missing} of the policy.")
    return version, earlier, diff(earlier.text if earlier is not None else "", version.text)
