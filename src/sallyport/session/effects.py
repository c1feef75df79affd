"""What statements do to the session: names that appear and vanish, search_path, the catalog.

``assume`` runs when a statement is forwarded, ``apply`` when the server said that it succeeded; see
:mod:`sallyport.session.statements` for why there are two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sallyport.core.errors import Refusal, refuse
from sallyport.judge import Verdict
from sallyport.policy.decision import Outcome
from sallyport.session.holding import SEND_IT_ITSELF
from sallyport.session.statements import Portal, Prepared, same
from sallyport.sql.facts import Effect, EffectKind
from sallyport.sql.lineage import UNKNOWN_TYPE

if TYPE_CHECKING:
    from sallyport.session.machine import Session

#: PostgreSQL's NAMEDATALEN - 1: names of statements and portals are cut there, by bytes (hash tables with fixed-size keys).
NAME_BYTES = 63

_RUNS_STATEMENT = frozenset({EffectKind.EXECUTE, EffectKind.EXPLAIN})
_ENDS_TRANSACTION = frozenset({EffectKind.COMMIT, EffectKind.ROLLBACK, EffectKind.ROLLBACK_TO})

MUST_BE_ALONE = refuse(
    "SP1107",
    "this statement must be sent on its own here",
    "Statements before it in the same message changed what it would mean.",
    "Send the statements one by one.",
)

MOVED_MEANWHILE = refuse(
    "SP1107",
    "policy or catalog changed while this portal was being opened",
    "It was judged under rules that no longer hold.",
    "Bind and execute it again.",
)

TWO_MEANINGS = refuse(
    "SP1107",
    "this name may mean two things",
    "It was made anew in the same pipeline, by a message that is not answered yet; if that fails, the name means what it meant before.",
    "Wait for the answer, then use the name.",
)

PATH_MOVED = refuse(
    "SP1302",
    "search_path changed while this cursor or portal was open",
    "Functions in SQL that it calls look their names up when rows are fetched, so they would mean something else now.",
    "Set search_path back, or open it again.",
)


@dataclass(slots=True, eq=False)
class Assumed:
    """What a statement was taken to create, run or read when it was forwarded. ``rows``: the verdict its rows follow."""

    kind: EffectKind
    name: bytes
    value: Prepared | Portal | None
    rows: Verdict | None = None


def key(name: str | bytes) -> bytes:
    """A statement or portal name as the server's hash tables see it."""
    return (name.encode() if isinstance(name, str) else name)[:NAME_BYTES]


def assume(
    session: Session, verdict: Verdict, script: bytes, assumed: dict[int, Assumed], index: int
) -> Refusal | None:
    """Follow a statement that is about to be forwarded; a refusal when it refers to what is not known."""
    if verdict.changes_search_path:
        session.path_dirty = session.path_touched = True
    if verdict.changes_settings:
        session.meaning.forwarded(verdict)
    if verdict.is_ddl:
        session.ddl_open = session.catalog_stale = True
    for effect in verdict.effects:
        if effect.kind in _ENDS_TRANSACTION:
            session.catalog_stale = session.catalog_stale or session.ddl_open
            session.path_dirty = session.path_dirty or session.path_touched
            session.meaning.may_revert()
        if effect.kind is EffectKind.COPY_IN:
            session.copies_ahead = True
        found = _assume_one(session, verdict, effect)
        if isinstance(found, Refusal):
            return found
        if found is not None:
            assumed[index] = found
            if found.rows is not None and found.rows.changes_settings:
                session.meaning.forwarded(found.rows)
    return None


