"""Containments as the recordings of actions tell them: who was contained, until when, and which one
was released.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime

from sallyport.audit.actions import CONTAIN, RELEASE_CONTAINMENT, RecordedAction
from sallyport.core.clock import unix_seconds
from sallyport.policy.containment import Containment


def containment_details(containment: Containment) -> dict[str, str]:
    """What is recorded of a containment, besides its id and subject."""
    return {
        "agents": json.dumps(containment.agents),
        "cause": containment.cause,
        "column": containment.column,
        "target": containment.target,
        "session": containment.session,
        "statement": str(containment.statement),
        "read_at": _text(containment.read_at),
        "until": _text(containment.until),
    }


def recorded_containments(
    actions: Iterable[RecordedAction], doubtful: list[str]
) -> list[Containment]:
    """Every one, in order, with its latest end, and its release where it has one. ``doubtful`` gets
    the recordings with one that cannot be read.
    """
    containments: dict[str, Containment] = {}
    for recorded in actions:
        action = recorded.action
        before = containments.get(action.object)
        if action.name == CONTAIN:
            try:
                made = _containment(recorded)
            except ValueError:
                doubtful.append(recorded.recording)
                continue
            if before is None:
                containments[made.id] = made
            else:
                containments[made.id] = replace(before, until=max(before.until, made.until))
        elif action.name == RELEASE_CONTAINMENT and before is not None:
            by = action.subject.email or action.subject.id
            containments[before.id] = replace(before, released_at=recorded.time, released_by=by)
    return list(containments.values())


def _containment(recorded: RecordedAction) -> Containment:
    """Raises ValueError for what is not one."""
    action, details = recorded.action, recorded.action.details
    agents = json.loads(details.get("agents", ""))
    if not isinstance(agents, list) or not action.object:
        raise ValueError("it names no programs")
    return Containment(
        id=action.object,
        issuer=action.subject.issuer,
        subject=action.subject.id,
        agents=tuple(str(agent) for agent in agents),
        cause=details.get("cause", ""),
        column=details.get("column", ""),
        target=details.get("target", ""),
        session=details.get("session", ""),
        statement=int(details.get("statement", "0")),
        read_at=unix_seconds(details.get("read_at", "")),
        until=unix_seconds(details.get("until", "")),
    )


def _text(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat()
