"""The values of an approval: what it binds, what may become of it, who decided. Frozen, no I/O.

A :class:`Binding` is everything that must be the same when the statement runs as when it was
approved. Transitions between statuses are the table :data:`TRANSITIONS`; a status that is not
listed there as a successor cannot follow. Times are Unix seconds (wall clock): a person's deadline
does not stop while a machine sleeps.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, Final, Literal

import msgspec

from sallyport.core.subject import Subject

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
    "sent": "the text that is sent to the database",
    "binds": "the bind values",
    "bind_formats": "the formats of the bind values",
    "target": "the target",
    "subject": "the subject",
    "issuer": "the subject's issuer",
    "session": "the session",
    "policy_version": "the policy",
    "epoch": "the catalog",
    "search_path": "the search_path",
    "role": "the database role",
    "rules": "the rules that hold it",
    "settings": "the session's settings",
    "types": "the declared types of the bind values",
}
#: Shown with both values: short, and never what the client sent.
_SHOWN: Final = frozenset({"target", "policy_version", "epoch", "role"})


class Recorded(msgspec.Struct, frozen=True):
    """A statement without the values that are masked for somebody, and that recordings hide."""

    sql: str
    binds: tuple[bytes | None, ...] | None
    bind_formats: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Binding:
    """What an approval is for. ``binds`` None: sent without parameters (simple query). ``session``
    "": async, any session.

    ``sql``: the text of this one statement, as the client sent it. ``sent``: what the target gets
    for it, with masks put into it; "" in requests of older gateways. ``bind_formats``: as in Bind
    (0 text, 1 binary). ``rules``: every hold rule that matched. ``settings``: those that change
    what a statement means (:mod:`sallyport.sql.utility.settings`), with their values, sorted by
    name. ``types``: OIDs of the parameters' types as Parse declared them, 0 for one that the server
    infers: ``$1 = x`` is another comparison for another type. ``recorded``: None where anybody may
    see it as it is.
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
    rules: tuple[str, ...] = ()
    settings: tuple[tuple[str, str], ...] = ()
    types: tuple[int, ...] = ()
    sent: str = ""
    recorded: Recorded | None = field(default=None, compare=False)

    @property
    def without_values(self) -> Binding:
        """What anybody may see, and what stays of it once nobody decides about it any more."""
        return self if self.recorded is None else self.shown_as(self.recorded)

    def shown_as(self, shown: Recorded) -> Binding:
        """This one with some values hidden. The text with masks in it has them too."""
        return replace(
            self,
            sql=shown.sql,
            sent="",
            binds=shown.binds,
            bind_formats=shown.bind_formats,
            recorded=None,
        )

    @property
    def executed_sql(self) -> str:
        """The text that the database runs."""
        return self.sent or self.sql

    @property
    def masks_applied(self) -> bool:
        """Whether the target gets another text than the client sent."""
        return self.sent not in ("", self.sql)

    @property
    def digest(self) -> str:
        """SHA-256, hex, over a canonical encoding (MessagePack of the fields in order: lengths and
        types are in it).
        """
        fields = tuple(getattr(self, name) for name in _WORDS)
        return hashlib.sha256(b"sallyport binding 3\0" + msgspec.msgpack.encode(fields)).hexdigest()

    def moved(self, current: Binding) -> list[str]:
        """What differs in ``current``, in words; [] when the two are identical."""
        out = []
        for name, words in _WORDS.items():
            before, after = getattr(self, name), getattr(current, name)
            if before != after:
                out.append(f"{words} changed{_change(name, before, after)}")
        return out

    def same_statement(self, binding: Binding) -> bool:
        """The same text and values, of the same subject, for the same target: what people mean by
        'the same again'.
        """
        names = ("sql", "binds", "bind_formats", "types", "target", "subject", "issuer")
        return all(getattr(self, name) == getattr(binding, name) for name in names)


def _change(name: str, before: Any, after: Any) -> str:
    """What became of what, where both may be shown: settings are named, and their values kept out
    of it.
    """
    if name in _SHOWN:
        return f" from {before} to {after}"
    if name == "settings":
        return f" ({', '.join(sorted({key for key, _ in set(before) ^ set(after)}))})"
    return ""


@dataclass(frozen=True, slots=True)
class ApprovalRequirement:
    """What one hold rule asks for: ``quorum`` different people, each a member of one of the groups
    ``reviewers``.
    """

    rule: str
    reviewers: tuple[str, ...]
    quorum: int

    def __str__(self) -> str:
        return f"{self.quorum} of {', '.join(self.reviewers)}"


@dataclass(frozen=True, slots=True)
class Requester:
    """Who asked. ``links``: every name this person is known by
    (:mod:`sallyport.approvals.people`).
    """

    id: str
    issuer: str
    email: str = ""
    groups: tuple[str, ...] = ()
    agent: str = ""
    label: str = ""
    links: tuple[str, ...] = ()
    actors: tuple[str, ...] = ()

    def as_subject(self) -> Subject:
        """Whose token it was, without its claims."""
        return Subject(
            self.id,
            self.issuer,
            frozenset(self.groups),
            self.agent,
            self.label,
            self.email,
            actors=self.actors,
        )


