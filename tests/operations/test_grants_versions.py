"""Privileges and script on each server version: read, applied inside a transaction that is rolled
back, and equal to what is wanted.
"""

from __future__ import annotations

import asyncio
from importlib import resources

import psycopg

from sallyport.operations.grant_script import script
from sallyport.operations.grants import excess, missing, required_privileges
from sallyport.policy.bind import bind
from sallyport.policy.file.load import parse_policy
from sallyport.targets import privileges as live
from tests.support.postgres import Server
from tests.targets.query import catalog_of, simple_query


def test_the_script_leaves_exactly_what_is_wanted(any_postgres: Server) -> None:
    policy = parse_policy(
        resources.files("sallyport.demo").joinpath("policy.yaml").read_text(), "policy.yaml"
    )
    bound = bind(policy, catalog_of(any_postgres.agent_dsn), "shop")

    async def read() -> live.Privileges:
        return await live.load_privileges(query)

    with simple_query(any_postgres.agent_dsn) as query:
        before = asyncio.run(read())
    assert before.role == "sallyport_agent"
    want = required_privileges(bound, before)
    assert missing(want, before) == []
    assert any(d.privilege == "TRUNCATE" for d in excess(want, before))
    text = script(want, before, target="shop", policy="policy.yaml")
    assert text.count("\nCOMMIT;\n") == 1
    # Seen from inside the transaction that is then rolled back: the server is shared.
    with psycopg.connect(any_postgres.superuser_dsn, autocommit=True) as connection:
        connection.execute(text.replace("\nCOMMIT;\n", "\n").encode())

        async def inside(sql: str) -> list[list[str | None]]:
            if sql.startswith(("BEGIN", "COMMIT", "ROLLBACK")):
                return []
            cursor = connection.execute(sql.replace("%", "%%").encode(), [], prepare=False)
            return (
                [[_text(v) for v in row] for row in cursor.fetchall()] if cursor.description else []
            )

        after = asyncio.run(live.load_privileges(inside, "sallyport_agent"))
        connection.execute("ROLLBACK")
    assert (excess(want, after), missing(want, after)) == ([], [])


def _text(value: object) -> str | None:
    return (
        None
        if value is None
        else {True: "t", False: "f"}.get(value, str(value))
        if isinstance(value, bool)
        else str(value)
    )
