# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
# cython: annotation_typing=False, infer_types=True
"""Plain traffic of one session, on raw memory: statements that were judged before, asked and
answered whole.

:class:`PlainTraffic` takes a simple Query, or Bind/[Describe]/Execute/Sync of a known statement or
behind an unnamed Parse of a known text, and the whole answer to it. It recognises them exactly,
looks the verdict up, has what may change something journaled, compares the answer's RowDescription
with the compiled plan, masks the rows and records both. It decides nothing: what it does not
recognise it leaves untouched (it says 0), upon which its owner calls :meth:`PlainTraffic.leave` and
hands the bytes to :class:`~sallyport.session.machine.Session`, which gives the same bytes for
everything that is handled here.

No I/O. While it is in use its Session is not: number, counters and outstanding statements are kept
here and put back by :meth:`PlainTraffic.sync` and :meth:`PlainTraffic.leave`. Only ever used
compiled: there is nothing to win without (types in ``plain.pxd``).

Source: PostgreSQL documentation, "Message Formats".
"""

from __future__ import annotations

from typing import Any

from sallyport.server.plain_statement import Pending, PlainStatement
from sallyport.session.name_context import SearchPath
from sallyport.session.ports import JudgedStatement
from sallyport.session.server.acknowledgements import outlives_transaction
from sallyport.session.server.programs import KEEP
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
    from sallyport.server.plain_parameters import parameters, parameters_end, put_parameters
    from sallyport.server.plain_statement import (
        entries_of,
        plain_parsed,
        plain_prepared,
        plain_query,
        portal_of,
        prepared_of,
    )
    from sallyport.wire.frames import write_masked_rows
    from sallyport.wire.scan import blank_literals

    HEADER_BYTES: Any = None
    PyBytes_FromStringAndSize: Any = None
    memchr: Any = None
    memcmp: Any = None
    now: Any = None
    put_array: Any = None
    put_bin: Any = None
    put_float64: Any = None
    put_raw: Any = None
    put_str: Any = None
    put_uint: Any = None

_QUERY = 0x51
_BIND = 0x42
_PARSE = 0x50
_DESCRIBED = 0x54
_DESCRIBE_PORTAL = b"D\0\0\0\x06P\0"
#: Longer messages take the general way.
_LONGEST = 65536
#: Statements sent and not answered, beyond which a pipeline takes the general way.
_MOST_PENDING = 256
#: Longest message of the server; what is kept of an answer until there is more of it.
_PART = 131072
#: Bytes of rows from which on a result is not gathered but passes in pieces.
_FLOW = 16384
_ROW = 0x44
_SUSPENDED = 0x73
#: What is recorded in place of the tag that PortalSuspended has not.
_SUSPENDED_TAG = b"SUSPENDED"
#: Transaction status outside any transaction.
_IDLE = 73
#: Tags and fields of events; see sallyport.audit.events, and a test.
_STATEMENT = 2
_STATEMENT_FIELDS = 16
_REPLY = 3
_COMPLETE = 5
_ANSWERED = 9
#: Declarations of parameter types that are kept for one text.
_DECLARED = 64
#: Texts of a session that are known to have been offered to the index.
_KNOWN = 1024
#: Longest name of a prepared statement that the server does not cut.
_NAME = 63


