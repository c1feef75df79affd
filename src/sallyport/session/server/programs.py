"""From a verdict and the server's own description of a result to the program that masks its rows.

Compiled programs are kept with the verdict, by the exact RowDescription: a statement that is run
again costs one look-up.
"""

from __future__ import annotations

from typing import Any, Final

import structlog

from sallyport.core.errors import RefusedError
from sallyport.judge import SubjectJudge, Verdict
from sallyport.masking.copy import compile_copy
from sallyport.masking.plan import Mismatch, compile_rows
from sallyport.wire import backend

log = structlog.get_logger("sallyport.session")


class _Keep:
    """Rows pass as they are: nothing in them is masked, and their description was compared with the
    plan.
    """

    def __repr__(self) -> str:
        return "KEEP"


KEEP: Final = _Keep()

_MAX_PROGRAMS = 64


def compile_result(subject_judge: SubjectJudge, verdict: Verdict | None, body: bytes) -> Any:
    """The program for rows described by this RowDescription body, KEEP, or None when they do not
    fit the plan.
    """
    if verdict is None or verdict.plan is None:
        return None
    program_known = verdict.programs.get(body)
    if program_known is not None:
        return program_known
    compiled = compile_rows(
        verdict.plan,
        backend.parse_row_description(body),
        subject_judge.catalog.types,
        subject_judge.keys,
    )
    if isinstance(compiled, Mismatch):
        log.warning(
            "result withheld",
            column=compiled.column,
            judged=compiled.expected,
            described=compiled.described,
        )
        return None
    program = KEEP if compiled.keep_all else compiled
    if len(verdict.programs) >= _MAX_PROGRAMS:
        verdict.programs.clear()
    verdict.programs[body] = program
    return program


def compile_copy_out(subject_judge: SubjectJudge, verdict: Verdict | None, body: bytes) -> Any:
    """The masker of one COPY TO STDOUT, KEEP, or None when the CopyOutResponse does not fit the
    plan.
    """
    if verdict is None or verdict.plan is None or verdict.facts.copy_format is None:
        return None
    oids = []
    for column in verdict.plan.columns:
        column_entry = (
            subject_judge.catalog.column(column.origin) if column.origin is not None else None
        )
        oids.append(column_entry.type_oid if column_entry is not None else 0)
    try:
        masker = compile_copy(
            verdict.plan,
            oids,
            verdict.facts.copy_format,
            subject_judge.catalog.types,
            subject_judge.keys,
        )
    except RefusedError as error:
        log.warning("COPY withheld", reason=error.refusal.message)
        return None
    mismatch = masker.matches(body)
    if mismatch is not None:
        log.warning("COPY withheld", judged=mismatch.expected, described=mismatch.described)
        return None
    return KEEP if masker.keep_all else masker
