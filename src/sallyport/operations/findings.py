"""What people do with findings and baselines: list, acknowledge, look at an agent, learn it anew.
Console and REST call these, nothing else.

Nobody acknowledges a finding about themselves. Errors: ForbiddenError, FindingError, RefusedError
(SP1801: not stored).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final

from sallyport.core.errors import SallyportError
from sallyport.identity.problems import printable
from sallyport.operations.access import Principal
from sallyport.server.watching import Watching
from sallyport.watch.baseline import Learning
from sallyport.watch.finding import AgentKey, Finding
from sallyport.watch.watcher import AgentSummary

MAX_REASON: Final = 500


class FindingError(SallyportError):
    """It is not done; the text says why. missing: there is no such finding or agent."""

    def __init__(self, text: str, *, missing: bool = False) -> None:
        super().__init__(text)
        self.missing = missing


@dataclass(frozen=True, slots=True)
class FindingQuery:
    """ "" and False: any. agent: part of subject, actor or agent. since: Unix seconds. key: of this
    very agent.
    """

    severity: str = ""
    detector: str = ""
    agent: str = ""
    session: str = ""
    open_only: bool = False
    since: float = 0.0
    limit: int = 50
    key: AgentKey | None = None


@dataclass(frozen=True, slots=True)
class FindingOperations:
    """Each call checks who may do it."""

    watching: Watching

    @property
    def learning(self) -> Learning:
        """What the learning period is."""
        return self.watching.watcher.learning

    def list(self, who: Principal, query: FindingQuery) -> Sequence[Finding]:
        """Newest first. Reads the store."""
        who.require("findings.read")
        return self.watching.findings.recent(
            query.limit,
            severity=query.severity,
            detector=query.detector,
            agent=query.agent,
            session=query.session,
            open_only=query.open_only,
            since=query.since,
            key=query.key,
        )

    def get(self, who: Principal, finding_id: str) -> Finding:
        """Raises FindingError when there is none. Reads the store."""
        who.require("findings.read")
        finding = self.watching.findings.get(finding_id)
        if finding is None:
            raise FindingError(f"There is no finding {printable(finding_id, 80)}.", missing=True)
        return finding

    def checked(self, who: Principal, finding_id: str, reason: str) -> Finding:
        """The finding, which ``who`` may acknowledge for this reason. Raises FindingError."""
        who.require("findings.acknowledge")
        finding = self.get(who, finding_id)
        if not reason.strip():
            raise FindingError("Say why: the reason is kept with the finding.")
        if len(reason) > MAX_REASON:
            raise FindingError(f"The reason: at most {MAX_REASON} characters.")
        if (finding.key.issuer, finding.key.subject) == (who.subject.issuer, who.subject.id):
            raise FindingError("It is about you: somebody else has to acknowledge it.")
        return finding

    def acknowledge(
        self,
        who: Principal,
        finding: Finding,
        reason: str,
        *,
        expected: bool,
    ) -> Finding:
        """finding: from :meth:`checked`. To be called on the event loop: it ends waiting."""
        by = who.subject.email or who.subject.id
        text = printable(reason.strip(), MAX_REASON)
        return self.watching.acknowledge(finding, by, text, expected=expected)

    def agents(self, who: Principal) -> Sequence[AgentKey]:
        """Which agents have a baseline, the latest one first. Reads the store."""
        who.require("findings.read")
        return self.watching.agents()

    def agent(self, who: Principal, agent_id: str) -> AgentKey:
        """By :func:`id_of`. Raises FindingError."""
        key = next((key for key in self.agents(who) if id_of(key) == agent_id), None)
        if key is None:
            raise FindingError("No agent with this id was seen yet.", missing=True)
        return key

    def summary(self, who: Principal, key: AgentKey) -> AgentSummary:
        """To be called on the event loop. Raises FindingError."""
        who.require("findings.read")
        summary = self.watching.summary(key)
        if summary is None:
            raise FindingError("Nothing is known of this agent.", missing=True)
        return summary

    def reset(self, who: Principal, key: AgentKey) -> None:
        """Learn the agent from the beginning. To be called on the event loop."""
        who.require("baselines.reset")
        self.watching.reset(key)


def id_of(key: AgentKey) -> str:
    """16 hex digits that stand for an agent in addresses."""
    return blake2b(key.text.encode(), digest_size=8).hexdigest()


def agent_data(key: AgentKey, summary: AgentSummary | None = None) -> dict[str, Any]:
    """An agent as JSON values; with its baseline where there is a summary."""
    data: dict[str, Any] = {"id": id_of(key), **key._asdict()}
    if summary is None:
        return data
    baseline = summary.baseline
    return {
        **data,
        "learning": summary.progress,
        "since": baseline.since,
        "statements": baseline.seen,
        "active_days": baseline.active_days,
        "relations": dict(sorted(baseline.relations.shares(), key=lambda share: -share[1])),
        "masked": sorted(baseline.masked.weights),
        "refusal_share": baseline.share_refused(),
        "expected": list(baseline.expected),
    }
