"""The session after login: two byte streams in, two byte buffers out, no I/O (in the manner of h11).

``receive_from_client(data)`` and ``receive_from_server(data)`` fill ``to_client`` and ``to_server``, and append to ``commands`` what must
wait for something (see :mod:`sallyport.session.commands`). The owner flushes the buffers, carries out commands, and calls ``resume`` after
one that blocks. Nothing here sleeps, allocates by what a length field claims, or raises for what a peer sent: a protocol violation
ends as an error message for the client and a ``CloseSession`` command.

A refused statement is replaced, on its way to the server, by one that fails there, and the server's error is replaced by ours on the
way back: transaction state and the skipping of a pipeline are then PostgreSQL's own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from sallyport.core.errors import UNKNOWN_NAMES, ProtocolError, Refusal, refuse
from sallyport.core.subject import Subject
from sallyport.judge import AFTER_DDL, AFTER_SEARCH_PATH, Judge, ScriptVerdict, Verdict, View
from sallyport.policy.allowance import Allowance
from sallyport.session import copying, effects, extended, fast, replies, simple
from sallyport.session.commands import CloseSession, Command, JudgeElsewhere, RefreshCatalog
from sallyport.session.entries import Entry
from sallyport.session.holding import Ruling
from sallyport.session.meaning import Meaning
from sallyport.session.ports import SessionRecorder
from sallyport.session.statements import Names, Portal, Prepared
from sallyport.session.states import CLIENT_TABLE, ClientState, Expect
from sallyport.session.withhold import spent
from sallyport.sql.catalog import CatalogSnapshot
from sallyport.sql.search_path import split_search_path
from sallyport.wire import backend, frontend
from sallyport.wire.frames import split

_PROBE_SQL = b"SELECT pg_catalog.current_setting('search_path')"

RECORDING_FAILED = refuse(
    "SP1801",
    "statements stop because the session cannot be recorded",
    "The gateway's recording could not be written (disk full, or no permission).",
    "Tell the gateway's operator; the same statement will run once recording works again.",
)


CATALOG_UNKNOWN = refuse(
    "SP1102",
    "the catalog changed and cannot be read at the moment",
    "What names mean now is not known to the gateway.",
    "Try again; the gateway's operator finds the reason in its log.",
)

#: The reason of :class:`CloseSession` when the client said Terminate.
CLIENT_ENDED = "the client ended the session"

#: What a client may send before it knows whether COPY begins: Flush and Sync, which COPY ignores, and Terminate.
_BEFORE_COPY = frozenset(b"HSX")


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one session's messages, in bytes. What may be read is policy's: :mod:`sallyport.session.allowance`."""

    max_client_message: int = 64 << 20
    max_server_message: int = 64 << 20


