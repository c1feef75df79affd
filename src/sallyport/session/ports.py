"""What a session needs from the layers above it, as Protocols. :mod:`sallyport.audit` implements the recorder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class SessionRecorder(Protocol):
    """Records one session. Every call is cheap, never blocks and never raises; what cannot be written sets ``failed``.

    The machine asks ``failed`` before every statement: a failed recorder stops statements with 58030 (promise 3).
    ``backlog`` is the number of bytes accepted and not yet on disk; the server stops reading while it is too large.
    """

    @property
    def failed(self) -> bool: ...

    @property
    def backlog(self) -> int: ...

    def statement(
        self,
        number: int,
        sql: str,
        *,
        outcome: str,
        rule: str = "",
        code: str = "",
        policy_version: str = "",
        epoch: str = "",
        protocol: str = "simple",
        binds: Sequence[bytes | None] | None = None,
        bind_formats: Sequence[int] = (),
        relations: tuple[str, ...] = (),
        masked: tuple[str, ...] = (),
        bind_types: tuple[int, ...] = (),
    ) -> None:
        """A statement was judged. number: 1-based, per session. outcome: allow | deny | hold. code: refusal code.

        relations: ``schema.relation`` of what it touches. masked: ``schema.relation.column`` of what its rows have masked.
        bind_types: type OIDs of the parameters as the client declared or the server described them; 0 or absent: neither did.
        """
        ...

    def reply(self, number: int, data: bytes) -> None:
        """Backend messages exactly as the client receives them (after masking) for this statement. number 0: none."""
        ...

    def copy_in(self, number: int, data: bytes) -> None:
        """CopyData that the client sent (frontend messages)."""
        ...

    def complete(self, number: int, tag: str, rows: int, sqlstate: str, seconds: float) -> None:
        """The statement ended. sqlstate "" on success."""
        ...

    def answered(self, number: int, data: bytes, tag: str, rows: int, seconds: float) -> None:
        """:meth:`reply` with the whole of the statement's reply and :meth:`complete` with success, in one."""
        ...

    def note(self, kind: str, text: str) -> None:
        """Anything else worth keeping: cancel requests, policy reloads, catalog changes."""
        ...

    def end(self, reason: str) -> None:
        """The session is over; flushes and closes."""
        ...
