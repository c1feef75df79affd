"""The tour's MCP client: what it says of a server that fails. The tour tests that it works."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from sallyport.demo import mcpclient


def test_a_server_that_ends_is_said_with_its_words() -> None:
    command = [sys.executable, "-c", "import sys; sys.exit('no such target')"]
    with pytest.raises(mcpclient.McpError, match="no such target"):
        mcpclient.query(command, {}, "SELECT 1")


def test_a_program_that_is_missing_is_named() -> None:
    with pytest.raises(mcpclient.McpError, match="/nowhere/sallyport"):
        mcpclient.query(["/nowhere/sallyport", "mcp"], {}, "SELECT 1")


def test_a_refusal_is_the_replys_message() -> None:
    words = [SimpleNamespace(text="The gateway refused it, SP1001.")]
    result = SimpleNamespace(structured_content={"code": "SP1001"}, is_error=True, content=words)
    assert mcpclient.reply(result).message == "The gateway refused it, SP1001."


def test_rows_are_texts() -> None:
    rows = {"columns": ["id", "name"], "rows": [[1, None]]}
    result = SimpleNamespace(structured_content=rows, is_error=False, content=[])
    assert mcpclient.reply(result).rows == (("1", "∅"),)
