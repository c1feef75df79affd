"""``/metrics`` in Prometheus' text format, made from the gateway's counters at the moment somebody asks.

Labels are verdicts, refusal codes and target names: never subjects, statements or values.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response

from sallyport.web.console import Console, console_of


class _Gateway(Collector):
    def __init__(self, console: Console) -> None:
        self._console = console

    def collect(self) -> Iterator[Metric]:
        services = self._console.services
        now = services.gateway.metrics()
        yield GaugeMetricFamily("sallyport_sessions", "Sessions connected now.", now.sessions)
        yield CounterMetricFamily("sallyport_sessions_total", "Sessions since start.", now.sessions_total)
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
        )
        yield _histogram(
            "sallyport_added_seconds",
            "Time from reading a piece of a session to handing it on, one of 17 measured.",
            {d: now.added.get(d, {}) for d in ("there", "back")},
            now.added_seconds,
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
            "sallyport_recorder_failed", "1 while recordings cannot be written.", int(now.recorder_failed)
        )
        waiting = len(services.approvals.pending()) if services.approvals is not None else 0
        yield GaugeMetricFamily("sallyport_approvals_waiting", "Requests that wait for a decision.", waiting)
        ready = GaugeMetricFamily(
            "sallyport_target_ready", "1 when the target can be used.", labels=["target"]
        )
        for target in services.gateway.targets():
            ready.add_metric([target.name], int(target.ready))
        yield ready


def _histogram(
    name: str,
    text: str,
    series: Mapping[str, Mapping[float, int]],
    sums: Mapping[str, float],
    label: str = "",
) -> Metric:
    """``series``: by value of the label, buckets that are not cumulative."""
    made = HistogramMetricFamily(name, text, labels=[label] if label else [])
    for value, counts in series.items():
        buckets, seen = [], 0
        for bound in sorted({*counts, math.inf}):
            seen += counts.get(bound, 0)
            buckets.append(("+Inf" if bound == math.inf else repr(float(bound)), float(seen)))
        made.add_metric([value] if label else [], buckets, sums.get(value, 0.0))
    return made


async def metrics(request: Request) -> Response:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Gateway(console_of(request)))
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_PLAIN_0_0_4)
