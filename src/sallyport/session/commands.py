"""What a session asks its owner to do: the few things that must wait for I/O or another thread.

A command that has a ``blocks`` pauses this session's client input, and nothing else, until
``Session.resume`` is called.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from sallyport.core.secret import Secret
from sallyport.judge import SubjectJudge
from sallyport.session.client.input import Blocked
from sallyport.session.held import HeldStatement


@dataclass(frozen=True, slots=True)
class RefreshCatalog:
    """Compare the catalog with the server's, reload it when it moved.

    ``own``: read it through the session's own connection instead, as its open transaction sees it,
    and give it to ``Session.use_transaction_catalog``. ``relation``: nothing to do unless there is
    a relation of this name, in whatever schema. ``publishes``: the session changed the schema, and
    its client is told that the transaction has ended when the catalog was read for all, or
    could not be for a while (``Session.holds_answer``): others who hear of it from there are judged
    by what it made.
    """

    force: bool = False
    own: bool = False
    relation: str = ""
    publishes: bool = False

    @property
    def blocks(self) -> Blocked:
        return Blocked.PUBLISH if self.publishes else Blocked.REFRESH


@dataclass(frozen=True, slots=True)
class JudgeElsewhere:
    """Judge a long text off the event loop (it stays in the subject's judge's cache)."""

    subject_judge: SubjectJudge
    sql: bytes
    blocks: ClassVar[Blocked] = Blocked.JUDGE


@dataclass(frozen=True, slots=True)
class CancelUpstream:
    """Send a CancelRequest for this session's own backend: a limit was exceeded. The session holds
    its client's input, which the request could hit, until ``Session.release_input`` is called.
    """


@dataclass(frozen=True, slots=True)
class AskApproval:
    """Ask people about a held statement; the answer comes through ``Session.on_ruling``."""

    held: HeldStatement
    blocks: ClassVar[Blocked] = Blocked.APPROVAL


@dataclass(frozen=True, slots=True)
class RenewToken:
    """Check the token that the session is to go on under; the answer goes to ``Session.renewed``,
    then ``resume``.
    """

    token: Secret
    blocks: ClassVar[Blocked] = Blocked.RENEWAL


@dataclass(frozen=True, slots=True)
class CloseSession:
    """Flush what is buffered for the client, then close both legs."""

    reason: str


BlockingCommand = RefreshCatalog | JudgeElsewhere | AskApproval | RenewToken
Command = BlockingCommand | CancelUpstream | CloseSession
