# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
# cython: annotation_typing=False, infer_types=True
"""What :mod:`sallyport.server.plain` knows of a plain statement, and of one that was sent.

Also what the session's own terms for both are. Types are in ``plain_statement.pxd``.
"""

from __future__ import annotations

from typing import Any

from sallyport.audit.events import EncodedVerdict, encode_event, encode_verdict
from sallyport.judge import RunPermit
from sallyport.session.judged import allowed
from sallyport.session.recorded import hides_text, shown_text
from sallyport.session.server.entries import Entry
from sallyport.session.statements import Portal, Prepared
from sallyport.session.states import Expect
from sallyport.sql.values.void_parameters import void_parameters
from sallyport.wire.backend import parse_parameter_description
from sallyport.wire.frontend import parse_bind, parse_parse

try:
    import cython
except ImportError:
    from sallyport.wire import interpreted as cython

if not cython.compiled:
    # What plain_statement.pxd imports or defines.
    from sallyport.server.plain_request import BIND, CLOSE, PARSE, QUERY

    now: Any = None

#: Declarations of parameter types, and descriptions of them, that are kept for one text.
_DECLARED = 64


class PlainStatement:
    """What is needed of one plain verdict: of a simple query, or of a statement that is parsed,
    bound and run (``types``: of its parameters). Sessions share it.

    ``script``: the verdict on its text; None where that is not parsed here. ``before``, ``after``:
    its Statement event's fields behind the text, encoded: those before bind values and those behind
    them; of a query all are ``after``. ``again``: as ``after``, where the recording has the
    rewritten text, of ``sent_bytes`` bytes, which ``digest`` names, already; None where that is not
    said so. ``parsed``: of a query, the statements for its text when it
    is parsed, by the declaration of types; ``described``: of those, the statements with the types
    that the server described, by that message.
    """

    def __init__(self, verdict: Any, script: Any, subject_judge: Any, types: Any = None) -> None:
        self.verdict = verdict
        self.script = script
        self.subject_judge = subject_judge
        self.programs = verdict.programs
        self.has_plan = verdict.plan is not None
        self.changes = verdict.changes  # its intent is journaled before it is sent
        self.is_control = not verdict.plain  # only where it does nothing to the session
        self.notice = verdict.notice
        self.masked_columns = verdict.masked_columns
        self.masked_rows = (
            0  # that are not counted by the judge yet; some session has it among its ``uncounted``
        )
        self.is_rewritten = script is not None and script.rewritten is not None
        self.description = b""
        self.program = None
        self.types = types
        self.literals = verdict.literals
        self.hides_text = hides_text(subject_judge, verdict)
        hides_values = subject_judge.hides_values and self.literals is not None
        self.hides_binds = hides_values and not self.literals.shows_binds
        self.parsed: dict[bytes, PlainStatement] = {}
        self.described: dict[bytes, PlainStatement] = {}
        self.hidden_text = b""
        self.hidden_shown = b""
        self.record = allowed(subject_judge, verdict, "simple" if types is None else "extended")
        encoded = encode_verdict(self.record)
        self.before = b"" if types is None else encoded.before_binds
        self.after = _after(encoded, types)
        self.digest = encoded.digest
        self.sent_bytes = encoded.sent_bytes
        self.again = None if encoded.again is None else _after(encoded.again, types)

    def after_in(self, chunks: Any) -> bytes:
        """``after``, of the next statement of this recording."""
        if self.again is not None and chunks.repeats(self.digest, self.sent_bytes):
            return self.again
        return self.after

    def shown(self, sql: bytes) -> str:
        """The text as it may be recorded."""
        return shown_text(self.subject_judge, self.verdict, sql)

    def recorded(self, sql: bytes) -> bytes:
        """The same, encoded."""
        if not self.hides_text:
            return sql
        if sql is not self.hidden_text:
            self.hidden_shown = self.shown(sql).encode()
            self.hidden_text = sql
        return self.hidden_shown


def _after(encoded: EncodedVerdict, types: Any) -> bytes:
    if types is None:
        return encoded.rest
    return encoded.after_formats + encode_event((types,))[1:] + encoded.after_types


def plain_query(script: Any, subject_judge: Any) -> PlainStatement | None:
    """The statement for Query messages of this text (or template); None where it is not plain."""
    if not (script.plain or _is_control(script)) or not _may_pass(script.statements[0]):
        return None
    return PlainStatement(script.statements[0], script, subject_judge)


def plain_prepared(prepared: Any, subject_judge: Any) -> PlainStatement | None:
    """The statement for Bind messages of this prepared statement; None as for
    :func:`plain_query`.
    """
    verdict = prepared.verdict
    if prepared.inner or prepared.subject_judge is not subject_judge or verdict is None:
        return None
    if not (verdict.plain or verdict.is_transaction_control) or not _may_pass(verdict):
        return None
    try:
        prepared.script.decode()
    except UnicodeDecodeError:  # recorded in another form
        return None
    return PlainStatement(verdict, None, subject_judge, prepared.types)


def plain_parsed(query: PlainStatement, types: bytes) -> PlainStatement | None:
    """The statement for the text of a plain query when it is parsed with these parameter types,
    which end its Parse; None where the judge would say no, or has to look at them in another way.
    """
    statement = query.parsed.get(types)
    if statement is not None:
        return statement
    script, verdict, subject_judge = query.script, query.verdict, query.subject_judge
    if type(script.permit) is not RunPermit:
        return None
    declared = parse_parse(b"\0\0" + types).param_types
    if void_parameters(declared) or (
        declared and subject_judge.check_declared_types(verdict, declared) is not None
    ):
        return None
    statement = PlainStatement(verdict, script, subject_judge, declared)
    if len(query.parsed) >= _DECLARED:
        query.parsed.clear()
    query.parsed[types] = statement
    return statement


