"""Databases, identity providers and disks that go away, and come back."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from sallyport.demo.issuer import DevIssuer
from sallyport.wire import frontend
from tests.server.conftest import backends
from tests.server.raw import Raw
from tests.support.forked import of_the_interpreter, run
from tests.support.gateway import Gateway
from tests.support.postgres import Server
from tests.support.waiting import wait_for


def ask(dsn: str) -> int:
    with psycopg.connect(dsn, connect_timeout=60) as db:
        row = db.execute("SELECT count(*) FROM products").fetchone()
        return int(row[0]) if row else -1


def can_connect(dsn: str) -> bool:
    try:
        return ask(dsn) == 120
    except psycopg.OperationalError:
        return False


def test_a_database_that_is_down_at_start(
    make_gateway: Callable[..., Gateway], own_postgres: Server
) -> None:
    own_postgres.cluster.wanted_port = own_postgres.port
    own_postgres.cluster.stop()
    gateway = make_gateway(targets={"shop": own_postgres})
    with pytest.raises(psycopg.OperationalError, match="SP1604"):
        psycopg.connect(gateway.dsn())
    own_postgres.cluster.start()
    assert ask(gateway.dsn()) == 120


TO_THE_OPERATOR = {
    "closed": ({"password": {"env": "NOBODY_SET_THIS"}}, "has no password", "NOBODY_SET_"),
    "refused": (
        {"password": {"command": ["echo", "wrong"]}},
        "refused the gateway's login",
        "authentication",
    ),
    "plain": ({"tls": "require"}, "could not establish TLS", "does not offer TLS"),
    "weak": ({"auth": ["md5"]}, "a way of logging in", "scram-sha-256"),
}


def test_what_only_the_operator_can_mend(
    make_gateway: Callable[..., Gateway], postgres: Server
) -> None:
    """The agent reads of what kind it is, and is not told to try again or what to configure."""
    reachable = {
        "host": postgres.host,
        "port": postgres.port,
        "database": "shop",
        "user": postgres.user,
    }
    reachable |= {"tls": "disable", "password": {"command": ["echo", postgres.password]}}
    targets = {name: reachable | change for name, (change, _, _) in TO_THE_OPERATOR.items()}
    gateway = make_gateway(
        targets={"shop": postgres},
        policy="version: 1\nrules: [{name: all, allow: [read], relations: ['public.*']}]\n",
        extra={"targets": targets},
    )
    for name, (_, detail, reason) in TO_THE_OPERATOR.items():
        with pytest.raises(psycopg.OperationalError) as caught:
            psycopg.connect(gateway.dsn(target=name))
        said = str(caught.value)
        assert f'[SP1604] could not log in to the database of target "{name}"' in said
        assert detail in said and "operator: the log" in said
        assert reason not in said and "Try again" not in said
        assert reason in gateway.output()
        done = run(
            gateway.command("policy", "explain", "--as", "a", "--target", name, "SELECT 1"),
            {"PATH": os.environ["PATH"]},
            of_the_interpreter(os.environ),
        )
        assert reason in done.stderr.splitlines()[-1], done.stderr


def test_a_database_that_goes_away_takes_only_its_own_sessions(
    make_gateway: Callable[..., Gateway], postgres: Server, own_postgres: Server
) -> None:
    gateway = make_gateway(targets={"shop": postgres, "other": own_postgres}, policy=_BOTH)
    with (
        psycopg.connect(gateway.dsn(), autocommit=True) as staying,
        psycopg.connect(gateway.dsn(target="other"), autocommit=True) as going,
    ):
        assert going.execute("SELECT 1").fetchone() == (1,)
        own_postgres.restart()
        with pytest.raises(psycopg.OperationalError):
            going.execute("SELECT 1")
        assert staying.execute("SELECT count(*) FROM products").fetchone() == (120,)
    wait_for(lambda: can_connect(gateway.dsn(target="other")))


_BOTH = """\
version: 1
rules:
  - {name: all, allow: [read], relations: ["public.*"]}
masks:
  - {columns: ["public.customers.ssn"], with: redact}
