"""Prepared statements whose table has changed since: what PostgreSQL says of them."""

from __future__ import annotations

import psycopg
import pytest

from sallyport.demo.issuer import DevIssuer
from tests.support.gateway import AGENT, Gateway
from tests.support.postgres import start_server

POLICY = """\
version: 1
rules:
  - {name: everything, allow: [all]}
"""


MASKS = """masks:
  - {columns: [public.changing.b], with: redact, filter: masked}
"""


@pytest.mark.parametrize("masks", ["", MASKS], ids=["", "with masks"])
@pytest.mark.parametrize("change", ["ADD c int", "ALTER a TYPE bigint", "DROP b"])
def test_a_result_of_another_type_is_an_error_and_others_go_on(change: str, masks: str) -> None:
    """In the words that drivers look for, to prepare the statement again."""
    server = start_server("18")
    try:
        with psycopg.connect(server.superuser_dsn, autocommit=True) as db:
            db.execute("GRANT CREATE ON SCHEMA public TO PUBLIC")
        with DevIssuer() as issuer:
            gateway = Gateway(issuer, {"shop": server}, POLICY + masks).start()
            try:
                _check(gateway, change)
            finally:
                gateway.stop()
    finally:
        server.stop()


def _check(gateway: Gateway, change: str) -> None:
    with psycopg.connect(gateway.dsn(gateway.token(AGENT)), autocommit=True) as db:
        db.execute("CREATE TABLE changing (id int, a int, b text)")
        db.execute("INSERT INTO changing VALUES (7, 1, 'x')")
        db.execute("PREPARE rows AS SELECT * FROM changing")
        db.execute("PREPARE ids AS SELECT id FROM changing")
        db.execute(f"ALTER TABLE changing {change}")
        with pytest.raises(psycopg.errors.FeatureNotSupported) as raised:
            db.execute("EXECUTE rows")
        assert raised.value.diag.message_primary == "cached plan must not change result type"
        assert raised.value.diag.source_function == "RevalidateCachedQuery"
        assert db.execute("EXECUTE ids").fetchall() == [(7,)]
