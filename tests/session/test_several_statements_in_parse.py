"""Parse takes one statement: several are PostgreSQL's syntax error, whatever is refused in them."""

from __future__ import annotations

import pytest

from sallyport.wire.frontend import parse, sync
from tests.session.playbook import FAILED, IDLE, Like, Stage, client, play, refused, server


@pytest.mark.parametrize("sql", ["SELECT 1; DROP ROLE x", "DROP ROLE x; SELECT 1"])
def test_a_syntax_error(stage: Stage, sql: str) -> None:
    play(
        stage,
        client >> (parse("", sql), sync()),
        server << (Like("P", ("refused",)), sync()),
        server >> (FAILED, IDLE),
        client << (refused("SP1101", "42601"), IDLE),
    )
