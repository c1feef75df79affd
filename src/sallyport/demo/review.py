"""The tour's reviewer: somebody with a token at the REST interface, who sees what waits and decides about it.

:meth:`Desk.decide` waits until a statement is held and its preview is measured, decides, and gives what was seen. It raises ReviewError when nothing
comes, or the gateway does not take the decision.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx2

from sallyport.core.errors import SallyportError
from sallyport.core.secret import Secret

_SECONDS = 20.0


class ReviewError(SallyportError):
    """The reviewer could not do what the tour asks; the text says why."""


@dataclass(frozen=True, slots=True)
class Review:
    """What the reviewer does with a step's statement. ``reason``: recorded, and read by the agent when it is a denial."""

    approve: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Seen:
    """What the reviewer had before them. ``rows``: that the statement would change; None when it was not counted. ``plan``: in a few words."""

    id: str
    who: str
    agent: str
    touches: str
    rows: int | None
    plan: str
    by: str


def in_words(plan: str) -> str:
    """How an EXPLAIN (FORMAT JSON) goes about it: its node and the first one below; "" when there is none."""
    try:
        node = json.loads(plan)[0]["Plan"]
        below = node.get("Plans", [{}])[0]
        by = f" using {below['Index Name']}" if "Index Name" in below else ""
        return f"{node['Operation']} on {node['Relation Name']} by {below['Node Type']}{by}"
    except (ValueError, LookupError, TypeError, AttributeError):
        return ""


class Desk:
    """The REST interface at ``url``, as whoever the token says. ``name``: for people."""

    def __init__(self, url: str, token: Secret, name: str) -> None:
        self._http = httpx2.Client(
            base_url=f"{url}/api/v1", timeout=10, headers={"Authorization": f"Bearer {token.reveal()}"}
        )
        self._name = name

    def decide(self, sql: str, review: Review, may_come: Callable[[], bool]) -> Seen | None:
        """Decide about the request whose statement is ``sql``, once there is one with a preview. None when none can come any more."""
        deadline = time.monotonic() + _SECONDS
        while time.monotonic() < deadline:
            if not may_come():
                return None
            for waiting in self._get("/approvals?status=pending")["approvals"]:
                found = self._get(f"/approvals/{waiting['id']}")
                if found["sql"].strip().rstrip(";") == sql and found["preview"] is not None:
                    return self._decide(found, review)
            time.sleep(0.05)
        raise ReviewError(f"Nothing waited for approval within {_SECONDS:g} seconds: {sql}")

    def _decide(self, found: dict[str, Any], review: Review) -> Seen:
        body = {"approve": review.approve, "reason": review.reason}
        self._checked(self._http.post(f"/approvals/{found['id']}/decision", json=body))
        subject, preview = found["subject"], found["preview"]
        return Seen(
            id=found["id"],
            who=subject["id"],
            agent=subject["agent"],
            touches=", ".join(found["touches"]),
            rows=preview["rows"],
            plan=in_words(preview["plan"]),
            by=self._name,
        )

    def _get(self, path: str) -> dict[str, Any]:
        return self._checked(self._http.get(path))

    def _checked(self, answer: httpx2.Response) -> dict[str, Any]:
        if answer.status_code != 200:
            raise ReviewError(f"The REST interface answered {answer.status_code}: {answer.text[:300]}")
        return dict(answer.json())

    def close(self) -> None:
        self._http.close()
