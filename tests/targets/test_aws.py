"""Secrets Manager and RDS IAM tokens, against moto's server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import pytest

boto3 = pytest.importorskip("boto3")
pytest.importorskip("moto.server")

from moto.server import ThreadedMotoServer  # noqa: E402

from sallyport.targets.managers.aws import AwsClient  # noqa: E402
from sallyport.targets.secret_source import (  # noqa: E402
    CredentialError,
    ManagerUnavailableError,
)

REGION = "eu-central-1"


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_PROFILE", "AWS_DEFAULT_REGION", "AWS_REGION", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIATEST")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary-of-aws")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")


@pytest.fixture(scope="module")
def manager(endpoint: str) -> object:
    keys = {"aws_access_key_id": "AKIATEST", "aws_secret_access_key": "x"}
    client = boto3.client("secretsmanager", region_name=REGION, endpoint_url=endpoint, **keys)
    client.create_secret(Name="plain", SecretString="first")
    value = json.dumps({"username": "agent", "password": "of-json", "port": 5432})
    client.create_secret(Name="prod/shop-parts", SecretString=value)
    client.create_secret(Name="binary", SecretBinary=b"\x00\x01")
    return client


def read(endpoint: str, id_: str, key: str = "", region: str = REGION) -> str:
    return asyncio.run(AwsClient(region, endpoint).secret(id_, key)).reveal()


def test_texts_and_keys_of_json(endpoint: str, manager: object) -> None:
    assert read(endpoint, "plain") == "first"
    assert read(endpoint, "prod/shop-parts", "password") == "of-json"
    manager.put_secret_value(SecretId="plain", SecretString="second")  # type: ignore[attr-defined]
    assert read(endpoint, "plain") == "second"


@pytest.mark.parametrize(
    ("id_", "key", "said"),
    [
        ("none", "", "ResourceNotFoundException.*in this region"),
        ("binary", "", "binary"),
        ("plain", "password", "not a JSON object"),
        ("prod/shop-parts", "pass", "no text under the key 'pass'"),
        ("prod/shop-parts", "port", "no text under the key 'port'"),
    ],
)
def test_secrets_that_cannot_be_used(
    endpoint: str,
    manager: object,
    id_: str,
    key: str,
    said: str,
) -> None:
    with pytest.raises(CredentialError, match=said) as caught:
        read(endpoint, id_, key)
    assert "of-json" not in str(caught.value) and "canary-of-aws" not in str(caught.value)


def test_without_region_or_credentials(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CredentialError, match=r"NoRegionError: set 'secrets.aws.region'"):
        read(endpoint, "plain", region="")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    with pytest.raises(CredentialError, match="NoCredentialsError"):
        read(endpoint, "plain")


def test_nobody_answers() -> None:
    with pytest.raises(ManagerUnavailableError, match="cannot be reached"):
        read("http://127.0.0.1:1", "plain")


def test_a_token_for_rds() -> None:
    """Signed on this machine (Signature Version 4); RDS takes it for 15 minutes."""
    host = "shop.abc.eu-central-1.rds.amazonaws.com"
    token = asyncio.run(AwsClient(REGION).rds_token(host, 5432, "agent")).reveal()
    parts = urlsplit(f"https://{token}")
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    assert (parts.hostname, parts.port) == (host, 5432)
    assert (query["Action"], query["DBUser"]) == ("connect", "agent")
    assert query["X-Amz-Expires"] == "900"
    assert f"/{REGION}/rds-db/aws4_request" in query["X-Amz-Credential"]
    assert "canary-of-aws" not in token
