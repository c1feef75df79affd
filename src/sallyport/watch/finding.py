"""What was noticed: a frozen value without any literal of a statement or any value of a row."""

from __future__ import annotations

from enum import Enum
from typing import Final, NamedTuple

import msgspec

from sallyport.core.subject import Subject

#: Characters of an evidence line that are kept.
LONGEST: Final = 600


class Severity(Enum):
    """How soon somebody should look."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


class AgentKey(NamedTuple):
    """Whose behaviour is compared: one agent identity at one target.

    actor: who acts for the subject, the current one first, joined by commas; "" when nobody does.
    """

    issuer: str
    subject: str
    actor: str
    agent: str
    target: str

    @property
    def name(self) -> str:
        """For people: the agent, or the subject where no agent is named."""
        return self.agent or self.subject

    @property
    def text(self) -> str:
        """One string for each key; the parts are separated by U+001F."""
        return "\x1f".join(self)


def agent_key(subject: Subject, target: str) -> AgentKey:
    """The key of whoever a session belongs to."""
    return AgentKey(subject.issuer, subject.id, ",".join(subject.actors), subject.agent, target)


class Finding(msgspec.Struct, frozen=True):
    """detector: which one noticed it. about: what it is about (a relation, a code, ...), so that
    one thing is told once. at: Unix seconds. first, last: numbers of the statements in the session,
    0 when there are none. acknowledged: Unix seconds, 0 until somebody has.
    """

    id: str
    detector: str
    about: str
    severity: Severity
    key: AgentKey
    session: str
    at: float
    evidence: str
    first: int = 0
    last: int = 0
    done: tuple[str, ...] = ()  # what followed: notify, hold, end, lock
    acknowledged: float = 0.0
    by: str = ""
    reason: str = ""
    expected: bool = False  # it is no finding from now on


def finding_data(finding: Finding) -> dict[str, object]:
    """A finding as JSON values; its key's parts beside its own fields."""
    fields = msgspec.structs.asdict(finding)
    del fields["key"]
    who = finding.key._asdict()
    return {**fields, **who, "severity": finding.severity.value, "done": list(finding.done)}
