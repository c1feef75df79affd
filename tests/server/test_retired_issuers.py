"""An issuer that leaves the configuration while the gateway runs, and comes back."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import httpx2
import psycopg
import pytest

from sallyport.demo.issuer import DevIssuer
from sallyport.demo.postgres import free_port
from tests.support.gateway import AGENT, Gateway
from tests.support.postgres import Server
from tests.support.waiting import wait_for


def refusal(gateway: Gateway, password: str) -> str:
    """Why somebody is not let in; "" when they are."""
    try:
        psycopg.connect(gateway.dsn(password)).close()
    except psycopg.OperationalError as error:
        return str(error)
    return ""


@pytest.fixture
def leaving() -> Iterator[DevIssuer]:
    with DevIssuer() as issuer:
        yield issuer


def test_it_takes_its_sessions_and_session_tokens_along(
    issuer: DevIssuer, leaving: DevIssuer, postgres: Server
) -> None:
    stays = {"issuer": issuer.url, "audience": "sallyport"}
    leaves = {"issuer": leaving.url, "audience": "sallyport"}
    console = free_port()
    extra = {
        "identity": {"oidc": [stays, leaves]},
        "console": {"listen": f"127.0.0.1:{console}"},
    }
    gateway = Gateway(issuer, {"shop": postgres}, extra=extra).start()

    def hang_up(oidc: str) -> None:
        text = gateway.config_file.read_text()
        gateway.config_file.write_text(text.replace(f"- issuer: {leaving.url}", oidc))
        os.kill(gateway.pid, signal.SIGHUP)

    def other() -> str:
        text = leaving.token(AGENT).reveal()
        gateway._tokens.add(text)
        return text

    try:
        wait_for(lambda: "console listens" in gateway.output())
        place, bearer = f"http://127.0.0.1:{console}/api/v1/tokens", f"Bearer {other()}"
        answer = httpx2.post(place, json={}, headers={"Authorization": bearer}, trust_env=False)
        issued = answer.json()["secret"]
        assert not refusal(gateway, issued)
        with (
            psycopg.connect(gateway.dsn(), autocommit=True) as stayed,
            psycopg.connect(gateway.dsn(other()), autocommit=True) as left,
            psycopg.connect(gateway.dsn(issued), autocommit=True) as by_token,
        ):
            os.kill(gateway.pid, signal.SIGHUP)  # nothing is gone yet
            assert left.execute("SELECT 1").fetchone() == (1,)
            gateway.config_file.write_text("targets: [")
            os.kill(gateway.pid, signal.SIGHUP)
            wait_for(lambda: "its issuers stay" in gateway.output())
            assert left.execute("SELECT 1").fetchone() == (1,)
            gateway.write()
            hang_up("- issuer: https://gone.example")
            wait_for(lambda: "an issuer left the configuration" in gateway.output())
            for connection in (left, by_token):
                with pytest.raises(psycopg.OperationalError, match="SP1609"):
                    connection.execute("SELECT 1")
            assert stayed.execute("SELECT 1").fetchone() == (1,)
        assert "SP1601" in refusal(gateway, other())
        assert "SP1601" in refusal(gateway, issued)
        assert not refusal(gateway, gateway.token())
        gateway.write()
        os.kill(gateway.pid, signal.SIGHUP)
        wait_for(lambda: not refusal(gateway, other()))
        assert "SP1601" in refusal(gateway, issued), "revoked stays revoked"
    finally:
        gateway.stop()
