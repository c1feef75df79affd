"""Starting and ending under bad circumstances: early signals, a broken policy file, a shutdown
with work under way.
"""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import httpx2
import psycopg
import pytest

from sallyport.demo.issuer import DevIssuer
from sallyport.demo.postgres import free_port
from sallyport.wire import frontend
from tests.server.conftest import backends
from tests.server.raw import Raw
from tests.support.gateway import SHOP_POLICY, Gateway
from tests.support.postgres import Server
from tests.support.processes import Program
from tests.support.waiting import wait_for

#: Long enough to be seen, and never ending by itself within a test.
LONG = "SELECT count(*) FROM products a, products b, products c, products d, products e"
RUNNING = "state = 'active' AND query LIKE '%products a, products b%' AND pid <> pg_backend_pid()"
BROKEN = SHOP_POLICY.replace("allow: [read]", "allow: [raed]", 1)


def with_console(**extra: Any) -> dict[str, Any]:
    return {"console": {"listen": f"127.0.0.1:{free_port()}"}, **extra}


def get(gateway: Gateway, path: str) -> httpx2.Response:
    """From the console, which listens a little later than the gateway."""
    while True:
        try:
            return httpx2.get(
                f"http://{gateway.extra['console']['listen']}{path}", timeout=60, trust_env=False
            )
        except httpx2.ConnectError:
            if not gateway._running().alive:
                raise
            time.sleep(0.02)


def metric(gateway: Gateway, name: str) -> float:
    """One without labels."""
    (line,) = [
        line for line in get(gateway, "/metrics").text.splitlines() if line.startswith(f"{name} ")
    ]
    return float(line.split()[1])


def count_products(gateway: Gateway) -> int:
    with psycopg.connect(gateway.dsn(), connect_timeout=60) as db:
        row = db.execute("SELECT count(*) FROM products").fetchone()
    return int(row[0]) if row else -1


@contextmanager
def starting(gateway: Gateway) -> Iterator[tuple[Program, Callable[[], None]]]:
    """A gateway stopped in the middle of its start, where it asks a command for a secret; the
    callable lets it go on.
    """
    asked, answer = gateway.home / "asked", gateway.home / "answer"
    script = f"touch {asked}; while [ ! -e {answer} ]; do sleep 0.02; done; echo a-key-of-the-tests"
    gateway.extra = {**gateway.extra, "mask_keys": {"default": {"command": ["sh", "-c", script]}}}
    gateway.port = free_port()
    gateway.write()
    program = Program(gateway.command("serve"), gateway.log, gateway.environment)
    try:
        wait_for(asked.exists)
        yield program, answer.touch
    finally:
        answer.touch()
        program.stop()


def test_a_hangup_during_the_start_does_not_end_it(issuer: DevIssuer, postgres: Server) -> None:
    gateway = Gateway(issuer, {"shop": postgres})
    with starting(gateway) as (program, go_on):
        assert "listens" not in program.output
        gateway.write(SHOP_POLICY.replace("agents read the shop", "read after the hangup"))
        program.process.send_signal(signal.SIGHUP)
        go_on()
        program.wait_listening(gateway.port)
        assert count_products(gateway) == 120
        # What was to be read is read, though nobody could act on the signal.
        wait_for(lambda: "read after the hangup" in _in_force(gateway, "text"))


def test_a_hangup_while_modules_are_imported(issuer: DevIssuer, postgres: Server) -> None:
    """From the moment on at which the program looks at its arguments, before it imports anything
    large.
    """
    gateway = Gateway(issuer, {"shop": postgres})
    gateway.port = free_port()
    gateway.write()
    program = Program(gateway.command("serve"), gateway.log, gateway.environment)
    try:
        wait_for(lambda: not program.alive or _catches(program.process.pid, signal.SIGHUP))
        assert program.alive
        while "listens" not in program.output:
            program.process.send_signal(signal.SIGHUP)
            assert program.alive, program.output
            time.sleep(0.005)
        assert count_products(gateway) == 120
    finally:
        program.stop()


def _catches(pid: int, number: signal.Signals) -> bool:
    with open(f"/proc/{pid}/status") as status:
        caught = next(line.split()[1] for line in status if line.startswith("SigCgt:"))
    return bool(int(caught, 16) >> (number - 1) & 1)


