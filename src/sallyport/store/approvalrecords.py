"""Approvals as an auditor reads them, beside a running gateway and without its key: who asked, who
decided, when and why; no statement.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Engine, select

from sallyport.store.tables import approval_decisions, approvals


@dataclass(frozen=True, slots=True)
class RecordedDecision:
    """``seconds``: from the request to the decision."""

    reviewer: str
    approve: bool
    reason: str
    time: float
    seconds: float
    channel: str
    address: str


@dataclass(frozen=True, slots=True)
class RecordedApproval:
    """``created``: Unix seconds. ``touches``: relations and the like, in words."""

    id: str
    status: str
    requester: str
    agent: str
    rule: str
    kind: str
    touches: tuple[str, ...]
    created: float
    quorum: int
    void_reason: str
    decisions: tuple[RecordedDecision, ...] = ()


def recorded_approvals(
    engine: Engine, since: float, until: float, maximum: int
) -> list[RecordedApproval]:
    """Those that were asked for in that time, oldest first, at most ``maximum``."""
    c, d = approvals.c, approval_decisions.c
    columns = (
        c.id,
        c.status,
        c.requester,
        c.rule,
        c.kind,
        c.touches,
        c.created,
        c.quorum,
        c.void_reason,
    )
    query = (
        select(*columns)
        .where(c.created >= since, c.created < until)
        .order_by(c.created, c.id)
        .limit(maximum)
    )
    made = []
    with engine.connect() as connection:
        for row in connection.execute(query).all():
            rows = connection.execute(
                select(approval_decisions).where(d.approval == row.id).order_by(d.number)
            )
            decisions = tuple(
                RecordedDecision(
                    decision.email or decision.reviewer,
                    decision.approve,
                    decision.reason,
                    decision.at,
                    decision.at - row.created,
                    decision.channel,
                    decision.address,
                )
                for decision in rows
            )
            who = row.requester
            made.append(
                RecordedApproval(
                    row.id,
                    row.status,
                    who.get("email") or who["id"],
                    who.get("agent", ""),
                    row.rule,
                    row.kind,
                    tuple(row.touches),
                    row.created,
                    row.quorum,
                    row.void_reason,
                    decisions,
                )
            )
    return made
