"""Names that do not exist: the same SQLSTATE and words as PostgreSQL's own."""

from __future__ import annotations

import psycopg
import pytest

from sallyport.core.errors import CODES, UNKNOWN_NAMES
from sallyport.sql.catalog.snapshot import CatalogSnapshot
from sallyport.sql.extract import analyze
from tests.sql.rendering import CONTEXT
from tests.support.listed import listed

STATEMENTS = listed("""
select * from nowhere
select * from fx.nowhere
select * from nosuch.users
select nonsense from users
select u.nonsense from users u
select nowhere.id from users
select nowhere.* from users
select 1 from users where nonsense = 1
select id from users, orders
select note from users join orders using (note)
select 1 from users u join orders o using (id) join items i using (id) join items j
  using (id, label) order by nonsense
select no_such_function(1, 'x', true)
select nosuch.f(1)
select lower(1, 2)
select abs(date '2020-01-01')
select id + name from users
select - name from users
select 1 operator(pg_catalog.@#@) 2
select born ~~ 1 from users
select 'x'::nosuchtype
select 'x'::nosuch.thing
select 'x'::fx.nosuchtype
select true::date
select id::date from users
select id from users order by 7
select id from users group by 7
select * from users as u(a, b, c, d, e, f, g, h, i, j, k)
with w(a, b) as (select 1) select * from w
insert into users (nonsense) values (1)
update users set nonsense = 1
insert into nowhere values (1)
delete from nowhere
select (u).nonsense from users u
select (p).nonsense from comp
select ($1).nonsense
select ($1).*
select ('x').nonsense
select (1).nonsense
select (id).nonsense from users
select (id).* from users
select ('x').*
drop table nowhere
drop view nowhere
drop sequence nowhere
truncate nowhere
copy users (nonsense) to stdout
copy v to stdout
copy seq to stdout
create schema pg_app
create schema if not exists pg_app
alter schema fx rename to pg_app
select users.id from users, public.users
select users from users, public.users
select users.* from users, public.users
with recursive w(n) as (select n from w) select * from w
with recursive w(n) as (select n from w union all select 1) select * from w
with recursive w(n) as (select 1 union select n from w union select n from w) select * from w
with recursive w(n) as (select 1 except select n from w) select * from w
select 1 union select 1, 2
select 1 intersect select 1, 2
values (1), (2, 3)
""")


@pytest.mark.parametrize("sql", STATEMENTS)
def test_says_what_postgres_says(sql: str, catalog: CatalogSnapshot, facts_dsn: str) -> None:
    (facts,) = analyze(sql.encode(), catalog, CONTEXT)
    unknown = facts.unknowns[0]
    assert unknown.code in UNKNOWN_NAMES | {"SP1101", "SP1115", "SP1118"}
    with psycopg.connect(facts_dsn) as connection:
        connection.execute("set search_path = fx, public")
        with pytest.raises(psycopg.Error) as raised:
            connection.execute(sql.encode(), prepare="$1" in sql)
    diagnostics = raised.value.diag
    assert (CODES[unknown.code].sqlstate, unknown.message) == (
        diagnostics.sqlstate,
        diagnostics.message_primary,
    )
    if diagnostics.statement_position and unknown.position >= 0:
        assert unknown.position + 1 == int(diagnostics.statement_position)


def test_a_script_full_of_misses_looks_for_one_suggestion(catalog: CatalogSnapshot) -> None:
    (facts,) = analyze(b"select usr.id, nam from users u", catalog, CONTEXT)
    assert [u.hint for u in facts.unknowns] == ["Names in FROM are u.", ""]
    (facts,) = analyze(b"select nam from users", catalog, CONTEXT)
    assert facts.unknowns[0].hint == 'Perhaps you meant "name".'
