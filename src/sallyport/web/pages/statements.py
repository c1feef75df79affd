"""Statements: one search box over everything that was recorded."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import urlencode

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from sallyport.operations.statementsearch import read_query, state_text
from sallyport.store.statementindex import KINDS, SearchError
from sallyport.web.api.statements import searches
from sallyport.web.console import FormError, Visit
from sallyport.web.pages.sessions import time_of

_PAGE = 50
_FIELDS = ("q", "since", "until")


async def index(visit: Visit) -> Response:
    """Newest first; one page."""
    params = visit.request.query_params
    asked = {name: params.get(name, "").strip() for name in _FIELDS}
    values: dict[str, Any] = {"page": None, "problem": "", "note": "", "following": ""}
    status = 200
    try:
        query = read_query(
            asked["q"],
            since=time_of(asked["since"]),
            until=time_of(asked["until"]),
            after=params.get("after", ""),
            limit=_PAGE,
        )
        page = await run_in_threadpool(searches(visit.services, visit).search, query)
        values["page"], values["note"] = page, state_text(page.state, time.time())
        if page.next is not None:
            fields = {name: value for name, value in asked.items() if value}
            values["following"] = "/statements?" + urlencode({**fields, "after": page.next})
    except (FormError, SearchError) as error:
        values["problem"], status = str(error), 422
    return visit.page(
        "statement-search.html",
        status,
        asked=asked,
        kinds=KINDS,
        later=bool(params.get("after")),
        **values,
    )
