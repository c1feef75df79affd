"""``sallyport issuer`` as somebody without an identity provider runs it."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable

import httpx2
import pytest
import yaml
from typer.testing import CliRunner

from sallyport.cli.main import build
from sallyport.core.clock import SystemClock
from sallyport.core.errors import ConfigError
from sallyport.core.secret import Secret
from sallyport.demo.device import GRANT
from sallyport.demo.issuer import DemoClient, DevIssuer
from sallyport.identity.oidc.client import DevicePrompt, TokenClient
from tests.identity.door import Door

MakeDoor = Callable[..., Door]

_SALLYPORT = [sys.executable, "-m", "sallyport"]


@pytest.mark.parametrize("secret", ["", "kept between runs"])
def test_what_it_prints_works(make_door: MakeDoor, secret: str) -> None:
    """The configuration, and the commands, run by a shell as they are printed."""
    env = {**os.environ, "SALLYPORT_CLIENT_SECRET": secret}
    process = subprocess.Popen(
        [*_SALLYPORT, "issuer", "--listen", "127.0.0.1:0", "--client", "claude=agents,staff",
        "--client", "dana=dba"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env,
    )  # fmt: skip
    try:
        assert process.stdout is not None and process.stderr is not None
        said = ""
        while "Ctrl-C ends" not in said:
            line = process.stdout.readline()
            assert line, process.stderr.read()
            said += line
        config = yaml.safe_load(said.split("# claude")[0])
        (issuer,) = config["identity"]["oidc"]
        exports = "\n".join(line for line in said.splitlines() if line.startswith("export "))
        assert ("SALLYPORT_CLIENT_SECRET=" in exports) is not bool(secret)
        done = subprocess.run(
            ["/bin/sh", "-c", f"{exports}\n{sys.executable} -m sallyport token"],
            capture_output=True, text=True, env=env, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        subject = make_door(issuer["issuer"], at=SystemClock()).login(Secret(done.stdout.strip()))
        assert (subject.id, subject.groups) == ("claude", {"agents", "staff"})
        assert re.search("dana: groups dba", said)
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
        assert "DEVELOPMENT ONLY" in process.stderr.read()
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["--client", "claude"], "write NAME=GROUP[,GROUP]"),
        (["--client", "claude="], "write NAME=GROUP[,GROUP]"),
        (["--client", "=agents"], "write NAME=GROUP[,GROUP]"),
        (["--client", "a=b", "--client", "a=c"], "'a' is given twice"),
        (
            ["--client", "a=b", "--listen", "0.0.0.0:8080"],
            "listens on 127.0.0.1 only, not on 0.0.0.0",
        ),
        (["--client", "a=b", "--listen", "gateway.example.com:8080"], "listens on 127.0.0.1 only"),
        (["--client", "a=b", "--listen", "8080"], "--listen: "),
    ],
)
def test_mistakes_are_explained(words: list[str], what: str) -> None:
    result = CliRunner().invoke(build(), ["issuer", *words])
    assert isinstance(result.exception, ConfigError)
    assert what in str(result.exception)


def test_a_port_that_is_taken_is_a_clear_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = subprocess.run(
            [*_SALLYPORT, "issuer", "--listen", address, "--client", "a=b"],
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"sallyport: cannot listen on {address}: Address already in use")


def test_people_log_in_by_the_device_flow() -> None:
    person = DemoClient("dana", Secret(""), ("dba",), name="dana")
    with DevIssuer({"dana": person}) as issuer:
        client = TokenClient(issuer.url, "sallyport-console", None)

        def choose(prompt: DevicePrompt) -> None:
            page = httpx2.get(prompt.complete_uri).text
            assert prompt.code in page
            assert "groups: dba" in page
            assert (
                httpx2.get(
                    f"{prompt.complete_uri}&as=eve".replace("/device?", "/device/as?")
                ).status_code
                == 400
            )
            chosen = httpx2.get(f"{prompt.complete_uri}&as=dana".replace("/device?", "/device/as?"))
            assert "Done." in chosen.text

            # Whoever has the device code alone, and not the client's verifier (PKCE), gets nothing.
            ((code, waiting),) = issuer.device._logins.items()
            assert waiting.challenge
            form = {"grant_type": GRANT, "device_code": code, "code_verifier": "guessed"}
            for guess in (form, {**form, "code_verifier": ""}):
                stolen = httpx2.post(f"{issuer.url}/token", data=guess)
                assert (stolen.status_code, stolen.json()["error"]) == (400, "invalid_grant")

        grant = asyncio.run(client.device(choose))
        assert grant.token.reveal().count(".") == 2
        assert httpx2.post(f"{issuer.url}/token", data={
            "grant_type": "client_credentials", "client_id": "dana", "client_secret": "",
        }).status_code == 401  # fmt: skip
