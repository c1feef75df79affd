"""What was rewritten wrongly is not sent: each cut that is left out, or is another one, is
noticed.
"""

from __future__ import annotations

from itertools import combinations

import pytest

from sallyport.core.errors import RefusedError
from sallyport.judge import rewriting
from sallyport.policy.checks.needs import chain
from sallyport.sql.catalog.snapshot import CatalogSnapshot
from sallyport.sql.extract import Context, analyze
from sallyport.sql.facts import RangeVariable
from sallyport.sql.rewrite.cuts import Cut, Rewritten
from sallyport.sql.rewrite.proof import disproved, is_subselect
from sallyport.sql.rewrite.ranges import replace_range
from sallyport.sql.text.tokens import Tokens
from tests.sql.rewrite.database import RewritingDatabase

PATH = ("pg_catalog", "s", "s2")
#: Relations that must be replaced.
MASKED = ("customers", "orders", "lines", "people")
STATEMENTS = [
    "select * from customers",
    "select * from customers c, orders o, products p where c.id = o.customer",
    (
        "select * from customers where id in (select customer from orders where note in (select"
        " name from products))"
    ),
    "with customers as (select * from s.customers) select * from customers",
    "with q as (select * from customers), r as (select * from q, orders) select * from r, q, lines",
    (
        "with recursive customers as (select id from s.customers union all select id + 1 from"
        " customers where id < 20) table customers"
    ),
    "with products as (select * from customers) select * from products join s.products x on true",
    (
        "select (select count(*) from customers), array(select id from orders), exists (table"
        " people) from products"
    ),
    (
        "select * from (select * from (select * from people) a, only people) b, lateral (select *"
        " from orders where b.id = 1) c"
    ),
    "table customers union (table s2.customers except select 1, 'x', 'y')",
    "select * from s.customers, s2.customers, products",
    (
        "update products set name = 'x' from customers c where c.id = products.id and c.id in"
        " (select customer from orders)"
    ),
    "insert into products select id, city from customers",
    "delete from products using customers where customers.id = products.id",
    (
        "merge into products p using customers c on c.id = p.id when matched then update set name ="
        " c.city"
    ),
    "select * from customers for update of customers",
    "explain select * from customers, products",
    "copy (select id from customers order by 1) to stdout",
    "prepare x as select * from customers where id = $1",
    (
        "with d as (delete from products using orders where orders.id = products.id returning"
        " products.id) select * from d, customers"
    ),
    "select 1; select * from customers; select * from orders; select 3",
]


def variables_of(sql: str, catalog: CatalogSnapshot) -> dict[int, RangeVariable]:
    levels = [
        level for facts in analyze(sql.encode(), catalog, Context(PATH)) for level in chain(facts)
    ]
    return {variable.position: variable for level in levels for variable in level.range_variables}


def must_be_replaced(
    variables: dict[int, RangeVariable], catalog: CatalogSnapshot
) -> list[RangeVariable]:
    relations = catalog.relations
    return [
        v
        for v in variables.values()
        if v.relation and relations[v.relation].name in MASKED and not v.target
    ]


def cuts_of(
    sql: str, variables: list[RangeVariable], text: str = "SELECT 1 AS x"
) -> dict[int, list[Cut]]:
    tokens = Tokens(sql.encode())
    return {
        v.position: replace_range(tokens, v, lambda only, sample: text, v.name) for v in variables
    }


def why(sql: str, cuts: list[Cut], catalog: CatalogSnapshot) -> str:
    """What speaks against ``sql`` with ``cuts``."""
    variables = variables_of(sql, catalog)
    masked = frozenset(v.position for v in must_be_replaced(variables, catalog))
    return disproved(Rewritten(sql.encode(), cuts), variables, masked, catalog, PATH)


@pytest.mark.parametrize("sql", STATEMENTS)
def test_every_cut_is_needed(rewriting_database: RewritingDatabase, sql: str) -> None:
    catalog = rewriting_database.catalog
    cuts = cuts_of(sql, must_be_replaced(variables_of(sql, catalog), catalog))
    assert cuts
    assert why(sql, [c for group in cuts.values() for c in group], catalog) == ""
    for count in range(len(cuts)):
        for some in combinations(cuts.values(), count):
            said = why(sql, [c for group in some for c in group], catalog)
            assert said == "a relation whose masks were not applied"


