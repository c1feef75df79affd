"""Vault as a whole gateway meets it, the double or a real OpenBao, and what a test does there as
its operator: by the same few verbs for both.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import psycopg

from tests.support.kubernetes import API, Cluster
from tests.support.openbao import POLICY, OpenBao, configure_database, openbao_running
from tests.support.postgres import Server
from tests.support.waiting import wait_for
from tests.targets.vault_double import ROOT, VaultDouble, vault_running

_LEASES = "database/creds/shop"


class Vault(Protocol):
    """The operator's verbs. ``url``: its address."""

    @property
    def url(self) -> str: ...

    def auth(self, method: str, cluster: Cluster) -> dict[str, Any]:
        """``secrets.vault.auth``; files are made beside the cluster's."""

    def write(self, path: str, password: str) -> None:
        """A secret of KV version 2."""

    def allow(self, *, kv: bool) -> None:
        """Whether the gateway may read secrets of KV."""

    def set_lease_times(self, ttl: int, max_ttl: int) -> None:
        """Of the database engine's role ``shop``; renewals of earlier leases go by them too."""

    def leases(self) -> set[str]:
        """Those of that role."""

    def revoke(self, lease: str) -> None:
        """At once."""

    def seal(self) -> None:
        """It answers 503."""

    def unseal(self) -> None:
        """It answers again."""

    def logins(self) -> set[str]:
        """One for each token that is not the operator's."""


def _secret(file: Path, text: str) -> dict[str, str]:
    file.write_text(text)
    file.chmod(0o600)
    return {"file": str(file)}


@dataclass
class DoubledVault:
    """See :mod:`tests.targets.vault_double`."""

    double: VaultDouble

    @property
    def url(self) -> str:
        return self.double.url

    def auth(self, method: str, cluster: Cluster) -> dict[str, Any]:
        if method == "kubernetes":
            self.double.jwt = (cluster.files / "token").read_text()
            file = str(cluster.files / "token")
            return {"kubernetes": {"role": "sallyport", "token_file": file}}
        if method == "token":
            return {"token": _secret(cluster.files / "vault-token", ROOT)}
        secret = _secret(cluster.files / "secret-id", self.double.secret_id)
        return {"approle": {"role_id": self.double.role_id, "secret_id": secret}}

    def write(self, path: str, password: str) -> None:
        self.double.kv[f"secret/{path}"] = {"password": password}

    def allow(self, *, kv: bool) -> None:
        self.double.denied = set() if kv else {"secret/data/"}

    def set_lease_times(self, ttl: int, max_ttl: int) -> None:
        self.double.ttl, self.double.max_ttl = ttl, max_ttl

    def leases(self) -> set[str]:
        return set(self.double.leases)

    def revoke(self, lease: str) -> None:
        root = {"X-Vault-Token": ROOT}
        self.double.answer("PUT", "sys/leases/revoke", root, {"lease_id": lease})

    def seal(self) -> None:
        self.double.down = True

    def unseal(self) -> None:
        self.double.down = False

    def logins(self) -> set[str]:
        return set(self.double.tokens) - {ROOT}


@dataclass
class RealVault:
    """OpenBao before a database server: :mod:`tests.support.openbao`."""

    bao: OpenBao
    server: Server
    not_counted: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.allow(kv=True)
        for path in ("auth/approle", "auth/kubernetes", "mounts/database"):
            self.bao.call("POST", f"sys/{path}", {"type": path.split("/")[1]})
        configure_database(self.bao, self.server)
        self.set_lease_times(3600, 7200)
        self.not_counted = self._accessors()

    @property
    def url(self) -> str:
        return self.bao.url

    def auth(self, method: str, cluster: Cluster) -> dict[str, Any]:
        role = f"auth/{method}/role/sallyport"
        if method == "token":
            body = {"policies": ["sallyport"], "ttl": "1h"}
            made = self.bao.call("POST", "auth/token/create", body)["auth"]
            self.not_counted.add(made["accessor"])
            return {"token": _secret(cluster.files / "vault-token", made["client_token"])}
        if method == "kubernetes":
            self._trust(cluster, role)
            file = str(cluster.files / "token")
            return {"kubernetes": {"role": "sallyport", "token_file": file}}
        self.bao.call("POST", role, {"token_policies": ["sallyport"], "token_ttl": "1h"})
        role_id = self.bao.call("GET", f"{role}/role-id")["data"]["role_id"]
        secret_id = self.bao.call("POST", f"{role}/secret-id")["data"]["secret_id"]
        secret = _secret(cluster.files / "secret-id", secret_id)
        return {"approle": {"role_id": role_id, "secret_id": secret}}

    def _trust(self, cluster: Cluster, role: str) -> None:
        """OpenBao asks the API server about the token, in its own account's name."""
        files = cluster.files
        settings = {
            "kubernetes_host": cluster.url,
            "kubernetes_ca_cert": (files / "ca.crt").read_text(),
            "token_reviewer_jwt": (files / "token").read_text(),
        }
        self.bao.call("POST", "auth/kubernetes/config", settings)
        accounts = {
            "bound_service_account_names": ["gateway"],
            "bound_service_account_namespaces": ["sallyport"],
        }
        times = {"audience": API, "token_policies": ["sallyport"], "token_ttl": "1h"}
        self.bao.call("POST", role, {**accounts, **times})

    def write(self, path: str, password: str) -> None:
        self.bao.call("POST", f"secret/data/{path}", {"data": {"password": password}})

    def allow(self, *, kv: bool) -> None:
        policy = POLICY if kv else POLICY.replace('"secret/', '"none/')
        self.bao.call("PUT", "sys/policies/acl/sallyport", {"policy": policy})

    def set_lease_times(self, ttl: int, max_ttl: int) -> None:
        self.bao.lease_roles(default_ttl=f"{ttl}s", max_ttl=f"{max_ttl}s")

    def leases(self) -> set[str]:
        answer = self.bao.answer("LIST", f"sys/leases/lookup/{_LEASES}")
        names = answer.json()["data"]["keys"] if answer.status_code == 200 else []
        return {f"{_LEASES}/{name}" for name in names}

    def revoke(self, lease: str) -> None:
        self.bao.call("PUT", "sys/leases/revoke", {"lease_id": lease, "sync": True})

    def seal(self) -> None:
        self.bao.call("PUT", "sys/seal")
        wait_for(lambda: not self.bao.is_up())

    def unseal(self) -> None:
        self.bao.unseal()
        wait_for(self.bao.is_up)

    def logins(self) -> set[str]:
        return self._accessors() - self.not_counted

    def _accessors(self) -> set[str]:
        return set(self.bao.call("LIST", "auth/token/accessors")["data"]["keys"])


@contextmanager
def doubled_vault(server: Server) -> Iterator[Vault]:
    def execute(sql: str) -> None:
        with psycopg.connect(server.superuser_dsn, autocommit=True) as db:
            db.execute(sql.encode())

    with vault_running(VaultDouble(time.monotonic, execute)) as double:
        yield DoubledVault(double)


@contextmanager
def real_vault(server: Server) -> Iterator[Vault]:
    with openbao_running() as bao:
        yield RealVault(bao, server)
