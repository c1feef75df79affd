"""What happens now: live sessions, statements by verdict, what was added to their time, what was
refused and masked, what waits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlencode

from starlette.responses import HTMLResponse, Response

from sallyport.core.errors import CODES
from sallyport.web.activity import VERDICTS, percentile, total
from sallyport.web.console import Visit
from sallyport.web.pages import plots

_TOP = 8
_LIVE = 12


def _values(visit: Visit) -> dict[str, Any]:
    gateway = visit.services.gateway
    metrics = gateway.metrics()
    minutes = visit.console.activity.hour()
    hour = total(minutes)
    live = sorted(gateway.live(), key=lambda session: session.started, reverse=True)
    refused = [
        (code, CODES[code].title if code in CODES else "", n) for code, n in _top(hour.refusals)
    ]
    return {
        "metrics": metrics,
        "live": live[:_LIVE],
        "live_count": len(live),
        "hour": {verdict: hour.counts.get(verdict, 0) for verdict in VERDICTS},
        "per_minute": plots.per_minute(minutes),
        "latency": plots.latency(minutes),
        "minutes": [
            {
                "at": plots.clock(m.number),
                "counts": [m.counts.get(verdict, 0) for verdict in VERDICTS],
                "p50": plots.at_most(percentile(m.latency, 0.5)),
                "p99": plots.at_most(percentile(m.latency, 0.99)),
            }
            for m in reversed(minutes)
            if m.counts or m.latency
        ],
        "refused": refused,
        "refusals": plots.bars(
            "Refusals in the last hour, by code",
            refused,
            "deny",
            _statements_with(refused) if visit.principal.may("sessions.read") else None,
        ),
        "masked": hour.masked,
        "masked_columns": plots.bars(
            "Rows in the last hour, by masked column",
            [(name, "", n) for name, n in _top(hour.masked)],
        ),
        "since_start": {
            "refused": sum(metrics.refusals.values()),
            "masked": sum(metrics.masked.values()),
        },
        "added": hour.latency,
        "added_spread": plots.bars("Time added, last hour", plots.spread(hour.latency)),
        "p50": plots.at_most(percentile(hour.latency, 0.5)),
        "p99": plots.at_most(percentile(hour.latency, 0.99)),
        "judge_p50": plots.at_most(percentile(metrics.judge_buckets, 0.5)),
        "judge_p99": plots.at_most(percentile(metrics.judge_buckets, 0.99)),
        "hit_rate": _rate(metrics.cache_hits, metrics.cache_misses),
        "problems": [(t.name, t.problem) for t in gateway.targets() if not t.ready],
        "not_ready": gateway.ready(),
    }


def _statements_with(refused: Sequence[tuple[str, str, int]]) -> Callable[[int], str]:
    """Where the statements are that were refused with a code."""
    return lambda place: "/statements?" + urlencode({"q": f"code:{refused[place][0]}"})


def _top(counts: Counter[str]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:_TOP]


def _rate(hits: int, misses: int) -> str:
    return f"{100 * hits / (hits + misses):.1f} %" if hits + misses else "–"


async def overview(visit: Visit) -> Response:
    return visit.page("overview.html", **_values(visit))


async def live(visit: Visit) -> Response:
    """The inside of the overview, which the page asks for again and again."""
    return HTMLResponse(visit.fragment("overview-live.html", **_values(visit)))