class Session:
    """One authenticated client and its own upstream connection, both past their login."""

    def __init__(
        self,
        subject: Subject,
        judge: Judge,
        recorder: SessionRecorder,
        search_path: tuple[str, ...],
        limits: Limits,
    ) -> None:
        self.subject = subject
        self.judge = judge
        self.recorder = recorder
        self.search_path = search_path
        self.limits = limits
        self.to_client = bytearray()
        self.to_server = bytearray()
        self.commands: list[Command] = []
        self.state = ClientState.READY
        self.transaction_status = b"I"
        self.statements: Names[Prepared] = Names()
        self.portals: Names[Portal] = Names()
        self.entries: deque[Entry] = deque()
        self.number = 0  # of the latest statement
        self.step = (
            0  # Syncs and scripts that were forwarded: what fails takes nothing of a later step with it
        )
        self.unsynced = False  # extended-query messages were forwarded since the last Sync
        self.executed = False  # Execute was forwarded since the last Sync: a transaction is open
        self.path_touched = False  # search_path was changed: the end of the transaction may change it back
        self.path_dirty = False  # search_path may differ from self.search_path
        self.ddl_open = False  # DDL ran and its transaction is not known to be over
        self.catalog_stale = False
        self.catalog_moved = False  # a transaction with DDL in it has just ended
        self.catalog_unknown = False  # it is stale, and could not be read either
        self.own: Judge | None = None  # over the catalog as the open transaction sees it, after DDL in it
        self.meaning = Meaning()  # settings that change what statements mean
        self.copies_ahead = False  # a COPY FROM STDIN was forwarded whose answer may still be to come
        self.withholding = False  # a result was withheld: nothing reaches the client until ReadyForQuery
        self.announce = b""  # what a handler says to the client in place of what it withheld
        self.completed: tuple[Entry, str, str] | None = (
            None  # (entry, command tag, SQLSTATE) of a statement that just ended
        )
        self.server_needs = 0  # bytes that must be there before the server's input is worth looking at
        self.can_hold = False  # somebody can be asked to approve a held statement
        self.ruling: Ruling | None = None  # the answer for the held statement that is read next
        self.copy_entry: Entry | None = None
        self.counters = Counters()
        self.running = ""  # the text of the latest statement
        self._blocked = ""
        self._client_input = bytearray()
        self._server_input = bytearray()
        self._retried: bytes | None = None
        self._elsewhere: tuple[View, bytes] | None = None  # what was judged on another thread
        self.allowance: Allowance | None = None
        self.view: View
        self.generation = -1
        self.bind_view()

    # -- the two inputs ------------------------------------------------------------------------------------------

    @property
    def blocked(self) -> str:
        """Why client input is not being read ("" when it is): a command's name, 'drain', 'copy' or 'probe'."""
        return self._blocked

    @property
    def client_backlog(self) -> int:
        """Bytes received from the client and not yet handled."""
        return len(self._client_input)

    def ask(self, data: bytes) -> bytes | None:
        """The short way: what to send to the server for all of ``data``, or None when it needs ``receive_from_client``."""
        if (
            self._blocked
            or self._client_input
            or self.state is not ClientState.READY
            or self.copies_ahead
            or self.to_server
        ):
            return None
        kind = data[0]
        if kind == 0x42:
            return fast.ask(self, data)
        return fast.query(self, data) if kind == 0x51 else None

    def answer(self, data: bytes) -> bytes | None:
        """The short way back: what the client gets for all of ``data``, or None when it needs ``receive_from_server``."""
        if self._server_input or self._blocked or self._client_input or not self.entries or self.to_client:
            return None
        return fast.reply(self, data)

    def receive_from_client(self, data: bytes) -> None:
        if self.state is ClientState.CLOSED:
            return
        short = self.ask(data)
        if short is not None:
            self.to_server += short
            return
        if self._blocked or self._client_input:
            self._client_input += data
            if not self._blocked:
                self._consume_client(self._client_input)
            return
        self._consume_client(data)

    def receive_from_server(self, data: bytes) -> None:
        if self.state is ClientState.CLOSED:
            return
        try:
            short = self.answer(data)
            if short is not None:
                self.to_client += short
            else:
                replies.receive(self, data)
        except ProtocolError as error:
            self.fault("the server's answer could not be understood", str(error))
        if self._blocked == "copy" and not self._copy_may_begin():
            self._blocked = ""
            self._continue()
        if self._client_input and not self.entries and self._blocked in ("", "drain"):
            self._blocked = ""
            self._continue()

    def resume(self, refreshed: bool = False) -> None:
        """The command that blocked this session is done. ``refreshed``: it was RefreshCatalog, and the catalog could be read."""
        self.catalog_unknown = (
            self.catalog_stale
            and not refreshed
            and self._blocked == RefreshCatalog.__name__
            and bool(self._client_input)
        )
        self._blocked = ""
        if refreshed:
            self.catalog_stale = False
        self._continue()

    def ruled(self, ruling: Ruling) -> None:
        """People, or a deadline, have answered for the held statement."""
        self.ruling = ruling
        self.resume()
        self.ruling = None  # it was for that statement only

    def say(self, text: str, detail: str = "", hint: str = "") -> None:
        """A NOTICE from the gateway, at once."""
        self.to_client += backend.notice_response("NOTICE", "00000", text, detail=detail, hint=hint)
        self.recorder.note("notice", text)

    def _continue(self) -> None:
        if self._client_input and not self._blocked and self.state is not ClientState.CLOSED:
            self._consume_client(self._client_input)

    def _consume_client(self, data: bytes | bytearray) -> None:
        """Handle whole messages; what is incomplete, or not yet to be read, stays in ``_client_input``."""
        position = 0
        try:
            spans, rest = split(data, 0, self.limits.max_client_message, False)
            for kind, start, end, _ in spans:
                name = _CLIENT[self.state].get(kind)
                if name is None:
                    raise ProtocolError(_unexpected(kind, self.state))
                if self.copies_ahead and kind not in _BEFORE_COPY and self._copy_may_begin():
                    self._blocked = "copy"
                    break
                if _HANDLERS[name](self, data, start, end) is BLOCK:
                    break
                position = end
                if self.state is ClientState.CLOSED:
                    return
            else:
                position = rest
        except ProtocolError as error:
            self.violation(str(error))
            return
        if data is self._client_input:
            del self._client_input[:position]
        elif position < len(data):
            self._client_input += memoryview(data)[position:]

    def _copy_may_begin(self) -> bool:
        """Is it open whether the server's COPY will read the next message? Then that waits, or what it means would be a guess."""
        self.copies_ahead = any(entry.may_copy_in for entry in self.entries)
        return self.copies_ahead and self.state is ClientState.READY

    # -- judging -------------------------------------------------------------------------------------------------

    def bind_view(self) -> None:
        """Take the policy and catalog in force now."""
        before = getattr(self, "view", None)
        if self.own is not None and self.generation != self.judge.generation:
            self.own = self.judge.beside(self.own.catalog)
            self.catalog_stale = True  # what moved for everybody may have moved in this transaction's eyes
        self.generation = self.judge.generation
        self.view = (self.own or self.judge).view(self.subject, self.search_path)
        if before is not None and before.policy_version != self.view.policy_version:
            self.recorder.note("policy", f"policy {self.view.policy_version} is in force")
        if before is not None and before.epoch != self.view.epoch:
            self.recorder.note("catalog", f"catalog {self.view.epoch} is in force")
        bounds = self.view.bounds
        if not bounds.any:
            self.allowance = None
        elif self.allowance is None or self.allowance.bounds != bounds:
            used = (self.counters.rows, self.counters.bytes)
            self.allowance = Allowance(bounds, self.judge.hourly_use(self.subject), *used)

    def see(self, catalog: CatalogSnapshot) -> None:
        """The catalog as the open transaction sees it: statements are judged by it until the transaction ends."""
        self.own = self.judge.beside(catalog)
        self.bind_view()

    def transaction_ended(self) -> None:
        """ReadyForQuery outside any transaction, and nothing is outstanding."""
        self.ddl_open, self.catalog_moved = False, True
        if self.own is not None:
            self.own, self.catalog_stale = None, True
            self.bind_view()

    def _waits_for_catalog(self, script: ScriptVerdict) -> bool:
        """After DDL the catalog is read again before a refusal, too, is believed. In an open transaction names mean what only this
        transaction sees: it is asked itself.
        """
        if not self.catalog_stale or self.unsynced or self.catalog_unknown:
            return False
        if script.refusal is None and not any(verdict.resolves_names for verdict in script.statements):
            return False
        if self.ddl_open and (self.transaction_status == b"T" or self.entries):
            command = RefreshCatalog(own=True)
        elif script.refused >= 0 and not self.ddl_open:
            command = RefreshCatalog(force=True)
        else:
            return False
        if self.entries:
            self.drain()
        else:
            self.block(command)
        return True

    def judge_script(self, sql: bytes, void: frozenset[int] = frozenset()) -> ScriptVerdict | None:
        """The verdict on a text, or None when the session must wait first (the caller returns BLOCK). ``void``: as in View.judge."""
        if self.generation != self.judge.generation:
            self.bind_view()
        known = self.view.cache.get(sql) if not void else self.view.judge(sql, void)
        if known is None:
            there = (self.view, sql)
            known = self.view.judge(sql) if self._elsewhere == there else self.view.judge_soon(sql)
            if known is None:
                self._elsewhere = there
                self.block(JudgeElsewhere(self.view, sql))
                return None
        if self._waits_for_catalog(known):
            return None
        if self.catalog_unknown and self.ddl_open and known.refused >= 0:
            self.catalog_unknown = False
            return ScriptVerdict(sql, (), 0, CATALOG_UNKNOWN)
        if known.refused >= 0 and self.own is None and self._is_stale(known, sql):
            self.block(RefreshCatalog())
            return None
        self._retried = self._elsewhere = None
        return known

    def _is_stale(self, script: ScriptVerdict, sql: bytes) -> bool:
        """An unknown name may be newer than our snapshot: look once before saying no."""
        refusal = script.statements[script.refused].refusal if script.statements else script.refusal
        if refusal is None or refusal.code.id not in UNKNOWN_NAMES or self._retried == sql:
            return False
        self._retried = sql
        return True

    def gate(self, verdict: Verdict | None, may_wait: bool = True) -> Refusal | str | None:
        """What stands between an allowed statement and the server: a refusal, BLOCK (the message is read again later), or None.

        Only called when ``special`` says that something is out of the ordinary.
        """
        if self.recorder.failed:
            return RECORDING_FAILED
        if self.allowance is not None and verdict is not None and verdict.resolves_names:
            what = self.allowance.spent()
            if what:
                return spent(what)
        if verdict is None or not (self.path_dirty or self.ddl_open or self.catalog_stale):
            return None
        if not verdict.resolves_names:
            return None
        if self.entries and not self.unsynced:
            if not may_wait:
                return effects.MUST_BE_ALONE
            self.drain()
            return BLOCK
        if self.path_dirty and (self.entries or self.transaction_status != b"E"):
            return AFTER_SEARCH_PATH
        if self.ddl_open and self.catalog_stale:
            if may_wait and not self.entries and self.transaction_status == b"T" and not self.catalog_unknown:
                self.block(RefreshCatalog(own=True))
                return BLOCK
            unknown, self.catalog_unknown = self.catalog_unknown, False
            return CATALOG_UNKNOWN if unknown else AFTER_DDL
        if self.catalog_stale and not self.entries and may_wait:
            if self.catalog_unknown:
                self.catalog_unknown = False
                return CATALOG_UNKNOWN
            self.block(RefreshCatalog(force=True))
            return BLOCK
        return None

    @property
    def special(self) -> bool:
        return (
            self.recorder.failed
            or self.path_dirty
            or self.ddl_open
            or self.catalog_stale
            or self.allowance is not None
        )

    # -- pausing -------------------------------------------------------------------------------------------------

    def block(self, command: Command) -> None:
        self._blocked = type(command).__name__
        self.commands.append(command)

    def waits_for_answers(self) -> bool:
        """Read nothing more until every answer is there (the caller returns BLOCK). False: they would not come before a Sync, or are there."""
        if not self.entries or self.unsynced:
            return False
        self.drain()
        return True

    def drain(self) -> None:
        """Read nothing more until every answer is there (the caller returns BLOCK)."""
        self._blocked = "drain"

    def settled(self) -> None:
        """Called at every ReadyForQuery that leaves nothing outstanding: ask for search_path when it may have moved."""
        self.statements.settle()
        self.portals.settle()
        self.meaning.settled()
        self.unsynced = False
        if self.path_dirty and self.transaction_status != b"E" and self._blocked != "probe":
            self._blocked = "probe"
            self.entries.append(Entry(Expect.PROBE))
            self.to_server += frontend.query(_PROBE_SQL)
        elif self.catalog_moved and not self._blocked:
            self.catalog_moved = False
            self.block(RefreshCatalog(force=True))  # for the other sessions too

    def probed(self, value: str | None) -> None:
        """The server told its search_path (None: it could not)."""
        self._blocked = ""
        if value is None:
            return
        self.path_dirty = False
        if self.transaction_status == b"I":
            self.path_touched = False  # nothing is open that could change it back
        path = split_search_path(value)
        if path is None:
            raise ProtocolError("the server's search_path is not a list of names")
        if path != self.search_path:
            self.search_path = path
            self.bind_view()

    # -- recording -----------------------------------------------------------------------------------------------

    def record(
        self,
        sql: bytes,
        verdict: Verdict | None,
        refusal: Refusal | None,
        protocol: str,
        portal: Portal | None = None,
    ) -> int:
        """Record that a statement was judged; gives its number."""
        self.number += 1
        self.counters.statements += 1
        if refusal is not None:
            self._count(refusal)
        view = self.view
        self.running = sql.decode("utf-8", "replace")
        self.recorder.statement(
            self.number,
            self.running,
            outcome="allow" if refusal is None else ("hold" if refusal.code.id == "SP1003" else "deny"),
            rule=verdict.rule if verdict is not None else "",
            code="" if refusal is None else refusal.code.id,
            policy_version=view.policy_version,
            epoch=view.epoch,
            protocol=protocol,
            binds=portal.params if portal is not None else None,
            bind_formats=portal.formats if portal is not None else (),
            relations=verdict.relations if verdict is not None else (),
            masked=verdict.masked_columns if verdict is not None and refusal is None else (),
            bind_types=portal.prepared.types if portal is not None else (),
        )
        return self.number

    def count_masked(self, columns: tuple[str, ...], rows: int) -> None:
        """Rows came back with these columns masked."""
        masked = self.judge.masked
        for column in columns:
            masked[column] += rows

    def _count(self, refusal: Refusal) -> None:
        counters, code = self.counters, refusal.code.id
        counters.codes[code] = counters.codes.get(code, 0) + 1
        if code in ("SP1003", "SP1406"):
            counters.held += 1
        else:
            counters.refused += 1

    # -- ending --------------------------------------------------------------------------------------------------

    def violation(self, what: str) -> None:
        """The client broke the protocol: say so and close."""
        self.close(refuse("SP1501", f"protocol violation: {what}"), f"protocol violation: {what}")

    def fault(self, message: str, detail: str) -> None:
        """The gateway and the server disagree, or a plan does not hold: nothing more may pass."""
        self.recorder.note("fault", f"{message}: {detail}")
        self.close(
            refuse(
                "SP1203", message, "The session is closed so that nothing unjudged passes.", "Connect again."
            ),
            f"{message}: {detail}",
        )

    def close(self, refusal: Refusal | None, reason: str) -> None:
        """End the session; with a refusal, the client gets it as FATAL. Complete at most once."""
        if self.state is ClientState.CLOSED:
            return
        self.state = ClientState.CLOSED
        if refusal is not None:
            message = backend.refusal_error(refusal, "FATAL")
            self.to_client += message
            self.recorder.reply(0, message)
        self._client_input.clear()
        self._server_input.clear()
        self.commands.append(CloseSession(reason))


