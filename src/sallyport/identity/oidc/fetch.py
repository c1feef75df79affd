"""Fetching a JSON document from an identity provider, bounded in every direction.

https only (http for loopback), redirects only within one origin and at most three, at most
``max_bytes`` of body with no content encoding, and one deadline for all of it: a server that sends
a byte a second holds nobody longer than that. Proxy settings and ``.netrc`` of the environment are
not used: whom the gateway trusts is said in its configuration only.
"""

from __future__ import annotations

import asyncio
import os
import re
import ssl
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

import httpx2

from sallyport.core.tls import harden
from sallyport.identity.oidc.jwt import json_object
from sallyport.identity.settings import IssuerSettings, url_problem

#: Makes the HTTP client for one fetch; the fetch closes it. Tests and unusual networks pass their
#: own.
ClientFactory = Callable[[IssuerSettings], httpx2.AsyncClient]

_MAX_REDIRECTS = 3
T = TypeVar("T")
_MAX_AGE = re.compile(r"(?:\A|[,\s])max-age\s*=\s*\"?(\d{1,10})")


class FetchError(Exception):
    """The document could not be had. The text is fit for the operator's log."""


@dataclass(frozen=True, slots=True)
class Document:
    """A fetched JSON object. max_age: seconds from Cache-Control, 0 for no-store and no-cache, None
    when not said.
    """

    value: dict[str, Any]
    max_age: float | None


def default_client(settings: IssuerSettings) -> httpx2.AsyncClient:
    """The client that fetches an issuer's keys. Raises FetchError when its ``ca_file`` or
    ``token_file`` cannot be used.
    """
    client = new_client(settings.ca_file)
    if settings.token_file:
        client.headers["Authorization"] = f"Bearer {bearer_of(settings.token_file)}"
    return client


def bearer_of(token_file: str) -> str:
    """The token in a file. Raises FetchError."""
    try:
        with open(token_file, encoding="ascii") as file:
            token = file.read(65_536).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise FetchError(
            f"token_file {token_file} cannot be read: {type(error).__name__}"
        ) from None
    if not token or not token.isprintable() or " " in token:
        raise FetchError(f"token_file {token_file} does not hold one token")
    return token


def new_client(ca_file: str = "") -> httpx2.AsyncClient:
    """A client that trusts the system's CAs, or only ``ca_file``. Raises FetchError for an unusable
    file.
    """
    try:
        context = _context(ca_file, os.stat(ca_file).st_mtime_ns if ca_file else 0)
    except OSError as error:
        raise FetchError(f"ca_file {ca_file} cannot be used: {error.strerror or error}") from None
    return httpx2.AsyncClient(verify=context, follow_redirects=False, trust_env=False)


@lru_cache(maxsize=16)
def _context(ca_file: str, changed: int) -> ssl.SSLContext:
    # Reading the system's CAs takes tens of milliseconds. ``changed`` makes a replaced file count.
    return harden(ssl.create_default_context(cafile=ca_file or None))


async def fetch_json(
    client: httpx2.AsyncClient,
    url: str,
    *,
    timeout: float,  # noqa: ASYNC109
    max_bytes: int,
) -> Document:
    """GET one JSON object within ``timeout`` seconds. Raises FetchError."""
    return await _within(timeout, url, _get(client, url, max_bytes))


async def fetch_bytes(
    client: httpx2.AsyncClient,
    url: str,
    *,
    timeout: float,  # noqa: ASYNC109
    max_bytes: int,
) -> bytes:
    """GET a document of any type within ``timeout`` seconds. Raises FetchError."""
    body, _ = await _within(timeout, url, _get_bytes(client, url, max_bytes, "*/*"))
    return body


async def post_form(
    client: httpx2.AsyncClient,
    url: str,
    form: Mapping[str, str],
    basic: tuple[str, str] | None = None,
    *,
    timeout: float = 30.0,  # noqa: ASYNC109
    max_bytes: int = 262_144,
) -> tuple[int, dict[str, Any]]:
    """POST a form, get status and JSON object. basic: user and password. Redirects are errors.
    Raises FetchError.
    """
    return await _within(timeout, url, _post(client, url, {"data": dict(form)}, basic, max_bytes))


