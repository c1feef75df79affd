"""CancelRequests to targets: one outstanding per session, a few at a time per target, none for what
does not run.

PostgreSQL cancels whatever the backend runs when the signal arrives, and closes the connection of
the request once the signal is sent (processCancelRequest in backend_startup.c). While a request is
on its way the session therefore neither forwards client messages nor handles answers: the next
statement starts only when the signal can no longer hit it. A backend that reads a command ignores a
signal that arrived before (ProcessInterrupts in postgres.c).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from time import monotonic
from typing import Any

import structlog

from sallyport.core.errors import Refusal, refuse
from sallyport.server.databases import Database
from sallyport.server.upstream import UnansweredCancelError
from sallyport.session.machine import Session

log = structlog.get_logger("sallyport.cancel")

#: Between two cancels of one session (seconds): a second one comes when the statement survived the
#: first.
INTERVAL = 0.1

UNANSWERED = refuse(
    "SP1802",
    "the database does not answer the request to cancel the statement",
    "The gateway cannot tell whether the statement still runs, so the session ends.",
    "Connect again. Before you repeat a change, check whether it was committed.",
)


class StatementCancel:
    """The cancel of one session. ``hold``: stop or resume reading its target. ``flush``: carry out
    what the session wants now. ``shut``: end it, with a refusal for the client and a reason for the
    log.
    """

    def __init__(
        self,
        session: Session,
        database: Database,
        backend: tuple[int, bytes],
        hold: Callable[[bool], None],
        flush: Callable[[], None],
        shut: Callable[[Refusal, str], None],
    ) -> None:
        self._session = session
        self._database = database
        self._backend = backend
        self._hold = hold
        self._flush = flush
        self._shut = shut
        self._last = 0.0
        self._asked: tuple[int, int, bool] | None = None
        # set when the request that is outstanding is done with
        self._delivered: asyncio.Event | None = None

    def is_due(self) -> bool:
        """Whether a request that comes now has anything to do: a statement runs, and no other
        request is outstanding.
        """
        return self._delivered is None and self._session.awaits_server

    def asked(self) -> None:
        """The client wants what runs now to be cancelled."""
        self._asked = self._session.position

    @property
    def was_asked(self) -> bool:
        """Whether the client wanted what was sent last to be cancelled."""
        return self._asked == self._session.position

    async def deliver_own(self) -> None:
        """Cancel what runs because the gateway wants so: behind a request of the client that is
        outstanding.
        """
        while self._delivered is not None:
            await self._delivered.wait()
        if self.is_due():
            await self.deliver()

    def deliver(self) -> Coroutine[Any, Any, None]:
        """Cancel what runs now, unless it ends before the request could be sent. Call when
        :meth:`is_due`; the request is outstanding from then on.
        """
        self._delivered = asyncio.Event()
        return self._deliver(self._session.position, self._delivered)

    async def _deliver(self, position: tuple[int, int, bool], delivered: asyncio.Event) -> None:
        session = self._session
        try:
            await asyncio.sleep(self._last + INTERVAL - monotonic() if self._last else 0.0)
            async with self._database.cancels:
                if not session.awaits_server or session.position != position:
                    return  # it has ended, or something else could be hit
                self._last = monotonic()
                await self._send()
        finally:
            self._delivered = None
            delivered.set()
            self._flush()

    async def _send(self) -> None:
        self._session.hold_input()
        self._hold(True)
        try:
            await self._database.dialer.cancel(*self._backend)
        except (UnansweredCancelError, TimeoutError) as error:
            log.warning("cancel not answered", target=self._database.name, reason=str(error))
            self._shut(UNANSWERED, "the target did not answer a cancel request")
        except OSError as error:  # nothing was sent
            log.warning("cancel not delivered", target=self._database.name, reason=str(error))
        finally:
            try:
                self._session.release_input()
            finally:
                self._hold(False)


async def cancel_abandoned(database: Database, pid: int, key: bytes) -> None:
    """Cancel what a session left running when it ended: nobody reads the answer."""
    try:
        async with database.cancels:
            await database.dialer.cancel(pid, key)
    except (OSError, TimeoutError, UnansweredCancelError) as error:
        log.warning("cancel not delivered", target=database.name, reason=str(error))
