"""What sessions did, as it comes to the watcher, counted into what an agent does at present."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from sallyport.watch.baseline import Baseline
from sallyport.watch.recent import Changes, Episode, Recent, add_rows, block_of
from sallyport.watch.shapes import Shape
from sallyport.watch.thresholds import BEGUN, PAGES, SESSION_SECONDS

#: Statements that ran as before, and rows of theirs, until detectors look; more rows where an
#: episode has many: a sixteenth of them.
_FEW: Final = 4
_FEW_ROWS: Final = 100
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
    """Count what a session did, and note what that changed. What ran as before is counted, and
    looked at a few statements and rows later.
    """
    episode = recent.episode
    changes = recent.changes
    if changes.causes:  # they were looked at
        changes = recent.changes = Changes()
    _take_origin(baseline, episode, changes, batch)
    statements = refused = rows = size = 0
    for seen in batch.observations:
        count, shape = seen.count, seen.shape
        statements += count
        if seen.code:
            refused += count
            _take_refused(episode, changes, seen)
            continue
        changes.labels.append((shape.label, count))
        changes.ran += count
        size += seen.size
        rows += seen.rows
        if seen.rows and shape.relations:
            add_rows(shape.relations, seen.rows, episode.rows_of, recent.day.rows_of)
            changes.relations.update(shape.relations)
        use = episode.uses.get(shape.fingerprint)
        if use is None or seen.failed or use.is_due(count, seen.largest):
            _take_use(baseline, episode, changes, seen)
            continue
        use.count += count
        use.rows += seen.rows
        use.repeats += seen.repeats
        use.last = seen.last
        episode.number(seen.first, seen.last)
    if episode.statements < BEGUN <= episode.statements + statements:
        changes.causes.add("begun")
    episode.statements += statements
    episode.refused += refused
    episode.rows += rows
    episode.size += size
    recent.day.add(statements, refused, rows)
    _take_running(baseline, episode, changes, batch.running)
    changes.rows += rows
    if changes.rows > max(_FEW_ROWS, episode.rows >> 4) or changes.ran >= _FEW or changes.causes:
        if changes.rows:
            changes.causes.add("rows")
        if changes.ran:
            changes.causes.add("ran")
            recent.mix.extend(changes.labels)


def _take_origin(baseline: Baseline, episode: Episode, changes: Changes, batch: Batch) -> None:
    """Which session it is, from where, by what, since when."""
    if batch.session not in episode.sessions:
        changes.causes.add("elsewhere")
    if batch.age > SESSION_SECONDS:
        changes.causes.add("long")
    if episode.saw(batch.session, batch.network, batch.program, batch.age):
        changes.causes.add("elsewhere")
        if _note_origin(baseline, episode, batch):
            changes.causes.add("new")


def _take_running(
    baseline: Baseline, episode: Episode, changes: Changes, running: Observation | None
) -> None:
    """Rows of a result that is still passing."""
    if episode.running:
        episode.running = {}
    if running is not None:
        episode.running = dict.fromkeys(running.shape.relations[:8], running.rows)
        episode.running_number = running.first
        episode.is_running_new = running.shape.fingerprint not in baseline.fingerprints
        changes.causes.add("rows")


def _take_use(baseline: Baseline, episode: Episode, changes: Changes, seen: Observation) -> None:
    """What ran, and is to be looked at."""
    shape, count = seen.shape, seen.count
    causes, fingerprint = changes.causes, shape.fingerprint
    episode.failed += seen.failed
    use = episode.uses.get(fingerprint) or episode.use(shape)
    if use is None:
        return
    changes.uses[fingerprint] = use
    if not use.count:
        use.first = seen.first
        use.is_new = fingerprint not in baseline.fingerprints.weights
        if _note_new(baseline, episode, shape):
            causes.add("new")
        if shape.masked:
            causes.add("masked")
    use.count += count
    use.compared = use.count
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
