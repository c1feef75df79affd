"""AWS Secrets Manager, and IAM tokens of RDS and Aurora, through boto3 (extra ``sallyport[aws]``).

Who the gateway is to AWS is found by the SDK's own chain: environment, web identity (EKS), instance
or task role, profile. Its calls block, so they are made on other threads.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as ConnectError

from sallyport.core.secret import Secret
from sallyport.targets.secret_source import CredentialError, ManagerUnavailableError, secret_text

_OPTIONS: Final = Config(connect_timeout=3, read_timeout=5, retries={"max_attempts": 2})
_DO: Final = {
    "AccessDeniedException": "allow the gateway's role secretsmanager:GetSecretValue on it, or"
    " kms:Encrypt and kms:Decrypt",
    "ResourceNotFoundException": "is there such a secret in this region?",
    "NotFoundException": "is there such a key in this region?",
    "DisabledException": "the key is disabled",
    "UnrecognizedClientException": "the gateway's AWS credentials are not valid",
    "ExpiredTokenException": "the gateway's AWS credentials have expired",
}
_NOT_NOW: Final = frozenset({"InternalServiceError", "ThrottlingException", "ServiceUnavailable"})


class AwsClient:
    """``region`` and ``endpoint`` "": as the SDK finds them."""

    def __init__(self, region: str = "", endpoint: str = "") -> None:
        self._region, self._endpoint = region, endpoint
        self._session: Any = None
        self._clients: dict[str, Any] = {}
        self._lock = asyncio.Lock()  # making clients is not thread-safe

    async def secret(self, id_: str, key: str) -> Secret:
        """The text of a secret, or of one ``key`` of it. Raises CredentialError."""
        name = f"{{aws: {id_}}}"
        client = await self._client("secretsmanager", name)
        answer = await _called(name, client.get_secret_value, SecretId=id_)
        text = answer.get("SecretString")
        if not isinstance(text, str):
            raise CredentialError(f"{name}: it is binary; store a text")
        return secret_text(text, key, name)

    async def rds_token(self, host: str, port: int, user: str) -> Secret:
        """What RDS takes for ``user``'s password for 15 minutes. It is signed here. Raises
        CredentialError.
        """
        name = "{aws: rds_iam}"
        client = await self._client("rds", name)
        token = await _called(
            name, client.generate_db_auth_token, DBHostname=host, Port=port, DBUsername=user
        )
        return secret_text(str(token), "", name)

    async def encrypt(self, key: str, plain: bytes, context: dict[str, str]) -> bytes:
        """Wrapped by a key of KMS. Raises CredentialError."""
        name = f"{{aws: {key}}}"
        client = await self._client("kms", name)
        words = {"KeyId": key, "Plaintext": plain, "EncryptionContext": context}
        return bytes((await _called(name, client.encrypt, **words))["CiphertextBlob"])

    async def decrypt(self, key: str, wrapped: bytes, context: dict[str, str]) -> bytes:
        """What was wrapped, by no other key. Raises CredentialError."""
        name = f"{{aws: {key}}}"
        client = await self._client("kms", name)
        words = {"KeyId": key, "CiphertextBlob": wrapped, "EncryptionContext": context}
        return bytes((await _called(name, client.decrypt, **words))["Plaintext"])

    async def _client(self, service: str, name: str) -> Any:
        async with self._lock:
            if service not in self._clients:
                made = await _called(name, self._made, service)
                self._clients[service] = made
            return self._clients[service]

    def _made(self, service: str) -> Any:
        if self._session is None:
            self._session = boto3.session.Session(region_name=self._region or None)
        endpoint = self._endpoint or None
        return self._session.client(service, endpoint_url=endpoint, config=_OPTIONS)


async def _called(name: str, call: Any, *arguments: Any, **keywords: Any) -> Any:
    try:
        return await asyncio.to_thread(call, *arguments, **keywords)
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        do = _DO.get(code, "look at the code in its documentation")
        text = f"{name}: AWS refuses it ({code}): {do}"
        if code in _NOT_NOW or status >= 500:
            raise ManagerUnavailableError(text) from None
        raise CredentialError(text) from None
    except (ConnectError, HTTPClientError) as error:
        why = f"{name}: AWS cannot be reached: {type(error).__name__}"
        raise ManagerUnavailableError(why) from None
    except (BotoCoreError, ValueError) as error:
        do = "set 'secrets.aws.region', and give the gateway a role"
        raise CredentialError(f"{name}: {type(error).__name__}: {do}") from None
