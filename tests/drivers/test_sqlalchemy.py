"""SQLAlchemy Core over psycopg: statements it builds, reflection of the whole schema, pools."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import (
    Engine,
    MetaData,
    Table,
    create_engine,
    delete,
    func,
    insert,
    inspect,
    select,
    update,
)
from sqlalchemy.exc import ProgrammingError

from tests.drivers.expected import check_masked, truth
from tests.support.gateway import Gateway


@pytest.fixture
def engine(door: Gateway) -> Iterator[Engine]:
    made = create_engine(door.dsn().replace("postgresql://", "postgresql+psycopg://"))
    yield made
    made.dispose()


def test_reflection_sees_what_it_sees_without_the_gateway(door: Gateway, engine: Engine) -> None:
    direct = create_engine(
        door.targets["shop"].agent_dsn.replace("postgresql://", "postgresql+psycopg://")
    )
    for relation in ("customers", "orders", "payments", "products", "customer_orders"):
        through, past = inspect(engine), inspect(direct)
        assert repr(through.get_columns(relation)) == repr(past.get_columns(relation))
        assert through.get_pk_constraint(relation) == past.get_pk_constraint(relation)
        assert through.get_foreign_keys(relation) == past.get_foreign_keys(relation)
        assert through.get_indexes(relation) == past.get_indexes(relation)
        assert through.get_check_constraints(relation) == past.get_check_constraints(relation)
        assert through.get_table_comment(relation) == past.get_table_comment(relation)
    assert sorted(inspect(engine).get_table_names()) == sorted(inspect(direct).get_table_names())
    assert inspect(engine).get_view_names() == ["customer_orders"]
    assert inspect(engine).get_enums()[0]["name"] == "order_status"
    direct.dispose()


def test_core_statements(door: Gateway, engine: Engine, spare_products: range) -> None:
    meta = MetaData()
    meta.reflect(engine)
    c, p, o = (meta.tables[name] for name in ("customers", "products", "orders"))
    with engine.begin() as db:
        columns = [
            c.c[name] for name in ("id", "name", "city", "email", "ssn", "phone", "birth_date")
        ]
        check_masked(
            [tuple(row) for row in db.execute(select(*columns).order_by(c.c.id).limit(5))], door
        )
        rows = [{"id": i, "sku": f"SA-{i}", "name": "x", "price": 2} for i in spare_products[:30]]
        returned = db.execute(insert(p).returning(p.c.id, p.c.sku), rows).all()
        assert len(returned) == 30
        db.execute(update(p).where(p.c.id == spare_products[0]).values(stock=p.c.stock + 5))
        count = select(o.c.status, func.count()).where(o.c.total > 10).group_by(o.c.status)
        assert sum(number for _, number in db.execute(count)) > 5000
    assert truth(door, f"SELECT stock FROM products WHERE id = {spare_products[0]}") == [(5,)]


def test_expressions_over_masked_columns(engine: Engine) -> None:
    customers = Table("customers", MetaData(), autoload_with=engine)
    host = func.split_part(customers.c.email, "@", 2).label("host")
    with engine.connect() as db:
        counts = dict(db.execute(select(host, func.count()).group_by(host).order_by(host)).all())
        first = (
            select(customers.c.id)
            .where(customers.c.email.like("m***@%"))
            .order_by(customers.c.id)
            .limit(1)
        )
        assert db.scalar(first) == 1
        assert db.scalar(select(func.count(customers.c.phone))) == 2000
    assert list(counts) == ["example.com", "example.net", "example.org"]
    assert sum(counts.values()) == 2000


def test_a_refusal_is_a_programming_error_and_the_connection_goes_back_to_the_pool(
    engine: Engine,
) -> None:
    customers = Table("customers", MetaData(), autoload_with=engine)
    with engine.connect() as db, pytest.raises(ProgrammingError, match="SP1001"):
        db.execute(delete(customers).where(customers.c.ssn.like("0%")))
    with engine.connect() as db:
        assert db.scalar(select(func.count()).select_from(customers)) == 2000
