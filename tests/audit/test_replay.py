"""Recorded messages become what the agent saw, however they were cut."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sallyport.audit import events as ev
from sallyport.audit import replay as rp
from sallyport.wire.backend import notice_response
from tests.audit.helpers import data_row, message, row_description

DESCRIPTION = row_description(("id", 23, 1), ("email", 25, 0))
ROWS = data_row(struct.pack("!i", 7), b"a@example.com") + data_row(struct.pack("!i", 8), None)
RESULT = DESCRIPTION + ROWS + message(b"C", b"SELECT 2\0")
SEEN = [("id", "email"), ("7", "a@example.com"), ("8", None), "SELECT 2"]


def seen(events: list[ev.Event]) -> list[object]:
    out: list[object] = []
    for step in rp.steps(events):
        if isinstance(step, rp.Columns):
            out.append(step.names)
        elif isinstance(step, rp.ResultRow):
            out.append(step.values)
        elif isinstance(step, rp.CommandCompleted):
            out.append(step.tag)
        else:
            out.append(step)
    return out


def test_a_result_whole() -> None:
    assert seen([ev.Reply(0.0, 1, RESULT)]) == SEEN


def test_the_gateways_notice_of_masks_is_told_from_what_looks_like_it() -> None:
    said = "[SP2001] computed with masked values of public.t.email (email)"
    notice = notice_response("NOTICE", "00000", said, detail="different people", hint="by a key")
    assert rp.mask_notice(notice_response("NOTICE", "00000", said)) == said  # of an older recording
    assert rp.mask_notice(RESULT[:-14] + notice + RESULT[-14:]) == said
    assert (
        rp.mask_notice(DESCRIPTION + data_row(said.encode()) + message(b"C", b"SELECT 1\0")) == ""
    )
    raised = f"SNOTICE\0VNOTICE\0C00000\0M{said}\0Fpl_exec.c\0L3893\0Rexec_stmt_raise\0\0".encode()
    assert rp.mask_notice(message(b"N", raised)) == ""
    assert rp.mask_notice(message(b"N", raised) + notice.replace(b"email", b"phone")).endswith(
        "phone (phone)"
    )
    assert rp.mask_notice(notice[:-1]) == rp.mask_notice(b"") == ""


@pytest.mark.parametrize("size", [1, 2, 3, 7, 20])
def test_a_result_in_pieces(size: int) -> None:
    pieces = [RESULT[start : start + size] for start in range(0, len(RESULT), size)]
    assert seen([ev.Reply(0.0, 1, piece) for piece in pieces]) == SEEN


def test_times_are_relative_to_the_login() -> None:
    first, second = rp.steps([ev.Note(100.0, "a", ""), ev.Note(102.5, "b", "")])
    assert (first.at, second.at) == (0.0, 2.5)


def test_a_statement_run_again_without_describe_keeps_its_columns() -> None:
    events: list[ev.Event] = [
        ev.Statement(0.0, 1, "select id, email from c", "allow"),
        ev.Reply(0.0, 1, RESULT),
        ev.Statement(0.0, 2, "select 1", "allow"),
        ev.Reply(0.0, 2, row_description(("one", 23, 0)) + data_row(b"1")),
        ev.Statement(0.0, 3, "select id, email from c", "allow"),
        ev.Reply(0.0, 3, ROWS),
    ]
    shown = [item for item in seen(events) if isinstance(item, tuple)]
    assert shown == [
        ("id", "email"),
        ("7", "a@example.com"),
        ("8", None),
        ("one",),
        ("1",),
        *SEEN[:3],
    ]


def test_rows_without_any_description() -> None:
    assert seen([ev.Reply(0.0, 1, data_row(b"x", None))]) == [("column 1", "column 2"), ("x", None)]


def test_errors_notices_notifications_and_copy() -> None:
    error = message(b"E", b"SFEHLER\0VERROR\0C42501\0M[SP1002] no\0Dwhy\0Hhow\0\0")
    (said,) = seen([ev.Reply(0.0, 3, error)])
    assert said == rp.Diagnostic(0.0, 3, "ERROR", "42501", "[SP1002] no", "why", "how")
    (remark,) = seen([ev.Reply(0.0, 0, message(b"A", struct.pack("!i", 1) + b"ch\0hello\0"))])
    assert remark == rp.Remark(0.0, "notification", "ch: hello")
    assert seen([ev.Reply(0.0, 1, message(b"d", b"1\tx\n"))]) == [
        rp.Copied(0.0, 1, "out", b"1\tx\n")
    ]
    assert seen([ev.CopyIn(0.0, 1, message(b"d", b"2\n"))]) == [rp.Copied(0.0, 1, "in", b"2\n")]


def test_binds_are_shown_by_their_formats() -> None:
    statement = ev.Statement(
        0.0, 1, "s", "allow", binds=(b"x", None, b"\x00"), bind_formats=(0, 0, 1)
    )
    (asked,) = rp.steps([statement])
    assert isinstance(asked, rp.Asked)
    assert asked.binds == ("x", None, "\\x00")
    assert asked.binary == (False, False, True)


def test_binary_binds_are_shown_by_their_types() -> None:
    four, uuid = b"\0\0\0\7", bytes(range(16))
    binds = (four, uuid, b"\x01{}", four, b"7")
    statement = ev.Statement(
        0.0, 1, "s", "allow", binds=binds, bind_formats=(1,), bind_types=(23, 2950, 3802, 9999)
    )
    (asked,) = rp.steps([statement])
    assert isinstance(asked, rp.Asked)
    assert asked.binds == (
        "7",
        "00010203-0405-0607-0809-0a0b0c0d0e0f",
        "{}",
        "\\x00000007",
        "\\x37",
    )
    assert asked.binary == (False, False, False, True, True)


def test_a_message_too_long_to_show_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rp, "LONGEST", 100)
    data = data_row(b"x" * 5000) + message(b"C", b"SELECT 1\0")
    for size in (len(data), 64, 5):
        pieces = [
            ev.Reply(0.0, 1, data[start : start + size]) for start in range(0, len(data), size)
        ]
        remark, done = seen(list(pieces))
        assert isinstance(remark, rp.Remark)
        assert done == "SELECT 1"


@given(st.lists(st.binary(max_size=200), max_size=5))
def test_garbage_never_raises(pieces: list[bytes]) -> None:
    for _ in rp.steps([ev.Reply(0.0, 1, piece) for piece in pieces]):
        pass


@given(st.sampled_from(b"TDCENAd"), st.binary(max_size=100))
def test_garbage_in_a_message_never_raises(kind: int, body: bytes) -> None:
    for _ in rp.steps([ev.Reply(0.0, 1, message(bytes([kind]), body))]):
        pass
