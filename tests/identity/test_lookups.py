"""TokenReview and the Google Directory, against doubles that are built from the API documents."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest

from sallyport.config import load_config
from sallyport.core.clock import ManualClock
from sallyport.core.errors import ConfigError
from sallyport.core.secret import Secret
from sallyport.demo.issuer import DevIssuer
from sallyport.identity.lookups import GoogleDirectory, TokenReview, directory_token
from sallyport.identity.oidc.presets import presets
from sallyport.identity.settings import IssuerSettings
from tests.identity.door import Door
from tests.identity.provider import Provider
from tests.support.gateway import Gateway
from tests.support.google import service_account

ACCOUNT = "system:serviceaccount:shop:agent"
ADA = "ada@example.com"


@dataclass
class Double:
    """``answer`` makes status and JSON of each request, which ``asked`` keeps."""

    answer: Callable[[str, dict[str, Any]], tuple[int, Any]]
    asked: list[tuple[str, dict[str, Any], str]] = field(default_factory=list)
    url: str = ""


@pytest.fixture
def double() -> Iterator[Double]:
    double = Double(lambda path, body: (500, {}))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            size = int(self.headers.get("Content-Length", 0))
            body = self.rfile.read(size)
            is_json = self.headers.get("Content-Type", "").startswith("application/json")
            value = (
                json.loads(body)
                if is_json
                else {k: v[0] for k, v in parse_qs(body.decode()).items()}
            )
            double.asked.append((self.path, value, self.headers.get("Authorization", "")))
            status, answer = double.answer(self.path, value)
            text = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def do_GET(self) -> None:
            self.do_POST()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    double.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield double
    server.shutdown()
    server.server_close()


# TokenReview


def accepted(path: str, body: dict[str, Any]) -> tuple[int, Any]:
    """What the API server answers for a good token."""
    user = {"username": ACCOUNT, "uid": "1", "groups": ["system:serviceaccounts"]}
    return 201, {
        "kind": "TokenReview",
        "status": {"authenticated": True, "user": user, "audiences": body["spec"]["audiences"]},
    }


@pytest.fixture
def pods(
    provider: Provider,
    double: Double,
    clock: ManualClock,
    make_door: Callable[..., Door],
    tmp_path: Path,
) -> Door:
    token = tmp_path / "token"
    token.write_text("the-gateway's-own")
    review = TokenReview(double.url, "sallyport", str(token), clock=clock)
    settings = IssuerSettings(provider.url, "sallyport", provider="kubernetes", lookup=review)
    return make_door(settings)


def pod_token(provider: Provider) -> Secret:
    pod = {"namespace": "shop", "serviceaccount": {"name": "agent", "uid": "1"}}
    return provider.token(sub=ACCOUNT, **{"kubernetes.io": pod})


def test_a_token_that_the_cluster_accepts(
    pods: Door, provider: Provider, double: Double, clock: ManualClock
) -> None:
    double.answer = accepted
    token = pod_token(provider)
    assert pods.login(token).id == ACCOUNT
    ((path, body, authorization),) = double.asked
    assert path == "/apis/authentication.k8s.io/v1/tokenreviews"
    assert body["spec"] == {"token": token.reveal(), "audiences": ["sallyport"]}
    assert (body["kind"], authorization) == ("TokenReview", "Bearer the-gateway's-own")
    pods.login(token)
    assert len(double.asked) == 1, "a yes is kept for a moment"
    clock.advance(6)
    double.answer = lambda path, body: (201, {"status": {"error": "pod not found"}})
    assert "cluster does not accept" in pods.refusal(token)  # though its signature is remembered
    assert "pod not found" in pods.reason
    double.answer = accepted
    pods.login(token)  # a no is not kept


@pytest.mark.parametrize(
    "status",
    [
        {},
        {"authenticated": False},
        {"authenticated": "true", "audiences": ["sallyport"], "user": {"username": ACCOUNT}},
        {"authenticated": True, "user": {"username": ACCOUNT}},  # audiences were not checked
        {"authenticated": True, "audiences": ["other"], "user": {"username": ACCOUNT}},
        {"authenticated": True, "audiences": ["sallyport"], "user": {"username": "somebody"}},
        {"authenticated": True, "audiences": ["sallyport"]},
        {
            "authenticated": True,
            "audiences": ["sallyport"],
            "user": {"username": ACCOUNT},
            "error": "x",
        },
    ],
)
def test_anything_but_a_yes_refuses(
    status: dict[str, Any], pods: Door, provider: Provider, double: Double
) -> None:
    double.answer = lambda path, body: (201, {"status": status})
    pods.refusal(pod_token(provider))


@pytest.mark.parametrize("status", [302, 401, 403, 404, 500])
def test_a_cluster_that_does_not_answer_refuses(
    status: int, pods: Door, provider: Provider, double: Double
) -> None:
    double.answer = lambda path, body: (status, {"message": "no"})
    assert "cannot be asked" in pods.refusal(pod_token(provider))


def test_through_the_front_door(
    make_gateway: Callable[..., Gateway], issuer: DevIssuer, double: Double, tmp_path: Path
) -> None:
    """By the configuration: keys and reviews of one API server, and psycopg."""

    def cluster(path: str, body: dict[str, Any]) -> tuple[int, Any]:
        return (200, issuer.jwks()) if path == "/openid/v1/jwks" else accepted(path, body)

    double.answer = cluster
    file = tmp_path / "token"
    file.write_text("the-gateway's-own")
    entry = {
        "provider": "kubernetes",
        "issuer": issuer.url,
        "audience": issuer.audience,
        "jwks_url": f"{double.url}/openid/v1/jwks",
        "token_file": str(file),
        "token_review": True,
    }
    policy = """\
