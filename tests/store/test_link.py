"""Messages between gateways over PostgreSQL, and what a broken connection does to them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager

import psycopg
import pytest

from sallyport.core.announcements import MAXIMUM_BODY, Announcements, Topic
from sallyport.store import link as module
from sallyport.store.database import StoreError
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


def test_a_name_is_for_one_and_another_database_is_none(address: StoreAddress) -> None:
    async def test() -> None:
        async with linked(address, "a"):
            with pytest.raises(StoreError, match="another gateway is called a"):
                await StoreLink(address, "a", 0).open()
            with pytest.raises(StoreError, match="another database"):
                await StoreLink(address, "c", 7).open()
        async with linked(address, "a"):
            pass  # the name was given back

    in_loop(test)
