"""``SET sallyport.token = '...'``: a fresh token for a session that goes on, understood by the
gateway alone.

The text that has the token ends here: what is judged, cached, recorded and sent to the server is
:data:`RENEWED`, which changes nothing and is answered as the client expects (``SET``). Whatever
else names ``sallyport.token`` (several statements in one message, SET LOCAL, ``set_config``,
function definitions) is refused, and its text is recorded nowhere either.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from sallyport.core.errors import Refusal, RefusedError, refuse
from sallyport.core.secret import Secret, without_tokens
from sallyport.core.subject import Subject
from sallyport.session.commands import RenewToken
from sallyport.session.state import SessionState
from sallyport.session.states import Handled
from sallyport.sql.text.parse import parse

#: Takes the place of the client's text. A pinned setting is set to its one value.
RENEWED: Final = b"SET standard_conforming_strings TO on /* sallyport.token was set */"
#: Recorded of a text that is refused.
NOT_RECORDED: Final = b"/* a text that names sallyport.token, which is not recorded */"
_NAME: Final = "sallyport.token"
#: What such a text looks like where it cannot be parsed.
_LIKE_NAME: Final = re.compile(rb"sallyport\W{0,100}token", re.IGNORECASE)
_HINT: Final = (
    "Send SET sallyport.token = '<token>' by itself, without LOCAL and without parameters."
)

NOT_ALONE: Final = refuse(
    "SP1107",
    "sallyport.token can only be set, by a statement of its own",
    "The gateway handles this setting; the database does not know it.",
    _HINT,
)
NOT_READ: Final = refuse("SP1101", "syntax error in a text that names sallyport.token", hint=_HINT)


@dataclass(frozen=True, slots=True)
class Renewal:
    """A statement that sets the token."""

    token: Secret


def find_renewal(sql: bytes) -> Renewal | Refusal | None:
    """What a text means to the token: it sets it, it must not run, or (None) it does not
    name it.
    """
    lowered = sql.lower()
    if not ((b"sallyport" in lowered and b"token" in lowered) or b'u&"' in lowered):
        return None
    try:
        statements = parse(sql)
    except RefusedError:
        return NOT_READ if _LIKE_NAME.search(lowered) else None
    if not any(
        text.lower() == _NAME for statement in statements for text in _texts(statement.node)
    ):
        return NOT_ALONE if _names_a_token(sql, lowered) else None
    return _renewal(statements[0].node) if len(statements) == 1 else NOT_ALONE


def _names_a_token(sql: bytes, lowered: bytes) -> bool:
    """Whether a token stands beside the name elsewhere: in a comment, or in a text in a text."""
    if _LIKE_NAME.search(lowered) is None:
        return False
    text = sql.decode("utf-8", "replace")
    return without_tokens(text) != text


def _renewal(node: dict[str, Any]) -> Renewal | Refusal:
    statement = node.get("VariableSetStmt", {})
    match statement.get("args"):
        case [{"A_Const": {"sval": {"sval": str(value)}}}]:
            pass
        case _:
            return NOT_ALONE
    if (
        statement.get("kind") != "VAR_SET_VALUE"
        or str(statement.get("name", "")).lower() != _NAME
        or statement.get("is_local")
    ):
        return NOT_ALONE
    return Renewal(Secret(value))


def _texts(node: Any) -> Iterator[str]:
    """Every string in a parse tree."""
    rest = [node]
    while rest:
        item = rest.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict):
            rest.extend(item.values())
        elif isinstance(item, list):
            rest.extend(item)


def renew(session: SessionState, token: Secret) -> Handled | Refusal | Subject | None:
    """Have the token checked. LATER: its message is read again when that is done. A Subject: whom
    the session is to go on as (:meth:`SessionState.take_subject`) once :data:`RENEWED` is
    forwarded. None: nothing is renewed in a failed transaction, where the server refuses what is
    run.
    """
    outcome, session.renewed = session.renewed, None
    if outcome is not None:
        return outcome
    if session.waits_for_answers():
        return Handled.LATER
    if session.transaction_status == b"E":
        return None
    session.block(RenewToken(token))
    return Handled.LATER
