"""Approve one thing, run another, through the front door: several rules, and settings that change
what a statement means.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import fields

import psycopg
import pytest

from sallyport.approvals.states import Binding
from sallyport.demo.issuer import DevIssuer
from sallyport.wire import frontend
from tests.server.raw import Raw
from tests.support.approvals import (
    CLIENTS,
    SECURITY,
    Desk,
    Waiter,
    count,
    holding_gateway,
    make_tables,
    noted,
)
from tests.support.gateway import AGENT, Gateway
from tests.support.postgres import Server, start_server
from tests.support.waiting import wait_for


@pytest.fixture(scope="module")
def issuer() -> Iterator[DevIssuer]:
    with DevIssuer(CLIENTS) as running:
        yield running


@pytest.fixture(scope="module")
def database() -> Iterator[Server]:
    server = start_server()
    make_tables(server)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def gateway(issuer: DevIssuer, database: Server) -> Iterator[Gateway]:
    running = holding_gateway(issuer, database).start()
    yield running
    running.stop()


@pytest.fixture
def dana(gateway: Gateway) -> Desk:
    return Desk(gateway)


def dated(id_: int, table: str = "waits") -> str:
    """It deletes the row in February (day first) and nothing in January (month first)."""
    return f"DELETE FROM {table} WHERE id = {id_} AND '01/02/2026'::date = DATE '2026-02-01'"


def sent(db: psycopg.Connection[object], sql: str) -> str:
    with pytest.raises(psycopg.errors.InsufficientPrivilege) as caught:
        db.execute(sql)  # type: ignore[call-overload]
    assert str(caught.value).startswith("[SP1406]"), caught.value
    return next(word for word in str(caught.value).split() if word.startswith("apr_"))


# -- rules -----------------------------------------------------------------------------------------


def test_every_rule_that_holds_it_is_asked(gateway: Gateway, dana: Desk, database: Server) -> None:
    sam = Desk(gateway, SECURITY)
    with Waiter(gateway) as waiter:
        id_ = waiter.run("DELETE FROM ruled WHERE id = 1").id
        assert (
            'Rules "the first of two rules", "the second of two rules" hold it'
            in waiter.notices[0].detail
        )
        assert "1 of dba and 1 of security must approve it" in waiter.notices[0].detail
        shown = dana.show(id_)
        assert shown["mode"] == "wait", "waiting is the narrower one"
        assert Desk.lifetime(shown) == pytest.approx(90, abs=1)
        dana.approve(id_)
        shown = dana.show(id_)
        assert shown["status"] == "pending" and waiter.waiting
        assert [(r["rule"], r["approvals"], r["quorum"]) for r in shown["rules"]] == [
            ("the first of two rules", 1, 1),
            ("the second of two rules", 0, 1),
        ]
        assert count(database, "ruled") == 200
        sam.approve(id_)
        assert waiter.end().result == "DELETE 1"
        # The other way round, and one no is enough.
        id_ = waiter.run("DELETE FROM ruled WHERE id = 2").id
        sam.approve(id_)
        assert waiter.waiting
        dana.deny(id_, "not this one")
        waiter.refused("SP1402", "42501")
        # Only the second rule holds this one.
        id_ = waiter.run("TRUNCATE ruled").id
        assert dana.decide(id_, True).status_code == 403
        sam.deny(id_, "no")
        waiter.refused("SP1402", "42501")
    assert count(database, "ruled") == 199


# -- settings --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DateStyle", "ISO, DMY"),
        ("TimeZone", "Asia/Tokyo"),
        ("IntervalStyle", "sql_standard"),
        ("default_transaction_read_only", "on"),
    ],
)
def test_under_another_setting_it_is_void(
    gateway: Gateway, dana: Desk, database: Server, name: str, value: str
) -> None:
    text = "DELETE FROM later WHERE id = 100"
    with psycopg.connect(gateway.dsn(), autocommit=True) as db:
        id_ = sent(db, text)
        assert dana.show(id_)["settings"]["DateStyle"] == "ISO, MDY"
        dana.approve(id_)
        db.execute(f"SET {name} = '{value}'")  # type: ignore[call-overload]
        with pytest.raises(
            psycopg.errors.InsufficientPrivilege, match=rf"\[SP1404\].*settings changed \({name}\)"
        ):
            db.execute(text)
        assert dana.status(id_) == "voided"
    assert count(database, "later", "id = 100") == 1


@pytest.mark.parametrize("change", ["SET bytea_output = 'escape'", "SET xmloption = document",
                                    "SELECT set_config('extra_float_digits', '0', false)",
                                    ("SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL"
                                     " SERIALIZABLE")])  # fmt: skip
def test_settings_that_nobody_reports_are_not_guessed(
    gateway: Gateway, dana: Desk, change: str
) -> None:
    text = f"DELETE FROM later WHERE id = 101 -- {change}"
    with psycopg.connect(gateway.dsn(), autocommit=True) as db:
        id_ = sent(db, text)
        dana.approve(id_)
        for statement in (change, "RESET ALL"):
            db.execute(statement)  # type: ignore[call-overload]
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="changed settings"):
                db.execute(text)  # type: ignore[call-overload]
    with psycopg.connect(gateway.dsn(), autocommit=True) as db:
        db.execute("RESET ALL")
        assert (db.execute(text).statusmessage or "").startswith("DELETE")
        assert dana.status(id_) == "used"


def test_a_setting_in_the_same_pipeline(gateway: Gateway, dana: Desk, database: Server) -> None:
    """The reviewer would be shown what it means under the old setting."""
    with Raw(gateway) as raw:
        raw.login()
        raw.send(
            frontend.parse("", "SET DateStyle = 'ISO, DMY'"), frontend.bind("", ""),
            frontend.execute(""),
            frontend.parse("", dated(120)), frontend.bind("", ""), frontend.execute(""),
            frontend.sync(),
        )  # fmt: skip
        error = next(m for m in raw.until("Z") if m[:1] == b"E")
        assert b"[SP1003]" in error and b"same pipeline" in error
    assert not [
        request for request in dana.pending() if request["touches"] == ["delete public.waits"]
    ]
    assert count(database, "waits", "id = 120") == 1


@pytest.mark.parametrize(
    "before", [["SET DateStyle = 'ISO, DMY'"], ["BEGIN", "SET LOCAL DateStyle = 'ISO, DMY'"]]
)
def test_a_setting_sent_just_before(
    gateway: Gateway, dana: Desk, database: Server, before: list[str]
) -> None:
    """Simple queries one behind the other: it is asked about when the setting is known, and
    measured under it.
    """
    with Raw(gateway) as raw:
        raw.login()
        raw.send(*(frontend.query(statement) for statement in before), frontend.query(dated(121)))
        id_ = noted(raw.until("N"))
        wait_for(lambda: dana.show(id_)["preview"] is not None)
        shown = dana.show(id_)
        assert shown["settings"]["DateStyle"] == "ISO, DMY"
        assert shown["preview"]["rows"] == 1
        dana.deny(id_, "no")
        raw.until("E")


def test_a_setting_taken_back_just_before(gateway: Gateway, dana: Desk) -> None:
    with Raw(gateway) as raw:
        raw.login()
        for statement in ("BEGIN", "SET LOCAL DateStyle = 'ISO, DMY'"):
            raw.send(frontend.query(statement))
            raw.until("Z")
        raw.send(frontend.query("ROLLBACK"), frontend.query(dated(122)))
        id_ = noted(raw.until("N"))
        assert dana.show(id_)["settings"]["DateStyle"] == "ISO, MDY"
        wait_for(lambda: dana.show(id_)["preview"] is not None)
        assert dana.show(id_)["preview"]["rows"] == 0
        dana.deny(id_, "no")
        raw.until("E")


def test_settings_of_the_login_count(gateway: Gateway, dana: Desk) -> None:
    text = "DELETE FROM later WHERE id = 105"
    with psycopg.connect(gateway.dsn(), autocommit=True, options="-c extra_float_digits=0") as db:
        id_ = sent(db, text)
        assert dana.show(id_)["settings"]["extra_float_digits"] == "0"
        dana.approve(id_)
    void = pytest.raises(
        psycopg.errors.InsufficientPrivilege, match=r"settings changed \(extra_float_digits\)"
    )
    with psycopg.connect(gateway.dsn(), autocommit=True) as db, void:
        db.execute(text)


# -- who, where, how -------------------------------------------------------------------------------


def test_the_same_bytes_in_another_format(gateway: Gateway, dana: Desk, database: Server) -> None:
    """The text ``0140`` is 140; as a binary int4 these bytes are 808531248."""

    def run(raw: Raw, code: int) -> str:
        raw.send(
            frontend.parse("", "DELETE FROM later WHERE id = $1::int4"),
            frontend.bind("", "", [b"0140"], [code]),
            frontend.execute(""), frontend.sync(),
        )  # fmt: skip
        return b"".join(raw.until("Z")).decode("utf-8", "replace")

    with Raw(gateway) as raw:
        raw.login()
        asked = noted([run(raw, 0).encode()])
        dana.approve(asked)
        answer = run(raw, 1)
        assert "[SP1406]" in answer and noted([answer.encode()]) != asked
        assert count(database, "later", "id = 140") == 1
        assert "DELETE 1" in run(raw, 0)
        dana.deny(noted([answer.encode()]), "tidy up")


def test_the_same_value_of_another_type(gateway: Gateway, dana: Desk, database: Server) -> None:
    """``'x ' = $1`` finds nothing for a text, and the row for a char(n), which does not count
    blanks at the end.
    """
    with psycopg.connect(database.superuser_dsn, autocommit=True) as db:
        db.execute("UPDATE later SET note = 'x' WHERE id = 141")
    text = "DELETE FROM later WHERE id = 141 AND $1 = 'x'"
    textual, char = 25, 1042

    def run(raw: Raw, type_: int) -> str:
        raw.send(
            frontend.parse("", text, [type_]), frontend.bind("", "", [b"x  "]),
            frontend.execute(""), frontend.sync(),
        )  # fmt: skip
        return b"".join(raw.until("Z")).decode("utf-8", "replace")

    with Raw(gateway) as raw:
        raw.login()
        asked = noted([run(raw, textual).encode()])
        wait_for(lambda: dana.show(asked)["preview"] is not None)
        assert (dana.show(asked)["preview"]["rows"], dana.show(asked)["types"]) == (0, [textual])
        dana.approve(asked)
        answer = run(raw, char)
        assert "[SP1406]" in answer and noted([answer.encode()]) != asked
        assert count(database, "later", "id = 141") == 1
        wait_for(lambda: dana.show(noted([answer.encode()]))["preview"] is not None)
        assert dana.show(noted([answer.encode()]))["preview"]["rows"] == 1
        assert "DELETE 0" in run(raw, textual)
        dana.deny(noted([answer.encode()]), "tidy up")


@pytest.mark.parametrize("through", ["the gateway", "another way"])
def test_a_view_that_was_replaced_just_before(
    gateway: Gateway, dana: Desk, database: Server, through: str
) -> None:
    """However shortly before: an approved statement runs only after a look at the catalog."""
    view, kept, gone = (
        ("one_view", 161, 162) if through == "the gateway" else ("other_view", 163, 164)
    )
    with (
        psycopg.connect(database.superuser_dsn, autocommit=True) as owner,
        psycopg.connect(gateway.dsn(), autocommit=True) as agent,
        psycopg.connect(gateway.dsn(), autocommit=True) as second,
    ):
        change = f"CREATE OR REPLACE VIEW public.{view} AS SELECT {{}} AS id"
        owner.execute("GRANT CREATE ON SCHEMA public TO sallyport_agent")
        second.execute(change.format(gone))  # type: ignore[arg-type]
        owner.execute(f"ALTER VIEW public.{view} OWNER TO sallyport_agent")
        text = f"DELETE FROM later WHERE id IN (SELECT id FROM {view})"
        asked = sent(agent, text)
        dana.approve(asked)
        replacing = second if through == "the gateway" else owner
        replacing.execute(change.format(kept))  # type: ignore[arg-type]
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="SP14"):
            agent.execute(text)  # type: ignore[arg-type]
        assert count(database, "later", f"id IN ({kept}, {gone})") == 2
        assert dana.show(asked)["status"] == "voided"
        owner.execute(f"DROP VIEW public.{view}")  # type: ignore[arg-type]
        owner.execute("REVOKE CREATE ON SCHEMA public FROM sallyport_agent")


def test_another_target(issuer: DevIssuer, database: Server) -> None:
    gateway = holding_gateway(issuer, database)
    gateway.targets = {"shop": database, "copy": database}
    gateway.start()
    try:
        dana, text = Desk(gateway), "DELETE FROM later WHERE id = 150"
        with psycopg.connect(gateway.dsn(), autocommit=True) as db:
            id_ = sent(db, text)
        dana.approve(id_)
        with psycopg.connect(gateway.dsn(target="copy"), autocommit=True) as db:
            assert sent(db, text) != id_
        assert count(database, "later", "id = 150") == 1
        assert dana.status(id_) == "approved"
    finally:
        gateway.stop()


def test_another_database_role(issuer: DevIssuer, database: Server) -> None:
    """The operator moved the target to another role between asking and running."""
    with psycopg.connect(database.superuser_dsn, autocommit=True) as db:
        db.execute("CREATE ROLE another_agent LOGIN PASSWORD 'another-secret'")
        db.execute("GRANT ALL ON ALL TABLES IN SCHEMA public TO another_agent")
    gateway = holding_gateway(issuer, database).start()
    try:
        dana, text = Desk(gateway), "DELETE FROM later WHERE id = 151"
        with psycopg.connect(gateway.dsn(), autocommit=True) as db:
            id_ = sent(db, text)
        dana.approve(id_)
        gateway.targets = {"shop": _As(database, "another_agent", "another-secret")}
        gateway.restart()
        void = pytest.raises(psycopg.errors.InsufficientPrivilege, match=r"\[SP14")
        with psycopg.connect(gateway.dsn(), autocommit=True) as db, void:
            db.execute(text)  # type: ignore[call-overload]
        assert count(database, "later", "id = 151") == 1
        assert Desk(gateway).status(id_) == "voided"
    finally:
        gateway.stop()


class _As:
    """A server, as somebody else."""

    def __init__(self, server: Server, user: str, password: str) -> None:
        self._server, self.user, self.password = server, user, password

    def __getattr__(self, name: str) -> object:
        return getattr(self._server, name)


def test_another_issuers_subject_of_the_same_name(issuer: DevIssuer, database: Server) -> None:
    with DevIssuer(CLIENTS) as second_issuer:
        gateway = holding_gateway(issuer, database)
        both = [
            {"issuer": configured.url, "audience": configured.audience}
            for configured in (issuer, second_issuer)
        ]
        gateway.extra = {**gateway.extra, "identity": {"oidc": both}}
        gateway.extra["console"]["issuer"] = issuer.url
        gateway.start()
        try:
            dana, text = Desk(gateway), "DELETE FROM later WHERE id = 152"
            with psycopg.connect(gateway.dsn(), autocommit=True) as db:
                id_ = sent(db, text)
            dana.approve(id_)
            stranger = second_issuer.token(AGENT).reveal()
            with psycopg.connect(gateway.dsn(stranger), autocommit=True) as db:
                assert sent(db, text) != id_
            assert count(database, "later", "id = 152") == 1
        finally:
            gateway.stop()


#: Every part of a binding, and the test that approves one and runs another. A part without one
#: fails below.
CHEATS = {
    "sql": "server.test_approvals:test_async_is_for_this_text_these_values_and_this_subject",
    "binds": "server.test_approvals:test_async_is_for_this_text_these_values_and_this_subject",
    "bind_formats": "server.test_approval_bindings:test_the_same_bytes_in_another_format",
    "types": "server.test_approval_bindings:test_the_same_value_of_another_type",
    "target": "server.test_approval_bindings:test_another_target",
    "subject": "server.test_approvals:test_async_is_for_this_text_these_values_and_this_subject",
    "issuer": "server.test_approval_bindings:test_another_issuers_subject_of_the_same_name",
    "session": "server.test_approvals:test_an_approval_is_for_one_session",
    "policy_version": "server.test_approvals:test_a_changed_policy_voids_it",
    "epoch": "server.test_approvals:test_ddl_meanwhile_voids_it",
    "search_path": "server.test_approvals:test_async_under_another_search_path_is_void",
    "role": "server.test_approval_bindings:test_another_database_role",
    "rules": "approvals.test_rules:test_an_approval_is_for_these_rules",
    "settings": "server.test_approval_bindings:test_under_another_setting_it_is_void",
    "sent": "server.test_approval_masks:test_without_its_masks_it_is_void",
}
#: What holds besides: one use, the deadline on the wall clock, the same person, the first rule's
#: people.
MORE = (
    "server.test_approvals:test_async_runs_when_it_is_sent_again_and_once",
    "approvals.test_binding:test_one_use",
    "approvals.test_binding:test_not_after_its_deadline",
    "server.test_approvals:test_nobody_decides_their_own",
    "server.test_approval_bindings:test_every_rule_that_holds_it_is_asked",
    "server.test_approval_bindings:test_settings_that_nobody_reports_are_not_guessed",
    "server.test_approval_bindings:test_a_setting_in_the_same_pipeline",
)


def test_every_part_of_a_binding_is_cheated() -> None:
    assert CHEATS.keys() == {part.name for part in fields(Binding) if part.compare}
    for place in (*CHEATS.values(), *MORE):
        module, _, name = place.partition(":")
        assert callable(getattr(importlib.import_module(f"tests.{module}"), name)), place
