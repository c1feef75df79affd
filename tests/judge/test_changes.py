"""Which statements count as changes, and so are journaled before they are sent."""

from __future__ import annotations

import pytest

from sallyport.core.subject import Subject
from sallyport.judge import Judge, Verdict
from sallyport.policy.file.load import parse_policy
from sallyport.sql.catalog.snapshot import CatalogSnapshot

POLICY = """\
version: 1
functions: ["fx.*"]
rules:
  - {name: all, allow: [all]}
"""
READS = """
select * from users
select id, upper(e) from v where id = 1 order by 1
select count(*), now(), random() from users group by age
select * from mv, vv
with q as (select id from users) select * from q
values (1), (2)
table users
select pg_catalog.current_setting('search_path')
select currval('seq')
explain select * from users
explain (analyze) select * from users
copy users to stdout
copy (select id from users) to stdout
declare c cursor for select id from users
prepare p as select id from users where id = $1
deallocate p
close c
begin
start transaction read only
savepoint a
rollback to a
release a
commit
rollback
set application_name = 'x'
reset application_name
show search_path
"""
CHANGES = """
insert into users (id) values (1)
update users set age = 2 where id = 1
delete from users where id = 1
merge into users u using orders o on o.user_id = u.id when matched then update set age = 1
with gone as (delete from users where id = 1 returning id) select * from gone
select * from (values (1)) v, lateral (select nextval('seq')) n
select nextval('seq')
select setval('seq', 5)
select pg_notify('channel', 'payload')
select id from users for update
select fx.leak(name) from users
select fx.shout('x')
select ssn === 'x' from users
copy users (id) from stdin
explain insert into users (id) values (1)
explain analyze delete from users where id = 1
prepare p as insert into users (id) values ($1)
declare c cursor for select nextval('seq')
create table fresh (a int)
create table copied as select id from users
create view seen as select id from users
drop view v
alter table users add column extra int
truncate users
lock table users
notify somebody
comment on table users is 'x'
analyze users
refresh materialized view mv
"""
#: They change what the session knows under the name.
BY_NAME = """
execute p
fetch c
move c
explain execute p
"""


def lines(text: str) -> list[str]:
    return text.strip().splitlines()


@pytest.fixture(scope="module")
def judge(catalog: CatalogSnapshot) -> Judge:
    return Judge(
        "shop", parse_policy(POLICY, "policy.yaml"), catalog, {}, max_statement_bytes=1 << 20
    )


def verdict(judge: Judge, sql: str) -> Verdict:
    view = judge.subject_judge(
        Subject("agent", "https://idp.test", frozenset()), ("fx", "pg_catalog")
    )
    return view.judge(sql.encode()).statements[0]


@pytest.mark.parametrize("sql", lines(READS))
def test_reads_do_not_wait(judge: Judge, sql: str) -> None:
    read = verdict(judge, sql)
    assert read.refusal is None, read.refusal
    assert not read.changes and not read.runs_named
    assert read.inner is None or not read.inner.changes


@pytest.mark.parametrize("sql", lines(CHANGES))
def test_whatever_may_change_something_is_journaled(judge: Judge, sql: str) -> None:
    change = verdict(judge, sql)
    assert change.changes
    if sql.startswith(("prepare", "declare")):  # what EXECUTE and FETCH go by
        assert change.inner is not None and change.inner.changes


@pytest.mark.parametrize("sql", lines(BY_NAME))
def test_what_runs_by_name_depends_on_the_name(judge: Judge, sql: str) -> None:
    assert verdict(judge, sql).runs_named


def test_what_could_not_be_judged_counts_as_a_change(judge: Judge) -> None:
    assert verdict(judge, "select no_such_column from users").changes


def test_only_blocks_are_transaction_control(judge: Judge) -> None:
    """What the native lane sends without asking the session what it does to it."""
    control = "begin|savepoint a|rollback to a|release a|commit|rollback|start transaction"
    assert all(verdict(judge, sql).is_transaction_control for sql in control.split("|"))
    not_control = (
        "prepare transaction 'x'|commit prepared 'x'|rollback prepared 'x'|set a.b = '1'|select 1"
    )
    assert not any(verdict(judge, sql).is_transaction_control for sql in not_control.split("|"))
