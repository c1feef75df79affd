"""Many logins with a database role for each session, and kill -9 in the middle of them.

The suite makes 200; ``SALLYPORT_LOGINS=1000 make test ARGS="tests/server/test_login_storm.py -s"``
makes as many as it says, and prints what they took.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from sallyport.demo.issuer import DevIssuer
from tests.conftest import Servers
from tests.server.test_ephemeral import GRANTS, SESSIONS, names, options, prepare
from tests.server.test_renewal import token
from tests.support.gateway import AGENT, PRIVACY, Gateway
from tests.support.postgres import Server, start_server
from tests.support.waiting import wait_for

LOGINS = int(os.environ.get("SALLYPORT_LOGINS", "200"))
AT_ONCE, SUBJECTS = 16, 50
#: A login that waits for longer hangs, on any machine.
BOUND = 60.0


@pytest.fixture
def server(servers: Servers) -> Iterator[Server]:
    servers.get("18")  # skips where it cannot be had
    running = start_server("18")
    prepare(running)
    yield running
    running.stop()


class Storm:
    """Logs in again and again, as people and agents in turn; counts what it sees."""

    def __init__(self, gateway: Gateway) -> None:
        self._tokens = [
            token(gateway, 3600, client, sub=f"{client}-{n}")
            for n in range(SUBJECTS)
            for client in (AGENT, PRIVACY)
        ]
        self._gateway = gateway
        self.seconds: list[float] = []
        self.roles: set[str] = set()
        self.failed = 0
        self._next = self._kill_at = 0
        self._is_due, self._is_up = asyncio.Event(), asyncio.Event()
        self._is_up.set()

    async def run(self, killed_at: int) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(self._client())
            group.create_task(self._kill(killed_at))

    async def _client(self) -> None:
        while len(self.seconds) < LOGINS:
            self._next += 1
            await self._is_up.wait()
            started = time.monotonic()
            try:
                async with asyncio.timeout(BOUND):
                    await self._log_in(self._tokens[self._next % len(self._tokens)])
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                self.failed += 1  # the gateway was killed
                await asyncio.sleep(0.1)  # until that is known
            else:
                self.seconds.append(time.monotonic() - started)
                if len(self.seconds) == self._kill_at:
                    self._is_due.set()

    async def _log_in(self, word: str) -> None:
        port = self._gateway.port
        connection = await asyncpg.connect(
            host="127.0.0.1", port=port, user="a", password=word, database="shop", ssl=False
        )
        role = await connection.fetchval("SELECT session_user")
        assert role not in self.roles, "a role for each session"
        self.roles.add(role)
        await connection.close()

    async def _kill(self, after: int) -> None:
        self._kill_at = after
        await self._is_due.wait()
        self._is_up.clear()
        await asyncio.to_thread(kill, self._gateway)
        self._is_up.set()


def kill(gateway: Gateway) -> None:
    """As a lost process is: nothing is cleaned up; then another one on the same data."""
    gateway.kill()
    gateway.start()


@pytest.mark.timeout(1200)
def test_many_logins(issuer: DevIssuer, server: Server, tmp_path: Path) -> None:
    gateway = Gateway(issuer, {"shop": server}, target_extra=options(tmp_path)).start()
    try:
        storm = Storm(gateway)
        began = time.monotonic()
        asyncio.run(storm.run(LOGINS // 2))
        lasted = time.monotonic() - began
        assert len(storm.roles) >= LOGINS
        assert storm.failed <= 2 * AT_ONCE, "only the kill makes logins fail"
        wait_for(lambda: not names(server, SESSIONS))
        assert len(names(server, GRANTS)) == 2, "one group role for each set of privileges"
    finally:
        gateway.stop()
    assert names(server, SESSIONS) == []
    ordered = sorted(storm.seconds)
    print(
        f"{len(ordered)} logins, {AT_ONCE} at once, in {lasted:.1f} s; median"
        f" {statistics.median(ordered):.3f} s, 99th percentile"
        f" {ordered[int(len(ordered) * 0.99)]:.3f} s, longest {ordered[-1]:.3f} s;"
        f" {storm.failed} failed when the gateway was killed"
    )
