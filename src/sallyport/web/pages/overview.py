"""What happens now: live sessions, statements by verdict, what was refused, what waits."""

from __future__ import annotations

from typing import Any

from starlette.responses import HTMLResponse, Response

from sallyport.core.errors import CODES
from sallyport.web import plots
from sallyport.web.console import Visit

_TOP = 8
_LIVE = 12


def _values(visit: Visit) -> dict[str, Any]:
    gateway = visit.services.gateway
    metrics = gateway.metrics()
    minutes = visit.console.activity.hour()
    refusals = sorted(metrics.refusals.items(), key=lambda item: (-item[1], item[0]))[:_TOP]
    masked = sorted(metrics.masked.items(), key=lambda item: (-item[1], item[0]))[:_TOP]
    live = sorted(gateway.live(), key=lambda one: one.started, reverse=True)
    targets = gateway.targets()
    return {
        "metrics": metrics,
        "live": live[:_LIVE],
        "live_count": len(live),
        "last_minute": sum(minutes[-1].counts.values()) + sum(minutes[-2].counts.values()),
        "per_minute": plots.per_minute(minutes),
        "hour": {
            v: sum(m.counts.get(v, 0) for m in minutes) for v in ("allow", "hold", "deny")
        },
        "refusals": plots.bars(
            "Top refusals",
            [(c, f"{c}: {CODES[c].title}" if c in CODES else c, n) for c, n in refusals],
            "deny",
        ),
        "refused": [(c, CODES[c].title if c in CODES else "", n) for c, n in refusals],
        "masked": plots.bars("Rows by masked column", [(c, c, n) for c, n in masked]) if masked else "",
        "latency": plots.latency(metrics.judge_buckets),
        "p50": _bound(plots.percentile(metrics.judge_buckets, 0.5)),
        "p99": _bound(plots.percentile(metrics.judge_buckets, 0.99)),
        "hit_rate": _rate(metrics.cache_hits, metrics.cache_misses),
        "problems": [(t.name, t.problem) for t in targets if not t.ready],
        "not_ready": gateway.ready(),
    }  # fmt: skip


def _bound(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    return "> last" if seconds == float("inf") else f"≤ {plots.short_seconds(seconds)}"


def _rate(hits: int, misses: int) -> str:
    return f"{100 * hits / (hits + misses):.1f} %" if hits + misses else "–"


async def overview(visit: Visit) -> Response:
    return visit.page("overview.html", **_values(visit))


async def live(visit: Visit) -> Response:
    """The inside of the overview, which the page asks for again and again."""
    return HTMLResponse(visit.fragment("overview-live.html", **_values(visit)))