def test_a_restart_with_a_broken_policy(make_gateway: Callable[..., Gateway]) -> None:
    gateway = make_gateway(extra=with_console())
    assert count_products(gateway) == 120
    wait_for(lambda: get(gateway, "/readyz").text == "ok\n")
    version = _in_force(gateway)
    gateway.write(BROKEN)
    wait_for(lambda: metric(gateway, "sallyport_policy_problem") == 1)
    gateway.restart()
    wait_for(lambda: get(gateway, "/readyz").status_code == 200)
    ready = get(gateway, "/readyz").text
    assert ready.startswith("ok\nwarning: ")
    assert version in ready
    assert "raed" not in ready, "it is asked without a token"
    assert metric(gateway, "sallyport_policy_problem") == 1
    assert metric(gateway, "sallyport_policy_reload_failures_total") == 1
    assert "the policy file cannot be used" in gateway.output()
    with psycopg.connect(gateway.dsn(), autocommit=True) as db:
        assert db.execute("SELECT count(*) FROM products").fetchone() == (120,)
        row = db.execute("SELECT email FROM customers ORDER BY id LIMIT 1").fetchone()
        assert row is not None
        assert "*" in row[0], "the masks of the version before are in force"
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            db.execute("DELETE FROM customers WHERE id = 1")
    gateway.write(SHOP_POLICY)
    wait_for(lambda: get(gateway, "/readyz").text == "ok\n")
    assert metric(gateway, "sallyport_policy_problem") == 0
    gateway.policy_file.unlink()
    gateway._end()
    program = gateway._program = Program(gateway.command("serve"), gateway.log, gateway.environment)
    program.wait_listening(gateway.port)
    assert count_products(gateway) == 120


def _in_force(gateway: Gateway, column: str = "version") -> str:
    """Of the policy in force, once it is kept."""
    with closing(sqlite3.connect(gateway.home / "var" / "sallyport.db")) as store:
        newest = f"SELECT {column} FROM policy_versions ORDER BY id DESC"
        wait_for(lambda: store.execute(newest).fetchone() is not None)
        return str(store.execute(newest).fetchone()[0])


def test_a_policy_behind_a_link(issuer: DevIssuer, postgres: Server) -> None:
    """As Kubernetes mounts one: a new version is a new directory, to which a link is turned, and
    the old one is gone.
    """
    gateway = Gateway(issuer, {"shop": postgres}, extra=with_console())
    gateway.port = free_port()
    gateway.write()
    link = gateway.policy_file

    def publish(number: int, text: str) -> None:
        (gateway.home / f"v{number}").mkdir()
        (gateway.home / f"v{number}" / "policy.yaml").write_text(text)
        (gateway.home / "next").symlink_to(f"v{number}/policy.yaml")
        (gateway.home / "next").replace(link)
        shutil.rmtree(gateway.home / f"v{number - 1}", ignore_errors=True)

    publish(1, SHOP_POLICY)
    program = gateway._program = Program(gateway.command("serve"), gateway.log, gateway.environment)
    try:
        program.wait_listening(gateway.port)
        publish(2, SHOP_POLICY.replace("agents read the shop", "read behind the link"))
        wait_for(lambda: "read behind the link" in _in_force(gateway, "text"))
        publish(3, BROKEN)
        wait_for(lambda: metric(gateway, "sallyport_policy_problem") == 1)
        gateway._end()
        program = gateway._program = Program(
            gateway.command("serve"), gateway.log, gateway.environment
        )
        program.wait_listening(gateway.port)
        assert count_products(gateway) == 120
    finally:
        gateway.stop()


def test_a_first_start_with_a_broken_policy_is_none(issuer: DevIssuer, postgres: Server) -> None:
    """Without a version to fall back on, or with one of another file, it does not start: never
    without a policy.
    """
    gateway = Gateway(issuer, {"shop": postgres}, policy=BROKEN)
    gateway.port = free_port()
    gateway.write()
    _does_not_start(gateway, "raed")
    gateway.write(SHOP_POLICY)
    gateway.start()
    gateway.stop()
    elsewhere = gateway.home / "other.yaml"
    elsewhere.write_text(BROKEN)
    config = gateway.config_file.read_text()
    gateway.config_file.write_text(config.replace(str(gateway.policy_file), str(elsewhere)))
    _does_not_start(gateway, "raed")


def _does_not_start(gateway: Gateway, reason: str) -> None:
    program = Program(gateway.command("serve"), gateway.log, gateway.environment)
    assert program.process.wait(30) == 2
    assert reason in program.output
    assert "Traceback" not in program.output


