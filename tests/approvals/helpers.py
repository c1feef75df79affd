"""A service over a real store, and the people of the tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from sallyport.approvals.people import Identities
from sallyport.approvals.preview.sampling import Sample
from sallyport.approvals.service import Approvals
from sallyport.approvals.states import Binding, FloodLimits, Request
from sallyport.core.clock import ManualClock
from sallyport.core.subject import Subject
from sallyport.store.approvals import SqlApprovalStore
from sallyport.store.database import open_database
from sallyport.store.sealing import Seal

ISSUER = "https://idp.example.com"
AGENT = Subject(
    "claude",
    ISSUER,
    frozenset({"agents"}),
    agent="claude-code",
    label="claude",
    email="alice@example.com",
)
DANA = Subject("dana", ISSUER, frozenset({"dba"}), email="dana@example.com")
EVE = Subject("eve", ISSUER, frozenset({"dba", "other"}), email="eve@example.com")
MALLORY = Subject("mallory", ISSUER, frozenset({"admin", "operators"}), email="mallory@example.com")

BINDING = Binding(
    sql="UPDATE orders SET status = $1 WHERE id = 7",
    binds=(b"paid", None),
    bind_formats=(0,),
    target="shop",
    subject=AGENT.id,
    issuer=AGENT.issuer,
    session="ses_1",
    policy_version="p1",
    epoch="e1",
    search_path=("public",),
    role="sallyport_agent",
    rules=("changes wait",),
    settings=(("DateStyle", "ISO, MDY"), ("TimeZone", "UTC")),
    types=(25,),
    sent="UPDATE orders SET status = $1 WHERE id = 7",
)
#: One change to every field of a binding: each is a way to approve one thing and run another.
CHANGES: dict[str, Any] = {
    "sql": "UPDATE orders SET status = $1 WHERE id = 8",
    "binds": (b"refunded", None),
    "bind_formats": (1,),
    "target": "warehouse",
    "subject": "other-agent",
    "issuer": "https://evil.example.com",
    "session": "ses_2",
    "policy_version": "p2",
    "epoch": "e2",
    "search_path": ("evil", "public"),
    "role": "postgres",
    "rules": ("changes wait", "and so do others"),
    "settings": (("DateStyle", "ISO, DMY"), ("TimeZone", "UTC")),
    "types": (1042,),
    "sent": "UPDATE orders SET status = $1 WHERE id = 7 OR true",
}


class Unmasked:
    """Nothing is masked for the reviewers of these tests."""

    async def under_own_masks(
        self, subject: Subject, requests: Sequence[Request]
    ) -> Sequence[Request]:
        return requests

    async def sample(self, subject: Subject, request: Request) -> Sample:
        return Sample(("id", "note"), (("7", None), ("8", "\x1b[31m\nred")), ("note",))


@dataclass
class House:
    """One data directory; :meth:`restart` is what a crash leaves."""

    directory: Path
    clock: ManualClock
    engine: Engine
    store: SqlApprovalStore
    service: Approvals
    options: dict[str, Any]

    @classmethod
    def open(cls, directory: Path, clock: ManualClock | None = None, **options: Any) -> House:
        clock = clock or ManualClock()
        engine = open_database(directory)
        store = SqlApprovalStore(engine, Seal(b"k" * 32))
        options.setdefault("limits", FloodLimits())
        options.setdefault("identities", Identities())
        return cls(directory, clock, engine, store, Approvals(store, clock, **options), options)

    def restart(self) -> House:
        self.close()
        return House.open(self.directory, self.clock, **self.options)

    def close(self) -> None:
        self.store.close()
        self.engine.dispose()

    def ask(self, binding: Binding = BINDING, subject: Subject = AGENT, **changes: Any) -> Request:
        options: dict[str, Any] = {
            "rule": "changes wait", "reviewers": ["dba"], "quorum": 1, "expires_seconds": 900.0,
            "mode": "wait", "kind": "update", "touches": ("public.orders",),
        }  # fmt: skip
        return self.service.ask(binding, subject, **{**options, **changes})

    def approve(self, request: Request, who: Subject = DANA) -> Request:
        return self.service.decide(request.id, who, True, "", "test")

    def deny(self, request: Request, reason: str = "no", who: Subject = DANA) -> Request:
        return self.service.decide(request.id, who, False, reason, "test")


def changed(field: str, binding: Binding = BINDING) -> Binding:
    return replace(binding, **{field: CHANGES[field]})
