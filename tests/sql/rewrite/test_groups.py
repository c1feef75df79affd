"""GROUP BY that relies on a primary key keeps working over subselects, which have none."""

from __future__ import annotations

import psycopg
import pytest

from tests.sql.rewrite.database import RewritingDatabase

pytestmark = pytest.mark.usefixtures("identity_masks")

#: Each reads a masked column of what it groups, so that a subselect stands there. c: customers, o:
#: orders, l: lines.
STATEMENTS = """
select id, email from customers group by id
select email, ssn, name, count(*) from customers group by id
select id, upper(email) || name from customers group by customers.id
select c.id, c.email, count(o.id) from customers c left join orders o on o.customer = c.id
  group by c.id
select c.id, c.email, c.city, sum(o.total) from customers c join orders o on o.ssn = c.ssn
  group by c.id order by c.city, c.id
select c.id from customers c join orders o on o.ssn = c.ssn group by c.id order by c.email, c.id
select c.id from customers c group by c.id having c.email like '%1%'
select c.id from customers c group by c.id having max(c.ssn) > '' and c.city is not null
  or length(c.email) > 2
select distinct c.city, c.email from customers c group by c.id
select distinct on (c.city) c.city, c.id from customers c where ssn <> '' group by c.id
  order by c.city, c.id
select c.email as mail from customers c group by c.id order by mail, c.id
select c.email from customers c group by 1, c.id
select c.email, c.id as i from customers c group by i
select c.email, lower(c.city) as l, c.id as i from customers c group by i, l order by l, i
select c.id as email, c.name from customers c where c.ssn <> '' group by c.id
select c.id + 1, c.email from customers c group by c.id, c.id + 1
select c.id + 1, c.email from customers c group by c.id + 1, c.id
select lower(c.city), c.email from customers c group by lower(c.city), c.id
select c.email from customers c group by (c.id)
select c.email from customers c group by (c.id, c.city)
select c.email from customers c group by ((c.id)), ((c.id + 1))
select c.email from customers c group by distinct c.id, c.city
select c.email from customers c group by all c.id
select c.email from customers c group by all (c.id), c.name
select c.* from s2.customers c group by c.id
select * from s2.customers group by id
select c.*, count(*) from s2.customers c join products p on p.id = c.id group by c.id
select c.* from customers c group by c.id
select * from customers group by id
select * from customers group by 1
select c.*, count(*) from customers c left join orders o on o.customer = c.id group by c.id
select c.*, o.note from s.customers c join orders o using (id) group by c.id, o.id
select s.customers.*, count(o.id) from s.customers join orders o using (ssn) group by customers.id
select *, 1 from customers c join products p on p.id = c.id group by c.id, p.id
select * from customers c join products p using (id) group by c.id, p.id, id
select j.* from (customers c join products p using (id)) as j (id, b, email) group by j.id, j.name
select c.* from customers as c(a, "x y", b) group by c.a
select c.id, (select count(*) from (select c.*) x) from customers c where ssn <> '' group by c.id
select c.*, c.doc, c.doc::text as doc from customers c group by c.id having c.place is not null
select c.id, c.doc, c.email from customers c group by c.id
select c.id, c.place, c.email from customers c group by c.id having c.place is not null
select c.doc ->> 'n', c.place[0], (c.doc), c.ssn from customers c group by c.id
select c.doc as thing, c.place from customers c where c.ssn <> '' group by c.id
select doc, place, born, joined, code, score from customers where ssn <> '' group by id
select customers.doc, s.customers.place, customers.email from s.customers group by customers.id
select c.email from customers as c(id, name, email, ssn, city) group by c.id
select c.b, c.a from customers as c(a, "x y", b) group by c.a
select c."x y" from customers as c(a, "x y", b) where b <> '' group by c.a
select "E mail", email from "Odd.Schema"."Odd ""Name" group by "Id"
select n."E mail", count(*) from "Odd.Schema"."Odd ""Name" n group by n."Id"
  having count(n.email) >= 0
select l.sku, l.email from lines l group by l.order_id, l.number
select l.sku, l.email from lines l group by l.number, l.order_id
select l.sku, l.email from lines l group by l.number, l.sku, l.order_id, l.email
select l.order_id, count(l.email) from lines l group by l.order_id
select l.sku, c.email, l.price from lines l join customers c on c.id = l.order_id
  group by l.order_id, l.number, c.id
select l.sku, c.city from lines l join customers c on c.email = l.email group by c.id, l.order_id,
  l.number
select c.email, c.name from customers c join lines l using (email) group by c.id, email
select id, c.name, o.note from customers c join orders o using (id) where c.ssn <> o.note
  group by id, c.id, o.id
select id, c.name, c.email from customers c join orders o using (id) group by id
select id, c.name, o.note from customers c left join orders o using (id) where c.ssn <> ''
  group by id, o.id
select id, o.note from customers c right join orders o using (id) where o.ssn <> '' group by id
select j.email from (customers c join products p using (id)) as j (id, b, email) group by id
select j.email, j.x from (customers c join products p using (id)) as j (x, b, email) group by j.x
select j.email, k.id from (customers c join (products p join orders o using (id))
  using (id)) as j (x, b, email) join products k on true group by x, k.id
select u.id, c.name from customers c join orders o using (id) as u where c.ssn <> '' group by u.id
select c.name, email from customers c natural join s2.customers x group by c.id, email
select c.doc::text, c.doc::text || '' as e, c.place::text, c.ssn from customers c group by c.id
select (c.doc)::text collate "C", ((c.place)), c.ssn from customers c group by c.id
select c.id, (select c.doc::text), (select d::text from (select c.doc) x(d)),
  (select c.place[0] from products limit 1) from customers c where ssn <> '' group by c.id
select c.id, (select count(*) from orders o where o.ssn = c.ssn) from customers c group by c.id
select c.id, (select max(o.note) from orders o where o.customer = c.id and c.email like 'm%')
  from customers c group by c.id
select c.id, exists (select from lines l where l.email = c.email and l.sku <> c.name)
  from customers c group by c.id
select c.id from customers c where ssn <> '' group by c.id having c.name in (select p.name || c.city
  from products p) or true
select c.id, array(select o.id from orders o where o.ssn = c.ssn group by o.id
  having o.note <> c.name order by o.note) from customers c group by c.id
select p.id, (select max(x.email) from (select c.email, p.name from customers c where c.id = p.id
  group by c.id) x) from products p group by p.id
select p.id, (select c.email || p.name from customers c where c.id = p.id group by c.id)
  from products p group by p.id
select c.id, (select string_agg(o.note || c.name, ',' order by o.id) from orders o
  where o.ssn = c.ssn) from customers c group by c.id
select c.email, rank() over (order by c.city, c.id) from customers c group by c.id
select c.email, sum(count(*)) over (partition by c.city order by c.id) from customers c
  group by c.id
select c.email, lag(c.name) over w from customers c group by c.id window w as (order by c.id)
select count(*) filter (where c.name > 'a'), c.name from customers c where c.ssn <> '' group by c.id
select array_agg(c.name order by c.city), c.id from customers c where c.ssn <> '' group by c.id
select c.id, coalesce(c.city, c.email, c.name) from customers c group by c.id
select case when c.city is null then c.email else c.name end from customers c group by c.id
select c.id, row(c.name, c.email)::text from customers c group by c.id
with q as (select * from customers) select q.id, count(q.email) from q group by q.id
with q as (select c.id, c.email from customers c group by c.id) select count(email) from q
select * from (select c.id, c.email, c.name from customers c group by c.id) q
select c.email from customers c, lateral (select o.note from orders o where o.ssn = c.ssn
  group by o.id) o group by c.id
select c.email, p.ssn from customers c join people p on p.id = c.id group by c.id, p.ssn
select c.email from customers c group by c.id union select l.sku || l.email from lines l
  group by l.order_id, l.number
select c.city, c.email from customers c group by c.id order by c.city, c.id limit 3 offset 1
select c.email from customers c where true group by c.id having true
SELECT c.email FROM customers c Group /* by */ By -- all
  /* distinct */ c.id
select '(group by', c.email from customers c where ') group by' <> c.email group by c.id
select count(email), email from customers group by grouping sets ((id, email))
select id, email from customers group by rollup (id, email)
select id, email, count(*) from customers group by cube (id), email
select id, count(email) from customers group by rollup (id)
select city, count(email) from customers group by city
select email, count(*) from customers group by email order by 2, 1
select p.id, p.name, count(c.email) from products p left join customers c on c.id = p.id
  group by p.id
select p.name, c.email from products p join customers c on c.id = p.id group by p.id, c.id
select ssn, count(*) from parted group by id
select domain, email from gen group by id
select email from domains group by id
""".strip()


