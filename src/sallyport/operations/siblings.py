"""What the other workers of a gateway have, as the first one knows it by their reports: sessions
and counters. A report comes every second, and at once when a session begins or ends.

Counters of a worker that died count on: its last report is kept. Gauges do not.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from sallyport.core.subject import Subject
from sallyport.core.worker import Crew
from sallyport.operations.ports import GatewayMetrics, LiveSession

#: Counters since the start: what of a dead worker's metrics still counts.
_COUNTERS: Final = (
    "sessions_total",
    "statements",
    "refusals",
    "masked",
    "judge_buckets",
    "judge_seconds",
    "cache_hits",
    "cache_misses",
    "recordings_lost",
    "findings",
    "policy_failures",
    "logins",
    "entrances",
    "target_failures",
    "task_failures",
    "latency",
    "latency_seconds",
)
_GAUGES: Final = ("sessions", "sessions_by_entrance", "recorder_backlog")
_FLAGS: Final = ("recorder_failed", "journal_failed", "policy_problem", "store_lost")


class Report(msgspec.Struct, frozen=True):
    """``subjects``: of the sessions, in their order, without claims but the token's id."""

    sessions: list[LiveSession]
    subjects: list[Subject]
    metrics: GatewayMetrics

    def encode(self) -> bytes:
        """As it is sent."""
        return msgspec.msgpack.encode(self)


def slim_subject(subject: Subject) -> Subject:
    """All that locks and revocations go by."""
    token = subject.claims.get("jti")
    return dataclasses.replace(subject, claims={"jti": token} if isinstance(token, str) else {})


class Siblings:
    """The newest reports, by worker. For one event loop."""

    def __init__(self) -> None:
        self._reports: dict[int, Report] = {}
        self._dead: list[GatewayMetrics] = []
        self._decoder = msgspec.msgpack.Decoder(Report)
        self._crew: Crew | None = None

    def hear(self, number: int, payload: bytes) -> None:
        """A worker reports."""
        self._reports[number] = self._decoder.decode(payload)

    def hear_last(self, number: int, payload: bytes) -> None:
        """What a worker that died reported last."""
        last = self._decoder.decode(payload).metrics
        self._dead.append(GatewayMetrics(**{name: getattr(last, name) for name in _COUNTERS}))

    def hear_crew(self, number: int, payload: bytes) -> None:
        """What the supervisor knows of all workers."""
        self._crew = msgspec.json.decode(payload, type=Crew)

    @property
    def warnings(self) -> list[str]:
        """What is wrong with some of them, and keeps nobody out."""
        crew = self._crew
        missing = 0 if crew is None else crew.workers - crew.serving
        return [f"{missing} of {crew.workers} workers do not serve"] if crew and missing else []

    def gone(self, number: int) -> None:
        """A worker has died."""
        self._reports.pop(number, None)

    @property
    def lost_store(self) -> bool:
        """Whether one of them cannot reach the store."""
        return any(report.metrics.store_lost for report in self._reports.values())

    @property
    def numbers(self) -> set[int]:
        """Those that report."""
        return set(self._reports)

    def live(self) -> list[LiveSession]:
        """Their sessions."""
        return [session for report in self._reports.values() for session in report.sessions]

    def count(self, matches: Callable[[Subject], bool]) -> int:
        """How many of their sessions have such a subject."""
        subjects = [s for report in self._reports.values() for s in report.subjects]
        return sum(map(matches, subjects))

    def merged(self, own: GatewayMetrics) -> GatewayMetrics:
        """``own`` and theirs."""
        living = [report.metrics for report in self._reports.values()]
        changes: dict[str, Any] = {
            name: _sum([getattr(m, name) for m in (own, *living, *self._dead)])
            for name in (*_COUNTERS, *_GAUGES)
        }
        changes |= {name: any(getattr(m, name) for m in (own, *living)) for name in _FLAGS}
        if self._crew is not None:
            changes |= {"workers": self._crew.serving, "worker_restarts": self._crew.restarts}
        changes["recorder_lag"] = max(m.recorder_lag for m in (own, *living))
        changes["issuer_failures"] = _failures([own, *living])
        return dataclasses.replace(own, **changes)


def _sum(values: list[Any]) -> Any:
    """Of numbers, or by key of mappings of them."""
    if not isinstance(values[0], Mapping):
        return sum(values)
    keys = dict.fromkeys(key for mapping in values for key in mapping)
    return {key: _sum([m[key] for m in values if key in m]) for key in keys}


def _failures(metrics: list[GatewayMetrics]) -> dict[str, tuple[int, str]]:
    failures: dict[str, tuple[int, str]] = {}
    for each in metrics:
        for issuer, (count, reason) in each.issuer_failures.items():
            before = failures.get(issuer, (0, ""))
            failures[issuer] = (before[0] + count, before[1] or reason)
    return failures
