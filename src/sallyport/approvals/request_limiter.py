"""How much may be asked for: bounds per subject, per hour and altogether, so that nobody can bury a
reviewer.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable
from typing import Final

from sallyport.approvals.states import Binding, FloodLimits, Request
from sallyport.core.errors import RefusedError, refuse

_HOUR: Final = 3600.0
_MINUTE: Final = 60.0


class RequestLimiter:
    """Counts new requests. Not for several threads at once."""

    def __init__(self, limits: FloodLimits) -> None:
        self.limits = limits
        self._asked: dict[tuple[str, str], deque[float]] = {}

    def check_size(self, binding: Binding) -> None:
        """Raises RefusedError (SP1105) for what is too large to be reviewed."""
        texts = {binding.sql, binding.executed_sql}
        size = sum(len(text.encode()) for text in texts) + sum(
            map(len, filter(None, binding.binds or ()))
        )
        if size > self.limits.max_bytes:
            raise RefusedError(
                refuse(
                    "SP1105",
                    f"the statement and its values are too long to be shown to a reviewer: {size}"
                    " bytes",
                    hint=f"Split the statement: the limit is {self.limits.max_bytes} bytes.",
                )
            )

    def admit(self, who: tuple[str, str], waiting: Iterable[Request], now: float) -> None:
        """Count one more request of ``who`` (issuer, id). Raises RefusedError (SP1401) beyond the
        limits.
        """
        limits, waiting = self.limits, list(waiting)
        mine = [r for r in waiting if (r.subject.issuer, r.subject.id) == who]
        hour = self._asked.setdefault(who, deque())
        while hour and hour[0] <= now - _HOUR:
            hour.popleft()
        if len(self._asked) > limits.total:
            self._asked = {
                k: d for k, d in self._asked.items() if k == who or (d and d[-1] > now - _HOUR)
            }
        if len(mine) >= limits.per_subject:
            ids = ", ".join(r.id for r in itertools.islice(mine, 5))
            raise _flood(
                f"{len(mine)} of your statements wait for approval already", f"They are {ids}."
            )
        if len(waiting) >= limits.total:
            raise _flood(
                "too many statements wait for approval",
                f"{len(waiting)} requests of all subjects are pending.",
            )
        if len(hour) >= limits.per_hour:
            raise _flood(
                "you have requested too many approvals", f"The limit is {limits.per_hour} an hour."
            )
        if sum(at > now - _MINUTE for at in hour) >= limits.per_minute:
            raise _flood(
                "you have requested too many approvals",
                f"The limit is {limits.per_minute} a minute.",
            )
        hour.append(now)


def _flood(message: str, detail: str) -> RefusedError:
    hint = "Wait until reviewers have decided about the pending requests."
    return RefusedError(refuse("SP1401", message, detail, hint))
