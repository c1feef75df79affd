"""Why a decision is not taken, and what a client reads when an approval does not let its statement
run.
"""

from __future__ import annotations

from enum import Enum

from sallyport.approvals.states import Request, Status, plain
from sallyport.core.errors import Refusal, RefusedError, refuse


class ApprovalProblem(Enum):
    """Kinds of refused decisions, for entrances that answer with a status of their own (HTTP: 404,
    409, 403, 422).
    """

    UNKNOWN = "unknown"
    CLOSED = "closed"
    EXPIRED = "expired"
    NOT_REVIEWER = "not a reviewer"
    SELF = "own statement"
    TWICE = "already decided"
    NO_REASON = "no reason"
    QUORUM = "quorum"
    INVALID = "invalid"


class DecisionError(RefusedError):
    """A decision (or grant) that is not taken. The text is fit for the person who tried; SP1405."""

    def __init__(self, problem: ApprovalProblem, message: str, hint: str = "") -> None:
        super().__init__(refuse("SP1405", message, hint=hint))
        self.problem = problem


def closed(request: Request) -> DecisionError:
    """It is not pending any more."""
    problem = (
        ApprovalProblem.EXPIRED if request.status is Status.EXPIRED else ApprovalProblem.CLOSED
    )
    why = f": {plain(request.void_reason)}" if request.void_reason else ""
    return DecisionError(
        problem,
        f"{request.id} is no longer pending: it is {request.status.value}{why}",
        "The requester can send the statement again, which makes a new request.",
    )


def refusal_of(request: Request) -> Refusal:
    """What the client is told whose statement waited for ``request``. For every status but approved
    and pending.
    """
    match request.status:
        case Status.DENIED:
            denial = request.denial
            who = f" by {plain(denial.email or denial.reviewer, 200)}" if denial else ""
            return refuse(
                "SP1402",
                f"{request.kind} was denied{who}: {plain(denial.reason, 1000) if denial else ''}",
                f"Approval request {request.id} was made for {request.held_by}.",
                "Follow the reason before you send a statement like this again.",
            )
        case Status.EXPIRED:
            return refuse(
                "SP1403",
                "nobody approved the statement in time"
                if not request.approvals
                else "the approval expired",
                f"Approval request {request.id} was made for {request.held_by}.",
                f"Send the statement again when {request.wants} can decide.",
            )
        case Status.USED:
            return moved_refusal(request, "it has been used, and an approval is for one use")
        case Status.PENDING | Status.APPROVED:
            return refuse(
                "SP1003",
                f"{request.kind} waits for approval",
                f"Approval {request.id} has {request.approvals} of {request.minimum} approvals.",
                f"{request.wants} must approve it.",
            )
        case _:
            return moved_refusal(request, plain(request.void_reason, 1000))


def moved_refusal(request: Request, why: str) -> Refusal:
    """SP1404."""
    return refuse(
        "SP1404",
        f"the approval is no longer valid: {why}",
        f"Approval request {request.id} was made for {request.held_by}.",
        "Send the statement again to request a new approval.",
    )


def sent_for_approval(request: Request, address: str = "") -> Refusal:
    """SP1406: the answer in async mode. ``address``: where people decide."""
    where = f" at {address}" if address else ""
    return refuse(
        "SP1406",
        f"{request.kind} was sent for approval as {request.id}",
        f"{request.held} until {request.wants} approve{where}.",
        "Send exactly the same statement again after it has been approved.",
    )