@dataclass(frozen=True, slots=True)
class Decision:
    """One person's word. ``channel``: web | cli | rest | slack | grant ... ``address``: where it
    came from. ``links``: as in Requester. ``rules``: the hold rules whose reviewer this person was
    when they said it; an approval counts for each of them.
    """

    reviewer: str
    issuer: str
    email: str
    approve: bool
    reason: str
    at: float
    channel: str
    address: str = ""
    links: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Preview:
    """What the statement would do, measured (:mod:`sallyport.approvals.preview.measure`).

    plan: PostgreSQL's plan as JSON text, "" when there is none. rows: rows it would touch, None
    when not counted. actions: of MERGE, how many of them by what happens to them ("update 3"), one
    line each. locks: for DDL, one line per lock. dependants: for DDL, objects that depend on what
    it changes. problems: what could not be computed and why, one line each. seconds: how long all
    of it took.
    """

    plan: str = ""
    rows: int | None = None
    locks: tuple[str, ...] = ()
    dependants: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    seconds: float = 0.0
    actions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Request:
    """One request for approval.

    rule: the hold rule. reviewers: groups whose members may decide. quorum: different people who
    must approve. additional: what other hold rules that matched require as well; all of
    :attr:`requirements` must be met. kind: policy action (update, ...). touches: relations and the
    like, in words. expires_at: neither approved nor used after this. in_transaction: it waits
    inside an open transaction and keeps its locks. void_reason: why it was withdrawn or voided.
    grant: id of the grant that approved it, "" when people did. owner: the process whose session it
    is, "" in requests from before there were owners. hidden: why whoever looks does not see all of
    it; never stored.
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
    additional: tuple[ApprovalRequirement, ...] = ()
    owner: str = ""
    hidden: str = ""

    @property
    def requirements(self) -> tuple[ApprovalRequirement, ...]:
        """What each hold rule asks for, in the policy's order."""
        return (ApprovalRequirement(self.rule, self.reviewers, self.quorum), *self.additional)

    @property
    def may_decide(self) -> tuple[str, ...]:
        """Groups whose members may decide, for any of the rules."""
        return tuple(
            sorted({group for requirement in self.requirements for group in requirement.reviewers})
        )

    @property
    def wants(self) -> str:
        """Who must approve, in words."""
        return " and ".join(str(requirement) for requirement in self.requirements)

    @property
    def held_by(self) -> str:
        """The rules, in words."""
        names = ", ".join(f'"{requirement.rule}"' for requirement in self.requirements)
        return f"rule {names}" if not self.additional else f"rules {names}"

    @property
    def held(self) -> str:
        """A sentence's beginning: that these rules hold it."""
        return f"R{self.held_by[1:]} hold{'' if self.additional else 's'} it"

    @property
    def minimum(self) -> int:
        """How many people must approve at least."""
        return max(requirement.quorum for requirement in self.requirements)

    def approved_for(self, requirement: ApprovalRequirement) -> int:
        """How many people have approved so far whose word counts for this rule."""
        return sum(d.approve and requirement.rule in d.rules for d in self.decisions)

    @property
    def complete(self) -> bool:
        """Whether every rule has what it asks for."""
        return all(
            self.approved_for(requirement) >= requirement.quorum
            for requirement in self.requirements
        )

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
    """Approval ahead of time: ``subject`` may run what ``rule`` holds on ``target`` until
    ``expires_at``, without asking each time.

    scope: ``statement`` (this fingerprint: the same statement with any constants and bind values)
    or ``rule`` (all the rule holds). It ends when policy or catalog move. ``example``: the
    statement it was given for. revoked_at: None while in force. rules: every hold rule that the
    reviewer could satisfy alone; it covers what no other rule holds. settings: as in Binding.
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
    rules: tuple[str, ...] = ()
    settings: tuple[tuple[str, str], ...] = ()

    def live(self, now: float) -> bool:
        return self.revoked_at is None and now < self.expires_at


@dataclass(frozen=True, slots=True)
class FloodLimits:
    """Bounds on asking. per_subject, total: pending requests. per_minute, per_hour: new requests of
    one subject. max_bytes: text and values of one.
    """

    per_subject: int = 10
    total: int = 1000
    per_hour: int = 120
    per_minute: int = 60
    max_bytes: int = 1 << 20
    expires_seconds: float = field(default=7 * 86400.0)


def plain(text: str, limit: int = 500) -> str:
    """A person's words, fit for one line of an error message: no control or direction characters,
    bounded.
    """
    shown = "".join(c if c.isprintable() else " " for c in text[:limit])
    return " ".join(shown.split()) + ("..." if len(text) > limit else "")
