"""What people did in the console, over REST and in Slack, and logins that were refused."""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from sallyport.operations.actions import ActionPage, ActionQuery, Place, find_actions
from sallyport.web.console import FormError, Visit

_PAGE = 50
_FIELDS = ("subject", "name", "object", "address", "outcome")
OUTCOMES = ("done", "refused", "failed")


async def index(visit: Visit) -> Response:
    """Newest first; one page."""
    asked = {name: visit.request.query_params.get(name, "").strip() for name in _FIELDS}
    problem, page = "", ActionPage()
    try:
        page = await run_in_threadpool(find_actions, visit.sessions, _query(visit, asked))
    except FormError as error:
        problem = str(error)
    return visit.page(
        "actions.html",
        422 if problem else 200,
        page=page,
        asked=asked,
        outcomes=OUTCOMES,
        following="" if page.after is None else place(page.after),
        problem=problem,
    )


def _query(visit: Visit, asked: dict[str, str]) -> ActionQuery:
    """Raises FormError."""
    if any(len(value) > 300 for value in asked.values()) or asked["outcome"] not in ("", *OUTCOMES):
        raise FormError(
            "A search field has at most 300 characters; outcome is done, refused or failed."
        )
    return ActionQuery(
        subject=asked["subject"],
        name=asked["name"],
        object_id=asked["object"],
        outcome=asked["outcome"],
        address=asked["address"],
        after=place_of(visit.request.query_params.get("after", "")),
        limit=_PAGE,
    )


def place(after: Place) -> str:
    """As :func:`place_of` reads it."""
    return f"{after[0]}~{after[1]}"


def place_of(text: str) -> Place | None:
    """``recording~number``. Raises FormError."""
    if not text:
        return None
    recording, _, number = text.partition("~")
    if (
        not recording
        or len(recording) > 100
        or not number.isascii()
        or not number.isdecimal()
        or len(number) > 12
    ):
        raise FormError("The address of this page is not valid. Search again.")
    return recording, int(number)
