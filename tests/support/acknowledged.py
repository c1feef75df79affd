"""Clients that change things through a gateway until it is killed, and log what was
acknowledged.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import psycopg
from psycopg import AsyncConnection

from sallyport.audit import events as ev
from sallyport.audit.verify import read_events
from tests.support.gateway import Gateway
from tests.support.postgres import Server
from tests.support.recordings import keys_of

POLICY = """\
version: 1
rules:
  - {name: all, allow: [read, write], relations: ["public.acknowledged"]}
"""
#: As many sessions as a test wants, of one subject.
LIMITS = {"limits": {"max_sessions": 1000, "max_sessions_per_subject": 1000, "max_logins": 1000}}
_INSERT = "INSERT INTO acknowledged (marker) VALUES"

Way = Callable[[AsyncConnection, str], Awaitable[object]]


@contextmanager
def table(server: Server) -> Iterator[None]:
    """The table that clients write to, empty; dropped afterwards."""
    with psycopg.connect(server.superuser_dsn, autocommit=True) as db:
        db.execute("DROP TABLE IF EXISTS acknowledged")
        db.execute("CREATE TABLE acknowledged (marker text)")
        db.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON acknowledged TO sallyport_agent")
        yield
        db.execute("DROP TABLE acknowledged")


async def _simple(db: AsyncConnection, marker: str) -> None:
    await db.execute(f"{_INSERT} ('{marker}')".encode())


async def _bound(db: AsyncConnection, marker: str) -> None:
    await db.execute(f"{_INSERT} (%s)".encode(), (marker,), prepare=False)


async def _prepared(db: AsyncConnection, marker: str) -> None:
    await db.execute(f"{_INSERT} (%s)".encode(), (marker,), prepare=True)


async def _in_transaction(db: AsyncConnection, marker: str) -> None:
    async with db.transaction():
        await db.execute(b"SELECT 1")
        await _prepared(db, marker)


async def _script(db: AsyncConnection, marker: str) -> None:
    await db.execute(f"SELECT 1; {_INSERT} ('{marker}'); SELECT 2".encode())


async def _execute(db: AsyncConnection, marker: str) -> None:
    await db.execute(f"PREPARE p (text) AS {_INSERT} ($1)".encode())
    await db.execute(f"EXECUTE p ('{marker}')".encode())
    await db.execute(b"DEALLOCATE p")


async def _with(db: AsyncConnection, marker: str) -> None:
    await db.execute(
        f"WITH new AS ({_INSERT} ('{marker}') RETURNING marker) SELECT * FROM new".encode()
    )


async def _update(db: AsyncConnection, marker: str) -> None:
    await db.execute(
        b"WITH old AS (DELETE FROM acknowledged WHERE false) "
        b"INSERT INTO acknowledged SELECT %s RETURNING marker",
        (marker,),
    )
    await db.execute(b"UPDATE acknowledged SET marker = marker WHERE marker = %s", (marker,))


async def _pipeline(db: AsyncConnection, marker: str) -> None:
    async with db.pipeline():
        await db.execute(b"SELECT 1")
        await _prepared(db, marker)
        await db.execute(b"SELECT 2")


#: Every way in which a statement can reach the database.
WAYS: tuple[Way, ...] = (
    _simple, _bound, _prepared, _in_transaction, _script, _execute, _with, _update, _pipeline,
)  # fmt: skip


@dataclass
class Clients:
    """``count`` sessions at ``dsn`` that write markers, each beginning with ``name``, in a thread
    of their own. ``acknowledged``: those whose statement was answered.
    """

    dsn: str
    count: int
    name: str
    ways: tuple[Way, ...] = WAYS
    acknowledged: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._enough = threading.Event()
        self._wanted = 0
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wait_for(self, statements: int, seconds: float = 120.0) -> None:
        """Until so many more are acknowledged. RuntimeError when that takes too long."""
        self._wanted = len(self.acknowledged) + statements
        self._enough.clear()
        if not self._enough.wait(seconds):
            raise RuntimeError(f"{len(self.acknowledged)} statements: {self.unexpected[:3]}")

    def join(self) -> None:
        """Until every client has lost its connection."""
        self._thread.join(60)
        if self._thread.is_alive():
            raise RuntimeError("clients did not notice that the gateway is gone")

    async def _run(self) -> None:
        await asyncio.gather(*(self._client(number) for number in range(self.count)))

    async def _client(self, number: int) -> None:
        try:
            async with await AsyncConnection.connect(self.dsn, autocommit=True) as db:
                for turn in count():
                    marker = f"{self.name}-{number}-{turn}."
                    await self.ways[(number + turn) % len(self.ways)](db, marker)
                    self.acknowledged.append(marker)
                    if len(self.acknowledged) >= self._wanted:
                        self._enough.set()
        except psycopg.OperationalError:
            return
        except psycopg.Error as error:
            self.unexpected.append(str(error))


def recorded_text(directory: Path) -> str:
    """Text and parameters of every recorded statement, in one string."""
    parts: list[str] = []
    for path in directory.rglob("*.sprec"):
        for event in read_events(path, keys=keys_of(directory.parent)):
            if isinstance(event, ev.Statement):
                parts.append(event.sql)
                parts += [value.decode("utf-8", "replace") for value in event.binds or () if value]
    return "\n".join(parts)


def committed(server: Server) -> list[str]:
    with psycopg.connect(server.superuser_dsn) as db:
        return [marker for (marker,) in db.execute("SELECT marker FROM acknowledged")]


@dataclass(frozen=True)
class Kill:
    """What one kill cost: statements acknowledged, rows committed, and those of either without a
    recording.
    """

    acknowledged: int
    committed: int
    missing: list[str]


def kill_once(gateway: Gateway, server: Server, clients: int, name: str, statements: int) -> Kill:
    """Let clients write, kill the gateway in the middle of it, start it again and look for what was
    done.
    """
    load = Clients(gateway.dsn(), clients, name)
    load.start()
    load.wait_for(statements)
    gateway.kill()
    load.join()
    if load.unexpected:
        raise RuntimeError(f"clients failed: {load.unexpected[:3]}")
    gateway.start()
    rows = [marker for marker in committed(server) if marker.startswith(f"{name}-")]
    text = recorded_text(gateway.home / "var" / "recordings")
    done = {*load.acknowledged, *rows}
    return Kill(len(load.acknowledged), len(rows), sorted(m for m in done if m not in text))
