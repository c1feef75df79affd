"""A person with a browser, over Starlette's test client and the real development issuer."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx2
from starlette.testclient import TestClient

from sallyport.demo.issuer import DevIssuer
from tests.support import requests
from tests.web.world import PEOPLE


def choose(authorize_url: str, person: str) -> str:
    """What the issuer sends the browser back to, after somebody chose who to be."""
    parts = urlsplit(authorize_url)
    page = requests.get(authorize_url)
    assert page.status_code == 200, page.text
    assert f"as={person}" in page.text
    query = urlencode([*parse_qsl(parts.query), ("as", person)])
    answer = requests.get(f"{parts.scheme}://{parts.netloc}/authorize/as?{query}")
    assert answer.status_code == 303, answer.text
    return str(answer.headers["Location"])


class Browser:
    """One cookie jar."""

    def __init__(self, client: TestClient) -> None:
        self.client = client

    def sign_in(self, role: str) -> Browser:
        started = self.client.get("/sign-in/start", params={"next": "/policy"})
        assert started.status_code == 303, started.text
        back = choose(started.headers["Location"], PEOPLE[role])
        done = self.client.get(back.partition(":8642")[2])
        assert (done.status_code, done.headers.get("Location")) == (303, "/policy"), done.text
        return self

    def get(self, path: str, **options: Any) -> httpx2.Response:
        return self.client.get(path, **options)

    def csrf(self, path: str = "/policy") -> str:
        match = re.search(r'name="csrf" value="([^"]+)"', self.get(path).text)
        assert match is not None
        return match[1]

    def post(self, path: str, csrf: str | None = None, **form: str) -> httpx2.Response:
        token = self.csrf() if csrf is None else csrf
        return self.client.post(path, data={"csrf": token, **form})


def bearer(issuer: DevIssuer, role: str) -> dict[str, str]:
    """Headers with an access token of somebody with this role."""
    return {"Authorization": f"Bearer {issuer.token(PEOPLE[role]).reveal()}"}
