"""Memory of catalogs: kept out of the cycle collector's way.

A catalog with its look-up tables is some hundred thousand objects. Scanning them at every
collection would stop all sessions again and again: what is loaded is therefore frozen
(:func:`gc.freeze`). One that was replaced is freed without the collector
(:meth:`~sallyport.sql.catalog.snapshot.CatalogSnapshot.retire`); what is new in the next is frozen
a while later.
"""

from __future__ import annotations

import asyncio
import gc
import time

import structlog

log = structlog.get_logger("sallyport.collecting")

#: Seconds between a replaced catalog and the collection: a migration replaces many.
_SECONDS = 10.0


class Collecting:
    """One per gateway; used on its event loop."""

    def __init__(self) -> None:
        self._timer: asyncio.TimerHandle | None = None

    def loaded(self) -> None:
        """Something large was made that will live long."""
        gc.collect()
        gc.freeze()

    def replaced(self) -> None:
        """A catalog is not in force any more, as soon as the last session has noticed."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_SECONDS, self._collect)

    def _collect(self) -> None:
        self._timer = None
        started = time.perf_counter()
        self.loaded()
        log.debug(
            "a new catalog is frozen", milliseconds=round((time.perf_counter() - started) * 1000)
        )
