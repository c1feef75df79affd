"""Operations of the REST interface: searching recorded statements."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.concurrency import run_in_threadpool

from sallyport.operations.statementsearch import (
    LONGEST,
    StatementSearches,
    hit_data,
    read_query,
)
from sallyport.store.statementindex import KINDS, SearchError
from sallyport.web.api.operations import (
    LIMIT,
    TIME,
    Call,
    Operation,
    Parameter,
    ProblemError,
    invalid,
)
from sallyport.web.settings import Services


class StatementPage(msgspec.Struct, frozen=True):
    """Newest first. ``next``: the value of ``after`` for the page behind this one; null at the end.
    ``complete_until``: what was recorded before that (Unix seconds) is searched. ``oldest``: of the
    statements that are searched; null when there are none. ``dropped``: statements that left the
    index because it is full.
    """

    statements: list[dict[str, Any]]
    next: str | None
    complete_until: float
    oldest: float | None
    dropped: int


def searches(services: Services, call: Any) -> StatementSearches:
    """For whoever asks. Raises SearchError when this gateway keeps no index of statements."""
    if services.search is None:
        raise SearchError("this gateway keeps no index: recording.search_statements is 0")
    return StatementSearches(services.search, call.principal.authorize)


async def search_statements(call: Call) -> Any:
    """``GET /statements``."""
    try:
        query = read_query(
            call.text("q", LONGEST),
            since=call.seconds("since"),
            until=call.seconds("until"),
            after=call.text("after"),
            limit=call.number("limit", 50, 1, 500),
        )
    except SearchError as error:
        raise invalid(str(error)) from None
    try:
        page = await run_in_threadpool(searches(call.services, call).search, query)
    except SearchError as error:
        raise ProblemError(503, "Not searched", str(error)) from None
    return {
        "statements": [hit_data(hit) for hit in page.hits],
        "next": page.next,
        "complete_until": page.state.complete_until,
        "oldest": page.state.oldest,
        "dropped": page.state.dropped,
    }


_WORDS = (
    'Words of the SQL, "several words" that follow each other, begin*, and filters: kind:value. '
    f"The kinds are {', '.join(KINDS)}."
)
_PLACE = {"type": "string", "pattern": r"^\d{1,19}$"}

STATEMENTS: tuple[Operation, ...] = (
    Operation(
        "GET", "/statements", "searchStatements", "sessions.read",
        "Recorded statements by words and filters, newest first, one page.",
        search_statements, StatementPage,
        (
            Parameter("q", _WORDS, {"type": "string", "maxLength": LONGEST}),
            Parameter("since", "Then or later; Unix seconds.", TIME),
            Parameter("until", "Before; Unix seconds.", TIME),
            Parameter("after", "'next' of the page before.", _PLACE),
            LIMIT,
        ),
        errors=(503,), action="statements.search",
    ),
)  # fmt: skip
