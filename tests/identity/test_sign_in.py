"""Signing in with a browser on the same machine (RFC 8252), against a real OpenID provider whose
pages the test fills in, and what refresh tokens do after it.
"""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from html import unescape
from pathlib import Path
from urllib.parse import urlencode, urljoin

import httpx2
import psycopg
import pytest

from sallyport.cli.loopback import LoopbackListener
from sallyport.cli.persontokens import PersonTokens
from sallyport.core.clock import SystemClock
from sallyport.core.errors import SallyportError
from sallyport.core.secret import Secret
from sallyport.demo.postgres import free_port
from sallyport.identity.oidc.client import CodeRequest, GrantError, TokenClient
from tests.identity.conftest import RealProvider
from tests.identity.door import Door
from tests.support.forked import SALLYPORT, run
from tests.support.gateway import Gateway
from tests.support.postgres import Server
from tests.support.waiting import wait_for

RESOURCE = "https://gateway.example.com/"
FORM = re.compile(r'<form[^>]*action="([^"]+)"', re.S)


def browse(url: str, person: str = "ada") -> None:
    """What a person does in the browser: sign in, consent, and be sent back."""
    with httpx2.Client(trust_env=False, follow_redirects=False, timeout=60) as browser:
        page = browser.get(url)
        for _ in range(20):
            if page.is_redirect:
                page = browser.get(urljoin(str(page.url), page.headers["Location"]))
            elif form := FORM.search(page.text):
                prompt = "login" if 'name="login"' in page.text else "consent"
                fields = {"prompt": prompt, "login": person, "password": "any"}
                page = browser.post(urljoin(str(page.url), unescape(form[1])), data=fields)
            else:
                assert page.status_code == 200, page.text
                return
    raise AssertionError("the sign-in did not end")


def words(provider: RealProvider, client: str = "sallyport-cli") -> list[str]:
    scope = ["--scope", "openid offline_access"]
    return ["--issuer", provider.url, "--client-id", client, "--resource", RESOURCE, *scope]


def environment(home: Path) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PG", "SALLYPORT"))}
    return kept | {"XDG_STATE_HOME": str(home), "BROWSER": "true"}  # which opens nothing


class Program:
    """A sallyport command whose browser is the test."""

    def __init__(self, home: Path, *arguments: str) -> None:
        self._said = home / "errors"
        with self._said.open("w") as errors, (home / "printed").open("w") as printed:
            self.process = subprocess.Popen(
                [SALLYPORT, *arguments], env=environment(home), stdout=printed, stderr=errors
            )
        self._printed = home / "printed"

    @property
    def errors(self) -> str:
        return self._said.read_text()

    def sign_in(self) -> None:
        wait_for(lambda: "sign in there" in self.errors)
        address = re.search(r"Open (\S+)", self.errors)
        assert address is not None
        browse(address[1])

    def finish(self) -> str:
        assert self.process.wait(60) == 0, self.errors
        return self._printed.read_text().strip()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Program]]:
    started: list[Program] = []

    def start(*arguments: str) -> Program:
        started.append(Program(tmp_path, *arguments))
        return started[-1]

    yield start
    for program in started:
        program.process.kill()
        program.process.wait(20)


@pytest.mark.parametrize("command", ["token", "login"])
def test_a_browser_on_this_machine(
    command: str,
    real_provider: RealProvider,
    make_door: Callable[..., Door],
    start: Callable[..., Program],
    tmp_path: Path,
) -> None:
    program = start(command, "--sign-in", "browser", *words(real_provider))
    program.sign_in()
    token = program.finish()
    if command == "login":
        (file,) = tmp_path.rglob("token.json")
        assert "refresh" not in file.read_text(), "it stays in memory"
        token = run([SALLYPORT, "token"], environment(tmp_path), {}).stdout.strip()
    subject = make_door(real_provider.url, at=SystemClock()).login(Secret(token))
    assert (subject.id, subject.agent) == ("ada", "sallyport-cli")


def test_connect_signs_in(
    real_gateway: Gateway, real_provider: RealProvider, start: Callable[..., Program]
) -> None:
    at = ["--gateway", f"127.0.0.1:{real_gateway.port}", "--sign-in", "browser"]
    sql = "SELECT current_setting('sallyport.subject')"
    program = start("connect", "shop", *at, *words(real_provider), "--", "psql", "-XAtc", sql)
    program.sign_in()
    assert program.finish() == "ada"


def test_proxy_signs_in_once_and_refreshes(
    real_gateway: Gateway, real_provider: RealProvider, start: Callable[..., Program]
) -> None:
    """Tokens of this client live for eight seconds: the session outlives several."""
    at = ["--target", "shop", "--gateway", f"127.0.0.1:{real_gateway.port}"]
    at += ["--listen", f"127.0.0.1:{free_port()}", "--sign-in", "browser"]
    program = start("proxy", *at, *words(real_provider, "sallyport-brief"))
    program.sign_in()
    wait_for(lambda: "postgresql://" in program.errors)
    dsn = re.search(r"postgresql://\S+", program.errors)
    assert dsn is not None
    with psycopg.connect(dsn[0], autocommit=True) as connection:
        ends = time.monotonic() + 20
        while time.monotonic() < ends:
            row = connection.execute("SELECT current_setting('sallyport.subject')").fetchone()
            assert row == ("ada",)
            time.sleep(0.2)
        with psycopg.connect(dsn[0]) as later:
            assert later.execute("SELECT 1").fetchone() == (1,)
    assert program.errors.count("Open ") == 1, program.errors


