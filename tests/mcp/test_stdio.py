"""``sallyport mcp``: a real subprocess, the SDK's client, a real gateway and PostgreSQL."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import psycopg
import pytest

from sallyport.demo.postgres import free_port
from tests.mcp.clients import data_of, stdio, text_of
from tests.support.gateway import Gateway
from tests.support.postgres import Server


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_a_masked_select(gateway: Gateway, tmp_path: Path, mode: str) -> None:
    async def converse() -> None:
        async with stdio(gateway, tmp_path, mode=mode) as client:
            tools = await client.list_tools()
            assert {"query", "status"} <= {tool.name for tool in tools.tools}
            result = await client.call_tool(
                "query", {"sql": "SELECT id, ssn FROM customers WHERE id = $1", "parameters": [1]}
            )
            assert not result.is_error, text_of(result)
            data = data_of(result)
            assert data["columns"] == ["id", "ssn"]
            [(id_, ssn)] = data["rows"]
            assert id_ == 1 and ssn.startswith("*") and ssn[-4:].isdigit()

    asyncio.run(converse())


def test_what_is_described(gateway: Gateway, tmp_path: Path) -> None:
    async def converse() -> None:
        async with stdio(gateway, tmp_path) as client:
            result = await client.call_tool("describe", {"words": "customers"})
            assert not result.is_error, text_of(result)
            customers = data_of(result)["relations"][0]
            assert customers["name"] == "public.customers"
            assert customers["allowed"] == ["select"]
            columns = {text.split()[0]: text for text in customers["columns"]}
            assert "masked: partial; conditions and expressions see the mask" in columns["ssn"]
            assert "masked" not in columns["id"] and columns["id"].endswith("not null")
            everything = data_of(await client.call_tool("describe", {}))
            names = {relation["name"] for relation in everything["relations"]}
            assert {"public.orders", "public.customers"} <= names
            orders = data_of(await client.call_tool("describe", {"words": "o'orders orders"}))
            assert orders["relations"][0]["allowed"] == ["select", "insert", "update", "delete"]
            nothing = data_of(await client.call_tool("describe", {"words": "nonsense"}))
            assert nothing["relations"] == []

    asyncio.run(converse())


def test_what_a_model_could_try(gateway: Gateway, postgres: Server, tmp_path: Path) -> None:
    """Ways around the masks that only this entrance could have: by its tools, their arguments and
    what they send. No real number is in any byte that the client got.
    """
    with psycopg.connect(postgres.superuser_dsn) as db:
        ssns = {row[0] for row in db.execute("SELECT ssn FROM customers ORDER BY id LIMIT 50")}
    tries = [
        ("query", {"sql": "SELECT ssn FROM customers ORDER BY id LIMIT 50"}),
        ("query", {"sql": "COPY (SELECT ssn FROM customers ORDER BY id LIMIT 50) TO STDOUT"}),
        ("query", {"sql": "SELECT ssn || $1 FROM customers ORDER BY id", "parameters": ["x"]}),
        ("query", {"sql": "SELECT ssn::int FROM customers WHERE id = 1"}),
        ("query", {"sql": "SELECT 1; SELECT ssn FROM customers ORDER BY id LIMIT 50"}),
        ("query", {"sql": "/* '); */ SELECT ssn FROM customers ORDER BY id LIMIT 50 --"}),
        ("query", {"sql": "DECLARE c CURSOR WITH HOLD FOR SELECT ssn FROM customers ORDER BY id"}),
        ("query", {"sql": "FETCH 50 FROM c"}),
        ("query", {"sql": "SELECT sallyport.describe('') FROM customers"}),
        ("query", {"sql": "SELECT sallyport.describe('x'), ssn FROM customers LIMIT 50"}),
        ("describe", {"words": "x') , (SELECT string_agg(ssn, ',') FROM customers"}),
        ("describe", {"words": "\\'); SELECT ssn FROM customers ORDER BY id LIMIT 50 --"}),
    ]  # fmt: skip

    async def converse() -> None:
        async with stdio(gateway, tmp_path) as client:
            for tool, arguments in tries:
                result = await client.call_tool(tool, arguments)
                seen = result.model_dump_json()
                assert not any(ssn in seen for ssn in ssns), (tool, arguments)
                assert "the MCP server failed" not in seen, (tool, arguments)

    asyncio.run(converse())


def test_a_bad_token_and_a_gateway_that_is_away(gateway: Gateway, tmp_path: Path) -> None:
    async def converse(*words: str, token: str = "") -> Any:
        async with stdio(gateway, tmp_path, *words, token=token) as client:
            return await client.call_tool("query", {"sql": "SELECT 1"})

    refused = asyncio.run(converse(token="nonsense"))
    assert refused.is_error and data_of(refused)["code"] == "SP1601"
    assert "nonsense" not in text_of(refused)
    away = asyncio.run(converse("--gateway", f"127.0.0.1:{free_port()}"))
    assert away.is_error and "cannot be reached" in text_of(away)

    async def without() -> Any:
        async with stdio(gateway, tmp_path) as client:
            (tmp_path / "token").write_text("")
            return await client.call_tool("query", {"sql": "SELECT 1"})

    none = asyncio.run(without())
    assert none.is_error and "no token in it" in text_of(none)


def test_a_transaction_and_its_cursor_over_calls(gateway: Gateway, tmp_path: Path) -> None:
    async def converse() -> None:
        async with stdio(gateway, tmp_path) as client:

            async def run(sql: str) -> dict[str, Any]:
                result = await client.call_tool("query", {"sql": sql})
                assert not result.is_error, text_of(result)
                return data_of(result)

            await run("BEGIN")
            await run("DECLARE c CURSOR FOR SELECT id FROM products ORDER BY id")
            assert (await run("FETCH 2 FROM c"))["rows"] == [[1], [2]]
            assert (await run("FETCH 1 FROM c"))["rows"] == [[3]]
            assert (await run("COMMIT"))["command"] == "COMMIT"

    asyncio.run(converse())
