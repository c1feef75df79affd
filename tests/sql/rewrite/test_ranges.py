"""Every spelling of a relation in FROM gives way to a subselect, and means what it meant."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sallyport.core.errors import RefusedError
from sallyport.sql.catalog.snapshot import CatalogSnapshot
from sallyport.sql.extract import Context, analyze
from sallyport.sql.facts import RangeVariable, StatementFacts
from sallyport.sql.rewrite.cuts import Rewritten
from sallyport.sql.rewrite.ranges import replace_range, replace_reference
from sallyport.sql.text.identifiers import quoted
from sallyport.sql.text.parse import parse
from sallyport.sql.text.tokens import Tokens
from tests.sql.rewrite.database import RewritingDatabase
from tests.support.sampling import examples

#: Spellings of a name in path, schema or database.
PEOPLE = [
    "people", "PEOPLE", "PeOpLe", '"people"', 'U&"people"', r'U&"p\0065ople"', r"U&'x'",
    'U&"p!0065ople" UESCAPE \'!\'', 's.people', 'S . "people"', '"s" . people',
    'rewriting.s.people',
    '"rewriting" . "s" . "people"', 'U&"\\0073".U&"peopl\\0065"',
    'U&"!0073" uescape \'!\' . U&"peopl?0065" UESCAPE \'?\'',
]  # fmt: skip
PEOPLE.remove(r"U&'x'")
ODD = [
    '"Odd.Schema"."Odd ""Name"',
    'rewriting."Odd.Schema" . "Odd ""Name"',
    'U&"Odd\\002eSchema"."Odd ""Name"',
]
ALIASES = [
    "", "c", "as c", 'AS "C ""d"', 'U&"c"', 'as U&"c!0064" UESCAPE \'!\'', "c ( a )", "as c(a, b)",
    "c(\"A b\" , U&\"x!0061\" UESCAPE '!')",
    "filter", "as value", "of", "escape",
]  # fmt: skip
SAMPLES = [
    "", "tablesample bernoulli (100)", "TABLESAMPLE System(100.0)",
    "tablesample pg_catalog.bernoulli ( (100) )",
    "tablesample bernoulli (100) repeatable (3)",
    "tablesample system (50 + (25 * 2)) REPEATABLE ( (1) )",
]  # fmt: skip
GAP = st.sampled_from([" ", "\n", "\t ", " /* only ( */ ", "--)\n", " /* /* as c */ ' */ ", " \f"])
CONTEXTS = [
    "select * from {}", "select x.* from products x cross join {}",
    "select 1 from products , {} where true",
    "with q as (select * from {}) select * from q", "select (select count(*) from {})",
    "select * from ({} cross join products)",
    "select * from products join {} on true where true", "select 1 from {}, products order by 1",
    "SELECT '漢', * FROM {};",
]  # fmt: skip


@st.composite
def ranges(draw: st.DrawFn) -> tuple[str, bool]:
    """The text of a range variable, and whether it has an alias."""
    name = draw(st.sampled_from(PEOPLE * 2 + ODD))
    shape = draw(
        st.sampled_from(
            ["{}", "{}", "{}*", "{} *", "only {}", "ONLY {}", "only ( {} )", "oNLy({})"]
        )
    )
    alias, sample = draw(st.sampled_from(ALIASES)), draw(st.sampled_from(SAMPLES))
    parts = [shape.format(name), alias, sample]
    text = "".join(part + draw(GAP) for part in parts if part)
    for token in ("(", ")"):
        if draw(st.booleans()):
            text = text.replace(token, {"(": "(" + draw(GAP), ")": draw(GAP) + ")"}[token], 1)
    return text, bool(alias)


def facts_of(sql: str, catalog: CatalogSnapshot) -> StatementFacts:
    return analyze(sql.encode(), catalog, Context(("pg_catalog", "s", "s2")))[0]


def replaced(
    sql: str, facts: StatementFacts, variable: RangeVariable, catalog: CatalogSnapshot
) -> Rewritten:
    relation = catalog.relations[variable.relation]
    source = f"{quoted(relation.schema)}.{quoted(relation.name)} AS t"

    def subselect(only: str, sample: str) -> str:
        return f"SELECT * FROM {only}{source}{sample} UNION ALL SELECT * FROM {source} WHERE false"

    return Rewritten(
        sql.encode(), replace_range(Tokens(sql.encode()), variable, subselect, variable.name)
    )


def variables(facts: StatementFacts, catalog: CatalogSnapshot) -> list[RangeVariable]:
    names = ("people", 'Odd "Name', "customers")
    return [
        v
        for v in facts.range_variables
        if v.relation and catalog.relations[v.relation].name in names
    ]


def is_syntax(sql: str) -> bool:
    """Some of what is put together PostgreSQL does not read: ``people* TABLESAMPLE`` is fine, ``x
    as of`` is not, say.
    """
    try:
        parse(sql.encode())
    except RefusedError:
        return False
    return True


@settings(max_examples=examples(300), suppress_health_check=list(HealthCheck))
@given(source=ranges(), context=st.sampled_from(CONTEXTS))
def test_every_spelling(
    rewriting_database: RewritingDatabase, source: tuple[str, bool], context: str
) -> None:
    sql = context.format(source[0])
    if not is_syntax(sql):
        return
    catalog = rewriting_database.catalog
    facts = facts_of(sql, catalog)
    assert not facts.unknowns, (sql, facts.unknowns)
    (variable,) = variables(facts, catalog)
    assert variable.has_alias is source[1]
    made = replaced(sql, facts, variable, catalog)
    text = made.text.decode()
    # what stands around the range variable stays, byte for byte
    assert text.startswith(context.partition("{}")[0])
    assert text.endswith(context.partition("{}")[2])
    assert rewriting_database.answer(sql) == rewriting_database.answer(text), (sql, text)
    assert f'FROM {"ONLY " if variable.only else ""}"' in text


@pytest.mark.parametrize(
    "sql",
    [
        "table people",
        "TABLE only people",
        "table ONLY ( s.people )",
        "table people *",
        "table/**/s . people--\n*",
        'table "rewriting"."s"."people"',
        "select * from (table people) q",
        "select * from (table only (people)) as q(a, b)",
        "with q as (table people) table q",
        "(table people) union all table people order by 1, 2 limit 5",
        "table s.people order by ssn limit 2",
        (
            "select array(table people order by 1 limit 1) is null from products where (1, 'p-1')"
            " in (table people)"
        ),
    ],
)
def test_table_as_a_query(rewriting_database: RewritingDatabase, sql: str) -> None:
    sql = sql.replace("array(table people order by 1 limit 1) is null", "id")
    catalog = rewriting_database.catalog
    facts = facts_of(sql, catalog)
    cuts = [c for v in variables(facts, catalog) for c in replaced(sql, facts, v, catalog).cuts]
    text = Rewritten(sql.encode(), cuts).text.decode()
    assert "table people" not in text.lower()
    assert sorted(rewriting_database.answer(sql)[1]) == sorted(rewriting_database.answer(text)[1])


@pytest.mark.parametrize(
    "sql",
    [
        (
            "select * from people a, people b, only people as c (x, y) where a.id = b.id and c.x ="
            " b.id"
        ),
        (
            "select * from people a tablesample bernoulli (100) repeatable (1), people b"
            " tablesample system (100)"
        ),
        (
            "select * from people a where exists (select from people b where b.id = a.id and b.ssn"
            " < any (select ssn from people))"
        ),
        "select * from people natural join people b",
        (
            "with people as (select * from people), q as (select * from people) select * from q"
            " join people using (id) join s.people p using (id)"
        ),
        (
            "with recursive q as (select * from people where id = 1 union all select p.* from"
            " people p join q on p.id = q.id + 1) table q"
        ),
        (
            "select * from people a left join lateral (select * from people b where b.id > a.id) c"
            " on true"
        ),
        "select * from people a tablesample bernoulli ((select 100 from people where ssn = 'p-1'))",
        "select * from people except select * from only people",
        "select people.ssn, people.*, people::text from people, products",
        "select * from customers c join s2.customers d on c.id = d.id",
    ],
)
def test_several_in_one_statement(rewriting_database: RewritingDatabase, sql: str) -> None:
    """Inner ones before outer ones, CTEs that have a relation's name, samples whose arguments read
    relations.
    """
    catalog = rewriting_database.catalog
    facts = facts_of(sql, catalog)
    if "tablesample bernoulli ((select" in sql:
        # its text moves into the subselect, so the inner one cannot be replaced in its old place
        with pytest.raises(ValueError, match="overlap"):
            Rewritten(
                sql.encode(),
                [
                    c
                    for v in variables(facts, catalog)
                    for c in replaced(sql, facts, v, catalog).cuts
                ],
            )
        return
    cuts = [c for v in variables(facts, catalog) for c in replaced(sql, facts, v, catalog).cuts]
    text = Rewritten(sql.encode(), cuts).text.decode()
    # the row type of a subselect is not that of the relation: only the values are compared
    ours, theirs = (sorted(map(repr, rewriting_database.answer(query)[1])) for query in (sql, text))
    assert ours == theirs, text


def test_positions_are_bytes(rewriting_database: RewritingDatabase) -> None:
    sql = (
        'select \'漢字\', "Id" /* ö */ from "Odd.Schema"."Odd ""Name" as "ü" where \'é\' < "ü"."E'
        ' mail"'
    )
    facts = facts_of(sql, rewriting_database.catalog)
    (variable,) = variables(facts, rewriting_database.catalog)
    text = replaced(sql, facts, variable, rewriting_database.catalog).text.decode()
    assert text.startswith("select '漢字', \"Id\" /* ö */ from (SELECT")
    assert text.endswith(') as "ü" where \'é\' < "ü"."E mail"')
    assert rewriting_database.answer(sql) == rewriting_database.answer(text)


@pytest.mark.parametrize(
    ("sql", "alias", "text"),
    [
        ("select s.people.ssn from s.people", "people", 'select "people".ssn from s.people'),
        ("select S . \"people\" /**/ . ssn from s.people", "x",
        'select "x" /**/ . ssn from s.people'),
        ('select U&"!0073" uescape \'!\' . people.* from s.people', "s.people",
        'select "s.people".* from s.people'),
        ("select rewriting.s.people.ssn from s.people", 'a"b', 'select "a""b".ssn from s.people'),
    ],
)  # fmt: skip
def test_references_that_name_the_schema(
    rewriting_database: RewritingDatabase, sql: str, alias: str, text: str
) -> None:
    facts = facts_of(sql, rewriting_database.catalog)
    (reference,) = facts.schema_references
    cut = replace_reference(Tokens(sql.encode()), reference.position, reference.parts, alias)
    assert Rewritten(sql.encode(), [cut]).text.decode() == text


@pytest.mark.parametrize(
    ("text", "changed"),
    [
        ("select * from people", {"position": 13}),
        ("select * from people", {"position": 15}),
        ("select * from people", {"path": ("s", "people")}),
        ("select * from people", {"path": ("peoples",)}),
        ("select * from people", {"only": True}),
        ("select * from only people", {"only": False}),
        ("select * from people, products", {"path": ("people", "products")}),
        ("select * from people", {"sampled": True}),
        ("select * from people c", {"sampled": True, "has_alias": True}),
    ],
)
def test_a_text_that_is_not_what_was_analysed_is_refused(
    rewriting_database: RewritingDatabase, text: str, changed: dict[str, object]
) -> None:
    facts = facts_of(text, rewriting_database.catalog)
    variable = variables(facts, rewriting_database.catalog)[0]
    values = {name: getattr(variable, name) for name in variable.__slots__}
    wrong = RangeVariable(**{**values, **changed})  # type: ignore[arg-type]
    with pytest.raises(RefusedError) as error:
        replaced(text, facts, wrong, rewriting_database.catalog)
    assert error.value.refusal.code.id == "SP1206"
