"""The disk of one gateway's recordings is full: it does nothing that it cannot record, others go
on, and it takes up again when there is space.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import psycopg
import pytest

from sallyport.demo.postgres import free_port
from tests.cluster.test_across import ROLES, is_up
from tests.cluster.test_members import can_log_in, listed
from tests.support.gateway import Gateway
from tests.support.postgres import Server
from tests.support.waiting import PATIENCE, wait_for
from tests.workers.crew import OLGA, rest

CHANGE = "UPDATE products SET stock = stock + 1 WHERE id = 7"
#: Enough that it does not fit into what is left of a page.
READ = "SELECT md5(n::text) FROM generate_series(1, 200) n"
DBA = "dana-dba"


class Disk:
    """A small file system of its own."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self._filling = place / "filling"

    def fill(self) -> None:
        """To the last byte."""
        with self._filling.open("wb", buffering=0) as file:
            for size in (1 << 16, 1):
                try:
                    while file.write(bytes(size)):
                        pass
                except OSError:
                    continue
        assert os.statvfs(self.place).f_bavail == 0

    def free(self) -> None:
        self._filling.unlink()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=48m,mode=700", "tmpfs", str(place)]
    if os.geteuid() or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("only root can make a small file system")
    yield Disk(place)
    subprocess.run(["umount", "-l", str(place)], check=True)


def refused(connection: psycopg.Connection[Any], statement: str) -> bool:
    """Whether it is because it cannot be recorded."""
    try:
        connection.execute(statement.encode())
    except psycopg.Error as error:
        assert "SP1801" in str(error), error
        return True
    return False


def stock(server: Server) -> int:
    with psycopg.connect(server.superuser_dsn) as db:
        row = db.execute("SELECT stock FROM products WHERE id = 7").fetchone()
    assert row is not None
    return int(row[0])


def ready(gateway: Gateway) -> tuple[int, str]:
    url = f"http://{gateway.extra['console']['listen']}/readyz"
    answer = httpx2.get(url, trust_env=False, timeout=60)
    return answer.status_code, answer.text


Make = Callable[..., Gateway]


@pytest.fixture
def pair(disk: Disk, make_member: Make) -> tuple[Gateway, Gateway]:
    """One that records on ``disk``, and one that does not."""

    def member(**extra: Any) -> Gateway:
        console = {"listen": f"127.0.0.1:{free_port()}", "roles": ROLES}
        made = make_member(extra={"console": console, **extra})
        is_up(made)
        return made

    return member(recording={"directory": str(disk.place / "recordings")}), member()


def changes(connection: psycopg.Connection[Any], server: Server) -> bool:
    before = stock(server)
    connection.execute(CHANGE.encode())
    return stock(server) == before + 1


def test_a_gateway_whose_disk_is_full_leaves_the_work_to_another(
    disk: Disk, pair: tuple[Gateway, Gateway], postgres: Server
) -> None:
    full, healthy = pair
    with (
        psycopg.connect(full.dsn(), autocommit=True) as here,
        psycopg.connect(healthy.dsn(), autocommit=True) as there,
    ):
        assert changes(here, postgres) and changes(there, postgres)
        wait_for(lambda: len(listed(healthy)) == 2)
        disk.fill()
        wait_for(lambda: refused(here, READ))
        before = stock(postgres)
        assert refused(here, CHANGE) and stock(postgres) == before
        does_nothing_unrecorded(full, healthy)
        assert changes(there, postgres)
        disk.free()
        wait_for(lambda: not refused(here, READ), PATIENCE)
        assert changes(here, postgres)
    wait_for(lambda: ready(full)[0] == 200, PATIENCE)
    for gateway in pair:
        assert can_log_in(gateway) == ""
    wait_for(lambda: {row["status"] for row in listed(healthy)} == {"ended"})
    for gateway in pair:
        verified = gateway.run("audit", "verify")
        assert verified.returncode == 0, verified.stdout


def does_nothing_unrecorded(full: Gateway, healthy: Gateway) -> None:
    """Nor do people there; but they can lock somebody out, at every gateway."""
    session = listed(healthy)[0]["id"]
    assert "SP1801" in can_log_in(full)
    assert can_log_in(healthy) == ""
    assert ready(full) == (503, "sessions cannot be recorded\n")
    assert ready(healthy)[0] == 200
    assert rest(full, "GET", f"/sessions/{session}", DBA).status_code == 503
    assert rest(healthy, "GET", f"/sessions/{session}", DBA).status_code == 200
    lock = {"kind": "subject", "name": "nobody", "reason": "the disk is full"}
    answer = rest(full, "POST", "/locks", OLGA, json=lock)
    assert answer.status_code == 200, answer.text
    wait_for(lambda: "nobody" in rest(healthy, "GET", "/locks", OLGA).text)
