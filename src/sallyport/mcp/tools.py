"""The three tools, and the MCP server that has them. Everything they do goes over a gateway session
(:mod:`sallyport.mcp.sessions`).
"""

from __future__ import annotations

import json
import re
import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import structlog

from sallyport.core.errors import SallyportError
from sallyport.mcp import results
from sallyport.mcp.arguments import (
    WAIT,
    ArgumentError,
    DescribeArguments,
    QueryArguments,
    StatusArguments,
    parsed,
)
from sallyport.mcp.results import Result
from sallyport.mcp.sessions import Caller, Running, SessionBook, SessionProblemError, Slot

if TYPE_CHECKING:
    from mcp.server import Server
    from mcp.server.context import ServerRequestContext

log = structlog.get_logger("sallyport.mcp")

#: Who makes this call. Raises SallyportError, whose text may be shown.
Identify = Callable[["ServerRequestContext[Any, Any]"], Awaitable[Caller]]
Tell = Callable[[str], Awaitable[None]]

_FRAMES: Final = 8
_UNPRINTABLE: Final = re.compile(r"[^ -~]+")
INSTRUCTIONS: Final = (
    "PostgreSQL through Sallyport, which decides by policy what you may run, masks columns, lets"
    " people approve some statements and records all. Errors say what would work. Start with"
    " describe."
)


class Tools:
    """``identify``: see :data:`Identify`."""

    def __init__(self, book: SessionBook, identify: Identify) -> None:
        self._book, self._identify = book, identify

    async def query(self, caller: Caller, arguments: Mapping[str, Any], tell: Tell) -> Result:
        """Run one statement, and wait for it as long as the call says."""
        asked = parsed(arguments, QueryArguments)
        parameters = [_text(value) for value in asked.parameters]
        slot = self._book.slot(caller, asked.target, asked.session)
        running = await self._started(slot, caller, asked.sql, parameters, asked.max_rows)
        return await self._wanted(slot, running, asked.wait_seconds, tell)

    async def describe(self, caller: Caller, arguments: Mapping[str, Any], tell: Tell) -> Result:
        """The schema as policy opens it: the gateway answers this statement itself."""
        asked = parsed(arguments, DescribeArguments)
        words = asked.words.replace("\\", " ").replace("'", "''")
        slot = self._book.slot(caller, asked.target, asked.session)
        sql = f"SELECT sallyport.describe('{words}')"
        running = await self._started(slot, caller, sql, (), 1)
        result = await self._wanted(slot, running, WAIT, tell)
        answer = running.answer
        if result.is_error or not answer.rows:
            return result
        schema = json.loads(answer.rows[0][0] or "{}")
        return results.described(schema, slot.target)

    async def status(self, caller: Caller, arguments: Mapping[str, Any], tell: Tell) -> Result:
        """What became of a statement that was not done; or who is asking, and what is open."""
        asked = parsed(arguments, StatusArguments)
        if not asked.session:
            return self._overview(caller)
        slot = self._book.held(caller, asked.session)
        running = slot.last
        if running is None:
            return results.problem("nothing was run in this session yet", "Call query.")
        if asked.cancel:
            self._book.cancel(slot, running)
        return await self._outcome(slot, running, asked.wait_seconds, tell)

    async def _started(
        self, slot: Slot, caller: Caller, sql: str, parameters: Sequence[str | None], rows: int
    ) -> Running:
        try:
            return self._book.start(slot, caller, sql, parameters, rows)
        except SessionProblemError:
            await self._book.settle(slot)
            raise

    async def _wanted(self, slot: Slot, running: Running, seconds: float, tell: Tell) -> Result:
        """As :meth:`_outcome`. Where the client gives the call up, or cannot be told of it, nobody
        wants its statement.
        """
        try:
            return await self._outcome(slot, running, seconds, tell)
        except BaseException:
            self._book.give_up(slot, running)
            raise

    async def _outcome(self, slot: Slot, running: Running, seconds: float, tell: Tell) -> Result:
        if not await self._book.wait(slot, running, seconds, lambda: tell(_progress(running))):
            return results.pending(running.answer, slot.target, slot.handle)
        await self._book.settle(slot)
        if running.failure is not None:
            return results.ended(running.failure, slot.target)
        if running.task is None or running.task.cancelled():
            return results.problem("the statement was cancelled before it ran")
        if (fault := running.task.exception()) is not None:
            raise fault
        answer = running.answer
        if answer.error is not None:
            return results.refused(answer.error, slot.target, answer.notices)
        is_open = slot.in_transaction
        session = slot.handle if not slot.is_default and (slot.is_kept or is_open) else ""
        return results.answered(answer, slot.target, session, in_transaction=is_open)

    def _overview(self, caller: Caller) -> Result:
        sessions = []
        for slot in self._book.of(caller):
            state = "idle in transaction" if slot.in_transaction else "idle"
            if slot.is_busy:
                state = "running"
            line = {"session": slot.handle, "target": slot.target, "state": state}
            if slot.is_busy and slot.last is not None and slot.last.answer.approval:
                line |= {"state": "waiting_for_approval", "approval": slot.last.answer.approval}
            sessions.append(line)
        data = {"you": dict(caller.who), "targets": list(caller.targets), "sessions": sessions}
        return Result(json.dumps(data, ensure_ascii=False), data)


