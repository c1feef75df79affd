"""What statements do to the session: names that appear and vanish, search_path, the catalog.

``on_forwarded`` runs when a statement is forwarded, ``on_completed`` when the server said that it
succeeded; see :mod:`sallyport.session.statements` for why there are two.
"""

from __future__ import annotations

from functools import partial

from sallyport.core.errors import Refusal, refuse
from sallyport.judge import Verdict
from sallyport.policy.checks.needs import chain
from sallyport.policy.decision import Outcome
from sallyport.session import two_phase
from sallyport.session.holding import SEND_IT_ITSELF
from sallyport.session.server.entries import PendingEffect
from sallyport.session.state import SessionState
from sallyport.session.statements import TOO_MANY, Portal, Prepared, same
from sallyport.sql.facts import Effect, EffectKind
from sallyport.sql.utility.settings import orders_rows

#: PostgreSQL's NAMEDATALEN - 1: names of statements and portals are cut there, by bytes (hash
#: tables with fixed-size keys).
NAME_BYTES = 63

_RUNS_STATEMENT = frozenset({EffectKind.EXECUTE, EffectKind.EXPLAIN})
_RUNS_NAMED = _RUNS_STATEMENT | {EffectKind.FETCH}
_ENDS_TRANSACTION = frozenset({EffectKind.COMMIT, EffectKind.ROLLBACK, EffectKind.ROLLBACK_TO})

_BLOCK = frozenset({EffectKind.BEGIN, EffectKind.COMMIT, EffectKind.ROLLBACK})
_NOT_INSIDE = frozenset(
    {EffectKind.SAVEPOINT, EffectKind.RELEASE, EffectKind.ROLLBACK_TO, EffectKind.TWO_PHASE}
)

#: Whether a transaction block is open once they have worked.
_LEAVES_BLOCK = {
    EffectKind.BEGIN: True,
    EffectKind.COMMIT: False,
    EffectKind.ROLLBACK: False,
    EffectKind.ROLLBACK_TO: True,
}

ONLY_IN_BLOCK = refuse(
    "SP1107",
    "savepoints, AND CHAIN and two-phase commit can only be used in transaction blocks",
    "The pipeline has no BEGIN.",
    "Send BEGIN first.",
)
MOVED_MEANWHILE = refuse(
    "SP1107",
    "policy or catalog changed while this portal was being opened",
    "It was judged under rules that are no longer in force.",
    "Bind and execute it again.",
)

TWO_MEANINGS = refuse(
    "SP1107",
    "this name may mean two things",
    "A message in the same pipeline creates it again, and the server has not answered it yet.",
    "Wait for that answer (send Sync), then use the name.",
)

SENT_OTHERWISE = refuse(
    "SP1206",
    "cached plan must not change: the masks of this statement have changed since it was prepared",
    "The policy or the catalog changed which masks apply to it.",
    "Prepare it again.",
)

PATH_MOVED = refuse(
    "SP1302",
    "search_path changed while this cursor or portal was open",
    "It calls SQL functions, which resolve names when rows are fetched and would now use another "
    "search_path.",
    "Set search_path back, or open the cursor again.",
)


def key(name: str | bytes) -> bytes:
    """A statement or portal name as the server's hash tables see it."""
    return (name.encode() if isinstance(name, str) else name)[:NAME_BYTES]


def on_forwarded(
    session: SessionState, verdict: Verdict, pending: dict[int, PendingEffect], index: int
) -> Refusal | None:
    """Follow a statement that is about to be forwarded; a refusal when it refers to what is not
    known. ``pending``: gets what its answer must confirm, under ``index``.
    """
    session.names.on_forwarded(verdict)
    if verdict.changes_settings:
        _on_settings(session, verdict)
    if session.pipeline.is_ours:
        refusal = _inside_ours(session, verdict)
        if refusal is not None:
            return refusal
    for effect in verdict.effects:
        refusal = _on_transaction_effect(session, effect) or _unread_row(session, verdict, effect)
        if refusal is not None:
            return refusal
        if effect.kind is EffectKind.COPY_IN:
            session.pipeline.copies_ahead = True
            contained = session.names.subject_judge.subject_policy.contained
            session.pipeline.copies_contained = contained is not None
        expected = _expect(session, verdict, effect)
        if isinstance(expected, Refusal):
            return expected
        if expected is not None:
            pending[index] = expected
            rows = expected.rows
            if rows is not None and rows.changes_settings:
                _on_settings(session, rows)
            if effect.kind in _RUNS_NAMED and (rows is None or rows.runs_unknown_code):
                session.names.temporary.on_unknown_code()
    return None


