"""What happens now, and what happened in the last hour to the last ninety days: live sessions,
statements by verdict, logins, latency added, what was refused and masked, how long approvals took.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from starlette.responses import HTMLResponse, Response

from sallyport.core.errors import CODES
from sallyport.judge.subject_judge import JUDGE_BOUNDS
from sallyport.operations.history import SPANS, VERDICTS, Past, percentile, total
from sallyport.store.activity import HOUR, Bucket
from sallyport.web.console import Visit
from sallyport.web.pages import plots

_TOP = 8
_LIVE = 12
_LOGINS = {"allow": "accepted", "deny": "refused"}
_ROWS = {"neutral": "rows"}
#: Seconds between two looks of an open page, where columns are minutes, and where they are longer.
_OFTEN, _SELDOM = 5, 60
#: Where the axis of people's time begins (seconds).
_QUICK = 1.0


async def _values(visit: Visit) -> dict[str, Any]:
    name = visit.request.query_params.get("span", "")
    name = name if name in SPANS else "1h"
    past = await visit.services.history.past(SPANS[name])
    gateway = visit.services.gateway
    metrics = gateway.metrics()
    live = sorted(gateway.live(), key=lambda session: session.started, reverse=True)
    return {
        "metrics": metrics,
        "live": live[:_LIVE],
        "live_count": len(live),
        "span": name,
        "spans": {each: SPANS[each].title for each in SPANS},
        "title": past.span.title,
        "every": _OFTEN if past.span.seconds == HOUR else _SELDOM,
        "is_partial": past.is_partial,
        "judge_p50": plots.around(plots.quantile(metrics.judge_buckets, 0.5, JUDGE_BOUNDS)),
        "judge_p99": plots.around(plots.quantile(metrics.judge_buckets, 0.99, JUDGE_BOUNDS)),
        "hit_rate": _rate(metrics.cache_hits, metrics.cache_misses),
        "problems": [(t.name, t.problem) for t in gateway.targets() if not t.ready],
        "not_ready": gateway.ready(),
        **_statements(past),
        **_refusals(visit, past),
        **_times(past),
    }


def _statements(past: Past) -> dict[str, Any]:
    """Statements by verdict, logins and masked rows over time, and all as a table."""
    sums, step = total(past.buckets), past.span.step
    names = [plots.moment(bucket.start, step) for bucket in past.buckets]
    logins = [_logins(bucket) for bucket in past.buckets]
    rows = [{"neutral": bucket.masked.total()} for bucket in past.buckets]
    last = f"Last {past.span.title}"
    return {
        "sums": {verdict: sums.statements[verdict] for verdict in VERDICTS},
        "statements": plots.stacked(
            f"Statements by verdict. {last}",
            [(n, bucket.statements) for n, bucket in zip(names, past.buckets, strict=True)],
        ),
        "logins": _logins(sums),
        "logins_plot": plots.stacked(
            f"Logins. {last}", list(zip(names, logins, strict=True)), words=_LOGINS
        ),
        "masked": sums.masked.total(),
        "masked_plot": plots.stacked(
            f"Rows masked. {last}", list(zip(names, rows, strict=True)), words=_ROWS
        ),
        "masked_columns": plots.bars(
            f"Rows by masked column. {last}", [(name, "", n) for name, n in _top(sums.masked)]
        ),
        "columns": [
            {
                "at": name,
                "counts": [bucket.statements[verdict] for verdict in VERDICTS],
                "logins": _logins(bucket),
                "masked": bucket.masked.total(),
                "added": [plots.around(value) for value in _added(bucket)],
                "delay": plots.around(percentile(past.delays.get(bucket.start, []), 0.5)),
            }
            for name, bucket in reversed(list(zip(names, past.buckets, strict=True)))
            if bucket or bucket.start in past.delays
        ],
    }


def _refusals(visit: Visit, past: Past) -> dict[str, Any]:
    refused = [
        (code, CODES[code].title if code in CODES else "", n)
        for code, n in _top(total(past.buckets).refusals)
    ]
    since = datetime.fromtimestamp(past.buckets[0].start, UTC).strftime("%Y-%m-%dT%H:%M")
    link = _statements_with(refused, since) if visit.principal.may("sessions.read") else None
    title = f"Refusals by code. Last {past.span.title}"
    return {"refused": refused, "refusals": plots.bars(title, refused, "deny", link)}


def _times(past: Past) -> dict[str, Any]:
    """What the gateway added, and how long people took."""
    sums, step = total(past.buckets), past.span.step
    names = [plots.moment(bucket.start, step) for bucket in past.buckets]
    added = [(name, _added(b)) for name, b in zip(names, past.buckets, strict=True)]
    delays = [past.delays.get(bucket.start, []) for bucket in past.buckets]
    taken = [
        (name, [percentile(values, part) for part in plots.PARTS])
        for name, values in zip(names, delays, strict=True)
    ]
    every_delay = [delay for values in delays for delay in values]
    return {
        "added": [plots.around(value) for value in _added(sums)],
        "added_plot": plots.quantiles("Latency added", added),
        "added_spread": plots.bars("Time added", plots.spread(sums.latency)),
        "is_measured": bool(sums.latency),
        "decided": len(every_delay),
        "delay": [plots.around(percentile(every_delay, part)) for part in plots.PARTS],
        "delay_plot": plots.quantiles("Time until approvals were decided", taken, _QUICK),
    }


def _added(bucket: Bucket) -> list[float | None]:
    return [plots.quantile(bucket.latency, part) for part in plots.PARTS]


def _logins(bucket: Bucket) -> dict[str, int]:
    accepted = bucket.logins["accepted"]
    return {"allow": accepted, "deny": bucket.logins.total() - accepted}


def _statements_with(refused: Sequence[tuple[str, str, int]], since: str) -> Callable[[int], str]:
    """Where the statements are that were refused with a code. since: UTC."""
    return lambda place: (
        "/statements?" + urlencode({"q": f"code:{refused[place][0]}", "since": since})
    )


def _top(counts: Counter[str]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:_TOP]


def _rate(hits: int, misses: int) -> str:
    return f"{100 * hits / (hits + misses):.1f} %" if hits + misses else "–"


async def overview(visit: Visit) -> Response:
    """The page. Its parameter ``span`` is one of :data:`SPANS`."""
    return visit.page("overview.html", **await _values(visit))


async def live(visit: Visit) -> Response:
    """The inside of the overview, which the page asks for again and again."""
    return HTMLResponse(visit.fragment("overview-live.html", **await _values(visit)))
