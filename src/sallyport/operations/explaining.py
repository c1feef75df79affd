"""What the judge would say to a text, statement by statement: for ``policy explain``, the console and REST."""

from __future__ import annotations

from sallyport.core.errors import RefusedError
from sallyport.core.subject import Subject
from sallyport.judge import Judge, Verdict, View
from sallyport.policy.explain import Explanation, explain, returned


def explanations(judge: Judge, subject: Subject, sql: str) -> list[Explanation]:
    """One for each statement, up to the first that is refused: what follows would not be reached.

    By the judge itself, as for a simple query; nothing is run. Raises RefusedError when the text cannot be read at all.
    """
    view = judge.view(subject, judge.catalog.default_search_path)
    script = view.judge(sql.encode())
    if script.refusal is not None:
        raise RefusedError(script.refusal)
    return [_explanation(view, verdict) for verdict in script.statements]


def _explanation(view: View, verdict: Verdict) -> Explanation:
    policy = view.subject_policy
    decision = verdict.decision or policy.decide(verdict.facts)
    plan = view.plan(returned(verdict.facts))
    specs = tuple(column.spec for column in plan.columns) if plan is not None else ()
    sql = verdict.sql.decode().strip()
    return explain(policy, verdict.facts, decision, verdict.refusal, specs, sql)