def _on_settings(session: SessionState, verdict: Verdict) -> None:
    session.settings.on_forwarded(verdict)
    if session.names.subject_judge.has_masks:
        return  # who has masks may not change these, whose names are checked when they are bound
    names = [name for level in chain(verdict.facts) for name in level.set_names]
    if any(isinstance(name, int) or orders_rows(name) for name in names):
        session.pins.on_moved()


def _inside_ours(session: SessionState, verdict: Verdict) -> Refusal | None:
    """What a statement does to the block that the gateway opened in the middle of a pipeline, and
    of which the client does not know.
    """
    kinds = [effect.kind for effect in verdict.effects if effect.kind in _BLOCK]
    if len(kinds) > 1 or any(effect.kind in _NOT_INSIDE for effect in verdict.effects):
        return ONLY_IN_BLOCK
    if kinds:
        session.pipeline.is_adopted = kinds[0] is EffectKind.BEGIN
        session.pipeline.is_ended = not session.pipeline.is_adopted
        session.pipeline.is_ours = False
    return None


def _on_transaction_effect(session: SessionState, effect: Effect) -> Refusal | None:
    if effect.kind is EffectKind.TWO_PHASE:
        return two_phase.refusal_of(effect.name, session)
    if effect.kind is EffectKind.SAVEPOINT:
        session.pipeline.has_savepoint = True
    if effect.kind in _ENDS_TRANSACTION:
        session.names.on_end_forwarded()
        session.settings.on_transaction_end()
        session.portals.assume_kept(partial(_outlives, effect.kind), session.pipeline.step)
        if effect.kind is not EffectKind.ROLLBACK_TO:
            session.pipeline.has_savepoint = False
    return None


def _outlives(kind: EffectKind, portal: Portal) -> bool:
    """Whether a portal is certain to outlive the end of a transaction, or of a part of it: under
    the name of one that does not a function may open another.
    """
    if kind is EffectKind.ROLLBACK_TO:
        return portal.committed or not portal.in_savepoint
    return portal.committed if kind is EffectKind.ROLLBACK else portal.hold


def _keep_portals(session: SessionState, kind: EffectKind) -> None:
    """A statement that begins or ends a transaction, or a part of it, has worked."""
    if kind is EffectKind.COMMIT:
        on_ended(session)
    elif kind in _ENDS_TRANSACTION:
        session.portals.keep(partial(_outlives, kind))


def on_ended(session: SessionState) -> None:
    """A transaction has ended: what is left of portals are cursors that it held."""
    session.portals.keep(lambda portal: portal.hold)
    for portal in session.portals.confirmed.values():
        portal.committed = True


def on_failed(session: SessionState) -> None:
    """The server has sent an error: what the transaction was to hold it may not."""
    session.portals.keep(lambda portal: portal.committed or not portal.hold)


def _expect(
    session: SessionState, verdict: Verdict, effect: Effect
) -> PendingEffect | Refusal | None:
    """What one effect of a statement will be, as far as names go."""
    name = key(effect.name)
    kind = effect.kind
    step = session.pipeline.step
    statements, portals = session.statements, session.portals
    if kind is EffectKind.PREPARE:
        if statements.is_full(name):
            return TOO_MANY
        prepared = _prepared_inside(session, verdict)
        statements.assume(name, prepared, step)
        return PendingEffect(kind, name, prepared)
    if kind is EffectKind.DECLARE:
        if portals.is_full(name):
            return TOO_MANY
        portal = Portal(
            _prepared_inside(session, verdict),
            verdict.inner,
            session.names.subject_judge,
            hold=effect.hold,
            in_savepoint=session.pipeline.has_savepoint,
        )
        portals.assume(name, portal, step)
        return PendingEffect(kind, name, portal)
    if kind is EffectKind.EXECUTE:
        return _execute(session, name)
    if kind is EffectKind.EXPLAIN:
        return _explain(session, name, verdict)
    if kind is EffectKind.FETCH:
        return _fetch(session, name, verdict)
    if kind is EffectKind.DEALLOCATE:
        statements.assume(name, None, step) if name else statements.assume_all_closed(step)
    elif kind is EffectKind.CLOSE:
        portals.assume(name, None, step) if name else portals.assume_all_closed(step)
    elif kind is EffectKind.DISCARD and effect.name == "all":
        statements.assume_all_closed(step)
        portals.assume_all_closed(step)
    return None


