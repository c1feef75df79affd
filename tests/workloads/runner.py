"""Sends the queries of the families through a real gateway and counts what comes back."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import psycopg

from sallyport.demo.issuer import DevIssuer
from tests.support.gateway import Gateway
from tests.support.postgres import Server
from tests.workloads.families import (
    FAMILIES,
    Query,
    all_queries,
    create_family,
    database_name,
    merged_policy,
    policy_of,
)

_CODE = re.compile(r"\[(SP\d{4})\]")
STATEMENT_TIMEOUT = "10s"


def refusal_code(error: psycopg.Error) -> str:
    """The gateway's code (``SP1201``), or "" when the error is PostgreSQL's own."""
    code = _CODE.search(str(error))
    return code[1] if code else ""


@dataclass
class Outcome:
    """``refused``: code, query and message. ``failed``: what PostgreSQL itself had an error for."""

    answered: int = 0
    refused: list[tuple[str, Query, str]] = field(default_factory=list)
    failed: list[tuple[str, Query, str]] = field(default_factory=list)

    @property
    def by_code(self) -> Counter[str]:
        return Counter(code for code, _, _ in self.refused)


@contextmanager
def family_gateway(
    issuer: DevIssuer, server: Server, families: Sequence[str] = FAMILIES
) -> Iterator[Gateway]:
    """A gateway with one target a family; the databases are made first."""
    for family in families:
        create_family(server, family)
    targets = {family: replace(server, database=database_name(family)) for family in families}
    keys = {"mask_keys": {"tokens": {"env": f"{families[0].upper()}_PASSWORD"}}}
    policy = merged_policy({family: policy_of(family) for family in families})
    gateway = Gateway(issuer, targets, policy=policy, tls=server.ca is not None, extra=keys).start()
    try:
        yield gateway
    finally:
        gateway.stop()


def run_queries(gateway: Gateway, major: int, families: Sequence[str] = FAMILIES) -> Outcome:
    """Every query of these families as the masked subject, by the simple protocol."""
    outcome = Outcome()
    for family in families:
        queries = all_queries(major, [family])
        with psycopg.connect(gateway.dsn(target=family), autocommit=True) as db:
            db.execute(f"SET statement_timeout = '{STATEMENT_TIMEOUT}'".encode())
            for query in queries:
                _run(db, query, outcome)
    return outcome


def run_direct(server: Server, families: Sequence[str] = FAMILIES) -> Outcome:
    """The same past the gateway, as the gateway's role: each must run."""
    outcome = Outcome()
    for family in families:
        dsn = replace(server, database=database_name(family)).agent_dsn
        with psycopg.connect(dsn, autocommit=True) as db:
            db.execute(f"SET statement_timeout = '{STATEMENT_TIMEOUT}'".encode())
            for query in all_queries(server.major, [family]):
                _run(db, query, outcome)
    return outcome


def _run(db: psycopg.Connection, query: Query, outcome: Outcome) -> None:
    try:
        db.execute(query.text.encode()).fetchall()
    except psycopg.Error as error:
        code = refusal_code(error)
        record = (code or error.sqlstate or "connection", query, str(error))
        (outcome.refused if code else outcome.failed).append(record)
    else:
        outcome.answered += 1
