"""Memory of catalogs: kept out of the cycle collector's way while they live, given back when they were replaced.

A catalog with its look-up tables is some hundred thousand objects that refer to each other, so only the cycle collector frees it. Scanning
them at every collection would stop all sessions again and again: what is loaded is therefore frozen (:func:`gc.freeze`), and looked at again
only a while after a catalog was replaced.
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
        gc.unfreeze()
        self.loaded()
        log.debug("old catalogs are gone", milliseconds=round((time.perf_counter() - started) * 1000))
