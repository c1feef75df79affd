"""One connection's held statement: asking people, telling the client, and bringing the answer back.

The client gets a NOTICE at once and reminders; it may cancel, and its disappearance withdraws the
request; a gateway that stops voids it. Whatever ends the wait ends it once. The session's recording
gets the request, its preview, every decision with who, when, whence and why, and the end.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace

import structlog

from sallyport.approvals.problems import refusal_of, sent_for_approval
from sallyport.approvals.seeing import anybody_may_see
from sallyport.approvals.service import Approvals
from sallyport.approvals.states import (
    ApprovalRequirement,
    Binding,
    Mode,
    Request,
    Status,
    plain,
)
from sallyport.core.errors import Refusal, RefusedError, refuse
from sallyport.core.subject import Subject
from sallyport.judge import Verdict
from sallyport.policy.decision import Outcome
from sallyport.policy.model import Reviewers, Rule
from sallyport.server import approval_notes
from sallyport.server.databases import Database
from sallyport.server.gateway import Gateway
from sallyport.server.peers import PeerState
from sallyport.server.ports import ClientPort
from sallyport.session.clearance import CATALOG_UNKNOWN
from sallyport.session.held import HeldStatement, Ruling, WatchHold
from sallyport.session.holding import left_waiting
from sallyport.session.machine import Session
from sallyport.session.states import ClientState

log = structlog.get_logger("sallyport.approvals")

#: Between two looks at the client of a held statement (seconds).
_POLL_SECONDS = 1.0
#: Looks at the client for each look at the request.
_POLLS_BETWEEN_LOOKS = 3
#: The longest time between reminders, as a multiple of the first.
_RAREST_REMINDER = 10
#: How long the catalog may take to be read before an approved statement runs.
_CATALOG_SECONDS = 30.0

SETTINGS_CHANGED = refuse(
    "SP1003",
    "this needs approval, which cannot be requested from a session with changed settings",
    "The session changed a setting that changes what statements mean and that PostgreSQL does not"
    " report (such as bytea_output or default_text_search_config); it could be another when the"
    " approval is used.",
    "Send it from a session that has not changed such settings.",
)
CANCELLED = refuse(
    "SP1403",
    "canceling statement due to user request, while it waited for approval",
    "The request was withdrawn, and nothing was executed.",
)
GONE = refuse(
    "SP1404",
    "the request for approval cannot be read any more",
    hint="Send the statement again to request a new approval.",
)


class HeldStatementWait:
    """Made for a session once it has begun. ``flush`` writes what the session has for its peers.
    ``port``: the client's, polled for disconnects: while a session waits its socket may not be
    read, so EOF would go unnoticed behind buffered data.
    """

    def __init__(
        self,
        gateway: Gateway,
        approvals: Approvals,
        session: Session,
        subject: Subject,
        database: Database,
        session_id: str,
        flush: Callable[[], None],
        port: ClientPort,
    ) -> None:
        self._gateway = gateway
        self._approvals = approvals
        self._session = session
        self._subject = subject
        self._database = database
        self._session_id = session_id
        self._flush = flush
        self._port = port
        self._polling: asyncio.TimerHandle | None = None
        self._polls = 0
        self._request = ""  # the id of what is waited for
        self._approved_pending_check = False  # it is approved, and about to run
        self._verdict: Verdict | None = None  # of the statement that waits
        self._held: HeldStatement | None = None  # that statement, until there is an answer
        self._noted = 0  # decisions that are in the recording
        self._stop: Callable[[], None] | None = None
        self._reminder: asyncio.TimerHandle | None = None

    def renewed(self, subject: Subject) -> None:
        """The session goes on under a fresh token."""
        self._subject = subject

    def ask(self, held: HeldStatement) -> None:
        """Find an approval that is there already, or ask for one."""
        rules = self._rules(held)
        self._verdict, self._held, self._noted = held.verdict, held, 0
        try:
            if not rules or any(
                rule.reviewers is None or not rule.reviewers.groups for rule in rules
            ):
                raise RefusedError(_refusal(held))
            self._ask(held, rules)
        except RefusedError as error:
            self._answer(self._refusal_ruling(error.refusal))

    def _ask(self, held: HeldStatement, rules: list[Rule]) -> None:
        """By all rules that hold it: who must agree for each, the shortest deadline, and waiting
        unless all of them are asynchronous.

        An approval that waits is for one session, so it is the narrower one.
        """
        binding = self._binding(held)
        judge = self._session.names.subject_judge
        binding = replace(binding, recorded=anybody_may_see(judge, held.verdict, binding))
        kind, touches = held.verdict.facts.kind, self._touches(held)
        mode: Mode = "async" if all(rule.mode == "async" for rule in rules) else "wait"
        if mode == "async" and self._session.settings.has_unreported_changes:
            raise RefusedError(SETTINGS_CHANGED)
        approved = self._approvals.claim(binding, kind=kind, touches=touches)
        if approved is not None:
            self._note(approved)
            self._stop = self._approvals.watch(approved.id, self._changed)
            self._let_run(approved)
            return
        first, *additional = [
            ApprovalRequirement(
                rule.name, tuple(sorted(rule.reviewers.groups)), rule.reviewers.quorum
            )
            for rule in rules
            if rule.reviewers is not None
        ]
        seconds = min(rule.expires for rule in rules)
        # what was sent for approval keeps nothing locked
        if held.in_transaction and mode != "async":
            seconds = min(seconds, self._gateway.limits.held_in_transaction_seconds)
        request = self._approvals.ask(
            binding,
            self._subject,
            rule=first.rule,
            reviewers=first.reviewers,
            quorum=first.quorum,
            expires_seconds=seconds,
            mode=mode,
            kind=kind,
            touches=touches,
            in_transaction=held.in_transaction,
            additional=additional,
        )
        self._session.recorder.note("approval", approval_notes.asked(request))
        self._gateway.spawn(self._measure(request, held), "preview")
        if request.mode == "async":
            self._answer(
                self._refusal_ruling(
                    sent_for_approval(request, self._gateway.approval_address(request.id))
                )
            )
            return
        self._request = request.id
        self._stop = self._approvals.watch(request.id, self._changed)
        self._tell(request)
        self._poll_client()
        now = self._approvals.get(request.id)
        if now is not None and now.status is not Status.PENDING:
            self._changed(now)  # it was decided before anybody watched

    async def _measure(self, request: Request, held: HeldStatement) -> None:
        measure = self._gateway.measure
        if request.preview is not None or measure is None:
            return
        preview = await measure(self._database.query, held)
        try:
            self._approvals.previewed(request.id, preview)
            if self._session.client_state is not ClientState.CLOSED:
                measured = approval_notes.measured(preview, request.binding.recorded is not None)
                self._session.recorder.note("approval", f"{request.id} preview: {measured}")
        except RefusedError as error:
            log.info("preview came too late", request=request.id, reason=str(error))

    def _tell(self, request: Request) -> None:
        until = time.strftime("%H:%M:%S UTC", time.gmtime(request.expires_at))
        address = self._gateway.approval_address(request.id)
        watch = self._held.watch if self._held is not None else None
        because = f"Finding {watch.finding}: {watch.evidence}. " if watch is not None else ""
        self._session.send_notice(
            f"this {request.kind} waits for approval {request.id} until {until}",
            f"{because}{request.held}; {request.wants} must approve it.",
            (f"It is decided at {address}. " if address else "")
            + "Cancel the statement to withdraw the request.",
        )
        self._flush()
        self._remind_after(self._gateway.limits.held_reminder_seconds, request)

    def _remind_after(self, seconds: float, request: Request) -> None:
        loop = asyncio.get_running_loop()
        self._reminder = loop.call_later(seconds, self._remind, seconds, request)

    def _remind(self, seconds: float, request: Request) -> None:
        """One line, and less and less often: who waits was told everything at first."""
        until = time.strftime("%H:%M:%S UTC", time.gmtime(request.expires_at))
        self._session.send_notice(
            f"this {request.kind} still waits for approval {request.id} until {until}"
        )
        self._flush()
        longest = self._gateway.limits.held_reminder_seconds * _RAREST_REMINDER
        self._remind_after(min(2 * seconds, longest), request)

    def _poll_client(self) -> None:
        """Is the client still there? Where it is not, its connection ends now, and with it the
        request.
        """
        if self._port.peer_state() is not PeerState.PRESENT:
            self._port.close(at_once=True)
            return
        self._polling = asyncio.get_running_loop().call_later(_POLL_SECONDS, self._poll_client)
        self._polls += 1
        if self._polls % _POLLS_BETWEEN_LOOKS == 0 and self._request:
            self._look()

    def _look(self) -> None:
        """What became of the request: nobody waits for ever because a message was lost."""
        try:
            request = self._approvals.get(self._request)
        except RefusedError:
            return  # the store does not answer; it is asked again
        if request is not None:
            self._changed(request)
        else:
            self._answer(self._refusal_ruling(GONE))

    def _changed(self, request: Request) -> None:
        if request.id != self._request:
            return
        self._note(request)
        if request.status is Status.PENDING or (
            request.status is Status.APPROVED and self._approved_pending_check
        ):
            return
        if request.status is Status.APPROVED:
            who = ", ".join(plain(d.email or d.reviewer, 200) for d in request.decisions)
            self._session.send_notice(f"approval {request.id}: approved by {who}")
            self._let_run(request)
        else:
            self._answer(self._refusal_ruling(refusal_of(request)))

    def _let_run(self, request: Request) -> None:
        """It runs once the catalog was looked at: what somebody made of a view or a function since
        it was judged voids the approval.
        """
        self._request, self._approved_pending_check = request.id, True
        if self._reminder is not None:
            self._reminder.cancel()
        self._gateway.spawn(self._check_and_run(request), "let an approved statement run")

    async def _check_and_run(self, request: Request) -> None:
        is_readable = await self._read_catalog()
        if self._request != request.id:
            return  # cancelled, gone, or void meanwhile
        if is_readable:
            self._answer(self._approved(request), request.id)
            return
        self._end(self._approvals.void, request.id, "the catalog could not be read before it ran")
        self._answer(self._refusal_ruling(CATALOG_UNKNOWN))

    async def _read_catalog(self) -> bool:
        try:
            async with asyncio.timeout(_CATALOG_SECONDS):
                await self._database.refresh(force=True)
        except Exception as error:  # noqa: BLE001  the client gets a refusal and does not wait
            log.error("the catalog could not be read for an approved statement", reason=repr(error))
            return False
        return self._database.readable

    def _approved(self, request: Request) -> Ruling:
        def use(held: HeldStatement) -> Refusal | None:
            return self._approvals.use(request.id, self._binding(held))

        return Ruling(None, self._verdict, use)

    def _refusal_ruling(self, refusal: Refusal) -> Ruling:
        return Ruling(refusal, self._verdict)

    def _answer(self, ruling: Ruling, approved: str = "") -> None:
        """``approved``: the request that lets it run. Where it was not needed (the policy of now
        allows or refuses it), it is void.
        """
        self._release()
        self._session.on_ruling(ruling)
        if approved:
            self._end(
                self._approvals.void, approved, "the statement was judged again and did not need it"
            )
            ended = self._approvals.get(approved)
            if ended is not None:
                self._session.recorder.note("approval", approval_notes.ended(ended))
        self._flush()

    def _note(self, request: Request) -> None:
        """Everything about the request that this session's recording does not have yet."""
        note = self._session.recorder.note
        for decision in request.decisions[self._noted :]:
            note("approval", approval_notes.decided(request, decision))
        self._noted = len(request.decisions)
        if request.status not in (Status.PENDING, Status.APPROVED, Status.DENIED):
            note("approval", approval_notes.ended(request))

    def _end(self, how: Callable[[str, str], Request], request_id: str, reason: str) -> None:
        """Withdraw or void. What cannot be stored is logged: the wait is over all the same, and no
        approval for it can be used.
        """
        try:
            how(request_id, reason)
        except RefusedError as error:
            log.error("the end of a request is not stored", request=request_id, reason=str(error))

    def _release(self) -> str:
        request, self._request = self._request, ""
        self._held, self._approved_pending_check = None, False
        if self._stop is not None:
            self._stop()
            self._stop = None
        if self._reminder is not None:
            self._reminder.cancel()
            self._reminder = None
        if self._polling is not None:
            self._polling.cancel()
            self._polling = None
        return request

    @property
    def waits(self) -> bool:
        """Whether a held statement waits for people now."""
        return bool(self._request)

    def cancel(self) -> bool:
        """The client cancels: withdraw. False when nothing waits."""
        request = self._release()
        if not request:
            return False
        self._end(self._approvals.withdraw, request, "the client cancelled the statement")
        self._session.recorder.note(
            "approval", f"{request} withdrawn: the client cancelled the statement"
        )
        self._session.on_ruling(self._refusal_ruling(CANCELLED))
        self._flush()
        return True

    def on_disconnect(self, reason: str) -> None:
        """The session is over: nobody waits any more."""
        held, request = self._held, self._release()
        if not request:
            return
        if held is not None:
            left_waiting(self._session, held)
        end = self._approvals.void if self._gateway.stopping else self._approvals.withdraw
        self._end(end, request, reason)
        word = "void" if self._gateway.stopping else "withdrawn"
        self._session.recorder.note("approval", f"{request} {word}: {reason}")

    # -- describing --------------------------------------------------------------------------------

    def _rules(self, held: HeldStatement) -> list[Rule]:
        """The rules that hold it, in the policy's order; [] when the policy of now has not all of
        them. One that asks for containment counts for this containment: what was granted under it
        does not outlast it.
        """
        names = _policy_rules(held)
        policy = self._session.names.subject_judge.policy
        rules_by_name = [
            rule for rule in policy.rules if rule.name in names and rule.effect is Outcome.HOLD
        ]
        if len(rules_by_name) != len(names):
            return []
        contained = self._session.names.subject_judge.subject_policy.contained
        if contained is not None:
            rules_by_name = [
                replace(rule, name=f"{rule.name} ({contained.id})")
                if rule.when is not None and rule.when.reads_containment
                else rule
                for rule in rules_by_name
            ]
        if held.watch is not None:
            rules_by_name.append(_finding_rule(held.watch, self._gateway.watch_reviewers))
        return rules_by_name

    def release_finding(self) -> None:
        """The finding was acknowledged: what waits because of it is judged again without it."""
        held = self._held
        if held is None or held.watch is None:
            return
        request = self._release()
        if request:
            self._end(self._approvals.void, request, "the finding was acknowledged")
            text = f"{request} voided: the finding was acknowledged"
            self._session.recorder.note("approval", text)
        self._session.resume()
        self._flush()

    def _binding(self, held: HeldStatement) -> Binding:
        return Binding(
            sql=held.sql,
            sent=held.sent,
            binds=held.binds,
            bind_formats=held.bind_formats,
            target=self._database.name,
            subject=self._subject.id,
            issuer=self._subject.issuer,
            session=self._session_id,
            policy_version=held.policy_version,
            epoch=held.epoch,
            search_path=held.search_path,
            role=self._session.names.subject_judge.catalog.role,
            rules=tuple([rule.name for rule in self._rules(held)]),
            settings=held.settings,
            types=held.types,
        )

    def _touches(self, held: HeldStatement) -> tuple[str, ...]:
        relations = self._session.names.subject_judge.catalog.relations
        names = [
            f"{access.action} {relations[access.relation].qualified}"
            for access in held.verdict.facts.accesses
            if access.relation in relations
        ]
        return tuple(dict.fromkeys(names))


def _refusal(held: HeldStatement) -> Refusal:
    """Why it waits."""
    if held.verdict.refusal is None and held.watch is not None:
        return held.watch.refusal()
    return held.verdict.refusal or refuse("SP1003", "this waits for approval")


def _policy_rules(held: HeldStatement) -> tuple[str, ...]:
    decision = held.verdict.decision
    return decision.holds if decision is not None else ()


def _finding_rule(watch: WatchHold, reviewers: Reviewers) -> Rule:
    """What stands for a finding where rules are expected."""
    return Rule(watch.rule, Outcome.HOLD, frozenset(), (), reviewers=reviewers)
