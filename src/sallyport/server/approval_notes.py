"""What the recording of a session says about an approval that its statement waits for."""

from __future__ import annotations

import time

from sallyport.approvals.preview.plans import plan_in_words
from sallyport.approvals.states import Decision, Preview, Request, plain
from sallyport.core.wording import counted


def asked(request: Request) -> str:
    """It was asked for, by whom, and who decides."""
    until = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(request.expires_at))
    inside = ", inside an open transaction" if request.in_transaction else ""
    touches = ", ".join(request.touches) or request.kind
    return (
        f"{request.id} asked for by {request.held_by} ({request.mode}{inside}): {touches};"
        f" {request.wants} decide until {until}"
    )


def measured(preview: Preview, hides_values: bool) -> str:
    """What was measured before anybody decides. ``hides_values``: recordings do not show the
    statement as it is, which the plan and the database's errors quote.
    """
    parts = [counted(preview.rows, "row") if preview.rows is not None else "rows not counted"]
    parts += [f"lock {lock}" for lock in preview.locks]
    parts += [f"depends: {dependant}" for dependant in preview.dependants]
    if hides_values:
        what = "plan" if not preview.problems else "plan and problems"
        return "; ".join([*parts, f"{what} not recorded: they may quote values"])
    parts += [f"not known: {problem}" for problem in preview.problems]
    plan = plan_in_words(preview.plan)
    return "; ".join([*parts, f"plan: {plan}"] if plan else parts)


def decided(request: Request, decision: Decision) -> str:
    """One person's word."""
    word = "approved" if decision.approve else "denied"
    who = plain(decision.email or decision.reviewer, 200)
    when = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(decision.at))
    where = f" from {decision.address}" if decision.address else ""
    why = f": {plain(decision.reason, 2000)}" if decision.reason else ""
    return (
        f"{request.id} {word} by {who} ({decision.issuer}) at {when} over"
        f" {decision.channel}{where}{why}"
    )


def ended(request: Request) -> str:
    """How it ended, and why."""
    why = f": {plain(request.void_reason, 1000)}" if request.void_reason else ""
    return f"{request.id} {request.status.value}{why}"
