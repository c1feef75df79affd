"""``sallyport doctor`` against a real PostgreSQL and a real issuer."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg

from sallyport.demo.issuer import DevIssuer
from sallyport.demo.postgres import free_port
from tests.server.test_ephemeral import ADMIN, options, prepare
from tests.support.certificates import Authority
from tests.support.gateway import SHOP_POLICY, Gateway
from tests.support.postgres import Server


def doctor(gateway: Gateway, *words: str) -> subprocess.CompletedProcess[str]:
    gateway.port = gateway.port or free_port()
    gateway.write()
    return gateway.run("doctor", *words)


def findings(gateway: Gateway, *words: str) -> list[dict[str, Any]]:
    done = doctor(gateway, "--json", *words)
    assert done.returncode in (0, 1), done.stderr
    return list(json.loads(done.stdout)["findings"])


def problems(findings_shown: list[dict[str, Any]]) -> list[str]:
    return [finding["about"] for finding in findings_shown if finding["state"] == "problem"]


def test_a_good_configuration_has_no_problem(issuer: DevIssuer, postgres: Server) -> None:
    done = doctor(Gateway(issuer, {"shop": postgres}))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ok       target shop: PostgreSQL 18 as sallyport_agent" in done.stdout
    assert f"ok       issuer {issuer.url}" in done.stdout
    assert "the policy never needs" in done.stdout  # TRUNCATE on everything
    assert "Traceback" not in done.stderr
    assert postgres.password not in done.stdout + done.stderr


def test_what_is_wrong_is_said_and_the_status_is_1(
    issuer: DevIssuer, postgres: Server, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    policy = SHOP_POLICY.replace("allow: [write]", "hold: [write]\n    reviewers: {groups: [dba]}")
    gateway = Gateway(
        issuer,
        {"shop": postgres},
        policy=policy,
        extra={
            "identity": {"oidc": [{"issuer": f"http://127.0.0.1:{free_port()}", "audience": "x"}]},
            "data": str(tmp_path / "file" / "data"),
        },
        target_extra={"port": free_port()},
    )
    done = doctor(gateway)
    assert done.returncode == 1
    assert "PROBLEM  target shop: connection" in done.stdout
    assert "PROBLEM  issuer" in done.stdout
    assert f"PROBLEM  data directory {tmp_path}" in done.stdout
    assert "PROBLEM  approvals: 1 rules hold statements and there is no console" in done.stdout


def test_the_certificate_is_looked_at(issuer: DevIssuer, postgres: Server, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    far, soon, over = (
        authority.issue(name, lifetime=timedelta(hours=hours))
        for name, hours in (("far", 24 * 60), ("soon", 24 * 3 + 1), ("over", -0.5))
    )
    for certificate, key, state, said in (
        (far.certificate, far.key, "ok", "can be used"),
        (soon.certificate, soon.key, "warning", "ends in 3 days"),
        (over.certificate, over.key, "problem", "has expired"),
        (far.certificate, soon.key, "problem", "belong together"),
    ):
        gateway = Gateway(
            issuer,
            {"shop": postgres},
            extra={"tls": {"certificate": str(certificate), "key": str(key)}},
        )
        about = f"certificate {certificate}"
        (finding,) = [finding for finding in findings(gateway) if finding["about"] == about]
        assert finding["state"] == state, finding
        assert said in finding["said"]


def test_a_wrong_password_is_a_problem_of_the_login(
    issuer: DevIssuer, postgres: Server, tmp_path: Path
) -> None:
    wrong = tmp_path / "password"
    wrong.write_text("wrong")
    wrong.chmod(0o600)
    gateway = Gateway(issuer, {"shop": postgres}, target_extra={"password": {"file": str(wrong)}})
    (said,) = [finding for finding in findings(gateway) if finding["about"] == "target shop"]
    assert said["state"] == "problem"
    assert said["said"].startswith("login: ")


def test_a_configuration_that_cannot_be_read_is_status_2(
    tmp_path: Path, issuer: DevIssuer, postgres: Server
) -> None:
    gateway = Gateway(issuer, {"shop": postgres}, extra={"unknown": 1})
    done = doctor(gateway)
    assert done.returncode == 2
    assert "unknown" in done.stderr


def test_the_administrator_is_looked_at(
    issuer: DevIssuer, own_postgres: Server, tmp_path: Path
) -> None:
    prepare(own_postgres)
    gateway = Gateway(issuer, {"shop": own_postgres}, target_extra=options(tmp_path))
    about = f"target shop, administrator {ADMIN}"
    assert about not in problems(findings(gateway))
    with psycopg.connect(own_postgres.superuser_dsn, autocommit=True) as db:
        db.execute(
            "ALTER TABLE orders ENABLE ROW LEVEL SECURITY;"
            "CREATE POLICY p ON orders AS RESTRICTIVE TO sallyport_agent USING (false)"
        )
        said = [finding["said"] for finding in findings(gateway) if finding["about"] == about]
        assert any("row security of orders names role sallyport_agent" in line for line in said)
        db.execute(f"ALTER ROLE {ADMIN} NOCREATEROLE")
    assert about in problems(findings(gateway))


def test_the_way_round_the_gateway(issuer: DevIssuer, own_postgres: Server) -> None:
    gateway = Gateway(issuer, {"shop": own_postgres})
    done = doctor(gateway, "--from-agent")
    assert done.returncode == 1
    assert "a password is all that is missing" in done.stdout
    assert "NetworkPolicy" in done.stdout
    hba = own_postgres.cluster.data / "pg_hba.conf"
    before = hba.read_text()
    for rules, state, words in (
        ("host all all all reject\n", "warning", "lets nobody log in from here"),
        ("host all sallyport_agent all trust\n" + before, "problem", "wide open"),
    ):
        hba.write_text(rules)
        own_postgres.restart()
        (said,) = findings(gateway, "--from-agent")
        assert said["state"] == state, said
        assert words in said["said"]
    own_postgres.cluster.stop()
    (said,) = findings(gateway, "--from-agent")
    assert said["state"] == "ok"


def test_the_way_round_is_tried_where_there_is_no_configuration(
    postgres: Server, postgres_tls: Server, tmp_path: Path
) -> None:
    """As on an agent's machine, which has no file of the gateway's."""

    def from_agent(*words: str) -> subprocess.CompletedProcess[str]:
        words = (sys.executable, "-m", "sallyport", "doctor", *words)
        return subprocess.run(
            words, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
        )

    for server in (postgres, postgres_tls):
        user = f"%{ord(server.user[0]):x}{server.user[1:]}"  # as any character may be written
        address = f"postgresql://{user}@{server.host}:{server.port}/shop"
        done = from_agent("--from-agent", "--database", address)
        assert done.returncode == 1, done.stderr
        assert "a password is all that is missing" in done.stdout
        assert user not in done.stdout
    closed = f"postgresql://{postgres.user}@127.0.0.1:{free_port()}/shop"
    done = from_agent("--from-agent", "--database", closed)
    assert (done.returncode, done.stdout[:2]) == (0, "ok")
    assert from_agent("--database", closed).returncode == 2
    for wrong in (closed.replace("@", ":secret@"), "localhost:5432", "mysql://x/shop"):
        done = from_agent("--from-agent", "--database", wrong)
        assert done.returncode == 2
        assert "secret" not in done.stderr
