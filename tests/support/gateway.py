"""A real gateway as a subprocess: ``sallyport serve`` with a configuration of the test's own.

``Gateway.dsn()`` gives what an agent would be given: the gateway's address and a token from the
development issuer in place of a password. ``stop()`` also looks for secrets in what the gateway
logged.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml

from sallyport.core.files import open_locked
from sallyport.demo.issuer import DevIssuer
from sallyport.demo.postgres import free_port
from tests.support.certificates import Authority
from tests.support.forked import SALLYPORT, run, start
from tests.support.places import data_dir
from tests.support.postgres import Server
from tests.support.processes import ProcessError, ProcessorTime, Program, processor_time, rss
from tests.support.waiting import wait_for

#: Logged once every target goes by the policy.
_RELOADED = "policy reloaded"

AGENT = "claude-agent"
DBA = "dana-dba"
PRIVACY = "paul-privacy"

#: Reads everything in the shop, changes orders, never sees personal data.
SHOP_POLICY = """\
version: 1
tags:
  pii.email: ["*.*.email"]
  pii.phone: ["public.customers.phone"]
  pii.ssn: ["public.customers.ssn"]
  pii.card: ["public.customers.card_number", "public.payments.card_last4"]
  pii.birth: ["public.customers.birth_date"]
  pii.note: ["public.customers.notes"]
packs: [no-ddl, no-unbounded-write]
functions: ["public.order_total"]
rules:
  - name: agents read the shop
    subjects: {groups: [claude-postgres]}
    targets: [shop]
    allow: [read]
    relations: ["public.*"]
  - name: agents keep the stock and the orders
    subjects: {groups: [claude-postgres]}
    targets: [shop]
    allow: [write]
    relations: ["public.orders*", "public.order_items", "public.products"]
  - name: the privacy office reads the shop
    subjects: {groups: [privacy]}
    targets: [shop]
    allow: [read]
    relations: ["public.*"]
masks:
  - {tags: [pii.email], with: email, filter: masked, except: {groups: [privacy]}}
  - {tags: [pii.ssn], with: {partial: {keep_last: 4}}, filter: masked}
  - {tags: [pii.phone, pii.card, pii.note], with: redact, filter: masked}
  - {tags: [pii.birth], with: {date: {precision: year}}, filter: masked}