def parted(text: str) -> list[str]:
    """One statement a line; a line that begins with a space goes on."""
    return text.replace("\n ", "\x00").splitlines()


@pytest.mark.parametrize("sql", [sql.replace("\x00", "\n ") for sql in parted(STATEMENTS)])
def test_what_a_group_is(rewriting_database: RewritingDatabase, sql: str) -> None:
    """With masks that show the values as they are, the same columns, types and rows."""
    sent = rewriting_database.same(sql, ordered="order by c.city, c.id" in sql)
    assert sent != sql


@pytest.mark.parametrize(
    "sql",
    [
        "select c from customers c group by c.id",
        "select c.id, row_to_json(c) from customers c group by c.id",
        "select c.id, (select row_to_json(c)) from customers c group by c.id",
    ],
)
def test_what_cannot_be_kept_is_refused_or_the_same(
    rewriting_database: RewritingDatabase, sql: str
) -> None:
    """Whole rows with columns without an equality operator."""
    refusal = rewriting_database.refusal(sql)
    if refusal:
        assert refusal.startswith(("SP1206", "SP1108")), refusal
    else:
        rewriting_database.same(sql, types=False)


@pytest.mark.parametrize(
    "sql",
    [
        "select email from customers group by city",
        "select c.email, o.note from customers c join orders o on o.ssn = c.ssn group by c.id",
        "select l.sku, l.email from lines l group by l.order_id",
        "select ssn from people p group by p.desk_id",
        "select name, email from names group by id",
        "select email, loud from kept group by id",
    ],
)
def test_what_postgresql_refuses_it_still_refuses(
    rewriting_database: RewritingDatabase, sql: str
) -> None:
    """Columns that no key determines; a view and a materialized view have no keys."""
    if rewriting_database.refusal(sql):
        assert "desk_id" in sql
        return
    for text in (sql, rewriting_database.sent(sql)):
        with pytest.raises(psycopg.errors.GroupingError):
            rewriting_database.answer(text)
