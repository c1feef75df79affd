"""SASL OAUTHBEARER with a real libpq 18."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.gateway import Gateway

PROGRAM = Path(__file__).with_name("libpq_oauth.py")


def connect(gateway: Gateway, token: str) -> dict[str, Any]:
    dsn = (
        f"host=127.0.0.1 port={gateway.port} dbname=shop user=oauth sslmode=disable "
        f"oauth_issuer={gateway.issuer.url} oauth_client_id=psql connect_timeout=60"
    )
    env = os.environ | {"PGOAUTHDEBUG": "UNSAFE"}  # the development issuer has no https
    done = subprocess.run(
        [sys.executable, str(PROGRAM), dsn, token],
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_libpq_is_told_where_tokens_come_from_and_gets_in(gateway: Gateway) -> None:
    said = connect(gateway, gateway.token())
    assert said["version"] >= 180000
    assert (said["ok"], said["value"]) == (True, "let in"), said
    # It did not know before: the failure of its first attempt told it.
    where = f"{gateway.issuer.url}/.well-known/openid-configuration"
    assert said["asked"] == [{"configuration": where, "scope": "openid"}]


def test_a_token_that_is_not_valid(gateway: Gateway) -> None:
    said = connect(gateway, "not-a-token")
    assert not said["ok"] and "SP1601" in said["error"], said
