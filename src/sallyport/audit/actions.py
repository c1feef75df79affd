"""What people do in the console, over REST and in Slack, recorded as sessions are: a recording of
its own kind, in the same hash chain.

:class:`ActionLog` opens a recording with the first action and another one on each UTC day, named
``act_...``. An action says who did what to what, from where, and what came of it; never a token, a
cookie or a row. :func:`actions_of` reads them back.

Refused attempts take only a token, no role, so of each subject only so many are recorded one by
one; the others are counted (:data:`LEFT_OUT`). Refused logins take not even that:
:mod:`sallyport.audit.refusedlogins`.

For one thread (the event loop's), as everything that calls the recorder.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from sallyport.audit import events as ev
from sallyport.audit.ports import ACTIONS_PREFIX
from sallyport.audit.recorder import Recorder
from sallyport.audit.recording import SessionRecording
from sallyport.audit.refusedlogins import RefusedLogin, RefusedLogins
from sallyport.core.ids import new_id
from sallyport.core.subject import Subject

#: Characters of one detail that are kept.
LONGEST: Final = 20_000
_DAY: Final = 86_400.0
#: Refused attempts of one subject that are recorded one by one within so many seconds.
MOST_REFUSED: Final = 30
REFUSED_SECONDS: Final = 60.0
#: Seconds between calls of :meth:`ActionLog.settle`.
SETTLE_SECONDS: Final = REFUSED_SECONDS / 4
#: The action that says how many more there were.
LEFT_OUT: Final = "refusals.left-out"
#: The action by which a recording's key is deleted.
SHRED: Final = "recordings.shred"
#: The action by which the gateway records a finding; whose it is did not do it.
RAISE_FINDING: Final = "findings.raise"
#: What :mod:`sallyport.store.reindex` makes locks and containments anew from.
LOCK: Final = "locks.lock"
RELEASE_LOCK: Final = "locks.release"
CONTAIN: Final = "containments.contain"
RELEASE_CONTAINMENT: Final = "containments.release"
#: Subjects whose refused attempts are counted apart; those of more count as one's.
_MOST_SUBJECTS: Final = 4096
#: Who the login event of these recordings names.
_GATEWAY: Final = Subject("sallyport", "", frozenset())
_NOBODY: Final = Subject("", "", frozenset())


@dataclass(frozen=True, slots=True)
class RecordedAction:
    """An action and when: Unix seconds. ``recording``: the id of the recording that has it."""

    recording: str
    time: float
    action: ev.Action


@dataclass(slots=True)
class _Refusals:
    """Refused attempts of one subject (None: of an address) since ``since``, on the recorder's
    clock.
    """

    since: float
    subject: Subject | None
    address: str
    channel: str
    count: int = 0


class ActionLog:
    """``failed``: what is done now could not be recorded."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._recording: SessionRecording | None = None
        self._refusals: dict[tuple[str, str], _Refusals] = {}  # oldest first
        self._logins = RefusedLogins(self._append_login, recorder.clock.now)

    @property
    def failed(self) -> bool:
        if self._recorder.failed:
            return True
        recording = self._recording
        if recording is not None and recording.failed:
            # Broken for good while the recorder works: the next action begins another recording.
            recording.end("this recording failed; another one goes on")
            self._recording = None
        return False

    @property
    def recording(self) -> str:
        """The id of the recording that has the newest action; "" before the first."""
        return self._recording.id if self._recording is not None else ""

    def record(
        self,
        name: str,
        subject: Subject | None,
        address: str,
        channel: str,
        *,
        object_id: str = "",
        outcome: str = ev.DONE,
        reason: str = "",
        details: Mapping[str, str] | None = None,
    ) -> None:
        """``subject`` None: nobody whom a token names. ``details`` are bounded here, not cleaned:
        callers leave secrets out.
        """
        self.settle()
        if outcome == ev.REFUSED and self._is_left_out(subject, address, channel):
            return
        self._append(name, subject, address, channel, object_id, outcome, reason, details or {})

    def login_refused(self, refused: RefusedLogin) -> None:
        """Record it, or count it where there are too many."""
        self._logins.add(refused)

    def settle(self) -> None:
        """Record how many refused attempts were left out in spans of time that are over. Called
        again and again.
        """
        self._logins.settle()
        now = self._recorder.clock.now()
        while self._refusals:
            key, refusals = next(iter(self._refusals.items()))
            if 0 <= now - refusals.since < REFUSED_SECONDS:
                return
            self._end(key)

    def close(self) -> None:
        """Record how many were left out until now."""
        self._logins.close()
        for key in list(self._refusals):
            self._end(key)

    def _is_left_out(self, subject: Subject | None, address: str, channel: str) -> bool:
        key = (subject.issuer, subject.id) if subject is not None else ("", address)
        if key not in self._refusals and len(self._refusals) >= _MOST_SUBJECTS:
            key, subject, address = ("", ""), None, ""
        refusals = self._refusals.get(key)
        if refusals is None:
            refusals = _Refusals(self._recorder.clock.now(), subject, address, channel)
            self._refusals[key] = refusals
        refusals.count += 1
        return refusals.count > MOST_REFUSED

    def _end(self, key: tuple[str, str]) -> None:
        refusals = self._refusals.pop(key)
        number = refusals.count - MOST_REFUSED
        if number > 0:
            reason = (
                f"{number} more refused within {REFUSED_SECONDS:.0f} seconds were not recorded one"
                " by one"
            )
            details = {"count": str(number)}
            self._append(
                LEFT_OUT,
                refusals.subject,
                refusals.address,
                refusals.channel,
                "",
                ev.REFUSED,
                reason,
                details,
            )

    def _append(
        self,
        name: str,
        subject: Subject | None,
        address: str,
        channel: str,
        object_id: str,
        outcome: str,
        reason: str,
        details: Mapping[str, str],
    ) -> None:
        kept = {key: _bounded(value) for key, value in details.items() if value}
        who = ev.subject_fields(subject or _NOBODY)
        reason = _bounded(reason)
        self._current().action(
            (name, who, address, channel, object_id[:200], outcome, reason, kept)
        )

    def _append_login(self, refused: RefusedLogin) -> None:
        details = dict(refused.details)
        if refused.code:
            details["code"] = refused.code
        self._append(
            refused.name,
            refused.subject,
            refused.address,
            refused.channel,
            "",
            ev.REFUSED,
            refused.reason,
            details,
        )

    def _current(self) -> SessionRecording:
        recording, now = self._recording, self._recorder.clock.now()
        if recording is not None and now // _DAY != recording.row.started // _DAY:
            recording.end("the day is over")
            recording = None
        if recording is None:
            recording = self._recorder.open_session(new_id(ACTIONS_PREFIX), _GATEWAY, "", "")
            self._recording = recording
        return recording


def shreds(action: ev.Action, session_id: str) -> bool:
    """Whether the action says that this session's key was to be deleted."""
    return (action.name, action.object, action.outcome) == (SHRED, session_id, ev.DONE)


def _bounded(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}… ({len(text)} characters)"


def actions_of(recording: str, events: Iterable[ev.Event]) -> Iterator[RecordedAction]:
    """The actions of a recording, in order, with the wall clock."""
    began = started = 0.0
    for event in events:
        if isinstance(event, ev.Login):
            began, started = event.at, event.started
        elif isinstance(event, ev.Action):
            yield RecordedAction(recording, started + event.at - began, event)