@pytest.mark.parametrize("sql", STATEMENTS)
def test_a_cut_in_the_wrong_place(rewriting_database: RewritingDatabase, sql: str) -> None:
    """One that is a byte off, one that goes over what stands behind it, and one whose text names a
    relation itself.
    """
    catalog = rewriting_database.catalog
    cuts = cuts_of(sql, must_be_replaced(variables_of(sql, catalog), catalog))
    for position, (cut,) in cuts.items():
        kept_cuts = [c for at, group in cuts.items() if at != position for c in group]
        for wrong in (
            cut._replace(start=cut.start - 1, end=cut.end - 1),
            cut._replace(start=cut.start + 1),
            cut._replace(end=cut.end - 1),
            cut._replace(start=cut.end),
            cut._replace(text=b"", skeleton=b""),
            Cut(cut.start, cut.start, b"(SELECT) AS made, "),
        ):
            try:
                said = why(sql, [*kept_cuts, wrong], catalog)
            except (RefusedError, ValueError):
                continue  # it does not parse, or two overlap
            # what is left behind a shorter cut may be its alias
            kept = Rewritten(sql.encode(), [*kept_cuts, wrong]).skeleton().text.decode().lower()
            assert said or "(select)" in kept, kept


@pytest.mark.parametrize(
    ("text", "passes"),
    [
        ("people", False),
        ("s.people", False),
        ("(SELECT * FROM s.people) p", False),
        ("pg_catalog.pg_class", True),
        ("(SELECT FROM pg_catalog.pg_class) p", True),
        ("(SELECT FROM pg_class) p", False),
        ("(SELECT) p", True),
    ],
)
def test_relations_that_the_gateway_itself_writes(
    rewriting_database: RewritingDatabase, text: str, passes: bool
) -> None:
    """Outside subselects, which are proved apart, they are those of pg_catalog."""
    sql = "select 1 from products, products p"
    at = sql.index("products p")
    cut = Cut(at, len(sql), text.encode())
    assert (why(sql, [cut], rewriting_database.catalog) == "") is passes
    assert why(sql, [cut._replace(skeleton=b"(SELECT) p")], rewriting_database.catalog) == ""


def test_a_relation_that_was_not_judged(rewriting_database: RewritingDatabase) -> None:
    catalog = rewriting_database.catalog
    sql = "select * from customers, products"
    variables = variables_of(sql, catalog)
    customers, products = sorted(variables.values(), key=lambda v: v.position)
    cuts = [c for group in cuts_of(sql, [customers]).values() for c in group]
    made = Rewritten(sql.encode(), cuts)
    masked = frozenset({customers.position})
    assert disproved(made, variables, masked, catalog, PATH) == ""
    only = {customers.position: customers}
    assert "not judged" in disproved(made, only, masked, catalog, PATH)
    moved = {customers.position: customers, products.position + 1: products}
    assert "not judged" in disproved(made, moved, masked, catalog, PATH)


def test_a_relation_that_is_another_by_now(rewriting_database: RewritingDatabase) -> None:
    """A schema that comes earlier in the path, a WITH query that does not."""
    catalog = rewriting_database.catalog
    sql = "select * from customers c, products"
    variables = variables_of(sql, catalog)
    customers = next(v for v in variables.values() if v.name == "c")
    made = Rewritten(
        sql.encode(), [c for group in cuts_of(sql, [customers]).values() for c in group]
    )
    masked = frozenset({customers.position})
    assert "another relation" in disproved(made, variables, masked, catalog, ("pg_catalog", "s2"))
    assert "another relation" in disproved(made, variables, masked, catalog, ())
    # the position of one, the name of the other
    plain = Rewritten(b"select * from customers c, products", ())
    assert disproved(plain, variables, frozenset(), catalog, PATH) == ""
    assert "another relation" in disproved(plain, variables, frozenset(), catalog, ("s2", "s"))


@pytest.mark.parametrize(
    ("sent", "passes"),
    [
        ('alter table if exists s.customers rename to "customers"', True),
        ("alter view if exists customers rename to customers", True),
        ("alter table s.customers rename to customers", False),
        ("alter table if exists s.customers rename to other", False),
        ("alter table if exists s.customers rename column customers to customers", False),
        ("alter table if exists s.customers rename constraint customers to customers", False),
    ],
)
def test_what_stands_for_altering_nothing(
    rewriting_database: RewritingDatabase, sent: str, passes: bool
) -> None:
    sql = "alter table if exists s.customers add column a int"
    cut = Cut(0, len(sql), sent.encode())
    assert (why(sql, [cut], rewriting_database.catalog) == "") is passes


def test_targets_of_writes(rewriting_database: RewritingDatabase) -> None:
    catalog = rewriting_database.catalog
    for sql in (
        "update customers set city = 'x' where id = 1",
        "delete from customers c using orders where orders.id = c.id",
        "insert into customers (id) select id from orders",
        "merge into customers using orders on orders.id = customers.id when matched then delete",
    ):
        variables = variables_of(sql, catalog)
        (target,) = [v for v in variables.values() if v.target]
        cuts = [c for g in cuts_of(sql, must_be_replaced(variables, catalog)).values() for c in g]
        made = Rewritten(sql.encode(), cuts)
        masked = frozenset(v.position for v in must_be_replaced(variables, catalog))
        assert disproved(made, variables, masked, catalog, PATH) == ""
        for position, variable in variables.items():
            values = {name: getattr(variable, name) for name in variable.__slots__}
            turned = RangeVariable(**{**values, "target": not variable.target})
            said = disproved(
                made, {**variables, position: turned}, masked - {position}, catalog, PATH
            )
            # what stands in a subselect's place is not there any more
            assert ("source or target" in said) is (position not in masked), sql
        assert target.position not in masked


