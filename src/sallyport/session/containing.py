"""Messages of several statements, one of which reads untrusted text: what stands behind it was
judged before that was read, so the message is judged again, for a subject that is contained.
"""

from __future__ import annotations

from sallyport.core.errors import Refusal
from sallyport.judge import ScriptVerdict, Verdict
from sallyport.policy.containment import COLUMN
from sallyport.session.effects import current_portal_verdict, current_verdict, key
from sallyport.session.state import SessionState
from sallyport.sql.facts import EffectKind

_RUNS_STATEMENT = frozenset({EffectKind.EXECUTE, EffectKind.EXPLAIN})


def contains_before(session: SessionState, script: ScriptVerdict) -> bool:
    """Whether the script has to be judged again: it reads untrusted text before its last statement,
    and the subject, which was not contained, is from now on.
    """
    if script.count < 2 or session.names.subject_judge.subject_policy.contained is not None:
        return False
    runs = script.statements if script.refused < 0 else script.statements[: script.refused]
    for index, verdict in enumerate(runs[: script.count - 1]):
        columns = _reads(session, verdict)
        if columns:
            session.contain(columns[0], COLUMN, session.number + 1 + index)
            return True
    return False


def _reads(session: SessionState, verdict: Verdict) -> tuple[str, ...]:
    """Untrusted columns that a statement reads, itself or by what it runs by name, as that is
    judged now.
    """
    if verdict.untrusted:
        return verdict.untrusted
    for effect in verdict.effects:
        current: Verdict | Refusal | None = None
        if effect.kind in _RUNS_STATEMENT:
            prepared = session.statements.lookup(key(effect.name))
            current = current_verdict(session, prepared) if prepared is not None else None
        elif effect.kind is EffectKind.FETCH:
            portal = session.portals.lookup(key(effect.name))
            current = current_portal_verdict(session, portal) if portal is not None else None
        if isinstance(current, Verdict) and current.untrusted:
            return current.untrusted
    return ()
