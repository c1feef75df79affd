"""Whether the client of an MCP session is there: it is while one of its requests is being answered,
and it went when the last of them broke off before its answer was sent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from starlette.types import Message, Receive, Send

from sallyport.mcp.sessions import SessionBook


class Presence:
    """Tells ``book`` who comes and who leaves. For one event loop."""

    def __init__(self, book: SessionBook) -> None:
        self._book = book
        self._requests: Counter[tuple[str, str]] = Counter()

    @contextmanager
    def of(
        self, owner: str, key: str, receive: Receive, send: Send
    ) -> Iterator[tuple[Receive, Send]]:
        """The same two of a request of the MCP session ``key``, which are listened to."""
        is_broken = is_sent = False

        async def heard() -> Message:
            nonlocal is_broken
            message = await receive()
            is_broken |= message["type"] == "http.disconnect" and not is_sent
            return message

        async def said(message: Message) -> None:
            nonlocal is_sent
            await send(message)
            is_sent |= message["type"] == "http.response.body" and not message.get("more_body")

        self._requests[owner, key] += 1
        self._book.come(owner, key)
        try:
            yield heard, said
        finally:
            self._requests[owner, key] -= 1
            if not self._requests[owner, key]:
                del self._requests[owner, key]
                if is_broken:
                    self._book.leave(owner, key)