class Scratch:
    """Buffers that the sessions of one event loop share; nothing is kept in them between calls."""

    def __init__(self) -> None:
        self.key = Output(3 * MAX_BYTES)
        self.out = Output(65536)


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
        self.subject_judge: Any = None
        self.first: Any = None
        self.last: Any = None
        self.out = self.scratch.out
        self.begin()

    def begin(self) -> None:
        """The session is plain (:attr:`~sallyport.session.machine.Session.is_plain`): take over."""
        session = self.session
        self.generation = session.names.generation
        if session.names.subject_judge is not self.subject_judge:
            self.known.clear()
        self.subject_judge = session.names.subject_judge
        self.activity = session.activity
        self.cache = self.subject_judge.cache
        self.templates = self.subject_judge.templates
        self.number = session.number
        self.limit = session.limits.max_server_message
        self.longest = min(_LONGEST, session.limits.max_client_message + 1)
        self.status = session.transaction_status[0]
        self.step = session.pipeline.step
        self.rows = self.bytes = self.pending = self.intent = 0
        self.bound: Any = None  # whose portal the server has; in a transaction it outlives its Sync
        self.running: Any = None
        # Whether the end of a transaction changes nothing but its status.
        self.controls = (
            session.names.path is SearchPath.KNOWN
            and not session.names.temporary.is_open
            and not session.settings.has_changes
        )
        self.parsing = 0  # outstanding ones that begin with Parse
        # whose Parse the server answered last, while the session does not know
        self.parsed: Any = None

    # -- from the client ---------------------------------------------------------------------------

    def ask(self, src: Any, size: int) -> int:
        """The request at ``src``: how long it is once it is asked; 0 when it is not plain, or not
        whole.
        """
        if self.pending >= _MOST_PENDING or size < 6:
            return 0
        if self.generation != self.judge.generation or self.chunks.failed:
            return 0
        if src[0] == _QUERY:
            return self._query(src, size)
        if src[0] == _BIND:
            return self._bundle(src, size)
        if src[0] == _PARSE:
            return self._parsed_bundle(src, size)
        return 0

    def _query(self, src: Any, size: int) -> int:
        stop = 1 + _uint32(src, 1)
        if stop < 7 or stop > size or stop > self.longest or src[stop - 1] != 0:
            return 0
        sql = PyBytes_FromStringAndSize(cython.cast("const char *", src) + 5, stop - 6)
        statement = self._known(src + 5, stop - 6, sql)
        if statement is None:
            return 0
        sent = statement.script.sent(sql) if statement.is_rewritten else None
        pending = self._asked(statement, sql)
        self._record_query(statement, pending.number, sql)
        if sent is None:
            self.piece = src
            self.piece_size = stop
        else:
            out = self.out
            out.n = 0
            out.put(_QUERY)
            _put_uint32_to(out, len(sent) + 5)
            out.write_bytes(sent)
            out.put(0)
            self.piece = out.data
            self.piece_size = out.n
        return stop

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
        if size > MAX_BYTES:
            return None
        key = self.scratch.key
        n = blank_literals(src, size, key.data)
        if n < 0:
            return None
        if not _is_ascii(src, size):
            try:
                sql.decode()
            except UnicodeDecodeError:
                return None
        return self.templates.get(
            PyBytes_FromStringAndSize(cython.cast("const char *", key.data), n)
        )

    def _bundle(self, src: Any, size: int) -> int:
        """Bind (unnamed portal), maybe Describe of that portal, Execute of all its rows, Sync."""
        if not self._parse_bundle(src, size):
            return 0
        if self.b_name == 0:
            if self.parsing:
                return 0  # whether it means what that Parse makes is not certain before its answer
            self._confirm_parsed()
        name = PyBytes_FromStringAndSize(cython.cast("const char *", src) + 6, self.b_name)
        prepared = self.statements.get(name)
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
        pending = self._asked_bundle(statement, name, src)
        self._record_bundle(statement, pending.number, src, None)
        if self.b_described or not statement.has_plan:
            self.piece = src
            self.piece_size = self.b_end
        else:
            out = self.out
            out.n = 0
            out.write(src, 0, self.b_bound)
            out.write_bytes(_DESCRIBE_PORTAL)
            out.write(src, self.b_bound, self.b_end - self.b_bound)
            self.piece = out.data
            self.piece_size = out.n
        return self.b_end

    def _parsed_bundle(self, src: Any, size: int) -> int:
        """Parse (unnamed statement), and a bundle of that."""
        stop = 1 + _uint32(src, 1)
        if stop < 9 or stop >= size or stop > self.longest or src[5] != 0:
            return 0
        zero = cython.cast("const unsigned char *", memchr(src + 6, 0, stop - 6))
        if zero == cython.NULL:
            return 0
        end = zero - src
        if end + 3 > stop or end + 3 + 4 * ((src[end + 1] << 8) | src[end + 2]) != stop:
            return 0
        if src[stop] != _BIND or not self._parse_bundle(src + stop, size - stop) or self.b_name:
            return 0
        sql = PyBytes_FromStringAndSize(cython.cast("const char *", src) + 6, end - 6)
        query = self._known(src + 6, end - 6, sql)
        if query is None:
            return 0
        types = PyBytes_FromStringAndSize(
            cython.cast("const char *", src) + end + 1, stop - end - 1
        )
        statement = query.parsed.get(types)
        if statement is None:
            statement = plain_parsed(query, types, self.subject_judge)
            if statement is None:
                return 0
            if len(query.parsed) >= _DECLARED:
                query.parsed.clear()
            query.parsed[types] = statement
        sent = statement.script.sent(sql) if statement.is_rewritten else None
        pending = self._asked_bundle(statement, sql, src + stop)
        pending.is_parsed = True
        self.parsing += 1
        self._record_bundle(statement, pending.number, src + stop, sql)
        describes = statement.has_plan and not self.b_described
        if sent is None and not describes:
            self.piece = src
            self.piece_size = stop + self.b_end
            return stop + self.b_end
        out = self.out
        out.n = 0
        if sent is None:
            out.write(src, 0, stop)
        else:
            out.put(_PARSE)
            _put_uint32_to(out, 4 + 1 + len(sent) + 1 + len(types))
            out.put(0)
            out.write_bytes(sent)
            out.put(0)
            out.write_bytes(types)
        out.write(src, stop, self.b_bound)
        if describes:
            out.write_bytes(_DESCRIBE_PORTAL)
        out.write(src, stop + self.b_bound, self.b_end - self.b_bound)
        self.piece = out.data
        self.piece_size = out.n
        return stop + self.b_end

    def _confirm_parsed(self) -> int:
        """The session knows what the unnamed statement is."""
        parsed = self.parsed
        if parsed is not None:
            self.parsed = None
            self.session.statements.confirm(b"", prepared_of(parsed))
        return 0

    def _parse_bundle(self, src: Any, size: int) -> bool:
        if size < 5 + 8 + 10 + 5:
            return False
        stop = 1 + _uint32(src, 1)
        if stop < 13 or stop > size - 15 or stop > self.longest or src[5] != 0:
            return False
        p = 6
        while p < stop and src[p] != 0:
            if src[p] >= 128:
                return False
            p += 1
        if p >= stop or p - 6 > _NAME:
            return False
        self.b_name = p - 6
        p = parameters_end(src, p + 1, stop)
        if p < 0 or p + 2 > stop:
            return False
        count = (src[p] << 8) | src[p + 1]
        p += 2
        if p + 2 * count != stop:
            return False
        while p < stop:
            if src[p] != 0 or src[p + 1] > 1:
                return False
            p += 2
        self.b_bound = stop
        self.b_described = False
        if src[p] == 0x44:
            # Describe: length 6, 'P', empty name
            if (
                size - p < 7 + 15
                or _uint32(src, p + 1) != 6
                or src[p + 5] != 0x50
                or src[p + 6] != 0
            ):
                return False
            self.b_described = True
            p += 7
        # Execute: length 9, empty name, most rows; Sync: length 4
        if src[p] != 0x45 or _uint32(src, p + 1) != 9 or src[p + 5] != 0:
            return False
        self.b_limited = _uint32(src, p + 6) != 0
        p += 10
        if src[p] != 0x53 or _uint32(src, p + 1) != 4:
            return False
        self.b_end = p + 5
        return True

    def _asked(self, statement: PlainStatement, text: bytes) -> Pending:
        self.number += 1
        pending = Pending(statement, self.number, text, self.step)
        self.step += 1
        if self.first is None:
            self.first = pending
        else:
            self.last.following = pending
        self.last = pending
        self.pending += 1
        self.running = pending
        return pending

    def _asked_bundle(self, statement: PlainStatement, text: bytes, src: Any) -> Pending:
        """``src``: the Bind message."""
        pending = self._asked(statement, text)
        pending.bind = PyBytes_FromStringAndSize(cython.cast("const char *", src), self.b_bound)
        pending.is_bundle = True
        pending.limited = self.b_limited
        pending.hidden = not self.b_described
        return pending

    def _offer(self, statement: PlainStatement, number: int, text: bytes) -> int:
        """Let the session be found by this text; the recorder's thread chooses."""
        offered = self.known
        key = hash(text)
        if key not in offered:
            if len(offered) >= _KNOWN:
                offered.clear()
            offered.add(key)
            self.offered.append((number, text, statement.record))
        return 0

    def _record_query(self, statement: PlainStatement, number: int, text: bytes) -> int:
        """A Statement event."""
        chunks = self.chunks
        if statement.hides_text:
            text = statement.shown(text).encode()
        if chunks.indexing:
            self._offer(statement, number, text)
        after = statement.after
        size = len(text)
        start = chunks.reserve(4 * HEADER_BYTES + size + len(after))
        p = put_uint(put_array(start, _STATEMENT_FIELDS), _STATEMENT)
        p = put_uint(put_float64(p, now()), number)
        p = put_str(p, _address(text), size)
        p = put_raw(p, _address(after), len(after))
        return self._commit_statement(statement, start, p - start)

    def _commit_statement(self, statement: PlainStatement, start: Any, size: int) -> int:
        """Its event is complete. What may change something goes to the journal as well."""
        if not statement.changes:
            return self.chunks.commit(size, 1, 0, 0)  # type: ignore[no-any-return]
        event = PyBytes_FromStringAndSize(cython.cast("const char *", start), size)
        self.chunks.commit(size, 1, 0, 0)
        recorder = self.session.recorder
        journal = recorder.journal
        if journal is not None:
            self.intent = journal.append(recorder, event)
            recorder.intent = self.intent
        return 0

    def _record_bundle(self, statement: PlainStatement, number: int, src: Any, text: Any) -> int:
        """``src``: the Bind message. ``text``: of the Parse before it; None where there is none."""
        chunks = self.chunks
        if statement.hides_binds and parameters(src, 7 + self.b_name):
            self._record_hidden(statement, number, src, text)
            return 0
        size = 0
        if text is not None:
            if statement.hides_text:
                text = statement.shown(text).encode()
            size = len(text)
            if chunks.indexing:
                self._offer(statement, number, text)
        elif chunks.indexing and not statement.is_offered:
            statement.is_offered = True
            self.offered.append(
                (number, statement.shown(statement.prepared.script), statement.record)
            )
        before = statement.before
        after = statement.after
        # A parameter's length takes four bytes in the message, and its header at most five here; a
        # format two, and one here.
        start = chunks.reserve(
            7 * HEADER_BYTES + size + len(before) + 2 * self.b_bound + len(after)
        )
        p = put_uint(put_array(start, _STATEMENT_FIELDS), _STATEMENT)
        p = put_uint(put_float64(p, now()), number)
        if text is not None:
            p = put_str(p, _address(text), size)
        p = put_raw(p, _address(before), len(before))
        p = put_parameters(p, src, 6 + self.b_name + 1)
        p = put_raw(p, _address(after), len(after))
        return self._commit_statement(statement, start, p - start)

    def _record_hidden(self, statement: PlainStatement, number: int, src: Any, text: Any) -> None:
        """As :meth:`_record_bundle`, of bind values that may not be recorded as they are."""
        prepared = statement.prepared
        bind = parse_bind(
            PyBytes_FromStringAndSize(cython.cast("const char *", src) + 5, self.b_bound - 5)
        )
        types = statement.types if prepared is None else prepared.types
        values, formats = statement.literals.bind(bind.params, bind.param_formats, types)
        shown = statement.shown(text if prepared is None else prepared.script)
        recorder = self.session.recorder
        recorder.statement(
            JudgedStatement(
                number, shown, statement.record, values, formats, types, statement.changes
            )
        )
        if statement.changes:
            self.intent = recorder.intent

    # -- from the server ---------------------------------------------------------------------------

    def answer(self, src: Any, size: int) -> int:
        """What comes at ``src`` for the oldest statement: how much of it is handled.

        0: nothing. Then ``wants_more`` says that it is plain so far, and to be shown again with
        what comes behind it; otherwise it is not plain.
        """
        self.wants_more = False
        pending = self.first
        if pending is None:
            return 0
        if pending.flows:
            return self._flow(pending, src, size)
        if not self._parse_answer(src, size):
            return 0
        if not self.a_whole and (not self.a_described or self.a_ended - self.a_described < _FLOW):
            self.wants_more = size <= _PART
            return 0
        if (
            pending.is_bundle != self.a_bound
            or pending.is_parsed != self.a_parsed
            or self.a_end > self.limit
        ):
            return 0
        statement = pending.statement
        if (
            pending.is_bundle
            and not pending.is_parsed
            and self.statements.get(pending.text) is not statement.prepared
        ):
            return 0
        program: Any = None
        if self.a_kind == _DESCRIBED:
            program = self._program(statement, src)
            if program is None:
                return 0
        elif self.a_rows or (self.a_kind and not pending.is_bundle) or statement.has_plan:
            return 0
        pending.program = program
        if not self.a_whole:
            return self._begin_flow(pending, src)
        self._write_answer(pending, src)
        self._record_answer(pending)
        pending.rows = self.a_rows
        self._answered(pending, self.a_ended - self.a_described)
        return self.a_end

    def _parse_answer(self, src: Any, size: int) -> bool:
        """[ParseComplete] [BindComplete] [RowDescription | NoData] DataRow*
        (CommandComplete | PortalSuspended) ReadyForQuery

        False: it is something else. ``a_whole``: all of it is there. Otherwise ``a_described`` is
        the end of the description, 0 when that is not there, and ``a_ended`` the end of the whole
        rows.
        """
        p = 0
        self.a_whole = False
        self.a_start = self.a_described = self.a_ended = self.a_rows = self.a_end = self.a_kind = 0
        self.a_bound = False
        self.a_parsed = size > 0 and src[0] == 0x31
        if self.a_parsed:
            if size < 5:
                return True
            if _uint32(src, 1) != 4:
                return False
            p = 5
        self.a_bound = size > p and src[p] == 0x32
        if self.a_bound:
            if size - p < 5:
                return True
            if _uint32(src, p + 1) != 4:
                return False
            p += 5
        self.a_start = p
        if size - p < 5:
            return size == p or src[p] in (_DESCRIBED, 0x6E, _ROW, 0x43)
        if src[p] == _DESCRIBED or src[p] == 0x6E:
            length = _uint32(src, p + 1)
            self.a_kind = src[p]
            if length < 4 or length > _PART or (self.a_kind == 0x6E and length != 4):
                return False
            if length >= size - p:
                return True
            p += 1 + length
        self.a_described = p
        rows = 0
        while size - p >= 5 and src[p] == _ROW:
            length = _uint32(src, p + 1)
            if length < 4 or length > _PART or length > self.limit:
                return False
            if length >= size - p:
                break
            p += 1 + length
            rows += 1
        self.a_rows = rows
        self.a_ended = p
        if size == p or src[p] == _ROW:
            return True
        return self._parse_end(src, size, p)

    def _parse_end(self, src: Any, size: int, p: int) -> bool:
        """CommandComplete or PortalSuspended, and ReadyForQuery"""
        end = self._parse_completion(src, size, p)
        if end <= 0:
            return end == 0
        p = end
        self.a_completed = p
        if size == p:
            return True
        if src[p] != 0x5A:
            return False
        if size - p < 6:
            return True
        if _uint32(src, p + 1) != 5:
            return False
        self.a_status = src[p + 5]
        self.a_end = p + 6
        self.a_whole = self.a_status in (73, 84, 69)
        return self.a_whole

    def _parse_completion(self, src: Any, size: int, p: int) -> int:
        """Where the message ends; 0 where it is not whole, and -1 where it is another."""
        self.a_suspended = src[p] == _SUSPENDED
        if src[p] != 0x43 and not (self.a_suspended and self.first.limited):
            return -1
        if size - p < 5:
            return 0
        length = _uint32(src, p + 1)
        if length < 4 or length > 256 or (length == 4) != self.a_suspended:
            return -1
        if size - p <= length:
            return 0
        if self.a_suspended:
            return p + 5
        if src[p + length] != 0 or not _is_ascii(src + p + 5, length - 5):
            return -1
        return p + 1 + length

    def _program(self, statement: PlainStatement, src: Any) -> Any:
        """How rows with this description pass; None where they were never seen: they are compared
        with the plan elsewhere.
        """
        start = self.a_start + 5
        size = self.a_described - start
        if (
            statement.program is not None
            and len(statement.description) == size
            and memcmp(_address(statement.description), src + start, size) == 0
        ):
            return statement.program
        description = PyBytes_FromStringAndSize(cython.cast("const char *", src) + start, size)
        program = statement.programs.get(description)
        if program is not None:
            statement.description = description
            statement.program = program
        return program

    def _write_answer(self, pending: Pending, src: Any) -> None:
        """Set ``piece``, whose first ``body`` bytes are recorded."""
        hide = pending.hidden and self.a_described > self.a_start
        masks = self.a_rows > 0 and pending.program is not KEEP
        notice = b"" if self.a_suspended else pending.statement.notice
        if not hide and not masks and not notice:
            self.piece = src
            self.piece_size = self.a_end
            self.body = self.a_completed
            return
        out = self.out
        out.n = 0
        out.write(src, 0, self.a_start if hide else self.a_described)
        self._write_rows(pending, src, self.a_described, self.a_ended)
        if notice:
            out.write_bytes(notice)
        out.write(src, self.a_ended, self.a_completed - self.a_ended)
        self.body = out.n
        out.write(src, self.a_completed, self.a_end - self.a_completed)
        self.piece = out.data
        self.piece_size = out.n

    def _write_rows(self, pending: Pending, src: Any, start: int, end: int) -> int:
        if pending.program is KEEP or start == end:
            self.out.write(src, start, end - start)
        else:
            write_masked_rows(src, start, end, pending.program, self.out)
        return 0

    def _answered(self, pending: Pending, size: int) -> None:
        """``size``: bytes of the rows that come with its end."""
        statement = pending.statement
        if pending.rows and statement.masked_columns:
            if statement.masked_rows == 0:
                self.uncounted.append(statement)
            statement.masked_rows += pending.rows
        rows, size = pending.rows, pending.size + size
        self.rows += rows
        self.bytes += size
        if self.activity is not None:
            said = hash(pending.bind if pending.is_bundle else pending.text)
            self.activity.completed(statement.verdict, pending.number, rows, size, False, said)
        self.status = self.a_status
        if pending.is_bundle:
            self.bound = pending
        if self.status == _IDLE:
            self.bound = None
            if self.portals:
                self.session.portals.keep(outlives_transaction)
        if pending.is_parsed:
            self.parsing -= 1
            if not pending.flows:
                self.parsed = pending
        self.first = pending.following
        if self.first is None:
            self.last = None
        self.pending -= 1

    def _begin_flow(self, pending: Pending, src: Any) -> int:
        out = self.out
        out.n = 0
        hide = pending.hidden and self.a_described > self.a_start
        if not hide and pending.program is KEEP:
            self.piece = src
            self.piece_size = self.a_ended
        else:
            out.write(src, 0, self.a_start if hide else self.a_described)
            self._write_rows(pending, src, self.a_described, self.a_ended)
            self.piece = out.data
            self.piece_size = out.n
        pending.flows = True
        if pending.is_parsed:
            self.parsed = pending
        pending.rows = self.a_rows
        pending.size = self.a_ended - self.a_described
        self._record_reply(pending, 5 if self.a_parsed else 0, self.piece_size)
        return self.a_ended

    def _flow(self, pending: Pending, src: Any, size: int) -> int:
        p = 0
        rows = 0
        while size - p >= 5 and src[p] == _ROW:
            length = _uint32(src, p + 1)
            if length < 4 or length > _PART or length > self.limit:
                if p:
                    break
                return 0
            if length >= size - p:
                break
            p += 1 + length
            rows += 1
        if rows:
            if pending.program is KEEP:
                self.piece = src
                self.piece_size = p
            else:
                self.out.n = 0
                self._write_rows(pending, src, 0, p)
                self.piece = self.out.data
                self.piece_size = self.out.n
            pending.rows += rows
            pending.size += p
            self._record_reply(pending, 0, self.piece_size)
            return p
        if src[0] == _ROW:
            self.wants_more = True
            return 0
        return self._end_flow(pending, src, size)

    def _end_flow(self, pending: Pending, src: Any, size: int) -> int:
        self.a_whole = False
        if not self._parse_end(src, size, 0):
            return 0
        if not self.a_whole:
            self.wants_more = True
            return 0
        out = self.out
        out.n = 0
        if not self.a_suspended:
            out.write_bytes(pending.statement.notice)
        out.write(src, 0, self.a_completed)
        self.piece = out.data
        self._record_reply(pending, 0, out.n)
        self._record_complete(pending, src)
        out.write(src, self.a_completed, 6)
        self.piece = out.data
        self.piece_size = out.n
        self._answered(pending, 0)
        return self.a_end

    def _record_answer(self, pending: Pending) -> int:
        """An Answered event. ``piece``, up to ``body``: what the client gets; ParseComplete is of
        no statement.
        """
        chunks = self.chunks
        start_at = 5 if self.a_parsed else 0
        size = self.body
        tag = self.a_completed - self.a_ended - 6
        if self.a_suspended:
            tag = len(_SUSPENDED_TAG)
        start = chunks.reserve(7 * HEADER_BYTES + size + tag)
        moment = now()
        p = put_uint(put_array(start, 7), _ANSWERED)
        p = put_uint(put_float64(p, moment), pending.number)
        p = put_bin(p, self.piece + start_at, size - start_at)
        if self.a_suspended:
            p = put_str(p, _address(_SUSPENDED_TAG), tag)
        else:
            p = put_str(p, self.piece + (size - tag - 1), tag)
        p = put_uint(p, self.a_rows)
        p = put_float64(p, moment - pending.started)
        return chunks.commit(p - start, 0, 0, self.a_rows)  # type: ignore[no-any-return]

    def _record_reply(self, pending: Pending, start_at: int, size: int) -> int:
        """A Reply event of ``piece`` from there up to ``size``."""
        chunks = self.chunks
        start = chunks.reserve(5 * HEADER_BYTES + size)
        p = put_uint(put_array(start, 4), _REPLY)
        p = put_uint(put_float64(p, now()), pending.number)
        p = put_bin(p, self.piece + start_at, size - start_at)
        return chunks.commit(p - start, 0, 0, 0)  # type: ignore[no-any-return]

    def _record_complete(self, pending: Pending, src: Any) -> int:
        """A Complete event. ``src``: the CommandComplete, or PortalSuspended."""
        chunks = self.chunks
        tag = self.a_completed - 6
        text = src + 5
        if self.a_suspended:
            text, tag = _address(_SUSPENDED_TAG), len(_SUSPENDED_TAG)
        start = chunks.reserve(7 * HEADER_BYTES + tag)
        moment = now()
        p = put_uint(put_array(start, 7), _COMPLETE)
        p = put_uint(put_float64(p, moment), pending.number)
        p = put_str(p, text, tag)
        p = put_uint(p, pending.rows)
        p = put_str(p, src, 0)
        p = put_float64(p, moment - pending.started)
        return chunks.commit(p - start, 0, 0, pending.rows)  # type: ignore[no-any-return]

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
        session.transaction_status = bytes((self.status,))
        self.rows = self.bytes = 0
        for statement in self.uncounted:
            session.count_masked(statement.masked_columns, statement.masked_rows)
            statement.masked_rows = 0
        self.uncounted.clear()
        running = self.running
        if running is not None:
            self.running = None
            prepared = running.statement.prepared
            session.running = running.statement.shown(
                prepared.script if prepared is not None else running.text
            )

    def leave(self) -> None:
        """Give everything back to the session, outstanding statements included."""
        self.sync()
        session = self.session
        self._confirm_parsed()
        self.parsing = 0
        if self.bound is not None:
            session.portals.confirm(b"", portal_of(self.bound))
            self.bound = None
        pending = self.first
        self.first = self.last = None
        self.pending = 0
        while pending is not None:
            session.pipeline.entries.extend(entries_of(session, pending))
            pending = pending.following


def _uint32(src: Any, p: int) -> int:
    a = src[p]
    b = src[p + 1]
    c = src[p + 2]
    d = src[p + 3]
    return (a << 24) | (b << 16) | (c << 8) | d  # type: ignore[no-any-return]


def _put_uint32_to(out: Output, value: int) -> int:
    out.put((value >> 24) & 0xFF)
    out.put((value >> 16) & 0xFF)
    out.put((value >> 8) & 0xFF)
    return out.put(value & 0xFF)


def _address(value: bytes) -> Any:
    return value


def _is_ascii(src: Any, size: int) -> bool:
    for i in range(size):  # noqa: SIM110
        if src[i] >= 128:
            return False
    return True
