"""ALTER ... IF EXISTS of what is not there does what PostgreSQL does: nothing, with a NOTICE."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from sallyport.demo.issuer import DevIssuer
from tests.support.gateway import Gateway
from tests.support.postgres import Server

POLICY = """version: 1
rules:
  - {name: changes, allow: [read, write, ddl], relations: ["absent.*", "nowhere.*", "public.*"]}
  - {name: not this, deny: [ddl], relations: ["absent.kept"]}
  - {name: nor under new names, deny: [rename, set-schema], relations: ["absent.named"]}
masks:
  - {columns: ["*.*.email"], with: redact}
"""
STATEMENTS = (
    # Hibernate's hbm2ddl says the first before it creates anything
    "alter table if exists absent.none drop constraint if exists fk_none",
    "ALTER TABLE IF EXISTS none ADD COLUMN email text, ALTER COLUMN a TYPE text USING email",
    "alter table if exists absent.none rename to other",
    "alter table if exists only absent.none rename email to b",
    "alter table if exists absent.none rename constraint a to b",
    "alter table if exists absent.none set schema public",
    "alter table if exists absent.none owner to postgres",
    "alter sequence if exists absent.none restart",
    'alter view if exists absent."no ""one" rename to b',
    "alter index if exists none rename to b",
    "alter index if exists absent.none set (fillfactor = 50)",
    "alter materialized view if exists absent.none rename to b",
    "alter foreign table if exists absent.none rename to b",
    "alter table if exists nowhere.none /* é */ drop column a ; select 1",
    "create table absent.a (x int); alter table if exists absent.b add y int; drop table absent.a",
)


@pytest.fixture(scope="module")
def gateway(issuer: DevIssuer, any_postgres: Server) -> Iterator[Gateway]:
    with psycopg.connect(any_postgres.superuser_dsn, autocommit=True) as admin:
        admin.execute(f"create schema absent; grant all on schema absent to {any_postgres.user}")
        running = Gateway(issuer, {"shop": any_postgres}, policy=POLICY).start()
        try:
            yield running
        finally:
            running.stop()
            admin.execute("drop schema absent cascade")


@pytest.mark.parametrize("sql", STATEMENTS)
def test_as_directly(gateway: Gateway, any_postgres: Server, sql: str) -> None:
    told = []
    for dsn in (any_postgres.agent_dsn, gateway.dsn()):
        notices: list[tuple[str | None, str | None]] = []
        with psycopg.connect(dsn, autocommit=True) as db:
            db.add_notice_handler(
                lambda said, kept=notices: kept.append((said.sqlstate, said.message_primary))
            )
            answers = db.execute(sql.encode())
            tags = [answers.statusmessage]
            while answers.nextset():
                tags.append(answers.statusmessage)
            told.append((tags, notices))
    assert told[1] == told[0]
    assert told[0][1], "PostgreSQL says that there is nothing"


def test_in_the_extended_protocol(gateway: Gateway) -> None:
    with psycopg.connect(gateway.dsn()) as db:
        said = []
        db.add_notice_handler(lambda notice: said.append(notice.message_primary))
        for _ in range(2):
            db.execute("alter table if exists absent.none drop column a", prepare=True)
        assert said == ['relation "none" does not exist, skipping'] * 2


def test_what_is_there_is_judged(gateway: Gateway, any_postgres: Server) -> None:
    """Also where the gateway has not seen it yet, and where it comes behind the judging."""
    with (
        psycopg.connect(any_postgres.agent_dsn, autocommit=True) as direct,
        psycopg.connect(gateway.dsn(), autocommit=True) as db,
    ):
        for name in ("late", "later"):
            rename = f"alter table if exists absent.{name} rename email to clear".encode()
            if name == "later":
                db.execute(rename, prepare=True)
            direct.execute(f"create table absent.{name} (id int, email text)".encode())
            with pytest.raises(psycopg.Error) as refused:
                db.execute(rename, prepare=True)
            assert "[SP1202]" in str(refused.value) or refused.value.sqlstate == "42P07"
            columns = direct.execute(f"select * from absent.{name}".encode()).description or ()
            assert [column.name for column in columns] == ["id", "email"]
            direct.execute(f"drop table absent.{name}".encode())


@pytest.mark.parametrize(
    "sql",
    [
        "alter table if exists absent.kept add column x int",
        "alter table if exists absent.named rename to other",
        "alter table if exists absent.named set schema public",
    ],
)
def test_a_rule_that_denies_it_holds(gateway: Gateway, sql: str) -> None:
    with psycopg.connect(gateway.dsn(), autocommit=True) as db:
        with pytest.raises(psycopg.Error) as refused:
            db.execute(sql.encode())
        assert "[SP1002]" in str(refused.value) or "[SP1001]" in str(refused.value)
