"""SAML from the browser to the wire: a real provider on another site, Chromium, the console,
session tokens, psycopg.
"""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import psycopg
import pytest

from sallyport.demo.issuer import DevIssuer
from sallyport.demo.postgres import free_port
from tests.identity.saml_provider import SamlIdp, form_of, saml_idp
from tests.support.browser import Watched
from tests.support.forked import SALLYPORT, run
from tests.support.gateway import Gateway
from tests.support.postgres import Server
from tests.support.waiting import wait_for
from tests.web.real import _listens

POLICY = """\
version: 1
rules:
  - {name: DBAs read, subjects: {groups: [dba]}, allow: [read], relations: ["public.*"]}
"""


@dataclass
class House:
    """url: the console's, on ``localhost``: the provider on 127.0.0.1 is another site."""

    gateway: Gateway
    idp: SamlIdp
    url: str

    def posted(self, **body: Any) -> httpx2.Response:
        headers = body.pop("headers", {})
        return httpx2.post(
            f"{self.url}/api/v1/tokens", json=body, headers=headers, trust_env=False, timeout=60
        )

    def response(self, **options: Any) -> str:
        """One that the provider sends without a request, as from its own page of applications."""
        acs = f"{self.url}/saml/corp/acs"
        ours = {"audience": f"{self.url}/saml/corp/metadata", "recipient": acs, "destination": acs}
        return self.idp.response(**{**ours, "inResponseTo": None, **options})

    def secret(self, answer: httpx2.Response) -> str:
        assert answer.status_code == 200, answer.text
        secret = str(answer.json()["secret"])
        self.gateway._tokens.add(secret)  # the log must not have it
        return secret

    def restart(self) -> None:
        """Sign-ins are counted anew."""
        self.gateway.restart()
        wait_for(lambda: _listens(self.url))

    def reads(self, secret: str) -> bool:
        with psycopg.connect(self.gateway.dsn(secret), autocommit=True) as db:
            return db.execute("SELECT count(*) > 0 FROM products").fetchone() == (True,)


@pytest.fixture(scope="module")
def house(
    issuer: DevIssuer, postgres: Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[House]:
    port = free_port()
    url = f"http://localhost:{port}"
    directory = tmp_path_factory.mktemp("samlidp")
    with saml_idp(directory) as idp:
        (directory / "sp-key.pem").write_text(idp.sp_pair.key)
        (directory / "sp-key.pem").chmod(0o600)
        provider = {
            "name": "corp",
            "entity_id": idp.entity_id,
            "metadata": f"{idp.url}/metadata",
            "idp_initiated": True,
            "require": ["'dba' in claims.groups"],
            "certificate": str(directory / "sp.pem"),
            "key": {"file": str(directory / "sp-key.pem")},
        }
        oidc = {"issuer": issuer.url, "audience": issuer.audience}
        console = {"listen": f"127.0.0.1:{port}", "public_url": url, "roles": {"operator": ["dba"]}}
        extra = {"identity": {"oidc": [oidc], "saml": [provider]}, "console": console}
        gateway = Gateway(issuer, {"shop": postgres}, policy=POLICY, extra=extra).start()
        try:
            wait_for(lambda: _listens(url))
            yield House(gateway, idp, url)
        finally:
            gateway.stop()
        assert "Traceback" not in gateway.output()


def test_the_browser_signs_in_across_sites(chromium: Any, house: House) -> None:
    """The provider's post brings no cookie of ours; that of our page does, and only there is
    somebody signed in.
    """
    watched = Watched(chromium, house.url)
    page = watched.page()
    sent: dict[str, str] = {}

    def note(request: Any) -> None:
        sent[request.url.partition("?")[0].removeprefix(house.url)] = request.all_headers().get(
            "cookie", ""
        )

    page.on("requestfinished", note)
    page.goto("/sessions")
    page.get_by_role("link", name="Sign in with corp").click()
    page.wait_for_url(f"{house.url}/sessions")
    assert sent["/saml/corp/acs"] == ""
    assert "sallyport_signin=" in sent["/saml/corp/finish"]
    cookies = {cookie["name"]: cookie for cookie in page.context.cookies(house.url)}
    assert set(cookies) == {"sallyport"}
    assert (cookies["sallyport"]["sameSite"], cookies["sallyport"]["httpOnly"]) == ("Lax", True)
    page.goto("/connect")
    page.get_by_role("button", name="Create a session token").click()
    connection = page.locator("#connection").inner_text()
    secret = re.findall(r"spt_\w+", connection)[0]
    house.gateway._tokens.add(secret)
    assert house.reads(secret)
    watched.close()


def test_a_terminal_logs_in_by_the_browser(chromium: Any, house: House, tmp_path: Path) -> None:
    environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path), "BROWSER": "true"}
    command = house.gateway.command("login", "--saml", "--url", house.url, "--minutes", "30")
    command = command[: command.index("--config")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as login:
        assert login.stderr is not None
        address = login.stderr.readline().split()[1]
        # Whoever only guesses the port gets nothing in.
        port = re.findall(r"port=(\d+)", address)[0]
        guess = httpx2.get(f"http://127.0.0.1:{port}/?code=x&state=guess", trust_env=False)
        assert guess.status_code == 404
        watched = Watched(chromium, house.url)
        page = watched.page()
        page.goto(address)
        page.get_by_role("link", name="Sign in with corp").click()
        page.get_by_role("button", name="Log in the terminal").click()
        page.get_by_text("The terminal goes on from here").wait_for()
        said = login.stderr.read()
        assert login.wait(20) == 0, said
        watched.close()
    file = tmp_path / "sallyport" / "token.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    kept = json.loads(file.read_text())["access_token"]
    house.gateway._tokens.add(kept)
    printed = run([SALLYPORT, "token"], environment)
    assert printed.stdout.strip() == kept
    assert house.reads(kept)


def test_a_terminal_says_at_once_that_no_console_is_there(tmp_path: Path) -> None:
    environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path), "BROWSER": "true"}
    url = f"http://127.0.0.1:{free_port()}"
    answer = run([SALLYPORT, "login", "--saml", "--url", url], environment)
    assert answer.returncode == 2
    assert f"{url} cannot be reached (ConnectError)" in answer.stderr
    assert "/connect/terminal" not in answer.stderr