def test_statements_beside_those_that_changed(rewriting_database: RewritingDatabase) -> None:
    """Relations of LOCK TABLE and the like are no range variables; beside a rewritten statement
    they are as they were judged.
    """
    catalog = rewriting_database.catalog
    for beside in (
        "lock table products",
        "truncate products, lines",
        "drop table products",
        "vacuum products",
    ):
        for sql in (f"{beside}; select * from customers", f"select * from customers; {beside};"):
            variables = variables_of(sql, catalog)
            masked = must_be_replaced(variables, catalog)
            cuts = [c for group in cuts_of(sql, masked).values() for c in group]
            positions = frozenset(v.position for v in masked)
            assert (
                disproved(Rewritten(sql.encode(), cuts), variables, positions, catalog, PATH) == ""
            )
            assert disproved(Rewritten(sql.encode(), []), variables, positions, catalog, PATH) != ""
            at = sql.index(beside) + beside.index(" ")
            inside = [*cuts, Cut(at, at, b"/* */ ")]
            said = disproved(Rewritten(sql.encode(), inside), variables, positions, catalog, PATH)
            assert ("not judged" in said) is beside.startswith(("lock", "truncate"))


def test_what_truncate_lists_was_judged(rewriting_database: RewritingDatabase) -> None:
    """Whether the gateway listed it or the client."""
    catalog = rewriting_database.catalog
    oids = {name: catalog.relation_by_name["s", name].oid for name in ("products", "lines")}
    sql = b"truncate products cascade"
    cuts = [Cut(17, 17, b', ONLY "s"."lines"'), Cut(18, 25, b"RESTRICT")]
    for emptied in (frozenset(), *map(frozenset, ([oids["lines"]], [oids["products"]]))):
        said = disproved(Rewritten(sql, cuts), {}, frozenset(), catalog, PATH, emptied)
        assert "not judged" in said
    every = frozenset(oids.values())
    assert disproved(Rewritten(sql, cuts), {}, frozenset(), catalog, PATH, every) == ""


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("SELECT 1 AS x", True),
        (
            (
                ' SELECT t."id" FROM "s"."customers" AS t UNION ALL SELECT 1 FROM s.customers AS t'
                " WHERE false"
            ),
            True,
        ),
        ("WITH t AS (SELECT) SELECT 1 FROM s.customers AS t", True),
        ("VALUES (1)", True),
        ("SELECT 1) AS t, s.customers CROSS JOIN (SELECT 2", False),
        ("SELECT 1) AS t; SELECT * FROM (SELECT 2", False),
        ("SELECT 1) AS t WHERE true OR (SELECT true", False),
        ("SELECT 1 -- ", False),
        ("SELECT 1 /*", False),
        ("SELECT '1", False),
        ('SELECT 1 AS "x', False),
        ("SELECT $$", False),
        ("s.customers", False),
        ("s.customers CROSS JOIN s.orders", False),
        ("", False),
        ("SELECT 1;", False),
        ("DELETE FROM s.customers", False),
    ],
)
def test_what_a_subselect_is(text: str, is_one: bool) -> None:
    assert is_subselect(text) is is_one


def test_the_judge_refuses_what_is_disproved(
    rewriting_database: RewritingDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault in the rewriter shows raw values to nobody: the statement does not run."""
    database = RewritingDatabase(rewriting_database.connection, rewriting_database.catalog)
    for broken in (
        lambda *arguments: [],
        lambda tokens, variable, subselect, alias: [
            Cut(variable.position, variable.position, b"s.")
        ],
        lambda tokens, variable, subselect, alias: [Cut(0, 0, b"/* */")],
        lambda tokens, variable, subselect, alias: [
            Cut(variable.position, variable.position + 3, b"(SELECT")
        ],
    ):
        with monkeypatch.context() as patch:
            patch.setattr(rewriting, "replace_range", broken)
            for sql in (
                "select lower(email) from customers",
                "select lower(c.email) from customers c, orders o where o.ssn = 'x'",
                "select name from products where name in (select email from customers)",
                "explain select * from customers",
                "with q as (select email from names) select lower(email) from q",
            ):
                assert database.refusal(sql) != "", sql
        database._judges.clear()
