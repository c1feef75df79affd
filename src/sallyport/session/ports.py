"""What a session needs from the layers above it, as Protocols. :mod:`sallyport.audit` implements
the recorder.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec


@dataclass(frozen=True, slots=True, eq=False)
class RecordedVerdict:
    """What a recording says of a verdict. One value serves all statements with this verdict, so
    that what is derived from it can be kept with it; two are the same only when they are one
    object.

    outcome: allow | deny | hold. code: refusal code. protocol: simple | extended. relations:
    ``schema.relation`` of what the statement touches. masked: ``schema.relation.column`` of what
    its rows have masked. columns: ``schema.relation.column`` of what it reads, writes or compares.
    sent: the text that runs in its place, "" where it runs as it came; ``$n`` stands for the
    n-th constant of the statement, or is its parameter.
    """

    outcome: str
    rule: str = ""
    code: str = ""
    policy_version: str = ""
    epoch: str = ""
    protocol: str = "simple"
    relations: tuple[str, ...] = ()
    masked: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    sent: str = ""


class JudgedStatement(msgspec.Struct, frozen=True):
    """A statement with its verdict. number: 1-based, per session. binds: None when there was no
    Bind.

    bind_types: type OIDs of the parameters as the client declared or the server described them; 0
    or absent: neither did. changes: it is sent, and may change something, so its intent is
    journaled before.
    """

    number: int
    sql: str
    verdict: RecordedVerdict
    binds: Sequence[bytes | None] | None = None
    bind_formats: Sequence[int] = ()
    bind_types: tuple[int, ...] = ()
    changes: bool = True


class SessionRecorder(Protocol):
    """Records one session. Every call is cheap, never blocks and never raises; what cannot be
    written sets ``failed``.

    The machine asks ``failed`` before every statement: a failed recorder stops statements with
    58030 (promise 3). ``backlog`` is the number of bytes accepted and not yet on disk; the server
    stops reading while it is too large.
    """

    @property
    def failed(self) -> bool: ...

    @property
    def backlog(self) -> int: ...

    @property
    def journal_failed(self) -> bool:
        """Intents cannot be written: nothing that may change something can run."""
        ...

    @property
    def handover_late(self) -> bool:
        """A stream of audit events that is required lags too far: no new statement runs."""
        ...

    def statement(self, judged: JudgedStatement) -> None:
        """A statement was judged."""
        ...

    def reply(self, number: int, data: bytes) -> None:
        """Backend messages exactly as the client receives them (after masking) for this statement.
        number 0: none.
        """
        ...

    def copy_in(self, number: int, data: bytes) -> None:
        """CopyData that the client sent (frontend messages)."""
        ...

    def complete(self, number: int, tag: str, rows: int, sqlstate: str, seconds: float) -> None:
        """The statement ended. sqlstate "" on success."""
        ...

    def answered(self, number: int, data: bytes, tag: str, rows: int, seconds: float) -> None:
        """:meth:`reply` with the whole of the statement's reply and :meth:`complete` with success,
        in one.
        """
        ...

    def note(self, kind: str, text: str) -> None:
        """Anything else worth keeping: cancel requests, policy reloads, catalog changes."""
        ...

    def end(self, reason: str) -> None:
        """The session is over; flushes and closes."""
        ...
