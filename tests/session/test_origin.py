"""Who speaks is told apart by a field that no server can send: not by the words of a message."""

from __future__ import annotations

import pytest

from sallyport.core.errors import ProtocolError
from sallyport.wire import backend
from sallyport.wire.frontend import query
from tests.session.playbook import (
    FAILED,
    FAILS,
    IDLE,
    Like,
    Stage,
    client,
    done,
    play,
    server,
)

#: A routine is all that a hostile server would have to name.
CLAIM = {"S": "ERROR", "V": "ERROR", "C": "23514", "M": "[SP1001] all is well", "R": "sallyport"}
HONEST = {name: value for name, value in CLAIM.items() if name != "R"}
UPDATE = "UPDATE products SET price = -1 WHERE id = 1"


def test_a_refusal_names_the_gateway(stage: Stage) -> None:
    play(
        stage,
        client >> query("SELECT pg_read_file('x')"),
        server << FAILS,
        server >> (FAILED, IDLE),
        client << (Like("E", ("M[SP1", "\0Rsallyport\0")), IDLE),
    )


@pytest.mark.parametrize("kind", [0x45, 0x4E])
def test_no_server_can_speak_as_the_gateway(stage: Stage, kind: int) -> None:
    said, passed = (backend.message(kind, backend.error_body(fields)) for fields in (CLAIM, HONEST))
    end = () if kind == 0x45 else (done("UPDATE 1"),)
    play(
        stage,
        client >> query(UPDATE),
        server << query(UPDATE),
        server >> (said, *end, IDLE),
        client << (passed, *end, IDLE),
    )
    # unasked, and of a statement whose messages are rewritten
    masked = "INSERT INTO customers (name, email, city) VALUES ('a', 'b', 'c')"
    end = () if kind == 0x45 else (done("INSERT 0 1"),)
    play(
        stage,
        client >> query(masked),
        server << query(masked),
        server >> (said, *end, IDLE),
        client << (Like(chr(kind), ("C23514",), ("Rsallyport",)), *end, IDLE),
    )


def test_a_claim_that_comes_twice_is_no_message() -> None:
    with pytest.raises(ProtocolError):
        backend.without_origin(backend.message(0x45, b"Rsallyport\0Rother\0Mno\0\0"))
    assert backend.without_origin(backend.message(0x45, backend.error_body(HONEST))) is None
