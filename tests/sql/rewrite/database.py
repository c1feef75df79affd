"""A database whose tables have masks, and what a statement becomes before it is sent there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg
import pytest

from sallyport.core.subject import Subject
from sallyport.judge import Judge, ScriptVerdict, SubjectJudge, comparisons, subselects
from sallyport.policy.file.load import parse_policy
from sallyport.sql.catalog.snapshot import CatalogSnapshot

SCHEMA = """
create schema s; create schema s2; create schema "Odd.Schema";
set search_path = s, s2;
create table s.customers (id int primary key, name text, email text, ssn text, city text, born date,
  doc json, place point, joined timestamptz, code varchar(8), score numeric(6,2));
insert into s.customers select n, 'name ' || n % 3, 'mail' || n % 4 || '@x.org', 'ssn-' || n,
  (array['ä','b',null])[n % 3 + 1],
  date '2000-01-01' + n, json_build_object('n', n), point(n, -n),
  timestamptz '2020-01-01 00:00Z' + n * interval '1 day',
  'c' || n, n / 2.0 from generate_series(1, 12) n;
create table s.orders (id int primary key, customer int references s.customers, total numeric(10,2),
  note text, ssn text);
insert into s.orders select n, nullif(n % 14, 0) % 13, n * 1.5, 'note ' || n, 'ssn-' || n % 20
  from generate_series(1, 30) n
  where n % 14 between 1 and 12;
create table s.lines (order_id int, number int, sku text, price numeric, email text,
  primary key (order_id, number));
insert into s.lines select n / 3, n % 3, 'sku ' || n, n, 'mail' || n % 4 || '@x.org'
  from generate_series(0, 40) n;
create table s2.customers (id int primary key, name text, email text);
insert into s2.customers select n, 'other ' || n, 'mail' || n || '@y.org'
  from generate_series(3, 8) n;
create table "Odd.Schema"."Odd ""Name" ("Id" int primary key, "E mail" text, email text);
insert into "Odd.Schema"."Odd ""Name" values (1, 'a', 'm1@x.org'), (2, 'b', 'm2@x.org'),
  (3, null, null);
create table s.people (id int primary key, ssn text);
create table s.staff (desk text) inherits (s.people);
insert into s.people values (1, 'p-1'), (2, 'p-2');
insert into s.staff values (2, 's-2', 'x'), (3, 's-3', 'y');
create table s.parted (id int primary key, ssn text) partition by range (id);
create table s.parted_low partition of s.parted for values from (0) to (10);
create table s.parted_high partition of s.parted for values from (10) to (100);
insert into s.parted select n, 'ssn-' || n from generate_series(1, 20) n;
create table s.gen (id int primary key, email text,
  domain text generated always as (split_part(email, '@', 2)) stored);
insert into s.gen values (1, 'a@x.org'), (2, 'b@y.org'), (3, null);
create domain s.short as text check (length(value) < 20);
create table s.domains (id int primary key, email s.short);
insert into s.domains values (1, 'a@x.org'), (2, 'bb@y.org');
create table s.products (id int primary key, name text);
insert into s.products select n, 'p' || n from generate_series(1, 5) n;
create table s.empty (id int primary key, email text);
create view s.names as select id, name, email from s.customers;
create view s.loud as select id, upper(email) as loud, length(ssn) as size from s.customers
  where email like '%1%';
create view s.joined as select c.id, c.email, o.total, o.ssn as other from s.customers c left
  join s.orders o on o.ssn = c.ssn;
create view s.grouped as select email, count(*) as many from s.customers group by email
  order by email;
create view s.nested as select n.id, n.email, l.loud from s.names n left join s.loud l using (id);
create view s.bare as select id, city from s.customers where ssn is not null;
create view s.free as select id, name from s.products;
create view s.summed as select c.id, c.name, count(o.id) as orders from s.customers c left
  join s.orders o on o.customer = c.id group by c.id;
create view s.recursive_names as with recursive r(id, email) as (select id, email from s.customers
  where id = 1 union all
  select c.id, c.email from s.customers c join r on c.id = r.id + 1) select * from r;
create view s.barrier with (security_barrier) as select id, email, city from s.customers
  where id < 5;
create view s.hiding with (security_barrier) as select c.id, c.email from s.customers c
  where c.id < 5 and ssn <> 'ssn-3';
create view s.over_barrier as select * from s.barrier;
create view s.row_barrier with (security_barrier) as select id from s.customers c
  where row_to_json(c)::text like '%ssn-3%';
create view s.group_barrier with (security_barrier) as select distinct email from s.customers;
create view s.row_decides as select id, name from s.customers c
  where row_to_json(c)::text like '%ssn-3%';
create materialized view s.row_kept as select id from s.customers c
  where row_to_json(c)::text like '%ssn-3%';
create materialized view s.groups_kept as select distinct email from s.customers;
create function s.tell(int) returns bool
  language plpgsql cost 0.0001 as $$ begin raise notice 'saw %', $1; return true; end $$;
create materialized view s.kept as select id, email, upper(email) as loud from s.customers;
create materialized view s.rows_joined as
  select o.id, c.name, c.ssn, upper(c.email) as loud, count(*) as many
  from s.customers c join s.orders o on o.customer = c.id
  where o.id > 2 group by o.id, c.id order by o.id;
