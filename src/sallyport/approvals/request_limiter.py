"""How much may be asked for: bounds per subject, per hour and altogether, so that nobody can bury a
reviewer.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Final

from sallyport.approvals.ports import ApprovalStore
from sallyport.approvals.states import ApprovalRequirement, Binding, FloodLimits, Request
from sallyport.core.errors import RefusedError, refuse
from sallyport.core.subject import Subject

_HOUR: Final = 3600.0
_MINUTE: Final = 60.0


class RequestLimiter:
    """Counts requests in ``store``, where every process has them."""

    def __init__(self, limits: FloodLimits, store: ApprovalStore) -> None:
        self.limits, self._store = limits, store

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

    def check_asked(
        self,
        binding: Binding,
        subject: Subject,
        requirements: Sequence[ApprovalRequirement],
        seconds: float,
    ) -> None:
        """Raises ValueError for a request that nobody could approve, or that is not the subject's
        own; as :meth:`check_size`.
        """
        if (binding.subject, binding.issuer) != (subject.id, subject.issuer):
            raise ValueError("the binding is of another subject")
        if (
            any(not requirement.reviewers or requirement.quorum < 1 for requirement in requirements)
            or not seconds > 0
        ):
            raise ValueError("nobody could approve this: reviewers, quorum and expiry are needed")
        if len({requirement.rule for requirement in requirements}) != len(requirements):
            raise ValueError("a rule is there twice")
        self.check_size(binding)

    def admit(self, who: tuple[str, str], waiting: Iterable[Request], now: float) -> None:
        """Whether ``who`` (issuer, id) may ask once more. Raises RefusedError (SP1401) beyond the
        limits.
        """
        limits, waiting = self.limits, list(waiting)
        mine = [r for r in waiting if (r.subject.issuer, r.subject.id) == who]
        hour = self._store.asked(*who, now - _HOUR)
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


def _flood(message: str, detail: str) -> RefusedError:
    hint = "Wait until reviewers have decided about the pending requests."
    return RefusedError(refuse("SP1401", message, detail, hint))
