"""What the judge would say to a text, statement by statement: for ``policy explain``, the console
and REST.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from msgspec.structs import replace

from sallyport.core.errors import RefusedError, refuse
from sallyport.core.subject import Subject
from sallyport.judge import Judge, SubjectJudge, UntrustedRead, Verdict
from sallyport.policy.containment import COLUMN
from sallyport.policy.explain import Explanation, explain, returned

JUDGED_LATER = refuse(
    "SP1102",
    "what this statement means is known only when those before it have run",
    "It is judged then, by the catalog and the search_path that they leave, and so are those"
    " behind it.",
)


@contextmanager
def containing(judge: Judge, subject: Subject) -> Iterator[None]:
    """Inside, ``judge`` takes the subject for one that has read an untrusted column."""
    patterns = judge.policy.untrusted
    column = patterns[0].text if patterns else "a column"
    seconds = judge.policy.contain.seconds
    read = UntrustedRead(column, judge.target, "(explained)", 1, seconds, COLUMN)
    containment = judge.containments.note_read(subject, read)
    try:
        yield
    finally:
        if containment is not None:
            judge.containments.release(containment.id, "")


def explanations(judge: Judge, subject: Subject, sql: str) -> list[Explanation]:
    """One for each statement, up to the first that is refused: what follows would not be reached.

    By the judge itself, as for a simple query; nothing is run. Raises RefusedError when the text
    cannot be read at all.
    """
    subject_judge = judge.subject_judge(subject, judge.catalog.default_search_path)
    text = sql.encode()
    script = subject_judge.judge(text)
    if script.refusal is not None:
        raise RefusedError(script.refusal)
    if script.refused > script.moves_at >= 0:
        verdicts = [*script.statements[:-1], replace(script.statements[-1], refusal=JUDGED_LATER)]
        return [
            _explanation(subject_judge, verdict, verdict.sql, verdict.sent) for verdict in verdicts
        ]
    # the verdict may be of a template, and have parameters in the place of literals
    if script.count == 1:
        return [
            _explanation(subject_judge, verdict, text, script.sent(text))
            for verdict in script.statements
        ]
    return [
        _explanation(subject_judge, verdict, verdict.sql, verdict.sent)
        for verdict in script.statements
    ]


def _explanation(
    subject_judge: SubjectJudge, verdict: Verdict, sql: bytes, sent: bytes
) -> Explanation:
    """``sql``: the statement as the client wrote it. ``sent``: as the target would get it."""
    policy = subject_judge.subject_policy
    decision = verdict.decision or policy.decide(verdict.facts)
    plan = subject_judge.plan(returned(verdict.facts))
    specs = tuple(column.spec for column in plan.columns) if plan is not None else ()
    shown = sent.decode().strip() if verdict.cuts else ""
    return explain(
        policy, verdict.facts, decision, verdict.refusal, specs, sql.decode().strip(), shown
    )


def explanation_data(explanation: Explanation) -> dict[str, Any]:
    """An explanation as JSON values: for ``policy explain --json`` and REST.

    ``sent``: the text that the database gets, where masks are put into it; else "".
    """
    refusal = explanation.refusal
    return {
        "sql": explanation.sql,
        "sent": explanation.sent,
        "outcome": explanation.outcome.value,
        "rule": explanation.rule,
        "by_gateway": explanation.by_gateway,
        "refusal": (
            None
            if refusal is None
            else {
                "code": refusal.code.id,
                "sqlstate": refusal.sqlstate,
                "message": refusal.message,
                "detail": refusal.detail,
                "hint": refusal.hint,
                "position": refusal.position,
            }
        ),
        "needs": list(explanation.needs),
        "columns": [
            {
                "name": column.name,
                "sources": list(column.sources),
                "dependence": column.dependence,
                "mask": column.mask or None,
                "why": column.why,
            }
            for column in explanation.columns
        ],
        "rules": [
            {"rule": rule.rule, "effect": rule.effect, "matched": rule.matched, "why": rule.why}
            for rule in explanation.rules
        ],
        "policy_version": explanation.policy_version,
    }
