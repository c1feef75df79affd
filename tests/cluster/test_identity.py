"""People and their tokens before two gateways of one store: a real SAML provider (npm samlp), real
consoles, a database role per session.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import psycopg
import pytest

from sallyport.demo.issuer import DevIssuer
from sallyport.demo.postgres import free_port
from sallyport.demo.signin import CONSOLE_CLIENT
from sallyport.identity.pkce import challenge_of
from tests.cluster.conftest import members_of_store
from tests.cluster.test_across import is_over, is_up
from tests.identity.saml_provider import SamlIdp, form_of, saml_idp
from tests.server.test_ephemeral import SESSIONS, names, options, prepare
from tests.support.gateway import Gateway
from tests.support.postgres import Server, start_server
from tests.support.waiting import wait_for
from tests.web.helpers import choose

POLICY = """\
version: 1
rules:
  - {name: DBAs read, subjects: {groups: [dba]}, allow: [read], relations: ["public.*"]}
"""
#: Seconds, of the machine's clock: within one, but for a machine that is busy with other tests.
SOON = 20.0


@dataclass
class House:
    """url: of both consoles, as a balancer's."""

    members: tuple[Gateway, Gateway]
    idp: SamlIdp
    url: str
    target: Server

    def console(self, member: Gateway, **options: Any) -> httpx2.Client:
        """A browser, or a program, whose requests the balancer gives to ``member``."""
        return httpx2.Client(
            base_url=f"http://{member.extra['console']['listen']}",
            headers={"Host": self.url.removeprefix("http://")},
            trust_env=False,
            timeout=60,
            **options,
        )

    def at(self, member: Gateway, browser: httpx2.Client) -> httpx2.Client:
        """The same browser, whose requests the balancer gives to ``member`` from now on."""
        browser.base_url = f"http://{member.extra['console']['listen']}"
        return browser

    def is_signed_in_at_both(self, browser: httpx2.Client) -> bool:
        return all(is_signed_in(self.at(member, browser)) for member in self.members)

    def response(self, **changes: Any) -> str:
        """One without a request, as a CI job gets it."""
        acs = f"{self.url}/saml/corp/acs"
        ours = {"audience": f"{self.url}/saml/corp/metadata", "recipient": acs, "destination": acs}
        return self.idp.response(**{**ours, "inResponseTo": None, **changes})

    def exchanged(self, member: Gateway, response: str) -> httpx2.Response:
        with self.console(member) as program:
            return program.post("/api/v1/tokens", json={"saml_response": response})

    def token(self, member: Gateway, response: str) -> tuple[str, str]:
        """A session token, and its id."""
        answer = self.exchanged(member, response)
        assert answer.status_code == 200, answer.text
        secret, id_ = str(answer.json()["secret"]), str(answer.json()["token"]["id"])
        for each in self.members:
            each._tokens.add(secret)
        return secret, id_

    def signed_in(self, member: Gateway, response: str) -> httpx2.Client:
        """A browser that is signed in to the console of ``member``."""
        browser = self.console(member)
        came_back(browser, response)
        assert is_signed_in(browser)
        return browser


def came_back(browser: httpx2.Client, response: str) -> httpx2.Response:
    """The provider's page posts, and then the page that this gives."""
    page = browser.post("/saml/corp/acs", data={"SAMLResponse": response})
    assert page.status_code == 200, page.text
    return browser.post("/saml/corp/finish", data=form_of(page.text))


def begun(browser: httpx2.Client) -> str:
    """The provider's response to a sign-in that the browser begins."""
    start = browser.get("/sign-in/saml/corp?next=/policy")
    return str(httpx2.get(start.headers["Location"], trust_env=False).json()["SAMLResponse"])


def from_issuer(house: House, browser: httpx2.Client) -> str:
    """The issuer's answer to a sign-in that the browser begins: where it goes."""
    start = browser.get("/sign-in/start?next=/policy")
    return choose(start.headers["Location"], "dana-dba").removeprefix(house.url)


def csrf(browser: httpx2.Client) -> str:
    return browser.get("/approvals").text.split('name="csrf" value="')[1].split('"')[0]


def is_signed_in(browser: httpx2.Client) -> bool:
    return browser.get("/approvals").status_code == 200


def session(member: Gateway, secret: str) -> psycopg.Connection[Any]:
    connection = psycopg.connect(member.dsn(secret), autocommit=True)
    assert connection.execute("SELECT count(*) > 0 FROM products").fetchone() == (True,)
    return connection


def refused(member: Gateway, secret: str) -> bool:
    try:
        psycopg.connect(member.dsn(secret)).close()
    except psycopg.OperationalError:
        return True
    return False


