"""Plays the steps of one case on clients that are alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sallyport.wire import frontend
from tests.attacks import oracles
from tests.attacks.cases import Step
from tests.attacks.client import Client
from tests.attacks.mcp_client import McpClient
from tests.attacks.ways import Exchange

Sender = Callable[[bytes], Exchange]
Clients = Sequence[Client] | Sequence[McpClient]


def exchange(clients: Clients, parts: list[list[bytes]], data: bytes | None) -> list[bytes]:
    """Send every part to every client and collect the answers. ``parts``: per client."""
    answers = [bytearray() for _ in clients]
    for number in range(len(parts[0])):
        for client, mine in zip(clients, parts, strict=True):
            client.send(mine[number])
        for client, kept in zip(clients, answers, strict=True):
            extended = parts[0][number][:1] != b"Q"
            kept += client.receive(copy=data, extended=extended)
    return list(map(bytes, answers))


def play(clients: Clients, steps: list[Step], send: Sender) -> tuple[list[bytes], bool]:
    """Run a case's steps on every client. Returns all bytes each received, and whether anything may
    have been written.
    """
    kept = [bytearray() for _ in clients]
    wrote = False
    for step in steps:
        parts = send(step.sql)
        answers = exchange(clients, [parts] * len(clients), step.data)
        for mine, answer in zip(kept, answers, strict=True):
            mine += answer
            wrote = wrote or oracles.may_have_changed(step.sql, answer)
    return list(map(bytes, kept)), wrote


def tidy(clients: Clients, steps: list[Step]) -> None:
    """Leave sessions as they were found."""
    statements = []
    if any(client.status != "I" for client in clients):
        statements.append(b"ROLLBACK")
    if any(
        not step.sql.upper().startswith(
            (b"SELECT", b"COPY", b"INSERT", b"EXPLAIN", b"TABLE", b"VALUES")
        )
        for step in steps
    ):
        statements.append(b"DISCARD ALL")
    for sql in statements:
        exchange(clients, [[frontend.query(sql)]] * len(clients), None)
