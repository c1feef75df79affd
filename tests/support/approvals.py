"""A gateway whose rules hold, agents that wait in threads of their own, and a reviewer at the REST
interface.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Self

import httpx2
import psycopg

from sallyport.core.clock import unix_seconds
from sallyport.core.secret import Secret
from sallyport.demo.issuer import DEMO_CLIENTS, DemoClient, DevIssuer
from sallyport.demo.postgres import free_port
from tests.support import requests
from tests.support.gateway import AGENT, DBA, Gateway
from tests.support.postgres import Server
from tests.support.waiting import PATIENCE, wait_for

#: In both worlds: may ask, and belongs to those who decide.
BOTH, SAME_MAIL, SECOND_DBA, OTHER_AGENT = "dora-both", "dora-ops", "dino-dba", "other-agent"
SECURITY = "sam-security"
CLIENTS = {
    **DEMO_CLIENTS,
    BOTH: DemoClient("dora", Secret("x"), ("claude-postgres", "dba"), "dora@example.com"),
    SAME_MAIL: DemoClient("dora-the-dba", Secret("x"), ("dba",), "Dora+ops@Example.com"),
    SECOND_DBA: DemoClient("dino", Secret("x"), ("dba",), "dino@example.com"),
    SECURITY: DemoClient("sam", Secret("x"), ("security",), "sam@example.com"),
    OTHER_AGENT: DemoClient("other-agent", Secret("x"), ("claude-postgres",)),
    **{
        f"crowd-{n}": DemoClient(f"crowd-{n}", Secret("x"), ("claude-postgres",)) for n in range(25)
    },
}

#: Each has rows 1 to 200; what deleting from it means is in the policy.
TABLES = ("waits", "soon", "later", "twice", "ruled", "free")
POLICY = """\
version: 1
search_paths: ["public", "pg_catalog, public"]
rules:
  - name: agents work
    subjects: {groups: [claude-postgres]}
    allow: [read, write, ddl]
    relations: ["public.*"]
  - name: it waits
    subjects: {groups: [claude-postgres]}
    hold: [delete, insert]
    relations: ["public.waits"]
    reviewers: {groups: [dba]}
    expires: 2m
  - name: nobody is quick enough
    hold: [delete]
    relations: ["public.soon"]
    reviewers: {groups: [dba]}
    expires: 1s
  - name: sent and run later
    hold: [delete]
    relations: ["public.later"]
    reviewers: {groups: [dba]}
    mode: async
    expires: 2m
  - name: two people
    hold: [delete]
    relations: ["public.twice"]
    reviewers: {groups: [dba], quorum: 2}
    expires: 2m
  - name: the first of two rules
    hold: [delete]
    relations: ["public.ruled"]
    reviewers: {groups: [dba]}
    mode: async
    expires: 2m
  - name: the second of two rules
    hold: [delete, truncate]
    relations: ["public.ruled"]
    reviewers: {groups: [security]}
    expires: 90s
