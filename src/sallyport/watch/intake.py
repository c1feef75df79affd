"""What sessions did, as it comes to the watcher, counted into what an agent does at present."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from sallyport.watch.baseline import Baseline
from sallyport.watch.recent import Changes, Episode, Recent, add_rows, block_of
from sallyport.watch.shapes import Shape
from sallyport.watch.thresholds import PAGES

#: New names of one episode.
_MAX_NEW: Final = 32


class Observation(msgspec.Struct, frozen=True):
    """Statements of one shape in one session. largest: rows of one result. repeats: how many
    were the same as the one before. first, last: numbers in the session. code: why they were
    refused; "" when they ran. variant: a hash of what was refused.
    """

    shape: Shape
    count: int
    rows: int = 0
    size: int = 0
    largest: int = 0
    failed: int = 0
    repeats: int = 0
    first: int = 0
    last: int = 0
    code: str = ""
    variant: int = 0


@dataclass(frozen=True, slots=True)
class Batch:
    """What one session did since the last one. network: of its client. running: rows so far of a
    result that is passing. program: what its client calls itself. age: seconds since its login.
    """

    session: str
    network: str
    observations: Sequence[Observation]
    running: Observation | None = None
    program: str = ""
    age: float = 0.0


def take(baseline: Baseline, recent: Recent, batch: Batch) -> None:
    """Count what a session did, and note what that changed."""
    episode = recent.episode
    changes = recent.changes = Changes(episode.statements)
    is_elsewhere = episode.saw(batch.session, batch.network, batch.program, batch.age)
    if is_elsewhere and _note_origin(baseline, episode, batch):
        changes.causes.add("new")
    statements = refused = rows = size = failed = 0
    labels: list[tuple[str, int]] = []
    for seen in batch.observations:
        count = seen.count
        statements += count
        if seen.code:
            refused += count
            _take_refused(episode, changes, seen)
            continue
        labels.append((seen.shape.label, count))
        size += seen.size
        failed += seen.failed
        rows += seen.rows
        _take_use(baseline, recent, seen)
    episode.statements += statements
    episode.refused += refused
    episode.rows += rows
    episode.size += size
    episode.failed += failed
    recent.day.add(statements, refused, rows)
    if labels:
        changes.causes.add("ran")
        recent.mix.extend(labels)
    if episode.running:
        episode.running = {}
    if batch.running is not None:
        shape = batch.running.shape
        episode.running = dict.fromkeys(shape.relations[:8], batch.running.rows)
        episode.running_number = batch.running.first
        changes.causes.add("rows")
        episode.is_running_new = shape.fingerprint not in baseline.fingerprints


def _take_use(baseline: Baseline, recent: Recent, seen: Observation) -> None:
    """What ran."""
    shape, count = seen.shape, seen.count
    episode, changes, fingerprint = recent.episode, recent.changes, shape.fingerprint
    causes = changes.causes
    if seen.rows and shape.relations:
        add_rows(shape.relations, seen.rows, episode.rows_of, recent.day.rows_of)
        changes.relations.update(shape.relations)
        causes.add("rows")
    use = episode.uses.get(fingerprint) or episode.use(shape)
    if use is None:
        return
    changes.uses[fingerprint] = use
    if not use.count:
        use.first = seen.first
        use.is_new = fingerprint not in baseline.fingerprints.weights
        if _note_new(baseline, episode, shape):
            causes.add("new")
    use.count += count
    use.rows += seen.rows
    use.repeats += seen.repeats
    use.last = seen.last
    episode.number(seen.first, seen.last)
    if seen.largest > use.largest:
        episode.count_result(use, seen.largest)
    if seen.failed:
        use.failed += seen.failed
        causes.add("failed")
    if use.count >= PAGES and (shape.pages or shape.searches):
        causes.add("often")
    if shape.masked:
        causes.add("masked")
    if use.differs:
        causes.add("differs")
        episode.count_difference(use, count - seen.repeats)


def _take_refused(episode: Episode, changes: Changes, seen: Observation) -> None:
    use = episode.refusal(seen.code, seen.shape)
    if use is None:
        return
    changes.refusals[f"{seen.code} {seen.shape.fingerprint}"] = use
    changes.causes |= {"refused", "failed"}
    if not use.count:
        use.first = seen.first
    use.count += seen.count
    use.repeats += use.variant == seen.variant and use.count > 1
    use.last, use.variant = seen.last, seen.variant
    episode.number(seen.first, seen.last)


def _note_new(baseline: Baseline, episode: Episode, shape: Shape) -> bool:
    """Whether there is something that the baseline does not have. Bounded."""
    before = len(episode.new_fingerprints), len(episode.new_relations), len(episode.new_credentials)
    is_new = shape.fingerprint not in baseline.fingerprints
    if is_new and before[0] < _MAX_NEW:
        episode.new_fingerprints.append(shape.label)
    for action in shape.actions:
        if action not in baseline.relations and len(episode.new_relations) < _MAX_NEW:
            episode.new_relations.append(action)
    if is_new and len(episode.new_relations) == before[1]:
        columns = [name for name in shape.columns if name not in baseline.columns]
        episode.new_columns += columns[: _MAX_NEW - len(episode.new_columns)]
    for name in shape.credentials:
        was_read = name in baseline.columns or f"{shape.kind} {name}" in baseline.relations
        if not was_read and len(episode.new_credentials) < _MAX_NEW:
            episode.new_credentials.append(name)
    after = len(episode.new_fingerprints), len(episode.new_relations), len(episode.new_credentials)
    return after != before


def _note_origin(baseline: Baseline, episode: Episode, batch: Batch) -> bool:
    """As :func:`_note_new`. Where the baseline has none of a kind, nothing is new."""
    is_new = False
    for kind, name, new in (
        ("network", batch.network, episode.new_networks),
        ("block", block_of(batch.network), episode.new_blocks),
        ("program", batch.program, episode.new_programs),
    ):
        if not name or name in new or len(new) >= _MAX_NEW:
            continue
        weights = baseline.origins.weights
        if f"{kind} {name}" not in weights and any(key.startswith(kind) for key in weights):
            new.append(name)
            is_new = True
    return is_new
