"""One connection's held statement: asking people, telling the client, and bringing the answer back.

The client gets a NOTICE at once and reminders; it may cancel, and its disappearance withdraws the request. Whatever ends the wait ends it once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import structlog

from sallyport.approvals.problems import refusal_of, sent_for_approval
from sallyport.approvals.service import Approvals
from sallyport.approvals.states import Binding, Request, Status
from sallyport.core.errors import Refusal, RefusedError, refuse
from sallyport.core.subject import Subject
from sallyport.policy.decision import Outcome
from sallyport.policy.model import Rule
from sallyport.server.databases import Database
from sallyport.session.holding import HeldStatement, Ruling

if TYPE_CHECKING:
    from sallyport.server.gateway import Gateway
    from sallyport.session.machine import Session

log = structlog.get_logger("sallyport.approvals")

_REMIND_SECONDS = 60.0

CANCELLED = refuse(
    "SP1403",
    "canceling statement due to user request, while it waited for approval",
    "The request was withdrawn; nothing ran.",
)


class Waiting:
    """Made for a session once it has begun. ``flush`` writes what the session has for its peers."""

    def __init__(
        self,
        gateway: Gateway,
        approvals: Approvals,
        session: Session,
        subject: Subject,
        database: Database,
        session_id: str,
        flush: Callable[[], None],
    ) -> None:
        self._gateway = gateway
        self._approvals = approvals
        self._session = session
        self._subject = subject
        self._database = database
        self._session_id = session_id
        self._flush = flush
        self._request = ""  # the id of what is waited for
        self._stop: Callable[[], None] | None = None
        self._reminder: asyncio.TimerHandle | None = None

    def ask(self, held: HeldStatement) -> None:
        """Find an approval that is there already, or ask for one."""
        rule = self._rule(held)
        try:
            if rule is None or rule.reviewers is None or not rule.reviewers.groups:
                raise RefusedError(held.verdict.refusal or refuse("SP1003", "this waits for approval"))
            self._ask(held, rule)
        except RefusedError as error:
            self._answer(Ruling(error.refusal))

    def _ask(self, held: HeldStatement, rule: Rule) -> None:
        binding = self._binding(held)
        kind, touches = held.verdict.facts.kind, self._touches(held)
        found = self._approvals.claim(binding, rule=rule.name, kind=kind, touches=touches)
        if found is not None:
            self._answer(self._approved(found))
            return
        groups, quorum = (rule.reviewers.groups, rule.reviewers.quorum) if rule.reviewers else ((), 1)
        seconds = rule.expires
        if held.in_transaction:
            seconds = min(seconds, self._gateway.limits.held_in_transaction_seconds)
        request = self._approvals.ask(
            binding,
            self._subject,
            rule=rule.name,
            reviewers=groups,
            quorum=quorum,
            expires_seconds=seconds,
            mode="async" if rule.mode == "async" else "wait",
            kind=kind,
            touches=touches,
            in_transaction=held.in_transaction,
        )
        self._session.recorder.note("approval", f"{request.id} asked for by rule {rule.name!r}")
        self._gateway.spawn(self._measure(request, held), "preview")
        if request.mode == "async":
            self._answer(Ruling(sent_for_approval(request, self._gateway.approval_address(request.id))))
            return
        self._request = request.id
        self._stop = self._approvals.watch(request.id, self._changed)
        self._tell(request)

    async def _measure(self, request: Request, held: HeldStatement) -> None:
        measure = self._gateway.measure
        if request.preview is not None or measure is None:
            return
        preview = await measure(self._database.query, held)
        try:
            self._approvals.previewed(request.id, preview)
        except RefusedError as error:
            log.info("preview came too late", request=request.id, reason=str(error))

    def _tell(self, request: Request) -> None:
        until = time.strftime("%H:%M:%S UTC", time.gmtime(request.expires_at))
        address = self._gateway.approval_address(request.id)
        self._session.say(
            f"this {request.kind} waits for approval {request.id} until {until}",
            f'Rule "{request.rule}" holds it; {request.quorum} of {", ".join(request.reviewers)} must approve it.',
            (f"It is decided at {address}. " if address else "")
            + "Cancel the statement to withdraw the request.",
        )
        self._flush()
        self._reminder = asyncio.get_running_loop().call_later(_REMIND_SECONDS, self._tell, request)

    def _changed(self, request: Request) -> None:
        if request.id != self._request or request.status is Status.PENDING:
            return
        who = ", ".join(d.email or d.reviewer for d in request.decisions)
        self._session.recorder.note(
            "approval", f"{request.id} {request.status.value}" + (f" by {who}" if who else "")
        )
        if request.status is Status.APPROVED:
            self._session.say(f"approval {request.id}: approved by {who}")
            self._answer(self._approved(request))
        else:
            self._answer(Ruling(refusal_of(request)))

    def _approved(self, request: Request) -> Ruling:
        def use(held: HeldStatement) -> Refusal | None:
            return self._approvals.use(request.id, self._binding(held))

        return Ruling(None, use)

    def _answer(self, ruling: Ruling) -> None:
        self._release()
        self._session.ruled(ruling)
        self._flush()

    def _release(self) -> str:
        request, self._request = self._request, ""
        if self._stop is not None:
            self._stop()
            self._stop = None
        if self._reminder is not None:
            self._reminder.cancel()
            self._reminder = None
        return request

    def cancel(self) -> bool:
        """The client cancels: withdraw. False when nothing waits."""
        request = self._release()
        if not request:
            return False
        self._approvals.withdraw(request, "the client cancelled the statement")
        self._session.ruled(Ruling(CANCELLED))
        self._flush()
        return True

    def gone(self, reason: str) -> None:
        """The session is over: nobody waits any more."""
        request = self._release()
        if request:
            self._approvals.withdraw(request, reason)

    # -- describing ----------------------------------------------------------------------------------------------

    def _rule(self, held: HeldStatement) -> Rule | None:
        policy = self._session.view.judge_.policy
        return next(
            (r for r in policy.rules if r.name == held.verdict.rule and r.effect is Outcome.HOLD), None
        )

    def _binding(self, held: HeldStatement) -> Binding:
        return Binding(
            sql=held.sql,
            binds=held.binds,
            bind_formats=held.bind_formats,
            target=self._database.name,
            subject=self._subject.id,
            issuer=self._subject.issuer,
            session=self._session_id,
            policy_version=held.policy_version,
            epoch=held.epoch,
            search_path=held.search_path,
            role=self._session.view.catalog.role,
        )

    def _touches(self, held: HeldStatement) -> tuple[str, ...]:
        relations = self._session.view.catalog.relations
        found = [
            f"{access.action} {relations[access.relation].qualified}"
            for access in held.verdict.facts.accesses
            if access.relation in relations
        ]
        return tuple(dict.fromkeys(found))