"""
LIMITS = {"held_in_transaction_seconds": 3.0, "held_reminder_seconds": 0.6}


def make_tables(server: Server) -> None:
    with psycopg.connect(server.superuser_dsn, autocommit=True) as db:
        for table in TABLES:
            db.execute(f"CREATE TABLE public.{table} (id int PRIMARY KEY, note text DEFAULT 'x')")
            db.execute(f"INSERT INTO public.{table} SELECT generate_series(1, 200)")
            db.execute(f"GRANT ALL ON public.{table} TO sallyport_agent")  # type: ignore[arg-type]


def count(server: Server, table: str, where: str = "true") -> int:
    with psycopg.connect(server.superuser_dsn) as db:
        row = db.execute(f"SELECT count(*) FROM public.{table} WHERE {where}").fetchone()
    return int(row[0]) if row else -1


def holding_gateway(
    issuer: DevIssuer, server: Server, policy: str = POLICY, **limits: Any
) -> Gateway:
    """Not started yet. ``.console`` is its address."""
    port = free_port()
    roles = {"reviewer": ["dba", "security"], "viewer": ["claude-postgres"]}
    extra = {
        "console": {"listen": f"127.0.0.1:{port}", "roles": roles},
        "limits": {**LIMITS, **limits},
        "catalog": {"check_seconds": 0.5},
    }
    return Gateway(issuer, {"shop": server}, policy=policy, extra=extra)


@dataclass
class Desk:
    """Somebody at the REST interface."""

    gateway: Gateway
    client: str = DBA

    @staticmethod
    def lifetime(request: Mapping[str, Any]) -> float:
        """Seconds from the creation of a request, as REST shows it, to its expiry."""
        return unix_seconds(request["expires_at"]) - unix_seconds(request["created"])

    def __post_init__(self) -> None:
        self._base = f"http://{self.gateway.extra['console']['listen']}/api/v1"
        wait_for(self._listens)  # the console comes a moment after the gateway
        self._headers = {"Authorization": f"Bearer {self.gateway.token(self.client)}"}

    def _listens(self) -> bool:
        try:
            requests.get(f"{self._base}/approvals", timeout=60)
        except httpx2.ConnectError:
            return False
        return True

    def get(self, path: str) -> Any:
        answer = requests.get(self._base + path, headers=self._headers, timeout=60)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def pending(self) -> list[dict[str, Any]]:
        return list(self.get("/approvals?status=pending")["approvals"])

    def show(self, id_: str) -> dict[str, Any]:
        return dict(self.get(f"/approvals/{id_}"))

    def status(self, id_: str) -> str:
        return str(self.show(id_)["status"])

    def decide(self, id_: str, approve: bool, reason: str = "", **more: Any) -> httpx2.Response:
        body = {"approve": approve, "reason": reason, **more}
        return requests.post(
            f"{self._base}/approvals/{id_}/decision", headers=self._headers, json=body, timeout=60
        )

    def approve(self, id_: str, reason: str = "ticket 12") -> None:
        answer = self.decide(id_, True, reason)
        assert answer.status_code == 200, answer.text

    def deny(self, id_: str, reason: str) -> None:
        answer = self.decide(id_, False, reason)
        assert answer.status_code == 200, answer.text


@dataclass
class Notice:
    text: str
    detail: str
    hint: str
    at: float


@dataclass
class Waiter(AbstractContextManager["Waiter"]):
    """A connection on which one statement runs in a thread. ``id``: of the approval, once the
    NOTICE has come.
    """

    gateway: Gateway
    client: str = AGENT
    autocommit: bool = True
    notices: list[Notice] = field(default_factory=list)
    result: Any = None
    error: psycopg.Error | None = None

    def __post_init__(self) -> None:
        dsn = self.gateway.dsn(self.gateway.token(self.client))
        self.db = psycopg.connect(dsn, autocommit=self.autocommit)
        self.db.add_notice_handler(self._notice)
        self._thread: threading.Thread | None = None

    def _notice(self, diagnostic: psycopg.errors.Diagnostic) -> None:
        texts = (diagnostic.message_primary, diagnostic.message_detail, diagnostic.message_hint)
        self.notices.append(Notice(*(text or "" for text in texts), at=time.monotonic()))

    def __exit__(self, *error: object) -> None:
        self.db.close()

    def run(self, sql: str, params: Sequence[Any] | None = None, **more: Any) -> Self:
        """Begin; returns at once."""
        self.error = self.result = None
        self.notices.clear()
        self.sent = time.monotonic()
        self._thread = threading.Thread(
            target=self._run, args=(sql, params), kwargs=more, daemon=True
        )
        self._thread.start()
        return self

    def _run(self, sql: str, params: Sequence[Any] | None, **more: Any) -> None:
        try:
            self.result = self.db.execute(sql, params, **more).statusmessage
        except psycopg.Error as error:
            self.error = error

    @property
    def id(self) -> str:
        wait_for(lambda: bool(self.notices) or self.error is not None)
        assert self.notices, self.error
        return next(word for word in self.notices[0].text.split() if word.startswith("apr_"))

    def end(self, seconds: float = PATIENCE) -> Self:
        """Until it is over."""
        assert self._thread is not None
        self._thread.join(seconds)
        assert not self._thread.is_alive(), "it still waits"
        return self

    @property
    def waiting(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def refused(self, code: str, sqlstate: str) -> psycopg.Error:
        """The error it ended with, which must be this one."""
        error = self.end().error
        assert error is not None, self.result
        assert (error.sqlstate, str(error)[:8]) == (sqlstate, f"[{code}]"), error
        return error

    def usable(self) -> bool:
        return self.db.execute("SELECT 1").fetchone() == (1,)


def noted(messages: Sequence[bytes]) -> str:
    """The id in the NOTICE that ends these messages: of this session's request, whatever else
    waits.
    """
    match = re.search(rb"apr_\w+", messages[-1])
    assert match is not None, messages
    return match[0].decode()