async def post_json(
    client: httpx2.AsyncClient,
    url: str,
    value: Mapping[str, Any],
    headers: Mapping[str, str],
    *,
    timeout: float,  # noqa: ASYNC109
    max_bytes: int,
) -> tuple[int, dict[str, Any]]:
    """POST a JSON object, get status and JSON object. Redirects are errors. Raises FetchError."""
    work = _post(client, url, {"json": dict(value)}, None, max_bytes, headers)
    return await _within(timeout, url, work)


async def _within(seconds: float, url: str, work: Coroutine[Any, Any, T]) -> T:
    try:
        async with asyncio.timeout(seconds):
            return await work
    except TimeoutError:
        raise FetchError(f"{url} did not answer within {seconds:g} s") from None
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError) as error:
        raise FetchError(
            f"{url} cannot be fetched: {type(error).__name__}: {str(error)[:200]}"
        ) from None


async def _post(
    client: httpx2.AsyncClient,
    url: str,
    body: Mapping[str, Any],
    basic: tuple[str, str] | None,
    max_bytes: int,
    more: Mapping[str, str] | None = None,
) -> tuple[int, dict[str, Any]]:
    if problem := url_problem(url):
        raise FetchError(f"{url} {problem}")
    headers = {"Accept": "application/json", "Accept-Encoding": "identity", **(more or {})}
    auth = httpx2.BasicAuth(*basic) if basic else None
    async with client.stream(
        "POST", url, **body, auth=auth, headers=headers, follow_redirects=False
    ) as response:
        value = json_object(await _body(response, max_bytes))
        if value is None:
            raise FetchError(
                f"{url} answered with status {response.status_code} and no JSON object"
            )
        return response.status_code, value


async def _get(client: httpx2.AsyncClient, url: str, max_bytes: int) -> Document:
    body, max_age = await _get_bytes(
        client, url, max_bytes, "application/json, application/jwk-set+json"
    )
    value = json_object(body)
    if value is None:
        raise FetchError(f"{url} is not a JSON object")
    return Document(value, max_age)


async def _get_bytes(
    client: httpx2.AsyncClient, url: str, max_bytes: int, accept: str
) -> tuple[bytes, float | None]:
    headers = {"Accept": accept, "Accept-Encoding": "identity"}
    for _ in range(_MAX_REDIRECTS + 1):
        if problem := url_problem(url):
            raise FetchError(f"{url} {problem}")
        async with client.stream("GET", url, headers=headers, follow_redirects=False) as response:
            if response.is_redirect:
                url = _next_url(response)
                continue
            if response.status_code != 200:
                raise FetchError(f"{url} answered with status {response.status_code}")
            body = await _body(response, max_bytes)
        return body, _max_age(response.headers.get("Cache-Control", ""))
    raise FetchError(f"{url}: more than {_MAX_REDIRECTS} redirects")


def _next_url(response: httpx2.Response) -> str:
    here = response.request.url
    there = here.join(response.headers.get("Location", ""))
    if (there.scheme, there.host, there.port) != (here.scheme, here.host, here.port):
        raise FetchError(f"{here} redirects to another host, {there.host}, which is not followed")
    return str(there)


async def _body(response: httpx2.Response, max_bytes: int) -> bytes:
    # A content encoding could make a small response huge before it can be counted.
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise FetchError(
            f"{response.request.url} answered with a content encoding that was not asked for"
        )
    body = bytearray()
    async for chunk in response.aiter_raw(65_536):
        body += chunk
        if len(body) > max_bytes:
            raise FetchError(f"{response.request.url} is larger than {max_bytes} bytes")
    return bytes(body)


def _max_age(cache_control: str) -> float | None:
    lowered = cache_control.lower()
    if "no-store" in lowered or "no-cache" in lowered:
        return 0.0
    match = _MAX_AGE.search(lowered)
    return float(match[1]) if match else None
