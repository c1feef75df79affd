"""``sallyport mcp``: a real subprocess, the SDK's client, a real gateway and PostgreSQL."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.mcp.clients import data_of, stdio, text_of
from tests.support.gateway import Gateway


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
