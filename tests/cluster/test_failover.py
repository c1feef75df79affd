"""A store with TLS whose primary dies: a standby takes over, and the gateways find it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from sallyport.demo.postgres import SUPERUSER, Cluster, free_port
from tests.cluster.test_across import ROLES, is_up, refill
from tests.cluster.test_members import can_log_in
from tests.support.approvals import POLICY, Desk, Waiter, count
from tests.support.certificates import Authority
from tests.support.gateway import Gateway
from tests.support.postgres import SUPERUSER_PASSWORD, Server, start_server
from tests.support.waiting import PATIENCE, wait_for
from tests.workers.crew import OLGA, rest

STORE_VERSION = "16"
_SETTINGS = {"listen_addresses": "127.0.0.1,127.0.0.2", "synchronous_commit": "on"}
#: Promoting may take a while beside load.
PATIENT = POLICY.replace("expires: 2m", "expires: 1h")
pytestmark = pytest.mark.timeout(600)  # several processes start slowly beside load


@pytest.fixture
def store_server() -> Iterator[Server]:
    """With TLS, and a certificate of an authority of its own."""
    server = start_server(STORE_VERSION, settings=_SETTINGS)
    yield server
    server.stop()


@pytest.fixture
def synchronous() -> str:
    """``synchronous_standby_names`` of the primary."""
    return "*"


@pytest.fixture
def standby(store_server: Server, synchronous: str) -> Iterator[Server]:
    """Follows ``store_server``, which acknowledges nothing before its standby has it, where it is
    ``synchronous``.
    """
    primary = store_server.cluster
    with ExitStack() as stack:
        primary.wanted_port = primary.port
        primary.stop()
        data = primary.data.parent / "standby"
        subprocess.run(["cp", "-a", "--reflink=auto", str(primary.data), str(data)], check=True)
        primary.start()
        signal_file = data / "standby.signal"
        signal_file.touch()
        shutil.chown(signal_file, *_owner(data))
        info = (
            f"host=127.0.0.1 port={primary.port} user={SUPERUSER} password={SUPERUSER_PASSWORD}"
            " application_name=standby"
        )
        follower = Cluster(
            primary.install,
            data,
            SUPERUSER_PASSWORD,
            {**primary.settings, "primary_conninfo": info},
        )
        follower.start()
        stack.callback(follower.stop)
        with psycopg.connect(store_server.superuser_dsn, autocommit=True) as db:
            follows = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'"
            wait_for(lambda: db.execute(follows).fetchone() == (1,), PATIENCE)
            names = f"ALTER SYSTEM SET synchronous_standby_names = '{synchronous}'"
            db.execute(names)  # type: ignore[arg-type]
            db.execute("SELECT pg_reload_conf()")
        yield Server(STORE_VERSION, follower, store_server.ca)
        with (
            suppress(psycopg.OperationalError),  # it may be gone; else it commits without it
            psycopg.connect(store_server.superuser_dsn, autocommit=True) as db,
        ):
            db.execute("ALTER SYSTEM SET synchronous_standby_names = ''")
            db.execute("SELECT pg_reload_conf()")


def _owner(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_uid, status.st_gid


def test_a_standby_takes_over(
    make_member: Callable[..., Gateway], store_server: Server, standby: Server, postgres: Server
) -> None:
    console = {"listen": f"127.0.0.1:{free_port()}", "roles": ROLES}
    store = {
        "tls": "verify-full",
        "ca": str(store_server.ca),
        "standbys": [f"127.0.0.1:{standby.port}"],
    }
    members = [
        make_member(grace=3600.0, store=store, policy=PATIENT, extra=extra)
        for extra in ({"console": console, "workers": 2}, {})
    ]
    is_up(members[0])
    uses_tls(store_server)
    sql = "DELETE FROM later WHERE id = 7"
    session = psycopg.connect(members[1].dsn(), autocommit=True)
    with session, Waiter(members[1]) as held:
        with pytest.raises(psycopg.Error, match="apr_"):
            session.execute(sql)
        (request,) = Desk(members[0]).pending()
        Desk(members[0]).approve(request["id"])  # acknowledged: the standby has it
        held.run("DELETE FROM waits WHERE id = 101")
        waits = held.id
        os.kill(store_server.cluster.pid, signal.SIGKILL)
        wait_for(lambda: "SP1807" in can_log_in(members[1]), PATIENCE)
        assert session.execute("SELECT 1").fetchone() == (1,), "what runs goes on"
        with psycopg.connect(standby.superuser_dsn, autocommit=True) as db:
            db.execute("ALTER SYSTEM SET synchronous_standby_names = ''")
            assert db.execute("SELECT pg_promote()").fetchone() == (True,)
        for member in members:
            wait_for(lambda m=member: can_log_in(m) == "", PATIENCE)
        uses_tls(standby)
        wait_for(lambda: is_approved(members[0], waits), PATIENCE)
        assert held.end(PATIENCE).result == "DELETE 1", held.error

        def has_run() -> bool:
            try:
                return session.execute(sql).statusmessage == "DELETE 1"
            except psycopg.Error:
                return False

        wait_for(has_run, PATIENCE)
        with pytest.raises(psycopg.Error, match="approval"):
            session.execute(sql)
    assert count(postgres, "later", "id = 7") == 0
    no_gateway_uses_the_old_primary(members, store_server, standby)


def no_gateway_uses_the_old_primary(
    members: Sequence[Gateway], store_server: Server, standby: Server
) -> None:
    """It comes back as one, and is the first that the gateways name."""
    primary = store_server.cluster
    primary.settings = {**primary.settings, "synchronous_standby_names": ""}
    store_server.restart()
    lock = {"kind": "subject", "name": "crowd-3", "reason": "looks odd"}
    answer = rest(members[0], "POST", "/locks", OLGA, json=lock)
    assert answer.status_code in (200, 201), answer.text
    for member in members:
        member.restart()
        wait_for(lambda m=member: can_log_in(m) == "", PATIENCE)
        assert "SP1608" in can_log_in(member, member.token("crowd-3"))
    assert connections(store_server) == 0 < connections(standby)
    standby.cluster.stop()  # the old primary is all that is left
    for member in members:
        wait_for(lambda m=member: "SP1807" in can_log_in(m), PATIENCE)
        member.stop()
        refused = member.run("serve")
        assert refused.returncode == 2 and "it is an old primary" in refused.stderr, refused.stderr
    assert connections(store_server) == 0


@pytest.mark.parametrize("synchronous", [""])
def test_what_an_asynchronous_standby_lacks_does_not_run(
    make_member: Callable[..., Gateway], store_server: Server, standby: Server, postgres: Server
) -> None:
    """An approval that was acknowledged is lost with the primary; a lock is stored again by the
    gateways that know it.
    """
    refill(postgres)
    console = {"listen": f"127.0.0.1:{free_port()}", "roles": ROLES}
    store = {
        "tls": "verify-full",
        "ca": str(store_server.ca),
        "standbys": [f"127.0.0.1:{standby.port}"],
    }
    member = make_member(grace=3600.0, store=store, policy=PATIENT, extra={"console": console})
    is_up(member)
    sql = "DELETE FROM later WHERE id = 8"
    with psycopg.connect(member.dsn(), autocommit=True) as session:
        with pytest.raises(psycopg.Error, match="apr_"):
            session.execute(sql)
        (request,) = Desk(member).pending()
        dsn = standby.superuser_dsn.rpartition("/")[0] + f"/{database_of(store_server)}"
        with psycopg.connect(dsn, autocommit=True) as copy:
            stored = "SELECT status FROM approvals WHERE id = %s"
            wait_for(lambda: copy.execute(stored, [request["id"]]).fetchone() is not None)
        children = psutil.Process(store_server.cluster.pid).children()
        (sender,) = (child for child in children if "walsender" in " ".join(child.cmdline()))
        sender.suspend()  # the standby hears nothing more
        Desk(member).approve(request["id"])
        lock = {"kind": "subject", "name": "crowd-3", "reason": "looks odd"}
        assert rest(member, "POST", "/locks", OLGA, json=lock).status_code in (200, 201)
        os.kill(store_server.cluster.pid, signal.SIGKILL)
        sender.kill()
        with psycopg.connect(standby.superuser_dsn, autocommit=True) as db:
            assert db.execute("SELECT pg_promote()").fetchone() == (True,)
        wait_for(lambda: can_log_in(member) == "", PATIENCE)
        with pytest.raises(psycopg.Error, match="apr_"):
            session.execute(sql)  # it is not approved
        assert count(postgres, "later", "id = 8") == 1
        assert Desk(member).status(request["id"]) == "pending"
        assert "SP1608" in can_log_in(member, member.token("crowd-3"))
        member.restart()
        wait_for(lambda: can_log_in(member) == "", PATIENCE)
        assert "SP1608" in can_log_in(member, member.token("crowd-3"))
    member.stop()
    store_server.restart()  # for the fixture, which drops the database


def connections(server: Server) -> int:
    """Of gateways."""
    with psycopg.connect(server.superuser_dsn, autocommit=True) as db:
        query = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'sallyport%'"
        (number,) = db.execute(query).fetchone() or (0,)
    return int(number)


def database_of(server: Server) -> str:
    """The store's."""
    with psycopg.connect(server.superuser_dsn, autocommit=True) as db:
        query = "SELECT datname FROM pg_database WHERE datname ~ '^store_[0-9]+_[0-9]+$'"
        ((name,),) = db.execute(query).fetchall()
    return str(name)


