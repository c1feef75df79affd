"""A grant role that is swept while a session is about to become its member: the session begins all
the same. Against roles in memory, so that the sweep comes at each moment.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from sallyport.core.errors import RefusedError
from sallyport.core.subject import Subject
from sallyport.server import ephemeral
from sallyport.server.ephemeral import EphemeralRoles
from sallyport.server.query import QueryError
from sallyport.targets import ephemeral as sql
from sallyport.targets.privileges import PrivilegeError, Privileges

DATABASE = "shop"
ADA = Subject("ada", "https://idp.example.com", frozenset())
#: When another gateway sweeps: before or after which of ours.
MOMENTS = ("before the check", "within the check", "before the session", "before the move")


class Server:
    """Roles, and who is a member of what. ``sweep_at``: the moments that are still to come."""

    def __init__(self) -> None:
        self.grants: set[str] = set()
        self.members: dict[str, str] = {}
        self.sweep_at: list[str] = []
        self.dropped = self.made = 0
        self.on_made: Callable[[], None] = lambda: None

    def moment(self, name: str) -> None:
        """Another gateway sweeps now, if it is its moment."""
        if name in self.sweep_at:
            self.sweep_at.remove(name)
            self.sweep()

    def sweep(self) -> None:
        unused = self.grants - set(self.members.values())
        self.dropped += len(unused)
        self.grants -= unused

    async def query(self, message: str, seconds: float = 0.0) -> list[list[str | None]]:
        await asyncio.sleep(0)
        if message == sql.ABOUT:
            return [["160000", "0", DATABASE, "t"]]
        if message.startswith(sql.EXCLUSIVE_LOCK) and "NOLOGIN" in message:
            self._make(_roles(message)[0])
        elif "CREATE ROLE" in message:
            self.moment("before the session")
            session, grants = _roles(message)[0], _granted(message)
            self._check(grants)
            self.members[session] = grants
        elif message.startswith(sql.SHARED_LOCK):
            self.moment("before the move")
            self._check(_granted(message))
            session = re.findall(r'TO "(\w+)"', message)[0]
            self.members[session] = _granted(message)
        elif message == sql.unused_grants(DATABASE):
            return [[name] for name in self.grants - set(self.members.values())]
        elif message.startswith(sql.EXCLUSIVE_LOCK):
            self.grants.discard(re.findall(r'DROP ROLE "(\w+)"', message)[0])
        return []

    async def privileges(self, query: Any, role: str = "") -> Privileges:
        """In the place of :func:`~sallyport.targets.privileges.load_privileges`."""
        if role:
            self.moment("before the check")
            if role not in self.grants:
                raise PrivilegeError("there is no such role")
            for _ in range(20):  # as many queries as the privileges take
                await asyncio.sleep(0)
            self.moment("within the check")
            self._check(role)
        return Privileges(role, DATABASE, 160000)

    def _make(self, name: str) -> None:
        if name in self.grants:
            raise QueryError("role exists", sql.DUPLICATE)
        self.grants.add(name)
        self.made += 1
        self.on_made()

    def _check(self, name: str) -> None:
        if name not in self.grants:
            raise QueryError("role does not exist", sql.UNDEFINED)


def _roles(message: str) -> list[str]:
    return re.findall(r'CREATE ROLE "(\w+)"', message)


def _granted(message: str) -> str:
    return str(re.findall(r'GRANT "(\w+)" TO', message)[0])


class Judge:
    """``content``: what the policy lets its subjects do."""

    def __init__(self, generation: int, content: str) -> None:
        self.generation, self._content = generation, content

    def subject_policy(self, subject: Subject) -> Any:
        standing = SimpleNamespace(catalog=SimpleNamespace(default_search_path=["public"]))
        limits = SimpleNamespace(statement_timeout=0)
        return SimpleNamespace(key=self._content, standing=standing, limits=limits)


def _compute(policy: Any, privileges: Privileges) -> sql.GrantSet:
    name = sql.grant_role(DATABASE, policy.key)
    return sql.GrantSet(name, (), False, frozenset(), lambda had: [])


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    server = Server()

    async def beside(function: Callable[..., Any], *arguments: Any) -> Any:
        return function(*arguments)

    monkeypatch.setattr(ephemeral, "load_privileges", server.privileges)
    monkeypatch.setattr(ephemeral, "compute_beside", beside)
    return server


def roles_of(server: Server) -> EphemeralRoles:
    roles = EphemeralRoles("shop", None, None, _compute, "0a1b2c3d")  # type: ignore[arg-type]
    roles._admin = roles._static = server  # type: ignore[assignment]
    return roles


def opened(roles: EphemeralRoles, judge: Judge) -> Any:
    return roles.open(judge, ADA, "ses_1")  # type: ignore[arg-type]


@pytest.mark.parametrize("moment", MOMENTS[:3])
@pytest.mark.parametrize("times", [1, 2])
def test_a_session_begins(server: Server, moment: str, times: int) -> None:
    server.sweep_at = [moment] * times
    login = asyncio.run(opened(roles_of(server), Judge(1, "all")))
    assert server.dropped == times
    assert server.members[login.user] in server.grants


def test_a_role_that_goes_every_time_is_refused(server: Server) -> None:
    server.sweep_at = ["before the session"] * 10
    roles = roles_of(server)
    with pytest.raises(RefusedError):
        asyncio.run(opened(roles, Judge(1, "all")))
    assert "does not exist" in roles.problem and not roles._live


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_live_session_gets_the_privileges_of_now(server: Server, moment: str) -> None:
    async def run() -> None:
        roles = roles_of(server)
        login = await opened(roles, Judge(1, "all"))
        before = server.members[login.user]
        server.sweep_at = [moment]
        await roles._move(Judge(2, "less"))  # type: ignore[arg-type]
        assert server.members[login.user] == sql.grant_role(DATABASE, "less") != before
        assert server.dropped == (moment != "before the session")

    asyncio.run(run())


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_renewed_session_gets_those_of_its_token(server: Server, moment: str) -> None:
    async def run() -> None:
        roles = roles_of(server)
        login = await opened(roles, Judge(1, "all"))
        server.sweep_at = [moment]
        assert await roles.renew(login.user, Judge(1, "less"), ADA) == ADA  # type: ignore[arg-type]
        assert server.members[login.user] == sql.grant_role(DATABASE, "less")

    asyncio.run(run())


def test_a_session_that_ends_meanwhile_keeps_nobody_from_moving(server: Server) -> None:
    async def run() -> None:
        roles = roles_of(server)
        ends, stays = [await opened(roles, Judge(1, "all")) for _ in range(2)]
        query = server.query

        async def dropping(message: str, seconds: float = 0.0) -> list[list[str | None]]:
            if ends.user in message and "REVOKE" in message:
                roles._live.pop(ends.user)
                raise QueryError("role does not exist", sql.UNDEFINED)
            return await query(message)

        server.query = dropping  # type: ignore[method-assign]
        await roles._move(Judge(2, "less"))  # type: ignore[arg-type]
        assert server.members[stays.user] == sql.grant_role(DATABASE, "less")

    asyncio.run(run())


def test_our_own_sweep_leaves_what_is_being_made(server: Server) -> None:
    """As at a start: the first session, and the first sweep, once the role is there."""

    async def run() -> None:
        roles, is_made = roles_of(server), asyncio.Event()
        server.grants.add(sql.grant_role(DATABASE, "old"))
        server.on_made = is_made.set
        await roles._begin()

        async def sweep() -> None:
            await is_made.wait()
            await roles._sweep()

        login, _ = await asyncio.gather(opened(roles, Judge(1, "all")), sweep())
        assert server.grants == {server.members[login.user]}
        assert server.made == 1

    asyncio.run(run())


def test_no_grant_role_is_swept_while_somebody_keeps_the_lock(server: Server) -> None:
    """Without it another gateway may make a member after the check that there is none."""

    async def run() -> None:
        roles = roles_of(server)
        unused = {sql.grant_role(DATABASE, content) for content in ("old", "older")}
        server.grants |= unused
        query, waits = server.query, 0

        async def kept(message: str, seconds: float = 0.0) -> list[list[str | None]]:
            nonlocal waits
            if message.startswith(sql.EXCLUSIVE_LOCK):
                waits += 1
                raise QueryError("canceling statement due to lock timeout", sql.LOCKED)
            if "DROP ROLE" in message:  # without the lock
                server.sweep()
            return await query(message)

        server.query = kept  # type: ignore[method-assign]
        for _ in range(2):
            await roles._sweep()
        assert server.grants == unused and waits == 1
        server.query = query  # type: ignore[method-assign]
        roles._unordered_until = 0.0  # a minute later
        await roles._sweep()
        assert not server.grants

    asyncio.run(run())


@pytest.mark.parametrize(
    ("sqlstate", "is_closed"),
    [("2BP01", True), ("42501", True), ("57014", False), ("08006", False)],
)
def test_only_a_role_that_cannot_be_dropped_is_closed(
    server: Server, sqlstate: str, is_closed: bool
) -> None:
    """After a timeout or a lost connection it may be gone, and to close it would fail."""

    async def run() -> None:
        roles, closed = roles_of(server), []
        login = await opened(roles, Judge(1, "all"))

        async def failing(message: str, seconds: float = 0.0) -> list[list[str | None]]:
            if message == sql.drop_session(login.user):
                raise QueryError("not dropped, or not known", sqlstate)
            closed.append(message)
            return []

        server.query = failing  # type: ignore[method-assign]
        await roles._drop(login.user)
        grants = sql.grant_role(DATABASE, "all")
        assert closed == [sql.close_session(login.user, grants)] * is_closed

    asyncio.run(run())


def test_one_waits_for_who_keeps_the_lock_again_and_again(server: Server) -> None:
    """Each time a little shorter than we wait: every login would wait as long."""

    async def run() -> None:
        roles, query, waited = roles_of(server), server.query, []

        async def slow(message: str, seconds: float = 0.0) -> list[list[str | None]]:
            rows = await query(message.removeprefix(sql.SHARED_LOCK))
            if not message.startswith((sql.SHARED_LOCK, sql.EXCLUSIVE_LOCK)):
                return rows
            waited.append(message)
            return [["", "t"]]

        await opened(roles, Judge(1, "all"))
        server.query = slow  # type: ignore[method-assign]
        logins = await asyncio.gather(*(opened(roles, Judge(1, "all")) for _ in range(10)))
        assert len({login.user for login in logins} & set(server.members)) == 10
        assert len(waited) == 1

    asyncio.run(run())
