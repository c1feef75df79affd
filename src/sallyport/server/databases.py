"""One target as the gateway runs it: how to reach it, its catalog snapshot, and the judge over both.

The snapshot is loaded when it is first needed, compared with the server's every few seconds by a cheap fingerprint, and whenever a session
asks (unknown name, DDL, a result that does not match). While the target is down the last snapshot stays: statements then fail at
the target, not by being judged on nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping

import structlog

from sallyport.core.errors import ConfigError, RefusedError, SallyportError, refuse
from sallyport.core.secret import Secret
from sallyport.judge import Judge
from sallyport.policy.model import Policy
from sallyport.server.query import QueryClient
from sallyport.server.upstream import Dialer
from sallyport.targets.catalog_loader import fingerprint, load_catalog
from sallyport.targets.roles import role_warnings

log = structlog.get_logger("sallyport.databases")

#: Seconds between two looks at a catalog that nobody forces: names that are not there must not keep the target busy.
_FRESH = 0.2
_QUERY_SECONDS = 60.0
#: Of the rows that are shown to a reviewer.
_SAMPLE_BYTES = 1 << 20


class Database:
    """``policy`` gives the policy in force; ``keys`` the secrets of hash masks."""

    def __init__(
        self,
        name: str,
        dialer: Dialer,
        policy: Callable[[], Policy],
        keys: Mapping[str, Secret],
        *,
        check_seconds: float,
        max_statement_bytes: int,
    ) -> None:
        self.name = name
        self.dialer = dialer
        self.judge: Judge | None = None
        self.readable = True  # the catalog could be read when it was last asked for
        self._policy = policy
        self._keys = keys
        self._check_seconds = check_seconds
        self._max_statement_bytes = max_statement_bytes
        self._client = QueryClient(dialer, _QUERY_SECONDS)
        self._previews = QueryClient(
            dialer, _QUERY_SECONDS
        )  # apart: what fails there must not disturb the catalog
        self._lock = asyncio.Lock()
        self._fingerprint = ""
        self._checked = 0.0

    async def ready(self) -> Judge:
        """The judge; loads the catalog when there is none yet. Raises RefusedError (SP1604)."""
        if self.judge is None:
            await self.refresh(force=True)
        if self.judge is None:
            raise RefusedError(refuse("SP1604", f'the catalog of "{self.name}" could not be read'))
        return self.judge

    async def refresh(self, *, force: bool = False) -> bool:
        """Take what changed until now. Whether anything did; False too when the target cannot be asked and there is a snapshot.

        Without ``force`` the target is asked at intervals: who asks too soon after the last time waits, and all who wait share an answer.
        """
        asked = time.monotonic()
        async with self._lock:
            if not force:
                if self._checked > asked:
                    return False
                await asyncio.sleep(max(0.0, self._checked + _FRESH - time.monotonic()))
            try:
                moved = await self._refresh()
                self.readable = True
                return moved
            except SallyportError as error:
                self.readable = False
                log.warning("catalog not refreshed", target=self.name, reason=str(error))
                if self.judge is None:
                    if isinstance(error, RefusedError):
                        raise
                    raise RefusedError(
                        refuse("SP1604", f'the catalog of "{self.name}" could not be read', str(error))
                    ) from None
                return False

    async def _refresh(self) -> bool:
        checked = time.monotonic()
        mark = await fingerprint(self._client.query)
        self._checked = checked
        if self.judge is not None and mark == self._fingerprint:
            return False
        snapshot = await load_catalog(self._client.query)
        self._fingerprint = mark
        if self.judge is not None:
            return self._take(
                self.judge, catalog_epoch=snapshot.epoch, update=lambda j: j.update(catalog=snapshot)
            )
        self.judge = Judge(
            self.name, self._policy(), snapshot, self._keys, max_statement_bytes=self._max_statement_bytes
        )
        for warning in self.judge.warnings:
            log.warning("policy", target=self.name, warning=warning)
        for warning in await role_warnings(self._client.query):
            log.warning("target role", target=self.name, warning=warning)
        log.info("catalog loaded", target=self.name, epoch=snapshot.epoch, relations=len(snapshot.relations))
        return True

    def _take(self, judge: Judge, *, catalog_epoch: str, update: Callable[[Judge], bool]) -> bool:
        moved = update(judge)
        if moved:
            log.info("catalog changed", target=self.name, epoch=catalog_epoch)
        return moved

    def policy_changed(self) -> None:
        """Bind the policy in force now. Raises ConfigError when it cannot be bound; the old one stays then."""
        if self.judge is not None and self.judge.update(policy=self._policy()):
            for warning in self.judge.warnings:
                log.warning("policy", target=self.name, warning=warning)

    async def query(self, sql: str) -> list[list[str | None]]:
        """One of the gateway's own questions (previews). Raises QueryError, RefusedError."""
        return await self._previews.query(sql)

    async def fetch(self, sql: str) -> tuple[bytes, bytes]:
        """A sample of rows for a reviewer: the body of its RowDescription, and DataRow messages. Raises QueryError, RefusedError."""
        return await self._previews.fetch(sql, _SAMPLE_BYTES)

    async def watch(self) -> None:
        """Compare the catalog again and again, for ever."""
        while True:
            await asyncio.sleep(self._check_seconds)
            if self.judge is None:
                continue
            try:
                await self.refresh()
            except (SallyportError, ConfigError) as error:
                log.warning("catalog not refreshed", target=self.name, reason=str(error))

    async def close(self) -> None:
        await self._client.close()
        await self._previews.close()
