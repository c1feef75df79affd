"""deploy/compose.yaml works: each of its services is started from local programs, by reading the
file itself.

Where containers have fixed names and ports, the test puts its own: the rest (commands,
configuration, policy, realm, start-up scripts, certificates) is used as it stands. Keycloak is
played by another OpenID provider that is given the realm's clients, people and groups;
tests/deploy/keycloak.py has Keycloak itself.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import psycopg
import pytest
import yaml
from jsonschema import Draft202012Validator

from sallyport.core.secret import Secret
from tests.support.people import PeopleProvider
from tests.support.places import ROOT, scratch_dir
from tests.support.postgres import SUPERUSER, SUPERUSER_PASSWORD, Server, start_server
from tests.support.psql import client_program
from tests.support.waiting import wait_for

DEPLOY = ROOT / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
REALM = json.loads((DEPLOY / "compose" / "realm.json").read_text())
#: Of the Compose specification (compose-go 2.16.2, Apache-2.0, (c) The Compose Specification
#: Authors).
SCHEMA = json.loads((ROOT / "tests" / "deploy" / "data" / "compose-spec.json").read_text())
SERVICES = {"certificates", "postgres", "keycloak", "webhooks", "gateway"}
SECRETS = {
    name: f"secret-of-{name.lower()}"
    for name in (
        "POSTGRES_PASSWORD", "SHOP_PASSWORD", "KEYCLOAK_PASSWORD", "AGENT_SECRET",
        "PEOPLE_PASSWORD",
        "WEBHOOK_SECRET", "MASK_KEY",
    )
}  # fmt: skip


def _groups_of(user: dict[str, Any]) -> list[str]:
    declared = {group["name"] for group in REALM["groups"]}
    groups = list(user.get("groups", ()))
    assert declared.issuperset(groups), user["username"]
    return groups


def _agent_claims() -> dict[str, dict[str, Any]]:
    """Claims by client id, of clients with a service account, as the realm's mappers would make
    them.
    """
    claims: dict[str, dict[str, Any]] = {}
    for client in REALM["clients"]:
        if not client.get("serviceAccountsEnabled"):
            continue
        mappers = {
            mapper["protocolMapper"]: mapper["config"] for mapper in client["protocolMappers"]
        }
        assert mappers["oidc-audience-mapper"]["included.custom.audience"] == "sallyport"
        claim = mappers["oidc-group-membership-mapper"]["claim.name"]
        (user,) = (
            u for u in REALM["users"] if u.get("serviceAccountClientId") == client["clientId"]
        )
        claims[client["clientId"]] = {claim: _groups_of(user)}
    return claims


def test_every_secret_is_asked_for_and_made_by_setup(tmp_path: Path) -> None:
    text = (DEPLOY / "compose.yaml").read_text()
    asked = {part.split(":")[0] for part in text.split("${")[1:]}
    assert asked == set(SECRETS)
    directory = tmp_path / "deploy"
    (directory / "compose").mkdir(parents=True)
    script = directory / "compose" / "setup"
    script.write_text((DEPLOY / "compose" / "setup").read_text())
    for _ in range(2):  # the second time it keeps what is there
        subprocess.run(["sh", str(script)], check=True, capture_output=True)
    lines = [
        line for line in (directory / ".env").read_text().splitlines() if not line.startswith("#")
    ]
    made = dict(line.split("=", 1) for line in lines)
    assert set(made) == set(SECRETS)
    assert len(set(made.values())) == len(SECRETS)
    assert (directory / ".env").stat().st_mode & 0o077 == 0


def test_it_is_valid_by_the_schema_of_compose() -> None:
    problems = [error.message for error in Draft202012Validator(SCHEMA).iter_errors(COMPOSE)]
    assert problems == []
    misspelt = {**COMPOSE, "services": {"gateway": {"read_onyl": True}}}
    assert not Draft202012Validator(SCHEMA).is_valid(misspelt)


def test_mounted_files_exist_and_only_loopback_is_published() -> None:
    assert set(COMPOSE["services"]) == SERVICES
    for name, service in COMPOSE["services"].items():
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (DEPLOY / source).exists(), (name, source)
            else:
                assert source in COMPOSE["volumes"], (name, source)
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:"), (name, port)
    assert "ports" not in COMPOSE["services"]["postgres"]


def _command(service: str, replaced: dict[str, str]) -> list[str]:
    """The service's entrypoint with this machine's Python and paths."""
    words = [*COMPOSE["services"][service]["entrypoint"]]
    assert words[0] == "/opt/sallyport/bin/python"
    return [
        sys.executable,
        *(replaced.get(w, w.replace("/setup/", f"{DEPLOY}/compose/")) for w in words[1:]),
    ]


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _initialise(server: Server) -> None:
    """Run what the service mounts, in its order, as the image's entrypoint does in an empty
    cluster.
    """
    admin = f"postgresql://{SUPERUSER}:{SUPERUSER_PASSWORD}@127.0.0.1:{server.port}/postgres"
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute("DROP DATABASE shop")
        connection.execute("DROP ROLE sallyport_agent")
        connection.execute("CREATE DATABASE shop")
    psql = client_program("psql")
    environment = {
        **os.environ,
        "PATH": f"{Path(psql).parent}:{os.environ['PATH']}",
        "PGHOST": "127.0.0.1",
        "PGPORT": str(server.port),
        "PGPASSWORD": SUPERUSER_PASSWORD,
        "POSTGRES_USER": SUPERUSER,
        "POSTGRES_DB": COMPOSE["services"]["postgres"]["environment"]["POSTGRES_DB"],
        "SHOP_PASSWORD": SECRETS["SHOP_PASSWORD"],
    }
    mounted = (volume.split(":")[:2] for volume in COMPOSE["services"]["postgres"]["volumes"])
    scripts = sorted(
        (target, DEPLOY / source) for source, target in mounted if "initdb.d" in target
    )
    assert [path.suffix for _, path in scripts] == [".sh", ".sql"]
    for _, path in scripts:
        command = ["sh", str(path)]
        if path.suffix == ".sql":
            command = [
                psql,
                "-v",
                "ON_ERROR_STOP=1",
                "-U",
                SUPERUSER,
                "-d",
                "shop",
                "-f",
                str(path),
            ]
        subprocess.run(command, env=environment, check=True, capture_output=True)


class Provider(Protocol):
    """An OpenID provider with the realm's clients. ``url``: its issuer."""

    url: str

    def token(self, client: str) -> Secret:
        """By client credentials."""


