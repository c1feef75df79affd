"""The tour's MCP client: the SDK's own, which starts ``sallyport mcp`` as Claude Code does and
calls its tool ``query``.

The SDK comes with the extra ``mcp`` (the extra ``demo`` brings it); :func:`is_installed` says
whether it is there.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from sallyport.core.errors import SallyportError
from sallyport.demo.endings import last_words
from sallyport.demo.tour import NULL, Reply

_SECONDS = 30.0


class McpError(SallyportError):
    """The server did not start, or did not answer; the text has what it said."""


def is_installed() -> bool:
    """Whether the MCP SDK can be imported."""
    return importlib.util.find_spec("mcp") is not None


def query(command: Sequence[str], environment: Mapping[str, str], sql: str) -> Reply:
    """What the tool ``query`` of the MCP server ``command`` gives for ``sql``: rows, or the error's
    text as the reply's message. McpError when it does not answer within 30 s.
    """
    from mcp.shared.exceptions import MCPError

    with tempfile.TemporaryFile("w+") as errors:
        try:
            result = asyncio.run(_call(command, environment, sql, errors))
        except (MCPError, OSError, ExceptionGroup) as problem:  # OSError: TimeoutError, too
            errors.seek(0)
            said = f"{problem or type(problem).__name__}. {last_words(errors.read())}"
            raise McpError(f"the MCP server gave no answer: {said}") from None
    return reply(result)


def reply(result: Any) -> Reply:
    """A tool's result as the tour shows it: its rows as texts, or the message of an error."""
    data = result.structured_content or {}
    if result.is_error or "rows" not in data:
        return Reply(message="\n".join(part.text for part in result.content))
    rows = tuple(tuple(NULL if cell is None else str(cell) for cell in row) for row in data["rows"])
    return Reply(columns=tuple(data["columns"]), rows=rows)


async def _call(
    command: Sequence[str], environment: Mapping[str, str], sql: str, errors: TextIO
) -> Any:
    from mcp.client.client import Client
    from mcp.client.stdio import StdioServerParameters, stdio_client

    server = StdioServerParameters(
        command=command[0], args=list(command[1:]), env={**os.environ, **environment}
    )
    async with asyncio.timeout(_SECONDS), Client(stdio_client(server, errlog=errors)) as client:
        return await client.call_tool("query", {"sql": sql})
