"""Watches every session of a gateway, and carries out what follows from a finding.

Twice a second it takes from each session what that did, in numbers, and gives it to the
:class:`~sallyport.watch.watcher.Watcher`. What follows is configured by severity and by detector
(``watch.actions``); a finding is always recorded: in the store, in the session's recording, in the
record of actions, in the log. All of it runs on the event loop.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from time import perf_counter, time
from typing import Final

import msgspec
import structlog

from sallyport.core.errors import refuse
from sallyport.server.ports import HostedSession
from sallyport.session.held import WatchHold
from sallyport.watch.finding import AgentKey, Finding, agent_key
from sallyport.watch.intake import Batch
from sallyport.watch.ports import FindingSink, FindingStore
from sallyport.watch.watcher import AgentSummary, Watcher

log = structlog.get_logger("sallyport.watch")

#: Seconds between two looks at the sessions, and between two ticks of the watcher.
INTERVAL: Final = 0.5
#: Seconds of work between two turns of the event loop.
SLICE: Final = 0.002
_TICK: Final = 30.0
#: What may follow, the mildest first.
NOTIFY, HOLD, END, LOCK = "notify", "hold", "end", "lock"
ACTIONS: Final = (NOTIFY, HOLD, END, LOCK)
_STUCK_HINT: Final = (
    "Read the error once more, change the statement or ask a person: the same will fail again."
)


class Watching:
    """Implements :class:`~sallyport.watch.ports.FindingSink`.

    actions: what follows, by detector or severity; a detector's own win. sinks: who else is told of
    each finding. agents: those with a baseline, latest first; reads the store. attempt: does
    something whose failure is logged and counted, and keeps nothing else from being done. notify:
    tells people outside. lock: locks a finding's subject.
    """

    def __init__(
        self,
        watcher: Watcher,
        findings: FindingStore,
        sessions: Callable[[], Sequence[HostedSession]],
        actions: Mapping[str, Sequence[str]],
        agents: Callable[[], Sequence[AgentKey]],
        attempt: Callable[[Callable[[], object], str], None],
    ) -> None:
        self.watcher = watcher
        self.findings = findings
        self._saved_agents = agents
        self.sinks: list[FindingSink] = []
        self.notify: Callable[[Finding], None] = lambda finding: None
        self.lock: Callable[[Finding], None] = lambda finding: None
        self.counts: Counter[tuple[str, str]] = Counter()  # by detector and severity, since start
        #: What the watcher makes of a batch; another process may be asked.
        self.observe: Callable[[AgentKey, Batch, float], Sequence[Finding]] = watcher.observe
        #: Told of a finding about a session that is not in this process, and what follows; of one
        #: that was acknowledged, and what it measured; of an agent that is learned anew since when.
        self.on_elsewhere: Callable[[Finding, Sequence[str]], None] = lambda finding, actions: None
        self.on_acknowledged: Callable[[Finding, Mapping[str, float]], None] = (
            lambda finding, sizes: None
        )
        self.on_reset: Callable[[AgentKey, float], None] = lambda key, moment: None
        self._sessions, self._attempt = sessions, attempt
        self._actions = actions
        self._ticked = 0.0

    async def look(self) -> None:
        """Take what every session did, and act on what is unusual; in slices, so that sessions
        do not wait for it.
        """
        now = time()
        began = perf_counter()
        for hosted in self._sessions():
            look = partial(self._look_at, hosted, everything=False)
            self._attempt(look, "unusual behaviour")
            if perf_counter() - began > SLICE:
                await asyncio.sleep(0)
                began = perf_counter()
        if now - self._ticked >= _TICK:
            self._ticked = now
            self.watcher.tick(now)

    def session_ended(self, hosted: HostedSession) -> None:
        """What it did last is taken in as well."""
        self._look_at(hosted, everything=True)

    def raise_finding(self, finding: Finding) -> None:
        """See :class:`~sallyport.watch.ports.FindingSink`: record it, and do what follows."""
        actions = self.actions(finding)
        finding = msgspec.structs.replace(finding, done=actions)
        self.counts[finding.detector, finding.severity.value] += 1
        self.findings.add(finding)
        log.warning(
            "finding",
            finding=finding.id,
            detector=finding.detector,
            severity=finding.severity.value,
            session=finding.session,
            evidence=finding.evidence,
            done=list(actions),
        )
        for sink in self.sinks:
            sink.raise_finding(finding)
        if not self.carry_out(finding, actions):
            self.on_elsewhere(finding, actions)
        if NOTIFY in actions:
            self.notify(finding)
        if LOCK in actions:
            self.lock(finding)

    def take(self, key: AgentKey, batch: Batch) -> None:
        """What a session did, here or in another process."""
        for finding in self.observe(key, batch, time()):
            self.raise_finding(finding)

    def actions(self, finding: Finding) -> tuple[str, ...]:
        """What follows from a finding, besides that it is recorded."""
        by_detector = self._actions.get(finding.detector)
        if by_detector is None:
            by_detector = self._actions.get(finding.severity.value, ())
        return tuple(by_detector)

    def acknowledge(self, finding: Finding, by: str, reason: str, *, expected: bool) -> Finding:
        """A person has looked at it. expected: it is usual from now on. What waits because of it
        does not any more. Raises RefusedError (SP1801) when it cannot be stored.
        """
        now = time()
        finding = msgspec.structs.replace(
            finding,
            acknowledged=now,
            by=by,
            reason=reason,
            expected=expected,
        )
        self.findings.acknowledge(finding)
        sizes = self.watcher.expect(finding, now) if expected else {}
        self.release(finding.id)
        self.on_acknowledged(finding, sizes)
        log.info("finding acknowledged", finding=finding.id, by=by, expected=expected)
        return finding

    def release(self, finding_id: str) -> None:
        """What waits here because of a finding does not any more."""
        for hosted in self._sessions():
            if hosted.watched is not None:
                hosted.watched.release(finding_id)

    def reset(self, key: AgentKey) -> None:
        """Learn an agent from the beginning."""
        now = time()
        self.watcher.reset(key, now)
        self.on_reset(key, now)
        log.info("baseline reset", subject=key.subject, agent=key.agent, target=key.target)

    def agents(self) -> list[AgentKey]:
        """Agents with a baseline: those at work, then the latest ones. Reads the store."""
        return list(dict.fromkeys((*self.watcher.present(), *self._saved_agents())))

    def summary(self, key: AgentKey) -> AgentSummary | None:
        """See :meth:`~sallyport.watch.watcher.Watcher.summary`."""
        return self.watcher.summary(key, time())

    def close(self) -> None:
        """Save every baseline."""
        self.watcher.close(time())

    # -- its own -----------------------------------------------------------------------------

    def _look_at(self, hosted: HostedSession, *, everything: bool) -> None:
        access = hosted.watched
        if access is None:
            return
        now = time()
        observations, running = access.take(now, everything=everything)
        if not observations and running is None:
            return
        key = agent_key(hosted.subject, hosted.target)
        age = max(0.0, now - hosted.started)
        batch = Batch(hosted.id, access.network, observations, running, access.program, age)
        self.take(key, batch)

    def carry_out(self, finding: Finding, actions: Sequence[str]) -> bool:
        """Do to the session what follows; False: it is not in this process."""
        hosted = next((each for each in self._sessions() if each.id == finding.session), None)
        if hosted is None:
            return False
        if hosted.watched is not None:
            hosted.watched.note(f"{finding.id} {finding.severity.value}: {finding.evidence}")
            if finding.detector == "stuck":
                hosted.watched.tell(finding.evidence, hint=_STUCK_HINT)
            if HOLD in actions:
                hosted.watched.hold(WatchHold(finding.id, finding.evidence))
        if END in actions:
            refusal = refuse(
                "SP1701",
                f"the session was ended because of finding {finding.id}",
                finding.evidence,
                "Ask an operator of this gateway.",
            )
            hosted.shut(refusal, f"finding {finding.id}")
        return True
