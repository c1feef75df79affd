"""Small plots, drawn on the server: no script, no inline style, readable without seeing them.

What is drawn is SVG that stretches to its place; every word and number beside it is HTML, so that
it keeps its size on a phone. A plot over time says in words what it shows (``aria-label``), and the
page has the numbers as a table; bars are a table themselves. Colours come from the stylesheet by
class. Every text is escaped.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

from markupsafe import Markup, escape

from sallyport.audit.display import inert, outcome_of
from sallyport.web.activity import VERDICTS, Minute, percentile

_HEIGHT = 100
#: The least that the axis of seconds reaches from and to.
_FASTEST, _SLOWEST = 0.00001, 0.001


def _chart(said: str, body: str, x: Sequence[str], y: Sequence[str]) -> Markup:
    """``x``: what each column is called, from the left. ``y``: what stands at the axis, from the
    top.
    """
    count = max(len(x), 1)
    places = [_HEIGHT * place / (len(y) - 1) for place in range(len(y))]
    lines = "".join(
        f'<line class="grid" x1="0" x2="{count}" y1="{at:.1f}" y2="{at:.1f}"/>' for at in places
    )
    labels = "".join(f"<span>{escape(label)}</span>" for label in y)
    places_shown = (
        sorted({round(part * (len(x) - 1)) for part in (0, 0.25, 0.5, 0.75, 1)}) if x else []
    )
    times = "".join(f"<span>{escape(x[place])}</span>" for place in places_shown)
    return Markup(
        f'<div class="chart"><div class="y" aria-hidden="true">{labels}</div><svg viewBox="0 0'
        f' {count} {_HEIGHT}" preserveAspectRatio="none" role="img"'
        f' aria-label="{escape(said)}">{lines}{body}</svg><div class="x"'
        f' aria-hidden="true">{times}</div></div>'
    )


def per_minute(minutes: Sequence[Minute]) -> Markup:
    """Statements per minute, stacked by verdict."""
    columns = [(clock(minute.number), minute.counts) for minute in minutes]
    return stacked("Statements per minute by verdict. Last hour", columns)


def stacked(
    title: str,
    columns: Sequence[tuple[str, Mapping[str, int]]],
    link: Callable[[int, str], str] | None = None,
) -> Markup:
    """Statements stacked by verdict: what each column is called (UTC), and how many by verdict.
    link: where a column's number and a verdict lead, for the mouse; keyboards and screen readers
    need the same as text elsewhere.
    """
    maximum = max((sum(counts.values()) for _, counts in columns), default=0)
    top, body = _nice(maximum), []
    for place, (name, counts) in enumerate(columns):
        y = float(_HEIGHT)
        for verdict in VERDICTS:
            count = counts.get(verdict, 0)
            if not count:
                continue
            height = max(_HEIGHT * count / top, 1.0)
            y -= height
            bar = (
                f'<rect class="v-{verdict}" x="{place + 0.1:.1f}" y="{y:.2f}" width="0.8"'
                f' height="{height:.2f}"><title>{escape(name)} UTC: {count}'
                f" {outcome_of(verdict)}</title></rect>"
            )
            if link is not None:
                bar = f'<a tabindex="-1" href="{escape(link(place, verdict))}">{bar}</a>'
            body.append(bar)
    sums = {v: sum(counts.get(v, 0) for _, counts in columns) for v in VERDICTS}
    said = f"{title}: " + ", ".join(f"{n} {outcome_of(v)}" for v, n in sums.items())
    if maximum:
        busiest, _ = max(columns, key=lambda column: sum(column[1].values()))
        said += f"; most at {busiest} UTC, {maximum}"
    return _chart(
        said, "".join(body), [name for name, _ in columns], (str(top), str(top // 2), "0")
    )


def latency(minutes: Sequence[Minute]) -> Markup:
    """What the gateway added, minute by minute: median and 99th percentile, on a
    logarithmic axis.
    """
    quantiles = [(percentile(m.latency, 0.5), percentile(m.latency, 0.99)) for m in minutes]
    finite = [
        value for pair in quantiles for value in pair if value is not None and value != math.inf
    ]
    decades = max(math.ceil(math.log10(max([_SLOWEST, *finite]) / _FASTEST) - 1e-9), 1)
    body = []
    for part, kind, name in ((1, "p99", "99th percentile"), (0, "p50", "median")):
        for place, (minute, pair) in enumerate(zip(minutes, quantiles, strict=True)):
            value = pair[part]
            if value is None:
                continue
            height = _HEIGHT * min(math.log10(max(value, _FASTEST) / _FASTEST) / decades, 1.0)
            body.append(
                f'<path class="{kind}" d="M{place + 0.05:.2f} {_HEIGHT - height:.1f}h0.9"><title>'
                f"{clock(minute.number)} UTC: {name} {at_most(value)}</title></path>"
            )
    worst = max((pair[1] for pair in quantiles if pair[1] is not None), default=None)
    said = "Latency added per minute, median and 99th percentile. "
    said += (
        f"Highest 99th percentile of the last hour: {at_most(worst)}"
        if worst is not None
        else "Nothing yet"
    )
    axis = [short_seconds(_FASTEST * 10**power) for power in range(decades, -1, -1)]
    return _chart(said, "".join(body), [clock(minute.number) for minute in minutes], axis)


def bars(
    title: str,
    values: Sequence[tuple[str, str, int]],
    kind: str = "neutral",
    link: Callable[[int], str] | None = None,
) -> Markup:
    """A table of horizontal bars: (name, more about it, number), in the order given. link: where
    each of them leads, by its place.
    """
    maximum = max((value for _, _, value in values), default=0) or 1
    rows = []
    for place, (name, more, value) in enumerate(values):
        length = 100 * value / maximum
        shown, about = inert(name), inert(more)
        label = f'<span class="name">{escape(shown)}</span>'
        if link is not None:
            label = f'<a href="{escape(link(place))}">{label}</a>'
        rows.append(
            f'<tr><th scope="row">{label}'
            f"{f' <span class=dim>{escape(about)}</span>' if about else ''}</th>"
            f'<td class="bar" aria-hidden="true"><svg viewBox="0 0 100 10"'
            f' preserveAspectRatio="none">'
            f'<rect class="v-{kind}" width="{max(length, 1 if value else 0):.1f}"'
            ' height="10"/></svg></td>'
            f'<td class="num">{value}</td></tr>'
        )
    return Markup(
        '<table class="bars"><caption'
        f' class="unseen">{escape(title)}</caption><tbody>{"".join(rows)}</tbody></table>'
    )


def spread(buckets: Mapping[float, int]) -> list[tuple[str, str, int]]:
    """A histogram for :func:`bars`, from the fastest to the slowest that there was."""
    bounds = sorted(buckets)
    values = [
        ("more" if b == math.inf else f"≤ {short_seconds(b)}", "", buckets[b]) for b in bounds
    ]
    while len(values) > 1 and values[-1][2] == 0:
        values.pop()
    return values


def at_most(seconds: float | None) -> str:
    """An upper bound for people."""
    if seconds is None:
        return "–"
    return "more" if seconds == math.inf else f"≤ {short_seconds(seconds)}"


def short_seconds(seconds: float) -> str:
    if seconds < 0.001:
        return f"{seconds * 1e6:.3g} µs"
    if seconds < 1:
        return f"{seconds * 1e3:.3g} ms"
    return f"{seconds:g} s"


def _nice(maximum: int) -> int:
    """The least of 2, 4, 10, 20, 40, 100, ... that is not below."""
    power = 1
    while True:
        for top in (2 * power, 4 * power, 10 * power):
            if top >= maximum:
                return top
        power *= 10


def clock(number: int) -> str:
    """A Unix minute as hours and minutes, UTC."""
    return datetime.fromtimestamp(number * 60, UTC).strftime("%H:%M")
