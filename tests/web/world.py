"""A console over real parts: recordings, store, approvals, judge, issuer. Only the registry of live
sessions is made up.

Every name and statement in it that a client could choose is hostile.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from starlette.applications import Starlette

from sallyport.approvals.preview.sampling import Sample
from sallyport.approvals.seeing import under_own_masks
from sallyport.approvals.service import Approvals
from sallyport.approvals.states import Preview, Request
from sallyport.audit.actions import ActionLog
from sallyport.audit.recorder import Recorder
from sallyport.core.clock import SystemClock
from sallyport.core.errors import ConfigError
from sallyport.core.subject import Subject
from sallyport.demo.issuer import DevIssuer
from sallyport.demo.signin import CONSOLE_CLIENT
from sallyport.identity.authenticate import Authenticator
from sallyport.identity.locks import Lock, Locks
from sallyport.identity.settings import IssuerSettings
from sallyport.judge import Containments, Judge
from sallyport.operations.access import Access
from sallyport.operations.explaining import explanations
from sallyport.operations.history import History
from sallyport.operations.ports import (
    ClassifiedColumn,
    GatewayMetrics,
    LiveSession,
    MaskedColumn,
    PolicyStatus,
    TargetStatus,
)
from sallyport.operations.sessions import Sessions
from sallyport.operations.statementsearch import StatementIndexer
from sallyport.policy.coverage import ColumnCoverage, Coverage
from sallyport.policy.explain import Explanation
from sallyport.policy.file.load import parse_policy
from sallyport.policy.versions import PolicyVersion
from sallyport.sql.catalog.snapshot import Type
from sallyport.store.activity import SqlActivity
from sallyport.store.approvals import SqlApprovalStore
from sallyport.store.database import open_database
from sallyport.store.locks import SqlLockStore
from sallyport.store.policies import SqlPolicyVersions
from sallyport.store.sealing import Seal
from sallyport.store.sessions import SqlSessionIndex
from sallyport.store.statementsearch import StatementSearch
from sallyport.store.writer import Writer
from sallyport.web.app import build
from sallyport.web.settings import ConsoleSettings, Services
from tests.approvals.helpers import BINDING
from tests.audit.helpers import data_row, judged, message, row_description
from tests.policy.shop import CATALOG
from tests.support.waiting import wait_for

#: Markup, a template, an attribute's end, bidi, zero-width, a terminal escape, a bell.
EVIL = (
    "<script>alert(1)</script>\"'><img src=x"
    " onerror=alert(2)>{{7*7}}\u202egpj\u200b\x1b]0;owned\x07"
)
#: Must not be in any answer as they are.
RAW = ("<script>alert", "<img src=x", "\u202e", "\u200b", "\x1b", "\x07")
ROLES = {"viewer": ["staff"], "reviewer": ["dba"], "auditor": ["audit"], "operator": ["ops"]}
PEOPLE = {
    "viewer": "vera-viewer",
    "reviewer": "dana-dba",
    "auditor": "adam-auditor",
    "operator": "olga-operator",
    "nobody": "paul-privacy",
}
#: With the type that its masked column has.
TYPED = replace(CATALOG, types={25: Type(25, "pg_catalog", "text", "b", "S")})
POLICY = """version: 1
packs: [no-ddl]
rules:
  - name: agents read
    subjects: {groups: [agents]}
    allow: [read]
    relations: ["public.*"]
  - name: changes wait
    subjects: {groups: [agents]}
    hold: [update]
    relations: ["public.orders"]
    reviewers: {groups: [dba]}
masks:
  - {columns: ["public.customers.email"], with: email, except: {groups: [privacy]}}
