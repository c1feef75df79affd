"""A session over ``/mcp`` in the place of one over the wire: what a model would get, as bytes that
the oracles can judge.

An answer is one CopyData with all of the tool's result, and the end of the statement as the result
tells it: CommandComplete, or an ErrorResponse with its SQLSTATE and the gateway's code.
"""

from __future__ import annotations

import json
import re
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as TooLate
from itertools import count
from typing import Any

import httpx2

from sallyport.wire import backend
from tests.attacks.client import PATIENCE, Hang
from tests.mcp.clients import Raw
from tests.support import requests

#: What is random in a result, and no answer of the database.
_RANDOM = re.compile(r"(data-)[0-9a-f]{8}\b")


def listens(url: str) -> bool:
    """Whether the console is up: it comes a moment after the gateway."""
    try:
        requests.get(url, timeout=60)
    except httpx2.ConnectError:
        return False
    return True


class McpClient:
    """As :class:`tests.attacks.client.Client`, for Query messages only. A statement goes as it is:
    bytes that are no UTF-8, which JSON does not have, become U+FFFD.
    """

    def __init__(self, url: str, token: str, target: str) -> None:
        self.closed = False
        self.status = "I"
        self._raw = Raw(url, token)
        self._target = target
        self._numbers = count(1)
        self._pool = ThreadPoolExecutor(1)
        self._answer: Future[dict[str, Any]] | None = None

    def send(self, data: bytes) -> None:
        if data[:1] != b"Q":
            raise ValueError("not a Query")
        sql = data[5:-1].decode("utf-8", "replace")
        self._answer = self._pool.submit(
            self._raw.result,
            next(self._numbers),
            "query",
            {"sql": sql, "target": self._target, "wait_seconds": PATIENCE},
        )

    def receive(
        self, readies: int = 1, copy: bytes | None = None, *, extended: bool = False
    ) -> bytes:
        """The answer to the one Query. Raises Hang."""
        if self._answer is None:
            raise ValueError("nothing was sent")
        try:
            result = self._answer.result(PATIENCE + 5)
        except (TooLate, httpx2.TimeoutException):
            raise Hang from None
        data = result["structuredContent"]
        if data["state"] in ("running", "waiting_for_approval"):
            raise Hang
        text = _RANDOM.sub(r"\1#", json.dumps(result, ensure_ascii=False, sort_keys=True))
        answer = backend.message(backend.COPY_DATA, text.encode("utf-8", "surrogatepass"))
        if result.get("isError"):
            self.status = "I" if self.status == "I" or data["state"] == "session_ended" else "E"
            code = f"[{data['code']}] " if data.get("code") else ""
            answer += backend.error_response("ERROR", data.get("sqlstate", "08P01"), code + "said")
        else:
            self.status = "T" if "A transaction is open" in text else "I"
            answer += backend.command_complete(data["command"])
        return answer + backend.ready_for_query(self.status.encode())

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self._raw.delete()
            self._pool.shutdown(wait=False, cancel_futures=True)
