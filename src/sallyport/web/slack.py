"""``POST /slack/interactions``: what people click in Slack. The console's other rules for posts
(sign-in, CSRF token) do not apply: the request is signed by Slack
(:mod:`sallyport.approvals.channels.slack`), carries no cookie, and nothing in it is believed before
its signature is.

A click on Approve decides; a click on Deny opens a form for the reason, whose submission decides.
Who clicked is looked up in the configuration and then passes
:class:`~sallyport.operations.approvals.ApprovalOperations` like everybody else. Slack is answered
within its three seconds; what did not work is said to the person alone.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

import structlog
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from sallyport.approvals.channels import slack_blocks
from sallyport.approvals.channels.slack import Slack
from sallyport.approvals.service import Approvals
from sallyport.approvals.states import plain
from sallyport.audit import events as ev
from sallyport.core.errors import RefusedError
from sallyport.operations.access import ForbiddenError, Principal
from sallyport.operations.approvals import ApprovalOperations
from sallyport.web.console import Console, console_of

log = structlog.get_logger("sallyport.web")

PATH = "/slack/interactions"


async def interactions(request: Request) -> Response:
    """404 when Slack is not configured, 401 for what is not Slack's, 400 for what Slack would not
    send, else 200.
    """
    console = console_of(request)
    slack, approvals = console.services.slack, console.services.approvals
    if slack is None or approvals is None:
        return PlainTextResponse("Slack is not configured here.\n", 404)
    body = await request.body()
    headers = request.headers
    problem = slack.verify(
        headers.get("x-slack-request-timestamp", ""), headers.get("x-slack-signature", ""), body
    )
    if problem:
        log.warning("a request that is not Slack's was refused", reason=problem)
        return PlainTextResponse("This request is not signed by Slack, or it is too old.\n", 401)
    payload = _payload(body)
    if payload is None:
        return PlainTextResponse("This is not an interaction.\n", 400)
    return await _Interaction(console, slack, approvals, payload).answer()


def _payload(body: bytes) -> dict[str, Any] | None:
    try:
        (text,) = parse_qs(body.decode("ascii"), strict_parsing=True, max_num_fields=10)["payload"]
        payload = json.loads(text)
    except (ValueError, KeyError, RecursionError):
        return None
    return payload if isinstance(payload, dict) else None


def _text(value: Any, *path: str | int) -> str:
    """The text at this place, "" when there is none."""
    for step in path:
        if isinstance(step, int):
            value = value[step] if isinstance(value, list) and len(value) > step else None
        else:
            value = value.get(step) if isinstance(value, dict) else None
    return value if isinstance(value, str) else ""


@dataclass(frozen=True, slots=True)
class _Interaction:
    console: Console
    slack: Slack
    approvals: Approvals
    payload: dict[str, Any]

    async def answer(self) -> Response:
        kind, payload = _text(self.payload, "type"), self.payload
        if kind == "block_actions":
            action, request_id = (
                _text(payload, "actions", 0, "action_id"),
                _text(payload, "actions", 0, "value"),
            )
            if action == slack_blocks.APPROVE:
                await self._approve(request_id)
            elif action == slack_blocks.DENY:
                await self._ask_reason(request_id)
        elif (
            kind == "view_submission"
            and _text(payload, "view", "callback_id") == slack_blocks.MODAL
        ):
            return self._deny()
        # What we did not ask for (a button that is a link, a closed form) is received, and nothing
        # happens.
        return Response(status_code=200)

    def _principal(self) -> Principal:
        """Raises ForbiddenError for somebody whom configuration does not know."""
        user = _text(self.payload, "user", "id")
        team = _text(self.payload, "team", "id") or _text(self.payload, "user", "team_id")
        subject = self.slack.subject(user, team)
        if subject is None:
            log.warning("a Slack user without a person", user=plain(user, 40), team=plain(team, 40))
            raise ForbiddenError(
                f"Sallyport does not know the Slack user {plain(user, 40)}. "
                "The gateway's operator can add them to approvals.slack.people."
            )
        lock = self.console.services.locks.of(subject)
        if lock is not None:
            raise ForbiddenError(f"{lock.refusal().text}. Reason: {lock.reason}")
        return self.console.services.access.principal(subject, f"slack:{user}")

    def _decide(self, request_id: str, approve: bool, reason: str) -> str:
        """ "" or why not, for the person."""
        actions = self.console.services.actions
        if actions.failed:
            return "Decisions cannot be recorded now, so this one does not count."
        who, outcome = None, ev.REFUSED
        try:
            who = self._principal()
            problem = self._decide_as(who, request_id, approve, reason)
            outcome = ev.FAILED if problem else ev.DONE
        except ForbiddenError as error:
            problem = str(error)
        except RefusedError as error:
            problem, outcome = f"{error.refusal.message}. {error.refusal.hint}".strip(), ev.FAILED
        actions.record(
            "approvals.decide",
            None if who is None else who.subject,
            f"slack:{_text(self.payload, 'user', 'id')}" if who is None else who.address,
            "slack",
            object_id=request_id,
            outcome=outcome,
            reason=problem,
            details={"approve": str(approve).lower(), "reason": reason},
        )
        return problem

    def _decide_as(self, who: Principal, request_id: str, approve: bool, reason: str) -> str:
        """ "" or why not. Raises ForbiddenError, RefusedError."""
        operations = ApprovalOperations(self.approvals, "slack", self.console.services.gateway)
        who.require("approvals.decide")
        request = self.approvals.get(request_id)
        if approve and request and (why_not := slack_blocks.why_not_approved(request)):
            return why_not
        operations.decide(who, request_id, approve, reason)
        return ""

    async def _approve(self, request_id: str) -> None:
        problem = self._decide(request_id, True, "")
        if problem:
            await self._say(problem)
            self._refresh(request_id)

    async def _ask_reason(self, request_id: str) -> None:
        problem = ""
        try:
            self._principal().require("approvals.decide")
        except ForbiddenError as error:
            problem = str(error)
        request = self.approvals.get(request_id)
        if not problem and (request is None or request.status.final):
            problem = "This request has already been decided or has ended."
        if not problem:
            trigger = _text(self.payload, "trigger_id")
            if not await asyncio.to_thread(self.slack.ask_reason, trigger, request_id):
                problem = (
                    "Slack did not open the form for the reason. Try again, or deny it in the"
                    " console."
                )
        if problem:
            await self._say(problem)
        self._refresh(request_id)

    def _deny(self) -> Response:
        view = self.payload.get("view")
        where = ("state", "values", slack_blocks.REASON, slack_blocks.REASON, "value")
        problem = self._decide(_text(view, "private_metadata"), False, _text(view, *where))
        if problem:
            return JSONResponse(
                {"response_action": "errors", "errors": {slack_blocks.REASON: problem[:500]}}
            )
        return Response(status_code=200)

    async def _say(self, problem: str) -> None:
        channel, user = (
            _text(self.payload, "container", "channel_id"),
            _text(self.payload, "user", "id"),
        )
        if channel and user:
            await asyncio.to_thread(self.slack.tell, channel, user, problem)

    def _refresh(self, request_id: str) -> None:
        """The message is where the click came from, whatever was remembered of it."""
        request = self.approvals.get(request_id)
        if request is not None:
            container = self.payload.get("container")
            self.slack.refresh(
                request, _text(container, "channel_id"), _text(container, "message_ts")
            )
