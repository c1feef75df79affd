"""Small plots as SVG, drawn on the server: no script, no inline style, readable without seeing them (title and description).

Colours come from the stylesheet by class. Every text is escaped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from markupsafe import Markup, escape

from sallyport.audit.display import inert
from sallyport.web.activity import VERDICTS, Minute

_WIDTH, _HEIGHT, _BASE = 1000, 170, 146


def _svg(title: str, description: str, body: str, width: int, height: int, kind: str = "plot") -> Markup:
    return Markup(
        f'<svg class="{kind}" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}. {escape(description)}" '
        f'preserveAspectRatio="xMidYMid meet">{body}</svg>'
    )


def per_minute(minutes: Sequence[Minute]) -> Markup:
    """Statements per minute, stacked by verdict."""
    most = max((sum(m.counts.values()) for m in minutes), default=0)
    top = _nice(most)
    left, right, body = 36, 6, []
    for part in (0.0, 0.5, 1.0):
        y = _BASE - (_BASE - 10) * part
        value = top * part
        body.append(f'<line class="grid" x1="{left}" x2="{_WIDTH - right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        if value == int(value):
            body.append(
                f'<text class="axis" x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{int(value)}</text>'
            )
    step = (_WIDTH - left - right) / max(len(minutes), 1)
    for place, minute in enumerate(minutes):
        x, y = left + place * step, float(_BASE)
        for verdict in VERDICTS:
            count = minute.counts.get(verdict, 0)
            if not count:
                continue
            height = max((_BASE - 10) * count / top, 1.5)
            y -= height
            body.append(
                f'<rect class="v-{verdict}" x="{x + 1:.1f}" y="{y:.1f}" width="{step - 2:.1f}" height="{height:.1f}">'
                f"<title>{_minute(minute.number)} UTC: {count} {verdict}</title></rect>"
            )
        if minute.number % 15 == 0:
            body.append(
                f'<text class="axis" x="{x + step / 2:.1f}" y="{_HEIGHT - 6}" text-anchor="middle">{_minute(minute.number)}</text>'
            )
    sums = {v: sum(m.counts.get(v, 0) for m in minutes) for v in VERDICTS}
    said = "Last hour: " + ", ".join(f"{count} {verdict}" for verdict, count in sums.items())
    return _svg("Statements per minute by verdict", said, "".join(body), _WIDTH, _HEIGHT, "plot wide")


def bars(title: str, values: Sequence[tuple[str, str, int]], kind: str = "neutral") -> Markup:
    """Horizontal bars: (label, hint, number), in the order given."""
    row, width, label = 26, 420, 150
    most = max((value for _, _, value in values), default=0) or 1
    body = []
    for place, (name, hint, value) in enumerate(values):
        y = place * row
        shown = inert(name)
        shown = shown if len(shown) <= 22 else shown[:21] + "…"
        length = (width - label - 60) * value / most
        body.append(
            f"<g><title>{escape(inert(hint or name))}: {value}</title>"
            f'<text class="label" x="0" y="{y + 17}">{escape(shown)}</text>'
            f'<rect class="v-{kind}" x="{label}" y="{y + 5}" width="{max(length, 2 if value else 0):.1f}" height="16" rx="2"/>'
            f'<text class="axis" x="{label + length + 6:.1f}" y="{y + 17}">{value}</text></g>'
        )
    said = ", ".join(f"{inert(hint or name)} {value}" for name, hint, value in values) or "nothing yet"
    return _svg(title, said, "".join(body), width, max(row * len(values), row))


def latency(buckets: Mapping[float, int]) -> Markup:
    """How long judging took: a bar per bucket."""
    bounds = sorted(buckets)
    values = []
    for bound in bounds:
        name = "more" if bound == float("inf") else f"≤ {short_seconds(bound)}"
        values.append((name, name, buckets[bound]))
    while len(values) > 1 and values[-1][2] == 0:
        values.pop()
    return bars("Time to judge a statement", values, "neutral")


def short_seconds(seconds: float) -> str:
    if seconds < 0.001:
        return f"{seconds * 1e6:.3g} µs"
    if seconds < 1:
        return f"{seconds * 1e3:.3g} ms"
    return f"{seconds:g} s"


def percentile(buckets: Mapping[float, int], part: float) -> float | None:
    """Upper bound of the bucket in which the ``part`` (0 to 1) lies; None when nothing was counted."""
    total = sum(buckets.values())
    if not total:
        return None
    seen = 0
    for bound in sorted(buckets):
        seen += buckets[bound]
        if seen >= part * total:
            return bound
    return None


def _nice(most: int) -> int:
    top = 2
    while top < most:
        top = top * 5 // 2 if str(top)[0] == "2" else top * 2
    return top


def _minute(number: int) -> str:
    return datetime.fromtimestamp(number * 60, UTC).strftime("%H:%M")
