"""The settings of one session that change what its statements mean: part of what an approval binds.
No I/O.

PostgreSQL reports some of them whenever they change (ParameterStatus, protocol section 54.2.7),
just before ReadyForQuery. Until the answer of a statement that may change one is there, their
values are in flight. Others are never reported: what the client gave at login is known; once a
session has changed one, :attr:`TrackedSettings.values` carries a mark that no other moment and no
other session has.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping

from sallyport.judge import Verdict
from sallyport.sql.utility.settings import REPORTED, is_unreported


class TrackedSettings:
    """``told``: the value of every setting that the client was told last. ``reported``: the
    server's ParameterStatus so far, which becomes ``told``. ``startup``: the settings that the
    client gave at login.

    ``in_flight``: values may differ from what :attr:`values` says until the outstanding answers are
    there.
    """

    __slots__ = ("_changed", "_mark", "_reported", "_startup", "in_flight", "told")

    def __init__(
        self, reported: dict[str, str] | None = None, startup: Mapping[str, str] | None = None
    ) -> None:
        self.in_flight = False
        self.told = {} if reported is None else reported
        self._reported = {name: value for name, value in self.told.items() if name in REPORTED}
        self._startup = {
            name.lower(): value for name, value in (startup or {}).items() if is_unreported(name)
        }
        self._changed = False  # by this session, at any time
        self._mark = ""

    @property
    def has_unreported_changes(self) -> bool:
        """Whether the session has changed a setting whose value the server does not report."""
        return bool(self._mark)

    @property
    def has_changes(self) -> bool:
        """Whether the session has changed a setting at any time: the end of a transaction may
        change it back.
        """
        return self._changed

    @property
    def values(self) -> tuple[tuple[str, str], ...]:
        """Names and values, sorted."""
        mark = {"not reported": self._mark} if self._mark else {}
        return tuple(sorted({**self._startup, **self._reported, **mark}.items()))

    def on_forwarded(self, verdict: Verdict) -> None:
        """A statement that may change settings goes to the server."""
        self._changed = self.in_flight = True
        if verdict.unreported_settings or self._mark:
            self._mark = secrets.token_hex(8)

    def on_transaction_end(self) -> None:
        """A transaction ends, or fails: what it set may be as it was before."""
        if self._changed:
            self.in_flight = True
        if self._mark:
            self._mark = secrets.token_hex(8)

    def on_reported(self, name: str, value: str) -> None:
        """ParameterStatus."""
        if name in REPORTED:
            self._reported[name] = value

    def on_settled(self) -> None:
        """ReadyForQuery, and nothing is outstanding."""
        self.in_flight = False
