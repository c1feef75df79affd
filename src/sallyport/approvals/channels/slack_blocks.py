"""What Slack is shown: Block Kit values made of a request. Pure; nothing here talks to anybody.

Everything that came from outside stands in ``plain_text`` objects without emoji, where Slack
interprets neither markup nor mentions
(https://docs.slack.dev/reference/block-kit/composition-objects/text-object); characters that do not
print are written as their code points, so that nothing reads differently from what runs. Bind
values are never in it, only how many there are, and what is masked for somebody is not either: a
channel has more readers than those who may decide. A statement that is too long to be shown whole,
or that lacks such values, gets no Approve button: nobody approves what they cannot see.
"""

from __future__ import annotations

import time
from typing import Any, Final

from sallyport.approvals.states import Request, Status, plain

APPROVE, DENY, OPEN = "sallyport_approve", "sallyport_deny", "sallyport_open"
MODAL, REASON = "sallyport_deny_reason", "reason"
#: Slack's own bound for the text of a section is 3000. Many lines would be folded away.
_SQL: Final = 2800
_LINES: Final = 60
_WORDS: Final = {
    Status.APPROVED: "Approved",
    Status.USED: "Approved and used",
    Status.DENIED: "Denied",
    Status.EXPIRED: "Expired: nobody decided in time, or it was not used in time",
    Status.WITHDRAWN: "Withdrawn",
    Status.VOIDED: "No longer valid",
}


def shown_sql(sql: str) -> tuple[str, bool]:
    """The statement as people may read it, and whether that is all of it."""
    shown = "".join(
        c if c.isprintable() or c in "\n\t" else f"\\u{{{ord(c):x}}}" for c in sql[: _SQL + 1]
    )
    if len(shown) <= _SQL and shown.count("\n") < _LINES:
        return shown or " ", True
    return "\n".join(shown[:_SQL].split("\n")[:_LINES]) + " ...", False


def _statement(request: Request) -> tuple[str, bool]:
    """As :func:`shown_sql`, without the values that are masked for somebody."""
    return shown_sql(request.binding.without_values.sql)


def why_not_approved(request: Request) -> str:
    """Why Slack does not show all that is approved; "" where it may be approved there."""
    if request.binding.recorded is not None:
        return "Values of masked columns are not shown here. Approve it in the console."
    if not _statement(request)[1]:
        return "The statement is too long to be shown here. Approve it in the console."
    return ""


def message(request: Request, url: str) -> dict[str, Any]:
    """``text`` and ``blocks`` of the message, as the request is now. ``url``: its page in the
    console.
    """
    blocks = [
        _section(_headline(request)),
        _fields(request),
        _section(_statement(request)[0]),
    ]
    if notes := _notes(request):
        blocks.append({"type": "context", "elements": [_text(note) for note in notes]})
    if request.status is Status.PENDING:
        blocks.append(_buttons(request, url))
    else:
        blocks.append(_section(outcome(request)))
    # For notifications and screen readers. Slack reads markup in it, so nothing of a stranger is in
    # it.
    state = "Approval requested" if request.status is Status.PENDING else _WORDS[request.status]
    return {"text": f"{state}: {request.id}", "blocks": blocks}


def outcome(request: Request) -> str:
    """What became of it, and by whom."""
    words = _WORDS.get(request.status, "Waiting")
    denial = request.denial
    if denial is not None:
        return (
            f"Denied by {plain(denial.email or denial.reviewer, 200)}: {plain(denial.reason, 1000)}"
        )
    people = ", ".join(plain(d.email or d.reviewer, 200) for d in request.decisions[:10])
    why = f": {plain(request.void_reason, 500)}" if request.void_reason else ""
    return f"{words}{f' (approved by {people})' if people else ''}{why}"


def modal(request_id: str) -> dict[str, Any]:
    """Asks for the reason of a denial. ``private_metadata`` comes back with it and says which
    request it is about.
    """
    return {
        "type": "modal",
        "callback_id": MODAL,
        "private_metadata": request_id,
        "title": _text("Deny"),
        "submit": _text("Deny"),
        "close": _text("Back"),
        "blocks": [
            {
                "type": "input",
                "block_id": REASON,
                "label": _text("Reason"),
                "hint": _text("The requester and their agent will read it."),
                "element": {
                    "type": "plain_text_input",
                    "action_id": REASON,
                    "multiline": True,
                    "min_length": 1,
                    "max_length": 2000,
                },
            }
        ],
    }


def _headline(request: Request) -> str:
    who = request.subject
    through = f" through {plain(who.agent, 200)}" if who.agent else ""
    name = plain(who.email or who.id, 200)
    return (
        f"{name}{through} requests: {plain(request.kind, 50)} on"
        f" {plain(request.binding.target, 100)}"
    )


def _fields(request: Request) -> dict[str, Any]:
    until = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(request.expires_at))
    facts = {
        "Who": request.subject.id,
        "Agent": request.subject.agent or "not named",
        "Target": request.binding.target,
        "Rule": ", ".join(requirement.rule for requirement in request.requirements),
        "Touches": ", ".join(request.touches) or "no relation",
        "Approvals": "; ".join(
            f"{request.approved_for(requirement)} of {requirement.quorum},"
            f" by {', '.join(requirement.reviewers)}"
            for requirement in request.requirements
        ),
        "Until": until,
    }
    return {
        "type": "section",
        "fields": [
            _text(f"{name}: {plain(value, 400) or '(empty)'}") for name, value in facts.items()
        ],
    }


def _notes(request: Request) -> list[str]:
    notes = []
    if why_not := why_not_approved(request):
        notes.append(why_not)
    if request.binding.masks_applied:
        notes.append(
            "Its masks are applied before it is sent. The console shows the resulting text."
        )
    if request.binding.binds:
        notes.append(f"The console shows its {len(request.binding.binds)} values.")
    if request.preview is not None and request.preview.rows is not None:
        notes.append(
            f"It would change {request.preview.rows} rows, as counted at the time of the request."
        )
    if request.in_transaction:
        notes.append("It waits inside an open transaction and keeps its locks.")
    return notes


def _buttons(request: Request, url: str) -> dict[str, Any]:
    approve: dict[str, Any] = {
        "type": "button", "action_id": APPROVE, "value": request.id, "style": "primary",
        "text": _text("Approve"),
    }  # fmt: skip
    if request.binding.binds:
        approve["confirm"] = {
            "title": _text("Approve unseen values?"),
            "text": _text(
                f"The statement runs with {len(request.binding.binds)} values that are only shown"
                " in the console."
            ),
            "confirm": _text("Approve"),
            "deny": _text("Back"),
        }  # fmt: skip
    deny = {
        "type": "button",
        "action_id": DENY,
        "value": request.id,
        "style": "danger",
        "text": _text("Deny"),
    }
    buttons: list[dict[str, Any]] = [deny] if why_not_approved(request) else [approve, deny]
    if url:
        buttons.append(
            {"type": "button", "action_id": OPEN, "url": url, "text": _text("Open in the console")}
        )
    return {"type": "actions", "block_id": "decide", "elements": buttons}


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": _text(text)}


def _text(text: str) -> dict[str, Any]:
    return {"type": "plain_text", "text": text, "emoji": False}
