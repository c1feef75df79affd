"""Messages between gateways over PostgreSQL, and what a broken connection does to them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace

import psycopg
import pytest
from asyncpg import InternalClientError
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from sallyport.app.gateway_store import prompt_engine
from sallyport.core.announcements import MAXIMUM_BODY, Announcements, Topic
from sallyport.server import tasks as tasks_module
from sallyport.server.tasks import Tasks
from sallyport.store import link as module
from sallyport.store.database import StoreError
from sallyport.store.dialect import StoreLostError
from sallyport.store.link import StoreLink
from sallyport.store.postgres import StoreAddress
from tests.support.postgres import Server
from tests.support.stores import store_database


@pytest.fixture
def address(postgres: Server) -> Iterator[StoreAddress]:
    with store_database(postgres) as address:
        yield address


@asynccontextmanager
async def linked(address: StoreAddress, name: str) -> AsyncIterator[StoreLink]:
    link = StoreLink(address, name, 0)
    await link.open()
    running = asyncio.get_running_loop().create_task(link.run())
    try:
        yield link
    finally:
        await link.close()
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


async def until(condition: Callable[[], object], seconds: float = 30.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  nothing says when
            await asyncio.sleep(0.01)


def in_loop(test: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await test()

    asyncio.run(main())


def cut(server: Server, address: StoreAddress, name: str) -> None:
    """End the connection of one gateway, as a failing network does."""
    with psycopg.connect(server.superuser_dsn, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = %s AND application_name = %s",
            (address.database, f"sallyport {name}"),
        )


def test_others_hear_it_whole_and_in_order_and_the_sender_does_not(address: StoreAddress) -> None:
    async def test() -> None:
        async with linked(address, "a") as first, linked(address, "b") as second:
            heard: list[str] = []
            own: list[str] = []
            port: Announcements = second
            port.subscribe(Topic.LOCKS, heard.append)
            first.subscribe(Topic.LOCKS, own.append)
            bodies = ["", "one\ntwo", "ü" * (MAXIMUM_BODY // 2), *map(str, range(50))]
            for body in bodies:
                first.publish(Topic.LOCKS, body)
                first.publish(Topic.POLICY, "another topic")
            await until(lambda: len(heard) >= len(bodies))
            assert heard == bodies and own == []
            for wrong in ("x" * (MAXIMUM_BODY + 1), "\0"):
                with pytest.raises(ValueError, match="at most"):
                    first.publish(Topic.LOCKS, wrong)

    in_loop(test)


def test_after_a_gap_it_is_told_to_read_again(
    address: StoreAddress, postgres: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test() -> None:
        async with linked(address, "a") as first, linked(address, "b") as second:
            heard: list[str] = []
            reloads: list[str] = []
            second.subscribe(Topic.POLICY, heard.append)
            second.on_resume(lambda: reloads.append("b"))
            first.on_resume(lambda: reloads.append("a"))
            cut(postgres, address, "b")
            await until(lambda: reloads)
            assert reloads == ["b"] and not second.is_lost
            cut(postgres, address, "a")
            await until(lambda: first.is_lost)
            first.publish(Topic.POLICY, "said meanwhile")
            await until(lambda: heard)
            assert heard == ["said meanwhile"] and not first.is_lost

    in_loop(test)


def test_too_many_messages_for_a_store_that_is_away_make_others_read_again(
    address: StoreAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_WAITING", 5)

    async def test() -> None:
        async with linked(address, "b") as second:
            reloads: list[int] = []
            second.on_resume(lambda: reloads.append(1))
            first = StoreLink(address, "a", 0)
            for number in range(7):
                first.publish(Topic.LOCKS, str(number))
            await first.open()
            running = asyncio.get_running_loop().create_task(first.run())
            await until(lambda: reloads)
            await first.close()
            running.cancel()

    in_loop(test)


def test_threads_publish_at_once(address: StoreAddress, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_EVERY", 3600.0)  # nothing else wakes the sender

    async def test() -> None:
        asyncio.get_running_loop().set_debug(True)  # it raises for what is not safe
        async with linked(address, "a") as first, linked(address, "b") as second:
            heard: list[str] = []
            second.subscribe(Topic.LOCKS, heard.append)
            for number in range(20):
                await asyncio.to_thread(first.publish, Topic.LOCKS, str(number))
            await until(lambda: len(heard) == 20)
            assert heard == [str(number) for number in range(20)]

    in_loop(test)


def test_a_cancel_request_does_not_wait_for_the_store(
    address: StoreAddress, postgres: Server
) -> None:
    async def test() -> None:
        async with linked(address, "a") as first, linked(address, "b") as second:
            heard: list[str] = []
            for topic in (Topic.CANCEL, Topic.SESSION_END):
                second.subscribe(topic, heard.append)
            first.publish(Topic.CANCEL, "now")
            await until(lambda: heard)
            cut(postgres, address, "a")
            await until(lambda: first.is_lost)
            first.publish(Topic.CANCEL, "too late")
            first.publish(Topic.SESSION_END, "end")
            await until(lambda: "end" in heard)
            assert heard == ["now", "end"]

    in_loop(test)


def test_what_was_dropped_while_one_was_sent_is_told(
    address: StoreAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_WAITING", 5)

    async def test() -> None:
        async with linked(address, "a") as first, linked(address, "b") as second:
            heard: list[str] = []
            reloads: list[int] = []
            second.subscribe(Topic.LOCKS, heard.append)
            second.on_resume(lambda: reloads.append(1))
            first.publish(Topic.LOCKS, "first")
            await asyncio.sleep(0)  # it is in the queue
            for number in range(12):
                first.publish(Topic.LOCKS, str(number))
                await asyncio.sleep(0)
            await until(lambda: "11" in heard)
            assert reloads or len(heard) == 13

    in_loop(test)


@pytest.mark.parametrize("standbys", [(), (("127.0.0.1", 1),)])
def test_one_call_that_is_not_answered_is_the_last_that_waits(
    postgres: Server, monkeypatch: pytest.MonkeyPatch, standbys: tuple[tuple[str, int], ...]
) -> None:
    """The link itself, which asks seldom here, has not noticed anything."""
    monkeypatch.setattr(module, "_EVERY", 3600.0)

    async def test(address: StoreAddress) -> None:
        async with linked(address, "a") as link:
            engine = prompt_engine(address, link)
            with engine.connect() as connection:
                pid = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
            os.kill(pid, signal.SIGSTOP)
            try:
                with pytest.raises(StoreLostError), engine.connect():
                    pass  # a kept connection is asked first, and another one is not made then
                assert link.is_lost
            finally:
                os.kill(pid, signal.SIGCONT)
            await until(lambda: not link.is_lost)
            with engine.connect() as connection:
                assert connection.execute(text("SELECT 1")).scalar_one() == 1
            engine.dispose()

    with store_database(postgres) as address:
        in_loop(lambda: test(replace(address, standbys=standbys)))


def test_a_statement_that_runs_out_of_time_makes_the_store_suspect(address: StoreAddress) -> None:
    """As where the server answers, and its disk does not."""

    async def test() -> None:
        async with linked(address, "a") as link:
            engine = prompt_engine(address, link)
            with pytest.raises(DBAPIError, match="57014"), engine.connect() as connection:
                connection.execute(text("SET statement_timeout = '50ms'"))
                connection.execute(text("SELECT pg_sleep(60)"))
            assert link.is_lost
            await until(lambda: not link.is_lost)  # it could be written
            with pytest.raises(DBAPIError, match="22012"), engine.connect() as connection:
                connection.execute(text("SELECT 1 / 0"))
            assert not link.is_lost
            engine.dispose()

    in_loop(test)


def test_a_store_that_is_lost_is_refused_without_asking_it(postgres: Server) -> None:
    """No packet comes back, as behind a broken network: every wait would be a timeout's."""

    async def test(address: StoreAddress) -> None:
        async with linked(address, "a") as link:
            engine = prompt_engine(address, link)
            with engine.connect() as connection:
                pid = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
            own = await link._connection.fetchval("SELECT pg_backend_pid()")
            for process in (pid, own):
                os.kill(process, signal.SIGSTOP)
            try:
                await until(lambda: link.is_lost)
                for ask in (engine.connect, engine.raw_connection):
                    with pytest.raises(StoreLostError):
                        ask()
            finally:
                for process in (pid, own):
                    os.kill(process, signal.SIGCONT)
            await until(lambda: not link.is_lost)
            with engine.connect() as connection:
                assert connection.execute(text("SELECT 1")).scalar_one() == 1
            engine.dispose()

    with store_database(postgres) as address:
        in_loop(lambda: test(address))


