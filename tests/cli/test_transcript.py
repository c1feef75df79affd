"""A replay as psql: notices that come amid a result stand before it, as psql prints them."""

from __future__ import annotations

from sallyport.audit import events as ev
from sallyport.audit import replay as rp
from sallyport.cli.transcript import PsqlTranscript
from sallyport.wire.backend import error_response, notice_response
from tests.audit.helpers import data_row, message, row_description

HEADER = row_description(("town", 25, 0))
ROW = data_row(b"Oslo")
NOTICE = notice_response("NOTICE", "00000", "seen on the way")
END = message(b"C", b"SELECT 1\0")
TABLE = " town \n------\n Oslo\n(1 row)\n\n"


def shown(*messages: bytes) -> str:
    steps = rp.steps([ev.Reply(0.0, 1, b"".join(messages))])
    return "".join(text for _, text in PsqlTranscript().texts(steps))


def test_a_notice_amid_a_result() -> None:
    for messages in ((HEADER, NOTICE, ROW, END), (HEADER, ROW, NOTICE, END)):
        assert shown(*messages) == f"NOTICE:  seen on the way\n{TABLE}"


def test_an_error_ends_the_result() -> None:
    error = error_response("ERROR", "22012", "division by zero")
    assert shown(HEADER, ROW, error) == f"{TABLE}ERROR:  division by zero\n"