def _assume_one(session: Session, verdict: Verdict, effect: Effect) -> Assumed | Refusal | None:
    name = key(effect.name)
    kind = effect.kind
    if kind is EffectKind.PREPARE:
        prepared = Prepared(verdict.sql, verdict.inner, session.view, inner=True)
        session.statements.assume(name, prepared, session.step)
        return Assumed(kind, name, prepared)
    if kind is EffectKind.DECLARE:
        portal = Portal(
            Prepared(verdict.sql, verdict.inner, session.view, inner=True), verdict.inner, session.view, True
        )
        session.portals.assume(name, portal, session.step)
        return Assumed(kind, name, portal)
    if kind is EffectKind.EXECUTE:
        return _execute(session, name)
    if kind is EffectKind.EXPLAIN:
        return _explain(session, name, verdict)
    if kind is EffectKind.FETCH:
        return _fetch(session, name)
    if kind is EffectKind.DEALLOCATE:
        session.statements.assume(name, None, session.step) if name else session.statements.assume_all_closed(
            session.step
        )
    elif kind is EffectKind.CLOSE:
        session.portals.assume(name, None, session.step) if name else session.portals.assume_all_closed(
            session.step
        )
    elif kind is EffectKind.DISCARD and effect.name == "all":
        session.statements.assume_all_closed(session.step)
        session.portals.assume_all_closed(session.step)
    return None


def doubtful(session: Session, verdict: Verdict) -> bool:
    """Does the statement run something by a name of which it is not known yet what it means?"""
    return any(
        (effect.kind in _RUNS_STATEMENT and session.statements.doubtful(key(effect.name), session.step))
        or (effect.kind is EffectKind.FETCH and session.portals.doubtful(key(effect.name), session.step))
        for effect in verdict.effects
    )


def _execute(session: Session, name: bytes) -> Assumed | Refusal:
    prepared = session.statements.lookup(name)
    if prepared is None:
        return unknown_statement(name)
    if session.statements.doubtful(name, session.step):
        return TWO_MEANINGS
    verdict = current_verdict(session, prepared)
    if isinstance(verdict, Refusal):
        return verdict
    if verdict is not None and verdict.refusal is not None:
        return SEND_IT_ITSELF  # Parse lets a held statement through, since its Execute waits; SQL's EXECUTE must not run it
    return Assumed(EffectKind.EXECUTE, name, prepared, verdict)


def _explain(session: Session, name: bytes, verdict: Verdict) -> Assumed | Refusal:
    """EXPLAIN EXECUTE: what EXECUTE may do, and what EXPLAIN of that statement would be allowed to show."""
    executed = _execute(session, name)
    if isinstance(executed, Refusal) or not isinstance(executed.value, Prepared):
        return executed if isinstance(executed, Refusal) else SEND_IT_ITSELF
    prepared = executed.value
    judged = session.view.explained(verdict.sql, prepared.script, prepared.void)
    if isinstance(judged, Refusal):
        return judged
    if judged.refusal is not None:
        return SEND_IT_ITSELF if judged.outcome is Outcome.HOLD else judged.refusal
    return Assumed(EffectKind.EXPLAIN, name, prepared, judged)


def _fetch(session: Session, name: bytes) -> Assumed | Refusal:
    portal = session.portals.lookup(name)
    if portal is None:
        return unknown_portal(name)
    if session.portals.doubtful(name, session.step):
        return TWO_MEANINGS
    verdict = current_portal_verdict(session, portal)
    if isinstance(verdict, Refusal):
        return verdict
    if verdict is not None and verdict.refusal is not None:
        return SEND_IT_ITSELF  # likewise Bind: FETCH runs a bound portal, DELETE ... RETURNING included
    return Assumed(EffectKind.FETCH, name, portal, verdict)


def converting_type(verdict: Verdict, types: Sequence[int]) -> Refusal | None:
    """A parameter declared as a type (pg_type OIDs, as in Parse) to which the masked column beside it would be converted, and maybe fail."""
    for one in verdict.typed_parameters:
        declared = types[one.number - 1] if one.number <= len(types) else 0
        if declared not in (0, UNKNOWN_TYPE) and declared not in one.types:
            return refuse(
                "SP1204",
                f"the type of parameter ${one.number} would convert the masked column it is compared with",
                "The conversion could fail, and tell what the column holds.",
                f"Do not declare a type for ${one.number}, or declare the column's.",
            )
    return None


