# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
# cython: annotation_typing=False, infer_types=True
"""Plain traffic of one session, on raw memory: statements that were judged before, and their
answers.

:class:`PlainTraffic` takes a simple Query; Parse, also with Describe of what it makes; Bind of the
unnamed portal with Execute, also behind an unnamed Parse; Close of a named statement; Flush and
Sync; each once it is there whole, and the answers to them in order. It recognises them exactly,
looks the verdict up, has what may change something journaled, compares each RowDescription with the
compiled plan, masks the rows and records both. It decides nothing: what it does not recognise it
leaves untouched (it says 0), upon which its owner calls :meth:`PlainTraffic.leave` and hands the
bytes to :class:`~sallyport.session.machine.Session`, which gives the same bytes for everything that
is handled here.

No I/O. While it is in use its Session is not: number, counters, names and what is outstanding are
kept here and put back by :meth:`PlainTraffic.sync` and :meth:`PlainTraffic.leave`. Only ever used
compiled: there is nothing to win without (types in ``plain.pxd``). How messages are read is in
:mod:`~sallyport.server.plain_request` and :mod:`~sallyport.server.plain_answer`, how events are
written in :mod:`~sallyport.server.plain_record`.
"""

from __future__ import annotations

from typing import Any

from sallyport.server.plain_answer import PlainAnswer
from sallyport.server.plain_request import PlainRequest
from sallyport.server.plain_statement import Pending, PlainStatement
from sallyport.session.effects import on_completed, on_ended
from sallyport.session.name_context import SearchPath
from sallyport.session.ports import JudgedStatement
from sallyport.session.server.programs import KEEP
from sallyport.session.statements import MAX_NAMES
from sallyport.sql.text.template import MAX_BYTES
from sallyport.wire.frames import Output
from sallyport.wire.frontend import parse_bind

try:
    import cython
except ImportError:
    from sallyport.wire import interpreted as cython

COMPILED = bool(cython.compiled)

if not cython.compiled:
    # C functions that plain.pxd imports; only ever called by compiled code.
    from sallyport.server.plain_answer import DESCRIBED, PART, ROW, is_ascii
    from sallyport.server.plain_parameters import parameters
    from sallyport.server.plain_record import (
        record_answer,
        record_bundle,
        record_complete,
        record_description,
        record_query,
        record_reply,
    )
    from sallyport.server.plain_request import BIND, CLOSE, FLUSH, PARSE, QUERY, SYNC
    from sallyport.server.plain_statement import (
        entries_of,
        new_pending,
        plain_described,
        plain_parsed,
        plain_prepared,
        plain_query,
        portal_of,
        prepared_of,
    )
    from sallyport.wire.frames import write_masked_rows
    from sallyport.wire.scan import blank_literals

    PyBytes_FromStringAndSize: Any = None
    memcmp: Any = None
    _address: Any = None
    _put_uint32_to: Any = None
    _uint32: Any = None

_DESCRIBE_PORTAL = b"D\0\0\0\x06P\0"
#: Longer texts have no template.
_TEMPLATED = MAX_BYTES
#: Longer messages take the general way.
_LONGEST = 65536
#: What was sent and is not answered, and bytes of the Binds among that, beyond which a pipeline
#: takes the general way.
_MOST_PENDING = 4096
_MOST_BOUND = 4194304
#: Bytes of rows from which on a result is not gathered but passes in pieces.
_FLOW = 16384
#: Transaction status outside any transaction.
_IDLE = 73
#: Types of the answers to Parse, Close and Sync.
_PARSE_COMPLETE = 0x31
_CLOSE_COMPLETE = 0x33
_READY = 0x5A
#: Texts of a session that are known to have been offered to the index.
_KNOWN = 1024


class Scratch:
    """What the sessions of one event loop share; nothing is kept in it between calls."""

    def __init__(self) -> None:
        self.key = Output(3 * MAX_BYTES)
        self.out = Output(65536)
        self.request = PlainRequest()
        self.reply = PlainAnswer()


