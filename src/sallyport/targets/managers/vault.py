"""HashiCorp Vault and OpenBao over their HTTP API: login and token renewal, and KV version 2.

Source: the API documentation (auth/token, auth/approle, auth/kubernetes, secret/kv/kv-v2), which is
the same for both.
"""

from __future__ import annotations

import asyncio
import base64
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from sallyport.core.clock import Clock
from sallyport.core.secret import Secret
from sallyport.targets.managers.http import JsonClient
from sallyport.targets.secret_source import (
    Credential,
    CredentialError,
    ManagerUnavailableError,
    SecretSource,
    secret_text,
)

#: Sealed, standby, rate-limited (API documentation, "HTTP status codes").
_NOT_NOW: Final = frozenset({412, 429, 472, 473, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class VaultLogin:
    """How the gateway logs in. ``method``: token, approle or kubernetes. ``secret``: the token, the
    secret id, or the pod's token. ``name``: the role id, or the role.
    """

    method: str
    secret: SecretSource
    name: str = ""
    mount: str = ""


@dataclass(frozen=True, slots=True)
class PodToken:
    """A source: the service-account token that Kubernetes keeps fresh in a file. Its mode is the
    kubelet's business.
    """

    path: str

    async def read(self) -> Credential:
        """Raises CredentialError."""
        try:
            text = (await asyncio.to_thread(Path(self.path).read_text, "ascii")).strip()
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or type(error).__name__
            raise CredentialError(f"the token file {self.path} cannot be read: {why}") from None
        return Credential(secret_text(text, "", f"the token file {self.path}"))

    def replaces(self, refused: Credential) -> bool:
        """Nothing is kept."""
        return False


@dataclass(slots=True, eq=False)
class VaultToken:
    """A login at Vault. What was leased by it ends with it. Times are monotonic seconds."""

    secret: Secret
    renewable: bool
    renew_at: float
    ends: float


class VaultClient:
    """One Vault. For one event loop. ``namespace``: "" for none."""

    def __init__(
        self, url: str, login: VaultLogin, clock: Clock, *, namespace: str = "", ca: str = ""
    ) -> None:
        self._http = JsonClient(url, "Vault", ca)
        self._login, self._clock, self._namespace = login, clock, namespace
        self._token: VaultToken | None = None
        self._lock = asyncio.Lock()

    async def request(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """The answer's JSON. ``path``: below ``/v1/``. Raises CredentialError, whose text says what
        Vault said.
        """
        return (await self.leased(method, path, body))[0]

    async def leased(
        self, method: str, path: str, body: Any = None
    ) -> tuple[dict[str, Any], VaultToken]:
        """As :meth:`request`, and by which login it was answered."""
        token = await self._current()
        status, answer = await self._send(method, path, body, token.secret)
        if status == 403 and self._login.method != "token" and not await self._is_taken(token):
            async with self._lock:
                if self._token is token:
                    self._token = None
            token = await self._current()
            status, answer = await self._send(method, path, body, token.secret)
        return self._checked(status, answer, path), token

    async def _is_taken(self, token: VaultToken) -> bool:
        """Whether Vault still takes it: then a policy forbids the path to it, and would forbid it
        to the next login, with which the leases of this one would not go on. The policy "default"
        lets every token look itself up.
        """
        path = "auth/token/lookup-self"
        return (await self._send("GET", path, None, token.secret))[0] == 200

    def holds(self, token: VaultToken) -> bool:
        """Whether it is still the one in use: it will be renewed."""
        return self._token is token

    async def keep(self) -> float:
        """Renew the token when it is due: what was leased with it ends with it. Seconds until then.
        Raises CredentialError.
        """
        if self._token is None:
            return math.inf
        token = await self._current()
        return max(1.0, token.renew_at - self._clock.monotonic())

    async def close(self) -> None:
        """Give the token back, unless it came from elsewhere."""
        token, self._token = self._token, None
        try:
            if token is not None and self._login.method != "token":
                await self._send("POST", "auth/token/revoke-self", None, token.secret)
        except CredentialError:
            pass  # it ends by itself
        await self._http.close()

    async def _send(
        self, method: str, path: str, body: Any, token: Secret | None
    ) -> tuple[int, dict[str, Any]]:
        headers = {"X-Vault-Request": "true"}
        if self._namespace:
            headers["X-Vault-Namespace"] = self._namespace
        if token is not None:
            headers["X-Vault-Token"] = token.reveal()
        return await self._http.send(method, f"/v1/{quote(path)}", headers, body)

    def _checked(self, status: int, answer: dict[str, Any], path: str) -> dict[str, Any]:
        if 200 <= status < 300:
            return answer
        errors = answer.get("errors")
        said = "; ".join(str(e) for e in errors[:2]) if isinstance(errors, list) else ""
        said = " ".join(said.split())[:200]  # OpenBao's have several lines
        text = f"Vault refuses {path} ({status}{': ' + said if said else ''})"
        if status in _NOT_NOW:
            raise ManagerUnavailableError(text)
        if status == 404:
            do = "is there such a secret or role, and is its mount right?"
            raise CredentialError(f"{text}: {do}")
        if status == 403:
            raise CredentialError(f"{text}: give the gateway's Vault policy read on it")
        raise CredentialError(text)

    async def _current(self) -> VaultToken:
        async with self._lock:
            now, token = self._clock.monotonic(), self._token
            if token is not None and now < token.renew_at:
                return token
            if token is not None and token.renewable and now < token.ends:
                status, answer = await self._send("POST", "auth/token/renew-self", {}, token.secret)
                if status == 200:
                    renewed = _token_of(answer, now)
                    if renewed.ends > token.ends:
                        return _extended(token, renewed)
            login = await self._log_in(now)
            if token is not None and login.secret.reveal() == token.secret.reveal():
                return _extended(token, login)
            self._token = login
            return login

    async def _log_in(self, now: float) -> VaultToken:
        login = self._login
        secret = (await login.secret.read()).secret
        if login.method == "token":
            status, answer = await self._send("GET", "auth/token/lookup-self", None, secret)
            data = self._checked(status, answer, "auth/token/lookup-self").get("data")
            data = data if isinstance(data, dict) else {}
            auth = {"lease_duration": data.get("ttl"), "renewable": data.get("renewable")}
            return _token_of({"auth": {"client_token": secret.reveal(), **auth}}, now)
        if login.method == "approle":
            body = {"role_id": login.name, "secret_id": secret.reveal()}
        else:
            body = {"role": login.name, "jwt": secret.reveal()}
        path = f"auth/{login.mount or login.method}/login"
        status, answer = await self._send("POST", path, body, None)
        return _token_of(self._checked(status, answer, path), now)


def _token_of(answer: dict[str, Any], now: float) -> VaultToken:
    auth = answer.get("auth")
    text = auth.get("client_token") if isinstance(auth, dict) else None
    if not isinstance(auth, dict) or not isinstance(text, str) or not text:
        raise CredentialError("Vault answers a login without a token")
    seconds = duration(auth.get("lease_duration"))
    if seconds == 0:  # a root token
        return VaultToken(Secret(text), False, math.inf, math.inf)
    renewable = auth.get("renewable") is True
    return VaultToken(Secret(text), renewable, now + seconds * 0.6, now + seconds)


def _extended(token: VaultToken, renewed: VaultToken) -> VaultToken:
    token.renewable, token.renew_at, token.ends = renewed.renewable, renewed.renew_at, renewed.ends
    return token


def duration(value: object) -> float:
    """Seconds that Vault says, 0 where it says nothing."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return max(0.0, float(value)) if is_number else 0.0  # type: ignore[arg-type]


async def transit_encrypt(client: VaultClient, mount: str, key: str, plain: bytes) -> str:
    """Wrapped by the newest version of a transit key ("API: Transit, Encrypt data"). Raises
    CredentialError.
    """
    body = {"plaintext": base64.b64encode(plain).decode()}
    answer = await client.request("POST", f"{mount}/encrypt/{key}", body)
    return _transit_text(answer, "ciphertext")


async def transit_decrypt(client: VaultClient, mount: str, key: str, wrapped: str) -> bytes:
    """What was wrapped. Raises CredentialError."""
    body = {"ciphertext": wrapped}
    answer = await client.request("POST", f"{mount}/decrypt/{key}", body)
    try:
        return base64.b64decode(_transit_text(answer, "plaintext"), validate=True)
    except ValueError:
        raise CredentialError(f"Vault answers {mount}/decrypt/{key} without a key") from None


def _transit_text(answer: dict[str, Any], name: str) -> str:
    data = answer.get("data")
    text = data.get(name) if isinstance(data, dict) else None
    if not isinstance(text, str) or not text.isascii():
        raise CredentialError(f"Vault answers a transit request without {name}")
    return text


async def read_kv(client: VaultClient, mount: str, path: str, key: str) -> Secret:
    """One key of a secret in KV version 2, its newest version. Raises CredentialError."""
    answer = await client.request("GET", f"{mount}/data/{path}")
    name, data = f"{{vault: {mount}/{path}}}", answer.get("data")
    values = data.get("data") if isinstance(data, dict) else None
    if not isinstance(values, dict):
        raise CredentialError(f"{name}: not a secret of KV version 2; is the mount right?")
    value = values.get(key)
    if not isinstance(value, str):
        there = ", ".join(sorted(str(k) for k in values))[:200]
        raise CredentialError(f"{name}: there is no text under the key {key!r}; its keys: {there}")
    return secret_text(value, "", name)
