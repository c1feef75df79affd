"""Legal holds: recordings that are neither deleted nor shredded, however old they are.

``holds.json`` in the directory of recordings lists them; each holds a session, or all sessions of a
subject or at a target, also those to come. That one was made or lifted is recorded among the
actions of people, before the file changes. A file that cannot be read holds everything.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from sallyport.audit.ports import SessionRow
from sallyport.core.errors import SallyportError
from sallyport.core.files import replace_private

FILE: Final = "holds.json"
_LONGEST: Final = 1 << 24


class HoldsError(SallyportError):
    """The list cannot be read."""


class Hold(msgspec.Struct, frozen=True):
    """Exactly one of ``session``, ``subject`` and ``target`` is not "". ``at``: Unix seconds."""

    id: str
    at: float
    by: str
    reason: str
    session: str = ""
    subject: str = ""
    target: str = ""

    def covers(self, row: SessionRow) -> bool:
        """Whether it holds this recording."""
        return (
            (bool(self.session) and row.id == self.session)
            or (bool(self.subject) and row.subject == self.subject)
            or (bool(self.target) and row.target == self.target)
        )


class _Listed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    version: int
    holds: tuple[Hold, ...]


def read_holds(recordings: Path) -> tuple[Hold, ...]:
    """Those in force. Raises HoldsError, and then nothing may be deleted."""
    path = recordings / FILE
    try:
        with path.open("rb") as file:
            listed = msgspec.json.decode(file.read(_LONGEST), type=_Listed)
    except FileNotFoundError:
        return ()
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise HoldsError(
            f"{path} cannot be read ({type(error).__name__}), so every recording counts as held."
            " Restore it from a backup; 'sallyport audit actions' has what was held"
        ) from None
    if listed.version != 1:
        raise HoldsError(f"{path} has version {listed.version}: use a newer sallyport")
    return listed.holds


def write_holds(recordings: Path, holds: Sequence[Hold]) -> None:
    """Raises OSError."""
    replace_private(recordings / FILE, msgspec.json.encode(_Listed(1, tuple(holds))) + b"\n")


def hold_on(row: SessionRow, holds: Sequence[Hold]) -> Hold | None:
    """What holds a recording; None: nothing does."""
    return next((hold for hold in holds if hold.covers(row)), None)
