"""What the catalog says of indexes and triggers: which columns decide, and which only lie there."""

from __future__ import annotations

import psycopg

from tests.targets.query import catalog_of

TABLE = """
CREATE TABLE entered (id int, "a b" text, n int, w tsvector, PRIMARY KEY (id) INCLUDE (n));
CREATE INDEX entered_n ON entered (id) INCLUDE ("a b") WHERE n > 0;
CREATE TRIGGER quiet BEFORE UPDATE ON entered FOR EACH ROW
  WHEN (old."a b" IS DISTINCT FROM new."a b" OR old.* IS DISTINCT FROM new.* OR new.n > 0)
  EXECUTE FUNCTION suppress_redundant_updates_trigger();
CREATE TRIGGER words BEFORE UPDATE ON entered FOR EACH ROW
  EXECUTE FUNCTION tsvector_update_trigger(w, 'pg_catalog.simple', 'a b');
"""


def test_what_indexes_include_and_triggers_read(room: str) -> None:
    """A column that is compared only with itself as it was decides nothing."""
    with psycopg.connect(room, autocommit=True) as connection:
        connection.execute(TABLE.encode())
    relation = catalog_of(room).relation_by_name["public", "entered"]
    constraints = {(c.kind, c.name): c.columns for c in relation.constraints}
    assert constraints["u", "entered_pkey"] == (1,)
    assert constraints["n", "entered_pkey"] == (1, 3)
    assert constraints["i", "entered_n"] == (1, 3)
    assert constraints["n", "entered_n"] == (1, 2, 3)
    assert constraints["t", "quiet"] == (3,)
    assert set(constraints["t", "words"]) >= {2, 4}


SORTED = """
CREATE TABLE sorted (id text, n int, note text);
CREATE INDEX plain ON sorted (note DESC, id) INCLUDE (n);
CREATE INDEX by_pattern ON sorted (n, id text_pattern_ops, note);
CREATE INDEX by_collation ON sorted (id COLLATE "C", n);
CREATE INDEX computed ON sorted (n, lower(note), id);
CREATE INDEX hashed ON sorted USING hash (id);
CREATE INDEX tree ON sorted USING gist (int4range(n, n));
"""


def test_in_which_order_indexes_sort(room: str) -> None:
    """A column that an index sorts in another way than its type does, or computes, is 0."""
    with psycopg.connect(room, autocommit=True) as connection:
        connection.execute(SORTED.encode())
    relation = catalog_of(room).relation_by_name["public", "sorted"]
    order = {c.name: c.in_order for c in relation.constraints if c.kind == "i"}
    assert order == {
        "plain": (3, 1),
        "by_pattern": (2, 0, 3),
        "by_collation": (0, 2),
        "computed": (2, 0, 1),
        "tree": (),
    }


KEPT = """
CREATE TABLE kept (a int, b int, secret text, room int4range);
CREATE STATISTICS together (mcv, dependencies) ON a, b, secret FROM kept;
CREATE STATISTICS computed (mcv) ON a, lower(secret) FROM kept;
CREATE STATISTICS apart (ndistinct, dependencies) ON a, secret FROM kept;
CREATE INDEX packed ON kept USING gist (room) INCLUDE (secret);
"""


def test_what_statistics_keep_together_and_trees_pack(room: str) -> None:
    with psycopg.connect(room, autocommit=True) as connection:
        connection.execute(KEPT.encode())
    relation = catalog_of(room).relation_by_name["public", "kept"]
    constraints = {(c.kind, c.name): c.columns for c in relation.constraints}
    assert constraints == {
        ("s", "together"): (1, 2, 3),
        ("s", "computed"): (1, 3),
        ("i", "packed"): (3, 4),
    }


PARTITIONED = """
CREATE TABLE whole (id int, amount int, secret int, day date)
  PARTITION BY RANGE (day, (amount + secret));
CREATE TABLE plain_key (id int, kind text) PARTITION BY LIST (kind);
"""


def test_which_columns_decide_about_a_partition(room: str) -> None:
    """Those in expressions too."""
    with psycopg.connect(room, autocommit=True) as connection:
        connection.execute(PARTITIONED.encode())
    relations = catalog_of(room).relation_by_name
    assert relations["public", "whole"].partition_key == (2, 3, 4)
    assert relations["public", "plain_key"].partition_key == (2,)
