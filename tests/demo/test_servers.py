"""The fixtures themselves: real servers, the shop in them, nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import psutil
import psycopg
import pytest

from sallyport.demo.account import Account, Install, PostgresError, reachable_dir
from sallyport.demo.postgres import Cluster, bundled, psql
from tests.support.places import ROOT, scratch_dir
from tests.support.postgres import Server


def _luhn(digits: str) -> bool:
    doubled = [
        int(d) * 2 - (9 if int(d) > 4 else 0) if i % 2 else int(d)
        for i, d in enumerate(reversed(digits))
    ]
    return sum(doubled) % 10 == 0


def test_every_version_has_the_same_shop(any_postgres: Server) -> None:
    with psycopg.connect(any_postgres.agent_dsn) as db:
        version = db.execute("SHOW server_version").fetchone()[0]
        assert version.startswith(str(any_postgres.major))
        first = db.execute(
            "SELECT name, email, ssn, card_number FROM customers WHERE id = 1"
        ).fetchone()
        assert first == ("Mei Silva", "mei.silva1@example.net", "022-43-3775", "4716712320992339")
        counts = db.execute(
            "SELECT (SELECT count(*) FROM customers), (SELECT count(*) FROM orders)"
        ).fetchone()
        assert counts == (2000, 6000)
        assert (
            db.execute("SELECT order_total(5)").fetchone()
            == db.execute("SELECT total FROM customer_orders WHERE order_id = 5").fetchone()
        )
        cards = [row[0] for row in db.execute("SELECT card_number FROM customers")]
    assert all(_luhn(card) for card in cards)


def test_the_gateways_role_is_nothing_special(postgres: Server) -> None:
    with psycopg.connect(postgres.agent_dsn) as db:
        power = "rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls"
        assert db.execute(
            f"SELECT {power} FROM pg_roles WHERE rolname = current_user"
        ).fetchone() == (False,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            db.execute("DROP TABLE customers")


def test_tls_is_verified_against_the_runs_authority(postgres_tls: Server) -> None:
    dsn = f"{postgres_tls.agent_dsn}?sslmode=verify-full&sslrootcert={postgres_tls.ca}"
    with psycopg.connect(dsn) as db:
        assert db.execute(
            "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
        ).fetchone() == (True,)


def test_passwords_are_checked(postgres: Server) -> None:
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(
            host=postgres.host, port=postgres.port, user=postgres.user, password="x", dbname="shop"
        )


def test_a_failing_script_says_so(postgres: Server) -> None:
    done = psql(
        bundled(),
        port=postgres.port,
        user=postgres.user,
        password=postgres.password,
        database="shop",
        script="SELEC;",
    )
    assert done.returncode == 3
    assert "syntax error" in done.stderr


def test_a_restart_keeps_the_port_and_the_data(own_postgres: Server) -> None:
    port = own_postgres.port
    with psycopg.connect(own_postgres.superuser_dsn) as db:
        db.execute("DELETE FROM payments")
    own_postgres.restart()
    assert own_postgres.port == port
    with psycopg.connect(own_postgres.superuser_dsn) as db:
        assert db.execute("SELECT count(*) FROM payments").fetchone() == (0,)


_CHILD = """
import sys, time
from pathlib import Path
from sallyport.demo.postgres import Cluster, bundled
cluster = Cluster(bundled(), Path(sys.argv[1]) / "data", "password-of-a-child")
cluster.start()
print(cluster.pid, flush=True)
time.sleep(60)
"""


def test_the_server_ends_with_its_parent_even_when_that_is_killed() -> None:
    home = scratch_dir("orphan")
    parent = subprocess.Popen(
        [sys.executable, "-c", _CHILD, str(home)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert parent.stdout is not None
    server = psutil.Process(int(parent.stdout.readline()))
    assert server.is_running()
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    assert psutil.wait_procs([server], timeout=60)[1] == []


def test_a_server_that_cannot_start_shows_its_log() -> None:
    cluster = Cluster(
        bundled(), scratch_dir("broken") / "data", "password", {"shared_buffers": "nonsense"}
    )
    started = time.monotonic()
    with pytest.raises(PostgresError, match="invalid value for parameter"):
        cluster.start()
    assert time.monotonic() - started < 10
    assert not cluster.running


def test_a_missing_program_is_named(tmp_path) -> None:
    with pytest.raises(PostgresError, match="postgres is not part of nothing"):
        Install(tmp_path, (tmp_path,), "nothing").program("postgres")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs PostgreSQL as somebody else")
def test_a_directory_that_the_account_cannot_enter_is_replaced(tmp_path) -> None:
    tmp_path.chmod(0o700)
    who = Account("nobody", 65534, 65534, switch=True)
    directory = reachable_dir(tmp_path / "demo", who)
    assert directory != tmp_path / "demo"
    assert who.searches(directory)
    directory.rmdir()