"""


@dataclass
class FakeGateway:
    """:class:`sallyport.operations.ports.LiveGateway`, with sessions that are only said to be
    there.
    """

    sessions: list[LiveSession] = field(default_factory=list)
    killed: list[tuple[str, str]] = field(default_factory=list)
    counters: GatewayMetrics = field(default_factory=GatewayMetrics)
    problem: str = ""
    policy_problem: str = ""
    containments: Containments = field(default_factory=Containments)
    accepted: tuple[str, ...] = ()
    judge: Judge = field(
        default_factory=lambda: Judge(
            "shop", parse_policy(POLICY, "policy.yaml"), TYPED, {}, max_statement_bytes=1 << 20
        )
    )

    def live(self) -> Sequence[LiveSession]:
        return self.sessions

    def kill(self, session_id: str, reason: str) -> bool:
        left = [session for session in self.sessions if session.id != session_id]
        was_open = len(left) < len(self.sessions)
        self.sessions = left
        if was_open:
            self.killed.append((session_id, reason))
        return was_open

    def end_token(self, token_id: str, by: str) -> int:
        return 0

    def end_locked(self, lock: Lock, by: str) -> int:
        names = {
            session.id: session.subject if lock.kind == "subject" else session.agent
            for session in self.sessions
        }
        return sum(self.kill(id_, lock.reason) for id_, name in names.items() if name == lock.name)

    def issuers(self) -> Collection[str]:
        return self.accepted

    def targets(self) -> Sequence[TargetStatus]:
        masked = MaskedColumn(
            "public.customers.email",
            "email",
            "deny",
            ("pii.email",),
            ("privacy",),
            f"agent {EVIL}",
            "group privacy",
        )
        return [
            TargetStatus(
                "shop", "db.internal:5432", "shop", True, "", CATALOG.epoch, 180004, 11, 2,
                (masked,),
                (ClassifiedColumn(f"public.notes.{EVIL}", ("pii.note", EVIL)),), (EVIL,),
            ),
            TargetStatus("warehouse", "10.0.0.9:5432", "dw", False, f"cannot be reached {EVIL}"),
        ]  # fmt: skip

    def coverage(self, target: str) -> Sequence[ColumnCoverage]:
        if target != "shop":
            return ()
        notes = f"public.notes.{EVIL}"
        return [
            ColumnCoverage(
                "public.customers.email",
                "text",
                Coverage.MASKED,
                ("pii.email",),
                "pii.email",
                ("email",),
            ),
            ColumnCoverage(
                notes, EVIL, Coverage.LOOKS_PERSONAL, ("pii.note", EVIL), "pii.free_text"
            ),
            ColumnCoverage("public.orders.total", "numeric", Coverage.CLEAR),
        ]

    def policy(self) -> PolicyStatus:
        return PolicyStatus(
            "0123456789abcdef", "policy.yaml", POLICY + f"# {EVIL}\n", (EVIL,), self.policy_problem
        )

    def metrics(self) -> GatewayMetrics:
        return replace(self.counters, sessions=len(self.sessions))

    def warnings(self) -> list[str]:
        return []

    def ready(self, target: str = "") -> str:
        if target not in ("", "shop", "warehouse"):
            raise LookupError(target)
        return self.problem or ("it does not answer" if target == "warehouse" else "")

    async def explain(self, subject: Subject, target: str, sql: str) -> Sequence[Explanation]:
        if target != "shop":
            raise ConfigError(f"there is no target {target!r}; there is: shop")
        return explanations(self.judge, subject, sql)

    async def under_own_masks(
        self, subject: Subject, requests: Sequence[Request]
    ) -> Sequence[Request]:
        return [
            under_own_masks(self.judge.subject_judge(subject, each.binding.search_path), each)
            for each in requests
        ]

    async def sample(self, subject: Subject, request: Request) -> Sample:
        return Sample(("id", EVIL), (("7", EVIL), ("8", None)), (EVIL,))


@dataclass
class World:
    """``request``: one that waits. ``ids``: of the recorded sessions, oldest first."""

    issuer: DevIssuer
    gateway: FakeGateway
    approvals: Approvals
    services: Services
    request: Request
    ids: list[str]
    recorder: Recorder

    app: Starlette

    def forget_sign_ins(self) -> None:
        """Tests sign in more often in a minute than people do."""
        console = self.app.state.console
        console.sign_in_limit._counts.clear()
        console.sign_in_limit._total = 0

    def ask(self, number: int, **changes: object) -> Request:
        """One more request that waits, of a statement of its own."""
        sql = f"UPDATE orders SET status = 'x' WHERE id = {number}"
        binding = replace(BINDING, sql=sql, sent=sql, session=self.ids[0])
        return self.approvals.ask(
            binding, _AGENT, rule="changes wait", reviewers=["dba"], quorum=1,
            expires_seconds=900.0,
            mode="wait", kind="update", touches=("update public.orders",),
            **changes,  # type: ignore[arg-type]
        )  # fmt: skip


_AGENT = Subject(
    "claude", "https://idp.example.com", frozenset({"agents"}), agent="claude-code", label=EVIL
)


@contextmanager
def world(
    directory: Path, issuer: DevIssuer, public_url: str = "http://127.0.0.1:8642"
) -> Iterator[World]:
    """Everything, torn down in order."""
    engine = open_database(directory)
    writer = Writer(engine, interval=0.01)
    writer.start()
    index = SqlSessionIndex(engine, writer)
    recorder = Recorder(directory, index, interval=0.005)
    recorder.start()
    store = SqlApprovalStore(engine, Seal(b"k" * 32))
    policies = SqlPolicyVersions(engine, writer)
    for number, text in enumerate(
        (POLICY, POLICY.replace("[read]", f"[read]  # {EVIL}"), POLICY + f"# {EVIL}\n")
    ):
        version = f"{number}123456789abcdef"
        policies.keep(
            PolicyVersion(
                version, text, f"policy.yaml{EVIL}", 1e9 + number, "the file changed", EVIL, 1e9
            )
        )
    try:
        ids = _record(recorder)
        wait_for(lambda: len(index.recent(limit=None)) == len(ids))
        wait_for(lambda: all(row.status == "ended" for row in index.recent(limit=None)))
        wait_for(lambda: len(policies.recent()) == 3)
        search = StatementSearch(directory, writable=True)
        StatementIndexer(Sessions(recorder.directory, index), search, alone=True).fill()
        approvals = Approvals(store, SystemClock())
        request = _ask(approvals, ids[0])
        gateway = FakeGateway(_live(ids), counters=_counters(), accepted=(issuer.url,))
        locks = Locks(SqlLockStore(engine), SystemClock())
        issuer_settings = IssuerSettings(issuer=issuer.url, audience="sallyport")
        services = Services(
            ConsoleSettings(public_url, issuer_settings, CONSOLE_CLIENT),
            Access({role: frozenset(groups) for role, groups in ROLES.items()}),
            Authenticator([issuer_settings], locks=locks),
            Sessions(recorder.directory, index),
            gateway,
            approvals,
            policies=policies,
            actions=ActionLog(recorder),
            history=History(gateway.metrics, SqlActivity(engine, writer, "0-0"), SystemClock()),
            locks=locks,
            search=lambda: StatementSearch(search.path.parent),
        )
        yield World(issuer, gateway, approvals, services, request, ids, recorder, build(services))
    finally:
        recorder.close()
        writer.close()
        store.close()
        engine.dispose()


def _record(recorder: Recorder) -> list[str]:
    """A session with everything in it, and a hundred small ones."""
    agent = replace(
        _AGENT, id=f"agent {EVIL}", groups=frozenset({"agents", EVIL}), agent=f"claude {EVIL}"
    )
    first = recorder.open_session("s_first", agent, "shop", "127.0.0.1:50000", EVIL)
    first.statement(judged(1, (f"select name, note as \"{EVIL}\" -- {EVIL}\nfrom customers where id"
                               f" = $1"),
                    outcome="allow", rule=EVIL, binds=[EVIL.encode(), None],
                    relations=("public.customers", f"evil.{EVIL}"),
                    masked=("public.customers.email", f"evil.t.{EVIL}")))  # fmt: skip
    rows = [data_row(str(n).encode(), EVIL.encode(), None) for n in range(400)]
    columns = row_description(("id", 25, 0), (EVIL, 25, 0), ("note", 25, 0))
    first.reply(1, columns + b"".join(rows) + message(b"C", b"SELECT 400\0"))
    first.complete(1, "SELECT 400", 400, "", 0.012)
    first.statement(
        judged(
            2,
            "drop table customers",
            outcome="deny",
            rule="no-ddl",
            code="SP1002",
            relations=("public.customers",),
        )
    )
    error = f"SERROR\0VERROR\0C42501\0M[SP1002] {EVIL}\0D{EVIL}\0H{EVIL}\0\0".encode()
    first.reply(2, message(b"E", error))
    first.complete(2, "", 0, "42501", 0.0)
    first.note("warning", EVIL)
    for number in range(3, 260):
        first.statement(judged(number, f"select {number}", outcome="allow", rule="agents read"))
        first.complete(number, "SELECT 1", 1, "", 0.0004)
    first.end(f"terminated {EVIL}")
    wait_for(lambda: first.backlog == 0)
    ids = ["s_first"]
    for number in range(100):
        id_ = f"s_{number:03d}"
        small = recorder.open_session(
            id_, replace(_AGENT, id=f"bot-{number % 3}", label=""), "shop", "127.0.0.1:1", "psql"
        )
        small.statement(judged(1, "select 1", outcome="allow" if number % 10 else "deny"))
        small.complete(1, "SELECT 1", 1, "", 0.001)
        small.end("terminated")
        ids.append(id_)
    return ids


def _ask(approvals: Approvals, session: str) -> Request:
    sql = (
        f"UPDATE orders -- {EVIL}\n   SET status = 'refunded', note ="
        f" '{EVIL.replace(chr(39), '')}'\n WHERE id = $1 AND total > 100"
    )
    sent = f"{sql} AND NOT EXISTS (SELECT '[redacted]' AS \"{EVIL}\")"
    binding = replace(BINDING, sql=sql, sent=sent, session=session, binds=(EVIL.encode(), None))
    request = approvals.ask(
        binding, _AGENT, rule="changes wait", reviewers=["dba"], quorum=1, expires_seconds=900.0,
        mode="wait",
        kind="update", touches=("update public.orders", EVIL), in_transaction=True,
    )  # fmt: skip
    plan = (
        '[{"Plan": {"Node Type": "ModifyTable", "Relation Name": "orders", "Filter":'
        ' "<script>alert(1)</script>"}}]'
    )
    return approvals.previewed(
        request.id, Preview(plan, 41, ("ROW EXCLUSIVE on public.orders",), (), (EVIL,), 0.034)
    )


def _live(ids: Sequence[str]) -> list[LiveSession]:
    now = time.time()
    return [
        LiveSession("s_first", f"agent {EVIL}", "https://idp.example.com", f"claude {EVIL}", EVIL,
        "shop", "127.0.0.1:50000",
                    now - 340, 259, 1, "waiting for approval",
                    f"UPDATE orders SET note = '{EVIL}'"),
        LiveSession("s_live2", "ci-runner", "https://idp.example.com", "github-actions", "ci",
        "shop", "10.1.2.3:4100",
                    now - 12, 31, 0, "active", "SELECT * FROM orders"),
    ]  # fmt: skip


def _counters() -> GatewayMetrics:
    return GatewayMetrics(
        statements={"allow": 1840, "deny": 57, "hold": 6},
        sessions_total=103,
        logins={"accepted": 103, "SP1601": 4},
        refusals={"SP1002": 31, "SP1001": 14, "SP1201": 9, "SP1106": 3},
        masked={"public.customers.email": 4210, "public.customers.ssn": 800},
        judge_buckets={
            0.0002: 930,
            0.0005: 240,
            0.001: 66,
            0.002: 12,
            0.01: 3,
            float("inf"): 0,
        },
        judge_seconds=0.61,
        latency={
            "to_server": {0.00001: 300, 0.00002: 300, 0.00005: 250, 0.0001: 140, 0.001: 10},
            "to_client": {0.00002: 500, 0.00005: 400, 0.0002: 95, 0.002: 5},
        },
        latency_seconds={"to_server": 0.04, "to_client": 0.05},
        cache_hits=1600,
        cache_misses=303,
    )
