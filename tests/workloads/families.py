"""The families: each a directory with ``schema.sql``, ``policy.yaml`` and ``queries.sql``, and a
database of its own.

The queries have the shapes that benchmark and sample repositories ship; text, schemas and rows are
our own. In ``queries.sql`` a statement ends with a semicolon at the end of a line. Comment lines
are dropped, except ``--@ since N`` before a statement that needs PostgreSQL N.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import psycopg
import yaml

from tests.support.postgres import Server

HERE = Path(__file__).parent
FAMILIES = (
    "tpch",
    "tpcds",
    "joborder",
    "clickbench",
    "exercises",
    "pagila",
    "chinook",
    "northwind",
)
_SINCE = re.compile(r"--@ since (\d+)")


@dataclass(frozen=True)
class Query:
    """One statement. ``line``: where it begins in queries.sql. ``since``: least major version, 0
    for any.
    """

    family: str
    line: int
    text: str
    since: int = 0

    def __str__(self) -> str:
        return f"{self.family}:{self.line}"


@cache
def queries(family: str) -> tuple[Query, ...]:
    """Every query of a family, in the order of the file."""
    queries: list[Query] = []
    lines: list[str] = []
    start = since = 0
    for number, line in enumerate((HERE / family / "queries.sql").read_text().splitlines(), 1):
        if version := _SINCE.match(line):
            since = int(version[1])
        if not line.strip() or line.startswith("--"):
            continue
        start = start or number
        lines.append(line.rstrip())
        if lines[-1].endswith(";"):
            queries.append(Query(family, start, "\n".join(lines)[:-1], since))
            lines, start, since = [], 0, 0
    if lines:
        raise ValueError(f"{family}/queries.sql:{start}: no semicolon ends this statement")
    return tuple(queries)


def all_queries(major: int, families: Sequence[str] = FAMILIES) -> list[Query]:
    """Every query that this major version of PostgreSQL can run."""
    return [query for family in families for query in queries(family) if query.since <= major]


def database_name(family: str) -> str:
    return f"workload_{family}"


def schema_text(family: str) -> str:
    return (HERE / family / "schema.sql").read_text()


@cache
def policy_of(family: str) -> dict[str, Any]:
    """The family's policy.yaml."""
    policy: dict[str, Any] = yaml.safe_load((HERE / family / "policy.yaml").read_text())
    return policy


def masked_columns(family: str) -> set[tuple[str, str, str]]:
    """Schema, table and column of each column that the policy names in a mask."""
    names = {name for mask in policy_of(family)["masks"] for name in mask["columns"]}
    return {(parts[0], parts[1], parts[2]) for parts in (name.split(".") for name in names)}


def merged_policy(policies: dict[str, dict[str, Any]]) -> str:
    """One policy file from several: each rule and mask is for the target of its family alone."""
    rules, masks = [], []
    for target, policy in policies.items():
        for rule in policy["rules"]:
            rules.append(rule | {"name": f"{target}: {rule['name']}", "targets": [target]})
        masks += [mask | {"targets": [target]} for mask in policy["masks"]]
    functions = sorted(
        {name for policy in policies.values() for name in policy.get("functions", ())}
    )
    merged = {"version": 1, "functions": functions, "rules": rules, "masks": masks}
    return yaml.safe_dump(merged, sort_keys=False)


def dsn_of(server: Server, database: str) -> str:
    """The superuser's connection string for a database of this server."""
    return server.superuser_dsn.rpartition("/")[0] + "/" + database


def create_database(server: Server, database: str, script: str) -> None:
    """(Re)create a UTF8 database, run a script in it as superuser, give the gateway's role the run
    of it.
    """
    with psycopg.connect(dsn_of(server, "postgres"), autocommit=True) as db:
        db.execute(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)".encode())
        db.execute(
            f"CREATE DATABASE {database} TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C'".encode()
        )
    with psycopg.connect(dsn_of(server, database), autocommit=True) as db:
        db.execute(script.encode())
        db.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {server.user}".encode())
        db.execute(f"GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {server.user}".encode())
        db.execute(b"VACUUM ANALYZE")


def create_family(server: Server, family: str) -> str:
    """Make the database of a family; returns its name."""
    create_database(server, database_name(family), schema_text(family))
    return database_name(family)
