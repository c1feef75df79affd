"""Who may do what in the console and over REST: roles, from groups, and the actions each role may
take.

:class:`Access` answers :meth:`~Access.require` or raises :class:`ForbiddenError`; there is no third
outcome. A subject without a role may do nothing but what concerns its own session tokens and
receipts. Deciding
an approval needs the reviewer's role here *and* passes the approvals service's own rules.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from sallyport.core.errors import SallyportError
from sallyport.core.subject import Subject

VIEWER, REVIEWER, AUDITOR, OPERATOR = "viewer", "reviewer", "auditor", "operator"
ROLES: Final = (VIEWER, REVIEWER, AUDITOR, OPERATOR)

_EVERYBODY: Final = frozenset(
    {
        "overview.read",
        "sessions.list",
        "approvals.list",
        "policy.read",
        "policy.explain",
        "targets.read",
    }
)
#: Actions by role. Statements of a session are read by whoever reviews, audits or operates;
#: results, and what people did here, only by auditors. Who may end sessions may lock.
PERMISSIONS: Final[Mapping[str, frozenset[str]]] = {
    VIEWER: _EVERYBODY,
    REVIEWER: _EVERYBODY
    | {
        "sessions.read",
        "approvals.read",
        "approvals.decide",
        "locks.read",
        "containments.read",
        "findings.read",
        "findings.acknowledge",
    },
    AUDITOR: _EVERYBODY
    | {
        "sessions.read",
        "sessions.replay",
        "approvals.read",
        "audit.verify",
        "audit.actions",
        "locks.read",
        "findings.read",
        "containments.read",
    },
    OPERATOR: _EVERYBODY
    | {
        "sessions.read",
        "sessions.kill",
        "approvals.read",
        "locks.read",
        "locks.lock",
        "locks.release",
        "containments.read",
        "containments.release",
        "findings.read",
        "findings.acknowledge",
        "baselines.reset",
    },
}
#: What whoever has a valid token may do, with a role or without one: with session tokens and
#: sessions of their own.
OWN: Final = frozenset({"tokens.issue", "tokens.list", "tokens.revoke", "receipts.make"})
ACTIONS: Final = OWN.union(*PERMISSIONS.values())


class ForbiddenError(SallyportError):
    """This subject may not do this. The text says which roles may."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Somebody who signed in, with their roles (possibly none). ``address``: where they
    come from.
    """

    subject: Subject
    roles: frozenset[str]
    address: str = ""

    def may(self, action: str) -> bool:
        return action in OWN or any(
            action in PERMISSIONS.get(role, frozenset()) for role in self.roles
        )

    def require(self, action: str) -> None:
        """Raises ForbiddenError."""
        if not self.may(action):
            able = ", ".join(role for role in ROLES if action in PERMISSIONS[role]) or "nobody"
            mine = ", ".join(sorted(self.roles)) or "none"
            raise ForbiddenError(
                f"{action} needs one of the roles: {able}. You have: {mine}. The gateway's"
                " console.roles says which groups have which."
            )

    def authorize(self, action: str, session_id: str) -> None:
        """As :data:`sallyport.operations.sessions.Authorize`. Raises ForbiddenError."""
        self.require(action)


class Access:
    """``groups``: role -> the groups whose members have it. A role nobody names is nobody's."""

    def __init__(self, groups: Mapping[str, frozenset[str]]) -> None:
        unknown = groups.keys() - set(ROLES)
        if unknown:
            raise ValueError(f"no such role: {', '.join(sorted(unknown))}")
        self._groups = dict(groups)

    def principal(self, subject: Subject, address: str = "") -> Principal:
        roles = frozenset(role for role, groups in self._groups.items() if groups & subject.groups)
        return Principal(subject, roles, address)
