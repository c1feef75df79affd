"""A small catalog with what policy cares about: partitions, inheritance, a view, system relations,
a sequence of schemas.
"""

from __future__ import annotations

from sallyport.sql.catalog.snapshot import CatalogSnapshot, Column, ColumnId, Function, Relation

INT4, TEXT = 23, 25

_RELATIONS = (
    # oid, schema, name, kind, columns, parents, children
    (16384, "public", "customers", "r", "id name email ssn", (), ()),
    (16385, "public", "orders", "p", "id customer_id total note", (), (16386, 16387)),
    (16386, "public", "orders_2025", "r", "id customer_id total note", (16385,), ()),
    (16387, "public", "orders_2026", "r", "id customer_id total note", (16385,), ()),
    (16388, "public", "customer_names", "v", "id name", (), ()),
    (16389, "hr", "people", "r", "id email salary", (), (16390,)),
    (16390, "hr", "managers", "r", "id email salary bonus", (16389,), ()),
    (16391, "public", "Odd.Name", "r", "id Email", (), ()),
    (16392, "hr", "payroll", "r", "id amount", (), ()),
    (1259, "pg_catalog", "pg_class", "r", "oid relname", (), ()),
    (1260, "pg_catalog", "pg_authid", "r", "oid rolpassword", (), ()),
)

_FUNCTIONS = ((20000, "app", "slugify"), (20001, "app", "send_mail"), (870, "pg_catalog", "lower"))


def snapshot() -> CatalogSnapshot:
    return CatalogSnapshot.make(
        server_version=180000,
        epoch="e1",
        database="shop",
        role="agent",
        default_search_path=("$user", "public"),
        schemas=frozenset({"public", "hr", "app", "pg_catalog"}),
        relations=tuple(
            Relation(oid, schema, name, kind, _columns(columns), parents, children)
            for oid, schema, name, kind, columns, parents, children in _RELATIONS
        ),
        types=(),
        functions=tuple(
            Function(oid, schema, name, "f", (TEXT,), TEXT) for oid, schema, name in _FUNCTIONS
        ),
    )


def _columns(names: str) -> tuple[Column, ...]:
    return tuple(Column(name, i, TEXT) for i, name in enumerate(names.split(), 1))


CATALOG = snapshot()


def oid(name: str) -> int:
    """``public.orders`` -> its OID."""
    schema, _, relation = name.partition(".")
    return CATALOG.relation_by_name[(schema, relation)].oid


def col(name: str) -> ColumnId:
    """``public.orders.total`` -> its id."""
    relation, _, column = name.rpartition(".")
    described = CATALOG.relations[oid(relation)]
    return ColumnId(described.oid, next(c.attnum for c in described.columns if c.name == column))
