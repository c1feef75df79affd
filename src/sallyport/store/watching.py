"""Baselines and findings in the store: implements :mod:`sallyport.watch.ports`.

Baselines are merged with what other gateways stored, one row for each agent. Both are queued for
the writer's thread; what a person says of a finding is on the disk when the
call returns. Of more than ``MOST`` findings the oldest go when the gateway starts.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import msgspec
from sqlalchemy import Connection, Engine, Row, delete, func, or_, select, update

from sallyport.store.dialect import INSERTS, alone
from sallyport.store.durable import DurableWrites
from sallyport.store.tables import watch_baselines, watch_findings
from sallyport.store.writer import Writer
from sallyport.watch.finding import AgentKey, Finding, Severity
from sallyport.watch.merging import LessonBatch, merged

MOST: Final = 50_000
#: Batches that wait while the store cannot be written, and that are merged in one transaction.
_MAX_WAITING: Final = 4_000
_TOGETHER: Final = 50


class _Inserts:
    """``add``: a finding, once. ``put``: what a person says of it."""

    def __init__(self, insert: Any) -> None:
        finding = insert(watch_findings)
        self.add = finding.on_conflict_do_nothing(index_elements=["id"])
        decided = ("acknowledged", "by", "reason", "expected")
        self.put = finding.on_conflict_do_update(
            index_elements=["id"], set_={name: finding.excluded[name] for name in decided}
        )


_INSERTS: Final = {name: _Inserts(insert) for name, insert in INSERTS.items()}


class _Waiting(NamedTuple):
    """Something learned that is not stored yet."""

    key: AgentKey
    batch: LessonBatch
    at: float


class SqlBaselineStore:
    """writer: what is saved is merged in its thread; None: it only reads. on_merged: told in that
    thread of an agent's baseline as it is stored now, and of the batch that is in it.
    """

    def __init__(self, engine: Engine, writer: Writer | None = None) -> None:
        self._engine, self._writer = engine, writer
        self._insert = INSERTS[engine.dialect.name](watch_baselines).on_conflict_do_nothing(
            index_elements=["key"]
        )
        self.on_merged: Callable[[AgentKey, str, bytes], None] = lambda key, batch_id, data: None
        self._waiting: deque[_Waiting] = deque(maxlen=_MAX_WAITING)
        if writer is not None:
            writer.chores.append(self._merge)

    def load(self, key: AgentKey) -> bytes | None:
        """See :class:`~sallyport.watch.ports.BaselineStore`."""
        query = select(watch_baselines.c.data).where(watch_baselines.c.key == key.text)
        with self._engine.connect() as connection:
            data = connection.execute(query).scalar()
        return bytes(data) if data else None

    def save(self, key: AgentKey, batch: LessonBatch, at: float) -> None:
        """See :class:`~sallyport.watch.ports.BaselineStore`."""
        if self._writer is not None:
            self._waiting.append(_Waiting(key, batch, at))
            self._writer.wake()

    def _merge(self) -> None:
        """Merge what waits, some agents in one transaction, in the order of their keys: other
        gateways lock the same rows.
        """
        while self._waiting:
            batches = [self._waiting.popleft() for _ in range(min(_TOGETHER, len(self._waiting)))]
            batches.sort(key=lambda waiting: waiting.key)  # stable: an agent's stay in order
            try:
                with self._engine.begin() as connection:
                    stored = [self._merge_one(connection, waiting) for waiting in batches]
            except BaseException:
                self._waiting.extendleft(reversed(batches))
                raise
            for waiting, data in zip(batches, stored, strict=True):
                self.on_merged(waiting.key, waiting.batch.id, data)

    def _merge_one(self, connection: Connection, waiting: _Waiting) -> bytes:
        key, batch, at = waiting
        who = {"key": key.text, "subject": key.subject, "agent": key.agent, "target": key.target}
        connection.execute(self._insert, {**who, "data": b"", "updated": at})
        of_key = watch_baselines.c.key == key.text
        query = select(watch_baselines.c.data).where(of_key).with_for_update()
        data = merged(bytes(connection.execute(query).scalar_one()), batch)
        changed = update(watch_baselines).where(of_key).values(data=data, updated=at)
        connection.execute(changed)
        return data

    def keys(self) -> list[AgentKey]:
        """Of every agent that has a baseline, the latest one first."""
        query = select(watch_baselines.c.key).order_by(watch_baselines.c.updated.desc())
        with self._engine.connect() as connection:
            return [AgentKey(*key.split("\x1f")) for key in connection.execute(query).scalars()]


@dataclass(frozen=True, slots=True)
class FindingPage:
    """Some findings, and how many more there are."""

    rows: list[Finding]
    left_out: int


class SqlFindingStore:
    """writer None: it only reads."""

    def __init__(
        self, engine: Engine, writer: Writer | None = None, *, maximum: int = MOST
    ) -> None:
        self._engine, self._writer = engine, writer
        self._inserts = _INSERTS[engine.dialect.name]
        self._writes = DurableWrites(engine, "a finding")
        if writer is not None:
            self._trim(maximum)

    def add(self, finding: Finding) -> None:
        """See :class:`~sallyport.watch.ports.FindingStore`."""
        if self._writer is not None:
            self._writer.put(self._inserts.add, finding.id, _values(finding))

    def get(self, finding_id: str) -> Finding | None:
        """None when there is no such finding, or it is not written yet."""
        query = select(watch_findings).where(watch_findings.c.id == finding_id)
        with self._engine.connect() as connection:
            row = connection.execute(query).first()
        return None if row is None else _from_row(row)

    def recent(
        self,
        limit: int,
        *,
        severity: str = "",
        detector: str = "",
        agent: str = "",
        session: str = "",
        open_only: bool = False,
        since: float = 0.0,
        key: AgentKey | None = None,
    ) -> Sequence[Finding]:
        """See :class:`~sallyport.watch.ports.FindingStore`."""
        column = watch_findings.c
        query = select(watch_findings).order_by(column.at.desc(), column.id.desc()).limit(limit)
        for name, value in (("severity", severity), ("detector", detector), ("session", session)):
            if value:
                query = query.where(column[name] == value)
        if agent:
            names = (column.subject, column.actor, column.agent)
            query = query.where(or_(*(name.icontains(agent, autoescape=True) for name in names)))
        if key is not None:
            query = query.where(*(column[name] == value for name, value in key._asdict().items()))
        if open_only:
            query = query.where(column.acknowledged == 0.0)
        if since:
            query = query.where(column.at >= since)
        with self._engine.connect() as connection:
            return [_from_row(row) for row in connection.execute(query)]

    def within(self, since: float, until: float, limit: int) -> FindingPage:
        """Those of a period (Unix seconds; ``until`` is excluded), oldest first, at most ``limit``
        of them.
        """
        column = watch_findings.c
        of_period = (column.at >= since, column.at < until)
        query = select(watch_findings).where(*of_period).order_by(column.at, column.id)
        number = select(func.count()).select_from(watch_findings).where(*of_period)
        with self._engine.connect() as connection:
            rows = [_from_row(row) for row in connection.execute(query.limit(limit))]
            return FindingPage(rows, connection.execute(number).scalar_one() - len(rows))

    def acknowledge(self, finding: Finding) -> None:
        """See :class:`~sallyport.watch.ports.FindingStore`."""
        with self._writes.transaction() as connection:
            connection.execute(self._inserts.put, _values(finding))

    def _trim(self, maximum: int) -> None:
        column = watch_findings.c
        with self._engine.begin() as connection:
            if not alone(connection, "findings"):
                return
            oldest = select(column.at).order_by(column.at.desc()).offset(maximum).limit(1)
            at = connection.execute(oldest).scalar()
            if at is not None:
                connection.execute(delete(watch_findings).where(column.at <= at))


def _values(finding: Finding) -> dict[str, Any]:
    values = msgspec.structs.asdict(finding)
    key = values.pop("key")
    done = list(finding.done)
    return {**values, **key._asdict(), "severity": finding.severity.value, "done": done}


def _from_row(row: Row[Any]) -> Finding:
    values = dict(row._mapping)
    key = AgentKey(*(values.pop(name) for name in AgentKey._fields))
    values["severity"], values["done"] = Severity(values["severity"]), tuple(values["done"])
    return Finding(key=key, **values)