def program_name(client_params: Any) -> str:
    """What the MCP client calls itself, as a label for the recording."""
    info = client_params.client_info if client_params is not None else None
    name = f"{info.name} {info.version}" if info is not None else "unknown client"
    return _UNPRINTABLE.sub("?", f"{name.strip()} (mcp)")[:63]


def _progress(running: Running) -> str:
    approval = running.answer.approval
    return f"waits for approval {approval}" if approval else "runs"


def _text(value: Any) -> str | None:
    """A parameter in PostgreSQL's text format."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value, ensure_ascii=False)


def server(book: SessionBook, identify: Identify, version: str) -> Server[Any]:
    """The MCP server; a transport runs it. Importing the package takes a while."""
    import mcp.types as types
    from mcp.server import Server

    from sallyport.mcp.schemas import TOOLS

    tools = Tools(book, identify)
    handlers = {"query": tools.query, "describe": tools.describe, "status": tools.status}

    async def list_tools(context: Any, params: Any) -> types.ListToolsResult:
        return types.ListToolsResult(tools=[types.Tool.model_validate(tool) for tool in TOOLS])

    async def call_tool(context: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
        told = 0.0

        async def tell(text: str) -> None:
            nonlocal told
            told += 1
            await context.session.report_progress(told, None, text)

        result = await _called(handlers.get(params.name), context, params, tell)
        return types.CallToolResult(
            content=[types.TextContent(type="text", text=result.text)],
            structured_content=dict(result.data),
            is_error=result.is_error,
        )

    async def _called(handler: Any, context: Any, params: Any, tell: Tell) -> Result:
        if handler is None:
            return results.problem(f"there is no tool {params.name[:100]!r}")
        try:
            result: Result = await handler(await identify(context), params.arguments or {}, tell)
            return result
        except SessionProblemError as error:
            return results.problem(str(error), error.hint)
        except (ArgumentError, SallyportError) as error:
            return results.problem(str(error))
        except Exception as error:  # noqa: BLE001  logged, and an error of the tool
            # Its text may quote SQL, parameters and values: neither client nor log gets it.
            frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
            where = [f"{at.name} ({Path(at.filename).name}:{at.lineno})" for at in frames]
            tool = params.name[:100]
            log.error("a tool failed", tool=tool, error=type(error).__name__, where=where)
            return results.problem("the MCP server failed", "Its log says why.")

    return Server(
        "sallyport",
        version=version,
        instructions=INSTRUCTIONS,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )
