"""JSON over HTTPS, as secret managers speak it: bounded, without redirects, proxies and cookies."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Mapping
from typing import Any

import httpx2

from sallyport.core.tls import harden
from sallyport.targets.secret_source import CredentialError, ManagerUnavailableError

_SECONDS = 5.0
_MAX_BYTES = 1 << 20


class JsonClient:
    """``ca``: PEM file, "" for the system's CAs. ``name``: of the manager, for errors."""

    def __init__(self, base: str, name: str, ca: str = "") -> None:
        self._base, self._name, self._ca = base.rstrip("/"), name, ca
        self._client: httpx2.AsyncClient | None = None

    async def send(
        self, method: str, path: str, headers: Mapping[str, str], body: Any = None
    ) -> tuple[int, dict[str, Any]]:
        """Status and JSON object, {} where there is none. Raises CredentialError."""
        try:
            async with asyncio.timeout(_SECONDS):
                return await self._send(method, path, headers, body)
        except TimeoutError:
            why = f"did not answer within {_SECONDS:g} seconds"
        except (httpx2.HTTPError, OSError) as error:
            why = f"cannot be reached: {type(error).__name__}"
        raise ManagerUnavailableError(f"{self._name} at {self._base} {why}")

    async def _send(
        self, method: str, path: str, headers: Mapping[str, str], body: Any
    ) -> tuple[int, dict[str, Any]]:
        if self._client is None:
            context = await asyncio.to_thread(self._context)
            self._client = httpx2.AsyncClient(verify=context, trust_env=False)
        url = self._base + path
        request = self._client.build_request(method, url, headers=dict(headers), json=body)
        response = await self._client.send(request, stream=True, follow_redirects=False)
        try:
            data = b""
            async for piece in response.aiter_bytes():
                data += piece
                if len(data) > _MAX_BYTES:
                    raise CredentialError(f"{self._name} answers with more than {_MAX_BYTES} bytes")
        finally:
            await response.aclose()
        try:
            value = json.loads(data) if data else {}
        except ValueError:
            value = {}
        return response.status_code, value if isinstance(value, dict) else {}

    def _context(self) -> ssl.SSLContext:
        try:
            return harden(ssl.create_default_context(cafile=self._ca or None))
        except (OSError, ssl.SSLError) as error:
            raise CredentialError(
                f"{self._name}: the CA file {self._ca} cannot be loaded: {type(error).__name__}"
            ) from None

    async def close(self) -> None:
        """Close its connections."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None
