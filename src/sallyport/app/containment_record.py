"""Containments in the record of actions, so that an index that is made anew has them."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from sallyport.audit.actions import CONTAIN, ActionLog
from sallyport.core.subject import Subject
from sallyport.judge import Containments
from sallyport.policy.containment import Containment
from sallyport.store.containmentrecord import containment_details

#: Seconds by which the recorded end of a containment is later than its end, so that an agent that
#: goes on reading makes one entry in so much time.
_AHEAD: Final = 600.0


class ContainmentRecord:
    """``recorded``: the end that was recorded of each one in force, by its id."""

    def __init__(self, actions: ActionLog, containments: Containments) -> None:
        self._actions, self._containments = actions, containments
        self._recorded: dict[str, float] = {}
        containments.record = self.add

    def add(self, containment: Containment) -> None:
        """It was made, or goes on for longer."""
        if containment.until <= self._recorded.get(containment.id, 0.0):
            return
        in_force = {active.id for active in self._containments.active()}
        self._recorded = {id_: end for id_, end in self._recorded.items() if id_ in in_force}
        recorded = replace(containment, until=containment.until + _AHEAD)
        self._recorded[containment.id] = recorded.until
        self._actions.record(
            CONTAIN,
            Subject(containment.subject, containment.issuer, frozenset()),
            "",
            "gateway",
            object_id=containment.id,
            details=containment_details(recorded),
        )
