"""What clients are told when the gateway ends their session, or starts none."""

from __future__ import annotations

from sallyport.core.errors import CONNECT_AND_TELL, TELL_OPERATOR, refuse

SILENT_TARGET = refuse(
    "SP1802",
    "the database does not answer any more",
    "The gateway cannot tell whether the last statement was executed.",
    "Connect again, and check whether it was.",
)
NOT_JOURNALED = refuse(
    "SP1801",
    "the session cannot be recorded any more",
    "The last statements could not be written to the journal and were not sent to the database.",
    "Connect again. Tell the gateway's operator.",
)
EXPIRED_REASON = "the token expired"
EXPIRED = refuse(
    "SP1609",
    "the session's token has expired",
    "A session ends with the token that opened it. No transaction was interrupted.",
    "Get a fresh token and connect again.",
)
EXPIRED_IN_TRANSACTION = refuse(
    "SP1609",
    "the session's token has expired",
    "The statement was canceled and the transaction rolled back: the grace period is over.",
    "Get a fresh token, connect again and repeat the transaction.",
)
LOST_TARGET = refuse(
    "SP1802",
    "the connection to the database was lost",
    hint="Connect again. Before you repeat a change, check whether it was committed.",
)
FAILED_WAITING = refuse(
    "SP1804", "the gateway failed while the statement waited", hint=CONNECT_AND_TELL
)
LIFETIME_REACHED = refuse(
    "SP1701", "the session has reached its longest lifetime", hint="Connect again."
)
UNRECORDABLE = refuse("SP1801", "the session cannot be recorded any more", hint=TELL_OPERATOR)
#: Before a session starts.
RECORDER_FAILED = refuse(
    "SP1801", "sessions cannot be recorded, so none can start", hint=TELL_OPERATOR
)
STATE_LOST = refuse("SP1806", "the gateway's locks and approvals were lost", hint=TELL_OPERATOR)
LOGIN_FAILED = refuse("SP1804", "the gateway failed during this login", hint=CONNECT_AND_TELL)