"""

#: Seconds that a start and an end may take beside many others; one that fails is noticed at once.
_PATIENCE = 120.0


@dataclass
class Gateway:
    """targets: by name. policy: the text of policy.yaml. tls: whether the listener has a
    certificate.

    extra: merged over the configuration, top level only (``limits``, ``console``, ...).
    target_extra: over each target.
    """

    issuer: DevIssuer
    targets: Mapping[str, Server]
    policy: str = SHOP_POLICY
    tls: bool = False
    extra: Mapping[str, Any] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()
    target_extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.home = data_dir("gateway")
        self.log = self.home / "gateway.log"
        self.config_file = self.home / "sallyport.yaml"
        self.policy_file = self.home / "policy.yaml"
        self.ca: Path | None = None
        self.port = 0
        self._program: Program | None = None
        self._tokens: set[str] = set()
        if self.tls:
            authority = Authority(self.home, "Sallyport gateway test CA")
            authority.issue("gateway")
            self.ca = authority.file

    def start(self) -> Gateway:
        """Write the files and serve; returns when it listens. ProcessError with the log when it
        does not.
        """
        for attempt in (1, 2, 3):
            self.port = self.port or free_port()
            self.write()
            program = self._program = start(self.command("serve"), self.log, self._environment())
            try:
                program.wait_listening(self.port, _PATIENCE)
            except ProcessError:
                program.kill()
                if attempt == 3 or "in use" not in program.output:
                    raise
                self.port = 0
            else:
                break
        return self

    def command(self, *words: str) -> list[str]:
        """A sallyport command line with this gateway's configuration, for subprocess."""
        return [SALLYPORT, *words, "--config", str(self.config_file), *self.arguments]

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """What a command says with this gateway's configuration and environment."""
        return run(self.command(*words), self._environment())

    def write(self, policy: str | None = None) -> None:
        """Write sallyport.yaml and policy.yaml; with ``policy``, change the policy (a running
        gateway reloads it).
        """
        self.policy = self.policy if policy is None else policy
        draft = self.home / "policy.yaml.new"
        draft.write_text(self.policy)
        draft.rename(self.policy_file)
        self.config_file.write_text(yaml.safe_dump(self._config(), sort_keys=False))

    def change_policy(self, policy: str) -> None:
        """Have the running gateway take another policy; returns when it is in force. A tenth of
        what a start costs.
        """
        if policy == self.policy:
            return
        count = self.output().count(_RELOADED)
        self.write(policy)
        os.kill(self.pid, signal.SIGHUP)
        wait_for(lambda: self.output().count(_RELOADED) > count)

    def _config(self) -> dict[str, Any]:
        config: dict[str, Any] = {
            "listen": f"127.0.0.1:{self.port}",
            "data": str(self.home / "var"),
            "identity": {"oidc": [{"issuer": self.issuer.url, "audience": self.issuer.audience}]},
            "targets": {name: self._target(name, server) for name, server in self.targets.items()},
            "policy": str(self.policy_file),
            # What a test leaves running must not make it wait.
            "shutdown": {"drain_seconds": 0.5},
        }
        if self.tls:
            config["tls"] = {
                "certificate": str(self.home / "gateway.crt"),
                "key": str(self.home / "gateway.key"),
            }
        return config | dict(self.extra)

    def _target(self, name: str, server: Server) -> dict[str, Any]:
        target: dict[str, Any] = {
            "host": server.host,
            "port": server.port,
            "database": server.database,
            "user": server.user,
            "password": {"env": _variable(name)},
            "tls": "verify-full" if server.ca else "disable",
        }
        if server.ca:
            target["ca"] = str(server.ca)
        return target | dict(self.target_extra)

    def _environment(self) -> dict[str, str]:
        return {_variable(name): server.password for name, server in self.targets.items()}

    @property
    def environment(self) -> dict[str, str]:
        """What ``command()`` needs in its environment besides the usual."""
        return self._environment()

    def token(self, client: str = AGENT) -> str:
        """A fresh token for one of the issuer's clients."""
        token = self.issuer.token(client).reveal()
        self._tokens.add(token)
        return token

    def dsn(
        self, token: str = "", *, target: str = "shop", user: str = "claude", options: str = ""
    ) -> str:
        """A connection string for any client. options: further URL parameters, ``a=b&c=d``."""
        tls = f"sslmode=verify-full&sslrootcert={self.ca}" if self.ca else "sslmode=disable"
        query = f"{tls}&{options}" if options else tls
        login = f"{user}:{quote(token or self.token())}"
        return f"postgresql://{login}@127.0.0.1:{self.port}/{target}?{query}"

    def restart(self) -> None:
        """End and serve again on the same port with the same data."""
        self._end()
        self.start()

    def kill(self) -> None:
        """SIGKILL, as if the power went: no handler runs. Where workers serve it is for their
        supervisor alone. Returns when the last of them has ended and the data directory is free.
        """
        program, self._program = self._running(), None
        program.process.kill()
        program.stop(_PATIENCE)
        wait_for(self._is_free)

    def _is_free(self) -> bool:
        lock = open_locked(Path(self._config()["data"]) / "gateway.lock")
        if lock is not None:
            lock.close()
        return lock is not None

    def rss(self) -> int:
        """Resident memory of the gateway in bytes."""
        return rss(self._running())

    def processor_time(self) -> ProcessorTime:
        """What the gateway has used so far."""
        return processor_time(self._running())

    @property
    def pid(self) -> int:
        return self._running().process.pid

    def output(self) -> str:
        """Everything it has logged."""
        return self.log.read_text(errors="replace")

    def stop(self) -> None:
        """End it. RuntimeError when it needed SIGKILL, failed, or logged a password or a token."""
        self._end()
        output = self.output()
        secrets = {server.password for server in self.targets.values()} | self._tokens
        key = self.home / "var" / "recording.key"
        secrets |= {key.read_text().strip()} if key.exists() else set()
        if any(secret in output for secret in secrets):
            raise RuntimeError(f"the gateway logged a secret; see {self.log}")

    def _end(self) -> None:
        program, self._program = self._program, None
        if program is None:
            return
        died = not program.alive
        status = program.stop(_PATIENCE)
        if died or status not in (0, -15, 143):
            raise RuntimeError(
                f"the gateway ended by itself or badly (status {status}):\n{program.output[-4000:]}"
            )

    def _running(self) -> Program:
        if self._program is None:
            raise RuntimeError("the gateway does not run")
        return self._program


def _variable(target: str) -> str:
    return f"{target.upper()}_PASSWORD"
