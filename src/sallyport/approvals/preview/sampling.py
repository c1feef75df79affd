"""Some of the rows that a held statement would change, as one reviewer may see them. Measured when
somebody looks; nothing of it is kept.

The rows are what a SELECT gives that is made of the text as the target would get it. The judge
decides about that SELECT as if the reviewer had sent it themselves, on this target, under the
policy of now: what it does not allow is not shown, and what it masks is masked by the same plan and
the same second lock as in a session. Where its conditions read columns that are masked for the
reviewer, they would choose other rows than the statement does; then none are shown. It runs as
every preview does: in a read-only transaction, with short timeouts, under the session's settings.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from sallyport.approvals.preview.counting import sample_of
from sallyport.approvals.preview.measure import Query, Question, bind, explain
from sallyport.approvals.states import Request, Status, plain
from sallyport.core.errors import SallyportError
from sallyport.judge import SubjectJudge, Verdict
from sallyport.policy.actions import canonical
from sallyport.policy.decision import Filter
from sallyport.session.server.programs import KEEP, compile_result
from sallyport.wire import backend
from sallyport.wire.fields import read_values
from sallyport.wire.frames import mask_rows

#: Rows, and characters of a value.
ROWS: Final = 10
_CHARACTERS: Final = 200
_SAMPLED: Final = frozenset({"update", "delete", "merge"})

#: One simple-query message in; the body of the RowDescription and the DataRow messages of its last
#: result out. Raises SallyportError.
Fetch = Callable[[str], Awaitable[tuple[bytes, bytes]]]


@dataclass(frozen=True, slots=True)
class Sample:
    """Values as text, None for NULL. ``masked``: the columns that policy masks for this reviewer.
    ``problem``: why there are no rows.
    """

    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str | None, ...], ...] = ()
    masked: tuple[str, ...] = ()
    problem: str = ""


async def sample(
    query: Query, fetch: Fetch, subject_judge: SubjectJudge, request: Request
) -> Sample:
    """``subject_judge``: the judge as the reviewer meets it, with the request's search_path."""
    binding = request.binding
    if canonical(request.kind) not in _SAMPLED:
        return Sample(problem="it changes no rows that are there already")
    if request.status is not Status.PENDING:
        return Sample(problem="it is not pending any more")
    # a long text is parsed and judged: not while everybody waits
    sampled = await asyncio.to_thread(
        sample_of, binding.executed_sql, min(ROWS, subject_judge.bounds.rows or ROWS)
    )
    if not sampled.sql:
        return Sample(problem=sampled.why)
    script = await asyncio.to_thread(subject_judge.judge, sampled.sql.encode())
    verdict = script.statements[0] if len(script.statements) == 1 else None
    refusal = verdict.refusal if verdict is not None else script.refusal
    if verdict is None or not verdict.plain or refusal is not None:
        why = f": {plain(refusal.message)}" if refusal is not None else ""
        return Sample(problem=f"the policy does not allow you to see these rows{why}")
    if columns := _choosing_masked(subject_judge, verdict):
        return Sample(
            problem=f"which rows they are depends on what is masked for you: {', '.join(columns)}"
        )
    masked = binding.masks_applied or script.rewritten is not None
    question = Question(
        query, binding.executed_sql, binding.search_path, binding.settings, masked=masked
    )
    try:
        if not await bind(question, binding.binds, binding.bind_formats, binding.types):
            return Sample(problem="; ".join(question.problems))
        sent = script.sent(sampled.sql.encode()).decode()
        description, data = await fetch(question.message(*question.with_values(sent)))
        return _masked(subject_judge, verdict, description, data)
    except (SallyportError, OSError) as error:
        return Sample(problem=explain(error, ran=True))
    finally:
        await question.let_go()


def _choosing_masked(subject_judge: SubjectJudge, verdict: Verdict) -> list[str]:
    """Columns that the sample's conditions read, and of which the reviewer sees the mask:
    schema.relation.column.
    """
    masks = subject_judge.subject_policy.masks
    read = {column for column, _ in verdict.facts.mentioned} | verdict.facts.mentioned_in_views
    hidden = (
        column for column in read if column in masks and masks[column].filter is not Filter.ALLOW
    )
    return sorted(subject_judge.catalog.column_name(column) for column in hidden)


def _masked(
    subject_judge: SubjectJudge, verdict: Verdict, description: bytes, data: bytes
) -> Sample:
    program = compile_result(subject_judge, verdict, description)
    if program is None or verdict.plan is None:
        return Sample(problem="the rows are not the ones that were judged")
    shown = data if program is KEEP else mask_rows(data, 0, len(data), program)
    names = tuple(field.name for field in backend.parse_row_description(description))
    masks = subject_judge.subject_policy.masks
    columns = zip(names, verdict.facts.columns or (), strict=True)
    masked = tuple(name for name, column in columns if not column.sources.isdisjoint(masks))
    return Sample(names, tuple(_rows(shown)), masked)


def _rows(data: bytes) -> list[tuple[str | None, ...]]:
    """The values of DataRow messages (protocol section 54.7), as text."""
    rows, at = [], 0
    while at < len(data):
        values, at = read_values(data, at + 5, "DataRow")
        rows.append(tuple([None if value is None else _shown(value) for value in values]))
    return rows


def _shown(value: bytes) -> str:
    text = value.decode("utf-8", "replace")
    return text if len(text) <= _CHARACTERS else f"{text[:_CHARACTERS]}..."
