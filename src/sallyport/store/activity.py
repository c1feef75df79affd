"""What gateways did, in buckets of time: of each process a row per minute for a day, and one per
hour for ninety days. How long people took to decide is read from the approvals themselves.

Rows are upserted by the writer's thread with what their bucket holds so far, so that one that is
written again says the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from sqlalchemy import Engine, Row, and_, delete, func, or_, select

from sallyport.store.dialect import INSERTS
from sallyport.store.tables import activity_buckets, approval_decisions, approvals
from sallyport.store.writer import Writer

MINUTE: Final = 60
HOUR: Final = 3600
#: Seconds for which buckets are kept, by their length.
KEPT: Final[Mapping[int, int]] = {MINUTE: 86_400, HOUR: 90 * 86_400}
#: Masked columns of one bucket that are counted by name; the rest together, as :data:`REST`.
_MAX_NAMES: Final = 64
REST: Final = "(the rest)"
#: Decisions that are read, the latest ones.
_MAX_DECISIONS: Final = 20_000


@dataclass(slots=True)
class Bucket:
    """What happened in ``seconds`` from ``start`` on (Unix seconds). statements: by verdict (allow,
    hold, deny). refusals: by code. masked: rows by masked column. logins: by outcome (accepted, or
    the code of the refusal). latency: pieces by upper bound of what the gateway added (seconds),
    both directions together.
    """

    seconds: int
    start: int
    statements: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    masked: Counter[str] = field(default_factory=Counter)
    logins: Counter[str] = field(default_factory=Counter)
    latency: Counter[float] = field(default_factory=Counter)

    def add(self, more: Bucket) -> None:
        """What happened in a part of it."""
        self.statements.update(more.statements)
        self.refusals.update(more.refusals)
        self.masked.update(more.masked)
        self.logins.update(more.logins)
        self.latency.update(more.latency)

    def __bool__(self) -> bool:
        """Whether anything happened."""
        return bool(self.statements or self.masked or self.logins or self.latency)


class Decided(NamedTuple):
    """When somebody asked for approval (Unix seconds), and seconds until it was decided."""

    asked: float
    delay: float


class SqlActivity:
    """process: whose buckets are written."""

    def __init__(self, engine: Engine, writer: Writer, process: str) -> None:
        self._engine, self._writer, self.process = engine, writer, process
        rows = INSERTS[engine.dialect.name](activity_buckets)
        keys = [column.name for column in activity_buckets.primary_key.columns]
        counts = [column.name for column in activity_buckets.c if column.name not in keys]
        self._upsert = rows.on_conflict_do_update(
            index_elements=keys, set_={name: rows.excluded[name] for name in counts}
        )
        self._trimming: float | None = None
        writer.chores.append(self._trim)

    def put(self, bucket: Bucket) -> None:
        """Queue what a bucket holds so far."""
        key = f"{bucket.seconds} {bucket.start}"
        self._writer.put(self._upsert, key, {"process": self.process, **_values(bucket)})

    def own(self, seconds: int, start: int) -> Bucket:
        """What this process stored of a bucket before; empty when there is nothing."""
        column = activity_buckets.c
        query = select(activity_buckets).where(
            column.seconds == seconds, column.start == start, column.process == self.process
        )
        with self._engine.connect() as connection:
            row = connection.execute(query).first()
        return Bucket(seconds, start) if row is None else _from_row(row)

    def read(self, seconds: int, since: float) -> list[tuple[str, Bucket]]:
        """Buckets of this length that start at ``since`` or later (Unix seconds), of all processes,
        each with whose it is.
        """
        column = activity_buckets.c
        query = select(activity_buckets).where(column.seconds == seconds, column.start >= since)
        with self._engine.connect() as connection:
            return [(row.process, _from_row(row)) for row in connection.execute(query)]

    def decisions(self, since: float) -> list[Decided]:
        """Of requests of ``since`` or later that people approved or denied, the latest first."""
        request, decision = approvals.c, approval_decisions.c
        last = func.max(decision.at).label("decided")
        query = (
            select(request.created, last)
            .join(approval_decisions, decision.approval == request.id)
            .where(
                request.created >= since,
                request.grant_id == "",
                request.status.in_(("approved", "denied", "used")),
            )
            .group_by(request.id, request.created)
            .order_by(request.created.desc())
            .limit(_MAX_DECISIONS)
        )
        with self._engine.connect() as connection:
            rows = connection.execute(query).all()
        return [Decided(row.created, max(0.0, row.decided - row.created)) for row in rows]

    def trim(self, now: float) -> None:
        """Have the writer's thread delete what is older than :data:`KEPT`, of any process."""
        self._trimming = now
        self._writer.wake()

    def _trim(self) -> None:
        now = self._trimming
        if now is None:
            return
        column = activity_buckets.c
        over = [and_(column.seconds == s, column.start < now - kept) for s, kept in KEPT.items()]
        with self._engine.begin() as connection:
            connection.execute(delete(activity_buckets).where(or_(*over)))
        self._trimming = None


def _values(bucket: Bucket) -> dict[str, Any]:
    return {
        "seconds": bucket.seconds,
        "start": bucket.start,
        "allowed": bucket.statements["allow"],
        "held": bucket.statements["hold"],
        "refused": bucket.statements["deny"],
        "refusals": dict(bucket.refusals),
        "masked": _largest(bucket.masked),
        "logins": dict(bucket.logins),
        "latency": {str(bound): count for bound, count in bucket.latency.items()},
    }


def _largest(counts: Counter[str]) -> dict[str, int]:
    if len(counts) <= _MAX_NAMES:
        return dict(counts)
    named = dict(counts.most_common(_MAX_NAMES))
    return {**named, REST: named.get(REST, 0) + counts.total() - sum(named.values())}


def _from_row(row: Row[Any]) -> Bucket:
    verdicts = {"allow": row.allowed, "hold": row.held, "deny": row.refused}
    return Bucket(
        row.seconds,
        row.start,
        Counter({verdict: count for verdict, count in verdicts.items() if count}),
        Counter(row.refusals),
        Counter(row.masked),
        Counter(row.logins),
        Counter({float(bound): count for bound, count in row.latency.items()}),
    )
