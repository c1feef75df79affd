"""One target as the gateway runs it: how to reach it, its catalog snapshot, and the judge over
both.

The snapshot is loaded when it is first needed, brought up to date every few seconds, and whenever a
session asks (unknown name, DDL, a result that does not match). While the target is down the last
snapshot stays: statements then fail at the target, not by being judged on nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import partial

import structlog

from sallyport.core.counts import Counts
from sallyport.core.errors import Refusal, RefusedError, SallyportError, refuse
from sallyport.core.interpreter import compute_beside
from sallyport.core.secret import Secret
from sallyport.core.subject import Subject
from sallyport.judge import Containments, Judge
from sallyport.masking.sqlmasks import hash_settings
from sallyport.policy.model import Policy
from sallyport.server.ephemeral import EphemeralRoles
from sallyport.server.probe import LoginProbe
from sallyport.server.query import QueryClient
from sallyport.server.tasks import described
from sallyport.server.upstream import Dialer, UpstreamLink
from sallyport.sql.catalog.snapshot import CatalogSnapshot
from sallyport.targets.catalog_loader import LoadedCatalog, load_catalog, refreshed_catalog
from sallyport.targets.roles import role_warnings

log = structlog.get_logger("sallyport.databases")

#: CancelRequests that are on their way to one target at once. Each one is a connection, for which
#: it forks.
CANCELS_AT_ONCE = 4

#: Between two looks at a catalog that nobody forces: so many times as long as the last one took,
#: and at most these seconds. Names that are not there must not keep the target busy.
_PAUSE, _LONGEST_PAUSE = 4.0, 1.0
_QUERY_SECONDS = 60.0
#: Of a question that is cheap (what changed, one name): a target that takes longer does not answer.
_CHEAP_SECONDS = 10.0
#: Of the rows that are shown to a reviewer.
_SAMPLE_BYTES = 1 << 20
#: A notification is sent when its listener is idle, by when the session that notified may be gone.
_NOTIFYING_SECONDS = 60.0


class Database:
    """``policy`` gives the policy in force; ``keys`` the secrets of hash masks; ``roles`` each
    session's own role, where it gets one.
    """

    def __init__(
        self,
        name: str,
        dialer: Dialer,
        policy: Callable[[], Policy],
        keys: Mapping[str, Secret],
        *,
        check_seconds: float,
        max_statement_bytes: int,
        roles: EphemeralRoles | None = None,
    ) -> None:
        self.name = name
        self.containments: Containments | None = None  # of every target
        self.counts: Counts | None = None  # likewise
        self.roles = roles
        self.dialer = dialer
        self.judge: Judge | None = None
        self.catalog: LoadedCatalog | None = None
        self.logins = LoginProbe(dialer, check_seconds)
        self.readable = True  # the catalog could be read when it was last asked for
        self.failures = 0  # how often it could not
        self.on_moved: Callable[[str], None] | None = None  # told the epoch of another catalog
        self.backends: dict[int, int] = {}  # process ids that clients were told, by the server's
        self._policy = policy
        self._keys = keys
        self._check_seconds = check_seconds
        self._max_statement_bytes = max_statement_bytes
        self._client = QueryClient(dialer, _QUERY_SECONDS)
        # apart: what fails there must not disturb the catalog
        self._previews = QueryClient(dialer, _QUERY_SECONDS, _hash_keys(keys))
        # of the CancelRequests on their way to it
        self.cancels = asyncio.Semaphore(CANCELS_AT_ONCE)
        self._lock = asyncio.Lock()
        self._binding = asyncio.Lock()
        self._checked = self._attempted = 0.0
        self._pause = 0.0
        self._changes = self._changes_read = 0
        self._changed = asyncio.Event()

    async def ready(self) -> Judge:
        """The judge; loads the catalog when there is none yet, and where a session that is gone has
        left changes. Raises RefusedError (SP1604).
        """
        if self.judge is None or self._changes_read < self._changes:
            await self.refresh(force=True)
        if self.judge is None:
            raise RefusedError(_no_catalog(self.name))
        return self.judge

    def forget(self, backend: int, told: int, has_changed: bool) -> None:
        """The server's process ``backend`` is gone, which a client knew as ``told``; its
        notifications may still arrive, and a new one may have its id already. ``has_changed``: its
        session changed the schema, and its next statement would have read the catalog again. Who
        begins now waits for that, as the names may be those of other relations.
        """
        if has_changed:
            self.schema_changed()
        loop = asyncio.get_running_loop()
        loop.call_later(_NOTIFYING_SECONDS, self._forget_backend, backend, told)

    def _forget_backend(self, backend: int, told: int) -> None:
        if self.backends.get(backend) == told:
            del self.backends[backend]

    def schema_changed(self) -> None:
        """A session that is gone changed the schema until now, or another process saw it change:
        look soon, and before a login.
        """
        self._changes += 1
        self._changed.set()

    async def refresh(self, *, force: bool = False) -> bool:
        """Take what changed until now. Whether anything did; False too when the target cannot be
        asked and there is a snapshot.

        Without ``force`` the target is asked at intervals: who asks too soon after the last time
        waits, and all who wait share an answer.
        """
        asked = time.monotonic()
        async with self._lock:
            if self._attempted > asked:
                # somebody else asked meanwhile; where there was no answer, there is none now either
                return False
            if not force:
                if self._checked > asked:
                    return False
                await asyncio.sleep(max(0.0, self._checked + self._pause - time.monotonic()))
            before, changes = (self._attempted, self._checked), self._changes
            began = self._attempted = time.monotonic()
            try:
                moved = await self._refresh()
                self._changes_read, self.readable = changes, True
                self._pause = min(_PAUSE * (time.monotonic() - began), _LONGEST_PAUSE)
                return moved
            except asyncio.CancelledError:  # its client is gone: whoever waits asks for itself
                self._attempted, self._checked = before
                raise
            except Exception as error:
                self._changes_read = changes  # logins do not wait for it one after the other
                self._not_read(error)
                if self.judge is None:
                    if isinstance(error, RefusedError):
                        raise
                    raise RefusedError(_no_catalog(self.name)) from None
                return False

    def _not_read(self, error: Exception) -> None:
        self.readable = False
        self.failures += 1
        log.warning("catalog not refreshed", target=self.name, reason=described(error))

    async def may_have(self, relation: str) -> bool:
        """Is there a relation of this name at the target, in whatever schema? True too where that
        cannot be asked.
        """
        name = (
            f"pg_catalog.convert_from(pg_catalog.decode('{relation.encode().hex()}', 'hex'),"
            " 'UTF8')"
        )
        async with self._lock:  # not inside the transaction in which the catalog is read
            try:
                rows = await self._client.query(
                    "SELECT 1 FROM pg_catalog.pg_class c"
                    f" WHERE c.relname OPERATOR(pg_catalog.=) {name}::pg_catalog.name LIMIT 1",
                    _CHEAP_SECONDS,
                )
            except SallyportError as error:
                log.warning(
                    "the target was not asked for a relation", target=self.name, reason=str(error)
                )
                return True
        return bool(rows)

    async def _ask_cheaply(self, sql: str) -> list[list[str | None]]:
        return await self._client.query(sql, _CHEAP_SECONDS)

    async def _refresh(self) -> bool:
        checked = time.monotonic()
        before = self.catalog
        if before is None:
            loaded = await load_catalog(self._client.query)
        else:
            loaded = await refreshed_catalog(self._ask_cheaply, before)
        self._checked = checked
        self.catalog, snapshot = loaded, loaded.snapshot
        if self.roles is not None:
            snapshot = replace(
                snapshot, role=""
            )  # no schema is called like a session's role: "$user" is none
        if self.judge is not None:
            moved = await self._update(snapshot)
            if moved:
                log.info("catalog changed", target=self.name, epoch=snapshot.epoch)
                if self.on_moved is not None:
                    self.on_moved(snapshot.epoch)
            return moved
        async with self._binding:
            self.judge = await compute_beside(
                Judge,
                self.name,
                self._policy(),
                snapshot,
                self._keys,
                max_statement_bytes=self._max_statement_bytes,
                containments=self.containments,
                counts=self.counts,
            )
        for warning in self.judge.warnings:
            log.warning("policy", target=self.name, warning=warning)
        for warning in await role_warnings(self._client.query):
            log.warning("target role", target=self.name, warning=warning)
        log.info(
            "catalog loaded",
            target=self.name,
            epoch=snapshot.epoch,
            relations=len(snapshot.relations),
        )
        return True

    async def _update(self, catalog: CatalogSnapshot) -> bool:
        """Sessions go on by the old catalog until everything is made of the new one."""
        async with self._binding:
            if self.judge is None:
                return False
            return self.judge.take(
                await compute_beside(self.judge.prepared, policy=None, catalog=catalog)
            )

    @asynccontextmanager
    async def binding(self) -> AsyncIterator[Callable[[], None]]:
        """The policy in force now, bound: gives what puts it in force, at once, within the block.
        Raises ConfigError when it cannot be bound; the old one stays then.
        """
        async with self._binding:
            judge = self.judge
            prepared = None
            if judge is not None:
                prepared = await compute_beside(judge.prepared, policy=self._policy(), catalog=None)

            def take() -> None:
                if judge is not None and judge.take(prepared):
                    for warning in judge.warnings:
                        log.warning("policy", target=self.name, warning=warning)

            yield take

    async def open_session(
        self,
        settings: Mapping[str, str],
        judge: Judge,
        subject: Subject,
        session: str,
        *,
        minor: int = 0,
    ) -> UpstreamLink:
        """A connection for a session, logged in with its credential. Raises RefusedError
        (SP1604).
        """
        roles = self.roles
        if roles is None:
            return await self.dialer.open(settings, minor=minor)
        login = await roles.open(judge, subject, session)
        try:
            link = await self.dialer.open(settings, minor=minor, login=login)
        except BaseException:
            roles.release(login.user)
            raise
        link.role, link.released = login.user, partial(roles.release, login.user)
        return link

    async def renew_session(self, role: str, judge: Judge, renewed: Subject) -> Subject | Refusal:
        """Let a session go on as ``renewed``, also in the database. ``role``: its own, "" when it
        has none.
        """
        if self.roles is None or not role:
            return renewed
        return await self.roles.renew(role, judge, renewed)

    async def watch_roles(self) -> None:
        """One look after the roles of sessions; made again and again."""
        if self.roles is not None:
            await self.roles.step(self.judge)

    async def query(self, sql: str) -> list[list[str | None]]:
        """One of the gateway's own questions (previews). Raises QueryError, RefusedError."""
        return await self._previews.query(sql)

    async def fetch(self, sql: str) -> tuple[bytes, bytes]:
        """A sample of rows for a reviewer: the body of its RowDescription, and DataRow messages.
        Raises QueryError, RefusedError.
        """
        return await self._previews.fetch(sql, _SAMPLE_BYTES)

    async def watch(self) -> None:
        """Wait until the catalog is due, and compare it; made again and again."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), self._check_seconds)
        self._changed.clear()
        if self.judge is not None:
            await self.refresh(force=self._changes_read < self._changes)

    async def close(self) -> None:
        if self.roles is not None:
            await self.roles.close()
        await self._client.close()
        await self._previews.close()


def _no_catalog(target: str) -> Refusal:
    return refuse(
        "SP1604",
        f'the catalog of "{target}" could not be read',
        "The gateway judges statements by the database's catalog.",
        "Try again later. If that fails too, tell the gateway's operator: the log has the reason.",
    )


def _hash_keys(keys: Mapping[str, Secret]) -> dict[str, str]:
    """Settings that hash masks read in statements that are planned and counted before they run: of
    every key, for every subject.
    """
    return {
        setting: value
        for name, key in keys.items()
        for setting, value in hash_settings(name, key).items()
    }
