# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
# cython: annotation_typing=False, infer_types=True
"""What :mod:`sallyport.server.plain` knows of a plain statement, and of one that was sent.

Also what the session's own terms for both are. Types are in ``plain_statement.pxd``.
"""

from __future__ import annotations

from typing import Any

from sallyport.audit.events import encode_event, encode_verdict
from sallyport.judge import RunPermit
from sallyport.session.judged import allowed
from sallyport.session.recorded import hides_text, shown_text
from sallyport.session.server.entries import Entry
from sallyport.session.statements import Portal, Prepared, void_parameters
from sallyport.session.states import Expect
from sallyport.wire.frontend import parse_bind, parse_parse

try:
    import cython
except ImportError:
    from sallyport.wire import interpreted as cython

if not cython.compiled:
    # A C function that plain_statement.pxd defines; only ever called by compiled code.
    now: Any = None


class PlainStatement:
    """What is needed of one plain verdict: of a simple query (``script``), of a prepared statement
    (``prepared``), or of a text that is parsed, bound and run in one go (``script``, and the
    ``types`` of its parameters as declared).

    ``before``, ``after``: its Statement event's fields, encoded: of a query all behind the text, of
    the others those before the parameters and those behind them; of a prepared statement its text
    is among the first. ``parsed``: of a query, the statements for its text when it is parsed, by
    the declaration of types.
    """

    def __init__(
        self, verdict: Any, script: Any, prepared: Any, subject_judge: Any, types: Any = None
    ) -> None:
        self.verdict = verdict
        self.script = script
        self.prepared = prepared
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
        self.is_offered = False  # of a prepared statement: its text, to the index
        self.types = types
        self.literals = verdict.literals
        self.hides_text = hides_text(subject_judge, verdict)
        hides_values = subject_judge.hides_values and self.literals is not None
        self.hides_binds = hides_values and not self.literals.shows_binds
        self.parsed: dict[bytes, PlainStatement] = {}
        is_query = prepared is None and types is None
        self.record = allowed(subject_judge, verdict, "simple" if is_query else "extended")
        encoded = encode_verdict(self.record)
        if is_query:
            self.before = b""
            self.after = encoded.rest
        else:
            text: bytes = (
                b"" if prepared is None else encode_event((self.shown(prepared.script),))[1:]
            )
            declared = types if prepared is None else prepared.types
            self.before = text + encoded.before_binds
            self.after = encoded.after_formats + encode_event((declared,))[1:] + encoded.after_types

    def shown(self, sql: bytes) -> str:
        """The text as it may be recorded."""
        return shown_text(self.subject_judge, self.verdict, sql)


def plain_query(script: Any, subject_judge: Any) -> PlainStatement | None:
    """The statement for Query messages of this text (or template); None where it is not plain."""
    if not (script.plain or _is_control(script)) or not _may_pass(script.statements[0]):
        return None
    return PlainStatement(script.statements[0], script, None, subject_judge)


def plain_prepared(prepared: Any, subject_judge: Any) -> PlainStatement | None:
    """The statement for Bind messages of this prepared statement; None as for
    :func:`plain_query`.
    """
    verdict = prepared.verdict
    if prepared.inner or prepared.subject_judge is not subject_judge or verdict is None:
        return None
    if not (verdict.plain or verdict.is_transaction_control) or not _may_pass(verdict):
        return None
    return PlainStatement(verdict, None, prepared, subject_judge)


def plain_parsed(query: Any, types: bytes, subject_judge: Any) -> PlainStatement | None:
    """The statement for the text of a plain query when it is parsed with these parameter types,
    which end its Parse; None where the judge would say no, or has to look at them in another way.
    """
    script, verdict = query.script, query.verdict
    if type(script.permit) is not RunPermit:
        return None
    declared = parse_parse(b"\0\0" + types).param_types
    if void_parameters(declared) or (
        declared and subject_judge.check_declared_types(verdict, declared) is not None
    ):
        return None
    return PlainStatement(verdict, script, None, subject_judge, declared)


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
    """A plain statement that was sent and is not answered yet. ``text``: as the client sent it; of
    a Bind alone, the statement's name. ``prepared``: what a Parse makes, once somebody asks for it.
    """

    def __init__(self, statement: PlainStatement, number: int, text: bytes, step: int) -> None:
        self.statement = statement
        self.number = number
        self.text = text
        self.step = step  # Session.step
        self.bind = b""
        self.started = now()
        self.is_bundle = False
        self.is_parsed = False
        self.prepared: Any = None
        self.hidden = False
        self.limited = False  # by Execute, which may suspend the portal
        self.flows = False  # rows of it were sent, and more are to come
        self.program: Any = None
        self.rows = 0
        self.size = 0
        self.following: Any = None


def prepared_of(pending: Pending) -> Any:
    """What a bundle binds."""
    statement = pending.statement
    if not pending.is_parsed:
        return statement.prepared
    if pending.prepared is None:
        pending.prepared = Prepared(
            pending.text,
            statement.verdict,
            statement.subject_judge,
            types=statement.types,
            declared=statement.types,
            script_verdict=statement.script,
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
        statement=b"" if pending.is_parsed else pending.text,
        asked=statement.has_plan or not pending.hidden,
    )
    if pending.program is not None:
        portal.described, portal.program = True, pending.program
    return portal


def entries_of(session: Any, pending: Pending) -> list[Entry]:
    """What the session expects back for a statement."""
    statement = pending.statement
    verdict, number = statement.verdict, pending.number
    if not pending.is_bundle:
        entry = Entry(Expect.QUERY, number, verdict, statement.script, None, pending.started)
        entry.sql = pending.text
        entry.program, entry.rows, entry.size = pending.program, pending.rows, pending.size
        return [entry]
    prepared, portal = prepared_of(pending), portal_of(pending)
    if pending.is_parsed:
        session.statements.assume(b"", prepared, pending.step)
    session.portals.assume(b"", portal, pending.step)
    execute = Entry(
        Expect.EXECUTE, number, verdict, None, None, pending.started, b"", prepared, portal
    )
    entries = [execute, Entry(Expect.SYNC)]
    if pending.flows:
        execute.program, execute.rows, execute.size = pending.program, pending.rows, pending.size
        session.portals.confirm(b"", portal)
        return entries
    if portal.asked:
        entries.insert(
            0, Entry(Expect.DESCRIBE_PORTAL, number, verdict, portal=portal, hidden=pending.hidden)
        )
    entries.insert(0, Entry(Expect.BIND, 0, verdict, name=b"", prepared=prepared, portal=portal))
    if pending.is_parsed:
        entries.insert(0, Entry(Expect.PARSE, 0, verdict, name=b"", prepared=prepared))
    return entries