"""


def test_an_identity_provider_that_goes_away(
    make_gateway: Callable[..., Gateway], postgres: Server
) -> None:
    """Keys that are known go on being used; a gateway that never got any lets nobody in, and says
    so quickly.
    """
    with DevIssuer() as issuer:
        gateway = Gateway(issuer, {"shop": postgres}).start()
        try:
            token = gateway.token()
            assert ask(gateway.dsn(token)) == 120
            issuer.stop()
            assert ask(gateway.dsn(token)) == 120
            gateway.restart()
            with pytest.raises(psycopg.OperationalError, match="SP1601"):
                psycopg.connect(gateway.dsn(token), connect_timeout=60)
        finally:
            gateway.stop()


def test_recordings_that_cannot_be_written(make_gateway: Callable[..., Gateway]) -> None:
    gateway = make_gateway()
    place = gateway.home / "var" / "recordings"
    with psycopg.connect(gateway.dsn(), autocommit=True) as db:
        assert db.execute("SELECT count(*) FROM products").fetchone() == (120,)
        aside = place.with_name("aside")
        wait_for(lambda: any(place.rglob("*.*")))
        _replace_by_file(place, aside)

        def stops() -> bool:
            try:
                db.execute("SELECT count(*) FROM products")
            except psycopg.errors.IoError as error:
                return "SP1801" in str(error)
            return False

        wait_for(lambda: _new_session_is_refused(gateway))
        place.unlink()
        aside.rename(place)
        wait_for(lambda: can_connect(gateway.dsn()))
        wait_for(lambda: not stops())


def _replace_by_file(place: Path, aside: Path) -> None:
    """Root may write anywhere, but not into a directory that is a file."""
    place.rename(aside)
    place.write_text("")


def _new_session_is_refused(gateway: Gateway) -> bool:
    try:
        with psycopg.connect(gateway.dsn(), autocommit=True) as db:
            db.execute("SELECT 1")
            db.execute("SELECT 1")
    except psycopg.Error as error:
        return "SP1801" in str(error)
    return False


def test_sigterm_says_goodbye(make_gateway: Callable[..., Gateway], postgres: Server) -> None:
    gateway = make_gateway()
    running = (
        "state = 'active' AND query LIKE '%products a, products b, products c%' AND pid <>"
        " pg_backend_pid()"
    )
    with Raw(gateway) as idle, Raw(gateway) as busy, Raw(gateway) as early:
        idle.login()
        busy.login()
        early.startup()
        early.until("R")
        busy.send(
            frontend.query(
                "SELECT count(*) FROM products a, products b, products c, products d, products e"
            )
        )
        wait_for(lambda: backends(postgres, running) >= 1)
        os.kill(gateway.pid, signal.SIGTERM)
        assert idle.error()["C"] == "57P01"
        assert b"C57P01\0" in busy.until("E")[-1]
        assert early.error()["C"] == "57P01"
        assert idle.closed()
    program = gateway._running()
    wait_for(lambda: not program.alive)
    assert program.process.returncode == 0
    wait_for(lambda: backends(postgres, running) == 0)
    gateway._program = None


def test_what_is_wrong_in_the_configuration_is_one_line(
    make_gateway: Callable[..., Gateway],
) -> None:
    gateway = make_gateway()
    good = gateway.config_file.read_text()

    def serve(text: str) -> subprocess.CompletedProcess[str]:
        gateway.config_file.write_text(text)
        return gateway.run("serve")

    for text, word in (
        (good + "nonsense: 1\n", "nonsense"),
        (good, "data directory"),  # it belongs to the running one
        (good.replace("/var", "/other"), "listen"),  # the port is taken by the running one
        (good.replace("/var", "/other").replace("policy.yaml", "missing.yaml"), "missing.yaml"),
    ):
        done = serve(text)
        assert done.returncode == 2, done.stderr
        assert word in done.stderr
        assert "Traceback" not in done.stderr + done.stdout
    shutil.copy(gateway.policy_file, gateway.home / "kept.yaml")
