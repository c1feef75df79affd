"""Rows of a replay stand under their columns, also where something came in between."""

from __future__ import annotations

from sallyport.audit import events as ev
from sallyport.audit import replay as rp
from sallyport.web.pages.sessions import scenes
from sallyport.wire.backend import notice_response
from tests.audit.helpers import data_row, message, row_description

HEADER = row_description(("id", 25, 0), ("email", 25, 0))
FIRST, SECOND = data_row(b"1", b"a***"), data_row(b"2", b"b***")
NOTICE = notice_response("NOTICE", "00000", "seen on the way")
END = message(b"C", b"SELECT 2\0")


def shown(*replies: bytes, start: int = 0, number: int = 1) -> list[tuple[str, object, object]]:
    """Kind, columns and rows of each scene of the page that begins at step ``start``."""
    steps = tuple(rp.steps([ev.Reply(0.0, number, b"".join(replies))]))[start:]
    return [(scene.kind, scene.columns, scene.rows) for scene in scenes(steps)]


NAMES = ("id", "email")


def test_a_notice_before_the_rows() -> None:
    assert shown(HEADER, NOTICE, FIRST, SECOND, END) == [
        ("diagnostic", (), []),
        ("rows", NAMES, [("1", "a***"), ("2", "b***")]),
        ("completed", (), []),
    ]


def test_a_notice_between_rows() -> None:
    assert shown(HEADER, FIRST, NOTICE, SECOND) == [
        ("rows", NAMES, [("1", "a***")]),
        ("diagnostic", (), []),
        ("rows", NAMES, [("2", "b***")]),
    ]


def test_a_page_that_begins_amid_rows() -> None:
    assert shown(HEADER, FIRST, SECOND, start=2) == [("rows", NAMES, [("2", "b***")])]


def test_a_result_without_rows_keeps_its_header() -> None:
    assert shown(HEADER, END) == [("rows", NAMES, []), ("completed", (), [])]
    before = tuple(rp.steps([ev.Reply(0.0, 1, HEADER + END)]))
    after = tuple(rp.steps([ev.Reply(0.0, 2, NOTICE + data_row(b"x"))]))
    kinds = [(scene.kind, scene.columns) for scene in scenes(before + after)]
    assert kinds == [
        ("rows", NAMES),
        ("completed", ()),
        ("diagnostic", ()),
        ("rows", ("column 1",)),
    ]
