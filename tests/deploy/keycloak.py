"""The Compose quick start with Keycloak itself, the realm of deploy/compose imported, walked by
psql, `sallyport login` and a real browser. Its name keeps it out of the suite:

    make test ARGS=tests/deploy/keycloak.py

fetches Keycloak (150 MB, once) by Maven; skipped without Maven, Java 17 or Chromium.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import ssl
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx2
import psycopg
import pytest

from sallyport.core.secret import Secret
from tests.deploy.test_compose import COMPOSE, DEPLOY, SECRETS, Stack, free_port
from tests.identity.saml_provider import new_pair
from tests.support import requests
from tests.support.browser import Watched, chromium_running
from tests.support.forked import SALLYPORT, run
from tests.support.places import CACHE, ROOT, locked, scratch_dir
from tests.support.waiting import PATIENCE, wait_for

pytestmark = pytest.mark.timeout(1200)  # Keycloak builds itself at its first start
SERVICE = COMPOSE["services"]["keycloak"]
VERSION = SERVICE["image"].partition(":")[2]
#: Where the service's image has Keycloak.
HOME = "/opt/keycloak/"
REALM = "realms/sallyport"
#: The same realm once more, for SAML: a gateway takes one of them by one protocol.
SAML_REALM = "realms/people"
CONSOLE = COMPOSE["services"]["keycloak"]["ports"][-1].rpartition(":")[2]
GUIDE = (ROOT / "docs" / "deployment.md").read_text()


def _distribution() -> Path:
    """Keycloak's archive, of the version that the compose file names."""
    for program, package in (("mvn", "maven"), ("java", "default-jre-headless")):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is needed (Debian: apt-get install {package})")
    said = subprocess.run(["java", "-version"], capture_output=True, text=True).stderr
    major = re.search(r'version "(\d+)', said)
    if major is None or int(major[1]) < 17:
        pytest.skip(f"Keycloak {VERSION} needs Java 17 or newer")
    place = CACHE / "keycloak"
    archive = place / f"keycloak-quarkus-dist-{VERSION}.zip"
    with locked(CACHE / "keycloak.lock"):
        if not archive.exists():
            artifact = f"-Dartifact=org.keycloak:keycloak-quarkus-dist:{VERSION}:zip"
            fetch = ["mvn", "-q", "-B", "dependency:copy", artifact, f"-DoutputDirectory={place}"]
            subprocess.run(fetch, check=True, timeout=900)
    return archive


