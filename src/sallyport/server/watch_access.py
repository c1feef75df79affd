"""What watching may ask of a hosted session: what it did, and to hold, tell or end it."""

from __future__ import annotations

import re
from collections.abc import Callable, Container
from typing import Final

from sallyport.audit.ports import SessionRow
from sallyport.server.gateway import Gateway
from sallyport.server.lane_access import LaneAccess
from sallyport.server.waiting import HeldStatementWait
from sallyport.session.activity import Activity, RefusedStatement, Tally
from sallyport.session.held import WatchHold
from sallyport.session.machine import Session
from sallyport.session.server.results import row_verdict
from sallyport.session.states import ClientState
from sallyport.sql.catalog.snapshot import CatalogSnapshot, ColumnId
from sallyport.watch.intake import Observation
from sallyport.watch.shapes import Shape, refused_shape, shape_of

#: Looks that may find nothing but a few statements that ran as before, until those are taken.
_PUT_OFF: Final = 60
_PROGRAM: Final = re.compile(r"[A-Za-z][A-Za-z ._-]{0,39}")


class WatchAccess:
    """Of one session. flush: writes what the session has for its peers."""

    __slots__ = (
        "_activity",
        "_flush",
        "_holds",
        "_lane",
        "_put_off",
        "_session",
        "_waiting",
        "network",
        "program",
    )

    def __init__(
        self,
        session: Session,
        lane: LaneAccess | None,
        waiting: HeldStatementWait | None,
        flush: Callable[[], None],
        row: SessionRow,
    ) -> None:
        self._session, self._lane, self._waiting, self._flush = session, lane, waiting, flush
        self._activity = session.activity = Activity()
        self._put_off = 0
        self._holds: list[WatchHold] = []  # because of open findings; the first is in force
        self.network, self.program = network_of(row.client), program_of(row.application)

    def take(self, now: float, *, everything: bool) -> tuple[list[Observation], Observation | None]:
        """What it did since it was last taken, and the large result that is passing. A few
        statements that ran as before stay for later, but for some half a minute, unless
        ``everything`` is to be taken. now: Unix seconds.
        """
        running, activity = self._running(), self._activity
        if running is None and not everything and not activity.is_due():
            self._put_off += activity.count > 0
            if self._put_off < _PUT_OFF:
                return [], None
        self._put_off = 0
        subject_judge = self._session.names.subject_judge
        catalog, masks = subject_judge.catalog, subject_judge.subject_policy.masks
        tallies, refusals = activity.take(now)
        observations = [_observation(tally, catalog, masks) for tally in tallies]
        observations += [_refused(statement) for statement in refusals]
        return observations, running

    def _running(self) -> Observation | None:
        running = self._lane.running_rows() if self._lane is not None else None
        if running is None:
            entries = self._session.pipeline.entries
            if not entries or not entries[0].rows:
                return None
            verdict = row_verdict(entries[0])
            if verdict is None:
                return None
            running = verdict, entries[0].number, entries[0].rows, entries[0].size
        verdict, number, rows, size = running
        subject_judge = self._session.names.subject_judge
        shape = shape_of(verdict, subject_judge.catalog, subject_judge.subject_policy.masks)
        return Observation(shape, 0, rows, size, rows, first=number, last=number)

    def hold(self, hold: WatchHold) -> None:
        """Its next statements wait for a person; what runs goes on."""
        if self._session.client_state is ClientState.CLOSED:
            return
        self._holds.append(hold)
        if self._session.watch_hold is not None:
            return
        self._session.watch_hold = hold  # first: what the lane gives back is held already
        if self._lane is not None:
            self._lane.leave()
        self._session.recorder.note("watch", f"held because of finding {hold.finding}")
        text = f"statements of this session wait for approval: finding {hold.finding}"
        self.tell(text, hold.evidence)

    def release(self, finding: str) -> None:
        """The finding was acknowledged: nothing waits because of it."""
        before = len(self._holds)
        self._holds = [hold for hold in self._holds if hold.finding != finding]
        if len(self._holds) == before:
            return
        self._session.watch_hold = self._holds[0] if self._holds else None
        self._session.recorder.note("watch", f"finding {finding} was acknowledged")
        if self._holds:
            return
        if self._waiting is not None:
            self._waiting.release_finding()

    def tell(self, text: str, detail: str = "", hint: str = "") -> None:
        """A NOTICE for the client, at a message boundary."""
        if self._lane is not None:
            self._lane.leave()
        if self._session.client_state is not ClientState.CLOSED:
            self._session.send_notice(text, detail, hint)
            self._flush()

    def note(self, text: str) -> None:
        """For the session's recording."""
        self._session.recorder.note("watch", text)


def watch_access(
    gateway: Gateway,
    session: Session,
    lane: LaneAccess | None,
    waiting: HeldStatementWait | None,
    flush: Callable[[], None],
    row: SessionRow,
) -> WatchAccess | None:
    """Let a session be watched, where the gateway watches any."""
    if gateway.watching is None:
        return None
    return WatchAccess(session, lane, waiting, flush, row)


def _observation(
    tally: Tally, catalog: CatalogSnapshot, masked: Container[ColumnId]
) -> Observation:
    return Observation(
        shape_of(tally.verdict, catalog, masked),
        tally.count,
        tally.rows,
        tally.size,
        tally.largest,
        tally.failed,
        tally.repeats,
        tally.first,
        tally.last,
    )


def _refused(statement: RefusedStatement) -> Observation:
    shape: Shape = refused_shape(statement.sql, statement.relations)
    return Observation(
        shape,
        1,
        first=statement.number,
        last=statement.number,
        code=statement.code,
        variant=hash(statement.sql),
    )


def program_of(application: str) -> str:
    """What a client calls itself (application_name), without version, pid and what is longer."""
    match = _PROGRAM.match(application.strip())
    return match.group().rstrip(" ._-").lower() if match is not None else ""


def network_of(peer: str) -> str:
    """The /24 or /48 of an address with a port; "" for what is no address."""
    host = peer.rpartition(":")[0].strip("[]")
    if ":" in host:
        return ":".join(host.split(":")[:3]) + "::/48"
    parts = host.split(".")
    return f"{'.'.join(parts[:3])}.0/24" if len(parts) == 4 else host
