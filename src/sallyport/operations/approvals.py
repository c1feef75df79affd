"""What people do with approvals: list, show, approve, deny, grant, revoke. Console, REST and chat
entrances call these, nothing else.

Each operation first asks the caller's roles (:mod:`sallyport.operations.access`): who may list sees
that something waits; reviewers, auditors and operators see the statement; reviewers decide. The
service then applies the rules of the request itself (reviewer groups, not one's own, once, in
time), which no role lifts. Errors: ForbiddenError; DecisionError with a ``problem``; RefusedError
(SP1801).

Values are :class:`~sallyport.approvals.states.Request` and Grant; :func:`request_data` and
:func:`grant_data` are what goes out as JSON.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sallyport.approvals.preview.sampling import Sample
from sallyport.approvals.problems import ApprovalProblem, DecisionError
from sallyport.approvals.seeing import not_deciding
from sallyport.approvals.service import Approvals as Service
from sallyport.approvals.states import Decision, Grant, Preview, Request
from sallyport.core.clock import rfc3339, with_times
from sallyport.operations.access import Principal
from sallyport.operations.ports import ReviewerViews

#: Most that one call lists.
MAX_LISTED: Final = 500
#: HTTP status for each reason why a decision is not taken.
HTTP_STATUS: Final = {
    ApprovalProblem.UNKNOWN: 404,
    ApprovalProblem.CLOSED: 409,
    ApprovalProblem.EXPIRED: 409,
    ApprovalProblem.TWICE: 409,
    ApprovalProblem.QUORUM: 409,
    ApprovalProblem.NOT_REVIEWER: 403,
    ApprovalProblem.SELF: 403,
    ApprovalProblem.NO_REASON: 422,
    ApprovalProblem.INVALID: 422,
}


@dataclass(frozen=True, slots=True)
class ApprovalOperations:
    """``channel``: which entrance this is (web, rest, cli, slack); it is recorded with every
    decision.
    """

    service: Service
    channel: str
    live: ReviewerViews

    async def list(
        self, who: Principal, *, pending: bool = False, limit: int = 50
    ) -> Sequence[Request]:
        """Pending ones, oldest first; else the newest of all; as :meth:`show` gives them."""
        who.require("approvals.list")
        return await self.seen(who, await asyncio.to_thread(self._listed, pending, limit))

    def _listed(self, pending: bool, limit: int) -> Sequence[Request]:
        limit = max(0, min(limit, MAX_LISTED))
        return self.service.pending()[:limit] if pending else self.service.recent(limit)

    async def show(self, who: Principal, request_id: str) -> Request:
        """With everything that this person may see: see :meth:`seen`. DecisionError (unknown)."""
        request = await self._get(who, request_id)
        return (await self.seen(who, [request]))[0]

    async def _get(self, who: Principal, request_id: str) -> Request:
        who.require("approvals.read")
        request = await asyncio.to_thread(self.service.get, request_id)
        if request is None:
            raise DecisionError(
                ApprovalProblem.UNKNOWN, "there is no such approval", "Check the id."
            )
        return request

    async def seen(self, who: Principal, requests: Sequence[Request]) -> Sequence[Request]:
        """Requests as this person may see them: under their own masks where they may decide now;
        else without what is masked for somebody. Nothing that they are shown goes another way.
        """
        hiding = [request for request in requests if request.binding.recorded is not None]
        if not hiding:
            return requests
        why_not = await asyncio.to_thread(self._why_not, who, hiding)
        deciding = [request for request in hiding if not why_not[request.id]]
        own = await self.live.under_own_masks(who.subject, deciding)
        by_id = {request.id: not_deciding(request) for request in hiding}
        by_id |= {request.id: request for request in own}
        return [by_id.get(request.id, request) for request in requests]

    async def sample(self, who: Principal, request_id: str) -> Sample:
        """Rows that the statement would change, masked for this person. Only who may decide it now
        sees any. DecisionError (unknown).
        """
        request = await self._get(who, request_id)
        why_not = await asyncio.to_thread(self.why_not_decide, who, request)
        if why_not:
            return Sample(problem=f"rows are shown to people who may decide: {why_not}")
        return await self.live.sample(who.subject, request)

    def approve(self, who: Principal, request_id: str, reason: str = "") -> Request:
        """The request as it is then: still pending while a quorum is not complete. What is shown of
        it goes through :meth:`seen`, as for the next two.
        """
        return self.decide(who, request_id, True, reason)

    def deny(self, who: Principal, request_id: str, reason: str) -> Request:
        """``reason`` is read by whoever asked; without one it is not a denial (DecisionError)."""
        return self.decide(who, request_id, False, reason)

    def decide(self, who: Principal, request_id: str, approve: bool, reason: str) -> Request:
        who.require("approvals.decide")
        return self.service.decide(
            request_id, who.subject, approve, reason, self.channel, who.address
        )

    def grant(
        self,
        who: Principal,
        request_id: str,
        minutes: float,
        *,
        scope: str = "statement",
        reason: str = "",
    ) -> Grant:
        """Approve this one, and what is like it for a while. scope: statement | rule."""
        who.require("approvals.decide")
        return self.service.grant(
            request_id,
            minutes,
            who.subject,
            scope=scope,
            reason=reason,
            channel=self.channel,
            address=who.address,
        )

    def grants(self, who: Principal) -> Sequence[Grant]:
        """In force now, newest first."""
        who.require("approvals.read")
        return self.service.grants()

    def revoke(self, who: Principal, grant_id: str, reason: str = "") -> Grant:
        """Every reviewer may end every grant: it only takes permission away."""
        who.require("approvals.decide")
        return self.service.revoke(grant_id, who.subject, reason)

    def why_not_decide(self, who: Principal, request: Request) -> str:
        """Why this person could not decide it now, "" when they could. For showing buttons;
        :meth:`decide` asks again.
        """
        return self._why_not(who, [request])[request.id]

    def _why_not(self, who: Principal, requests: Sequence[Request]) -> dict[str, str]:
        if not who.may("approvals.decide"):
            return {request.id: "deciding needs the role reviewer" for request in requests}
        return self.service.why_not_each(requests, who.subject)


def request_data(request: Request, *, details: bool = True) -> dict[str, Any]:
    """A request as JSON values. ``details`` False: without statement, values, preview and reasons,
    for lists.

    ``sent``: what the database gets for ``sql``, with masks put into it; the same text where there
    are none. ``hidden``: why not all of it is shown, "" where all is. Bind values are text where
    they are UTF-8 in text format, else ``{"base64": ...}``.
    """
    binding, who = request.binding, request.subject
    data: dict[str, Any] = {
        "id": request.id,
        "status": request.status.value,
        "kind": request.kind,
        "target": binding.target,
        "rule": request.rule,
        "touches": list(request.touches),
        "subject": {
            "id": who.id, "issuer": who.issuer, "email": who.email, "groups": list(who.groups),
            "agent": who.agent, "actors": list(who.actors), "label": who.label,
        },
        "session": binding.session,
        "mode": request.mode,
        "in_transaction": request.in_transaction,
        "rules": [
            {
                "rule": requirement.rule,
                "reviewers": list(requirement.reviewers),
                "quorum": requirement.quorum,
                "approvals": request.approved_for(requirement),
            }
            for requirement in request.requirements
        ],
        "reviewers": list(request.may_decide),
        "quorum": request.minimum,
        "approvals": request.approvals,
        "created": rfc3339(request.created),
        "expires_at": rfc3339(request.expires_at),
    }  # fmt: skip
    if details:
        data |= {
            "sql": binding.sql,
            "sent": binding.sent,
            "binds": None if binding.binds is None else _binds(binding.binds, binding.bind_formats),
            "types": list(binding.types),
            "search_path": list(binding.search_path),
            "role": binding.role,
            "settings": dict(binding.settings),
            "policy_version": binding.policy_version,
            "epoch": binding.epoch,
            "digest": binding.digest,
            "decisions": [decision_data(d) for d in request.decisions],
            "preview": None if request.preview is None else preview_data(request.preview),
            "void_reason": request.void_reason,
            "grant": request.grant,
            "hidden": request.hidden,
        }
    return data


def decision_data(decision: Decision) -> dict[str, Any]:
    """A decision as JSON values."""
    names = ("reviewer", "issuer", "email", "approve", "reason", "at", "channel", "address")
    data = with_times({name: getattr(decision, name) for name in names}, "at")
    return {**data, "rules": list(decision.rules)}


def preview_data(preview: Preview) -> dict[str, Any]:
    """A preview as JSON values; ``plan`` is PostgreSQL's JSON, as text."""
    return {
        "plan": preview.plan,
        "rows": preview.rows,
        "actions": list(preview.actions),
        "locks": list(preview.locks),
        "dependants": list(preview.dependants),
        "problems": list(preview.problems),
        "seconds": preview.seconds,
    }


