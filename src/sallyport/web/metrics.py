"""``/metrics`` in Prometheus' text format, made from the gateway's counters at the moment somebody
asks.

Labels are verdicts, refusal codes and what the configuration names (targets, issuers): never
subjects, statements or values. docs/monitoring.md describes every metric, and a test compares.
"""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from prometheus_client import (
    CONTENT_TYPE_PLAIN_0_0_4,
    CollectorRegistry,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

import sallyport
from sallyport.judge.subject_judge import JUDGE_BOUNDS
from sallyport.operations.ports import GatewayMetrics, LogMetrics
from sallyport.operations.streaming import Stream
from sallyport.server.latency import BOUNDS
from sallyport.web.console import Console, console_of


class _Gateway(Collector):
    """``disks``: by name of a directory, bytes that are left there and bytes in all."""

    def __init__(self, console: Console, disks: Mapping[str, tuple[int, int]]) -> None:
        self._console = console
        self._disks = disks

    def collect(self) -> Iterator[Metric]:
        services = self._console.services
        now = services.gateway.metrics()
        yield GaugeMetricFamily("sallyport_sessions", "Sessions connected now.", now.sessions)
        yield CounterMetricFamily(
            "sallyport_sessions_total", "Sessions since start.", now.sessions_total
        )
        yield GaugeMetricFamily("sallyport_workers", "Processes that take clients.", now.workers)
        restarts = CounterMetricFamily(
            "sallyport_worker_restarts", "Workers that were started again.", labels=["reason"]
        )
        for reason in ("died", "hung"):
            restarts.add_metric([reason], now.worker_restarts.get(reason, 0))
        yield restarts
        yield CounterMetricFamily(
            "sallyport_lane_statements",
            "Statements that passed the native lane.",
            now.lane_statements,
        )
        statements = CounterMetricFamily(
            "sallyport_statements", "Statements judged, by verdict.", labels=["verdict"]
        )
        for verdict in sorted({"allow", "deny", "hold", *now.statements}):
            statements.add_metric([verdict], now.statements.get(verdict, 0))
        yield statements
        refusals = CounterMetricFamily("sallyport_refusals", "Refusals, by code.", labels=["code"])
        for code, count in sorted(now.refusals.items()):
            refusals.add_metric([code], count)
        yield refusals
        yield _histogram(
            "sallyport_judge_seconds",
            "Time to judge a statement.",
            {"": now.judge_buckets},
            {"": now.judge_seconds},
            JUDGE_BOUNDS,
        )
        yield _histogram(
            "sallyport_latency_seconds",
            "Time from reading a piece of a session to handing it on, one of 17 measured.",
            {d: now.latency.get(d, {}) for d in ("to_server", "to_client")},
            now.latency_seconds,
            BOUNDS,
            "direction",
        )
        yield CounterMetricFamily(
            "sallyport_verdict_cache_hits", "Verdicts found in a cache.", now.cache_hits
        )
        yield CounterMetricFamily(
            "sallyport_verdict_cache_misses", "Verdicts that had to be made.", now.cache_misses
        )
        yield GaugeMetricFamily(
            "sallyport_recorder_backlog_bytes", "Recorded, not yet on disk.", now.recorder_backlog
        )
        yield GaugeMetricFamily(
            "sallyport_recorder_failed",
            "1 while recordings cannot be written.",
            int(now.recorder_failed),
        )
        yield GaugeMetricFamily(
            "sallyport_journal_failed",
            "1 while statements that may change something cannot be journaled.",
            int(now.journal_failed),
        )
        yield GaugeMetricFamily(
            "sallyport_store_lost", "1 while the store cannot be reached.", int(now.store_lost)
        )
        findings = CounterMetricFamily(
            "sallyport_findings",
            "Unusual behaviour that was found.",
            labels=["detector", "severity"],
        )
        for (detector, severity), count in sorted(now.findings.items()):
            findings.add_metric([detector, severity], count)
        yield findings
        yield CounterMetricFamily(
            "sallyport_recordings_lost",
            "Recordings that were deleted, cut short or replaced while they were written.",
            now.recordings_lost,
        )
        yield GaugeMetricFamily(
            "sallyport_policy_problem",
            "1 while the policy in force is not the file's, because that cannot be used.",
            int(now.policy_problem),
        )
        yield CounterMetricFamily(
            "sallyport_policy_reload_failures",
            "Policy files that were not taken.",
            now.policy_failures,
        )
        waiting = len(services.approvals.pending()) if services.approvals is not None else 0
        yield GaugeMetricFamily(
            "sallyport_approvals_waiting", "Requests that wait for a decision.", waiting
        )
        ready = GaugeMetricFamily(
            "sallyport_target_ready", "1 when the target can be used.", labels=["target"]
        )
        for target in services.gateway.targets():
            ready.add_metric([target.name], int(target.ready))
        yield ready
        yield from self._surroundings(now)

    def _surroundings(self, now: GatewayMetrics) -> Iterator[Metric]:
        """What the gateway depends on: clients' logins, targets, issuers, the recorder's disk;
        and what it is.
        """
        yield from _clients(now)
        yield _labelled(
            CounterMetricFamily,
            "sallyport_target_login_failures",
            "Failed logins of the gateway at a target.",
            ("target", "kind"),
            {
                (name, kind): n
                for name, kinds in now.target_failures.items()
                for kind, n in kinds.items()
            },
        )
        yield _labelled(
            CounterMetricFamily,
            "sallyport_task_failures",
            "Failures of what the gateway does beside its sessions; each is tried again.",
            ("task",),
            {(task,): count for task, count in now.task_failures.items()},
        )
        yield from self._issuers(now)
        yield from _log(now.log)
        yield GaugeMetricFamily(
            "sallyport_recorder_lag_seconds",
            "Age of the oldest event that is not on disk.",
            now.recorder_lag,
        )
        yield from self._streams()
        yield from self._archive()
        yield from self._space()
        yield _labelled(
            GaugeMetricFamily,
            "sallyport_build_info",
            "Always 1; what runs is in the labels.",
            ("version", "python"),
            {(sallyport.__version__, platform.python_version()): 1},
        )

    def _issuers(self, now: GatewayMetrics) -> Iterator[Metric]:
        yield _labelled(
            CounterMetricFamily,
            "sallyport_issuer_failures",
            "Failed fetches of an issuer's keys.",
            ("issuer",),
            {(issuer,): count for issuer, (count, _) in now.issuer_failures.items()},
        )
        yield _labelled(
            GaugeMetricFamily,
            "sallyport_issuer_up",
            "0 when the last fetch of an issuer's keys failed.",
            ("issuer",),
            {(issuer,): int(not error) for issuer, (_, error) in now.issuer_failures.items()},
        )

    def _streams(self) -> Iterator[Metric]:
        streams: dict[tuple[str, ...], Stream] = {
            (stream.settings.name,): stream for stream in self._console.services.streams
        }
        for family, name, text, read in _STREAMS:
            values: dict[tuple[str, ...], float] = {
                key: read(stream) for key, stream in streams.items()
            }
            yield _labelled(family, name, text, ("stream",), values)

    def _archive(self) -> Iterator[Metric]:
        archiver = self._console.services.archiver
        for name, text, value in (
            ("shipped", "Recordings that went to the archive.", archiver and archiver.shipped),
            ("deleted", "Local copies that were deleted.", archiver and archiver.deleted),
            ("failures", "Passes that failed; each is made again.", archiver and archiver.failures),
        ):
            yield CounterMetricFamily(f"sallyport_archive_{name}", text, value or 0)

    def _space(self) -> Iterator[Metric]:
        for name, text, part in (
            ("sallyport_disk_free_bytes", "Space left where a directory is.", 0),
            ("sallyport_disk_size_bytes", "Space in all there.", 1),
        ):
            values: dict[tuple[str, ...], float] = {
                (directory,): sizes[part] for directory, sizes in self._disks.items()
            }
            yield _labelled(GaugeMetricFamily, name, text, ("directory",), values)


_StreamMetric = tuple[
    type[CounterMetricFamily] | type[GaugeMetricFamily], str, str, Callable[[Stream], float]
]
#: Of every stream of the record: kind, name, text, value.
_STREAMS: tuple[_StreamMetric, ...] = (
    (
        GaugeMetricFamily,
        "sallyport_stream_lag_seconds",
        "Since all of the record was with the receiver.",
        lambda stream: stream.lag,
    ),
    (
        GaugeMetricFamily,
        "sallyport_stream_late",
        "1 while a required stream is so late that statements stop.",
        lambda stream: stream.is_late,
    ),
    (
        CounterMetricFamily,
        "sallyport_stream_events",
        "Events that the receiver has.",
        lambda stream: stream.sent,
    ),
    (
        CounterMetricFamily,
        "sallyport_stream_failures",
        "Attempts that failed; each is made again.",
        lambda stream: stream.failures,
    ),
    (
        CounterMetricFamily,
        "sallyport_stream_rejected",
        "Events that the receiver refused for good; they are kept in a file.",
        lambda stream: stream.rejected,
    ),
)


def _clients(now: GatewayMetrics) -> Iterator[Metric]:
    yield _labelled(
        CounterMetricFamily,
        "sallyport_logins",
        "Logins of agents, by outcome: accepted, or a refusal's code.",
        ("outcome",),
        {(outcome,): count for outcome, count in {"accepted": 0, **now.logins}.items()},
    )
    entrances = {("wire", "accepted"): 0, ("mcp", "accepted"): 0, **now.entrances}
    yield _labelled(
        CounterMetricFamily,
        "sallyport_entrance_logins",
        "Logins of agents, by entrance (wire, mcp) and outcome.",
        ("entrance", "outcome"),
        {(entrance, outcome): count for (entrance, outcome), count in entrances.items()},
    )
    connected = {"wire": 0, "mcp": 0, **now.sessions_by_entrance}
    yield _labelled(
        GaugeMetricFamily,
        "sallyport_entrance_sessions",
        "Sessions connected now, by entrance (wire, mcp).",
        ("entrance",),
        {(entrance,): count for entrance, count in connected.items()},
    )


def _log(log: LogMetrics) -> Iterator[Metric]:
    for name, text, value in (
        ("sallyport_log_entries", "Entries under the log's newest checkpoint.", log.entries),
        ("sallyport_log_waiting", "Entries that wait for a checkpoint.", log.waiting),
        ("sallyport_log_problem", "1 while the log is not continued.", int(log.problem)),
    ):
        yield GaugeMetricFamily(name, text, value)
    for name, text, value in (
        ("sallyport_log_dropped", "Entries that the log did not take.", log.dropped),
        ("sallyport_log_failures", "Checkpoints that could not be written.", log.failures),
    ):
        yield CounterMetricFamily(name, text, value)
    yield _labelled(
        CounterMetricFamily,
        "sallyport_witness_failures",
        "Checkpoints that a witness did not take, every attempt.",
        ("witness",),
        {(name,): count for name, count in log.witness_failures.items()},
    )


def _labelled(
    family: type[CounterMetricFamily] | type[GaugeMetricFamily],
    name: str,
    text: str,
    labels: tuple[str, ...],
    values: Mapping[tuple[str, ...], float],
) -> Metric:
    """``values``: by the values of the labels."""
    metric = family(name, text, labels=labels)
    for key, value in sorted(values.items()):
        metric.add_metric(key, value)
    return metric


def _histogram(
    name: str,
    text: str,
    series: Mapping[str, Mapping[float, int]],
    sums: Mapping[str, float],
    bounds: Iterable[float],
    label: str = "",
) -> Metric:
    """``series``: by value of the label, buckets that are not cumulative. ``bounds``: those that
    are always there.
    """
    made = HistogramMetricFamily(name, text, labels=[label] if label else [])
    for value, counts in series.items():
        buckets, seen = [], 0
        for bound in sorted({*bounds, *counts, math.inf}):
            seen += counts.get(bound, 0)
            buckets.append(("+Inf" if bound == math.inf else repr(float(bound)), float(seen)))
        made.add_metric([value] if label else [], buckets, sums.get(value, 0.0))
    return made


async def metrics(request: Request) -> Response:
    """All metrics in the text format of Prometheus."""
    console = console_of(request)
    # A file system that does not answer must not stop the loop.
    disks = await run_in_threadpool(_disks, console.services.directories)
    registry = CollectorRegistry(auto_describe=False)
    ProcessCollector(registry=registry)
    registry.register(_Gateway(console, disks))
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_PLAIN_0_0_4)


def _disks(directories: Mapping[str, Path]) -> dict[str, tuple[int, int]]:
    """What the gateway's user may still write there, and the size. Directories that are not there
    are left out.
    """
    disks = {}
    for name, path in directories.items():
        try:
            status = os.statvfs(path)
        except OSError:
            continue
        disks[name] = status.f_bavail * status.f_frsize, status.f_blocks * status.f_frsize
    return disks