@dataclass(slots=True)
class Counters:
    """What this session did so far; for the session index and metrics."""

    statements: int = 0
    refused: int = 0
    held: int = 0  # refused because nobody could be asked, or sent for approval
    waited: int = 0  # kept waiting for approval
    rows: int = 0
    bytes: int = 0
    codes: dict[str, int] = field(default_factory=dict)  # refusals by code

    def add(self, other: Counters) -> None:
        self.statements += other.statements
        self.refused += other.refused
        self.held += other.held
        self.waited += other.waited
        self.rows += other.rows
        self.bytes += other.bytes
        for code, count in other.codes.items():
            self.codes[code] = self.codes.get(code, 0) + count

    def copy(self) -> Counters:
        return replace(self, codes=dict(self.codes))


#: What a handler returns when the message stays unread until ``resume`` or a drained pipeline.
BLOCK = "block"

Handler = Callable[[Session, "bytes | bytearray", int, int], "str | None"]


def _ignored(session: Session, data: bytes | bytearray, start: int, end: int) -> None:
    return None


def _terminate(session: Session, data: bytes | bytearray, start: int, end: int) -> None:
    session.to_server += frontend.terminate()
    session.close(None, CLIENT_ENDED)


_HANDLERS: dict[str, Handler] = {
    "query": simple.query,
    "function_call": simple.function_call,
    "parse": extended.parse,
    "bind": extended.bind,
    "describe": extended.describe,
    "execute": extended.execute,
    "close": extended.close,
    "flush": extended.flush,
    "sync": extended.sync,
    "copy_data": copying.client_data,
    "copy_done": copying.client_done,
    "copy_fail": copying.client_done,
    "copy_sync": copying.client_sync,
    "terminate": _terminate,
    "ignored": _ignored,
}
_CLIENT: dict[ClientState, dict[int, str]] = {
    state: {ord(kind): name for kind, name in row.items()} for state, row in CLIENT_TABLE.items()
}


def _unexpected(kind: int, state: ClientState) -> str:
    known = frontend.MESSAGES.get(kind)
    what = known.name if known is not None else f"message type 0x{kind:02x}"
    return f"{what} is not expected while the session is {state.name.lower().replace('_', ' ')}"
