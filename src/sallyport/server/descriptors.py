"""File descriptors: how many there are, what they suffice for, and a reserve for what must go on
when they run out.

The kernel gives the lowest free number, so a new descriptor with a number inside the reserve means
that all below are in use. Connections of agents and to targets are refused there; the console, its
probes, the store and the recorder go on.
"""

from __future__ import annotations

import resource
from dataclasses import dataclass
from time import monotonic

import structlog

log = structlog.get_logger("sallyport.descriptors")

#: A session's: its client's connection and its target's. Its recording is kept open too where there
#: are enough.
_PER_SESSION = 2
_MINIMUM_RESERVE, _MAXIMUM_RESERVE = 64, 1024
#: Recordings that are open at once in any case.
_RECORDINGS = 64
#: These, the store, listeners, libraries.
_BASE = 64 + _RECORDINGS
#: Between two lines in the log that say that descriptors have run out (seconds).
_LOG_SECONDS = 10.0


@dataclass(slots=True)
class Descriptors:
    """``limit``: descriptors this process may have. ``reserve``: of them, those that sessions do
    not get.
    """

    limit: int
    reserve: int
    _logged: float = float("-inf")

    @classmethod
    def raised(cls) -> Descriptors:
        """Raise this process's soft limit to its hard limit."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft != hard:
            try:
                resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            except (OSError, ValueError) as error:
                log.warning(
                    "the limit of open files could not be raised", soft=soft, reason=str(error)
                )
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        limit = soft if soft != resource.RLIM_INFINITY else 1 << 20
        return cls(limit, max(_MINIMUM_RESERVE, min(limit // 8, _MAXIMUM_RESERVE)))

    def logins(self, requested: int) -> int:
        """How many of the ``requested`` connections that have not logged in yet there can be."""
        return max(1, min(requested, self.limit // 4))

    def sessions(self, requested: int, logins: int) -> int:
        """How many of the ``requested`` sessions there can be beside ``logins``; says so when it is
        fewer.
        """
        fitting = max(1, (self.limit - self.reserve - _BASE - logins) // _PER_SESSION)
        if fitting >= requested:
            return requested
        log.warning(
            "max_sessions is lowered: this process may open too few files",
            max_sessions=requested,
            lowered_to=fitting,
            open_files_limit=self.limit,
            needed=requested * _PER_SESSION + self.reserve + _BASE + logins,
            remedy=(
                "raise the hard limit of open files (ulimit -Hn, LimitNOFILE=) or set"
                " limits.max_sessions"
            ),
        )
        return fitting

    def recordings(self, sessions: int, logins: int) -> int:
        """How many recordings may be open at once, with what is left beside so many sessions and
        logins.
        """
        left = self.limit - self.reserve - _BASE - logins - _PER_SESSION * sessions
        return _RECORDINGS + max(0, min(left, sessions))

    def are_scarce(self, descriptor: int) -> bool:
        """Whether this new descriptor is one of the reserve. Then it must be closed; the log says
        why.
        """
        # an operator may have moved it (prlimit)
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        if limit == resource.RLIM_INFINITY or descriptor < limit - self.reserve:
            return False
        self.log_exhausted()
        return True

    def log_exhausted(self) -> None:
        """Say that descriptors have run out, but not for each connection."""
        now = monotonic()
        if now - self._logged >= _LOG_SECONDS:
            self._logged = now
            log.error(
                "out of file descriptors: new sessions are refused",
                open_files_limit=self.limit,
                reserve=self.reserve,
                remedy=(
                    "raise the limit of open files (ulimit -n, LimitNOFILE=) or lower"
                    " limits.max_sessions"
                ),
            )
