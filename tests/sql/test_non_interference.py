"""Non-interference, judged from the facts: run the same statement against two sets of masked
values; whatever differs in what the client would see must have been said to depend on a masked
column.

A statement passes when the facts refuse it (an Unknown), name a masked column as an influence, in a
flow, or as read from a relation that the statement does not write (there the mask stands in the
column's place), or when rows, errors and the columns without masked sources are equal in both
worlds.
"""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from sallyport.policy.checks.needs import chain
from sallyport.sql.catalog.snapshot import CatalogSnapshot, ColumnId
from sallyport.sql.extract import analyze
from sallyport.sql.facts import StatementFacts
from tests.sql.conftest import statements
from tests.sql.rendering import CONTEXT

MASKED = {
    ("users", "ssn"),
    ("mv", "ssn"),
    ("gen", "ssn"),
    ("parent", "secret"),
    ("child", "secret"),
    ("vault", "pin"),
}
WORLDS = ({1: "111-1", 2: "333-3", 3: "222-2"}, {1: "222-2", 2: "111-1", 3: "444"})
#: Reads the relation that it writes a second time, where a mask does stand.
SECOND = "delete from users u using users x where x.id = u.id and x.ssn > '2' returning u.id"
ATTACKS = [q for q in statements("attacks.sql") if q != SECOND]
#: Differ by themselves: clocks, transaction ids, samples.
RESTLESS = ("localtime", "xmin", "tablesample system (10)")
#: Read pg_class without ORDER BY: TRUNCATE and REFRESH in :func:`fill` write new versions of its
#: rows, each time in other places, whatever the values are (seen with the same world twice). The
#: rows must be equal, their order need not.
UNORDERED = ("pg_class c join", "information_schema.tables")
SHAPES = [
    q for q in statements("shapes.sql") if "$1" not in q and not any(word in q for word in RESTLESS)
]

Outcome = tuple[str, list[tuple[str, ...]]]


@pytest.fixture(scope="module")
def connection(facts_dsn: str) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    with psycopg.connect(facts_dsn) as opened:
        yield opened


def fill(cursor: psycopg.Cursor[tuple[object, ...]], world: dict[int, str]) -> None:
    cursor.execute("set local search_path = fx, public")
    cursor.execute(
        "truncate users, gen, orders, child, items, moods, fk, vault, vault_refs, comp, boxes"
    )  # new files: the same physical order each time
    for number, secret in world.items():
        note = "111-1" if number == 2 else "note"
        values = (number, f"n{number}", f"e{number}@x", secret, 30 + number)
        cursor.execute(
            "insert into users values (%s, %s, %s, %s, %s, '2020-01-01', '{a,b}', '{\"a\": 1}',"
            " true)",
            values,
        )
        cursor.execute("insert into vault values (%s, %s, 9)", (number, secret))
        cursor.execute("insert into gen (ssn) values (%s)", (secret,))
        cursor.execute(
            "insert into orders values (%s, %s, 5, %s, '2020-01-01')", (number, number, note)
        )
        cursor.execute("insert into child (a, secret, b) values (%s, %s, 1)", (number, secret))
    cursor.execute("insert into comp (id, u) select id, u from users u order by id")
    cursor.execute(
        "insert into boxes select id, array[u], row('l', u)::wrapper, u, v from users u join v"
        " using (id) order by id"
    )
    cursor.execute(
        "insert into items values (1, 1, 'l', 'e'); insert into moods values ('ok', 1, 'a', 'b')"
    )
    cursor.execute("insert into vault_refs (pin) values ('222-2')")
    cursor.execute("refresh materialized view mv")


def outcome(
    connection: psycopg.Connection[tuple[object, ...]], sql: str, world: dict[int, str]
) -> Outcome:
    with connection.cursor() as cursor:
        fill(cursor, world)
        try:
            cursor.execute(sql.encode(), prepare=False)
            rows = [tuple(map(str, row)) for row in cursor.fetchall()] if cursor.description else []
            return f"ok {cursor.rowcount}", rows
        except psycopg.Error as error:
            return f"error {error.sqlstate} {error}", []
        finally:
            connection.rollback()


def masked(catalog: CatalogSnapshot) -> frozenset[ColumnId]:
    return frozenset(
        ColumnId(relation.oid, column.attnum)
        for relation in catalog.relations.values()
        for column in relation.columns
        if relation.schema == "fx" and (relation.name, column.name) in MASKED
    )


def replaced(facts: StatementFacts) -> frozenset[ColumnId]:
    """Columns that are read where a mask can stand for them."""
    levels = list(chain(facts))
    accesses = [access for level in levels for access in level.accesses]
    written = {access.relation for access in accesses if access.action not in ("select", "lock")}
    read = frozenset[ColumnId]().union(*(level.mentioned_columns for level in levels))
    return frozenset(column for column in read if column.relation not in written)


def says_so(facts: StatementFacts, secrets: frozenset[ColumnId]) -> bool:
    return bool(
        facts.unknowns
        or replaced(facts) & secrets
        or any(influence.column in secrets for influence in facts.influences)
        or any(flow.sources & secrets for flow in facts.flows)
    )


@pytest.mark.parametrize("sql", ATTACKS + SHAPES)
def test_what_differs_was_said_to_depend(
    sql: str, catalog: CatalogSnapshot, connection: psycopg.Connection[tuple[object, ...]]
) -> None:
    secrets = masked(catalog)
    (facts,) = analyze(sql.encode(), catalog, CONTEXT)
    if says_so(facts, secrets):
        return
    (first_outcome, rows), (second_outcome, second_rows) = (
        outcome(connection, sql, world) for world in WORLDS
    )
    assert first_outcome == second_outcome
    hidden = [bool(column.sources & secrets) for column in facts.columns or ()]

    def shown(result: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
        kept = [tuple(v for v, hide in zip(row, hidden, strict=True) if not hide) for row in result]
        return sorted(kept) if any(word in sql for word in UNORDERED) else kept

    assert shown(rows) == shown(second_rows)


@pytest.mark.parametrize(
    "sql", [q for q in ATTACKS if q != "select x.id from users x(id, a, b, id2)"]
)
def test_every_attack_is_seen(sql: str, catalog: CatalogSnapshot) -> None:
    secrets = masked(catalog)
    (facts,) = analyze(sql.encode(), catalog, CONTEXT)
    assert not facts.unknowns, "an attack that is merely not understood tests nothing"
    assert says_so(facts, secrets) or any(
        column.sources & secrets for column in facts.columns or ()
    )
