"""Approvals: asking, deciding, using. Every rule that keeps an approval honest is here; entrances
only call it.

What it promises:

- An approval is for one :class:`Binding`, is used once, and not after its deadline. Anything that
  moved voids it, and it says what.
- Only members of a rule's reviewer groups decide, never the person who asked (by any name of
  theirs), each person once. One denial denies, and says why. ``quorum`` approvals of different
  people satisfy a rule; where several rules hold a statement, all must be satisfied, and a person's
  word counts for each rule that they are a reviewer of.
- A decision is in the store before it takes effect. What cannot be stored has not happened:
  RefusedError SP1801.
- Held statements (mode ``wait``) of a process that is gone are voided; asynchronous requests live
  on. Other processes may have the same store (:mod:`sallyport.approvals.openrequests`).

Everything is synchronous and small. The store commits before the call returns, so nothing can come
between a check and its effect. Methods may be called from any thread; callbacks of
:meth:`Approvals.watch` run on the event loop on which they were registered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Final

from sallyport.approvals import grants as granting
from sallyport.approvals.endings import RequestEndings
from sallyport.approvals.openrequests import OpenRequests, Sharing
from sallyport.approvals.people import Identities, same_person
from sallyport.approvals.ports import ApprovalStore, Notifier
from sallyport.approvals.problems import ApprovalProblem, DecisionError, closed, refusal_of
from sallyport.approvals.request_limiter import RequestLimiter
from sallyport.approvals.states import (
    ApprovalRequirement,
    Binding,
    Decision,
    FloodLimits,
    Grant,
    Mode,
    Preview,
    Request,
    Requester,
    Status,
)
from sallyport.approvals.watching import Callback
from sallyport.core.clock import Clock
from sallyport.core.errors import Refusal, RefusedError
from sallyport.core.ids import new_id
from sallyport.core.subject import Subject

#: Characters of a reason.
MAX_REASON: Final = 2000


class Approvals(RequestEndings):
    """``identities`` says who is the same person as whom."""

    def __init__(
        self,
        store: ApprovalStore,
        clock: Clock,
        *,
        limits: FloodLimits | None = None,
        notifiers: Sequence[Notifier] = (),
        identities: Identities | None = None,
        sharing: Sharing | None = None,
    ) -> None:
        super().__init__(store, clock, OpenRequests(store, clock, tuple(notifiers), sharing))
        self._flood = RequestLimiter(limits or FloodLimits(), store)
        self._identities = identities or Identities()
        self._shared.load()
        self.void_left()
        self.expire_due()

    def heard(self, body: str) -> None:
        """What another process announced. Raises RefusedError."""
        with self._lock:
            self._shared.heard(body)

    def reread(self) -> None:
        """Take what the store has now: messages may have been lost. Raises RefusedError."""
        with self._lock:
            self._shared.reread()

    # -- asking ------------------------------------------------------------------------------------

    def ask(
        self,
        binding: Binding,
        subject: Subject,
        *,
        rule: str,
        reviewers: Iterable[str],
        quorum: int,
        expires_seconds: float,
        mode: Mode,
        kind: str,
        touches: Iterable[str] = (),
        in_transaction: bool = False,
        additional: Iterable[ApprovalRequirement] = (),
    ) -> Request:
        """A new pending request, or the one that is pending for exactly this already.

        ``additional``: what other rules that hold it want, besides ``rule``, ``reviewers`` and
        ``quorum``. The binding gets the names of all.

        Raises RefusedError: SP1401 (too many open requests), SP1402 (async: denied a moment ago,
        with the reason), SP1105 (too large to be reviewed), SP1801. ValueError for a request that
        nobody could ever approve, or that is not the subject's own.
        """
        if mode == "async":
            binding = replace(binding, session="")
        requirements = (ApprovalRequirement(rule, tuple(sorted(reviewers)), quorum), *additional)
        binding = replace(binding, rules=tuple(requirement.rule for requirement in requirements))
        self._flood.check_asked(binding, subject, requirements, expires_seconds)
        with self._lock:
            self._take_up()
            joined = self._joined(binding, mode, requirements)
            if joined is not None:
                return joined
            if mode == "async":
                self._told_before(binding)
            now = self._clock.now()
            self._flood.admit((subject.issuer, subject.id), self.pending(), now)
            request = Request(
                new_id("apr"),
                binding,
                self._requester(subject),
                rule,
                requirements[0].reviewers,
                quorum,
                kind,
                tuple(touches),
                now,
                now + min(expires_seconds, self._flood.limits.expires_seconds),
                mode,
                in_transaction,
                additional=requirements[1:],
                owner=self._shared.owner,
            )
            self._store.add(request)
            self._shared.changed("asked", request)
            return request

    def claim(
        self, binding: Binding, *, kind: str = "", touches: Iterable[str] = ()
    ) -> Request | None:
        """An approved request that lets this statement run now, or None: then :meth:`ask`. Follow
        it with :meth:`use`.

        Finds what was approved asynchronously, and grants; ``binding.rules`` says which rules hold
        it. Raises RefusedError SP1404, once, when the same statement was approved and something
        moved since; SP1801.
        """
        with self._lock:
            self._take_up()
            anywhere = replace(binding, session="")
            mine = [
                r
                for r in self._open.values()
                if r.mode == "async" and r.binding.same_statement(anywhere)
            ]
            for request in (r for r in mine if r.status is Status.APPROVED):
                moved = self._moved(request, anywhere)
                if not moved:
                    return request
                ended = self._end(request, Status.VOIDED, moved)
                raise RefusedError(refusal_of(ended))
            grant = granting.find(self._grants.values(), binding, self._clock.now())
            return self._claim_grant(grant, binding, kind, tuple(touches)) if grant else None

    def _claim_grant(
        self, grant: Grant, binding: Binding, kind: str, touches: tuple[str, ...]
    ) -> Request | None:
        if not self._store.use_grant(grant.id):  # revoked elsewhere since it was read
            del self._grants[grant.id]
            return None
        self._grants[grant.id] = replace(grant, uses=grant.uses + 1)
        request = granting.request_for(grant, binding, kind, touches, self._clock.now())
        request = replace(request, owner=self._shared.owner)
        self._store.add(request)
        self._shared.changed("approved", request)
        return request

    def use(self, request_id: str, binding: Binding) -> Refusal | None:
        """Spend the approval on this statement. None: it may run, now. Otherwise why not; never
        raises for the store.
        """
        with self._lock:
            try:
                return self._use(request_id, binding)
            except RefusedError as error:
                return error.refusal

    def _use(self, id_: str, binding: Binding) -> Refusal | None:
        request = self._find(id_)
        if request.status is not Status.APPROVED:
            return refusal_of(request)
        if request.mode == "async":
            binding = replace(binding, session="")
        if moved := self._moved(request, binding):
            return refusal_of(self._end(request, Status.VOIDED, moved))
        grant = self._grants.get(request.grant)
        if request.grant and (grant is None or not grant.live(self._clock.now())):
            return refusal_of(self._end(request, Status.VOIDED, "its grant has ended"))
        self._end(request, Status.USED, "")
        return None

    def _moved(self, request: Request, binding: Binding) -> str:
        return ", ".join(request.binding.moved(binding))

    # -- deciding ----------------------------------------------------------------------------------

    def decide(
        self,
        request_id: str,
        reviewer: Subject,
        approve: bool,
        reason: str,
        channel: str,
        address: str = "",
    ) -> Request:
        """One person's word. The request as it is afterwards. Raises DecisionError (SP1405),
        RefusedError (SP1801).
        """
        with self._lock:
            request = self._find(request_id)
            decision = self._decision(request, reviewer, approve, reason, channel, address)
            return self._decided(request, decision)

    def _decided(self, request: Request, decision: Decision, grant: Grant | None = None) -> Request:
        decided = replace(request, decisions=(*request.decisions, decision))
        if not decision.approve:
            decided = replace(decided, status=Status.DENIED)
        elif decided.complete:
            decided = replace(decided, status=Status.APPROVED)
        self._write(decided, request.status, decision=decision, grant=grant)
        self._shared.changed(
            "decided" if decided.status is Status.PENDING else decided.status.value, decided
        )
        return decided

    def _decision(
        self, request: Request, who: Subject, approve: bool, reason: str, channel: str, address: str
    ) -> Decision:
        """Checked: this person may decide this, now."""
        links, rules = self._may_review(request, who)
        if request.status is not Status.PENDING:
            raise closed(request)
        if any(same_person(d.links, links) for d in request.decisions):
            raise DecisionError(
                ApprovalProblem.TWICE, "you have already decided about this request"
            )
        reason = reason.strip()
        if not approve and not any(c.isprintable() and not c.isspace() for c in reason):
            raise DecisionError(
                ApprovalProblem.NO_REASON, "a denial needs a reason", "The requester will read it."
            )
        if len(reason) > MAX_REASON:
            raise DecisionError(
                ApprovalProblem.INVALID, f"the reason is longer than {MAX_REASON} characters"
            )
        now = self._clock.now()
        return Decision(
            who.id, who.issuer, who.email, approve, reason, now, channel, address, links, rules
        )

    def why_not_each(self, requests: Sequence[Request], who: Subject) -> dict[str, str]:
        """By id, why this person could not approve it now, in words; "" where they could."""
        with self._lock:
            self._take_up()
            why_not = dict.fromkeys((request.id for request in requests), "")
            for request in requests:
                try:
                    now = request if request.status.final else self._taken_up(request.id)
                    self._decision(now, who, True, "", "", "")
                except DecisionError as error:
                    why_not[request.id] = error.refusal.message
            return why_not

    def _may_review(
        self, request: Request, who: Subject
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The person's links, and the rules that they are a reviewer of.

        Raises DecisionError when they are a reviewer of none of the rules, or asked for it
        themselves.
        """
        if not who.id or (who.expires_at and who.expires_at <= self._clock.now()):
            raise DecisionError(
                ApprovalProblem.NOT_REVIEWER, "your sign-in has expired", "Sign in again."
            )
        rules = tuple(
            requirement.rule
            for requirement in request.requirements
            if who.groups & set(requirement.reviewers)
        )
        if not rules:
            raise DecisionError(
                ApprovalProblem.NOT_REVIEWER,
                f"you may not decide about {request.id}",
                f"Members of {', '.join(request.may_decide)} can decide.",
            )
        links = self._identities.links(who)
        # The alias map may have grown since it was asked; what was stored counts as well.
        asked = {*request.subject.links, *self._identities.links(request.subject.as_subject())}
        if same_person(asked, links):
            raise DecisionError(
                ApprovalProblem.SELF,
                "you cannot decide about a statement of your own",
                "Ask another reviewer.",
            )
        return links, rules

    # -- grants ------------------------------------------------------------------------------------

    def grant(
        self,
        request_id: str,
        minutes: float,
        reviewer: Subject,
        *,
        scope: str = "statement",
        reason: str = "",
        channel: str = "",
        address: str = "",
    ) -> Grant:
        """Approve this request, and for ``minutes`` from now what its subject runs likewise. scope:
        statement | rule.

        A request that was approved or used already gives a grant all the same. Raises DecisionError
        (also where the rule wants more than one person: a grant is one person's word), RefusedError
        (SP1801).
        """
        with self._lock:
            request = self._find(request_id)
            self._may_review(request, reviewer)
            granting.check(request, minutes, scope)
            if request.status is Status.PENDING:
                decision = self._decision(request, reviewer, True, reason, channel, address)
            elif request.status in (Status.APPROVED, Status.USED):
                pending = replace(request, status=Status.PENDING, decisions=())
                decision = self._decision(pending, reviewer, True, reason, channel, address)
            else:
                raise closed(request)
            granting.check_alone(request, decision)
            grant = granting.make(request, decision, minutes, scope)
            if request.status is Status.PENDING:
                self._decided(request, decision, grant)
            else:
                self._write(request, request.status, grant=grant)
                self._shared.changed("granted", request)
            self._grants[grant.id] = grant
            return grant

    def grants(self) -> list[Grant]:
        """Those in force, newest first."""
        with self._lock:
            now = self._clock.now()
            live = [grant for grant in self._grants.values() if grant.live(now)]
            return sorted(live, key=lambda grant: grant.created, reverse=True)

    def revoke(self, grant_id: str, who: Subject | None, reason: str = "") -> Grant:
        """End a grant now; what it approved and was not used is void. ``who`` None: the gateway
        itself. DecisionError for an unknown one.
        """
        with self._lock:
            self._shared.reread()
            now = self._clock.now()
            grant = self._grants.get(grant_id)
            if grant is None or not grant.live(now):
                raise DecisionError(ApprovalProblem.UNKNOWN, "there is no such grant in force")
            by = (who.email or who.id) if who is not None else "the gateway"
            by = f"{by}: {reason}" if reason else by
            ended = replace(grant, revoked_at=now, revoked_by=by)
            self._store.revoke_grant(ended)
            del self._grants[grant_id]
            for request in [r for r in self._open.values() if r.grant == grant_id]:
                self._end_unless_ended(request, Status.VOIDED, f"its grant was revoked by {by}")
            return ended

    def disown(self, is_theirs: Callable[[Decision], bool], reason: str) -> None:
        """A reviewer's word counts no longer: revoke the grants they gave, and void what they
        approved and was not used.

        ``is_theirs``: whether a decision is the reviewer's. Raises RefusedError (SP1801) when it is
        not stored; the grants are not used any more in this process all the same.
        """
        with self._lock:
            grants = [g for g in self.grants() if is_theirs(g.decision)]
            decided = [(r, d) for r in self._open.values() for d in r.decisions]
            approved = {r.id: r for r, d in decided if d.approve and is_theirs(d)}
            self._void(grants, approved.values(), reason)

    def void_of(self, is_theirs: Callable[[Requester], bool], reason: str) -> None:
        """Nothing that these people asked for runs any more without being asked for again: revoke
        the grants they got, and void their requests, but for those that end with the session that
        waits. Raises as :meth:`disown`.
        """
        with self._lock:
            self._void(
                [g for g in self.grants() if is_theirs(g.subject)],
                [
                    r
                    for r in self._open.values()
                    if is_theirs(r.subject)
                    and (r.mode == "async" or r.status is not Status.PENDING)
                ],
                reason,
            )

    def _void(self, grants: Iterable[Grant], requests: Iterable[Request], reason: str) -> None:
        now, by = self._clock.now(), f"the gateway: {reason}"
        self._shared.disown([replace(grant, revoked_at=now, revoked_by=by) for grant in grants])
        for request in requests:
            self._end_unless_ended(request, Status.VOIDED, reason)

    # -- when something moves ----------------------------------------------------------------------

    def environment_moved(self, target: str, *, policy_version: str, epoch: str) -> list[Request]:
        """Policy or catalog of a target are these now, for this process: void what it asked under
        others, or processes that are gone. Those that live may have the others still. Grants made
        under others are revoked where no other process has the store; they cover nothing here.
        """
        ended = []
        with self._lock:
            self._shared.reread()
            for request in list(self._open.values()):
                now = replace(request.binding, policy_version=policy_version, epoch=epoch)
                moved = request.binding.target == target and self._moved(request, now)
                if moved and self._shared.is_own(request):
                    ended.append(self._end_unless_ended(request, Status.VOIDED, moved))
            for grant in [] if self._shared.is_shared else self.grants():
                if grant.target == target and (grant.policy_version, grant.epoch) != (
                    policy_version,
                    epoch,
                ):
                    self.revoke(grant.id, None, "the policy or the catalog changed")
        return ended

    # -- looking -----------------------------------------------------------------------------------

    def get(self, request_id: str) -> Request | None:
        with self._lock:
            return self._open.get(request_id) or self._store.get(request_id)

    def pending(self) -> list[Request]:
        """Oldest first."""
        with self._lock:
            waiting = [r for r in self._open.values() if r.status is Status.PENDING]
            return sorted(waiting, key=lambda r: (r.created, r.id))

    def recent(self, limit: int = 50) -> list[Request]:
        """Newest first, whatever their status."""
        with self._lock:
            return self._store.recent(limit)

    def watch(self, request_id: str, callback: Callback) -> Callable[[], None]:
        """Call ``callback`` on every change of one request, or of all with "". The result stops it.

        It runs on the event loop of the caller, or, where there is none, on the thread that made
        the change.
        """
        return self._shared.watchers.add(request_id, callback)

    def previewed(self, request_id: str, preview: Preview) -> Request:
        """Attach what was measured. Nothing is decided by it."""
        with self._lock:
            request = replace(self._find(request_id), preview=preview)
            self._store.set_preview(request_id, preview)
            self._shared.changed("previewed", request)
            return request

    # -- inside ------------------------------------------------------------------------------------

    def _requester(self, subject: Subject) -> Requester:
        return Requester(
            subject.id,
            subject.issuer,
            subject.email,
            tuple(sorted(subject.groups)),
            subject.agent,
            subject.label,
            self._identities.links(subject),
            subject.actors,
        )

    def _joined(
        self, binding: Binding, mode: Mode, requirements: tuple[ApprovalRequirement, ...]
    ) -> Request | None:
        alike = (r for r in self._open.values() if r.binding == binding and r.mode == mode)
        same = (r for r in alike if r.requirements == requirements)
        return next((r for r in same if r.status is Status.PENDING), None)

    def _told_before(self, binding: Binding) -> None:
        """Async: what was denied stays denied until its deadline; what can never be used any more
        is void.
        """
        for request in list(self._open.values()):
            again = request.mode == "async" and request.binding.same_statement(binding)
            if again and (moved := self._moved(request, binding)):
                self._end(request, Status.VOIDED, moved)
        last = self._store.latest(binding.digest)
        if (
            last is not None
            and last.status is Status.DENIED
            and self._clock.now() < last.expires_at
        ):
            raise RefusedError(refusal_of(last))