def converted_type(verdict: Verdict, types: Sequence[int]) -> Refusal | None:
    """A parameter declared as a type that a cast of users' making would convert."""
    for number, declared in enumerate(types, 1):
        if (number, declared) in verdict.facts.cast_parameters:
            return refuse(
                "SP1103",
                f"the type of parameter ${number} would run a cast that is not known to be safe",
                "PostgreSQL would convert the parameter by a function that the policy does not list.",
                f"Do not declare a type for ${number}.",
            )
    return None


def current_verdict(session: Session, prepared: Prepared) -> Verdict | Refusal | None:
    """The verdict of a prepared statement as of now: judged again when policy, catalog or search_path moved."""
    if session.generation != session.judge.generation:
        session.bind_view()
    if prepared.view is session.view:
        return prepared.verdict
    script = session.view.judge(prepared.script, prepared.void)
    if script.refusal is not None:
        return script.refusal
    if not script.statements:
        return None
    verdict = script.statements[0]
    if verdict.refusal is not None and not (verdict.held and session.can_hold):
        return verdict.refusal
    converting = converting_type(verdict, prepared.types)
    if converting is not None:
        return converting
    if prepared.inner:
        return verdict.inner
    return verdict


def current_portal_verdict(session: Session, portal: Portal) -> Verdict | Refusal | None:
    """As :func:`current_verdict`, for a query that the server has open already: its text may mean other columns by now, its rows do not."""
    current = current_verdict(session, portal.prepared)
    if isinstance(current, Refusal) or current is portal.verdict:
        return current
    if current is None or portal.verdict is None or current.facts.columns != portal.verdict.facts.columns:
        return MOVED_MEANWHILE
    late = current.facts.late_names or portal.verdict.facts.late_names
    if late and portal.view.context.search_path != session.view.context.search_path:
        return PATH_MOVED  # its tables are those of the old path, what its functions still read those of the new one
    return current


def apply(session: Session, verdict: Verdict, assumed: Assumed | None) -> None:
    """The server completed the statement."""
    if assumed is not None:
        if assumed.kind is EffectKind.PREPARE and isinstance(assumed.value, Prepared):
            session.statements.confirm(assumed.name, assumed.value)
        elif assumed.kind is EffectKind.DECLARE and isinstance(assumed.value, Portal):
            session.portals.confirm(assumed.name, assumed.value)
    for effect in verdict.effects:
        name = key(effect.name)
        if effect.kind is EffectKind.DEALLOCATE:
            session.statements.confirm(name, None) if name else session.statements.clear()
        elif effect.kind is EffectKind.CLOSE:
            session.portals.confirm(name, None) if name else session.portals.clear()
        elif effect.kind is EffectKind.DISCARD and effect.name == "all":
            session.statements.clear()
            session.portals.clear()


def holds(session: Session, assumed: Assumed) -> bool:
    """Is what was assumed still what the server has, now that every earlier answer is in?"""
    if assumed.kind in (EffectKind.EXECUTE, EffectKind.EXPLAIN):
        return same(session.statements.confirmed.get(assumed.name), assumed.value)
    if assumed.kind is EffectKind.FETCH:
        return same(session.portals.confirmed.get(assumed.name), assumed.value)
    return True


def unknown_statement(name: bytes) -> Refusal:
    shown = name.decode("utf-8", "replace")
    return refuse(
        "SP1304",
        f'prepared statement "{shown}" does not exist',
        "It was not prepared through this session, or it was closed or refused.",
        "Prepare it first.",
    )


def unknown_portal(name: bytes) -> Refusal:
    shown = name.decode("utf-8", "replace")
    return refuse(
        "SP1303",
        f'cursor or portal "{shown}" does not exist',
        "It was not opened through this session, or its transaction has ended.",
        "Open it first, inside the same transaction.",
    )
