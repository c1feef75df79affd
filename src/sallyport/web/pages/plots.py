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
from sallyport.operations.history import VERDICTS
from sallyport.server.latency import BOUNDS

_HEIGHT = 100
#: What is stacked and which quantiles are drawn, by the colour's name.
VERDICT_WORDS = {verdict: outcome_of(verdict) for verdict in VERDICTS}
QUANTILE_WORDS = {"p50": "median", "p90": "90th percentile", "p99": "99th percentile"}
PARTS = (0.5, 0.9, 0.99)
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


def stacked(
    title: str,
    columns: Sequence[tuple[str, Mapping[str, int]]],
    link: Callable[[int, str], str] | None = None,
    words: Mapping[str, str] = VERDICT_WORDS,
) -> Markup:
    """Statements stacked by verdict: what each column is called (UTC), and how many by verdict.
    link: where a column's number and a verdict lead, for the mouse; keyboards and screen readers
    need the same as text elsewhere. words: what is stacked, from the bottom, by the colour's name,
    where it is something else than statements.
    """
    maximum = max((sum(counts.values()) for _, counts in columns), default=0)
    top, body = _nice(maximum), []
    width = min(0.8, 0.08 * len(columns))  # of a column; a single day is no wall
    for place, (name, counts) in enumerate(columns):
        y = float(_HEIGHT)
        for verdict, word in words.items():
            count = counts.get(verdict, 0)
            if not count:
                continue
            height = max(_HEIGHT * count / top, 1.0)
            y -= height
            bar = (
                f'<rect class="v-{verdict}" x="{place + 0.5 - width / 2:.2f}" y="{y:.2f}"'
                f' width="{width:.2f}" height="{height:.2f}"><title>{escape(name)} UTC: {count}'
                f" {word}</title></rect>"
            )
            if link is not None:
                bar = f'<a tabindex="-1" href="{escape(link(place, verdict))}">{bar}</a>'
            body.append(bar)
    sums = {v: sum(counts.get(v, 0) for _, counts in columns) for v in words}
    said = f"{title}: " + ", ".join(f"{n} {words[v]}" for v, n in sums.items())
    if maximum:
        busiest, _ = max(columns, key=lambda column: sum(column[1].values()))
        said += f"; most at {busiest} UTC, {maximum}"
    return _chart(
        said, "".join(body), [name for name, _ in columns], (str(top), str(top // 2), "0")
    )


def quantiles(
    title: str, columns: Sequence[tuple[str, Sequence[float | None]]], fastest: float = _FASTEST
) -> Markup:
    """Seconds over time on a logarithmic axis: what each column is called (UTC), and its median,
    90th and 99th percentile, None where nothing was measured. fastest: where the axis begins.
    """
    finite = [v for _, at in columns for v in at if v is not None and v != math.inf]
    decades = max(math.ceil(math.log10(max([_SLOWEST, *finite]) / fastest) - 1e-9), 1)
    body = []
    for part, (kind, name) in reversed(list(enumerate(QUANTILE_WORDS.items()))):
        path = _steps([at[part] for _, at in columns], fastest, decades)
        if path:
            body.append(f'<path class="{kind}" d="{path}"><title>{name}</title></path>')
    body += [_hover(place, *column) for place, column in enumerate(columns)]
    worst = max((v for _, at in columns for v in at if v is not None), default=None)
    said = f"{title}: median, 90th and 99th percentile. "
    said += f"Highest: {around(worst)}" if worst is not None else "Nothing yet"
    axis = [short_seconds(fastest * 10**power) for power in range(decades, -1, -1)]
    return _chart(said, "".join(body), [column for column, _ in columns], axis)


def _hover(place: int, name: str, values: Sequence[float | None]) -> str:
    """What a column says under the mouse; nothing where nothing was measured."""
    if all(value is None for value in values):
        return ""
    words = zip(QUANTILE_WORDS.values(), values, strict=True)
    said = ", ".join(f"{word} {around(value)}" for word, value in words)
    return (
        f'<rect class="hover" x="{place}" y="0" width="1" height="{_HEIGHT}"><title>'
        f"{escape(name)} UTC: {said}</title></rect>"
    )


def _steps(values: Sequence[float | None], fastest: float, decades: int) -> str:
    """A path over a logarithmic axis, with gaps where there is nothing."""
    path, is_drawn = [], False
    for place, value in enumerate(values):
        if value is not None:
            height = _HEIGHT * min(math.log10(max(value, fastest) / fastest) / decades, 1.0)
            y = f"{_HEIGHT - height:.1f}"
            path.append(f"V{y}h1" if is_drawn else f"M{place} {y}h1")
        is_drawn = value is not None
    return "".join(path)


def quantile(
    buckets: Mapping[float, int], part: float, bounds: Sequence[float] = BOUNDS
) -> float | None:
    """The value at ``part`` (0 to 1) of a histogram, linear within a bucket (as Prometheus'
    ``histogram_quantile``); infinite in the last one; None when nothing was counted. buckets:
    counts by upper bound, each one of ``bounds``.
    """
    rank, lower = part * sum(buckets.values()), 0.0
    if not rank:
        return None
    for bound in bounds:
        count = buckets.get(bound, 0)
        if count and rank <= count:
            return bound if bound == math.inf else lower + (bound - lower) * rank / count
        rank -= count
        lower = bound
    return math.inf


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
            f'<td class="num">{value:,}</td></tr>'
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


def around(seconds: float | None) -> str:
    """A quantile for people: two digits, as it comes from a histogram."""
    if seconds is None:
        return "–"
    return "longer" if seconds == math.inf else short_seconds(float(f"{seconds:.2g}"))


def short_seconds(seconds: float) -> str:
    """A duration in the unit that reads best: ``420 µs``, ``1.2 s``, ``3 h``."""
    if seconds < 0.001:
        return f"{seconds * 1e6:.3g} µs"
    if seconds < 1:
        return f"{seconds * 1e3:.3g} ms"
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 7200 else f"{seconds / 3600:.3g} h"


def _nice(maximum: int) -> int:
    """The least of 2, 4, 10, 20, 40, 100, ... that is not below."""
    power = 1
    while True:
        for top in (2 * power, 4 * power, 10 * power):
            if top >= maximum:
                return top
        power *= 10


def moment(start: int, step: int) -> str:
    """When a column of a plot begins, UTC. start: Unix seconds. step: seconds of a column."""
    form = "%H:%M" if step < 3600 else "%-d %b %H:%M" if step < 86_400 else "%-d %b"
    return datetime.fromtimestamp(start, UTC).strftime(form)
