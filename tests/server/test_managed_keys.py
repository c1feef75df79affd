"""The key of recordings in the care of a key manager: Vault's transit engine and Google Cloud KMS
(doubles from their API documents), AWS KMS (moto's server); each behind a running gateway.
"""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psycopg
import pytest
from cryptography.fernet import Fernet

from tests.server.test_recording_keys import all_ended, listed, run_session, said
from tests.support.gateway import Gateway
from tests.support.google import service_account
from tests.support.waiting import wait_for
from tests.targets.vault_double import ROOT, VaultDouble, vault_running

GOOGLE_KEY = "projects/p/locations/global/keyRings/r/cryptoKeys/recordings"


@dataclass
class Manager:
    """``service``: for ``recording.encryption.kms``. ``secrets``: of the configuration. ``turn``:
    the next version of its key; None: that is its own business. ``stop``: nobody answers.
    """

    service: dict[str, str]
    secrets: dict[str, Any]
    stop: Callable[[], None]
    turn: Callable[[], None] | None = None


@pytest.fixture
def vault(tmp_path: Path) -> Iterator[Manager]:
    token = tmp_path / "vault-token"
    token.write_text(ROOT)
    token.chmod(0o600)
    double = VaultDouble(time.monotonic, transit={"recordings": [Fernet.generate_key()]})
    with vault_running(double):
        yield Manager(
            {"vault": "recordings"},
            {"vault": {"url": double.url, "auth": {"token": {"file": str(token)}}}},
            lambda: setattr(double, "down", True),
            lambda: double.transit["recordings"].append(Fernet.generate_key()),
        )


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[Manager]:
    boto3 = pytest.importorskip("boto3")
    moto = pytest.importorskip("moto.server")
    words = {"AWS_ACCESS_KEY_ID": "AKIATEST", "AWS_SECRET_ACCESS_KEY": "canary-of-aws"}
    for name, value in (words | {"AWS_EC2_METADATA_DISABLED": "true"}).items():
        monkeypatch.setenv(name, value)
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    at = {"region": "eu-central-1", "endpoint": f"http://{host}:{port}"}
    client = boto3.client("kms", region_name=at["region"], endpoint_url=at["endpoint"])
    arn = client.create_key()["KeyMetadata"]["Arn"]
    yield Manager({"aws": arn}, {"aws": at}, server.stop)
    server.stop()


@pytest.fixture
def google(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Manager]:
    keys = {GOOGLE_KEY: Fernet(Fernet.generate_key())}
    is_down = threading.Event()

    def crypt(path: str, body: dict[str, str]) -> tuple[int, dict[str, str]]:
        name, _, verb = path.removeprefix("/v1/").rpartition(":")
        more = base64.b64decode(body["additionalAuthenticatedData"])
        if is_down.is_set() or name not in keys:
            return 503, {}
        if verb == "encrypt":
            sealed = keys[name].encrypt(more + base64.b64decode(body["plaintext"]))
            return 200, {"ciphertext": base64.b64encode(sealed).decode()}
        plain = keys[name].decrypt(base64.b64decode(body["ciphertext"]))
        assert plain.startswith(more)
        return 200, {"plaintext": base64.b64encode(plain.removeprefix(more)).decode()}

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path == "/token":
                status, answer = 200, {"access_token": "of-the-test", "expires_in": 3600}
            elif self.headers.get("Authorization") != "Bearer of-the-test":
                status, answer = 401, {}
            else:
                status, answer = crypt(self.path, json.loads(body))
            data = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    file = service_account(tmp_path, url)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
    yield Manager({"google": GOOGLE_KEY}, {"google": {"kms_endpoint": url}}, is_down.set)
    server.shutdown()
    server.server_close()


@pytest.fixture(params=["vault", "aws", "google"])
def manager(request: pytest.FixtureRequest) -> Manager:
    made: Manager = request.getfixturevalue(request.param)
    return made


def configure(gateway: Gateway, manager: Manager, **encryption: Any) -> None:
    section = {"encryption": {"kms": manager.service, **encryption}}
    gateway.extra = {**gateway.extra, "secrets": manager.secrets, "recording": section}


def wrapped(gateway: Gateway) -> dict[str, Any]:
    (file,) = (gateway.home / "var").glob("recording-*.wrapped")
    assert file.stat().st_mode & 0o777 == 0o600
    return dict(json.loads(file.read_text()))


def replayed(gateway: Gateway) -> str:
    return "".join(said(gateway, "sessions", "show", row["id"]) for row in listed(gateway))


@pytest.mark.timeout(600)
def test_recordings_under_a_managed_key(
    make_gateway: Callable[..., Gateway], manager: Manager
) -> None:
    """From a key in a file to a managed one, over a restart, and without the manager."""
    gateway = make_gateway(extra={"secrets": manager.secrets})
    run_session(gateway, 4711)
    wait_for(lambda: all_ended(gateway, 1))
    old = {"file": str(gateway.home / "var" / "recording.key")}
    configure(gateway, manager, previous=[old])
    gateway.restart()
    run_session(gateway, 4712)
    wait_for(lambda: all_ended(gateway, 2))
    assert "1 keys were wrapped" in said(gateway, "audit", "rotate-key")
    configure(gateway, manager)  # the old key is gone
    first = wrapped(gateway)
    if manager.turn is not None:
        manager.turn()
    gateway.restart()
    assert all(number in replayed(gateway) for number in ("4711", "4712"))
    again = wrapped(gateway)
    assert (again["identifier"], again["manager"]) == (first["identifier"], first["manager"])
    assert again["key"] != first["key"], "wrapped anew at each start"
    assert not (gateway.home / "var" / "recording.key.next").exists()
    assert "ok" in said(gateway, "audit", "verify").lower()
    manager.stop()
    run_session(gateway, 4713)  # a manager that is away stops no session
    shown = said(gateway, "sessions", "show", listed(gateway)[-1]["id"], code=2)
    assert "cannot be had" in shown and "4711" not in shown


def test_without_the_manager_no_gateway_starts(
    make_gateway: Callable[..., Gateway], vault: Manager
) -> None:
    gateway = make_gateway()
    gateway._end()
    configure(gateway, vault, previous=[{"file": str(gateway.home / "var" / "recording.key")}])
    vault.stop()
    gateway.write()
    done = gateway.run("serve")
    assert done.returncode != 0 and "recording.encryption.kms" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr
    assert not list((gateway.home / "var").glob("*.wrapped"))


def test_a_file_that_is_lost_is_not_replaced(
    make_gateway: Callable[..., Gateway], vault: Manager
) -> None:
    """Recordings need the key in it: another one would hide that."""
    gateway = make_gateway(
        extra={"secrets": vault.secrets, "recording": {"encryption": {"kms": vault.service}}}
    )
    with psycopg.connect(gateway.dsn()) as db:
        db.execute("SELECT 1")
    gateway._end()
    (file,) = (gateway.home / "var").glob("recording-*.wrapped")
    file.unlink()
    done = gateway.run("serve")
    assert done.returncode != 0 and f"{file} is missing" in done.stderr, done.stderr
