"""Session states and what may happen in each: tables, no code.

Two machines run side by side in a session. The *client* table says which message a client may send
in which state and which handler takes it; a message that is not listed is a protocol error that
closes the session. The *reply* table says, for the oldest expected reply, which server messages may
arrive and which handler takes them; anything else means that the gateway and the server disagree
about the protocol, and the session closes (fail closed).

Message types: PostgreSQL documentation, "Message Formats" (protocol 3.0 and 3.2).
"""

from __future__ import annotations

from enum import Enum, IntEnum


class ClientState(IntEnum):
    """What the client may send."""

    READY = 0  # between messages; extended-query messages may be pipelined
    COPY_IN = 1  # the server asked for CopyData
    # an error was reported in an extended-query pipeline: everything until Sync is ignored
    SKIPPING = 2
    CLOSED = 3


class Own(Enum):
    """What the gateway sends by itself around statements that it sends one by one
    (:mod:`sallyport.session.client.series`).
    """

    BEGIN = "BEGIN"
    COMMIT = "COMMIT"
    ROLLBACK = "ROLLBACK"


class Question(Enum):
    """What the gateway asks the server over the session's own connection: what names mean in it."""

    SEARCH_PATH = 0
    TEMPORARY = 1  #: what its temporary schema holds, and all that PINS asks
    PINS = 2  #: what nothing may have moved


class Handled(Enum):
    """What became of a message of the client."""

    DONE = 0
    LATER = 1  #: it stays unread until ``resume``, or until the pipeline is drained


class Clearance(Enum):
    """Whether a statement may go to the server, where nothing refuses it."""

    GO = 0
    WAIT = 1  #: its message is read again later


class Expect(IntEnum):
    """What a forwarded (or injected) message makes the server answer."""

    QUERY = 0  # simple query: results of each statement, then ReadyForQuery
    PARSE = 1
    BIND = 2
    DESCRIBE_STATEMENT = 3
    DESCRIBE_PORTAL = 4
    EXECUTE = 5
    CLOSE = 6
    SYNC = 7
    BUNDLE = (
        # Bind, maybe Describe, Execute and Sync of one known statement, answered as one
        # (session.fast)
        9
    )
    PROBE = 8  # the gateway's own simple query; its replies never reach the client
    # the gateway's own question among the client's extended-query messages; its replies never reach
    # the client
    ASK = 11
    OWN = 10  # likewise: it opens or ends a block around statements that are sent one by one
    # a statement of the gateway in a pipeline: it drops what CASCADE of the next one would
    DEPENDANT = 12


#: (state, message type) -> handler name in session.machine
CLIENT_TABLE: dict[ClientState, dict[str, str]] = {
    ClientState.READY: {
        "Q": "query",
        "P": "parse",
        "B": "bind",
        "D": "describe",
        "E": "execute",
        "C": "close",
        "H": "flush",
        "S": "sync",
        "X": "terminate",
        "F": "function_call",
        # PostgreSQL ignores these outside COPY: a client may still be sending after its COPY failed
        "d": "ignored",
        "c": "ignored",
        "f": "ignored",
    },
    ClientState.COPY_IN: {
        "d": "copy_data",
        "c": "copy_done",
        "f": "copy_fail",
        "H": "flush",
        "S": "copy_sync",
        "X": "terminate",
    },
    ClientState.SKIPPING: {
        "S": "sync",
        "X": "terminate",
        "Q": "ignored",
        "P": "ignored",
        "B": "ignored",
        "D": "ignored",
        "E": "ignored",
        "C": "ignored",
        "H": "ignored",
        "F": "ignored",
        "d": "ignored",
        "c": "ignored",
        "f": "ignored",
    },
    ClientState.CLOSED: {},
}

#: Messages that may arrive at any time, whatever is expected.
ASYNC_TABLE: dict[str, str] = {"N": "notice", "S": "parameter_status", "A": "notification"}

_RESULT = {
    "T": "row_description",
    "C": "command_complete",
    "I": "empty_query",
    "G": "copy_in_response",
    "H": "copy_out_response",
    "d": "copy_data_out",
    "c": "copy_done_out",
    "E": "error",
}

#: expectation -> message type -> handler name in session.replies (DataRow is handled inline: the
#: hot path)
REPLY_TABLE: dict[Expect, dict[str, str]] = {
    Expect.QUERY: {**_RESULT, "Z": "ready"},
    Expect.PARSE: {"1": "parse_complete", "E": "error"},
    Expect.BIND: {"2": "bind_complete", "E": "error"},
    Expect.DESCRIBE_STATEMENT: {
        "t": "parameter_description",
        "T": "statement_description",
        "n": "no_data",
        "E": "error",
    },
    Expect.DESCRIBE_PORTAL: {"T": "portal_description", "n": "no_data", "E": "error"},
    Expect.EXECUTE: {**{k: v for k, v in _RESULT.items() if k != "T"}, "s": "portal_suspended"},
    Expect.CLOSE: {"3": "close_complete", "E": "error"},
    Expect.SYNC: {"Z": "ready", "E": "error"},
    Expect.BUNDLE: {},  # expanded into its messages before any of its replies is looked at
    Expect.OWN: {
        "1": "probe_ignored",
        "2": "probe_ignored",
        "3": "probe_ignored",
        "C": "own_complete",
        "E": "own_error",
        "Z": "ready",
    },
    Expect.DEPENDANT: {
        "1": "probe_ignored",
        "2": "probe_ignored",
        "C": "dependant_dropped",
        "3": "dependant_closed",
        "E": "error",
    },
    Expect.ASK: {
        "1": "probe_ignored",
        "2": "probe_ignored",
        "C": "probe_ignored",
        "3": "ask_complete",
        "E": "error",
    },
    Expect.PROBE: {
        "T": "probe_ignored",
        "C": "probe_ignored",
        "E": "probe_ignored",
        "Z": "probe_ready",
    },
}
