"""``/mcp`` over HTTP: the SDK's client, a real gateway and PostgreSQL."""

from __future__ import annotations

import asyncio

import pytest

from tests.mcp.clients import data_of, http, text_of
from tests.support.gateway import Gateway


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_a_masked_select(mcp_gateway: Gateway, mode: str) -> None:
    async def converse() -> None:
        async with http(mcp_gateway, mode=mode) as client:
            result = await client.call_tool(
                "query",
                {"sql": "SELECT id, ssn FROM customers WHERE id = 1", "target": "shop"},
            )
            assert not result.is_error, text_of(result)
            [(id_, ssn)] = data_of(result)["rows"]
            assert id_ == 1 and ssn.startswith("*") and ssn[-4:].isdigit()

    asyncio.run(converse())