@pytest.fixture(scope="module")
def house(issuer: DevIssuer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    directory = tmp_path_factory.mktemp("identity")
    ports = free_port(), free_port()
    url = f"http://localhost:{ports[0]}"
    target, store = start_server(), start_server()
    prepare(target)
    try:
        with (
            saml_idp(directory) as idp,
            members_of_store(issuer, target, store) as make,
        ):
            key = directory / "sp-key.pem"
            key.write_text(idp.sp_pair.key)
            key.chmod(0o600)
            provider = {
                "name": "corp",
                "entity_id": idp.entity_id,
                "metadata": f"{idp.url}/metadata",
                "idp_initiated": True,
                "certificate": str(directory / "sp.pem"),
                "key": {"file": str(key)},
            }
            oidc = {"issuer": issuer.url, "audience": issuer.audience}
            identity = {"oidc": [oidc], "saml": [provider]}
            roles = {"reviewer": ["dba"], "operator": ["dba"]}

            def member(port: int) -> Gateway:
                console = {
                    "listen": f"127.0.0.1:{port}",
                    "public_url": url,
                    "client_id": CONSOLE_CLIENT,
                    "roles": roles,
                }
                made = make(
                    extra={"identity": identity, "console": console},
                    policy=POLICY,
                    target_extra=options(directory),
                )
                is_up(made)
                return made

            yield House((member(ports[0]), member(ports[1])), idp, url, target)
    finally:
        target.stop()
        store.stop()


def test_an_assertion_counts_once_at_all_gateways(house: House) -> None:
    first, second = house.members
    response = house.response()
    secret, _ = house.token(first, response)
    again = house.exchanged(second, response)
    assert (again.status_code, "refused" in again.json()["detail"]) == (401, True)
    with house.console(second) as browser:
        assert came_back(browser, response).status_code == 403
        assert not is_signed_in(browser)
    session(second, secret).close()
    house.token(second, house.response())


def test_an_assertion_that_comes_to_both_at_once_counts_once(house: House) -> None:
    for _ in range(3):
        response = house.response()

        def exchange(member: Gateway, response: str = response) -> int:
            return house.exchanged(member, response).status_code

        with ThreadPoolExecutor(4) as pool:
            codes = sorted(pool.map(exchange, house.members * 2))
        assert codes == [200, 401, 401, 401]


def test_each_step_of_a_sign_in_may_come_to_another_gateway(house: House) -> None:
    first, second = house.members
    with house.console(first) as browser:
        response = begun(browser)
        pending = dict(browser.cookies)
        page = house.at(second, browser).post("/saml/corp/acs", data={"SAMLResponse": response})
        done = house.at(first, browser).post("/saml/corp/finish", data=form_of(page.text))
        assert (done.status_code, done.headers["Location"]) == (303, "/policy")
        assert house.is_signed_in_at_both(browser)
        browser.cookies.clear()
        for member in house.members:
            browser.cookies.update(pending)
            assert came_back(house.at(member, browser), response).status_code == 403
    with house.console(first) as browser:
        response = begun(browser)
        assert came_back(house.at(second, browser), response).status_code == 303
        assert house.is_signed_in_at_both(browser)


def test_another_browser_is_signed_in_nowhere(house: House) -> None:
    first, second = house.members
    with house.console(first) as browser, house.console(second) as stranger:
        response = begun(browser)
        assert came_back(stranger, response).status_code == 403
        begun(stranger)
        assert came_back(stranger, response).status_code == 403
        assert not is_signed_in(stranger)
        back = from_issuer(house, browser)
        for _ in range(2):
            assert stranger.get(back).status_code == 403
            stranger.get("/sign-in/start")
        assert not is_signed_in(stranger)


def test_an_answer_of_the_issuer_may_come_to_another_gateway(house: House) -> None:
    first, second = house.members
    with house.console(first) as browser:
        back = from_issuer(house, browser)
        pending = dict(browser.cookies)
        done = house.at(second, browser).get(back)
        assert (done.status_code, done.headers["Location"]) == (303, "/policy")
        assert house.is_signed_in_at_both(browser)
        for member in house.members:
            browser.cookies.update(pending)
            again = house.at(member, browser).get(back)
            assert (again.status_code, "took too long" in again.text) == (403, True)


def test_who_is_signed_in_at_one_is_at_both_until_they_sign_out(house: House) -> None:
    """Forms of a page of one are taken by the other; the cookie is worth nothing afterwards."""
    first, second = house.members
    with closing(house.signed_in(first, house.response())) as browser:
        assert house.is_signed_in_at_both(browser)
        token = csrf(house.at(first, browser))
        cookies = dict(browser.cookies)
        house.at(second, browser)
        for sent, status in ((token, 200), ("x", 403)):
            form = {"csrf": sent, "target": "shop", "sql": "SELECT 1", "subject": "ada"}
            assert browser.post("/policy/explain", data=form).status_code == status
        assert browser.post("/sign-out", data={"csrf": token}).status_code in (200, 303)
        browser.cookies.update(cookies)
        for member in house.members:
            assert not is_signed_in(house.at(member, browser))


def test_a_sign_in_outlasts_its_gateway(house: House) -> None:
    first, second = house.members
    with closing(house.signed_in(first, house.response())) as browser:
        for gone, stays in ((first, second), (second, first)):
            gone.stop()
            try:
                assert is_signed_in(house.at(stays, browser))
            finally:
                gone.start()
                is_up(gone)
            assert house.is_signed_in_at_both(browser)


def test_a_terminal_takes_a_sign_in_over_at_the_other(house: House) -> None:
    first, second = house.members
    verifier = "v" * 64
    asked = {"port": "45678", "challenge": challenge_of(verifier), "state": "s" * 32}
    with (
        closing(house.signed_in(first, house.response())) as browser,
        house.console(second) as program,
    ):
        answer = browser.post("/connect/terminal", data={"csrf": csrf(browser), **asked})
        code = parse_qs(urlsplit(answer.headers["Location"]).query)["code"][0]
        body = {"code": code, "verifier": verifier}
        taken = program.post("/api/v1/tokens", json=body)
        assert taken.status_code == 200, taken.text
        secret = str(taken.json()["secret"])
        for member in house.members:
            member._tokens.add(secret)
        session(first, secret).close()
        for member in house.members:
            again = house.at(member, program).post("/api/v1/tokens", json=body)
            assert again.status_code == 401


def test_messages_of_single_logout_count_once_at_any_gateway(house: House) -> None:
    first, second = house.members
    house.idp.takes_part()
    with house.console(first) as browser:
        assert came_back(browser, begun(browser)).status_code == 303
        page = browser.post("/sign-out", data={"csrf": csrf(browser)})
        answer = httpx2.get(page.headers["Refresh"].removeprefix("0; url="), trust_env=False)
        path = answer.headers["Location"].removeprefix(house.url)
        done = house.at(second, browser).get(path)
        assert "signed out at the identity provider as well" in done.text
        for member in house.members:
            assert house.at(member, browser).get(path).status_code == 403
    asked = house.idp.logout(
        serviceProviderId=f"{house.url}/saml/corp/metadata",
        serviceProviderLogoutURL=f"{house.url}/saml/corp/slo",
    )
    path = asked.headers["Location"].removeprefix(house.url)
    with house.console(first) as browser:
        assert browser.get(path).status_code == 303
        for member in (second, first):
            assert house.at(member, browser).get(path).status_code == 403


def test_single_logout_ends_sessions_at_both(house: House) -> None:
    first, second = house.members
    at, ended = {"sessionIndex": "_one"}, {"sessionIndex": "_one", "nameId": "ada"}
    tokens = [house.token(member, house.response(**at))[0] for member in house.members]
    stays, _ = house.token(first, house.response(sessionIndex="_two"))
    browsers = [house.signed_in(member, house.response(**at)) for member in house.members]
    sessions = [session(second, tokens[0]), session(first, tokens[1])]
    kept = session(second, stays)
    asked = house.idp.logout(
        serviceProviderId=f"{house.url}/saml/corp/metadata",
        serviceProviderLogoutURL=f"{house.url}/saml/corp/slo",
        **ended,
    )
    with house.console(second) as stranger:
        done = stranger.get(asked.headers["Location"].removeprefix(house.url))
        assert done.status_code == 303, done.text
    for connection in sessions:
        wait_for(lambda connection=connection: is_over(connection, "SP16"), SOON)
        connection.close()
    for browser in browsers:
        wait_for(lambda browser=browser: not is_signed_in(browser), SOON)
        browser.close()
    for member in house.members:
        for secret in tokens:
            assert refused(member, secret)
    assert kept.execute("SELECT 1").fetchone() == (1,)
    kept.close()


def test_a_token_works_at_both_until_it_is_revoked_at_one(house: House) -> None:
    first, second = house.members
    secret, id_ = house.token(first, house.response())
    with session(first, secret), session(second, secret) as there:
        bearer = {"Authorization": f"Bearer {secret}"}
        with house.console(first) as program:
            answer = program.post(f"/api/v1/tokens/{id_}/revoke", headers=bearer)
            assert answer.status_code == 200, answer.text
        wait_for(lambda: is_over(there, "SP16"), SOON)
    assert refused(first, secret) and refused(second, secret)


def test_roles_of_the_other_gateways_sessions_stay(house: House) -> None:
    """Also where one starts again, which sweeps what its own earlier runs left."""
    first, second = house.members
    secret, _ = house.token(first, house.response())
    with session(first, secret) as here, session(second, secret) as there:
        roles = {
            (each.execute("SELECT session_user").fetchone() or ("",))[0] for each in (here, there)
        }
        assert len(roles) == 2 and roles <= set(names(house.target, SESSIONS))
        here.close()
        wait_for(lambda: len(roles & set(names(house.target, SESSIONS))) == 1)
        first.restart()
        with session(first, secret):  # its start has swept by then
            assert len(roles & set(names(house.target, SESSIONS))) == 1
        assert there.execute("SELECT count(*) > 0 FROM products").fetchone() == (True,)
    is_up(first)
    wait_for(lambda: not roles & set(names(house.target, SESSIONS)))
