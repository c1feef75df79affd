"""The tour's reviewer: somebody with a token at the REST interface, who sees what waits and decides
about it.

:meth:`ReviewerClient.decide` waits until a statement is held and its preview is measured, decides,
and gives what was seen. It raises ReviewError when nothing comes, or the gateway does not answer or
does not take the decision.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx2

from sallyport.approvals.preview.plans import plan_in_words
from sallyport.core.errors import SallyportError
from sallyport.core.secret import Secret
from sallyport.demo.endings import last_words

_SECONDS = 20.0


class ReviewError(SallyportError):
    """The reviewer could not do what the tour asks; the text says why."""


@dataclass(frozen=True, slots=True)
class Review:
    """What the reviewer does with a step's statement. ``reason``: recorded, and read by the agent
    when it is a denial.
    """

    approve: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Seen:
    """What the reviewer had before them. ``rows``: that the statement would change; None when it
    was not counted. ``plan``: in a few words.
    """

    id: str
    who: str
    agent: str
    touches: str
    rows: int | None
    plan: str
    by: str


class ReviewerClient:
    """The REST interface at ``url``, as whoever the token says. ``name``: for people."""

    def __init__(self, url: str, token: Secret, name: str) -> None:
        self._url = url
        self._http = httpx2.Client(
            base_url=f"{url}/api/v1",
            timeout=10,
            headers={"Authorization": f"Bearer {token.reveal()}"},
        )
        self._name = name

    def decide(self, sql: str, review: Review, may_come: Callable[[], bool]) -> Seen | None:
        """Decide about the request whose statement is ``sql``, once there is one with a preview.
        None when none can come any more.
        """
        deadline = time.monotonic() + _SECONDS
        while time.monotonic() < deadline:
            if not may_come():
                return None
            for waiting in self._get("/approvals?status=pending")["approvals"]:
                request = self._get(f"/approvals/{waiting['id']}")
                if request["sql"].strip().rstrip(";") == sql and request["preview"] is not None:
                    return self._decide(request, review)
            time.sleep(0.05)
        raise ReviewError(f"Nothing waited for approval within {_SECONDS:g} seconds: {sql}")

    def _decide(self, request: dict[str, Any], review: Review) -> Seen:
        body = {"approve": review.approve, "reason": review.reason}
        self._asked("POST", f"/approvals/{request['id']}/decision", body)
        subject, preview = request["subject"], request["preview"]
        return Seen(
            id=request["id"],
            who=subject["id"],
            agent=subject["agent"],
            touches=", ".join(request["touches"]),
            rows=preview["rows"],
            plan=plan_in_words(preview["plan"]),
            by=self._name,
        )

    def _get(self, path: str) -> dict[str, Any]:
        return self._asked("GET", path)

    def _asked(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        where = f"The REST interface at {self._url}"
        try:
            answer = self._http.request(method, path, json=body)
        except httpx2.HTTPError as error:
            raise ReviewError(f"{where} did not answer: {error or type(error).__name__}") from None
        if answer.status_code != 200:
            said = last_words(answer.text[:300])
            raise ReviewError(f"{where} answered {method} {path} with {answer.status_code}: {said}")
        return dict(answer.json())

    def close(self) -> None:
        self._http.close()
