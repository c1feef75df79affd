"""Finding what people did in the console and over REST, newest first, over all recordings of
actions.

A recording of actions holds a day at most. They are read whole, from the newest on, until a page is
full.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from sallyport.audit.actions import RecordedAction
from sallyport.audit.archive import RecordingError
from sallyport.audit.ports import ACTIONS, SessionRow
from sallyport.core.clock import rfc3339
from sallyport.operations.sessions import Sessions

#: (recording, number) of the last action of a page.
Place = tuple[str, int]


@dataclass(frozen=True, slots=True)
class ActionQuery:
    """Which actions; "" and None mean any. subject: part of id or e-mail. name: an action, or what
    it begins with (``sessions``). object_id: of what it was done to. outcome: done | refused |
    failed. address: where they came from, the whole of it. since: Unix seconds. after: the last one
    of the page before.
    """

    subject: str = ""
    name: str = ""
    object_id: str = ""
    outcome: str = ""
    address: str = ""
    since: float | None = None
    after: Place | None = None
    limit: int = 50

    def matches(self, recorded: RecordedAction) -> bool:
        action, part = recorded.action, self.subject.lower()
        return (
            (part in action.subject.id.lower() or part in action.subject.email.lower())
            and (
                not self.name or action.name == self.name or action.name.startswith(f"{self.name}.")
            )
            and self.object_id in ("", action.object)
            and self.outcome in ("", action.outcome)
            and self.address in ("", action.address)
            and (self.since is None or recorded.time >= self.since)
        )


@dataclass(slots=True)
class ActionPage:
    """``after``: for :attr:`ActionQuery.after`, None at the end. ``damaged``: recordings that could
    not be read to their end.
    """

    actions: list[RecordedAction] = field(default_factory=list)
    after: Place | None = None
    damaged: list[str] = field(default_factory=list)


def find_actions(sessions: Sessions, query: ActionQuery) -> ActionPage:
    """One page, newest first. Raises what ``sessions`` raises for whom it does not permit."""
    page = ActionPage()
    for recorded in _newest_first(sessions, query, page.damaged.append):
        if len(page.actions) == query.limit:
            page.after = (page.actions[-1].recording, page.actions[-1].action.number)
            break
        page.actions.append(recorded)
    return page


def _newest_first(
    sessions: Sessions, query: ActionQuery, on_damage: Callable[[str], None]
) -> Iterator[RecordedAction]:
    for row in sessions.recent(limit=None, kind=ACTIONS):
        if query.after is not None and row.id > query.after[0]:
            continue  # ids sort by time
        if query.since is not None and row.ended is not None and row.ended < query.since:
            return
        for recorded in reversed(_of(sessions, row, on_damage)):
            behind = query.after is None or (row.id, recorded.action.number) < query.after
            if behind and query.matches(recorded):
                yield recorded


def _of(
    sessions: Sessions, row: SessionRow, on_damage: Callable[[str], None]
) -> list[RecordedAction]:
    problems: list[object] = []
    try:
        actions = list(sessions.actions(row.id, problems.append))
    except RecordingError:
        on_damage(row.id)
        return []
    if problems:
        on_damage(row.id)
    return actions


def action_data(recorded: RecordedAction) -> dict[str, Any]:
    """An action as JSON values, for the command line and REST."""
    action, who = recorded.action, recorded.action.subject
    return {
        "time": rfc3339(recorded.time),
        "recording": recorded.recording,
        "number": action.number,
        "action": action.name,
        "subject": who.id,
        "issuer": who.issuer,
        "email": who.email,
        "agent": who.agent,
        "actors": list(who.actors),
        "groups": list(who.groups),
        "address": action.address,
        "channel": action.channel,
        "object": action.object,
        "outcome": action.outcome,
        "reason": action.reason,
        "details": dict(action.details),
    }
