"""``current_setting($1)``: which setting it is shows at Bind only, and is judged there."""

from __future__ import annotations

import pytest

from sallyport.wire import backend
from sallyport.wire.frontend import bind, execute, parse, sync
from tests.session.playbook import IDLE, Like, Stage, client, play, refused, server, server_error

SQL = "SELECT current_setting($1)"
PARSED, BOUND = backend.parse_complete(), backend.bind_complete()
NO_SUCH = server_error("26000", 'prepared statement "sallyport refused this" does not exist')


@pytest.mark.parametrize("value", [b"TimeZone", b"server_version", None])
def test_a_setting_that_show_would_show(stage: Stage, value: bytes | None) -> None:
    bound = bind("p", "s", (value,))
    play(
        stage,
        client >> (parse("s", SQL), sync()),
        server << (parse("s", SQL), sync()),
        server >> (PARSED, IDLE),
        client << (PARSED, IDLE),
        client >> (bound, sync()),
        server << (bound, sync()),
        server >> (BOUND, IDLE),
        client << (BOUND, IDLE),
    )


@pytest.mark.parametrize("value", [b"app.secret", b"ssl_key_file", b"\xff"])
def test_any_other_setting(stage: Stage, value: bytes) -> None:
    play(
        stage,
        client >> (parse("", SQL), bind("", "", (value,)), execute(""), sync()),
        server << (parse("", SQL), Like("B", ("refused",)), sync()),
        server >> (PARSED, NO_SUCH, IDLE),
        client << (PARSED, refused("SP1103"), IDLE),
    )


@pytest.mark.parametrize("declared", [18, 19, 1042, 16385])
def test_a_type_that_may_change_the_text(stage: Stage, declared: int) -> None:
    play(
        stage,
        client >> (parse("", SQL, (declared,)), bind("", "", (b"TimeZone",)), execute(""), sync()),
        server << (parse("", SQL, (declared,)), Like("B", ("refused",)), sync()),
        server >> (PARSED, NO_SUCH, IDLE),
        client << (PARSED, refused("SP1103"), IDLE),
    )


@pytest.mark.parametrize("declared", [25, 705, 1043])
def test_a_type_that_keeps_the_text(stage: Stage, declared: int) -> None:
    sent = (parse("p", SQL, (declared,)), bind("", "p", (b"TimeZone",)), sync())
    play(
        stage,
        client >> sent,
        server << sent,
        server >> (PARSED, BOUND, IDLE),
        client << (PARSED, BOUND, IDLE),
    )
