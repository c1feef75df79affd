"""A statement that waits for a person, and the answer for it, as values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from sallyport.core.errors import Refusal, refuse
from sallyport.judge import Verdict
from sallyport.session.statements import Portal

NO_APPROVAL = refuse("SP1003", "this waits for approval")


@dataclass(frozen=True, slots=True)
class HeldStatement:
    """Exactly what would run. Equal values are the same statement under the same rules."""

    sql: str
    binds: tuple[bytes | None, ...] | None
    bind_formats: tuple[int, ...]
    types: tuple[int, ...]
    search_path: tuple[str, ...]
    policy_version: str
    epoch: str
    settings: tuple[tuple[str, str], ...]
    sent: str  # what the target gets for ``sql``
    in_transaction: bool = field(compare=False)
    verdict: Verdict = field(compare=False, repr=False)
    watch: WatchHold | None = field(default=None, compare=False, repr=False)
    portal: Portal | None = field(default=None, compare=False, repr=False)


def _not_approved(held: HeldStatement) -> Refusal | None:
    return NO_APPROVAL


@dataclass(frozen=True, slots=True)
class WatchHold:
    """A finding about the session: what comes next waits for a person. ``finding``: its id."""

    finding: str
    evidence: str

    @property
    def rule(self) -> str:
        """What stands for the rule in requests for approval."""
        return f"finding {self.finding}"

    def refusal(self) -> Refusal:
        """Why a statement waits, or does not run where nobody can be asked."""
        return refuse(
            "SP1003",
            f"this waits for approval because of finding {self.finding}",
            self.evidence,
            "A reviewer approves it, or acknowledges the finding, which ends the waiting.",
        )


@dataclass(frozen=True, slots=True)
class Ruling:
    """The answer for one held statement. ``refusal``: why it does not run, ``verdict``: as it was
    judged when it was asked about. ``use``: spends the approval, or says why it does not hold any
    more.
    """

    refusal: Refusal | None
    verdict: Verdict | None = field(default=None, repr=False)
    use: Callable[[HeldStatement], Refusal | None] = field(default=_not_approved, repr=False)