def _prepared_inside(session: SessionState, verdict: Verdict) -> Prepared:
    """The statement that SQL's PREPARE or DECLARE stands around."""
    return Prepared(
        verdict.sql, verdict.inner, session.names.subject_judge, inner=True, sent=verdict.sent
    )


def is_ambiguous(session: SessionState, verdict: Verdict) -> bool:
    """Does the statement run something by a name of which it is not known yet what it means?"""
    return any(
        (
            effect.kind in _RUNS_STATEMENT
            and session.statements.is_ambiguous(key(effect.name), session.pipeline.step)
        )
        or (
            effect.kind in (EffectKind.FETCH, EffectKind.CURRENT_OF)
            and session.portals.is_ambiguous(key(effect.name), session.pipeline.step)
        )
        for effect in verdict.effects
    )


def _execute(session: SessionState, name: bytes) -> PendingEffect | Refusal:
    prepared = session.statements.lookup(name)
    if prepared is None:
        return unknown_statement(name)
    if session.statements.is_ambiguous(name, session.pipeline.step):
        return TWO_MEANINGS
    verdict = current_verdict(session, prepared)
    if isinstance(verdict, Refusal):
        return verdict
    if verdict is not None and verdict.refusal is not None:
        # Parse lets a held statement through, since its Execute waits; SQL's EXECUTE must not run
        # it
        return SEND_IT_ITSELF
    if verdict is not None:
        for effect in verdict.facts.effects:
            if (refusal := _unread_row(session, verdict, effect)) is not None:
                return refusal
    return PendingEffect(EffectKind.EXECUTE, name, prepared, verdict)


def _explain(session: SessionState, name: bytes, verdict: Verdict) -> PendingEffect | Refusal:
    """EXPLAIN EXECUTE: what EXECUTE may do, and what EXPLAIN of that statement would be allowed to
    show.
    """
    executed = _execute(session, name)
    if isinstance(executed, Refusal) or not isinstance(executed.value, Prepared):
        return executed if isinstance(executed, Refusal) else SEND_IT_ITSELF
    prepared = executed.value
    rewritten = prepared.sent != prepared.script
    judged = session.names.subject_judge.explained(
        verdict.sql, prepared.script, prepared.declared, rewritten
    )
    if isinstance(judged, Refusal):
        return judged
    if judged.refusal is not None:
        return SEND_IT_ITSELF if judged.outcome is Outcome.HOLD else judged.refusal
    return PendingEffect(EffectKind.EXPLAIN, name, prepared, judged)


def _fetch(session: SessionState, name: bytes, fetch: Verdict) -> PendingEffect | Refusal:
    portal = session.portals.lookup(name)
    if portal is None:
        rows = unread_cursor(session, fetch)
        if rows is None:
            return _unread_cursor_refusal(session, name)
        return PendingEffect(EffectKind.FETCH, name, None, rows)
    if session.portals.is_ambiguous(name, session.pipeline.step):
        return TWO_MEANINGS
    current = current_portal_verdict(session, portal)
    if isinstance(current, Refusal):
        return current
    if current is not None and current.refusal is not None:
        # likewise Bind: FETCH runs a bound portal, DELETE ... RETURNING included
        return SEND_IT_ITSELF
    return PendingEffect(EffectKind.FETCH, name, portal, current)


def _unread_row(session: SessionState, verdict: Verdict, effect: Effect) -> Refusal | None:
    """WHERE CURRENT OF may write the row of a cursor of which FETCH may give rows: which one it is
    tells of them.
    """
    if effect.kind is not EffectKind.CURRENT_OF:
        return None
    row = _fetch(session, key(effect.name), verdict)
    return row if isinstance(row, Refusal) else None


def unread_cursor(session: SessionState, verdict: Verdict) -> Verdict | None:
    """The verdict that rows of a cursor follow that no statement of the session has opened, but a
    function may have (PL/pgSQL's OPEN). ``verdict``: of the FETCH. None: this subject may not read
    such rows.
    """
    if session.names.generation != session.names.judge.generation:
        session.rebind()
    return session.names.subject_judge.unread_cursor(verdict)


