"""The values of an approval: what it binds, what may become of it, who decided. Frozen, no I/O.

A :class:`Binding` is everything that must be the same when the statement runs as when it was approved. Transitions between statuses
are the table :data:`TRANSITIONS`; a status that is not listed there as a successor cannot follow. Times are Unix seconds (wall clock):
a person's deadline does not stop while a machine sleeps.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, Literal

import msgspec

Mode = Literal["wait", "async"]


class Status(Enum):
    """Where a request stands."""

    PENDING = "pending"
    APPROVED = "approved"
    DENIED = "denied"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"
    VOIDED = "voided"
    USED = "used"

    @property
    def final(self) -> bool:
        """Nothing can follow."""
        return not TRANSITIONS[self]


#: What may follow each status. A quorum that is not complete yet keeps a request pending.
TRANSITIONS: Final[Mapping[Status, frozenset[Status]]] = {
    Status.PENDING: frozenset(
        {Status.APPROVED, Status.DENIED, Status.EXPIRED, Status.WITHDRAWN, Status.VOIDED}
    ),
    Status.APPROVED: frozenset({Status.USED, Status.EXPIRED, Status.WITHDRAWN, Status.VOIDED}),
    Status.DENIED: frozenset(),
    Status.EXPIRED: frozenset(),
    Status.WITHDRAWN: frozenset(),
    Status.VOIDED: frozenset(),
    Status.USED: frozenset(),
}

_WORDS: Final = {
    "sql": "the statement's text",
    "binds": "the bind values",
    "bind_formats": "the formats of the bind values",
    "target": "the target",
    "subject": "who runs it",
    "issuer": "the issuer of who runs it",
    "session": "the session",
    "policy_version": "the policy",
    "epoch": "the catalog",
    "search_path": "the search_path",
    "role": "the database role",
}
#: Shown with both values: short, and never what the client sent.
_SHOWN: Final = frozenset({"target", "policy_version", "epoch", "role"})


@dataclass(frozen=True, slots=True)
class Binding:
    """What an approval is for. ``binds`` None: sent without parameters (simple query). ``session`` "": async, any session.

    ``sql``: the text of this one statement. ``bind_formats``: as in Bind (0 text, 1 binary).
    """

    sql: str
    binds: tuple[bytes | None, ...] | None
    bind_formats: tuple[int, ...]
    target: str
    subject: str
    issuer: str
    session: str
    policy_version: str
    epoch: str
    search_path: tuple[str, ...]
    role: str

    @property
    def digest(self) -> str:
        """SHA-256, hex, over a canonical encoding (MessagePack of the fields in order: lengths and types are in it)."""
        fields = tuple(getattr(self, name) for name in _WORDS)
        return hashlib.sha256(b"sallyport binding 1\0" + msgspec.msgpack.encode(fields)).hexdigest()

    def moved(self, other: Binding) -> list[str]:
        """What differs in ``other``, in words; [] when the two are identical."""
        out = []
        for name, words in _WORDS.items():
            before, after = getattr(self, name), getattr(other, name)
            if before != after:
                out.append(f"{words} ({before} became {after})" if name in _SHOWN else words)
        return out

    def same_statement(self, other: Binding) -> bool:
        """The same text and values, of the same subject, for the same target: what people mean by 'the same again'."""
        names = ("sql", "binds", "bind_formats", "target", "subject", "issuer")
        return all(getattr(self, name) == getattr(other, name) for name in names)


@dataclass(frozen=True, slots=True)
class Requester:
    """Who asked. ``links``: every name this person is known by (:mod:`sallyport.approvals.people`)."""

    id: str
    issuer: str
    email: str = ""
    groups: tuple[str, ...] = ()
    agent: str = ""
    label: str = ""
    links: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Decision:
    """One person's word. ``channel``: web | cli | rest | slack | grant ... ``address``: where it came from. ``links``: as in Requester."""

    reviewer: str
    issuer: str
    email: str
    approve: bool
    reason: str
    at: float
    channel: str
    address: str = ""
    links: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Preview:
    """What the statement would do, measured (:mod:`sallyport.approvals.preview`).

    plan: PostgreSQL's plan as JSON text, "" when there is none. rows: rows it would touch, None when not counted.
    locks: for DDL, one line per lock. dependants: for DDL, objects that depend on what it changes.
    problems: what could not be computed and why, one line each. seconds: how long all of it took.
    """

    plan: str = ""
    rows: int | None = None
    locks: tuple[str, ...] = ()
    dependants: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Request:
    """One request for approval.

    rule: the hold rule. reviewers: groups whose members may decide. quorum: different people who must approve.
    kind: policy action (update, ...). touches: relations and the like, in words. expires_at: neither approved nor used after this.
    in_transaction: it waits inside an open transaction and keeps its locks. void_reason: why it was withdrawn or voided.
    grant: id of the grant that approved it, "" when people did.
    """

    id: str
    binding: Binding
    subject: Requester
    rule: str
    reviewers: tuple[str, ...]
    quorum: int
    kind: str
    touches: tuple[str, ...]
    created: float
    expires_at: float
    mode: Mode
    in_transaction: bool = False
    status: Status = Status.PENDING
    decisions: tuple[Decision, ...] = ()
    preview: Preview | None = None
    void_reason: str = ""
    grant: str = ""

    @property
    def denial(self) -> Decision | None:
        """The decision that denied it."""
        return next((d for d in self.decisions if not d.approve), None)

    @property
    def approvals(self) -> int:
        """How many people have approved so far."""
        return sum(d.approve for d in self.decisions)


@dataclass(frozen=True, slots=True)
class Grant:
    """Approval ahead of time: ``subject`` may run what ``rule`` holds on ``target`` until ``expires_at``, without asking each time.

    scope: ``statement`` (this fingerprint: the same statement with any constants and bind values) or ``rule`` (all the rule holds).
    It ends when policy or catalog move. ``example``: the statement it was given for. revoked_at: None while in force.
    """

    id: str
    scope: Literal["statement", "rule"]
    fingerprint: str
    example: str
    rule: str
    reviewers: tuple[str, ...]
    subject: Requester
    target: str
    policy_version: str
    epoch: str
    search_path: tuple[str, ...]
    role: str
    decision: Decision
    request: str
    created: float
    expires_at: float
    revoked_at: float | None = None
    revoked_by: str = ""
    uses: int = 0

    def live(self, now: float) -> bool:
        return self.revoked_at is None and now < self.expires_at


@dataclass(frozen=True, slots=True)
class FloodLimits:
    """Bounds on asking. per_subject, total: pending requests. per_minute, per_hour: new requests of one subject. max_bytes: text and values of one."""

    per_subject: int = 10
    total: int = 1000
    per_hour: int = 120
    per_minute: int = 60
    max_bytes: int = 1 << 20
    expires_seconds: float = field(default=7 * 86400.0)


def plain(text: str, limit: int = 500) -> str:
    """A person's words, fit for one line of an error message: no control or direction characters, bounded."""
    shown = "".join(c if c.isprintable() else " " for c in text[:limit])
    return " ".join(shown.split()) + ("..." if len(text) > limit else "")
