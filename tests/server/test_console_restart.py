"""The console's server ends and comes back while a psql waits: the statement is still there, and
the new console releases it.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator

import httpx2
import pytest

from sallyport.app.gateway import gateway_running
from sallyport.config import load_config
from sallyport.demo.issuer import DevIssuer
from sallyport.demo.postgres import free_port
from tests.support.approvals import CLIENTS, Desk, count, holding_gateway, make_tables
from tests.support.gateway import Gateway
from tests.support.postgres import Server, start_server
from tests.support.psql import Psql
from tests.support.waiting import wait_for


@pytest.fixture(scope="module")
def database() -> Iterator[Server]:
    server = start_server()
    make_tables(server)
    yield server
    server.stop()


class _Inside:
    """A gateway in this process, on a thread of its own, so that a test can reach its tasks."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._up = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    def __enter__(self) -> _Inside:
        self._thread.start()
        assert self._up.wait(20), "it did not start"
        return self

    def __exit__(self, *_: object) -> None:
        self.loop.call_soon_threadsafe(self.stop.set)
        self._thread.join(20)
        assert not self._thread.is_alive()

    async def _run(self) -> None:
        self.loop, self.stop = asyncio.get_running_loop(), asyncio.Event()
        async with gateway_running(load_config(self._gateway.config_file)):
            self._up.set()
            await self.stop.wait()

    def end_console(self) -> None:
        """As if it had died: the server's own task is gone."""
        (task,) = [t for t in asyncio.all_tasks(self.loop) if t.get_name() == "console"
                   and "serve_always" not in repr(t)]  # fmt: skip
        self.loop.call_soon_threadsafe(task.cancel)
        wait_for(task.done)


def _answers(gateway: Gateway) -> bool:
    with contextlib.suppress(httpx2.TransportError):
        return (
            httpx2.get(f"http://{gateway.extra['console']['listen']}/healthz", timeout=60).text
            == "ok\n"
        )
    return False


def test_a_held_statement_survives_the_console(
    database: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    with DevIssuer(CLIENTS) as issuer:
        gateway = holding_gateway(issuer, database)
        gateway.port = free_port()
        gateway.write()
        for name, value in gateway.environment.items():
            monkeypatch.setenv(name, value)
        with _Inside(gateway) as inside, Psql(gateway.port, gateway.token()) as psql:
            psql.send("DELETE FROM waits WHERE id = 77;")
            id_ = psql.wait_for(r"waits for approval (apr_\w+)").group(1)
            dana = Desk(gateway)
            assert dana.status(id_) == "pending"
            for _ in range(2):
                inside.end_console()
                wait_for(lambda: not _answers(gateway))
                assert psql.process.poll() is None
                assert count(database, "waits", "id = 77") == 1
                wait_for(lambda: _answers(gateway))
                assert dana.status(id_) == "pending", "it is the same one"
            dana.approve(id_)
            psql.wait_for(r"DELETE 1")
            assert dana.status(id_) == "used"
        assert count(database, "waits", "id = 77") == 0