class Keycloak:
    """The service, for a console at this address. ``url``: the issuer. ``saml``: the realm that
    signs people in by SAML.
    """

    def __init__(self, archive: Path, console: str) -> None:
        self._archive, self._console = archive, console
        self.root = f"http://localhost:{free_port()}"
        self.url, self.saml = f"{self.root}/{REALM}", f"{self.root}/{SAML_REALM}"

    def __enter__(self) -> Self:
        directory = scratch_dir("keycloak")
        shutil.unpack_archive(self._archive, directory)
        home = directory / f"keycloak-{VERSION}"
        port = self.root.rpartition(":")[2]
        self._import_realm(home)
        words = [word.replace("8080", port) for word in SERVICE["command"]]
        environment = {name: _filled(value) for name, value in SERVICE["environment"].items()}
        self._log = directory / "keycloak.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                ["bash", str(home / "bin" / "kc.sh"), *words, "--http-host=127.0.0.1"],
                env={**os.environ, **environment},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            wait_for(self._is_up, 10 * PATIENCE)
        except BaseException:
            self._end()
            raise
        return self

    def _import_realm(self, home: Path) -> None:
        (volume,) = SERVICE["volumes"]
        source, target, _ = volume.split(":")
        text = (DEPLOY / source).read_text()
        assert f"https://localhost:{CONSOLE}/" in text
        place = home / target.removeprefix(HOME)
        place.parent.mkdir(parents=True)
        text = text.replace(f"https://localhost:{CONSOLE}", self._console)
        place.write_text(text)
        again = json.dumps(json.loads(text) | {"realm": SAML_REALM.rpartition("/")[2]})
        place.with_name("again.json").write_text(again)

    def _is_up(self) -> bool:
        assert self._process.poll() is None, self._log.read_text()
        try:
            return requests.get(self.url).status_code == 200
        except httpx2.TransportError:
            return False

    def _end(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()

    def token(self, client: str) -> Secret:
        """By client credentials."""
        return self._token(
            self.url,
            {
                "grant_type": "client_credentials",
                "client_id": client,
                "client_secret": SECRETS["AGENT_SECRET"],
            },
        )

    def _token(self, issuer: str, form: dict[str, str]) -> Secret:
        answer = requests.post(f"{issuer}/protocol/openid-connect/token", data=form)
        assert answer.status_code == 200, answer.text
        return Secret(answer.json()["access_token"])

    def add_saml_client(self, metadata: str) -> None:
        """As "Import client" does in its administration: from the gateway's metadata, and with the
        groups as an attribute.
        """
        token = self._token(
            f"{self.root}/realms/master",
            {
                "grant_type": "password",
                "client_id": "admin-cli",
                "username": _filled(SERVICE["environment"]["KC_BOOTSTRAP_ADMIN_USERNAME"]),
                "password": SECRETS["KEYCLOAK_PASSWORD"],
            },
        )
        admin = f"{self.root}/admin/{SAML_REALM}"
        bearer = {"Authorization": f"Bearer {token.reveal()}"}
        converted = requests.post(
            f"{admin}/client-description-converter",
            content=metadata,
            headers={**bearer, "Content-Type": "text/plain"},
        )
        assert converted.status_code == 200, converted.text
        groups = {
            "name": "groups",
            "protocol": "saml",
            "protocolMapper": "saml-group-membership-mapper",
            "config": {"attribute.name": "groups", "full.path": "false", "single": "true"},
        }
        client = converted.json() | {"protocolMappers": [groups]}
        added = requests.post(f"{admin}/clients", json=client, headers=bearer)
        assert added.status_code == 201, added.text


def _filled(value: str) -> str:
    """With what setup would have written for its variables."""
    return re.sub(r"\$\{(\w+)[^}]*\}", lambda name: SECRETS[name[1]], value)


@dataclass
class House:
    """Everything, and a browser."""

    stack: Stack
    keycloak: Keycloak
    watched: Watched

    def page(self) -> Any:
        """A window of somebody who took the setup's own certificate, as one does for a trial."""
        return self.watched.page(ignore_https_errors=True)

    def signed_in(self, person: str) -> Any:
        """A window of this person, before the inbox of the console."""
        page = self.page()
        page.goto("/approvals")
        page.get_by_role("link", name="Sign in", exact=True).click()
        answer_login_form(page, person)
        page.wait_for_url(f"{self.stack.url}/approvals")
        return page

    def emails(self, password: str) -> list[str]:
        """Of three customers, as who has this password sees them."""
        with psycopg.connect(
            f"host=localhost hostaddr=127.0.0.1 port={self.stack.port} dbname=shop user=paul"
            " sslmode=verify-full",
            password=password,
            sslrootcert=str(self.stack.certificates / "ca.crt"),
        ) as db:
            return [row[0] for row in db.execute("SELECT email FROM customers LIMIT 3")]


def answer_login_form(page: Any, person: str) -> None:
    """Keycloak's own page."""
    page.locator("#username").fill(person)
    page.locator("#password").fill(SECRETS["PEOPLE_PASSWORD"])
    page.locator("#kc-login").click()


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    archive = _distribution()
    directory = scratch_dir("compose")
    with ExitStack() as exits:
        chromium = exits.enter_context(chromium_running())
        exits.callback(shutil.rmtree, directory, ignore_errors=True)
        made: list[Keycloak] = []

        def provider(console: str) -> Keycloak:
            made.append(Keycloak(archive, console))
            return made[0]

        def with_saml(config: dict[str, Any]) -> None:
            ours = new_pair("sallyport")
            for name, text in (("sp.pem", ours.certificate), ("sp.key", ours.key)):
                (directory / name).write_text(text)
                (directory / name).chmod(0o600)
            config["identity"]["saml"] = [
                {
                    "name": "keycloak",
                    "entity_id": made[0].saml,
                    "metadata": f"{made[0].saml}/protocol/saml/descriptor",
                    "claims": {"subject": "name_id", "groups": "groups"},
                    "certificate": str(directory / "sp.pem"),
                    "key": {"file": str(directory / "sp.key")},
                }
            ]

        stack = Stack(directory, exits, provider, with_saml)
        yield House(stack, made[0], Watched(chromium, stack.url, made[0].root))


def test_the_line_of_the_guide(house: House, tmp_path: Path) -> None:
    script = tmp_path / "deploy" / "compose" / "agent-psql"
    script.parent.mkdir(parents=True)
    shutil.copy(DEPLOY / "compose" / "agent-psql", script)
    secrets = "".join(f"{name}={value}\n" for name, value in SECRETS.items())
    (tmp_path / "deploy" / ".env").write_text(secrets)
    (statement,) = re.findall(r"^deploy/compose/agent-psql -c '(.*)'$", GUIDE, re.MULTILINE)
    environment = {"ISSUER": house.keycloak.url, "PORT": str(house.stack.port)}
    shown = subprocess.run(
        ["sh", str(script), "--tuples-only", "--no-align", "-c", statement],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    rows = [line.split("|") for line in shown.stdout.splitlines()]
    assert len(rows) == 3, shown.stderr
    assert all(name and "***" in email and ssn[0] == "*" for name, email, ssn in rows)


def test_a_reviewer_of_the_realm_decides(house: House) -> None:
    """What the guide says to try: one who may not decide sees it, another approves, it runs."""
    (statement,) = re.findall(r"Try `(DELETE .*?)`", GUIDE)
    audra, dana = house.signed_in("audra"), house.signed_in("dana")
    with house.stack.agent() as connection, ThreadPoolExecutor() as threads:
        running = threads.submit(connection.execute, statement)
        for page in (audra, dana):
            page.locator("li.request", has_text=statement).get_by_role("link").click()
        audra.get_by_text(statement).first.wait_for()
        assert audra.get_by_role("button", name="Approve").count() == 0
        dana.get_by_label("Reason").fill("seen with the team")
        dana.get_by_role("button", name="Approve").click()
        assert running.result(PATIENCE).rowcount == 1
    decided = [event for event in house.stack.received() if event["event"] != "asked"]
    assert decided, "the webhook was told"
    house.watched.close()


@dataclass
class Login:
    """`sallyport login`, running. ``address``: what it asks to open; ``page``: a new window."""

    process: subprocess.Popen[str]
    address: str
    page: Any

    def end(self) -> None:
        """It has what it waited for."""
        assert self.process.stderr is not None
        said = self.process.stderr.read()
        assert self.process.wait(PATIENCE) == 0, said


@contextmanager
def logging_in(house: House, environment: dict[str, str], *words: str) -> Iterator[Login]:
    """`sallyport login` in a terminal."""
    with subprocess.Popen(
        [SALLYPORT, "login", *words], stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            assert process.stderr is not None
            line = process.stderr.readline()
            address = re.search(r"https?://\S+", line)
            assert address, line + process.stderr.read()
            yield Login(process, address[0], house.page())
        finally:
            process.kill()


@pytest.fixture
def terminal(house: House, tmp_path: Path) -> dict[str, str]:
    """The environment of a person's shell."""
    return {
        **os.environ,
        "XDG_STATE_HOME": str(tmp_path),
        "BROWSER": "true",
        "SALLYPORT_URL": house.stack.url,
        "SALLYPORT_URL_CA": str(house.stack.certificates / "ca.crt"),
    }


def kept_token(terminal: dict[str, str]) -> str:
    """What `sallyport token` prints there."""
    return run([SALLYPORT, "token"], terminal).stdout.strip()


def are_plain(emails: list[str]) -> bool:
    """As Paul's groups see them."""
    return len(emails) == 3 and all("@" in email and "*" not in email for email in emails)


@pytest.mark.parametrize("way", ["device", "browser"])
def test_a_person_logs_in(house: House, terminal: dict[str, str], way: str) -> None:
    words = ["--issuer", house.keycloak.url, "--client-id", "sallyport-cli", "--sign-in", way]
    with logging_in(house, terminal, *words) as login:
        login.page.goto(login.address)
        answer_login_form(login.page, "paul")
        if way == "device":
            login.page.locator("#kc-login").click()  # "Do you grant these access privileges?"
            login.page.get_by_text("Device Login Successful").wait_for()
        login.end()
    assert are_plain(house.emails(kept_token(terminal)))
    house.watched.close()


def test_a_person_logs_in_by_saml_and_out(house: House, terminal: dict[str, str]) -> None:
    """The token that came of the sign-in ends with it, here and at Keycloak."""
    context = ssl.create_default_context(cafile=str(house.stack.certificates / "ca.crt"))
    metadata = httpx2.get(f"{house.stack.url}/saml/keycloak/metadata", verify=context)
    house.keycloak.add_saml_client(metadata.text)
    with logging_in(house, terminal, "--saml") as login:
        page = login.page
        page.goto(login.address)
        page.get_by_role("link", name="Sign in with keycloak").click()
        answer_login_form(page, "paul")
        page.get_by_role("button", name="Log in the terminal").click()
        page.get_by_text("The terminal goes on from here").wait_for()
        login.end()
    token = kept_token(terminal)
    assert are_plain(house.emails(token))
    page.goto(f"{house.stack.url}/")
    page.locator("details.who summary").click()
    page.get_by_role("button", name="Sign out").click()
    page.get_by_role("link", name="Sign in").first.wait_for()
    with pytest.raises(psycopg.OperationalError, match="SP16"):
        house.emails(token)
    page.goto(f"{house.stack.url}/sign-in/saml/keycloak")
    page.locator("#username").wait_for()  # there is no session at Keycloak either
    house.watched.close()
