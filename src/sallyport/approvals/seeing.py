"""What people see of a held statement: its text and bind values under the masks of who looks.

What is masked for somebody stands in a request twice: as it was sent, and as anybody may see it
(:attr:`~sallyport.approvals.states.Binding.recorded`), which is made when it is held, by the
session's own names. Whoever may decide gets it under masks of their own: the text is judged again
as if they had sent it, which tells what a literal meets only under the policy and the catalog that
it was held under. Whatever is not certain is hidden.

The plan quotes literals, and so may errors: they go with the first value that is hidden. Counts,
locks and dependants do not quote any, and stay.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from sallyport.approvals.states import Binding, Recorded, Request
from sallyport.judge import ScriptVerdict, SubjectJudge, Verdict, blanked
from sallyport.judge.literals import HIDDEN_BIND
from sallyport.policy.model import FINGERPRINTS

#: Why somebody does not see all of it, and what to do.
NOT_DECIDING: Final = (
    "Values of masked columns are hidden. Who may decide about the statement sees them as their own"
    " masks allow."
)
MASKED: Final = (
    "Values of columns that are masked for you are hidden, and so is PostgreSQL's plan. If you have"
    " to know them, leave the decision to a reviewer whom the policy shows them."
)
NO_RULE: Final = (
    "The policy has no rule that lets you read this target, so values of masked columns are hidden,"
    " and so is PostgreSQL's plan. Ask for a rule that lets you read what you decide about."
)
MOVED: Final = (
    "Values of masked columns are hidden, and so is PostgreSQL's plan: the statement was held under"
    " another policy, catalog or database role, or its session has temporary objects or an"
    " uncommitted schema change. Ask the requester for them before you approve it."
)


def anybody_may_see(judge: SubjectJudge, verdict: Verdict, binding: Binding) -> Recorded | None:
    """None: all of it. ``judge``, ``verdict``: the session's, of the statement. Long texts that are
    not judged yet are not judged here: all of their values are hidden.
    """
    if judge.policy.record_statements == FINGERPRINTS:  # no value, whatever it meets
        anybody: SubjectJudge | None = judge
    else:
        anybody = judge.for_anybody
    if anybody is None:
        shown = _shown(judge, None, binding)
    elif anybody is judge:
        shown = _shown(judge, verdict, binding)
    else:
        script = anybody.judge_soon(_text(binding))
        if script is not None and binding.types:
            script = anybody.judge(_text(binding), binding.types)
        shown = _shown(anybody, _verdict(script), binding)
    return None if _is_as_sent(shown, binding) else shown


def not_deciding(request: Request) -> Request:
    """As those see it who could not decide about it now."""
    if request.binding.recorded is None:
        return request
    return replace(
        request, binding=request.binding.without_values, preview=None, hidden=NOT_DECIDING
    )


def under_own_masks(judge: SubjectJudge | None, request: Request) -> Request:
    """As a reviewer sees it who may decide. ``judge``: theirs now, with the request's search_path;
    None: there is none. A long text takes a while: not on the event loop.
    """
    binding = request.binding
    if binding.recorded is None:
        return request
    if judge is None or not _is_of_now(judge, binding):
        return _hiding(request, binding.recorded, MOVED)
    if not judge.subject_policy.may_connect:
        return _hiding(request, binding.recorded, NO_RULE)
    own = judge.for_people
    shown = _shown(own, _verdict(own.judge(_text(binding), binding.types)), binding)
    return request if _is_as_sent(shown, binding) else _hiding(request, shown, MASKED)


def _is_of_now(judge: SubjectJudge, binding: Binding) -> bool:
    now = (judge.policy_version, judge.epoch, judge.catalog.role)
    return now == (binding.policy_version, binding.epoch, binding.role)


def _hiding(request: Request, shown: Recorded, why: str) -> Request:
    preview = request.preview
    if preview is not None:
        problems = ("what could not be computed may quote values",) if preview.problems else ()
        preview = replace(preview, plan="", problems=problems)
    return replace(request, binding=request.binding.shown_as(shown), preview=preview, hidden=why)


def _text(binding: Binding) -> bytes:
    return binding.sql.encode("utf-8", "replace")


def _verdict(script: ScriptVerdict | None) -> Verdict | None:
    """Of the one statement of a text that was understood, allowed or not."""
    if script is None or script.count != 1 or len(script.statements) != 1:
        return None
    return script.statements[0]


def _shown(judge: SubjectJudge, verdict: Verdict | None, binding: Binding) -> Recorded:
    """A verdict without a decision is that of a fault, which says nothing of literals."""
    values = binding.binds
    if verdict is None or verdict.decision is None or verdict.facts.unknowns or verdict.runs_named:
        hidden = values and tuple([None if value is None else HIDDEN_BIND for value in values])
        return Recorded(blanked(_text(binding), judge.identifiers), hidden, ())
    if verdict.literals is None:
        return Recorded(binding.sql, values, binding.bind_formats)
    text = _text(binding)
    facts = verdict.facts
    start = facts.start if len(text) == facts.end - facts.start else 0
    shown, formats = values, binding.bind_formats
    if values and not verdict.literals.shows_binds:
        shown, formats = verdict.literals.bind(values, formats, binding.types)
    return Recorded(verdict.literals.text(text, start), shown, formats)


def _is_as_sent(shown: Recorded, binding: Binding) -> bool:
    return (shown.sql, shown.binds) == (binding.sql, binding.binds)