def current_verdict(session: SessionState, prepared: Prepared) -> Verdict | Refusal | None:
    """The verdict of a prepared statement as of now: judged again when policy, catalog or
    search_path moved.
    """
    if session.names.generation != session.names.judge.generation:
        session.rebind()
    if prepared.subject_judge is session.names.subject_judge:
        return prepared.verdict
    script = session.names.subject_judge.judge(prepared.script, prepared.declared)
    if script.refusal is not None:
        return script.refusal
    if not script.statements:
        return None
    verdict = script.statements[0]
    if verdict.refusal is not None and not (verdict.held and session.can_hold):
        return verdict.refusal
    if script.sent(prepared.script) != prepared.sent:
        return SENT_OTHERWISE  # what the server holds has the masks of another policy or catalog
    if prepared.inner:
        return verdict.inner
    return session.names.subject_judge.check_declared_types(verdict, prepared.declared) or verdict


def current_portal_verdict(session: SessionState, portal: Portal) -> Verdict | Refusal | None:
    """As :func:`current_verdict`, for a query that the server has open already: its text may mean
    other columns by now, its rows do not.
    """
    current = current_verdict(session, portal.prepared)
    if isinstance(current, Refusal) or current is portal.verdict:
        return current
    if (
        current is None
        or portal.verdict is None
        or current.facts.columns != portal.verdict.facts.columns
    ):
        return MOVED_MEANWHILE
    late = (
        current.facts.resolves_names_at_run_time or portal.verdict.facts.resolves_names_at_run_time
    )
    if (
        late
        and portal.subject_judge.context.search_path
        != session.names.subject_judge.context.search_path
    ):
        # its tables are those of the old path, what its functions still read those of the new one
        return PATH_MOVED
    return current


def on_completed(session: SessionState, verdict: Verdict, pending: PendingEffect | None) -> None:
    """The server completed the statement."""
    if pending is not None:
        if pending.kind is EffectKind.PREPARE and isinstance(pending.value, Prepared):
            session.statements.confirm(pending.name, pending.value)
        elif pending.kind is EffectKind.DECLARE and isinstance(pending.value, Portal):
            session.portals.confirm(pending.name, pending.value)
    for effect in verdict.effects:
        name = key(effect.name)
        if effect.kind in _LEAVES_BLOCK:
            _keep_portals(session, effect.kind)
            session.pipeline.has_block = _LEAVES_BLOCK[effect.kind]
            session.pipeline.is_adopted = False
        elif effect.kind is EffectKind.DEALLOCATE:
            session.statements.confirm(name, None) if name else session.statements.clear()
        elif effect.kind is EffectKind.CLOSE:
            session.portals.confirm(name, None) if name else session.portals.clear()
        elif effect.kind is EffectKind.DISCARD and effect.name == "all":
            session.statements.clear()
            session.portals.clear()


def still_true(session: SessionState, pending: PendingEffect) -> bool:
    """Is what was expected still what the server has, now that every earlier answer is in?"""
    if pending.kind in (EffectKind.EXECUTE, EffectKind.EXPLAIN):
        return same(session.statements.confirmed.get(pending.name), pending.value)
    if pending.kind is EffectKind.FETCH:
        return same(session.portals.confirmed.get(pending.name), pending.value)
    return True


def unknown_statement(name: bytes) -> Refusal:
    """The refusal for a name that no statement was prepared under."""
    shown = name.decode("utf-8", "replace")
    return refuse(
        "SP1304",
        f'prepared statement "{shown}" does not exist',
        "It was not prepared in this session, or it was closed or refused.",
        "Prepare it first.",
    )


def unknown_portal(name: bytes) -> Refusal:
    """The refusal for a name that no portal or cursor has."""
    shown = name.decode("utf-8", "replace")
    return refuse(
        "SP1303",
        f'cursor or portal "{shown}" does not exist',
        "It was not opened in this session, or its transaction has ended.",
        "Open it first, inside the same transaction.",
    )


def _unread_cursor_refusal(session: SessionState, name: bytes) -> Refusal:
    shown = name.decode("utf-8", "replace")
    obstacle = session.names.subject_judge.subject_policy.code_obstacle
    return refuse(
        "SP1303",
        f'cursor "{shown}" was not opened by a statement of this session',
        "It does not exist, its transaction has ended, or a function has opened it: the gateway"
        f" does not read what such a cursor returns, and {obstacle}.",
        "Open it with DECLARE, inside the same transaction, or call a function that returns rows.",
    )