def test_the_page_for_terminals_is_strict(chromium: Any, house: House) -> None:
    watched = Watched(chromium, house.url)
    page = watched.page()
    page.goto("/")
    page.get_by_role("link", name="Sign in with corp").click()
    page.wait_for_url(f"{house.url}/")
    challenge, state = "c" * 43, "s" * 32
    for port in ("80", "6432@evil.example", "99999", ""):
        answer = page.goto(f"/connect/terminal?port={port}&challenge={challenge}&state={state}")
        assert answer.status == 400, port
    page.goto(f"/connect/terminal?port=45678&challenge={challenge}&state={state}")
    answer = page.request.post(
        f"{house.url}/connect/terminal",
        form={"csrf": page.locator("input[name=csrf]").first.input_value(), "port": "45678",
              "challenge": challenge, "state": state},
        max_redirects=0,
    )  # fmt: skip
    assert answer.status == 303
    code = re.findall(r"code=([\w-]+)", answer.headers["location"])[0]
    house.gateway._tokens.add(code)
    for _ in range(2):  # a wrong verifier uses it up
        assert house.posted(code=code, verifier="not the one").status_code == 401
    watched.close()


def test_a_response_is_exchanged_once_and_opens_the_wire(house: House) -> None:
    response = house.response()
    answer = house.posted(saml_response=response, target="shop", minutes=5)
    secret = house.secret(answer)
    token = answer.json()["token"]
    assert (token["subject"], token["issuer"]) == ("ada", house.idp.entity_id)
    assert token["groups"] == ["Domain Users", "dba"]
    assert house.reads(secret)
    again = house.posted(saml_response=response, saml="corp")
    assert (again.status_code, "refused" in again.json()["detail"]) == (401, True)
    # The console shares the memory of what was used.
    fresh = house.response()
    with httpx2.Client(trust_env=False, follow_redirects=True) as browser:
        for again, status in ((response, 403), (fresh, 200)):
            page = browser.post(f"{house.url}/saml/corp/acs", data={"SAMLResponse": again})
            done = browser.post(f"{house.url}/saml/corp/finish", data=form_of(page.text))
            assert done.status_code == status
    assert house.posted(saml_response=fresh).status_code == 401


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ({"inResponseTo": "_somebody-elses-request"}, 401),
        ({"audience": "https://another.example"}, 401),
        ({"recipient": "https://another.example/acs"}, 401),
        ({"user": {"id": "eve", "claims": {"groups": ["staff"], "email": "eve@example.com"}}}, 401),
    ],
)
def test_what_is_not_exchanged(house: House, options: dict[str, Any], status: int) -> None:
    assert house.posted(saml_response=house.response(**options)).status_code == status