def sample_data(sample: Sample) -> dict[str, Any]:
    """A sample as JSON values: text as PostgreSQL writes it."""
    return {
        "columns": list(sample.columns),
        "rows": [list(row) for row in sample.rows],
        "masked": list(sample.masked),
        "problem": sample.problem,
    }


def grant_data(grant: Grant) -> dict[str, Any]:
    """A grant as JSON values."""
    return {
        "id": grant.id,
        "scope": grant.scope,
        "example": grant.example,
        "rule": grant.rule,
        "rules": list(grant.rules),
        "subject": {
            "id": grant.subject.id,
            "issuer": grant.subject.issuer,
            "email": grant.subject.email,
        },
        "target": grant.target,
        "decision": decision_data(grant.decision),
        "request": grant.request,
        "created": rfc3339(grant.created),
        "expires_at": rfc3339(grant.expires_at),
        "revoked_at": None if grant.revoked_at is None else rfc3339(grant.revoked_at),
        "revoked_by": grant.revoked_by,
        "uses": grant.uses,
    }


def _binds(values: tuple[bytes | None, ...], formats: tuple[int, ...]) -> list[Any]:
    """As in Bind: no format code means text for all, one means it for all."""
    out: list[Any] = []
    for index, value in enumerate(values):
        code = formats[index] if len(formats) > 1 else (formats[0] if formats else 0)
        out.append(value if value is None else _shown(value, code))
    return out


def _shown(value: bytes, code: int) -> Any:
    if code == 0:
        try:
            return value.decode()
        except UnicodeDecodeError:
            pass
    return {"base64": base64.b64encode(value).decode()}
