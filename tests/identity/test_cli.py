"""``sallyport token`` and ``sallyport login`` against issuers that are really there."""

from __future__ import annotations

import json
import re
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest
import typer
from typer.testing import CliRunner, Result

from sallyport.cli import identity, persontokens
from sallyport.cli.tokensource import own_token
from sallyport.core.clock import SystemClock, unix_seconds
from sallyport.core.errors import SallyportError
from sallyport.core.secret import Secret
from sallyport.demo.issuer import DevIssuer
from sallyport.identity.oidc.client import DevicePrompt
from tests.identity.conftest import RealProvider
from tests.identity.door import Door
from tests.identity.provider import Provider

MakeDoor = Callable[..., Door]


@pytest.fixture
def issuer() -> Iterator[DevIssuer]:
    with DevIssuer() as issuer:
        yield issuer


@pytest.fixture(autouse=True)
def _home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("SALLYPORT_CLIENT_SECRET", "demo")
    for name in ("SALLYPORT_ISSUER", "SALLYPORT_CLIENT_ID"):
        monkeypatch.delenv(name, raising=False)


def sallyport(*arguments: str) -> Result:
    app = typer.Typer(pretty_exceptions_enable=False)
    identity.register(app)
    return CliRunner().invoke(app, list(arguments))


def failure(*arguments: str) -> str:
    result = sallyport(*arguments)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert isinstance(result.exception, SystemExit)
    return result.stderr


def test_commands_take_the_client_of_the_environment_as_token_does(
    issuer: DevIssuer,
    make_door: MakeDoor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(
        SallyportError,
        match="run `sallyport login` first, or name a client with a secret: SALLYPORT_ISSUER",
    ):
        own_token()
    monkeypatch.setenv("SALLYPORT_ISSUER", issuer.url)
    monkeypatch.setenv("SALLYPORT_CLIENT_ID", "claude-agent")
    subject = make_door(issuer.url, at=SystemClock()).login(own_token())
    assert subject.id == "claude-agent"
    monkeypatch.setenv("SALLYPORT_ISSUER_CA", "/absent")
    with pytest.raises(SallyportError, match="ca_file /absent cannot be used"):
        own_token()


def test_token_prints_a_token_and_nothing_else(issuer: DevIssuer, make_door: MakeDoor) -> None:
    result = sallyport("token", "--issuer", issuer.url, "--client-id", "claude-agent")
    assert result.exit_code == 0, result.output
    subject = make_door(issuer.url, at=SystemClock()).login(Secret(result.stdout.strip()))
    assert subject.groups == {"claude-postgres"}
    assert result.stderr == ""


def test_token_as_json(issuer: DevIssuer) -> None:
    result = sallyport("token", "--issuer", issuer.url, "--client-id", "dana-dba", "--json")
    answer = json.loads(result.stdout)
    assert answer["access_token"].count(".") == 2
    assert time.time() + 3500 < unix_seconds(answer["expires_at"]) <= time.time() + 3600


def test_token_from_a_real_provider(
    real_provider: RealProvider,
    make_door: MakeDoor,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("SALLYPORT_CLIENT_SECRET")
    secret = tmp_path / "secret"
    secret.write_text("claude-agent-secret\n")
    result = sallyport(
        *("token", "--issuer", real_provider.url, "--client-id", "claude-agent"),
        *("--secret-file", str(secret), "--scope", "es256"),
    )
    assert result.exit_code == 0, result.output
    make_door(real_provider.url, at=SystemClock(), algorithms=("ES256",)).login(
        Secret(result.stdout.strip())
    )


def test_failures_say_what_to_do(
    issuer: DevIssuer, provider: Provider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = ("token", "--issuer", issuer.url, "--client-id", "dana-dba")
    assert "invalid_client" in failure("token", "--issuer", issuer.url, "--client-id", "nobody")
    assert "--issuer is missing" in failure("token", "--client-id", "dana-dba")
    assert "run `sallyport login` first" in failure("token")
    assert "https://" in failure("token", "--issuer", "http://idp.example.com", "--client-id", "x")
    assert "set the issuer to exactly" in failure(
        "token", "--issuer", issuer.url + "/", "--client-id", "x"
    )
    assert "ca_file /absent cannot be used" in failure(*good, "--ca-file", "/absent")
    assert "cannot be read" in failure(*good, "--secret-file", str(tmp_path / "absent"))
    assert "device_authorization_endpoint" in failure(
        "login", "--issuer", provider.url, "--client-id", "x"
    )
    assert "--issuer and --client-id" in failure("login")
    monkeypatch.delenv("SALLYPORT_CLIENT_SECRET")
    assert "SALLYPORT_CLIENT_SECRET" in failure(*good)
    issuer.stop()
    monkeypatch.setenv("SALLYPORT_CLIENT_SECRET", "demo")
    assert "cannot be fetched: ConnectError" in failure(*good)


def test_importing_the_commands_is_cheap() -> None:
    code = (
        "import sys, sallyport.cli.identity; print({'httpx2', 'joserfc', 'cryptography'} &"
        " set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("command", ["token", "login"])
def test_help_has_an_example(command: str) -> None:
    assert "Example" in sallyport(command, "--help").stdout


# Device login


def confirm_in_a_browser(uri: str, person: str) -> str:
    """What a person does: confirm the code, log in, consent. Returns the last page."""
    with httpx2.Client(follow_redirects=True, trust_env=False, timeout=60) as browser:
        page = browser.get(uri)
        for _ in range(5):
            form = re.search(r'<form[^>]*action="([^"]+)"', page.text)
            if form is None:
                break
            fields = {}
            for tag in re.findall(r"<input[^>]*>", page.text):
                name, value = re.search(r'name="([^"]*)"', tag), re.search(r'value="([^"]*)"', tag)
                if name is not None:
                    fields[name[1]] = value[1] if value else ""
            fields |= {key: person for key in ("login", "password") if key in fields}
            page = browser.post(str(page.url.join(form[1])), data={**fields, "confirm": "yes"})
        return page.text


def test_device_login(
    real_provider: RealProvider,
    make_door: MakeDoor,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("SALLYPORT_CLIENT_SECRET", "dana-dba-secret")
    shown = []

    def told(prompt: DevicePrompt) -> str:
        shown.append(prompt)
        confirm_in_a_browser(prompt.complete_uri, "dana")
        return ""

    monkeypatch.setattr(persontokens, "_told", told)
    result = sallyport(
        *("login", "--issuer", real_provider.url, "--client-id", "dana-dba"),
        *("--resource", "https://gateway.example.com/"),
    )
    assert result.exit_code == 0, result.output
    assert shown[0].code in shown[0].complete_uri
    assert result.stdout == ""

    kept = tmp_path / "state" / "sallyport" / "token.json"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    token = Secret(sallyport("token").stdout.strip())
    subject = make_door(real_provider.url, at=SystemClock()).login(token)
    assert (subject.id, subject.agent) == ("dana", "dana-dba")

    kept.write_text(json.dumps({"access_token": token.reveal(), "expires_at": time.time() + 5}))
    assert "has expired" in failure("token")
    kept.write_text("{")
    assert "run `sallyport login` again" in failure("token")
