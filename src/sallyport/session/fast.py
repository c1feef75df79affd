"""The short way for what most traffic is: one plain statement asked and answered whole.

A simple Query, or Bind/Execute/Sync of the unnamed portal, that arrives as one buffer while nothing
is out of the ordinary is one entry; an answer that arrives as one buffer is handled in one step.
Both recognise their case exactly and otherwise leave everything untouched for the general way
(:mod:`sallyport.session.machine`, :mod:`sallyport.session.server.replies`), which gives the same
bytes.
"""

from __future__ import annotations

from time import monotonic
from typing import Any

from sallyport.judge import RunPermit
from sallyport.session.judged import allowed
from sallyport.session.name_context import SearchPath
from sallyport.session.ports import JudgedStatement
from sallyport.session.questions import on_settled
from sallyport.session.recorded import hides_text, shown_text
from sallyport.session.server.entries import Entry
from sallyport.session.server.programs import KEEP
from sallyport.session.server.writer import permitted
from sallyport.session.state import SessionState
from sallyport.session.statements import Portal
from sallyport.session.states import Expect
from sallyport.sql.text.template import MAX_BYTES
from sallyport.wire import frontend
from sallyport.wire.frames import mask_rows
from sallyport.wire.scan import answer, bundle, literals

_DESCRIBED = 0x54
_UNKNOWN_PATH = SearchPath.UNKNOWN
_DESCRIBE_PORTAL = b"D\0\0\0\x06P\0"
_STATUS = {ord("I"): b"I", ord("T"): b"T", ord("E"): b"E"}


def query_request(session: SessionState, data: bytes) -> bytes | None:
    """What to send for a Query of one plain statement that was judged before; None when this is
    something else.
    """
    if data[-1] or len(data) != 1 + int.from_bytes(data[1:5], "big"):
        return None
    names, pipeline = session.names, session.pipeline
    if session.needs_clearance or pipeline.unsynced or names.generation != names.judge.generation:
        return None
    sql = data[5:-1]
    subject_judge = names.subject_judge
    script = subject_judge.cache.get(sql)
    if script is None:
        script = subject_judge.templates.get(literals(sql, MAX_BYTES))
    if script is None or not script.plain:
        return None
    try:
        text = sql.decode()
    except UnicodeDecodeError:
        return None
    verdict = script.statements[0]
    if verdict.runs_unknown_code:
        return None  # the general way follows what it may leave behind
    permit = verdict.permit
    if not isinstance(permit, RunPermit) or verdict.is_watched:
        return None
    if hides_text(subject_judge, verdict):
        text = shown_text(subject_judge, verdict, sql)
    session.running = text
    number = session.number = session.number + 1
    session.counters.statements += 1
    recorded = allowed(subject_judge, verdict, "simple")
    session.recorder.statement(JudgedStatement(number, text, recorded, changes=verdict.changes))
    entry = Entry(Expect.QUERY, number, verdict, script, None, monotonic())
    entry.sql = sql
    pipeline.entries.append(entry)
    pipeline.step += 1
    return permitted(permit, data if script.rewritten is None else frontend.query(script.sent(sql)))


def bundle_request(session: SessionState, data: bytes) -> bytes | None:
    """What to send for a Bind/[Describe]/Execute/Sync of a known statement; None when this is
    something else.
    """
    parts = bundle(data)
    names, pipeline = session.names, session.pipeline
    if parts is None or session.needs_clearance or names.generation != names.judge.generation:
        return None
    name, params, formats, bound, described = parts
    prepared = session.statements.lookup(name)
    subject_judge = names.subject_judge
    if (
        prepared is None
        or prepared.inner
        or prepared.subject_judge is not subject_judge
        or pipeline.unsynced
    ):
        return None
    verdict = prepared.verdict
    if verdict is None or not verdict.plain or verdict.runs_unknown_code or len(name) > 63:
        return None
    permit = verdict.permit
    if not isinstance(permit, RunPermit) or verdict.is_watched:
        return None
    if session.statements.is_ambiguous(name, pipeline.step):
        return None
    number = session.number = session.number + 1
    session.counters.statements += 1
    text, literals = prepared.text, verdict.literals
    if literals is not None:
        if hides_text(subject_judge, verdict):
            text = shown_text(subject_judge, verdict, prepared.script)
        if not literals.shows_binds:
            shown, formats = literals.bind(params, formats, prepared.types)
            params = list(shown)
    session.running = text
    recorded = allowed(subject_judge, verdict, "extended")
    session.recorder.statement(
        JudgedStatement(number, text, recorded, params, formats, prepared.types, verdict.changes)
    )
    entry = Entry(Expect.BUNDLE, number, verdict, None, None, monotonic(), name, prepared)
    entry.hidden = not described
    if session.activity is not None:
        entry.variant = hash(tuple(params))
    pipeline.entries.append(entry)
    # The unnamed portal ends with this bundle: whoever wants to run it again has to bind it again.
    session.portals.assume(b"", None, pipeline.step)
    pipeline.step += 1
    if not described and verdict.plan is not None:
        data = data[:bound] + _DESCRIBE_PORTAL + data[bound:]
    return permitted(permit, data)