@pytest.fixture(scope="module")
def real_gateway(real_provider: RealProvider, postgres: Server) -> Iterator[Gateway]:
    """One that trusts the real provider."""

    class Issuer:
        url, audience = real_provider.url, "sallyport"

    entry = {"issuer": Issuer.url, "audience": Issuer.audience, "clock_skew": 0}
    extra = {"identity": {"oidc": [entry], "expiry": {"grace": 0}}}
    running = Gateway(Issuer(), {"shop": postgres}, extra=extra).start()  # type: ignore[arg-type]
    yield running
    running.stop()


def client(provider: RealProvider, name: str = "sallyport-cli") -> TokenClient:
    return TokenClient(
        provider.url, name, wants={"scope": "openid offline_access", "resource": RESOURCE}
    )


def answer_of(client: TokenClient) -> tuple[CodeRequest, dict[str, str]]:
    """A request and what the provider's redirect brings."""
    brought: dict[str, str] = {}

    class Catcher(LoopbackListener):
        def keep(self) -> None:
            brought.update(self.wait())

    with Catcher("") as listener:
        request = asyncio.run(client.begin_code(f"http://127.0.0.1:{listener.server_port}/"))
        listener.state = request.state
        waiting = threading.Thread(target=listener.keep)
        waiting.start()
        browse(request.url)
        waiting.join(30)
    return request, brought


def test_what_does_not_belong_to_the_sign_in_is_refused(real_provider: RealProvider) -> None:
    asking = client(real_provider)
    request, brought = answer_of(asking)
    assert request.issuer_is_named and brought["iss"] == real_provider.url
    for changes, why in (
        ({"state": "another"}, "not for this sign-in"),
        ({"iss": "https://evil.example.com"}, "of another issuer"),
        ({"code": "", "error": "access_denied"}, "access_denied"),
    ):
        with pytest.raises(GrantError, match=why):
            asyncio.run(asking.finish_code(request, brought | changes))
    unnamed = {name: value for name, value in brought.items() if name != "iss"}
    with pytest.raises(GrantError, match="of another issuer"):
        asyncio.run(asking.finish_code(request, unnamed))
    stolen = CodeRequest(
        request.url, request.redirect_uri, request.state, Secret("x" * 64), issuer_is_named=True
    )
    with pytest.raises(GrantError, match="invalid_grant"):  # who has no verifier gets no token
        asyncio.run(asking.finish_code(stolen, brought))


def test_a_refresh_token_is_replaced_by_the_next(real_provider: RealProvider) -> None:
    asking = client(real_provider)
    request, brought = answer_of(asking)
    first = asyncio.run(asking.finish_code(request, brought))
    second = asyncio.run(asking.refresh(first))
    assert first.refresh_token is not None and second.refresh_token is not None
    assert second.token.reveal() != first.token.reveal()
    assert second.refresh_token.reveal() != first.refresh_token.reveal()
    assert first.refresh_token.reveal() not in repr(first)
    with pytest.raises(GrantError, match="invalid_grant"):
        asyncio.run(asking.refresh(first))


def test_nobody_is_asked_for_a_renewal(real_provider: RealProvider) -> None:
    tokens = PersonTokens(client(real_provider), "browser", lambda text: pytest.fail(text))
    with pytest.raises(SallyportError, match="nobody has signed in"):
        asyncio.run(tokens.renew())


def test_the_listener_answers_this_sign_in_only() -> None:
    with LoopbackListener("") as listener:
        waiting = threading.Thread(target=listener.wait)
        waiting.start()
        base = f"http://127.0.0.1:{listener.server_port}/"
        for query in ({}, {"code": "x"}, {"code": "x", "state": ""}):
            assert httpx2.get(f"{base}?{urlencode(query)}", trust_env=False).status_code == 404
        listener.state = "s"
        for text in ("code=x&state=t", "state=s", "code=x&code=y&state=s"):
            assert httpx2.get(f"{base}?{text}", trust_env=False).status_code == 404
        assert httpx2.get(f"{base}?code=x&state=s", trust_env=False).status_code == 200
        waiting.join(20)
        assert listener.answer == {"code": "x", "state": "s"}


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    issuer = ["--issuer", "https://a.example", "--client-id", "b"]
    for arguments in (
        ["token", "--sign-in", "browser"],
        ["token", "--sign-in", "phone", *issuer],
    ):
        done = run([SALLYPORT, *arguments], environment(tmp_path), {})
        assert done.returncode == 2 and "--sign-in" in done.stderr, done.stderr
