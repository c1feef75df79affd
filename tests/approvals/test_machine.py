"""Any order of asking, deciding, moving, waiting, restarting and using: what runs was approved, for
exactly this, in time, once.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from sallyport.approvals.states import TRANSITIONS, Binding, FloodLimits, Request, Status
from sallyport.core.errors import RefusedError
from sallyport.core.subject import Subject
from tests.approvals.helpers import AGENT, BINDING, DANA, EVE, MALLORY, House, changed
from tests.support.sampling import examples

PEOPLE = st.sampled_from(
    [
        DANA,
        EVE,
        MALLORY,
        AGENT,
        replace(DANA, email="alice@example.com"),
        replace(AGENT, groups=frozenset({"dba"})),
    ]
)
BINDINGS = st.sampled_from(
    [
        BINDING,
        *(
            changed(f)
            for f in ("sql", "binds", "session", "policy_version", "epoch", "search_path")
        ),
    ]
)
GOOD = {DANA, EVE}


class Machine(RuleBasedStateMachine):
    requests = Bundle("requests")

    @initialize()
    def begin(self) -> None:
        self.directory = tempfile.TemporaryDirectory()
        self.house = House.open(
            Path(self.directory.name),
            limits=FloodLimits(per_subject=3, per_hour=10**6, per_minute=10**6),
        )
        # The model: who said yes, and what has been seen of each request.
        self.yes: dict[str, set[str]] = {}
        self.ended: dict[str, Status] = {}
        self.seen: dict[str, Status] = {}
        self.deadline: dict[str, float] = {}
        self.bound: dict[str, Binding] = {}

    def teardown(self) -> None:
        if hasattr(self, "house"):
            self.house.close()
            self.directory.cleanup()

    @rule(
        target=requests,
        binding=BINDINGS,
        quorum=st.integers(1, 2),
        mode=st.sampled_from(["wait", "async"]),
        seconds=st.integers(1, 50),
    )
    def ask(self, binding: Binding, quorum: int, mode: str, seconds: int) -> str:
        try:
            request = self.house.ask(
                binding, quorum=quorum, mode=mode, expires_seconds=float(seconds)
            )
        except RefusedError as error:
            assert error.refusal.code.id in ("SP1401", "SP1402")
            return "apr_none"
        assert request.status is Status.PENDING
        if request.id not in self.yes:
            self.yes[request.id] = set()
            self.deadline[request.id] = self.house.clock.now() + seconds
        self.bound[request.id] = request.binding
        return request.id

    @rule(
        request=requests, who=PEOPLE, approve=st.booleans(), reason=st.sampled_from(["", "because"])
    )
    def decide(self, request: str, who: Subject, approve: bool, reason: str) -> None:
        before = self.house.service.get(request)
        try:
            self.house.service.decide(request, who, approve, reason, "test")
        except RefusedError:
            return
        assert who in GOOD and (approve or reason)
        assert (
            before is not None
            and before.status is Status.PENDING
            and who.id not in self.yes[request]
        )
        assert self.house.clock.now() < self.deadline[request]
        if approve:
            self.yes[request].add(who.id)

    @rule(request=requests, binding=BINDINGS)
    def use(self, request: str, binding: Binding) -> None:
        before = self.house.service.get(request)
        if self.house.service.use(request, binding) is not None:
            return
        assert (
            before is not None
            and before.status is Status.APPROVED
            and self.ended.get(request) is None
        )
        assert len(self.yes[request]) >= before.quorum
        assert self.house.clock.now() < self.deadline[request]
        ran = binding if before.mode == "wait" else replace(binding, session="")
        assert ran == self.bound[request]
        self.ended[request] = Status.USED

    @rule(binding=BINDINGS)
    def claim(self, binding: Binding) -> None:
        try:
            claimed = self.house.service.claim(binding)
        except RefusedError as error:
            assert error.refusal.code.id == "SP1404"
            return
        assert claimed is None or (
            claimed.mode == "async" and claimed.binding == replace(binding, session="")
        )

    @rule(request=requests)
    def withdraw(self, request: str) -> None:
        try:
            assert self.house.service.withdraw(request, "gone").status.final
        except RefusedError:
            assert request == "apr_none"

    @rule(seconds=st.integers(1, 40))
    def wait(self, seconds: int) -> None:
        self.house.clock.advance(seconds)

    @rule()
    def restart(self) -> None:
        self.house = self.house.restart()
        assert all(r.mode == "async" for r in self.house.service.pending())

    @invariant()
    def moves_are_in_the_table_and_memory_is_the_store(self) -> None:
        if not hasattr(self, "house"):
            return
        for request in self.yes:
            stored, remembered = self.house.store.get(request), self.house.service.get(request)
            assert isinstance(stored, Request) and stored == remembered
            before = self.seen.get(request, Status.PENDING)
            assert stored.status is before or stored.status in _reachable(before)
            self.seen[request] = stored.status
            assert stored.approvals == len(self.yes[request])


def _reachable(status: Status) -> set[Status]:
    statuses = set(TRANSITIONS[status])
    for after in TRANSITIONS[status]:
        statuses |= _reachable(after)
    return statuses


TestMachine = Machine.TestCase
TestMachine.settings = settings(
    max_examples=examples(40), stateful_step_count=30, suppress_health_check=list(HealthCheck)
)