@dataclass(frozen=True)
class Places:
    """Where the services are on this machine, and what the gateway is told besides."""

    certificates: Path
    postgres: Server
    listen: int
    console: int
    hook: int
    extra: Callable[[dict[str, Any]], None] = lambda _: None


def _configuration(directory: Path, places: Places, issuer: str) -> Path:
    """The gateway's mounted files with this machine's addresses; nothing else is changed."""
    target = directory / "gateway"
    shutil.copytree(DEPLOY / "compose" / "gateway", target)
    path = target / "sallyport.yaml"
    config = yaml.safe_load(path.read_text())
    config["listen"] = f"127.0.0.1:{places.listen}"
    config["console"]["listen"] = f"127.0.0.1:{places.console}"
    config["console"]["public_url"] = f"https://localhost:{places.console}"
    config["tls"] = {
        key: value.replace("/certificates", str(places.certificates))
        for key, value in config["tls"].items()
    }
    config["data"] = str(directory / "data")
    config["identity"]["oidc"][0]["issuer"] = issuer
    server = places.postgres
    config["targets"]["shop"] |= {"host": "127.0.0.1", "port": server.port, "ca": str(server.ca)}
    config["approvals"]["webhooks"][0]["url"] = f"http://127.0.0.1:{places.hook}/"
    places.extra(config)
    path.write_text(yaml.safe_dump(config))
    return path