create materialized view s.rows_sorted as select id, name from s.customers order by ssn;
create materialized view s.rows_ranked as
  select id, rank() over (order by ssn) as r from s.customers;
create materialized view s.rows_split as
  select id, string_to_table(email, 'm') as part from s.customers;
create view s.over_sorted as select id from s.rows_sorted;
create sequence s.codes; create sequence s.free_numbers;
create table s.coded (id int primary key, name text default 'n' || nextval('s.free_numbers'),
  ssn text default 'C' || nextval('s.codes'));
create table s.spread (id int primary key, label text, kind text, ssn text);
create statistics s.of_spread (mcv) on label, kind, ssn from s.spread;
create table s.alike (like s.spread including statistics); alter table s.alike add primary key (id);
insert into s.spread select n, 'l' || n % 60, 'k' || n % 60, left(md5(n::text), 4)
  from generate_series(1, 6000) n;
insert into s.alike select n, 'l' || n % 60, 'k' || n % 60, 'same' from generate_series(1, 6000) n;
create index on s.customers (email); create index on s.orders (customer);
analyze;
"""

#: Every mask reads its column, so that each subselect has its second branch; ``city`` does not have
#: any.
POLICY = """\
version: 1
rules:
  - {name: all, allow: [all], relations: ["s.*", "s2.*", '"Odd.Schema".*']}
functions: ["s.*"]
masks:
  - {columns: ["*.*.email", "*.*.E mail"], with: email, filter: masked}
  - {columns: ["s.*.ssn"], with: {partial: {keep_last: 1}}, filter: masked}
  - {columns: ["s.customers.doc", "s.customers.place", "s.customers.born"], with: redact,
     filter: masked}
search_paths: ["s, s2"]
"""
AGENT = Subject("agent", "https://idp.test", frozenset())
PATH = ("s", "s2")


@dataclass
class RewritingDatabase:
    """``connection``: as superuser, with the search_path that texts are judged under."""

    connection: psycopg.Connection[Any]
    catalog: CatalogSnapshot
    policy: str = POLICY

    def __post_init__(self) -> None:
        #: by policy; ``_identity_judges``: with :func:`identity_masks`
        self._judges: dict[str, SubjectJudge] = {}
        self._identity_judges: dict[str, SubjectJudge] = {}

    def subject_judge(self, policy: str = "") -> SubjectJudge:
        """What judges for an agent with ``policy``, or the usual one."""
        text = policy or self.policy
        if text not in self._judges:
            judge = Judge(
                "x", parse_policy(text, "p"), self.catalog, {}, max_statement_bytes=1 << 20
            )
            self._judges[text] = judge.subject_judge(AGENT, PATH)
        return self._judges[text]

    def judged(self, sql: str, policy: str = "") -> ScriptVerdict:
        return self.subject_judge(policy).judge(sql.encode())

    def sent(self, sql: str, policy: str = "") -> str:
        """The text that is sent. AssertionError when ``sql`` is refused."""
        script = self.judged(sql, policy)
        refusal = self.refusal(sql, policy)
        assert not refusal, (sql, refusal)
        return script.sent(sql.encode()).decode()

    def refusal(self, sql: str, policy: str = "") -> str:
        """Code and message of the refusal, or ""."""
        script = self.judged(sql, policy)
        refusals = [script.refusal, *(verdict.refusal for verdict in script.statements)]
        return next(
            (
                f"{refusal.code.id} {refusal.message} {refusal.detail}"
                for refusal in refusals
                if refusal
            ),
            "",
        )

    def answer(self, sql: str, parameters: tuple[Any, ...] = ()) -> tuple[list[Any], list[Any]]:
        """Names and types of the columns, and the rows. What was written is rolled back. Raises
        psycopg.Error.
        """
        with self.connection.transaction(force_rollback=True):
            cursor = self.connection.execute(sql.encode(), parameters or None)
            columns = [
                (c.name, c.type_code, c.precision, c.scale) for c in cursor.description or ()
            ]
            return columns, cursor.fetchall() if cursor.description else []

    def same(self, sql: str, *, ordered: bool = False, types: bool = True) -> str:
        """That the text which is sent, whose masks show the values as they are
        (:func:`identity_masks`), answers like ``sql``. Gives that text.
        """
        sent = self.sent(sql)
        (columns, rows), (columns_sent, rows_sent) = self.answer(sql), self.answer(sent)
        if not types:
            columns, columns_sent = [c[0] for c in columns], [c[0] for c in columns_sent]
        assert columns == columns_sent, (sql, sent)
        if ordered:
            assert rows == rows_sent, (sql, sent)
        assert sorted(map(repr, rows)) == sorted(map(repr, rows_sent)), (sql, sent)
        return sent


@pytest.fixture
def identity_masks(monkeypatch: pytest.MonkeyPatch, rewriting_database: RewritingDatabase) -> None:
    """Masks that show the values as they are: what a rewritten statement means is then what the
    statement means.
    """
    monkeypatch.setattr(rewriting_database, "_judges", rewriting_database._identity_judges)
    for module in (subselects, comparisons):
        monkeypatch.setattr(module, "mask_expression", lambda spec, raw, *more: raw)
    monkeypatch.setattr(subselects, "reads_column", lambda spec, *more: True)
