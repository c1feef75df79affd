"""Secrets in Vault and OpenBao: read, kept, renewed, revoked. The double is said to be one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from sallyport.core.clock import ManualClock
from sallyport.core.secret import Secret
from sallyport.targets.credentials import Reference
from sallyport.targets.managers.leases import LeasedRole, StaticRole
from sallyport.targets.managers.vault import PodToken, VaultClient, VaultLogin, read_kv
from sallyport.targets.secret_source import CredentialError, KeptSecret, ManagerUnavailableError
from tests.targets.vault_double import ROOT, VaultDouble, vault_running

T = TypeVar("T")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1_000_000.0)


@pytest.fixture
def vault(clock: ManualClock) -> Iterator[VaultDouble]:
    with vault_running(VaultDouble(clock.now, kv={"secret/shop": {"password": "first"}})) as double:
        yield double


Login = Callable[[str], VaultLogin]


@pytest.fixture
def login(tmp_path: Path, vault: VaultDouble) -> Login:
    def made(method: str) -> VaultLogin:
        text = {"token": ROOT, "approle": vault.secret_id, "kubernetes": vault.jwt}[method]
        file = tmp_path / method
        file.write_text(text)
        file.chmod(0o600)
        name = {"token": "", "approle": vault.role_id, "kubernetes": "sallyport"}[method]
        source = PodToken(str(file)) if method == "kubernetes" else Reference("file", str(file))
        return VaultLogin(method, source, name)

    return made


def running(
    vault: VaultDouble,
    login: VaultLogin,
    clock: ManualClock,
    use: Callable[[VaultClient], Coroutine[Any, Any, T]],
) -> T:
    async def run() -> T:
        client = VaultClient(vault.url, login, clock, namespace=vault.namespace)
        try:
            return await use(client)
        finally:
            await client.close()

    return asyncio.run(run())


def kept(client: VaultClient, clock: ManualClock) -> KeptSecret:
    async def fetch() -> Secret:
        return await read_kv(client, "secret", "shop", "password")

    return KeptSecret("{vault: secret/shop}", fetch, clock, 60, 3600)


@pytest.mark.parametrize("method", ["token", "approle", "kubernetes"])
@pytest.mark.parametrize("namespace", ["", "team"])
def test_logins(
    vault: VaultDouble,
    login: Login,
    clock: ManualClock,
    method: str,
    namespace: str,
) -> None:
    vault.namespace = namespace

    async def use(client: VaultClient) -> str:
        return (await read_kv(client, "secret", "shop", "password")).reveal()

    assert running(vault, login(method), clock, use) == "first"
    assert list(vault.tokens) == [ROOT], "its own token was given back, nobody else's"


def test_a_login_that_is_refused(vault: VaultDouble, login: Login, clock: ManualClock) -> None:
    made = login("approle")
    vault.secret_id = "another"

    async def use(client: VaultClient) -> None:
        with pytest.raises(CredentialError, match="invalid role or secret ID") as caught:
            await read_kv(client, "secret", "shop", "password")
        assert "secret-1" not in str(caught.value)

    running(vault, made, clock, use)


def test_the_token_is_renewed_and_a_revoked_one_replaced(
    vault: VaultDouble, login: Login, clock: ManualClock
) -> None:
    async def use(client: VaultClient) -> None:
        await read_kv(client, "secret", "shop", "password")
        (token,) = set(vault.tokens) - {ROOT}
        for _ in range(5):
            clock.advance(0.7 * vault.token_ttl)
            await client.keep()
        await read_kv(client, "secret", "shop", "password")
        assert set(vault.tokens) == {ROOT, token}
        del vault.tokens[token]  # an operator revokes it
        await read_kv(client, "secret", "shop", "password")
        assert len(vault.tokens) == 2
        clock.advance(10 * vault.token_ttl)  # nobody renewed it in time
        await read_kv(client, "secret", "shop", "password")

    running(vault, login("approle"), clock, use)


def test_a_secret_is_kept_and_read_anew(
    vault: VaultDouble,
    login: Login,
    clock: ManualClock,
) -> None:
    async def use(client: VaultClient) -> None:
        source = kept(client, clock)
        first = await source.read()
        assert first.secret.reveal() == "first"
        vault.kv["secret/shop"]["password"] = "second"
        assert (await source.read()).secret.reveal() == "first"
        assert not source.replaces(first), "it was read this very moment"
        clock.advance(2)
        assert source.replaces(first)
        second = await source.read()
        assert second.secret.reveal() == "second"
        assert source.replaces(first), "another login had it replaced meanwhile"
        assert await source.read() == second
        vault.kv["secret/shop"]["password"] = "third"
        clock.advance(61)
        assert (await source.read()).secret.reveal() == "third"
        reads = len(vault.requests)
        for _ in range(50):  # refused logins, in one second
            source.replaces(await source.read())
        assert len(vault.requests) == reads

    running(vault, login("approle"), clock, use)


def test_while_vault_is_away(vault: VaultDouble, login: Login, clock: ManualClock) -> None:
    async def use(client: VaultClient) -> None:
        source = kept(client, clock)
        vault.down = True
        with pytest.raises(ManagerUnavailableError, match="sealed"):
            await source.read()
        vault.down = False
        await source.read()
        vault.down = True
        clock.advance(1800)
        assert (await source.read()).secret.reveal() == "first"
        clock.advance(3600)
        with pytest.raises(ManagerUnavailableError):
            await source.read()
        vault.down = False
        await source.read()
        vault.denied = {"secret/data/shop"}  # what Vault forbids is not used, however fresh
        clock.advance(61)
        with pytest.raises(CredentialError, match=r"403: permission denied.*policy read"):
            await source.read()

    running(vault, login("approle"), clock, use)


def test_secrets_that_cannot_be_used(vault: VaultDouble, login: Login, clock: ManualClock) -> None:
    async def use(client: VaultClient) -> None:
        for path, key, said in (
            ("none", "password", "404.*is there such a secret"),
            ("shop", "pass", "no text under the key 'pass'; its keys: password"),
            ("empty", "password", "empty"),
        ):
            with pytest.raises(CredentialError, match=said) as caught:
                await read_kv(client, "secret", path, key)
            assert "first" not in str(caught.value)

    vault.kv["secret/empty"] = {"password": ""}
    running(vault, login("token"), clock, use)


def test_nobody_answers(login: Login, clock: ManualClock) -> None:
    async def run() -> None:
        client = VaultClient("http://127.0.0.1:1", login("token"), clock)
        with pytest.raises(ManagerUnavailableError, match="cannot be reached"):
            await read_kv(client, "secret", "shop", "password")
        await client.close()

    asyncio.run(run())


def test_a_lease_is_shared_renewed_and_revoked(
    vault: VaultDouble,
    login: Login,
    clock: ManualClock,
) -> None:
    vault.ttl, vault.max_ttl, vault.token_ttl = 600.0, 3000.0, 900.0

    async def passes(source: LeasedRole, client: VaultClient, seconds: float) -> None:
        for _ in range(int(seconds / 60)):
            clock.advance(60)
            await source.keep()
            await client.keep()

    async def use(client: VaultClient) -> None:
        source = LeasedRole(client, "database", "shop", clock)
        first, second = await source.read(), await source.read()
        assert first.user == second.user and first.user.startswith("v-approle-shop-")
        await passes(source, client, 2400)  # four times its ttl
        assert [lease.user for lease in vault.leases.values()] == [first.user]
        await passes(source, client, 540)  # near its max_ttl
        late = await source.read()
        assert late.user != first.user
        assert late.serves() and not first.serves()
        assert len(vault.leases) == 2, "sessions go by the first one"
        for credential in (first, second):
            assert credential.release is not None
            credential.release()
            credential.release()  # counts once
        await source.keep()
        assert [lease.user for lease in vault.leases.values()] == [late.user]
        assert late.secret.reveal() not in repr(late)
        await source.close()
        assert not vault.leases

    running(vault, login("approle"), clock, use)


def test_leases_end_with_a_token_that_cannot_be_renewed(
    vault: VaultDouble,
    login: Login,
    clock: ManualClock,
) -> None:
    vault.token_ttl, vault.token_max_ttl = 600.0, 1500.0

    async def use(client: VaultClient) -> None:
        source = LeasedRole(client, "database", "shop", clock)
        first = await source.read()
        users = {first.user}
        for _ in range(60):
            clock.advance(60)
            vault.expire()
            await source.keep()
            await client.keep()
            late = await source.read()
            assert late.user in {lease.user for lease in vault.leases.values()}
            users.add(late.user)
            assert late.release is not None
            late.release()
        assert 2 < len(users) < 6, "one for each login at Vault"
        assert not first.serves()

    running(vault, login("approle"), clock, use)


def test_a_forbidden_path_leaves_token_and_leases_as_they_are(
    vault: VaultDouble, login: Login, clock: ManualClock
) -> None:
    vault.denied = {"secret/data/shop"}

    async def use(client: VaultClient) -> None:
        source = LeasedRole(client, "database", "shop", clock)
        lease = await source.read()
        for _ in range(3):
            with pytest.raises(CredentialError, match="policy read"):
                await read_kv(client, "secret", "shop", "password")
        assert lease.serves() and (await source.read()).user == lease.user
        assert len(vault.leases) == 1 and len(vault.tokens) == 2, "root's token and one login's"

    running(vault, login("approle"), clock, use)


def test_a_lease_that_somebody_revoked(
    vault: VaultDouble,
    login: Login,
    clock: ManualClock,
) -> None:
    async def use(client: VaultClient) -> None:
        source = LeasedRole(client, "database", "shop", clock)
        first = await source.read()
        vault.leases.clear()
        assert not source.replaces(first), "made this very moment: another would not be better"
        clock.advance(5)
        assert source.replaces(first)
        second = await source.read()
        assert second.user != first.user
        assert source.replaces(first), "another login had it replaced meanwhile"
        assert (await source.read()).user == second.user
        vault.leases.clear()
        clock.advance(vault.ttl / 2 + 1)
        await source.keep()  # it cannot be renewed: the next login takes another
        assert (await source.read()).user not in {first.user}
        assert len(vault.leases) == 1

    running(vault, login("approle"), clock, use)


def test_a_static_role(vault: VaultDouble, login: Login, clock: ManualClock) -> None:
    vault.static["agent"], vault.ttl = ("sallyport_agent", "one"), 30.0

    async def use(client: VaultClient) -> None:
        source = StaticRole(client, "database", "agent", clock, 600)
        got = await source.read()
        assert (got.user, got.secret.reveal()) == ("sallyport_agent", "one")
        vault.static["agent"] = ("sallyport_agent", "two")
        assert (await source.read()).secret.reveal() == "one"
        clock.advance(31)  # Vault has said when it rotates
        assert (await source.read()).secret.reveal() == "two"

    running(vault, login("approle"), clock, use)
