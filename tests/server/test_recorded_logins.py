"""A login's record says by what it was let in, and nothing else that its token says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from sallyport.audit.events import Event, Login, Note
from sallyport.audit.verify import read_events
from sallyport.policy.file.conditions import compile_condition
from tests.server.test_record_values import CLEAR, files, recorded
from tests.server.test_renewal import renew, token
from tests.support.gateway import SHOP_POLICY, Gateway
from tests.support.waiting import wait_for

RULE = """\
  - name: sales reads products
    subjects: {claims: {department: sales}}
    targets: [shop]
    allow: [read]
    relations: ["public.products"]
    when: subject.claims["cost-center"] == 7 || has(subject.claims.project)
"""
POLICY = SHOP_POLICY.replace("masks:\n", RULE + "masks:\n")


def events_of(gateway: Gateway, before: set[Path]) -> list[Event]:
    recorded(gateway, before)
    (file,) = files(gateway) - before
    return list(read_events(file))


def test_what_the_policy_asks_of_a_token_is_recorded(make_gateway: Callable[..., Gateway]) -> None:
    gateway = make_gateway(policy=POLICY, extra=CLEAR)
    before = files(gateway)
    claims = {"department": "sales", "cost-center": 7, "payroll": "CANARY-PAY"}
    dsn = gateway.dsn(token(gateway, **claims), options="options=-c%20statement_timeout%3D9s")
    with psycopg.connect(dsn, autocommit=True, application_name="crm") as db:
        db.execute("SELECT 1")
        renew(db, token(gateway, **claims | {"department": "support"}))
        db.execute("SELECT 1")
        gateway.write(POLICY.replace("department: sales", "division: north"))
        wait_for(lambda: "policy reloaded" in gateway.output())
        db.execute("SELECT 1")
    events = events_of(gateway, before)
    login = events[0]
    assert isinstance(login, Login)
    assert (login.entrance, login.role, login.application) == ("wire", "sallyport_agent", "crm")
    assert login.settings == {"statement_timeout": "9s"}
    assert login.claims == {"department": "sales", "cost-center": "7"}
    told = [event.text for event in events if isinstance(event, Note) and event.kind == "claims"]
    assert [json.loads(text) for text in told] == [
        {"department": "support", "cost-center": "7"},
        {"cost-center": "7"},
    ]
    assert "CANARY-PAY" not in str(events)
    done = gateway.run("audit", "export", "--kind", "login")
    (line,) = [json.loads(each) for each in done.stdout.splitlines()]
    assert (line["role"], line["claims"]["department"]) == ("sallyport_agent", "sales")
    for words in (["audit", "export", "--format", "ocsf"], ["sessions", "replay", login.session]):
        assert "sales" in gateway.run(*words).stdout


@pytest.mark.parametrize("record", ["full", "fingerprints"])
def test_settings_are_recorded_as_set_would_be(
    make_gateway: Callable[..., Gateway], record: str
) -> None:
    """Without tokens, and without values of custom settings where recordings hide values."""
    policy = f"{SHOP_POLICY}settings: [app.*]\nrecord: {{statements: {record}}}\n"
    gateway = make_gateway(policy=policy, extra=CLEAR)
    before = files(gateway)
    options = {"app.tenant": "CANARY-TENANT", "app.jwt": gateway.token(), "work_mem": "5MB"}
    words = " ".join(f"-c {name}={value}" for name, value in options.items())
    with psycopg.connect(gateway.dsn(), options=words) as db:
        db.execute("SELECT 1")
    login = events_of(gateway, before)[0]
    assert isinstance(login, Login)
    assert login.settings["work_mem"] == "5MB"
    shown = "CANARY-TENANT" if record == "full" else "[redacted]"
    assert login.settings["app.tenant"] == shown
    assert options["app.jwt"].rpartition(".")[2] not in str(login)


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("subject.claims.team == 'x'", {"team"}),
        ("has(subject.claims . team) && subject.claims['a-b'] == \"c\"", {"team", "a-b"}),
        ('"amr" in subject.claims && "claims.not" != subject.id', {"amr", "not"}),
        ("'team' in subject.groups", set()),
    ],
)
def test_claims_that_a_condition_names(source: str, names: set[str]) -> None:
    assert compile_condition(source).claims == names
