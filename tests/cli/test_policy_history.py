"""``sallyport policy history`` beside a running gateway, which also keeps what sessions are found
by.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import psycopg
import pytest

from sallyport.demo.issuer import DevIssuer
from tests.support.gateway import SHOP_POLICY, Gateway
from tests.support.postgres import Server
from tests.support.waiting import wait_for

MORE = SHOP_POLICY + '  - {columns: ["public.products.name"], with: redact}  # \u202e\n'


@pytest.fixture(scope="module")
def gateway(issuer: DevIssuer, postgres: Server) -> Iterator[Gateway]:
    made = Gateway(issuer, {"shop": postgres}).start()
    yield made
    made.stop()


def run(gateway: Gateway, *words: str, code: int = 0) -> str:
    done = gateway.run(*words)
    assert done.returncode == code, done.stderr
    return done.stdout if code == 0 else done.stderr


def wait_for_versions(gateway: Gateway, count: int) -> None:
    """Until the history has so many."""
    wait_for(lambda: len(json.loads(run(gateway, "policy", "history", "--json"))) == count)


def test_what_was_in_force_and_what_it_changed(gateway: Gateway) -> None:
    wait_for_versions(gateway, 1)
    gateway.write("not: a policy")
    wait_for(lambda: "policy not reloaded" in gateway.output())
    gateway.write(MORE)
    wait_for(lambda: "policy reloaded" in gateway.output())
    wait_for_versions(gateway, 2)
    newest, first = json.loads(run(gateway, "policy", "history", "--json"))
    assert [first["source"], newest["source"]] == ["the gateway started", "the file changed"]
    assert newest["filename"].endswith("policy.yaml")
    assert newest["owner"]
    listed = run(gateway, "policy", "history").splitlines()
    assert [line.split()[:2] for line in listed] == [
        ["2", newest["version"]],
        ["1", first["version"]],
    ]
    shown = run(gateway, "policy", "history", newest["version"][:6])
    assert f"--- 1 {first['version']}\n+++ 2 {newest['version']}\n" in shown
    assert "\\u{202e}" in shown
    assert "\u202e" not in shown
    assert [line for line in shown.splitlines()[2:] if line.startswith("-")] == []
    assert run(gateway, "policy", "history", "1", "--against", "0").count("\n-") >= 1
    assert "was kept" in run(gateway, "policy", "history", "77", code=2)


def test_a_restart_with_the_same_policy_keeps_nothing_new(gateway: Gateway) -> None:
    before = run(gateway, "policy", "history", "--json")
    gateway.restart()
    gateway.stop()  # everything is written
    assert run(gateway, "policy", "history", "--json") == before
    gateway.start()


def test_sessions_of_a_real_client_are_found(gateway: Gateway) -> None:
    with psycopg.connect(gateway.dsn(), autocommit=True) as db:
        # prepared from the sixth time on, so that every way through the gateway is taken
        for _ in range(7):
            db.execute("SELECT name, email FROM customers WHERE id = %s", (4,)).fetchall()
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            db.execute("DELETE FROM products")

    def found(*options: str) -> list[str]:
        return [
            session["id"]
            for session in json.loads(run(gateway, "sessions", "list", "--json", *options))
        ]

    wait_for(lambda: len(found("--relation", "public.customers", "--status", "ended")) == 1)
    (session,) = found("--text", "select NAME, email from customers")
    assert found("--text", "delete from products", "--verdict", "deny") == [session]
    assert found("--relation", "products", "--verdict", "allow") == []
    assert found("--relation", "customers", "--verdict", "deny") == []
    _, *statements = map(
        json.loads, run(gateway, "sessions", "show", session, "--json").splitlines()
    )
    asked = [
        statement for statement in statements if statement["relations"] == ["public.customers"]
    ]
    assert len(asked) >= 7
    assert {
        tuple(statement["masked"]) for statement in asked if statement["outcome"] == "allow"
    } == {("public.customers.email",)}
