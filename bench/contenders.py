"""The ways to the same database: direct, through PgBouncer, through Sallyport."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import psycopg
from tests.support.gateway import SHOP_POLICY, Gateway
from tests.support.postgres import Server, start_server
from tests.support.processes import ProcessorTime, processor_time, rss

from bench import pgbouncer
from sallyport.demo.issuer import DevIssuer

ROWS = 1_000_000
QUICK_ROWS = 100_000

#: Seven columns, three of them masked through SHOP_POLICY and the masks below.
_TABLE = """
CREATE TABLE people AS
SELECT i AS id, 'Person ' || i AS name, 'person' || i || '@example.com' AS email,
       lpad((i % 899 + 1)::text, 3, '0') || '-45-' || lpad((i % 9999 + 1)::text, 4, '0') AS ssn,
       '+1-212-555-' || lpad((i % 10000)::text, 4, '0') AS phone, i % 100 AS score,
       timestamptz '2024-01-01 00:00+00' + i * interval '1 second' AS seen_at
FROM generate_series(1, %s) AS i
"""
#: What pgbench's own transaction changes, at scale 10 (pgbench.c, initCreateTables).
_ACCOUNTS = """
CREATE TABLE branches AS SELECT i AS bid, 0 AS bbalance FROM generate_series(1, 10) AS i;
CREATE TABLE tellers AS SELECT i AS tid, 0 AS tbalance FROM generate_series(1, 100) AS i;
CREATE TABLE accounts AS SELECT i AS aid, 0 AS abalance FROM generate_series(1, 100000) AS i;
CREATE TABLE history (tid int, bid int, aid int, delta int, mtime timestamp);
ALTER TABLE branches ADD PRIMARY KEY (bid);
ALTER TABLE tellers ADD PRIMARY KEY (tid);
ALTER TABLE accounts ADD PRIMARY KEY (aid);
GRANT SELECT, INSERT, UPDATE ON branches, tellers, accounts, history TO sallyport_agent
"""
_RULE = """\
  - name: agents keep the accounts
    subjects: {groups: [claude-postgres]}
    allow: [write]
    relations: ["public.branches", "public.tellers", "public.accounts", "public.history"]
"""
_MASKS = """\
  - {columns: ["public.people.ssn"], with: {partial: {keep_last: 4}}, filter: masked}
  - {columns: ["public.people.phone"], with: redact, filter: masked}
"""
SETTINGS = {"max_connections": "2300", "shared_buffers": "512MB"}


@dataclass
class Contender:
    """One way to the database. dsn: for pgbench and psycopg. memory: resident bytes of what stands
    in between; cpu: what it has used of the processor so far. tls: the same as ``dsn``, over
    TLS; "" where that is not compared.
    """

    name: str
    dsn: str
    memory: Callable[[], int]
    cpu: Callable[[], ProcessorTime] = lambda: ProcessorTime(0.0, 0.0)
    tls: str = ""


@contextmanager
def contenders(
    rows: int, tell: Callable[[str], None]
) -> Iterator[tuple[Server, Gateway, list[Contender]]]:
    """Start everything; stops it afterwards."""
    with ExitStack() as stack:
        tell("Starting PostgreSQL 18 and loading the data")
        server = start_server(settings=SETTINGS)
        stack.callback(server.stop)
        with psycopg.connect(server.superuser_dsn, autocommit=True) as db:
            db.execute(psycopg.sql.SQL(_TABLE.replace("%s", str(rows))))
            db.execute("ALTER TABLE people ADD PRIMARY KEY (id)")
            db.execute("GRANT SELECT ON people TO sallyport_agent")
            db.execute(_ACCOUNTS)
            db.execute("VACUUM (ANALYZE, FREEZE) people")
        ways = [Contender("direct", f"{server.agent_dsn}?sslmode=disable", lambda: 0)]
        try:
            program, port = pgbouncer.start(server)
        except pgbouncer.UnavailableError as problem:
            tell(str(problem))
        else:
            stack.callback(program.stop)
            dsn = f"postgresql://{server.user}:{server.password}@127.0.0.1:{port}/shop?sslmode="
            ways.append(
                Contender(
                    "PgBouncer",
                    f"{dsn}disable",
                    lambda: rss(program),
                    lambda: processor_time(program),
                    f"{dsn}require",
                )
            )
        issuer = stack.enter_context(DevIssuer(lifetime=12 * 3600.0))
        extra = {"limits": {"max_sessions": 3000, "max_sessions_per_subject": 3000}}
        policy = SHOP_POLICY.replace("masks:\n", f"{_RULE}masks:\n") + _MASKS
        gateway = Gateway(issuer, {"shop": server}, policy, tls=True, extra=extra).start()
        stack.callback(gateway.stop)
        _check_masked(server, gateway)
        tls = gateway.dsn()
        plain = f"{tls.partition('?')[0]}?sslmode=disable"
        ways.append(Contender("Sallyport", plain, gateway.rss, gateway.processor_time, tls))
        yield server, gateway, ways


def _check_masked(server: Server, gateway: Gateway) -> None:
    """A gateway that masks nothing would be fast for no reason. RuntimeError when this one does
    not.
    """
    sql = "SELECT email, ssn, phone FROM people WHERE id = 1"
    real, seen = (
        psycopg.connect(dsn).execute(sql).fetchone() for dsn in (server.agent_dsn, gateway.dsn())
    )
    if (
        real is None
        or seen is None
        or any(mine == theirs for mine, theirs in zip(seen, real, strict=True))
    ):
        raise RuntimeError("the gateway under measurement does not mask")