def plain_described(statement: PlainStatement, body: bytes) -> PlainStatement:
    """The same once the server has described its parameters in the ParameterDescription whose body
    this is. Raises ProtocolError.
    """
    described = statement.described.get(body)
    if described is None:
        types = parse_parameter_description(body)
        described = statement
        if types != statement.types:
            described = PlainStatement(
                statement.verdict, statement.script, statement.subject_judge, types
            )
        if len(statement.described) >= _DECLARED:
            statement.described.clear()
        statement.described[body] = described
    return described


def _is_control(script: Any) -> bool:
    """One statement that begins or ends a transaction, and can be sent in its place."""
    if script.count != 1 or len(script.statements) != 1 or script.refused >= 0:
        return False
    return bool(script.statements[0].is_transaction_control)


def _may_pass(verdict: Any) -> bool:
    """Only with the judge's permit (:mod:`sallyport.judge.permit`), and rows that are recorded as
    they are sent.
    """
    return type(verdict.permit) is RunPermit and verdict.is_quiet


class Pending:
    """What was sent and is not answered yet: a statement that runs (``kind``: QUERY or BIND), or
    the messages that make a statement or close it (PARSE, CLOSE) or are a Sync alone.

    ``text``: of a query or Parse, as the client sent it. ``name``: of the statement that is made,
    bound or closed. ``prepared``: what is bound; what a Parse makes, once somebody asks for it.
    """

    def __init__(self) -> None:
        self.kind = 0
        self.statement: Any = None
        self.number = 0
        self.step = 0  # Session.step
        self.text = self.name = self.bind = b""
        self.started = now()
        self.is_parsed = False  # with a Parse of the unnamed statement before its Bind
        self.is_described = False  # of a Parse: with Describe of that statement
        self.is_synced = False  # with its Sync, or a query
        self.is_alone = False  # of a Bind: nothing else is before the same Sync
        self.prepared: Any = None
        self.hidden = False
        self.limited = False  # by Execute, which may suspend the portal
        self.flows = False  # rows of it were sent, and more are to come
        self.program: Any = None
        self.rows = 0
        self.size = 0
        self.following: Any = None


def new_pending(kind: int, statement: Any, number: int, text: bytes, step: int) -> Pending:
    """What is sent now. A call of the class would box its numbers."""
    pending = Pending()
    pending.kind = kind
    pending.statement = statement
    pending.number = number
    pending.text = text
    pending.step = step
    return pending


def prepared_of(pending: Pending) -> Any:
    """What a bundle binds, or a Parse makes."""
    statement = pending.statement
    if pending.prepared is None:
        pending.prepared = Prepared(
            pending.text,
            statement.verdict,
            statement.subject_judge,
            types=statement.types,
            declared=statement.types,
            script_verdict=statement.script,
            traffic=statement,
        )
    return pending.prepared


def portal_of(pending: Pending) -> Portal:
    """The unnamed portal that a bundle has bound."""
    statement = pending.statement
    message = parse_bind(pending.bind[5:])
    portal = Portal(
        prepared_of(pending),
        statement.verdict,
        statement.subject_judge,
        params=message.params,
        formats=message.param_formats,
        statement=pending.name,
        asked=statement.has_plan or not pending.hidden,
    )
    if pending.program is not None:
        portal.described, portal.program = True, pending.program
    return portal


def entries_of(session: Any, pending: Pending) -> list[Entry]:
    """What the session expects back for what was sent."""
    entries: list[Entry] = []
    if pending.kind == QUERY:
        return [_query_entry(pending)]
    if pending.kind == PARSE or pending.is_parsed:
        prepared = prepared_of(pending)
        verdict = prepared.verdict
        if not pending.flows:
            session.statements.assume(pending.name, prepared, pending.step)
            entries.append(Entry(Expect.PARSE, 0, verdict, name=pending.name, prepared=prepared))
        if pending.is_described:
            entries.append(
                Entry(Expect.DESCRIBE_STATEMENT, 0, verdict, name=pending.name, prepared=prepared)
            )
    if pending.kind == CLOSE:
        session.statements.assume(pending.name, None, pending.step)
        close = Entry(Expect.CLOSE, name=pending.name)
        close.value = "S"
        entries.append(close)
    if pending.kind == BIND:
        entries += _bundle_entries(session, pending)
    if pending.is_synced:
        entries.append(Entry(Expect.SYNC))
    return entries


def _query_entry(pending: Pending) -> Entry:
    statement = pending.statement
    entry = Entry(
        Expect.QUERY, pending.number, statement.verdict, statement.script, None, pending.started
    )
    entry.sql = pending.text
    entry.program, entry.rows, entry.size = pending.program, pending.rows, pending.size
    return entry


def _bundle_entries(session: Any, pending: Pending) -> list[Entry]:
    statement = pending.statement
    verdict, number = statement.verdict, pending.number
    prepared, portal = prepared_of(pending), portal_of(pending)
    session.portals.assume(b"", portal, pending.step)
    execute = Entry(
        Expect.EXECUTE, number, verdict, None, None, pending.started, b"", prepared, portal
    )
    if pending.flows:
        execute.program, execute.rows, execute.size = pending.program, pending.rows, pending.size
        session.portals.confirm(b"", portal)
        return [execute]
    entries = [Entry(Expect.BIND, 0, verdict, name=b"", prepared=prepared, portal=portal)]
    if portal.asked:
        entries.append(
            Entry(Expect.DESCRIBE_PORTAL, number, verdict, portal=portal, hidden=pending.hidden)
        )
    return [*entries, execute]
