"""Pods log in with their projected service-account tokens: through a whole gateway, by each of the
ways in which it can get the cluster's keys. The API server is a double, built from Kubernetes'
documents.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from sallyport.demo.issuer import DevIssuer
from tests.support.gateway import Gateway
from tests.support.kubernetes import API, ISSUER, KEYS, REVIEWS, Cluster
from tests.support.postgres import Server
from tests.support.waiting import wait_for

AGENT = ("shop", "agent", "agent-1")
OTHER = ("shop", "reporter", "reporter-1")
POLICY = """\
version: 1
rules:
  - {name: pods, subjects: {groups: ["k8s:shop:agent"]}, allow: [read], relations: ["public.*"]}
"""
WHO = (
    "SELECT current_setting('sallyport.subject'), current_setting('sallyport.agent'),"
    " (SELECT count(*) > 0 FROM products)"
)


class InAPod(Gateway):
    """Runs where a pod's directory of its service account is ``files``."""

    files: Path
    hosts: Path

    def command(self, *words: str) -> list[str]:
        mounted = (
            "mount -t tmpfs tmpfs /run && mkdir -p /run/secrets/kubernetes.io/serviceaccount"
            ' && mount --bind "$1" /run/secrets/kubernetes.io/serviceaccount'
            ' && mount --bind "$2" /etc/hosts && shift 2 && exec "$@"'
        )
        places = str(self.files), str(self.hosts)
        return ["unshare", "-m", "sh", "-c", mounted, "sh", *places, *super().command(*words)]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    files = tmp_path / "serviceaccount"
    files.mkdir()
    with Cluster(files, pods={AGENT, OTHER}) as running:
        yield running


def identity(**entry: Any) -> dict[str, Any]:
    return {"identity": {"oidc": [{"provider": "kubernetes", "audience": "sallyport", **entry}]}}


def who(gateway: Gateway, token: str) -> Any:
    with psycopg.connect(gateway.dsn(token), autocommit=True) as connection:
        return connection.execute(WHO).fetchone()


def refusal(gateway: Gateway, token: str) -> str:
    with pytest.raises(psycopg.OperationalError) as caught:
        psycopg.connect(gateway.dsn(token)).close()
    return str(caught.value)


def is_let_in(gateway: Gateway, token: str) -> bool:
    try:
        psycopg.connect(gateway.dsn(token)).close()
    except psycopg.OperationalError:
        return False
    return True


def check_tokens(gateway: Gateway, cluster: Cluster) -> None:
    """Whom the cluster's tokens let in."""
    name = "system:serviceaccount:shop:agent"
    assert who(gateway, cluster.token(*AGENT)) == (name, name, True)
    assert "SP1603" in refusal(gateway, cluster.token(*OTHER))  # no rule names its account
    assert "audience" in refusal(gateway, cluster.token(*AGENT, audience=API))
    assert "expired" in refusal(gateway, cluster.token(*AGENT, lifetime=-600))
    assert "SP1601" in refusal(gateway, cluster.token_of_a_secret(*AGENT[:2]))


def test_keys_and_reviews_by_the_clusters_ca_and_the_gateways_token(
    make_gateway: Callable[..., Gateway], cluster: Cluster
) -> None:
    files = cluster.files
    entry = identity(
        issuer=ISSUER,
        jwks_url=cluster.url + KEYS,
        ca=str(files / "ca.crt"),
        token_file=str(files / "token"),
        token_review=True,
    )
    gateway = make_gateway(policy=POLICY, extra=entry)
    check_tokens(gateway, cluster)
    assert {KEYS, REVIEWS} == set(cluster.asked)
    fresh = cluster.token(*AGENT)
    cluster.pods.discard(AGENT)  # its token is good for an hour, by its signature
    assert "cluster does not accept" in refusal(gateway, fresh)
    cluster.pods.add(AGENT)
    delegators, cluster.delegators = cluster.delegators, set()
    assert "cluster cannot be asked" in refusal(gateway, cluster.token(*AGENT))
    cluster.delegators = delegators
    cluster.rotate()  # and the gateway's own token is another
    wait_for(lambda: is_let_in(gateway, cluster.token(*AGENT)))  # keys are fetched every 10 s


def test_keys_in_a_file_that_changes(
    make_gateway: Callable[..., Gateway], cluster: Cluster, tmp_path: Path
) -> None:
    """As a ConfigMap is mounted: by links that are replaced."""
    volume = tmp_path / "volume"
    (volume / "1").mkdir(parents=True)
    (volume / "1" / "keys.json").write_text(json.dumps(cluster.jwks))
    (volume / "..data").symlink_to("1")
    (volume / "keys.json").symlink_to(Path("..data", "keys.json"))
    entry = identity(issuer=ISSUER, jwks_file=str(volume / "keys.json"))
    gateway = make_gateway(policy=POLICY, extra=entry)
    check_tokens(gateway, cluster)
    old = cluster.token(*AGENT)
    cluster.rotate()
    assert "SP1601" in refusal(gateway, cluster.token(*AGENT))
    (volume / "2").mkdir()
    (volume / "2" / "keys.json").write_text(json.dumps(cluster.jwks))
    (volume / "..new").symlink_to("2")
    (volume / "..new").rename(volume / "..data")
    wait_for(lambda: is_let_in(gateway, cluster.token(*AGENT)))
    assert not is_let_in(gateway, old)
    assert not cluster.asked


def test_in_a_pod_nothing_is_configured(
    issuer: DevIssuer, postgres: Server, cluster: Cluster, tmp_path: Path
) -> None:
    """``provider`` and ``audience`` alone: what a pod finds in its file system and by its name
    server says the rest. A mount namespace has the files, and the address at which a second double
    listens as the cluster's service does.
    """
    if os.geteuid() or not shutil.which("unshare"):
        pytest.skip("needs root, for a mount namespace and port 443")
    address = f"127.{secrets.randbelow(200) + 20}.{secrets.randbelow(250)}.7"
    files, hosts = tmp_path / "pod", tmp_path / "hosts"
    files.mkdir()
    hosts.write_text(f"127.0.0.1 localhost\n{address} kubernetes.default.svc\n")
    entry = identity(token_review=True)
    gateway = InAPod(issuer, {"shop": postgres}, policy=POLICY, extra=entry)
    gateway.files, gateway.hosts = files, hosts
    with Cluster(files, host=address, port=443, pods={AGENT, OTHER}) as inside:
        gateway.start()
        try:
            check_tokens(gateway, inside)
        finally:
            gateway.stop()
    assert {KEYS, REVIEWS} == set(inside.asked)