def test_a_start_waits_for_a_name_that_is_given_back(address: StoreAddress) -> None:
    async def test() -> None:
        first, second = StoreLink(address, "a", 0), StoreLink(address, "a", 0)
        await first.open()
        opening = asyncio.get_running_loop().create_task(second.open())
        await asyncio.sleep(0.1)
        await first.close()
        await opening
        query = "SELECT name FROM pg_settings WHERE name LIKE 'tcp%' AND setting <> boot_val"
        assert len(await second._connection.fetch(query)) == 4
        await second.close()

    in_loop(test)


def test_a_name_is_for_one_and_another_database_is_none(
    address: StoreAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_NAME_WAIT", 0.0)

    async def test() -> None:
        async with linked(address, "a"):
            with pytest.raises(StoreError, match="another gateway is called a"):
                await StoreLink(address, "a", 0).open()
            with pytest.raises(StoreError, match="another database"):
                await StoreLink(address, "c", 7).open()
        async with linked(address, "a"):
            pass  # the name was given back

    in_loop(test)


class BrokenConnection:
    """Raises ``error`` for every question."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def is_closed(self) -> bool:
        return False

    async def fetchval(self, *_: object, **__: object) -> object:
        raise self.error

    def terminate(self) -> None: ...


def test_a_driver_that_loses_its_state_is_a_lost_connection(address: StoreAddress) -> None:
    async def test() -> None:
        async with linked(address, "a") as link:
            healthy, link._connection = link._connection, BrokenConnection(InternalClientError("x"))
            link.publish(Topic.LOCKS, "")
            await until(lambda: link.is_lost)
            await healthy.close()  # with it goes the lock of the name
            await until(lambda: not link.is_lost)

    in_loop(test)


def test_a_link_that_breaks_off_is_made_again(
    address: StoreAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a fault that nobody thought of; the store is lost meanwhile, and nothing is forgotten."""
    monkeypatch.setattr(tasks_module, "AGAIN_SECONDS", 0.2)

    async def test() -> None:
        async with linked(address, "b") as neighbour:
            heard: list[str] = []
            neighbour.subscribe(Topic.LOCKS, heard.append)
            link, resumed = StoreLink(address, "a", 0), asyncio.Event()
            link.on_resume(resumed.set)
            await link.open()
            tasks = Tasks()
            keep = tasks.spawn(tasks.repeat(link.run, "link", lambda: link.is_closed), "link")
            healthy, link._connection = link._connection, BrokenConnection(KeyError("a fault"))
            link.publish(Topic.LOCKS, "kept")
            await until(lambda: tasks.failures["link"] > 0)
            assert link.is_lost and "KeyError" in link.problem
            await healthy.close()  # with it goes the lock of the name
            await until(lambda: not link.is_lost and heard)
            assert heard == ["kept"] and resumed.is_set()
            await link.close()
            await asyncio.wait_for(keep, 10)  # it ends with the link

    in_loop(test)
