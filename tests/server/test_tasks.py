"""What watches for ever goes on whatever a step raises, and says so."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from sallyport.policy.file import source as policy_file
from sallyport.policy.file.load import parse_policy
from sallyport.policy.file.source import PolicyFile
from sallyport.server import databases
from sallyport.server.databases import Database
from sallyport.server.tasks import Coalesced, Tasks
from sallyport.server.upstream import Dialer
from sallyport.targets.credentials import Reference
from sallyport.targets.targets import Target
from tests.support.postgres import Server

POLICY = "version: 1\nrules: [{name: all, allow: [read], relations: ['public.*']}]\n"


async def soon(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110  what is waited for tells nobody
            await asyncio.sleep(0.01)


def database(server: Server) -> Database:
    target = Target(
        name="shop",
        host=server.host,
        port=server.port,
        database=server.database,
        user=server.user,
        password=Reference("command", argv=("echo", server.password)),
        tls="disable",
    )
    policy = parse_policy(POLICY, "policy.yaml")
    dialer = Dialer(target, None, 10.0)
    return Database(
        "shop", dialer, lambda: policy, {}, check_seconds=0.02, max_statement_bytes=1 << 20
    )


def test_what_is_asked_for_while_it_is_done_is_done_once_more() -> None:
    async def test() -> None:
        done: list[str] = []
        running, may_end = asyncio.Event(), asyncio.Event()

        async def work(askers: str) -> None:
            running.set()
            await may_end.wait()
            done.append(askers)
            if askers == "fails":
                raise ValueError(askers)

        tasks = Tasks()
        once = Coalesced(tasks, work, "work")
        once.ask("first")
        await running.wait()
        for _ in range(50):
            once.ask("changed")
        once.ask("SIGHUP")
        assert len(list(tasks)) == 1
        may_end.set()
        await soon(lambda: not list(tasks))
        assert done == ["first", "changed; SIGHUP"]
        once.ask("fails")
        await soon(lambda: not list(tasks))
        once.ask("last")
        await soon(lambda: not list(tasks))
        assert done[2:] == ["fails", "last"] and tasks.failures["work"] == 1

    asyncio.run(test())


def test_a_catalog_is_watched_after_a_failure_of_any_kind(
    postgres: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = databases.refreshed_catalog
    failing = True

    async def sometimes(*words: Any) -> Any:
        if failing:
            raise ValueError("a row that nobody expected")
        return await real(*words)

    async def run() -> None:
        nonlocal failing
        watched, tasks = database(postgres), Tasks()
        await watched.ready()
        monkeypatch.setattr(databases, "refreshed_catalog", sometimes)
        task = tasks.spawn(tasks.repeat(watched.watch, "catalog"), "watch")
        await soon(lambda: not watched.readable)
        assert watched.failures
        failing = False
        await soon(lambda: watched.readable)
        with psycopg.connect(postgres.superuser_dsn, autocommit=True) as owner:
            owner.execute("CREATE TABLE public.made_after_the_failure (a int)")
            try:
                judge = watched.judge
                assert judge is not None
                await soon(
                    lambda: any(
                        relation.name == "made_after_the_failure"
                        for relation in judge.catalog.relations.values()
                    )
                )
            finally:
                owner.execute("DROP TABLE public.made_after_the_failure")
        assert not task.done()
        task.cancel()
        await watched.close()

    asyncio.run(run())


def test_a_step_that_raises_is_made_again() -> None:
    async def run() -> None:
        made, tasks = [0], Tasks()

        async def step() -> None:
            made[0] += 1
            if made[0] == 1:
                raise LookupError("once")
            await asyncio.sleep(0)

        task = tasks.spawn(tasks.repeat(step, "it"), "watch it")
        await soon(lambda: made[0] > 2)
        assert tasks.failures == {"it": 1}
        task.cancel()

    asyncio.run(run())


def test_a_policy_file_that_cannot_be_read_for_another_reason_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(POLICY)
    policy = PolicyFile(path)
    before = policy.current
    path.write_text(POLICY.replace("name: all", "name: another"))

    def broken(path: Path) -> None:
        raise RecursionError("too deep")

    with monkeypatch.context() as patched:
        patched.setattr(policy_file, "load_policy", broken)
        changed, problem = policy.reload()
    assert (changed, policy.current, policy.failures) == (False, before, 1)
    assert problem is not None and "RecursionError" in problem
    assert policy.changed(), "it is due again though the file is the same"
    assert policy.reload() == (True, None)
    assert not policy.changed() and policy.problem == ""