def test_a_policy_that_lacks_its_key_is_not_taken(make_gateway: Callable[..., Gateway]) -> None:
    """Neither while the gateway runs nor as the version to start with."""
    gateway = make_gateway(extra=with_console())
    gateway.write(SHOP_POLICY.replace("with: email,", "with: hash,"))
    wait_for(lambda: metric(gateway, "sallyport_policy_problem") == 1)
    gateway.restart()
    with psycopg.connect(gateway.dsn(), autocommit=True) as db:
        row = db.execute("SELECT email FROM customers ORDER BY id LIMIT 1").fetchone()
        assert row is not None
        assert "*" in row[0]


def test_a_shutdown_lets_running_work_end(
    make_gateway: Callable[..., Gateway], postgres: Server
) -> None:
    gateway = make_gateway(extra=with_console(shutdown={"drain_seconds": 60}))
    program = gateway._running()
    wait_for(lambda: get(gateway, "/readyz").status_code == 200)
    with Raw(gateway) as idle, Raw(gateway) as early, Raw(gateway) as cancelled:
        idle.login()
        early.startup()
        early.until("R")
        key = cancelled.login()
        cancelled.send(frontend.query(LONG))
        wait_for(lambda: backends(postgres, RUNNING) == 1)
        with psycopg.connect(gateway.dsn()) as working:
            working.execute("UPDATE products SET stock = stock WHERE id = 1")
            os.kill(gateway.pid, signal.SIGTERM)
            assert idle.error()["C"] == "57P01"
            assert idle.closed()
            assert early.error()["C"] == "57P01"
            answer = get(gateway, "/readyz")
            assert (answer.status_code, get(gateway, "/healthz").status_code) == (503, 200)
            assert "shutting down" in answer.text
            with pytest.raises(psycopg.OperationalError, match="SP1803"):
                psycopg.connect(gateway.dsn())
            # A transaction that is open can be finished, and is kept.
            assert working.execute("SELECT count(*) FROM products").fetchone() == (120,)
            working.commit()
            wait_for(lambda: _ended(working))
        with Raw(gateway) as canceler:
            canceler.send(frontend.cancel_request(*key))
        messages = cancelled.until("Z")
        assert any(b"C57014\0" in message for message in messages), (
            "what runs can still be cancelled"
        )
        assert cancelled.error()["C"] == "57P01"
    wait_for(lambda: not program.alive)
    assert program.process.returncode == 0
    gateway._program = None


def _ended(db: psycopg.Connection[Any]) -> bool:
    try:
        db.execute("SELECT 1")
    except psycopg.OperationalError:
        return True
    db.commit()
    return False


@pytest.mark.parametrize("how", ["deadline", "second signal"])
def test_a_shutdown_ends_what_does_not_end(
    make_gateway: Callable[..., Gateway], postgres: Server, how: str
) -> None:
    gateway = make_gateway(extra={"shutdown": {"drain_seconds": 0.5 if how == "deadline" else 600}})
    program = gateway._running()
    with Raw(gateway, 30) as busy:
        busy.login()
        busy.send(frontend.query(LONG))
        wait_for(lambda: backends(postgres, RUNNING) == 1)
        os.kill(gateway.pid, signal.SIGTERM)
        if how == "second signal":
            program.wait_saying("stopping")
            os.kill(gateway.pid, signal.SIGTERM)
        assert b"C57P01\0" in busy.until("E")[-1]
    wait_for(lambda: not program.alive)
    assert program.process.returncode == 0
    wait_for(lambda: backends(postgres, RUNNING) == 0)
    gateway._program = None


def test_a_busy_client_is_ended_between_statements(make_gateway: Callable[..., Gateway]) -> None:
    """One that always has a next statement does not keep the gateway up, and loses no answer."""
    gateway = make_gateway(extra={"shutdown": {"drain_seconds": 600}})
    program = gateway._running()
    answers, first, problems = [], threading.Event(), []

    def ask() -> None:
        try:
            with psycopg.connect(gateway.dsn(), autocommit=True) as db:
                while True:
                    answers.append(db.execute("SELECT 1").fetchone())
                    first.set()
        except psycopg.OperationalError as error:
            problems.append(str(error))

    thread = threading.Thread(target=ask)
    thread.start()
    assert first.wait(20)
    os.kill(gateway.pid, signal.SIGTERM)
    thread.join(30)
    assert not thread.is_alive()
    assert set(answers) == {(1,)}
    assert problems
    wait_for(lambda: not program.alive)
    assert program.process.returncode == 0
    gateway._program = None
