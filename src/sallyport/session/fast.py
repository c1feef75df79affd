"""The short way for what most traffic is: one plain statement asked and answered whole.

A simple Query, or Bind/Execute/Sync of the unnamed portal, that arrives as one buffer while nothing is out of the ordinary is one
entry; an answer that arrives as one buffer is handled in one step. Both recognise their case exactly and otherwise leave everything untouched for
the general way (:mod:`sallyport.session.machine`, :mod:`sallyport.session.replies`), which gives the same bytes.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any

from sallyport.session.entries import Entry
from sallyport.session.programs import KEEP
from sallyport.session.statements import Portal
from sallyport.session.states import Expect
from sallyport.sql.template import MAX_BYTES
from sallyport.wire.frames import mask_rows
from sallyport.wire.scan import answer, bundle, literals

if TYPE_CHECKING:
    from sallyport.session.machine import Session

_BIND = 0x42
_DESCRIBED = 0x54
_DESCRIBE_PORTAL = b"D\0\0\0\x06P\0"
_STATUS = {ord("I"): b"I", ord("T"): b"T", ord("E"): b"E"}


def query(session: Session, data: bytes) -> bytes | None:
    """What to send for a Query of one plain statement that was judged before; None when this is something else."""
    if data[-1] or len(data) != 1 + int.from_bytes(data[1:5], "big"):
        return None
    if session.special or session.unsynced or session.generation != session.judge.generation:
        return None
    sql = data[5:-1]
    view = session.view
    script = view.cache.get(sql)
    if script is None:
        script = view.templates.get(literals(sql, MAX_BYTES))
    if script is None or not script.plain:
        return None
    try:
        text = sql.decode()
    except UnicodeDecodeError:
        return None
    verdict = script.statements[0]
    session.running = text
    number = session.number = session.number + 1
    session.counters.statements += 1
    session.recorder.statement(
        number,
        text,
        outcome="allow",
        rule=verdict.rule,
        policy_version=view.policy_version,
        epoch=view.epoch,
        relations=verdict.relations,
        masked=verdict.masked_columns,
    )
    session.entries.append(Entry(Expect.QUERY, number, verdict, script, None, monotonic()))
    session.step += 1
    return data


def ask(session: Session, data: bytes) -> bytes | None:
    """What to send for a Bind/[Describe]/Execute/Sync of a known statement; None when this is something else."""
    found = bundle(data)
    if found is None or session.special or session.generation != session.judge.generation:
        return None
    name, params, formats, bound, described = found
    prepared = session.statements.lookup(name)
    if prepared is None or prepared.inner or prepared.view is not session.view or session.unsynced:
        return None
    verdict = prepared.verdict
    if verdict is None or not verdict.plain or len(name) > 63:
        return None
    if session.statements.doubtful(name, session.step):
        return None
    number = session.number = session.number + 1
    session.counters.statements += 1
    session.running = prepared.text
    view = session.view
    session.recorder.statement(
        number,
        prepared.text,
        outcome="allow",
        rule=verdict.rule,
        policy_version=view.policy_version,
        epoch=view.epoch,
        protocol="extended",
        binds=params,
        bind_formats=formats,
        relations=verdict.relations,
        masked=verdict.masked_columns,
        bind_types=prepared.types,
    )
    entry = Entry(Expect.BUNDLE, number, verdict, None, None, monotonic(), name, prepared)
    entry.hidden = not described
    session.entries.append(entry)
    # The unnamed portal ends with this bundle: whoever wants to run it again has to bind it again.
    session.portals.assume(b"", None, session.step)
    session.step += 1
    if described or verdict.plan is None:
        return data
    return data[:bound] + _DESCRIBE_PORTAL + data[bound:]


def reply(session: Session, data: bytes) -> bytes | None:
    """What the client gets for a whole answer to the oldest entry; None when it is anything else."""
    entry = session.entries[0]
    kind = entry.kind
    if kind is Expect.QUERY:
        script = entry.script
        if script is None or not script.plain or entry.index or entry.refusal is not None:
            return None
    elif kind is not Expect.BUNDLE:
        return None
    verdict = entry.verdict
    found = answer(data)
    if found is None or verdict is None:
        return None
    start, described, description, ended, rows, completed, status, bound = found
    if (kind is Expect.BUNDLE) != bool(bound):
        return None
    if kind is Expect.BUNDLE and session.statements.confirmed.get(entry.name) is not entry.prepared:
        return None
    if session.allowance is not None or session.withholding or session.ddl_open or session.path_dirty:
        return None
    program: Any = None
    if description == _DESCRIBED:
        program = verdict.programs.get(data[start + 5 : described])
        if program is None:
            return None
    elif rows or (description and kind is Expect.QUERY) or verdict.plan is not None:
        return None
    if rows and program is not KEEP:
        body = data[:described] + mask_rows(data, described, ended, program) + data[ended:completed]
    else:
        body = data[:completed]
    if entry.hidden and described > start:
        body = data[:start] + body[described:]
    session.entries.popleft()
    tag = data[ended + 5 : completed - 1].decode("ascii", "replace")
    session.recorder.answered(entry.number, body, tag, rows, monotonic() - entry.started)
    if rows and verdict.masked_columns:
        session.count_masked(verdict.masked_columns, rows)
    counters = session.counters
    counters.rows += rows
    counters.bytes += ended - described
    session.transaction_status = _STATUS[status]
    if kind is Expect.BUNDLE:
        session.portals.confirm(b"", None)
    if not session.entries:
        session.settled()
    return body + data[completed:]


def expand(session: Session) -> None:
    """The oldest entry is a bundle whose answer did not come whole: one entry for each of its messages, for the general way."""
    bundle_ = session.entries.popleft()
    prepared = bundle_.prepared
    verdict = bundle_.verdict
    if prepared is None or verdict is None:
        return
    portal = Portal(prepared, verdict, session.view, statement=bundle_.name, asked=True)
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
        Entry(Expect.EXECUTE, bundle_.number, verdict, None, None, bundle_.started, b"", prepared, portal)
    )
    entries.append(Entry(Expect.SYNC))
    session.entries.extendleft(reversed(entries))