class PlainTraffic:
    """See the module's docstring. ``piece``, ``piece_size``: what :meth:`ask` and :meth:`answer`
    want sent, in place of what they were given; it is theirs, and valid until the next call.
    ``intent``: ordinal of the newest intent, 0 for none: what is asked may be sent once the journal
    has that.
    """

    def __init__(self, session: Any, scratch: Scratch) -> None:
        self.session = session
        self.scratch = scratch
        self.judge = session.names.judge
        self.chunks = session.recorder.chunks
        self.statements = session.statements.confirmed
        self.portals = session.portals.confirmed
        self.uncounted: list[PlainStatement] = []
        self.offered = session.recorder.texts.offered
        # of texts that were offered to the index under ``subject_judge``
        self.known: set[int] = set()
        self.told: dict[bytes, bytes] = session.described
        # what was sent last that changes what a statement's name means, while it is not answered
        self.assumed: dict[bytes, Pending] = {}
        # names of statements that were made since nothing was outstanding, and whether more than
        # once
        self.made: dict[bytes, bool] = {}
        self.offered_last = b""  # the text that was looked up in ``known`` last
        self.named_last = b""  # the name that was read last
        self.subject_judge: Any = None
        self.first: Any = None
        self.last: Any = None
        self.out = self.scratch.out
        self.request = self.scratch.request
        self.reply = self.scratch.reply
        self.begin()

    def begin(self) -> None:
        """Take over: the session is plain (``SessionState.is_plain``)."""
        session = self.session
        self.generation = session.names.generation
        if session.names.subject_judge is not self.subject_judge:
            self.known.clear()
            self.offered_last = b""
        self.subject_judge = session.names.subject_judge
        self.activity = session.activity
        self.cache, self.templates = self.subject_judge.cache, self.subject_judge.templates
        self.number = session.number
        self.limit = session.limits.max_server_message
        self.longest = min(_LONGEST, session.limits.max_client_message + 1)
        self.status = session.transaction_status[0]
        self.step = session.pipeline.step
        self.rows = self.bytes = self.pending = self.intent = self.binds = 0
        self.unsynced = self.executed = False  # as of sallyport.session.pipeline.Pipeline
        self.has_block = False  # so has the session's pipeline, from BEGIN or COMMIT before a Sync
        self.bound: Any = None  # whose portal the server has; in a transaction it outlives its Sync
        # What the session would still take the unnamed portal for, and took it for before: bundles
        # that were answered since nothing was outstanding, but those that were a step alone.
        self.portal: Any = None
        self.portal_before: Any = None
        self.running: Any = None
        # Whether the end of a transaction changes nothing but its status.
        self.controls = (
            session.names.path is SearchPath.KNOWN
            and not session.names.temporary.is_open
            and not session.settings.has_changes
        )
        # whose unnamed Parse the server answered last, while the session does not know
        self.parsed: Any = None

    # -- from the client ---------------------------------------------------------------------------

    def ask(self, src: Any, size: int) -> int:
        """The request at ``src``: how long it is once it is asked.

        0: it is not. Then ``wants_rest`` says that it is plain so far, and to be shown again with
        what comes behind it; otherwise it is not plain.
        """
        self.wants_rest = False
        if self.pending >= _MOST_PENDING or len(self.made) >= _MOST_PENDING:
            return 0
        is_moved = self.generation != self.judge.generation
        if is_moved or self.chunks.failed or self.binds > _MOST_BOUND:
            return 0
        request = self.request
        state = request.read(src, size, self.longest)
        if state <= 0:
            self.wants_rest = state == 0 and size <= PART
            return 0
        if request.kind == QUERY:
            return self._query(src)
        if request.kind == BIND:
            return self._bundle(src)
        if request.kind == PARSE:
            return self._parsed_bundle(src) if request.bound else self._prepare(src)
        return self._control(src)

    def _query(self, src: Any) -> int:
        if self.unsynced:
            return 0
        request = self.request
        start, size = request.text, request.text_size
        sql = PyBytes_FromStringAndSize(cython.cast("const char *", src) + start, size)
        statement = self._known(src + start, size, sql)
        if statement is None:
            return 0
        sent = statement.script.sent(sql) if statement.is_rewritten else None
        pending = self._asked(statement, sql)
        self._record_query(statement, pending.number, sql)
        if sent is None:
            self.piece = src
            self.piece_size = request.end
        else:
            out = self.out
            out.n = 0
            out.put(QUERY)
            _put_uint32_to(out, len(sent) + 5)
            out.write_bytes(sent)
            out.put(0)
            self.piece = out.data
            self.piece_size = out.n
        return request.end

    def _known(self, src: Any, size: int, sql: bytes) -> Any:
        """The statement for Query messages of this text, which is also at ``src``; None where it is
        not plain, or new.
        """
        script = self.cache.get(sql)
        if script is None:
            script = self._templated(src, size, sql)
            if script is None:
                return None
        statement = script.traffic
        if statement is None or statement.subject_judge is not self.subject_judge:
            statement = plain_query(script, self.subject_judge)
            if statement is None:
                return None
            script.traffic = statement
        return statement if self._passes(statement) else None

    def _passes(self, statement: PlainStatement) -> bool:
        """Whether the journal takes what may change something, and the session has nothing that the
        end of a transaction would change.
        """
        if statement.changes:
            journal = self.session.recorder.journal
            return journal is None or not journal.failed
        return not statement.is_control or self.controls

    def _templated(self, src: Any, size: int, sql: bytes) -> Any:
        """The verdict for every text that differs in its literals only; None where there is
        none.
        """
        if size > _TEMPLATED:
            return None
        key = self.scratch.key
        n = blank_literals(src, size, key.data)
        if n < 0:
            return None
        if not is_ascii(src, size):
            try:
                sql.decode()
            except UnicodeDecodeError:
                return None
        return self.templates.get(
            PyBytes_FromStringAndSize(cython.cast("const char *", key.data), n)
        )

    def _bundle(self, src: Any) -> int:
        """Bind (unnamed portal), maybe Describe of that portal, Execute, maybe Sync."""
        request = self.request
        name = self._name(src)
        prepared = self._meaning(name)
        if prepared is None:
            return 0
        statement = prepared.traffic
        if statement is None or statement.subject_judge is not self.subject_judge:
            statement = plain_prepared(prepared, self.subject_judge)
            if statement is None:
                return 0
            prepared.traffic = statement
        if not self._passes(statement):
            return 0
        pending = self._asked_bundle(statement, b"", src)
        pending.name = name
        pending.prepared = prepared
        self._record_bundle(statement, pending.number, src, prepared.script)
        if request.described or not statement.has_plan:
            self.piece = src
            self.piece_size = request.end
        else:
            self.out.n = 0
            self._write_bundle(src, 0, True)
        return request.end

    def _meaning(self, name: bytes) -> Any:
        """The prepared statement that a Bind of this name means; None where that is not plain, or
        not certain before an earlier step was answered.
        """
        maker: Any = self.assumed.get(name) if self.assumed else None
        if maker is not None:
            if maker.step != self.step or maker.kind == CLOSE:
                return None
            return prepared_of(maker)
        if self.made and self.made.get(name):
            return None
        if not name:
            self._confirm_parsed()
        return self.statements.get(name)

    def _parsed_bundle(self, src: Any) -> int:
        """Parse (unnamed statement), and a bundle of that."""
        request = self.request
        start, size = request.text, request.text_size
        sql = PyBytes_FromStringAndSize(cython.cast("const char *", src) + start, size)
        statement = self._declared(src, sql)
        if statement is None:
            return 0
        sent = statement.script.sent(sql) if statement.is_rewritten else None
        pending = self._asked_bundle(statement, sql, src)
        pending.is_parsed = True
        self._assume(b"", pending)
        self._record_bundle(statement, pending.number, src, sql)
        describes = statement.has_plan and not request.described
        if sent is None and not describes:
            self.piece = src
            self.piece_size = request.end
            return request.end
        self._write_parse(src, sent)
        self._write_bundle(src, request.bind, describes)
        return request.end

    def _prepare(self, src: Any) -> int:
        """Parse, maybe Describe of the statement, maybe Sync."""
        request = self.request
        start, size = request.text, request.text_size
        sql = PyBytes_FromStringAndSize(cython.cast("const char *", src) + start, size)
        statement = self._declared(src, sql)
        if statement is None:
            return 0
        name = self._name(src)
        if name and len(self.statements) + len(self.assumed) >= MAX_NAMES:
            return 0
        sent = statement.script.sent(sql) if statement.is_rewritten else None
        pending = self._append(new_pending(PARSE, statement, 0, sql, self.step))
        pending.name = name
        pending.is_described = request.described
        self._assume(name, pending)
        self.piece = src
        self.piece_size = request.end
        if sent is not None:
            self._write_parse(src, sent)
            out = self.out
            out.write(src, request.parsed, request.end - request.parsed)
            self.piece = out.data
            self.piece_size = out.n
        return request.end

    def _declared(self, src: Any, sql: bytes) -> Any:
        """The statement for the Parse of this text; None as for :meth:`_known`."""
        request = self.request
        query = self._known(src + request.text, request.text_size, sql)
        if query is None:
            return None
        types = PyBytes_FromStringAndSize(
            cython.cast("const char *", src) + request.types, request.parsed - request.types
        )
        return plain_parsed(query, types)

    def _assume(self, name: bytes, pending: Pending) -> int:
        """A statement of this name is made."""
        self.assumed[name] = pending
        self.made[name] = name in self.made
        return 0

    def _control(self, src: Any) -> int:
        """Close, Flush or Sync."""
        request = self.request
        if request.kind != FLUSH:
            pending = self._append(new_pending(request.kind, None, 0, b"", self.step))
            if request.kind == CLOSE:
                pending.name = self._name(src)
                self.assumed[pending.name] = pending
        self.piece = src
        self.piece_size = request.end
        return request.end

    def _name(self, src: Any) -> bytes:
        """Of the statement that is asked about."""
        request = self.request
        name: bytes = self.named_last
        size = request.name_size
        if len(name) != size or memcmp(_address(name), src + request.name, size) != 0:
            name = PyBytes_FromStringAndSize(cython.cast("const char *", src) + request.name, size)
            self.named_last = name
        return name

    def _write_parse(self, src: Any, sent: Any) -> int:
        """Into ``out``, from its beginning: the Parse, with the text that is ``sent``; None: as it
        came.
        """
        request, out = self.request, self.out
        out.n = 0
        if sent is None:
            return out.write(src, 0, request.parsed)
        out.put(PARSE)
        types = request.parsed - request.types
        _put_uint32_to(out, 4 + request.name_size + 1 + len(sent) + 1 + types)
        out.write(src, 5, request.name_size)
        out.put(0)
        out.write_bytes(sent)
        out.put(0)
        return out.write(src, request.types, types)

    def _write_bundle(self, src: Any, start: int, describes: bool) -> int:
        """Behind what is in ``out``, and send all of it."""
        request, out = self.request, self.out
        out.write(src, start, request.bound - start)
        if describes:
            out.write_bytes(_DESCRIBE_PORTAL)
        out.write(src, request.bound, request.end - request.bound)
        self.piece = out.data
        self.piece_size = out.n
        return 0

    def _confirm_parsed(self) -> int:
        """The session knows what the unnamed statement is."""
        parsed = self.parsed
        if parsed is not None:
            self.parsed = None
            self.session.statements.confirm(b"", prepared_of(parsed))
        return 0

    def _append(self, pending: Pending) -> Pending:
        """What was read last is sent."""
        if self.first is None:
            self.first = pending
        else:
            self.last.following = pending
        self.last = pending
        self.pending += 1
        if self.request.synced or pending.kind == QUERY:
            pending.is_synced = True
            self.step += 1
            self.unsynced = self.executed = False
        else:
            self.unsynced = True
        return pending

    def _asked(self, statement: PlainStatement, text: bytes) -> Pending:
        self.number += 1
        kind = QUERY if self.request.kind == QUERY else BIND
        pending = self._append(new_pending(kind, statement, self.number, text, self.step))
        self.running = pending
        return pending

    def _asked_bundle(self, statement: PlainStatement, text: bytes, src: Any) -> Pending:
        request = self.request
        is_alone = request.synced and not self.unsynced
        pending = self._asked(statement, text)
        size = request.bound - request.bind
        pending.bind = PyBytes_FromStringAndSize(
            cython.cast("const char *", src) + request.bind, size
        )
        self.binds += size
        pending.is_alone = is_alone
        pending.limited = request.limited
        pending.hidden = not request.described
        if not request.synced:
            self.executed = True
        return pending

    def _offer(self, statement: PlainStatement, number: int, text: bytes) -> int:
        """Let the session be found by this text; the recorder's thread chooses."""
        if text is self.offered_last:
            return 0
        self.offered_last = text
        key = hash(text)
        if key not in self.known:
            if len(self.known) >= _KNOWN:
                self.known.clear()
            self.known.add(key)
            self.offered.append((number, text, statement.record))
        return 0

    def _record_query(self, statement: PlainStatement, number: int, text: bytes) -> int:
        """A Statement event."""
        text = statement.recorded(text)
        if self.chunks.indexing:
            self._offer(statement, number, text)
        event = record_query(self.chunks, number, text, statement)
        return self._journal(event) if event is not None else 0

    def _journal(self, event: bytes) -> int:
        """What may change something goes to the journal as well."""
        recorder = self.session.recorder
        journal = recorder.journal
        if journal is not None:
            self.intent = journal.append(recorder, event, self.chunks.accepted)
            recorder.intent = self.intent
        return 0

    def _record_bundle(self, statement: PlainStatement, number: int, src: Any, text: bytes) -> int:
        """A Statement event with bind values."""
        request = self.request
        bind = src + request.bind
        at = request.name + request.name_size + 1 - request.bind
        size = request.bound - request.bind
        if statement.hides_binds and parameters(bind, at):
            self._record_hidden(statement, number, bind, size, text)
            return 0
        text = statement.recorded(text)
        if self.chunks.indexing:
            self._offer(statement, number, text)
        event = record_bundle(self.chunks, number, text, statement, bind, at, size)
        return self._journal(event) if event is not None else 0

    def _record_hidden(
        self, statement: PlainStatement, number: int, bind: Any, size: int, text: bytes
    ) -> None:
        """As :meth:`_record_bundle`, of bind values that may not be recorded as they are."""
        message = parse_bind(
            PyBytes_FromStringAndSize(cython.cast("const char *", bind) + 5, size - 5)
        )
        types = statement.types
        values, formats = statement.literals.bind(message.params, message.param_formats, types)
        recorder = self.session.recorder
        recorder.statement(
            JudgedStatement(
                number,
                statement.shown(text),
                statement.record,
                values,
                formats,
                types,
                statement.changes,
            )
        )
        if statement.changes:
            self.intent = recorder.intent

    # -- from the server ---------------------------------------------------------------------------

    def answer(self, src: Any, size: int) -> int:
        """What comes at ``src`` for the oldest request: how much of it is handled.

        0: nothing. Then ``wants_more`` says that it is plain so far, and to be shown again with
        what comes behind it; otherwise it is not plain.
        """
        self.wants_more = False
        pending = self.first
        if pending is None:
            return 0
        if pending.flows:
            return self._flow(pending, src, size)
        if pending.kind not in (BIND, QUERY):
            return self._acknowledged(pending, src, size)
        reply = self.reply
        if not reply.read(src, size, self.limit, pending.limited, pending.is_synced):
            return 0
        if not reply.whole and (not reply.described or reply.ended - reply.described < _FLOW):
            self.wants_more = size <= PART
            return 0
        is_bundle = pending.kind == BIND
        if (
            is_bundle != reply.bound
            or pending.is_parsed != reply.parsed
            or reply.end > self.limit
            or (is_bundle and not pending.is_parsed and not self._is_bound(pending))
        ):
            return 0
        statement = pending.statement
        program: Any = None
        if reply.kind == DESCRIBED:
            program = self._program(statement, src)
            if program is None:
                return 0
        elif reply.rows or (reply.kind and not is_bundle) or statement.has_plan:
            return 0
        pending.program = program
        if not reply.whole:
            return self._begin_flow(pending, src)
        body = self._write_answer(pending, src)
        # ParseComplete is of no statement
        start = 5 if reply.parsed else 0
        record_answer(
            self.chunks,
            pending.number,
            pending.started,
            self.piece + start,
            body - start,
            -1 if reply.suspended else reply.completed - reply.ended - 6,
            reply.rows,
        )
        pending.rows = reply.rows
        self._answered(pending)
        return reply.end

    def _is_bound(self, pending: Pending) -> bool:
        """Whether the server has bound the statement that was meant."""
        if not pending.name:
            self._confirm_parsed()
        return self.statements.get(pending.name) is pending.prepared

    def _acknowledged(self, pending: Pending, src: Any, size: int) -> int:
        """The answer to a Parse, Close or Sync. The statement's rows are described here as they
        will be of a portal with values in text; its program is of each portal's own description.
        """
        reply = self.reply
        if pending.is_described:
            is_plain = reply.read_prepared(src, size, pending.is_synced)
        else:
            kind = _READY
            if pending.kind != SYNC:
                kind = _CLOSE_COMPLETE if pending.kind == CLOSE else _PARSE_COMPLETE
            is_plain = reply.read_acknowledged(src, size, kind, pending.is_synced)
        if not is_plain:
            return 0
        if not reply.whole:
            self.wants_more = size <= PART
            return 0
        if pending.is_described:
            statement = pending.statement
            if statement.has_plan != (reply.kind == DESCRIBED):
                return 0
            if reply.kind == DESCRIBED and self._program(statement, src) is None:
                return 0
            prepared = prepared_of(pending)
            start = reply.parameters + 5
            traffic = plain_described(
                statement,
                PyBytes_FromStringAndSize(
                    cython.cast("const char *", src) + start, reply.start - start
                ),
            )
            prepared.types, prepared.traffic = traffic.types, traffic
        self.piece = src
        self.piece_size = reply.end
        if pending.kind == PARSE:
            if not pending.name:
                self.parsed = None
            self.session.statements.confirm(pending.name, prepared_of(pending))
        elif pending.kind == CLOSE:
            self.session.statements.confirm(pending.name, None)
        self._settled(pending)
        return reply.end

    def _program(self, statement: PlainStatement, src: Any) -> Any:
        """How rows with this description pass; None where they were never seen: they are compared
        with the plan elsewhere.
        """
        start = self.reply.start + 5
        size = self.reply.described - start
        if (
            statement.program is not None
            and len(statement.description) == size
            and memcmp(_address(statement.description), src + start, size) == 0
        ):
            return statement.program
        description = PyBytes_FromStringAndSize(cython.cast("const char *", src) + start, size)
        program = statement.programs.get(description)
        if program is not None:
            statement.description, statement.program = description, program
        return program

    def _hides(self, pending: Pending, src: Any) -> bool:
        """Whether the client has not asked for the description, which is recorded once a text."""
        reply = self.reply
        size = reply.described - reply.start
        if not pending.hidden or size <= 0:
            return False
        text = pending.text or prepared_of(pending).script
        record_description(self.chunks, self.told, pending.number, text, src + reply.start, size)
        return True

    def _write_answer(self, pending: Pending, src: Any) -> int:
        """Set ``piece``; gives how many of its bytes are recorded."""
        reply = self.reply
        hide = self._hides(pending, src)
        masks = reply.rows > 0 and pending.program is not KEEP
        notice = b"" if reply.suspended else pending.statement.notice
        if not hide and not masks and not notice:
            self.piece, self.piece_size = src, reply.end
            pending.size = reply.ended - reply.described
            return reply.completed
        out = self.out
        out.n = 0
        out.write(src, 0, reply.start if hide else reply.described)
        pending.size = self._write_rows(pending, src, reply.described, reply.ended)
        if notice:
            out.write_bytes(notice)
        out.write(src, reply.ended, reply.completed - reply.ended)
        body = out.n
        out.write(src, reply.completed, reply.end - reply.completed)
        self.piece, self.piece_size = out.data, out.n
        return body

    def _write_rows(self, pending: Pending, src: Any, start: int, end: int) -> int:
        before = self.out.n
        if pending.program is KEEP or start == end:
            self.out.write(src, start, end - start)
        else:
            write_masked_rows(src, start, end, pending.program, self.out)
        return self.out.n - before

    def _answered(self, pending: Pending) -> None:
        statement = pending.statement
        if pending.rows and statement.masked_columns:
            if statement.masked_rows == 0:
                self.uncounted.append(statement)
            statement.masked_rows += pending.rows
        rows, size = pending.rows, pending.size
        self.rows += rows
        self.bytes += size
        is_bundle = pending.kind == BIND
        if self.activity is not None:
            said = hash(pending.bind if is_bundle else pending.text)
            self.activity.completed(statement.verdict, pending.number, rows, size, False, said)
        if is_bundle:
            self.bound = pending
            self.binds -= len(pending.bind)
            if pending.is_alone:
                self.portal = self.portal_before = None
            else:
                self.portal_before, self.portal = self.portal, pending
            if not pending.is_synced and statement.is_control:
                on_completed(self.session, statement.verdict, None)
                self.has_block = True
        if pending.is_parsed and not pending.flows:
            self.parsed = pending
        self._settled(pending)

    def _settled(self, pending: Pending) -> int:
        """The oldest request is answered whole."""
        if self.assumed and self.assumed.get(pending.name) is pending:
            del self.assumed[pending.name]
        if pending.is_synced:
            self.status = self.reply.status
            if self.has_block:
                self.has_block = False
                self.session.pipeline.on_ready()
            if self.status == _IDLE:
                self.bound = None
                if self.portals:
                    on_ended(self.session)
        self.first = pending.following
        pending.following = None  # what outlives its answer keeps nothing else alive
        if self.first is None:
            self.last = None
            if pending.is_synced:
                self._forget()
        self.pending -= 1
        return 0

    def _forget(self) -> int:
        """Nothing is outstanding: what names could have meant meanwhile does not matter."""
        self.portal = self.portal_before = None
        if self.made:
            self.made.clear()
        return 0

    def _begin_flow(self, pending: Pending, src: Any) -> int:
        reply, out = self.reply, self.out
        out.n = 0
        hide = self._hides(pending, src)
        if not hide and pending.program is KEEP:
            self.piece, self.piece_size = src, reply.ended
            pending.size = reply.ended - reply.described
        else:
            out.write(src, 0, reply.start if hide else reply.described)
            pending.size = self._write_rows(pending, src, reply.described, reply.ended)
            self.piece, self.piece_size = out.data, out.n
        pending.flows = True
        if pending.is_parsed:
            self.parsed = pending
        pending.rows = reply.rows
        start = 5 if reply.parsed else 0
        record_reply(self.chunks, pending.number, self.piece + start, self.piece_size - start)
        return reply.ended

    def _flow(self, pending: Pending, src: Any, size: int) -> int:
        p = rows = 0
        while size - p >= 5 and src[p] == ROW:
            length = _uint32(src, p + 1)
            if length < 4 or length > PART or length > self.limit:
                if p:
                    break
                return 0
            if length >= size - p:
                break
            p += 1 + length
            rows += 1
        if rows:
            self.piece, self.piece_size = src, p
            if pending.program is not KEEP:
                self.out.n = 0
                self.piece_size = self._write_rows(pending, src, 0, p)
                self.piece = self.out.data
            pending.rows += rows
            pending.size += self.piece_size
            record_reply(self.chunks, pending.number, self.piece, self.piece_size)
            return p
        if src[0] == ROW:
            self.wants_more = True
            return 0
        return self._end_flow(pending, src, size)

    def _end_flow(self, pending: Pending, src: Any, size: int) -> int:
        reply = self.reply
        if not reply.read_end(src, size, 0, pending.limited, pending.is_synced):
            return 0
        if not reply.whole:
            self.wants_more = True
            return 0
        out = self.out
        out.n = 0
        if not reply.suspended:
            out.write_bytes(pending.statement.notice)
        out.write(src, 0, reply.completed)
        record_reply(self.chunks, pending.number, out.data, out.n)
        record_complete(
            self.chunks,
            pending.number,
            pending.started,
            src + 5,
            -1 if reply.suspended else reply.completed - 6,
            pending.rows,
        )
        out.write(src, reply.completed, reply.end - reply.completed)
        self.piece = out.data
        self.piece_size = out.n
        self._answered(pending)
        return reply.end

    # -- back to the session -----------------------------------------------------------------------

    def sync(self) -> None:
        """Put into the session what others look at; this goes on."""
        session = self.session
        counters = session.counters
        counters.statements += self.number - session.number
        counters.rows += self.rows
        counters.bytes += self.bytes
        session.number = self.number
        session.pipeline.step = self.step
        session.pipeline.unsynced, session.pipeline.executed = self.unsynced, self.executed
        session.transaction_status = bytes((self.status,))
        self.rows = self.bytes = 0
        for statement in self.uncounted:
            session.count_masked(statement.masked_columns, statement.masked_rows)
            statement.masked_rows = 0
        self.uncounted.clear()
        running = self.running
        if running is not None:
            self.running = None
            prepared = running.prepared
            session.running = running.statement.shown(
                running.text if prepared is None else prepared.script
            )

    def leave(self) -> None:
        """Give everything back to the session, what is outstanding included."""
        self.sync()
        session = self.session
        self._confirm_parsed()
        self.assumed.clear()
        self._leave_portal()
        self._forget()
        pending = self.first
        self.first = self.last = None
        self.pending = 0
        while pending is not None:
            session.pipeline.entries.extend(entries_of(session, pending))
            pending = pending.following

    def _leave_portal(self) -> None:
        """What the session knows of the unnamed portal."""
        portals, before, portal = self.session.portals, self.portal_before, None
        if before is not None:
            portals.assume(b"", portal_of(before), before.step)
        if self.portal is not None:
            portal = portal_of(self.portal)
            portals.assume(b"", portal, self.portal.step)
        if self.bound is not None:
            portals.confirm(b"", portal if self.bound is self.portal else portal_of(self.bound))
        self.bound = self.portal = self.portal_before = None
