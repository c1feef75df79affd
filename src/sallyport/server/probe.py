"""Whether a new session could log in at a target now, which connections that are open already do
not show: a password that was rotated or a certificate that is wrong harms only the next one.

A login that succeeded for a session counts as much as one that is made for this. One that failed
for a session does not: a client could have caused it.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final

import structlog

from sallyport.server.upstream import Dialer, UnreachableError
from sallyport.wire import frontend

log = structlog.get_logger("sallyport.databases")

_SETTINGS: Final = {"application_name": "sallyport", "client_encoding": "UTF8"}


class LoginProbe:
    """``seconds``: longest time without a login, successful or not; a failure is noticed within
    them and the target's ``connect_seconds``.
    """

    def __init__(self, dialer: Dialer, seconds: float) -> None:
        self._dialer = dialer
        self._seconds = seconds
        self._probed = self._failed = 0.0  # monotonic seconds
        self._problem = ""

    @property
    def problem(self) -> str:
        """Why a new login fails; "" when the last one succeeded, or none was tried. For operators
        only.
        """
        return self._problem if self._dialer.last_login <= self._failed else ""

    async def step(self) -> None:
        """Wait until a login is due, and make it unless one succeeded for a session meanwhile."""
        await asyncio.sleep(self._wait())
        if self._wait() > 0:
            return
        self._probed = time.monotonic()
        before = self._problem
        try:
            link = await self._dialer.open(_SETTINGS)
        except UnreachableError as error:
            self._problem, self._failed = error.reason, time.monotonic()
            if before != self._problem:
                log.error(
                    "a new login at the target fails",
                    target=self._dialer.target.name,
                    reason=error.reason,
                )
            return
        link.write(frontend.terminate())
        link.close()
        self._problem = ""
        if before:
            log.info("new logins at the target succeed again", target=self._dialer.target.name)

    def _wait(self) -> float:
        """Seconds until a login is due."""
        last = max(self._dialer.last_login, self._probed)
        return max(0.0, last + self._seconds - time.monotonic())
