"""Google Secret Manager, and IAM tokens of Cloud SQL, with credentials found by google-auth (extra
``sallyport[google]``): workload identity, the metadata server, a file named in the environment.

Source: the REST reference of Secret Manager v1 (projects.secrets.versions.access) and Cloud SQL's
"Log in using IAM database authentication".
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from typing import Any, Final
from urllib.parse import quote

import google.auth
from google.auth.exceptions import GoogleAuthError, TransportError
from google.auth.transport.requests import Request

from sallyport.core.secret import Secret
from sallyport.targets.managers.http import JsonClient
from sallyport.targets.secret_source import CredentialError, ManagerUnavailableError, secret_text

_PLATFORM: Final = "https://www.googleapis.com/auth/cloud-platform"
_SQL: Final = "https://www.googleapis.com/auth/sqlservice.login"
_NOT_NOW: Final = frozenset({429, 500, 502, 503, 504})


class GoogleClient:
    """``project``: of secrets that name none."""

    def __init__(self, project: str, endpoint: str) -> None:
        self._project = project
        self._http = JsonClient(endpoint, "Google Secret Manager")
        self._credentials: dict[str, Any] = {}
        self._lock = asyncio.Lock()  # a refresh changes the credentials

    async def secret(self, id_: str, version: str, key: str) -> Secret:
        """The text of a version of a secret, or of one ``key`` of it. Raises CredentialError."""
        name = f"{{google: {id_}}}"
        place = id_ if id_.startswith("projects/") else f"projects/{self._project}/secrets/{id_}"
        if place == f"projects//secrets/{id_}":
            do = "set 'secrets.google.project', or write projects/P/secrets/S"
            raise CredentialError(f"{name}: {do}")
        token = await self.token(_PLATFORM, name)
        path = f"/v1/{quote(place)}/versions/{quote(version)}:access"
        headers = {"Authorization": f"Bearer {token.reveal()}"}
        status, answer = await self._http.send("GET", path, headers)
        if status in _NOT_NOW:
            raise ManagerUnavailableError(f"{name}: Secret Manager answers {status}")
        if status != 200:
            hints = {
                403: "give the gateway's account roles/secretmanager.secretAccessor on it",
                404: "is there such a secret, and such a version?",
            }
            what = hints.get(status, "see its documentation")
            raise CredentialError(f"{name}: Secret Manager answers {status}: {what}")
        return secret_text(_payload(answer, name), key, name)

    async def crypt(self, verb: str, key: str, data: bytes, more: str) -> bytes:
        """``encrypt`` or ``decrypt`` with a key of Cloud KMS. ``more``: authenticated with it, in
        base64. Raises CredentialError.
        """
        name = f"{{google: {key}}}"
        token = await self.token(_PLATFORM, name)
        sent, answered = ("plaintext", "ciphertext")[:: 1 if verb == "encrypt" else -1]
        body = {sent: base64.b64encode(data).decode(), "additionalAuthenticatedData": more}
        headers = {"Authorization": f"Bearer {token.reveal()}"}
        path = f"/v1/{quote(key)}:{verb}"
        status, answer = await self._http.send("POST", path, headers, body)
        if status in _NOT_NOW:
            raise ManagerUnavailableError(f"{name}: Cloud KMS answers {status}")
        text = answer.get(answered)
        if status != 200 or not isinstance(text, str):
            what = "give the gateway's account roles/cloudkms.cryptoKeyEncrypterDecrypter on it"
            raise CredentialError(f"{name}: Cloud KMS answers {status}: {what}")
        try:
            return base64.b64decode(text, validate=True)
        except binascii.Error:
            raise CredentialError(f"{name}: Cloud KMS answers without a key") from None

    async def sql_token(self) -> Secret:
        """What Cloud SQL takes for the password of an IAM role. Raises CredentialError."""
        return await self.token(_SQL, "{google: sql_iam}")

    async def token(self, scope: str, name: str) -> Secret:
        """An access token that is good for some minutes at least. Raises CredentialError."""
        async with self._lock:
            try:
                return Secret(await asyncio.to_thread(self._fresh, scope))
            except TransportError as error:
                why = f"{name}: no token from Google: {type(error).__name__}"
                raise ManagerUnavailableError(why) from None
            except (GoogleAuthError, OSError, ValueError) as error:
                raise CredentialError(
                    f"{name}: the gateway has no Google credentials ({type(error).__name__}): use "
                    "workload identity, or set GOOGLE_APPLICATION_CREDENTIALS"
                ) from None

    def _fresh(self, scope: str) -> str:
        credentials = self._credentials.get(scope)
        if credentials is None:
            credentials, _ = google.auth.default(scopes=[scope])
            self._credentials[scope] = credentials
        if not credentials.valid:  # which it is not from some minutes before its end
            credentials.refresh(Request())
        return str(credentials.token or "")

    async def close(self) -> None:
        """Close its connections."""
        await self._http.close()


def _payload(answer: dict[str, Any], name: str) -> str:
    payload = answer.get("payload")
    data = payload.get("data") if isinstance(payload, dict) else None
    try:
        return base64.b64decode(data if isinstance(data, str) else "", validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise CredentialError(f"{name}: it is not UTF-8 text") from None
