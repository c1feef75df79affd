"""The demo's own parts: configuration that loads, psql's output read back, refusals recognised."""

from __future__ import annotations

import fcntl
import json
import socket
import stat
import subprocess
from contextlib import ExitStack
from pathlib import Path
from string import Template

import httpx2
import psycopg
import pytest

from sallyport.config import load_config
from sallyport.core.secret import Secret
from sallyport.demo import main, review, shop, stack, tour
from sallyport.demo.account import Install, PostgresError
from sallyport.demo.endings import ending
from sallyport.demo.postgres import Cluster, bundled
from sallyport.demo.process import ProcessError, Program
from sallyport.policy.file.load import load_policy
from tests.support.gateway import SHOP_POLICY
from tests.support.places import scratch_dir
from tests.support.postgres import Server


def test_the_demos_configuration_is_valid(tmp_path: Path) -> None:
    values = {
        "listen": "127.0.0.1:6432",
        "console": "127.0.0.1:8642",
        "console_client": "c",
        "issuer": "http://127.0.0.1:9",
        "database_port": 5432,
    }
    (tmp_path / "sallyport.yaml").write_text(
        Template(stack._template("sallyport.yaml")).substitute(values)
    )
    (tmp_path / "policy.yaml").write_text(stack._template("policy.yaml"))
    config = load_config(tmp_path / "sallyport.yaml")
    assert config.targets["shop"].user == "sallyport_agent"
    assert load_policy(config.policy_path).warnings == ()