version: 1
rules:
  - {name: pods, subjects: {groups: ["k8s:shop:agent"]}, allow: [read], relations: ["public.*"]}
"""
    gateway = make_gateway(policy=policy, extra={"identity": {"oidc": [entry]}})
    now = int(time.time())
    pod = {"namespace": "shop", "serviceaccount": {"name": "agent", "uid": "1"}}
    claims = {"iss": issuer.url, "sub": ACCOUNT, "aud": [issuer.audience], "kubernetes.io": pod}
    dsn = gateway.dsn(issuer.sign(claims | {"iat": now, "exp": now + 600}).reveal())
    with psycopg.connect(dsn) as connection:
        row = connection.execute("SELECT current_setting('sallyport.subject')").fetchone()
        assert row == (ACCOUNT,)
    double.answer = lambda path, body: (201, {"status": {"authenticated": False}})
    withdrawn = issuer.sign(claims | {"iat": now, "exp": now + 601}).reveal()
    with pytest.raises(psycopg.OperationalError, match=r"SP1601.*cluster"):
        psycopg.connect(gateway.dsn(withdrawn))


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"token_review": True}, "there is no API server"),
        ({"directory": {"credentials": "x", "admin": "a@b"}}, "Google Workspace"),
        (
            {
                "provider": "google",
                "require": ['claims.hd == "a"'],
                "directory": {"credentials": "no-such-file", "admin": "a@b"},
            },
            "no-such-file",
        ),
    ],
)
def test_what_cannot_work_is_said(entry: dict[str, Any], said: str, tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text("version: 1\nrules: []\n")
    config = {
        "listen": "127.0.0.1:1",
        "identity": {"oidc": [{"issuer": "https://a.example", "audience": "b", **entry}]},
        "targets": {"t": {"host": "h", "database": "d", "user": "u"}},
        "policy": "policy.yaml",
    }
    file = tmp_path / "sallyport.yaml"
    file.write_text(json.dumps(config))
    with pytest.raises(ConfigError, match=said):
        load_config(file)


def test_a_forged_token_is_never_shown_to_the_cluster(
    pods: Door, provider: Provider, double: Double
) -> None:
    token = pod_token(provider).reveal()
    pods.refusal(Secret(token[:-8] + "AAAAAAAA"))
    assert double.asked == []


# Google Directory


def people(pages: list[Any]) -> Callable[[str, dict[str, Any]], tuple[int, Any]]:
    """A directory whose list of groups has these pages; and Google's token endpoint."""

    def answer(path: str, body: dict[str, Any]) -> tuple[int, Any]:
        if path == "/token":
            return 200, {"access_token": "of-the-directory", "expires_in": 3600}
        query = parse_qs(urlsplit(path).query)
        number = int(query.get("pageToken", ["0"])[0])
        more = {"nextPageToken": str(number + 1)} if number + 1 < len(pages) else {}
        return 200, {"kind": "admin#directory#groups", "groups": pages[number], **more}

    return answer


@pytest.fixture
def workspace(
    provider: Provider,
    double: Double,
    clock: ManualClock,
    make_door: Callable[..., Door],
    tmp_path: Path,
) -> Door:
    file = service_account(tmp_path, double.url)
    directory = GoogleDirectory(
        directory_token(str(file), "admin@example.com"), double.url, clock=clock
    )
    return make_door(
        IssuerSettings(
            provider.url,
            "sallyport",
            claims=presets()["google"].claims,
            provider="google",
            lookup=directory,
        )
    )


def of_ada(provider: Provider) -> Secret:
    return provider.token(email=ADA, email_verified=True, hd="example.com", groups=None)


def test_groups_of_a_person(
    workspace: Door, provider: Provider, double: Double, clock: ManualClock
) -> None:
    double.answer = people([[{"email": "dba@example.com"}], [{"email": "all@example.com"}]])
    subject = workspace.login(of_ada(provider))
    own = {"hd:example.com", f"email:{ADA}"}
    assert subject.groups == own | {"group:dba@example.com", "group:all@example.com"}
    paths = [urlsplit(path) for path, _, _ in double.asked if path != "/token"]
    assert {path.path for path in paths} == {"/admin/directory/v1/groups"}
    assert all(parse_qs(path.query)["userKey"] == [ADA] for path in paths)
    assert all(a == "Bearer of-the-directory" for p, _, a in double.asked if p != "/token")
    double.answer = people([[]])
    assert workspace.login(of_ada(provider)).groups == subject.groups, "kept for five minutes"
    clock.advance(301)
    assert workspace.login(of_ada(provider)).groups == own


def test_without_an_answer_nobody_is_let_in(
    workspace: Door, provider: Provider, double: Double
) -> None:
    """A group that is missing might be the one that a rule denies."""
    for answer in (
        lambda path, body: (500, {}),
        lambda path, body: (
            (200, {"access_token": "x", "expires_in": 60}) if path == "/token" else (403, {})
        ),
        people([[{"name": "no address"}]]),
        people([[{"email": f"g{n}@example.com"}] for n in range(21)]),
    ):
        double.answer = answer
        assert "cannot be asked" in workspace.refusal(of_ada(provider))


def test_a_service_account_is_in_no_directory(
    workspace: Door, provider: Provider, double: Double
) -> None:
    email = "agent@project.iam.gserviceaccount.com"
    subject = workspace.login(provider.token(email=email, email_verified=True, groups=None))
    assert subject.groups == {f"email:{email}"} and double.asked == []
