"""Gives each session of a target a database role of its own, and takes it back: see
:mod:`sallyport.targets.ephemeral`.

Only this uses the administrator's credential. A role is made before the login and dropped when the
connection has ended, however it ended. What a gateway left that was killed goes at the next start,
or is swept by any other. When policy or catalog move, live sessions get the privileges of now. What
cannot be made or checked is a session that does not start (SP1604).
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from sallyport.core.errors import Refusal, RefusedError, SallyportError, refuse
from sallyport.core.interpreter import compute_beside
from sallyport.core.secret import Secret
from sallyport.core.subject import Subject
from sallyport.judge import Judge
from sallyport.policy.bound import SubjectPolicy
from sallyport.server.query import QueryClient, QueryError
from sallyport.server.tasks import Tasks
from sallyport.server.upstream import Dialer, Login
from sallyport.sql.text.identifiers import quoted
from sallyport.targets import ephemeral as sql
from sallyport.targets.privileges import (
    PrivilegeError,
    Privileges,
    load_privileges,
    quote_literal,
)
from sallyport.wire.scram import make_verifier

log = structlog.get_logger("sallyport.ephemeral")

_QUERY_SECONDS: Final = 60.0
_SWEEP_SECONDS: Final = 60.0
_LOOK_SECONDS: Final = 0.5
_UNORDERED_SECONDS: Final = 60.0
_ADMIN: Final = {
    # a role that is lost in a crash of the server is that of a session that is lost too
    "synchronous_commit": "off",
    "search_path": "",
}
#: So often a grant role is made at most that others sweep before it has a member.
_ATTEMPTS: Final = 4
#: Says what privileges a subject needs; see operations/role_grants.py.
Compute = Callable[[SubjectPolicy, Privileges], sql.GrantSet]
Use = Callable[[sql.GrantSet], Awaitable[None]]


@dataclass(slots=True)
class _Live:
    """is_read_only: as the session began."""

    subject: Subject
    grants: str
    is_read_only: bool


class EphemeralRoles:
    """``admin``: logs in as the administrator. ``static``: as the gateway's own role, which reads
    the catalog. ``gateway``: 8 hex digits that stand for its data directory. ``runs``: its
    processes that live, 6 hex digits each, this one first. ``problem``: why a role could not be
    made the last time; "" when it could. For operators.
    """

    def __init__(
        self,
        target: str,
        admin: Dialer,
        static: Dialer,
        compute: Compute,
        gateway: str,
        runs: Callable[[], Sequence[str]] | None = None,
    ) -> None:
        self.target = target
        self.problem = ""
        self._admin = QueryClient(
            admin, _QUERY_SECONDS, {**_ADMIN, "application_name": "sallyport roles"}
        )
        self._static = QueryClient(static, _QUERY_SECONDS)
        self._compute = compute
        own = (secrets.token_hex(3),)
        self._runs: Callable[[], Sequence[str]] = runs if runs is not None else lambda: own
        self._gateway = gateway
        self._live: dict[str, _Live] = {}
        self._sets: dict[Hashable, sql.GrantSet] = {}
        self._privileges: Privileges | None = None
        self._made: set[str] = set()
        self._making, self._moving, self._waiting = (asyncio.Lock() for _ in range(3))
        self._tasks = Tasks()
        self._generation = -1
        self._swept = self._unordered_until = 0.0
        self._version = 0
        self._clock = 0.0  # the server's, less ours
        self._database = ""

    # -- a session ---------------------------------------------------------------------------------

    async def open(self, judge: Judge, subject: Subject, session: str) -> Login:
        """A role for one login within :data:`~sallyport.targets.ephemeral.LOGIN_SECONDS`. Raises
        RefusedError (SP1604).
        """
        try:
            login = await self._open(judge, subject, session)
        except (SallyportError, ValueError) as error:
            self._failed(error)
            raise RefusedError(
                refuse(
                    "SP1604",
                    f'could not log in to the database of target "{self.target}"',
                    "The gateway could not create a database role for this session.",
                    "Tell the gateway's operator: the log has the reason.",
                )
            ) from None
        self.problem = ""
        return login

    async def _open(self, judge: Judge, subject: Subject, session: str) -> Login:
        if not self._version:
            await self._begin()
        policy = judge.subject_policy(subject)
        name = sql.session_role(self._gateway, self._runs()[0])
        password = Secret(secrets.token_urlsafe(32))
        verifier = await asyncio.to_thread(make_verifier, password)

        async def make(grants: sql.GrantSet) -> None:
            until = time.time() + self._clock + sql.LOGIN_SECONDS
            settings = _settings(policy, grants, session)
            about = f"Sallyport session {session} of {subject.id[:200]}"
            message = sql.create_session(
                name, grants.name, verifier, until, settings, about, self._version
            )
            self._live[name] = _Live(subject, grants.name, grants.is_read_only)
            try:
                await self._ordered(message)
            except SallyportError:
                del self._live[name]
                raise

        await self._give(judge, policy, make)
        return Login(name, password)

    async def renew(self, role: str, judge: Judge, renewed: Subject) -> Subject | Refusal:
        """Give a live session the privileges of ``renewed``, the same identity with a fresh token;
        a Refusal (SP1611) when that cannot be: then it keeps what it has. VALID UNTIL stays: it
        bounds the login, not the session.
        """
        try:
            async with self._moving:
                policy = judge.subject_policy(renewed)
                grants = await self._give(judge, policy, _nothing)
                live = self._live.get(role)
                if live is None:
                    return _not_renewed("The session's database role no longer exists.")
                if grants.is_read_only != live.is_read_only:
                    return _not_renewed(
                        "With the groups of the new token the session would have other settings."
                    )
                await self._regrant(role, live, judge, policy)
                live.subject = renewed
        except SallyportError as error:
            self._failed(error)
            return _not_renewed(
                "The gateway could not change the privileges of the session's database role."
            )
        return renewed

    def release(self, role: str) -> None:
        """Its session has ended: drop it."""
        self._tasks.spawn(self._drop(role), "drop role")

    async def _drop(self, role: str) -> None:
        live = self._live.pop(role, None)
        try:
            await self._admin.query(sql.drop_session(role))
        except SallyportError as error:
            log.warning(
                "a role is left to be swept", target=self.target, role=role, reason=str(error)
            )
            if live and isinstance(error, QueryError) and error.sqlstate in sql.NOT_DROPPED:
                await self._close(role, live)

    async def _close(self, role: str, live: _Live) -> None:
        try:
            await self._admin.query(sql.close_session(role, live.grants))
        except SallyportError as error:
            log.warning(
                "a role that is left may log in", target=self.target, role=role, reason=str(error)
            )

    def _failed(self, error: Exception) -> None:
        reason = getattr(error, "reason", "") or str(error)
        self.problem = reason
        log.error("no role for a session", target=self.target, reason=reason)

    # -- grant roles -------------------------------------------------------------------------------

    async def _give(self, judge: Judge, policy: SubjectPolicy, use: Use) -> sql.GrantSet:
        """The grant set of a subject, once ``use`` was made of its role; again where another
        gateway has swept the role meanwhile, which nobody was a member of. Raises SallyportError.
        """
        attempts = _ATTEMPTS
        while True:
            try:
                grants = await self._grants(judge, policy)
                await use(grants)
            except SallyportError as error:
                attempts -= 1
                if not attempts or not _is_swept(error):
                    raise
                self._made.clear()
            else:
                return grants

    async def _grants(self, judge: Judge, policy: SubjectPolicy) -> sql.GrantSet:
        """The grant set of a subject, whose role is there. Raises SallyportError."""
        async with self._making:
            # the rules that are for a subject, whatever the time and whoever it is
            key = (judge.generation, policy.key)
            grants = self._sets.get(key)
            if grants is None:
                if len(self._sets) >= 512:
                    self._sets.clear()
                if self._privileges is None:
                    self._privileges = await load_privileges(self._static.query)
                grants = self._sets[key] = await compute_beside(
                    self._compute, policy, self._privileges
                )
            if grants.name not in self._made:
                await self._make(grants)
                self._made.add(grants.name)
            return grants

    async def _make(self, grants: sql.GrantSet) -> None:
        try:
            await self._ordered(sql.create_grants(grants))
        except QueryError as error:
            if error.sqlstate != sql.DUPLICATE:
                raise
        had = await load_privileges(self._static.query, grants.name)
        usable = {schema for schema, privilege in had.schemas if privilege == "USAGE"}
        if unusable := sorted(grants.schemas - usable):
            raise SallyportError(
                f"{grants.name} may not use schema {', '.join(unusable)}, so names would mean"
                " something else for a session than for the gateway. Let the administrator's role"
                " grant USAGE on it, or take it out of the search_path"
            )
        if lacking := grants.lacking(had):
            log.warning(
                "sessions can do less than the policy allows: let the administrator's role"
                " grant it",
                target=self.target,
                role=grants.name,
                lacking=lacking[:20],
            )

    async def _ordered(self, message: str) -> None:
        """Send a message of several statements; without its lock for a minute where that cannot be
        had, since whoever holds it must not keep everybody out. Raises SallyportError.
        """
        try:
            await self._locked(message)
        except QueryError as error:
            if error.sqlstate != sql.LOCKED:
                raise
            await self._admin.query(sql.without_lock(message))

    async def _locked(self, message: str) -> None:
        """Send it with its lock or not at all: one waits for the lock, and those behind go by what
        became of that. Raises SallyportError, with ``sql.LOCKED`` while somebody keeps it.
        """
        async with self._waiting:
            if time.monotonic() < self._unordered_until:
                raise QueryError("somebody keeps the advisory lock", sql.LOCKED)
            try:
                rows = await self._admin.query(message)
            except QueryError as error:
                if error.sqlstate == sql.LOCKED:
                    self._do_not_wait()
                raise
            if rows and rows[0][-1] == "t":  # kept for a moment, and then for the next who waits
                self._do_not_wait()

    def _do_not_wait(self) -> None:
        self._unordered_until = time.monotonic() + _UNORDERED_SECONDS
        log.warning(
            "somebody keeps the advisory lock of session roles", target=self.target, key=sql.LOCK
        )

    # -- beside the sessions -----------------------------------------------------------------------

    async def step(self, judge: Judge | None) -> None:
        """Wait a moment, then give live sessions the privileges of now, and sweep when it is due;
        made again and again.
        """
        await asyncio.sleep(_LOOK_SECONDS)
        if judge is None:
            return
        try:
            if not self._version:
                await self._begin()
            if judge.generation != self._generation:
                await self._move(judge)
            if time.monotonic() > self._swept + _SWEEP_SECONDS:
                await self._sweep()
        except SallyportError as error:
            self._failed(error)
            await asyncio.sleep(_LOOK_SECONDS * 10)

    async def _begin(self) -> None:
        await self._look()
        await self._drop_leftovers((self._gateway, *self._runs()))

    async def _look(self) -> None:
        (row,) = await self._admin.query(sql.ABOUT)
        version, clock, database, can = (value or "" for value in row)
        if can != "t":
            raise SallyportError(
                "the administrator's role may not make roles: ALTER ROLE ... CREATEROLE"
            )
        self._version, self._database = int(version), database
        self._clock = float(clock) - time.time()

    async def _move(self, judge: Judge) -> None:
        generation, self._sets, self._privileges = judge.generation, {}, None
        for role, live in list(self._live.items()):
            async with self._moving:
                await self._regrant(role, live, judge, judge.subject_policy(live.subject))
        self._generation = generation

    async def _regrant(self, role: str, live: _Live, judge: Judge, policy: SubjectPolicy) -> None:
        async def move(grants: sql.GrantSet) -> None:
            if grants.name == live.grants or role not in self._live:
                return
            try:
                await self._ordered(sql.move(role, live.grants, grants.name, self._version))
            except QueryError:
                if role in self._live:
                    raise
            else:
                live.grants = grants.name

        await self._give(judge, policy, move)

    async def _sweep(self) -> None:
        self._privileges = None
        self._sets.clear()
        await self._look()
        await self._drop_leftovers(())
        async with self._making:  # not one that a session has just been made for
            for (name,) in await self._admin.query(sql.unused_grants(self._database)):
                if time.monotonic() < self._unordered_until:
                    break  # others may make somebody a member meanwhile
                if name and all(live.grants != name for live in self._live.values()):
                    self._made.discard(name)
                    drop = sql.drop_grants(name, self._version)
                    await self._sweep_one(name, self._locked(drop))
        self._swept = time.monotonic()
        self.problem = ""

    async def _drop_leftovers(self, own: tuple[str, ...]) -> None:
        for (name,) in await self._admin.query(sql.leftovers(own)):
            if name and name not in self._live:
                await self._sweep_one(name, self._admin.query(sql.drop_session(name)))

    async def _sweep_one(self, name: str, drop: Awaitable[object]) -> None:
        try:
            await drop
            log.info("role swept", target=self.target, role=name)
        except QueryError as error:
            log.warning("role not swept", target=self.target, role=name, reason=str(error))

    async def close(self) -> None:
        """Drop the roles of sessions that are left, and let go of the connections."""
        await asyncio.gather(*(self._drop(role) for role in list(self._live)))
        for task in self._tasks:
            await asyncio.wait([task], timeout=5)
        await self._admin.close()
        await self._static.close()


async def _nothing(grants: sql.GrantSet) -> None:
    """The role is there; that is all."""


def _is_swept(error: SallyportError) -> bool:
    """Whether a role was not there (any more)."""
    return isinstance(error, PrivilegeError) or getattr(error, "sqlstate", "") == sql.UNDEFINED


def _not_renewed(why: str) -> Refusal:
    return refuse(
        "SP1611",
        "the token cannot go on in this session",
        f"{why} The session goes on under its old token until that expires.",
        "Connect again with it.",
    )


def _settings(policy: SubjectPolicy, grants: sql.GrantSet, session: str) -> dict[str, str]:
    """What the role itself says; the session starts with more."""
    settings = {
        "search_path": ", ".join(map(quoted, policy.standing.catalog.default_search_path)) or "''",
        "application_name": quote_literal(f"sallyport {session}"),
    }
    if grants.is_read_only:
        settings["default_transaction_read_only"] = "on"
    if policy.limits.statement_timeout:
        settings["statement_timeout"] = str(int(policy.limits.statement_timeout * 1000))
    return settings