def response(session: SessionState, data: bytes) -> bytes | None:
    """What the client gets for a whole answer to the oldest entry; None when it is anything
    else.
    """
    entries, names = session.pipeline.entries, session.names
    entry = entries[0]
    kind = entry.kind
    if kind is Expect.QUERY:
        script = entry.script
        if script is None or not script.plain or entry.index or entry.refusal is not None:
            return None
    elif kind is not Expect.BUNDLE:
        return None
    if len(data) > session.limits.max_server_message:
        return None
    verdict = entry.verdict
    parts = answer(data)
    if parts is None or verdict is None or verdict.hides_rows or verdict.scans:
        return None
    start, described, description, ended, rows, completed, status, bound = parts
    if (kind is Expect.BUNDLE) != bool(bound):
        return None
    if kind is Expect.BUNDLE and session.statements.confirmed.get(entry.name) is not entry.prepared:
        return None
    if session.allowance is not None or session.stream.withholding or names.ddl_open:
        return None
    if names.path is _UNKNOWN_PATH or names.refresh_due or names.temporary.is_due:
        return None  # ReadyForQuery will ask the owner for something
    program: Any = None
    if description == _DESCRIBED:
        program = verdict.programs.get(data[start + 5 : described])
        if program is None:
            return None
    elif rows or (description and kind is Expect.QUERY) or verdict.plan is not None:
        return None
    notice = verdict.notice
    size = ended - described
    if rows and program is not KEEP:
        masked = mask_rows(data, described, ended, program)
        size = len(masked)
        body = data[:described] + masked + notice + data[ended:completed]
    elif notice:
        body = data[:ended] + notice + data[ended:completed]
    else:
        body = data[:completed]
    recorded = body
    if entry.hidden and described > start:
        body = data[:start] + body[described:]
        text = entry.prepared.script if entry.prepared is not None else b""
        if not session.is_new_description(text, data[start:described]):
            recorded = body
    entries.popleft()
    tag = data[ended + 5 : completed - 1].decode("ascii", "replace")
    session.recorder.answered(entry.number, recorded, tag, rows, monotonic() - entry.started)
    if rows and verdict.masked_columns:
        session.count_masked(verdict.masked_columns, rows)
    counters = session.counters
    counters.rows += rows
    counters.bytes += size
    if session.activity is not None:
        variant = entry.variant or hash(entry.sql)
        session.activity.completed(verdict, entry.number, rows, size, False, variant)
    session.transaction_status = _STATUS[status]
    if kind is Expect.BUNDLE:
        session.portals.confirm(b"", None)
    if not entries:
        on_settled(session)
    return body + data[completed:]


def expand_bundle(session: SessionState) -> None:
    """The oldest entry is a bundle whose answer did not come whole: one entry for each of its
    messages, for the general way.
    """
    bundle_ = session.pipeline.entries.popleft()
    prepared = bundle_.prepared
    verdict = bundle_.verdict
    if prepared is None or verdict is None:
        return
    portal = Portal(
        prepared, verdict, session.names.subject_judge, statement=bundle_.name, asked=True
    )
    entries = [Entry(Expect.BIND, 0, verdict, name=b"", prepared=prepared, portal=portal)]
    if not bundle_.hidden or verdict.plan is not None:
        entries.append(
            Entry(
                Expect.DESCRIBE_PORTAL,
                bundle_.number,
                verdict,
                portal=portal,
                hidden=bundle_.hidden,
            )
        )
    entries.append(
        Entry(
            Expect.EXECUTE,
            bundle_.number,
            verdict,
            None,
            None,
            bundle_.started,
            b"",
            prepared,
            portal,
        )
    )
    entries.append(Entry(Expect.SYNC))
    session.pipeline.entries.extendleft(reversed(entries))
