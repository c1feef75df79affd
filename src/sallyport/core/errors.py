"""Refusals and errors that people and agents read.

Every refusal carries a stable code ``SPnnnn`` (listed in docs/refusals.md), a SQLSTATE, a message,
and, for the agent that will try again, DETAIL (which rule or which unknown) and HINT (what would
work instead).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Code:
    """A stable refusal code. ``id`` is shown in brackets at the start of the message."""

    id: str
    sqlstate: str
    title: str


def _codes(*rows: tuple[str, str, str]) -> dict[str, Code]:
    return {id_: Code(id_, sqlstate, title) for id_, sqlstate, title in rows}


#: Every code there is. docs/refusals.md lists each one; a test compares.
CODES: dict[str, Code] = _codes(
    # 10xx: policy said no
    ("SP1001", "42501", "no rule allows this"),
    ("SP1002", "42501", "a rule denies this"),
    ("SP1003", "42501", "this waits for approval"),
    ("SP1004", "42501", "outside the access window"),
    ("SP1005", "42501", "untrusted text was read before"),
    # 11xx: not understood, so not run
    ("SP1101", "42601", "syntax error"),
    (
        "SP1102",
        "42501",
        "the statement contains something that is not supported through the gateway",
    ),
    ("SP1103", "42501", "the function, operator, cast or type is not known to be safe"),
    ("SP1104", "42501", "the system relation cannot be read through the gateway"),
    ("SP1105", "54000", "the statement is too long or nested too deeply"),
    ("SP1106", "42P01", "no such relation"),
    ("SP1107", "42501", "this form of message or statement is not supported through the gateway"),
    ("SP1108", "42703", "no such column"),
    ("SP1109", "42883", "no such function or operator"),
    ("SP1110", "42704", "no such type"),
    ("SP1111", "3F000", "no such schema"),
    ("SP1112", "42702", "the column reference is ambiguous"),
    ("SP1113", "42P10", "no such column by position or list"),
    ("SP1114", "42846", "no such conversion"),
    ("SP1115", "42P19", "the recursive query is not valid"),
    ("SP1116", "42P09", "the table reference is ambiguous"),
    ("SP1117", "42809", "the value or relation is of the wrong kind"),
    ("SP1118", "42939", "the schema name is reserved"),
    # 12xx: masked data
    ("SP1201", "42501", "a masked column would influence the result"),
    ("SP1202", "42501", "masked data would be copied to where it is not masked"),
    ("SP1203", "42501", "the result does not match what was judged"),
    ("SP1205", "42501", "a new name would change which rules apply"),
    ("SP1206", "0A000", "the masks cannot be applied in this statement"),
    # 13xx: session state
    ("SP1301", "42501", "this setting is pinned by the gateway"),
    ("SP1302", "42501", "this search_path is not listed by policy"),
    ("SP1303", "34000", "the portal or cursor is not known to the gateway"),
    ("SP1304", "26000", "the prepared statement is not known to the gateway"),
    ("SP1305", "42704", "no such setting"),
    # 14xx: approvals
    ("SP1401", "54000", "too many open approval requests"),
    ("SP1402", "42501", "the approval was denied"),
    ("SP1403", "57014", "the approval expired"),
    ("SP1404", "42501", "the approval is no longer valid"),
    ("SP1405", "42501", "no such approval, or you may not decide it"),
    ("SP1406", "42501", "sent for approval"),
    # 15xx: protocol
    ("SP1501", "08P01", "protocol violation"),
    ("SP1502", "0A000", "this part of the protocol is not supported"),
    # 16xx: login
    ("SP1601", "28P01", "login failed"),
    ("SP1602", "28000", "passwords are not accepted without TLS"),
    ("SP1603", "3D000", "no such target"),
    ("SP1604", "08001", "cannot connect to the target database"),
    ("SP1605", "53300", "too many sessions"),
    ("SP1606", "57P05", "login took too long"),
    ("SP1607", "28P01", "too many failed logins"),
    ("SP1608", "28000", "the subject, agent, token or issuer is locked"),
    ("SP1609", "57P05", "the session's token has expired"),
    ("SP1610", "28000", "the session token was revoked"),
    ("SP1611", "28000", "the session's token was not renewed"),
    # 17xx: limits
    ("SP1701", "54000", "a limit was exceeded"),
    ("SP1702", "54000", "a row is too long to be masked"),
    ("SP1703", "54000", "too many prepared statements"),
    # 18xx: the gateway itself
    ("SP1801", "58030", "the recording cannot be written"),
    ("SP1802", "08006", "the target database connection was lost"),
    ("SP1803", "57P01", "the gateway is shutting down"),
    ("SP1804", "XX000", "the gateway failed while judging this statement"),
    ("SP1805", "57014", "the statement was canceled before it ran"),
    ("SP1806", "57P03", "the gateway's state was lost"),
    ("SP1807", "57P03", "the shared store cannot be reached"),
    ("SP1810", "57P03", "the record is not handed over in time"),
)

#: Said of names: the catalog may have moved since the gateway read it.
UNKNOWN_NAMES = frozenset(
    {
        *("SP1106", "SP1108", "SP1109", "SP1110", "SP1111", "SP1112", "SP1113", "SP1114"),
        *("SP1116", "SP1117"),
    }
)


#: Hints where there is nothing that the client can mend.
TELL_OPERATOR: Final = "Tell the gateway's operator: the log has the reason."
CONNECT_AND_TELL: Final = f"Connect again. {TELL_OPERATOR}"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why something does not run, in PostgreSQL's own error fields. ``position`` is 1-based, in
    characters, or 0.
    """

    code: Code
    message: str
    detail: str = ""
    hint: str = ""
    position: int = 0

    @property
    def sqlstate(self) -> str:
        return self.code.sqlstate

    @property
    def text(self) -> str:
        """The message as the client sees it: ``[SP1002] ...``."""
        return f"[{self.code.id}] {self.message}"


def refuse(code: str, message: str, detail: str = "", hint: str = "", position: int = 0) -> Refusal:
    """Make a refusal with a code from :data:`CODES` (KeyError for an unlisted code: a bug, found by
    any test).
    """
    return Refusal(CODES[code], message, detail, hint, position)


class SallyportError(Exception):
    """Base of every error Sallyport raises on purpose; its text is fit for a user."""


class RefusedError(SallyportError):
    """Carries a :class:`Refusal` up to where it can be sent."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.text)
        self.refusal = refusal


class ProtocolError(SallyportError):
    """A peer sent what the protocol does not allow; the session closes with 08P01."""


class PinMovedError(ProtocolError):
    """Code that ran at the target moved what only the gateway may move; the session closes."""


class ConfigError(SallyportError):
    """A configuration or policy file is wrong. The text says file, line, what, and what to do."""