def test_one_identity_for_each_request(house: House) -> None:
    house.restart()
    response = house.response()
    bearer = {"Authorization": f"Bearer {house.gateway.token()}"}
    assert house.posted(saml_response=response, headers=bearer).status_code == 422
    assert house.posted(saml_response=response, code="x").status_code == 422
    assert house.posted(saml_response=response, saml="nobody").status_code == 422
    assert house.posted(saml_response="not base64").status_code == 401
    assert house.posted().status_code == 401
    house.secret(house.posted(saml_response=response))


def test_single_logout_ends_everything_of_the_session(chromium: Any, house: House) -> None:
    """In the browser, from both sides: the console, its tokens, and what they opened."""
    house.restart()
    for began in ("the console", "the provider"):
        house.idp.takes_part()
        watched = Watched(chromium, house.url)
        page = watched.page()
        page.goto("/connect")
        page.get_by_role("link", name="Sign in with corp").click()
        page.get_by_role("button", name="Create a session token").click()
        secret = re.findall(r"spt_\w+", page.locator("#connection").inner_text())[0]
        house.gateway._tokens.add(secret)
        stranger = house.secret(house.posted(saml_response=house.response(sessionIndex="_else")))
        with (
            psycopg.connect(house.gateway.dsn(secret), autocommit=True) as live,
            psycopg.connect(house.gateway.dsn(stranger), autocommit=True) as another,
        ):
            live.execute("SELECT 1")
            if began == "the console":
                page.locator("details.who summary").click()
                page.get_by_role("button", name="Sign out").click()
                page.get_by_text("signed out at the identity provider as well").wait_for()
            else:
                # samlp's last page is empty; the answer that it got is what counts.
                with page.expect_response(lambda r: "SAMLResponse=" in r.url) as told:
                    page.goto(f"{house.idp.url}/logout")
                assert told.value.status == 200
            with pytest.raises(psycopg.OperationalError):
                while True:  # ends with the connection
                    live.execute("SELECT 1")
            with pytest.raises(psycopg.OperationalError, match="SP16"):
                house.reads(secret)
            another.execute("SELECT 1")
        page.goto(f"{house.url}/sessions")
        assert page.url.startswith(f"{house.url}/sign-in")
        assert house.reads(stranger), "another session of the same person"
        bearer = {"Authorization": f"Bearer {stranger}"}
        listed = httpx2.get(f"{house.url}/api/v1/tokens", headers=bearer, trust_env=False).json()
        for token in listed["tokens"]:
            httpx2.post(
                f"{house.url}/api/v1/tokens/{token['id']}/revoke", headers=bearer, trust_env=False
            )
        watched.close()


def test_a_lock_on_the_provider_and_a_provider_that_left(house: House) -> None:
    """Last: the gateway is another one afterwards."""
    house.restart()
    secret = house.secret(house.posted(saml_response=house.response()))
    assert house.reads(secret)
    grace = {"user": {"id": "grace", "claims": {"groups": ["dba"], "email": "grace@example.com"}}}
    kept = house.secret(house.posted(saml_response=house.response(**grace)))
    bearer = {"Authorization": f"Bearer {kept}"}
    body = {"kind": "subject", "name": "ada", "issuer": house.idp.entity_id, "reason": "left"}
    locked = httpx2.post(f"{house.url}/api/v1/locks", json=body, headers=bearer, trust_env=False)
    assert locked.status_code == 200, locked.text
    with pytest.raises(psycopg.OperationalError, match="SP1608"):
        house.reads(secret)
    assert house.posted(saml_response=house.response()).status_code == 403
    assert house.reads(kept)
    extra = dict(house.gateway.extra)
    provider = dict(extra["identity"]["saml"][0])
    for changed in ([{**provider, "require": ["'another' in claims.groups"]}], []):
        house.gateway.extra = {**extra, "identity": {**extra["identity"], "saml": changed}}
        house.restart()
        with pytest.raises(psycopg.OperationalError, match="SP1601"):
            house.reads(kept)
    house.gateway.extra = extra
    house.restart()
    assert house.reads(kept), "only what the configuration says is asked again"