def is_approved(gateway: Gateway, request: str) -> bool:
    """Approve it; False while the store is still away for this gateway."""
    answer = Desk(gateway).decide(request, True, "ticket 12")
    assert answer.status_code in (200, 503), answer.text
    return answer.status_code == 200


def uses_tls(server: Server) -> None:
    """Every connection of a gateway has TLS."""
    with psycopg.connect(server.superuser_dsn, autocommit=True) as db:
        query = (
            "SELECT count(*), count(*) FILTER (WHERE ssl) FROM pg_stat_ssl JOIN pg_stat_activity"
            " USING (pid) WHERE application_name LIKE 'sallyport%'"
        )
        connections, with_tls = db.execute(query).fetchone() or (0, 0)
    assert connections == with_tls > 0


@pytest.mark.parametrize("wrong", ["authority", "name"])
def test_another_server_is_not_believed(
    make_member: Callable[..., Gateway], store_server: Server, tmp_path: Path, wrong: str
) -> None:
    store: dict[str, Any] = {"tls": "verify-full", "ca": str(store_server.ca)}
    if wrong == "authority":
        store["ca"] = str(Authority(tmp_path).file)
    else:
        store["host"] = "127.0.0.2"  # listens there too, under a certificate for 127.0.0.1
    member = make_member(store=store, policy=POLICY, start=False)
    member.port = free_port()
    member.write()
    refused = member.run("serve")
    assert refused.returncode == 2 and "cannot be used" in refused.stderr, refused.stderr
