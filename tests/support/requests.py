"""Requests of tests that are no session's: httpx2's own functions load every authority of the
machine for each, which is 35 of its 38 ms.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import httpx2

#: Made once for a process; nobody changes it.
_context = cache(httpx2.create_ssl_context)


def request(method: str, url: str, **options: Any) -> httpx2.Response:
    """As :func:`httpx2.request`, without the environment's proxies."""
    return httpx2.request(method, url, verify=_context(), trust_env=False, **options)


def get(url: str, **options: Any) -> httpx2.Response:
    """As :func:`request`."""
    return request("GET", url, **options)


def post(url: str, **options: Any) -> httpx2.Response:
    """As :func:`request`."""
    return request("POST", url, **options)
