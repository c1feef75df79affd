"""What a session asks its owner to do: the few things that must wait for I/O or another thread.

A command that ``blocks`` pauses this session's client input (and nothing else) until ``Session.resume`` is called.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from sallyport.judge import View
from sallyport.session.holding import HeldStatement


@dataclass(frozen=True, slots=True)
class RefreshCatalog:
    """Compare the catalog with the server's, reload it when it moved. Blocks.

    ``own``: read it through the session's own connection instead, as its open transaction sees it, and give it to ``Session.see``.
    """

    force: bool = False
    own: bool = False
    blocks: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class JudgeElsewhere:
    """Judge a long text off the event loop (it stays in the view's cache). Blocks."""

    view: View
    sql: bytes
    blocks: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class CancelUpstream:
    """Send a CancelRequest for this session's own backend: a limit was exceeded. Blocks, or it could hit the next statement."""

    blocks: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class AskApproval:
    """Ask people about a held statement; the answer comes through ``Session.ruled``. Blocks."""

    held: HeldStatement
    blocks: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class CloseSession:
    """Flush what is buffered for the client, then close both legs."""

    reason: str
    blocks: ClassVar[bool] = False


Command = RefreshCatalog | JudgeElsewhere | CancelUpstream | AskApproval | CloseSession