def test_the_policy_of_the_tests_is_valid(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(SHOP_POLICY)
    assert load_policy(tmp_path / "policy.yaml").warnings == ()


def test_state_is_private_and_survives(tmp_path: Path) -> None:
    file = tmp_path / "demo.json"
    state = stack.State(shop="abc")
    state.save(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stack.State.load(file) == state
    assert state.agent_password not in repr(state)
    assert state.agent_password != state.superuser_password


def test_a_broken_state_file_is_replaced_not_trusted(tmp_path: Path) -> None:
    file = tmp_path / "demo.json"
    for content in ("", "[]", json.dumps({"unknown": 1}), "{"):
        file.write_text(content)
        assert stack.State.load(file).shop == ""


def test_psql_is_read_back_statement_by_statement(postgres: Server) -> None:
    login = tour.Login(postgres.port, postgres.user, postgres.password)
    statements = [
        "SELECT 1 AS a, NULL AS b, E'x,\"y\"\\nz' AS c",
        "SELECT nonsense",
        "SELECT 2 AS two WHERE false",
        (
            "DO $$BEGIN RAISE EXCEPTION 'one\ntwo' USING DETAIL = 'why', HINT = 'do', ERRCODE ="
            " '42501'; END$$"
        ),
        "SELECT 3 AS three",
    ]
    table, error, empty, raised, last = tour.run(bundled(), login, statements)
    assert table == tour.Reply(("a", "b", "c"), (("1", "∅", 'x,"y"\nz'),))
    assert (error.sqlstate, error.message) == ("42703", 'column "nonsense" does not exist')
    assert empty == tour.Reply(("two",), ())
    assert (raised.sqlstate, raised.message, raised.detail, raised.hint) == (
        "42501",
        "one\ntwo",
        "why",
        "do",
    )
    assert last.rows == (("3",),)


def test_a_login_that_fails_is_an_error_for_every_statement(postgres: Server) -> None:
    replies = tour.run(
        bundled(), tour.Login(postgres.port, "nobody", "wrong"), ["SELECT 1", "SELECT 2"]
    )
    assert len(replies) == 2
    assert all("password authentication failed" in reply.message for reply in replies)


def test_every_step_fails_without_a_gateway(postgres: Server) -> None:
    """The checks can fail: straight at the database, no step that needs the gateway holds."""
    login = tour.Login(postgres.port, postgres.user, postgres.password)
    steps = [step for step in tour.STEPS if step.raw]
    replies = tour.run(bundled(), login, [step.sql for step in steps])
    held = [
        step.title
        for step, reply in zip(steps, replies, strict=True)
        if not step.check(reply, reply)
    ]
    assert len(held) == 1
    assert held[0].startswith("Ordinary work")
    empty = tour.Reply(("id",), ())
    assert all(step.check(empty, tour.Reply()) for step in tour.STEPS)


#: psql's own way to run a program; what it kills is psql.
_KILLS_PSQL = r"\! kill -9 $PPID"


def test_a_psql_that_is_killed_is_named(
    own_postgres: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says nothing itself, so the reason must not be taken from what it said alone."""
    login = tour.Login(own_postgres.port, own_postgres.user, own_postgres.password)
    with pytest.raises(PostgresError, match=r"^psql was ended by SIGKILL"):
        tour.run(bundled(), login, ["SELECT 1", _KILLS_PSQL, "SELECT 2"])
    monkeypatch.setattr(shop, "AGENT_ROLE", "another_agent")
    monkeypatch.setattr(shop, "DATABASE", "another_shop")
    monkeypatch.setattr(shop, "schema", lambda: f"{_KILLS_PSQL}\n")
    with pytest.raises(PostgresError) as caught:
        shop.load(own_postgres.cluster, bundled(), "p" * 8)
    assert "psql was ended by SIGKILL" in str(caught.value)
    assert str(own_postgres.cluster.log) in str(caught.value)


def test_a_server_that_ends_without_a_word_is_named(tmp_path: Path) -> None:
    program = Program(["/bin/sh", "-c", "exit 3"], tmp_path / "it.log")
    with pytest.raises(ProcessError) as caught:
        program.wait_saying("never")
    assert "ended with exit status 3" in str(caught.value)
    assert str(tmp_path / "it.log") in str(caught.value) and "said nothing" in str(caught.value)
    directory = scratch_dir("silent")
    for name in ("postgres", "initdb"):
        (directory / name).write_text("#!/bin/sh\nkill -9 $$\n")
        (directory / name).chmod(0o755)
    cluster = Cluster(Install(directory, (directory,), "silent"), directory / "data", "x")
    with pytest.raises(PostgresError, match="initdb was ended by SIGKILL"):
        cluster.start()
    cluster.data.mkdir()
    (cluster.data / "PG_VERSION").write_text("18")
    with pytest.raises(PostgresError) as stopped:
        cluster.start()
    assert "was ended by SIGKILL" in str(stopped.value) and str(cluster.log) in str(stopped.value)


def test_a_console_that_is_gone_is_an_error_with_a_reason() -> None:
    desk = review.ReviewerClient("http://127.0.0.1:9", Secret("x"), "Dana")
    with pytest.raises(review.ReviewError, match=r"at http://127\.0\.0\.1:9 did not answer: \S"):
        desk.decide("SELECT 1", review.Review(True, ""), lambda: True)
    desk.close()


def test_endings_in_words() -> None:
    assert [ending(status) for status in (None, 0, 3, -9, -60)] == [
        "still runs",
        "ended with exit status 0",
        "ended with exit status 3",
        "was ended by SIGKILL",
        "was ended by signal 60",
    ]


def test_a_tour_that_is_over_is_not_waited_for() -> None:
    desk = review.ReviewerClient("http://127.0.0.1:9", Secret("x"), "Dana")
    assert desk.decide("SELECT 1", review.Review(True, ""), lambda: False) is None
    desk.close()
    held, *_ = [step for step in tour.STEPS if step.review is not None]
    assert tour.previewed(held, tour.Reply(("id",), (("1",),)), None) == "no reviewer saw it"


def test_a_code_is_found_in_a_refusal() -> None:
    assert tour.Reply(message="[SP1201] no").code == "SP1201"
    assert tour.Reply(message="relation SP1201 does not exist").code == ""


def test_the_second_demo_in_a_directory_is_refused() -> None:
    directory = scratch_dir("locked")
    with (directory / "lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        assert main.run(once=True, directory=directory) == 2


def test_a_port_that_somebody_else_was_quicker_to_take(
    monkeypatch: pytest.MonkeyPatch, postgres: Server
) -> None:
    """Free when it was looked at, taken when the gateway binds it, and answering: it must not be
    mistaken for ours.
    """
    said: list[str] = []

    def running_already(self: stack.DemoStack, stack: ExitStack) -> Cluster:
        self.state.agent_password = postgres.password
        return postgres.cluster

    monkeypatch.setattr(stack.DemoStack, "_start_database", running_already)
    with (
        socket.create_server(("127.0.0.1", 0)) as gateway,
        socket.create_server(("127.0.0.1", 0)) as console,
    ):
        looked: list[int] = []
        real = stack._is_free

        def is_free(port: int) -> bool:
            looked.append(port)
            return looked.count(port) == 1 or real(port)

        monkeypatch.setattr(stack, "GATEWAY_PORT", gateway.getsockname()[1])
        monkeypatch.setattr(stack, "CONSOLE_PORT", console.getsockname()[1])
        monkeypatch.setattr(stack, "_is_free", is_free)
        with stack.DemoStack(scratch_dir("quicker"), said.append) as standing:
            assert standing.port != stack.GATEWAY_PORT
            assert httpx2.get(f"{standing.console_url}/healthz", timeout=60).text == "ok\n"
            login = tour.Login(
                standing.port, "claude", standing.issuer.token("claude-agent").reveal()
            )
            (reply,) = tour.run(bundled(), login, ["SELECT 1 AS one"])
            assert reply.rows == (("1",),), reply
    with psycopg.connect(postgres.superuser_dsn, autocommit=True) as db:
        db.execute("DROP OWNED BY sallyport_admin CASCADE; DROP ROLE sallyport_admin")
    assert f"Port {stack.GATEWAY_PORT} is taken: the gateway listens on {standing.port}" in said


def test_nothing_runs_after_a_failed_start() -> None:
    """Whatever goes wrong on the way, no process keeps the directory in its command line."""
    blocked = scratch_dir("blocked")
    (blocked / "sallyport.yaml").mkdir()  # cannot be written
    assert main.run(once=True, directory=blocked) == 2
    listing = subprocess.run(
        ["pgrep", "-f", str(blocked)], capture_output=True, text=True, check=False
    )
    assert listing.stdout == ""


def test_the_issuer_keeps_its_address(tmp_path: Path) -> None:
    """Or each start would make other people of the same names."""
    house = stack.DemoStack(tmp_path, print)
    house.state = stack.State()
    assert house._issuer_port() == 0
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        house.state = stack.State(issuer=f"http://127.0.0.1:{port}")
        assert house._issuer_port() == 0
    assert house._issuer_port() == port
