"""What psql asks the catalog for its backslash commands must be readable; what is refused is a
decision, listed here.
"""

from __future__ import annotations

import re

import psycopg
import pytest

from sallyport.sql.analysis import Context
from sallyport.sql.extract import analyze
from tests.support.postgres import Server
from tests.support.psql import run_psql
from tests.targets.query import catalog_of

READABLE = r"""
\d \d+ \dt \dt+ \dv \dv+ \dm \ds \di+ \l \l+ \dn \dn+ \df \da \dT \dT+ \du \du+ \dp \z \ddp \dx \dx+
  \do \dC \dD \dL
\dA \dA+ \dAc \dAf \dAo \dAp \db \db+ \dc \dconfig \dd \dE \des \dew \det \dF \dFd \dFp \dFt \dl \dO
  \dP \drds \dRp
\dX \dy
"""
OBJECTS = r"""\d customers|\d+ customers|\d+ orders|\d+ orders_2024|\d+ customer_orders|\d+
  order_items
\d+ customers_city|\d+ customers_id_seq|\sv customer_orders"""
#: What needs an action of its own.
SOURCE = [r"\sf order_total", r"\df+"]


#: With comment marks around it since psql 17.
_QUERY = re.compile(r"/?\*{8,} QUERY \*{8,}/?\n(.*?)\n/?\*{20,}", re.DOTALL)


def _asked(dsn: str, commands: list[str]) -> dict[str, list[str]]:
    """Each command's queries that this server understands (an old psql may ask a new server in
    vain).
    """
    script = "\n".join(f"\\echo ####{number}\n{command}" for number, command in enumerate(commands))
    shown = run_psql(dsn, "\\set ECHO_HIDDEN on\n" + script).stdout
    out: dict[str, list[str]] = {}
    with psycopg.connect(dsn, autocommit=True) as connection:
        for part in shown.split("####")[1:]:
            number, _, rest = part.partition("\n")
            queries = out[commands[int(number)]] = []
            for query in _QUERY.findall(rest):
                try:
                    connection.execute(query.encode())
                except psycopg.Error:
                    continue
                queries.append(query)
    return out


def _unknowns(server: Server, commands: list[str]) -> dict[str, list[str]]:
    catalog = catalog_of(server.superuser_dsn)
    context = Context(search_path=("pg_catalog", "public"), role="postgres")
    asked = _asked(server.superuser_dsn, commands)
    assert list(asked) == commands
    assert sum(len(queries) for queries in asked.values()) > 0.9 * len(commands)
    return {
        command: [
            unknown.what
            for query in queries
            for facts in analyze(query.encode(), catalog, context)
            for unknown in facts.unknowns
        ]
        for command, queries in asked.items()
    }


@pytest.mark.parametrize(
    "commands", [READABLE.split(), re.split(r"[|\n]", OBJECTS)], ids=["lists", "objects"]
)
def test_readable(any_postgres: Server, commands: list[str]) -> None:
    assert {
        c: unknowns for c, unknowns in _unknowns(any_postgres, commands).items() if unknowns
    } == {}


def test_source_of_functions(any_postgres: Server) -> None:
    assert {
        command: unknowns
        for command, unknowns in _unknowns(any_postgres, SOURCE).items()
        if unknowns
    } == {}