class Stack:
    """Every service, running. ``url``: of the console."""

    def __init__(
        self,
        directory: Path,
        exits: ExitStack,
        provider: Callable[[str], AbstractContextManager[Provider]],
        extra: Callable[[dict[str, Any]], None] = lambda _: None,
    ) -> None:
        """provider: for a console at this address. extra: changes the gateway's configuration."""
        self.certificates = directory / "certificates"
        self.certificates.mkdir()
        command = _command("certificates", {"/certificates": str(self.certificates)})
        subprocess.run(command, check=True, capture_output=True)
        server = start_server("17")
        exits.callback(server.stop)
        _initialise(server)
        self.port, console, hook = free_port(), free_port(), free_port()
        self.url = f"https://localhost:{console}"
        self.provider = exits.enter_context(provider(self.url))
        environment = {**os.environ, **SECRETS, "PYTHONPATH": str(ROOT / "src")}
        self._printed = directory / "webhooks.log"
        self._spawn(exits, _command("webhooks", {"8099": str(hook)}), environment, self._printed)
        places = Places(self.certificates, server, self.port, console, hook, extra)
        path = _configuration(directory, places, self.provider.url)
        self.log = directory / "gateway.log"
        serve = [sys.executable, "-m", "sallyport", "serve", "--config", str(path)]
        self._gateway = self._spawn(exits, serve, environment, self.log)
        wait_for(self.is_ready)

    def _spawn(
        self, exits: ExitStack, command: list[str], environment: dict[str, str], log: Path
    ) -> subprocess.Popen[bytes]:
        output = exits.enter_context(log.open("wb"))
        process = subprocess.Popen(
            command, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
        exits.callback(process.wait, 30)
        exits.callback(process.terminate)
        return process

    def is_ready(self) -> bool:
        """As the image's health check asks."""
        assert self._gateway.poll() is None, self.log.read_text()
        check = subprocess.run(
            [sys.executable, str(DEPLOY / "healthcheck.py")],
            env={**os.environ, "SALLYPORT_HEALTH": self.url},
            capture_output=True,
        )
        return check.returncode == 0

    def agent(self) -> psycopg.Connection[Any]:
        """Connected as deploy/compose/agent-psql connects, and with the gateway's certificate
        checked.
        """
        token = self.provider.token("claude-agent").reveal()
        return psycopg.connect(
            f"host=localhost hostaddr=127.0.0.1 port={self.port} dbname=shop user=claude"
            " sslmode=verify-full",
            password=token,
            sslrootcert=str(self.certificates / "ca.crt"),
            autocommit=True,
        )

    def received(self) -> list[dict[str, Any]]:
        """What webhooks said so far."""
        return [json.loads(line) for line in self._printed.read_text().splitlines() if line]


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """All services of the compose file."""
    directory = scratch_dir("compose")
    with ExitStack() as exits:
        exits.callback(shutil.rmtree, directory, ignore_errors=True)

        def provider(console: str) -> PeopleProvider:
            return PeopleProvider(f"{console}/sign-in/callback", {}, _agent_claims())

        yield Stack(directory, exits, provider)


def test_the_agent_sees_masks(stack: Stack) -> None:
    with stack.agent() as connection:
        rows = connection.execute(
            "SELECT email, ssn, notes, city FROM customers ORDER BY id LIMIT 5"
        ).fetchall()
    assert len(rows) == 5
    for email, ssn, notes, city in rows:
        assert "***" in email
        assert ssn.startswith("*")
        assert notes is None
        assert city


def test_a_held_statement_reaches_the_webhook(stack: Stack) -> None:
    with stack.agent() as connection, ThreadPoolExecutor() as threads:
        statement = threads.submit(connection.execute, "DELETE FROM payments WHERE id = 1")
        wait_for(lambda: any(event["event"] == "asked" for event in stack.received()))
        connection.cancel_safe()
        with pytest.raises(psycopg.errors.QueryCanceled):
            statement.result(30)


def test_ddl_is_refused(stack: Stack) -> None:
    with stack.agent() as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("DROP TABLE orders")


def test_the_database_certificate_names_its_service(stack: Stack) -> None:
    """The gateway of the compose file asks for verify-full at host ``postgres``."""
    from cryptography import x509

    certificate = x509.load_pem_x509_certificate((stack.certificates / "postgres.crt").read_bytes())
    authority = x509.load_pem_x509_certificate((stack.certificates / "ca.crt").read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["postgres"]
    certificate.verify_directly_issued_by(authority)


def test_the_console_answers_over_its_certificate(stack: Stack) -> None:
    context = ssl.create_default_context(cafile=str(stack.certificates / "ca.crt"))
    with urllib.request.urlopen(f"{stack.url}/readyz", timeout=60, context=context) as answer:
        assert answer.status == 200
