"""Everything that somebody does in the console or over REST goes into the record of actions:
:class:`sallyport.audit.actions.ActionLog`.

:func:`recorded` stands around every handler behind a sign-in or a token. What only looks at lists
and health (``QUIET``) is recorded when it was refused. While actions cannot be recorded, what needs
a record is not done (503); what takes something away (``ALWAYS``) is.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from starlette.exceptions import HTTPException

from sallyport.audit import events as ev
from sallyport.audit.actions import ActionLog
from sallyport.operations.access import ForbiddenError, Principal

#: Lists and states, without a statement or a row in them.
QUIET: Final = frozenset(
    {
        "overview.read",
        "approvals.list",
        "policy.read",
        "targets.read",
        "locks.read",
        "containments.read",
        "sessions.list",
        "tokens.list",
    }
)
#: Looking for something is not quiet.
_SEARCH: Final = "sessions.list"
#: Done whether it can be recorded or not.
ALWAYS: Final = frozenset({"sessions.kill", "locks.lock", "tokens.revoke", "sign-out"})
#: Fields of forms and bodies that are not kept: proof of the form or of an identity, ticks, and
#: claims, which may hold anything.
_LEFT_OUT: Final = frozenset(
    {"csrf", "confirm", "claims", "saml_response", "code", "verifier", "challenge", "state"}
)


def asked_for(values: Mapping[str, Any]) -> dict[str, str]:
    """What is kept of a query, form or body."""
    kept: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            value = {key: item for key, item in value.items() if key not in _LEFT_OUT and item}
        if name in _LEFT_OUT or value in ("", None, [], {}):
            continue
        kept[name] = value if isinstance(value, str) else json.dumps(value)
    return kept


@dataclass(slots=True)
class Doing:
    """One action while it goes on. Handlers add to ``object_id``, ``reason`` and ``details``.
    ``silent``: a page asks by itself.
    """

    name: str
    principal: Principal
    channel: str
    object_id: str = ""
    details: dict[str, str] = field(default_factory=dict)
    reason: str = ""
    silent: bool = False
    status: int = 200

    def add(self, values: Mapping[str, Any]) -> None:
        """What was asked for: query, form or body."""
        self.details |= asked_for(values)

    @property
    def quiet(self) -> bool:
        return self.silent or (self.name in QUIET and not (self.name == _SEARCH and self.details))


@contextmanager
def recorded(log: ActionLog, doing: Doing) -> Iterator[None]:
    """Raises what the block raises, and HTTPException (503) instead of what cannot be recorded."""
    try:
        if log.failed and doing.name not in ALWAYS and not doing.quiet:
            raise HTTPException(
                503, "This cannot be recorded now, so it is not done. The gateway's log says why."
            )
        yield
    except asyncio.CancelledError:
        doing.status, doing.reason = 500, "cut off before it was answered; it may have been done"
        _record(log, doing)
        raise
    except Exception as error:
        doing.status = _status(error)
        doing.reason = doing.reason or _reason(error)
        _record(log, doing)
        raise
    _record(log, doing)


def _record(log: ActionLog, doing: Doing) -> None:
    outcome = ev.DONE
    if doing.status >= 400:
        outcome = ev.REFUSED if doing.status in (401, 403) else ev.FAILED
    if outcome != ev.REFUSED and doing.quiet:
        return
    who = doing.principal
    log.record(
        doing.name,
        who.subject,
        who.address,
        doing.channel,
        object_id=doing.object_id,
        outcome=outcome,
        reason=(doing.reason or f"status {doing.status}") if outcome != ev.DONE else "",
        details=doing.details,
    )


def _status(error: Exception) -> int:
    """HTTP status that an error becomes: of ours, of Starlette's, or a fault."""
    if isinstance(error, ForbiddenError):
        return 403
    status = getattr(error, "status_code", None) or getattr(error, "status", None)
    return status if isinstance(status, int) else 500


def _reason(error: Exception) -> str:
    """For errors made for people their text; of others only what they are: their text may quote
    data.
    """
    if isinstance(error, ForbiddenError):
        return str(error)
    detail = getattr(error, "detail", None)
    return detail if isinstance(detail, str) else f"a fault: {type(error).__name__}"
