"""Detectors: small pure functions over a baseline and what an agent does at present. Each has its
formula in its docstring (docs/watching.md repeats them), and its evidence is one line.

``n`` is a number of the present episode (ten minutes), ``p`` the largest of the last five weeks.
They look at what changed (:class:`~sallyport.watch.recent.Changes`); the caller leaves out what was
told already, and all of it while it learns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from math import log, log2, sqrt
from typing import Final

from sallyport.core.errors import UNKNOWN_NAMES
from sallyport.core.wording import counted
from sallyport.watch.baseline import DAY, Baseline, hour_of_week
from sallyport.watch.finding import Severity
from sallyport.watch.recent import MIX, Cause, Episode, Recent, Use
from sallyport.watch.thresholds import (
    DAY_ROWS,
    DIFFERENCES,
    FORMS,
    MASKED,
    NETWORKS,
    PAGES,
    RELATIONS,
    RELATIONS_EVER,
    ROWS,
    SEARCHES,
    SESSION_SECONDS,
    SESSIONS,
)

_WRITES: Final = frozenset({"insert", "update", "delete", "merge", "truncate", "copy_in"})
#: Refusals of names that do not exist, or that nothing allows.
_NAMELESS: Final = UNKNOWN_NAMES | {"SP1001", "SP1104"}


@dataclass(frozen=True, slots=True)
class Sighting:
    """What a detector says. about: one thing is told once. peak: name of the baseline's peak that
    it concerns; size: how much that is at present.
    """

    detector: str
    about: str
    severity: Severity
    evidence: str
    first: int = 0
    last: int = 0
    peak: str = ""
    size: float = 0.0


Detector = Callable[[Baseline, Recent, float], Iterator[Sighting]]


def new_relation(baseline: Baseline, recent: Recent, now: float) -> Iterator[Sighting]:
    """An action on a relation that was never seen; new ones are below 1 % of its statements."""
    new = recent.episode.new_relations
    if not new or baseline.novelty("new relation") > 0.01:
        return
    writes = [action for action in new if action.partition(" ")[0] in _WRITES]
    for action in writes:
        text = f"did for the first time: {action}"
        yield _sighting("new-relation", action, Severity.MEDIUM, text, recent.episode)
    if len(new) > len(writes):
        text = f"did for the first time: {_some(name for name in new if name not in writes)}"
        yield _sighting("new-relation", "read", Severity.LOW, text, recent.episode)


def new_statement(baseline: Baseline, recent: Recent, now: float) -> Iterator[Sighting]:
    """A fingerprint that was never seen, where new ones are below 0.1 % of its statements: it uses
    a column that was not used before (a new relation is told as such), or of the fingerprints of
    the episode, three and more than half are new.
    """
    episode = recent.episode
    new, columns = episode.new_fingerprints, episode.new_columns
    is_most = len(new) >= FORMS and 2 * len(new) > len(episode.uses)
    if not (columns or is_most) or baseline.novelty() > 0.001:
        return
    text = f"ran {counted(len(new), 'statement')} of a form that it never ran before: {_some(new)}"
    text += f"; it never used {_some(columns)}" if columns else ""
    yield _sighting("new-statement", "", Severity.LOW, text, recent.episode)


def drift(baseline: Baseline, recent: Recent, now: float) -> Iterator[Sighting]:
    """Jensen-Shannon distance of the latest 16 statements' mix from the baseline's, by kind and
    relations: above 0.7, and above its own mean by 4 standard deviations.
    """
    mix, labels = recent.mix, baseline.labels
    if mix.total < MIX or baseline.drift.count == 0:
        return
    usual, scale = labels.weights, mix.total / (labels.total or 1.0)
    common = [min(count, usual.get(label, 0.0) * scale) for label, count in mix.counts.items()]
    bound = max(0.7, baseline.drift.bound())
    if sum(common) >= (1.0 - bound * bound) * mix.total:
        return  # the divergence is at most 1 minus what they have in common (Lin 1991)
    shares = mix.shares()
    distance = mix_distance(shares, baseline)
    if distance <= bound:
        return
    moved = sorted(shares, key=lambda label: baseline.labels.share(label) - shares[label])[:3]
    text = "does other work than before: " + ", ".join(
        f"{label} {baseline.labels.share(label):.0%} -> {shares[label]:.0%}" for label in moved
    )
    text += f" (distance {distance:.2f}, usually {baseline.drift.mean:.2f})"
    yield _sighting("drift", "", Severity.MEDIUM, text, recent.episode)


def mix_distance(shares: dict[str, float], baseline: Baseline) -> float:
    """The square root of the Jensen-Shannon divergence to the base 2: from 0 (the same) to 1."""
    divergence, covered = 0.0, 0.0
    for label, share in shares.items():
        usual = baseline.labels.share(label)
        covered += usual
        middle = (share + usual) / 2.0
        divergence += share * log2(share / middle) / 2.0
        if usual:
            divergence += usual * log2(usual / middle) / 2.0
    return sqrt(min(1.0, divergence + max(0.0, 1.0 - covered) / 2.0))


def enumeration(baseline: Baseline, recent: Recent, now: float) -> Iterator[Sighting]:
    """Different relations that it never touched, with refusals of names: n >= 5 and n > 2 p of
    relations touched, or n >= 15.
    """
    episode = recent.episode
    if len(episode.new_relations) + len(episode.refusals) < RELATIONS:
        return
    unseen = sorted(episode.relations - _relations(baseline))
    refused = sum(1 for use in episode.refusals.values() if use.code in _NAMELESS)
    count = max(len(unseen), refused)
    usual = baseline.peak("relations", now)
    if count < RELATIONS or (count <= 2 * usual and count < RELATIONS_EVER):
        return
    relations = counted(count, "relation")
    text = f"tried {relations} that it never used before in {_minutes(episode, now)}"
    yield _sighting("enumeration", "", Severity.HIGH, f"{text}: {_some(unseen)}", episode)


def bulk(baseline: Baseline, recent: Recent, now: float) -> Iterator[Sighting]:
    """Rows read of one relation: n > max(1000, 5 p). Results that are still passing count. Of one
    result: n > max(1000, 5 p of results); of a form that is new p, or 2 p where new forms are above
    2 %.
    """
    episode = recent.episode
    running = episode.running
    if episode.rows + sum(running.values()) <= ROWS:
        return
    factor = 1.0 if baseline.novelty() < 0.02 else 2.0
    for relation in recent.changes.relations | running.keys():
        passing = running.get(relation, 0)
        result = max(episode.results.get(relation, 0), passing)
        rows = episode.rows_of.get(relation, 0) + passing
        is_of_new = False
        if result > ROWS:
            usual = baseline.peak(f"result {relation}", now)
            is_new = episode.is_running_new
            new = max(episode.new_results.get(relation, 0), passing if is_new else 0)
            if is_of_new := new > max(ROWS, factor * usual):
                yield _of_result(relation, new, "one statement of a new form", usual, episode)
        if rows > ROWS and rows > 5.0 * (largest := baseline.peak(f"rows {relation}", now)):
            peak, before = f"rows {relation}", _usual(largest, "its largest in five weeks was")
            text = f"read {rows:,} rows of {relation} in {_minutes(episode, now)}; {before}"
            yield _sighting("bulk", relation, Severity.HIGH, text, episode, peak, rows)
        if result > ROWS and not is_of_new and result > 5.0 * usual:
            yield _of_result(relation, result, "one statement", usual, episode)


def _of_result(relation: str, rows: int, by: str, usual: float, episode: Episode) -> Sighting:
    before = _usual(usual, "its largest result in five weeks was")
    text = f"read {rows:,} rows of {relation} by {by}; {before}"
    return _sighting("bulk", relation, Severity.HIGH, text, episode, f"result {relation}", rows)


def volume(baseline: Baseline, recent: Recent, now: float) -> Iterator[Sighting]:
    """Rows read of one relation since midnight UTC: n > max(5000, 4 p of days)."""
    if recent.day.rows <= DAY_ROWS:
        return
    for relation in recent.changes.relations:
        rows = recent.day.rows_of.get(relation, 0)
        if rows > DAY_ROWS and rows > 4.0 * (usual := baseline.peak(f"day {relation}", now)):
            peak, before = f"day {relation}", _usual(usual, "its largest day in five weeks was")
            text = f"read {rows:,} rows of {relation} today; {before}"
            yield _sighting("volume", relation, Severity.MEDIUM, text, recent.episode, peak, rows)


def paging(baseline: Baseline, recent: Recent, now: float) -> Iterator[Sighting]:
    """One statement with LIMIT, OFFSET or FETCH, run with other values each time: n >= 10 and
    n > 3 p runs, nine of ten results as large as the largest, of at least 10 rows.
    """
    for use in recent.changes.uses.values():
        if not use.shape.pages or use.count < PAGES:
            continue
        runs = f"runs {use.shape.fingerprint}"
        if (
            use.largest >= 10
            and use.rows >= 0.9 * use.largest * use.count
            and _varies(use)
            and use.count > 3.0 * baseline.peak(runs, now)
        ):
            text = (
                f"pages through {_names(use)}: {use.count} results of {use.largest} rows in "
                f"{_minutes(recent.episode, now)}; "
                f"{_usual(baseline.peak(runs, now), 'most in an episode so far:')}"
            )
            yield _of_use("paging", use, Severity.HIGH, text, runs)


def search(baseline: Baseline, recent: Recent, now: float) -> Iterator[Sighting]:
    """One statement that compares by order or pattern, run with other values each time: n >= 15
    and n > 3 p runs, two rows each at most.
    """
    for use in recent.changes.uses.values():
        if not use.shape.searches or use.count < SEARCHES:
            continue
        runs = f"runs {use.shape.fingerprint}"
        is_unusual = use.count > 3.0 * baseline.peak(runs, now)
        if use.rows <= 2 * use.count and _varies(use) and is_unusual:
            text = (
                f"ran one comparison on {_names(use)} {use.count} times with other values in "
                f"{_minutes(recent.episode, now)}, as a search for a value does"
            )
            severity = Severity.HIGH if use.shape.masked else Severity.MEDIUM
            yield _of_use("search", use, severity, text, runs)


def refusals(baseline: Baseline, recent: Recent, now: float) -> Iterator[Sighting]:
    """k refused of n statements, with the usual share r: k >= 5 and k ln(k / nr) - k + nr >= 14,
    Chernoff's bound of a Poisson tail below one in a million.
    """
    episode = recent.episode
    refused = episode.refused
    if refused < 5:
        return
    usual = max(1e-6, episode.statements * baseline.refusal_share())
    if refused <= usual or refused * log(refused / usual) - refused + usual < 14.0:
        return
    codes = sorted({use.code for use in episode.refusals.values()})
    text = (
        f"had {refused} of {counted(episode.statements, 'statement')} refused in "
        f"{_minutes(episode, now)} ({', '.join(codes)}); usually {baseline.refusal_share():.1%}"
    )
    yield _sighting("refusals", "", Severity.MEDIUM, text, episode)


def probing(baseline: Baseline, recent: Recent, now: float) -> Iterator[Sighting]:
    """Different statements that were refused with one code on the same relations: n >= 5."""
    variants: dict[tuple[str, tuple[str, ...]], list[Use]] = {}
    refused, latest = recent.episode.refusals, recent.changes.refusals
    if len(refused) < 5:
        return
    touched = {(use.code, use.shape.relations) for use in latest.values()}
    for use in refused.values():
        if use.shape.relations and (use.code, use.shape.relations) in touched:
            variants.setdefault((use.code, use.shape.relations), []).append(use)
    for (code, _), uses in variants.items():
        if len(uses) >= 5:
            text = (
                f"tried {len(uses)} forms of a refused statement on {_names(uses[0])} in "
                f"{_minutes(recent.episode, now)} ({code})"
            )
            about = f"{code} {_names(uses[0])}"
            first = min(use.first for use in uses)
            last = max(use.last for use in uses)
            yield Sighting("probing", about, Severity.HIGH, text, first, last)


def masked(baseline: Baseline, recent: Recent, now: float) -> Iterator[Sighting]:
    """Different statements that ask for one masked column: n >= 6 and n > 3 p."""
    if len(recent.episode.uses) < MASKED:
        return
    columns = {column for use in recent.changes.uses.values() for column in use.shape.masked}
    for column in columns:
        count = recent.episode.masked[column]
        usual = baseline.peak(f"masked {column}", now)
        if count >= MASKED and count > 3.0 * usual:
            text = (
                f"asked for the masked column {column} in {count} different statements in "
                f"{_minutes(recent.episode, now)}; {_usual(usual, 'at most so far:')}"
            )
            peak = f"masked {column}"
            yield _sighting("masked", column, Severity.MEDIUM, text, recent.episode, peak, count)


def credentials(baseline: Baseline, recent: Recent, now: float) -> Iterator[Sighting]:
    """A column or relation whose name looks like a credential, for the first time."""
    new = recent.episode.new_credentials
    if not new:
        return
    text = f"read what looks like credentials for the first time: {_some(new)}"
    yield _sighting("credentials", new[0], Severity.HIGH, text, recent.episode)


def stuck(baseline: Baseline, recent: Recent, now: float) -> Iterator[Sighting]:
    """One statement with the same values again and again, failed or refused: n >= 10, nine of ten
    the same as the one before.
    """
    episode = recent.episode
    if episode.failed + episode.refused < 10:
        return
    for use in (*recent.changes.uses.values(), *recent.changes.refusals.values()):
        failed = use.count if use.code else use.failed
        if failed >= 10 and failed >= 0.9 * use.count and use.repeats >= 0.8 * use.count:
            word = f"refused ({use.code})" if use.code else "failed"
            text = (
                f"repeats {use.shape.label or 'a statement'} unchanged: {word} {failed} times in "
                f"{_minutes(episode, now)}"
            )
            yield _of_use("stuck", use, Severity.LOW, text)


def off_hours(baseline: Baseline, recent: Recent, now: float) -> Iterator[Sighting]:
    """An hour of the week that with its two neighbours holds below 0.1 % of its episodes, and the
    same hours of all days below 1 %; after 14 days with statements.
    """
    if baseline.active_days < 14:
        return
    hour = hour_of_week(recent.episode.started)
    near = [(hour + step) % 168 for step in (-1, 0, 1)]
    here = sum(baseline.hours.share(str(place)) for place in near)
    if here > 0.001:
        return
    daily = [(place + 24 * day) % 168 for place in near for day in range(7)]
    all_days = sum(baseline.hours.share(str(place)) for place in daily)
    if all_days > 0.01:
        return
    text = f"works at {hour % 24:02}:00 UTC, where it has {all_days:.1%} of its work"
    yield _sighting("off-hours", "", Severity.LOW, text, recent.episode)


def networks(baseline: Baseline, recent: Recent, now: float) -> Iterator[Sighting]:
    """Networks (/24, /48) or sessions at once: n >= 3 networks, n >= 10 sessions; n > 2 p."""
    episode = recent.episode
    for name, count, minimum in (
        ("networks", len(episode.networks), NETWORKS),
        ("sessions", len(episode.sessions), SESSIONS),
    ):
        usual = baseline.peak(name, now)
        if count >= minimum and count > 2.0 * usual:
            largest = _usual(usual, "at most so far:")
            text = f"uses {count} {name} within {_minutes(episode, now)}; {largest}"
            yield _sighting("networks", name, Severity.MEDIUM, text, episode, name, count)


def differencing(baseline: Baseline, recent: Recent, now: float) -> Iterator[Sighting]:
    """Totals of groups that differ from another total's group in one condition that tells persons
    apart (a masked or personal column, or all but one primary key): n >= 5 and n > 3 p.
    """
    for relation, (count, use) in recent.episode.differences.items():
        if count < DIFFERENCES or use.shape.fingerprint not in recent.changes.uses:
            continue
        peak = f"differences {relation}"
        usual = baseline.peak(peak, now)
        if count > 3.0 * usual:
            text = (
                f"took {count} totals of {relation} over groups that differ in one condition on a "
                f"person in {_minutes(recent.episode, now)}; {_usual(usual, 'most so far:')}"
            )
            medium, first, last = Severity.MEDIUM, use.first, use.last
            yield Sighting("differencing", relation, medium, text, first, last, peak, count)


def origin(baseline: Baseline, recent: Recent, now: float) -> Iterator[Sighting]:
    """A network (/24, /48) or a client program (application_name) for the first time, where new
    ones came in fewer than 2 % of its episodes; of networks that are often new, the /8 (/16 of
    IPv6) around it likewise.
    """
    episode = recent.episode
    for kind, new, severity in (
        ("network", episode.new_networks, Severity.MEDIUM),
        ("block", episode.new_blocks, Severity.MEDIUM),
        ("program", episode.new_programs, Severity.LOW),
    ):
        if not new or baseline.share_of_episodes(f"new {kind}") >= 0.02:
            continue
        if kind == "network":
            text = f"connects from a network that it never used before: {_some(new)}"
        elif kind == "block":
            if baseline.share_of_episodes("new network") < 0.02:
                continue  # the network was told
            text = f"connects from a part of the net that it never used before: {_some(new)}"
        else:
            text = f"connects with a program that it never used before: {_some(new)}"
        yield _sighting("origin", kind, severity, text, episode)


def long_session(baseline: Baseline, recent: Recent, now: float) -> Iterator[Sighting]:
    """Seconds since the login of a session that works: n > max(4 hours, 4 p)."""
    longest = recent.episode.longest
    if longest <= SESSION_SECONDS:
        return
    usual = baseline.peak("session", now)
    if longest > 4.0 * usual:
        text = f"works in a session of {longest / 3600.0:.1f} hours; "
        text += f"its longest in five weeks was {usual / 3600.0:.1f}"
        low, peak = Severity.LOW, "session"
        yield _sighting("session-length", "", low, text, recent.episode, peak, longest)


#: Every detector by its name, the most telling first.
DETECTORS: Final[dict[str, Detector]] = {
    "bulk": bulk,
    "probing": probing,
    "enumeration": enumeration,
    "credentials": credentials,
    "paging": paging,
    "search": search,
    "volume": volume,
    "refusals": refusals,
    "differencing": differencing,
    "masked": masked,
    "drift": drift,
    "networks": networks,
    "origin": origin,
    "new-relation": new_relation,
    "new-statement": new_statement,
    "off-hours": off_hours,
    "session-length": long_session,
    "stuck": stuck,
}
#: What changed when each detector looks again.
CAUSES: Final[dict[str, frozenset[Cause]]] = {
    "bulk": frozenset({"rows"}),
    "probing": frozenset({"refused"}),
    "enumeration": frozenset({"new", "refused"}),
    "credentials": frozenset({"new"}),
    "paging": frozenset({"often"}),
    "search": frozenset({"often"}),
    "volume": frozenset({"rows"}),
    "refusals": frozenset({"refused"}),
    "differencing": frozenset({"differs"}),
    "masked": frozenset({"masked"}),
    "drift": frozenset({"ran"}),
    "networks": frozenset({"elsewhere"}),
    "off-hours": frozenset({"begun"}),
    "session-length": frozenset({"long"}),
    **dict.fromkeys(("origin", "new-relation", "new-statement"), frozenset[Cause]({"new"})),
    "stuck": frozenset({"failed"}),
}
#: What these tell is learned when the episode is over, whatever people say.
LEARNED: Final = frozenset({"new-relation", "new-statement", "credentials", "origin"})
#: What these tell has a size: one that is expected is the largest so far.
MEASURED: Final = frozenset(
    ["bulk", "volume", "paging", "search", "differencing", "masked", "networks", "session-length"]
)
#: Seconds for which one thing about one agent is not told again.
QUIET: Final = dict.fromkeys(
    ("off-hours", "new-statement", "drift", "volume", "session-length"), DAY
)


def _relations(baseline: Baseline) -> set[str]:
    return {key.partition(" ")[2] for key in baseline.relations.weights}


def _varies(use: Use) -> bool:
    return use.repeats <= 0.2 * use.count


def _sighting(
    detector: str,
    about: str,
    severity: Severity,
    text: str,
    episode: Episode,
    peak: str = "",
    size: float = 0.0,
) -> Sighting:
    running = episode.running_number if episode.running else 0
    first = episode.first if episode.first >= 0 else running
    last = max(episode.last, running)
    return Sighting(detector, about, severity, text, first, last, peak, size)


def _of_use(detector: str, use: Use, severity: Severity, text: str, peak: str = "") -> Sighting:
    first, last, size = use.first, use.last, use.count if peak else 0
    return Sighting(detector, use.shape.label, severity, text, first, last, peak, size)


def _some(names: Iterable[str], limit: int = 5) -> str:
    listed = list(dict.fromkeys(names))
    more = f" and {len(listed) - limit} more" if len(listed) > limit else ""
    return ", ".join(listed[:limit]) + more


def _names(use: Use) -> str:
    return _some(use.shape.relations, 3) or "no relation"


def _usual(value: float, words: str) -> str:
    return f"{words} {value:,.0f}" if value else "nothing like it before"


def _minutes(episode: Episode, now: float) -> str:
    minutes = max(1, round((now - episode.started) / 60.0))
    return counted(minutes, "minute")
