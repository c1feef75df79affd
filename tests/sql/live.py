"""The same statements past a gateway and through it, on databases of a test's own: what benign ones
answer, what hostile ones let out.

There are two databases, which differ in masked values only: what the gateway says of them must not
differ in a single byte.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import psycopg
from psycopg import pq

from sallyport.demo.issuer import DevIssuer
from tests.support.gateway import Gateway
from tests.support.postgres import Server

_FIELDS = [getattr(pq.DiagnosticField, name) for name in ("MESSAGE_PRIMARY", "MESSAGE_DETAIL",
"MESSAGE_HINT", "CONTEXT")]  # fmt: skip


#: Of several masked columns a refusal names one, and which depends on OIDs.
_COLUMN = re.compile(rb"(?<=\bpublic)\.\w+\.\w+")


@dataclass
class Live:
    """``direct``: past the gateway, as its role. ``twin``: through it, to the database with other
    masked values.
    """

    direct: psycopg.Connection[Any]
    agent: psycopg.Connection[Any]
    twin: psycopg.Connection[Any]
    #: OIDs of the twin's own types, as binary values hold them, and those of the same types here
    types: dict[bytes, bytes]

    def compare(self, sql: str, parameters: tuple[str, ...] = ()) -> list[Row]:
        """The rows of a statement that both answer alike, in text and in binary. AssertionError
        where they do not.
        """
        rows = []
        for result_format in (1, 0):
            straight = _ask(self.direct, sql, result_format, parameters)
            through = _ask(self.agent, sql, result_format, parameters)
            if result_format == 1 and b"no binary output function" in straight.error:
                assert through.error and not through.rows, sql
                continue
            assert through == straight, sql
            assert through.error == b"", sql
            rows = through.rows
        assert rows, f"nothing to compare: {sql}"
        return rows

    def compare_error(self, sql: str) -> bytes:
        """The error that both give alike."""
        straight, through = (
            _ask(connection, sql, 0, ()) for connection in (self.direct, self.agent)
        )
        assert through == straight, sql
        assert through.error, sql
        return through.error

    def rows(self, sql: str, result_format: int = 0) -> list[Row]:
        """What the gateway lets through of a statement that runs."""
        answer = _ask(self.agent, sql, result_format, ())
        assert answer.error == b"", (sql, answer.error)
        return answer.rows

    def said(self, sql: str) -> bytes:
        """Everything that a client of the gateway gets for a statement: simple and extended, text
        and binary. The same of both databases, or AssertionError.
        """
        said, twin = _said(self.agent, sql), _said(self.twin, sql)
        if self.types:
            oids = re.compile(b"|".join(map(re.escape, self.types)))
            twin = oids.sub(lambda match: self.types[match.group()], twin)
        assert _COLUMN.sub(b"", said) == _COLUMN.sub(b"", twin), sql
        return said

    def refused(self, sql: str) -> str:
        """The code of the refusal; "" when the statement runs or the server refuses it."""
        error = _ask(self.agent, sql, 0, ()).error
        return error[1:7].decode() if error.startswith(b"[SP") else ""


Row = list[bytes | None]


class _Answer(NamedTuple):
    error: bytes
    columns: list[tuple[bytes | None, int, int]]
    rows: list[Row]
    copied: bytes = b""

    def parts(self) -> list[bytes]:
        cells = [cell for row in self.rows for cell in row if cell is not None]
        return [self.error, self.copied, *cells, *[name for name, _, _ in self.columns if name]]


def _types(connection: psycopg.Connection[Any]) -> dict[tuple[str, str], bytes]:
    """The OIDs of the types that are not PostgreSQL's own, by name."""
    rows = connection.execute(
        "select nspname, typname, t.oid from pg_type t join pg_namespace n on n.oid = typnamespace"
        " where t.oid >= 16384"
    )
    return {(schema, name): int(oid).to_bytes(4, "big") for schema, name, oid in rows}


def _said(connection: psycopg.Connection[Any], sql: str) -> bytes:
    notices: list[bytes] = []

    def note(notice: psycopg.errors.Diagnostic) -> None:
        notices.append(f"{notice.message_primary} {notice.message_detail}".encode())

    connection.add_notice_handler(note)
    answers = [_ask(connection, sql, result_format, ()) for result_format in (0, 1)]
    answers.append(_answer(connection, connection.pgconn.exec_(sql.encode())))
    connection.remove_notice_handler(note)
    return b"\n".join([part for answer in answers for part in answer.parts()] + notices)


def _ask(
    connection: psycopg.Connection[Any], sql: str, result_format: int, parameters: tuple[str, ...]
) -> _Answer:
    values = [value.encode() for value in parameters] or None
    return _answer(
        connection, connection.pgconn.exec_params(sql.encode(), values, result_format=result_format)
    )


def _answer(connection: psycopg.Connection[Any], result: pq.abc.PGresult) -> _Answer:
    if result.status == pq.ExecStatus.COPY_OUT:
        return _Answer(b"", [], [], _copied(connection))
    words = b" ".join(result.error_field(field) or b"" for field in _FIELDS).strip()
    columns = [(result.fname(n), result.ftype(n), result.fformat(n)) for n in range(result.nfields)]
    rows = [[result.get_value(r, n) for n in range(result.nfields)] for r in range(result.ntuples)]
    return _Answer(words, columns, rows)


def _copied(connection: psycopg.Connection[Any]) -> bytes:
    data = b""
    while True:
        size, chunk = connection.pgconn.get_copy_data(0)
        if size < 0:
            break
        data += bytes(chunk)
    while (result := connection.pgconn.get_result()) is not None:
        data += result.error_message
    return data


@contextmanager
def _database(server: Server, name: str, schema: str) -> Iterator[Server]:
    with psycopg.connect(server.superuser_dsn, autocommit=True) as connection:
        connection.execute(f"drop database if exists {name} with (force)".encode())
        connection.execute(f"create database {name}".encode())
        own = replace(server, database=name)
        try:
            with psycopg.connect(own.superuser_dsn, autocommit=True) as inside:
                inside.execute(schema.encode())
            yield own
        finally:
            connection.execute(f"drop database if exists {name} with (force)".encode())


@contextmanager
def live(
    server: Server,
    issuer: DevIssuer,
    schema: str,
    policy: str,
    name: str,
    replacements: Mapping[str, str],
    extra: Mapping[str, Any] | None = None,
) -> Iterator[Live]:
    """A database called ``name``, made with ``schema`` by a superuser, another that differs as
    ``other`` says (text to text), and a gateway before both as targets ``shop`` and ``twin``; all
    gone afterwards. ``extra``: more of sallyport.yaml.
    """
    changed = schema
    for old, new in replacements.items():
        if old not in changed:
            raise ValueError(f"{old!r} is not in the schema")
        changed = changed.replace(old, new)
    with (
        _database(server, name, schema) as first,
        _database(server, f"{name}_twin", changed) as two,
    ):
        gateway = Gateway(
            issuer, {"shop": first, "twin": two}, policy=policy, extra=extra or {}
        ).start()
        try:
            with (
                psycopg.connect(first.agent_dsn, autocommit=True) as direct,
                psycopg.connect(two.agent_dsn, autocommit=True) as beside,
                psycopg.connect(gateway.dsn(), autocommit=True) as agent,
                psycopg.connect(gateway.dsn(target="twin"), autocommit=True) as twin,
            ):
                ours, theirs = _types(direct), _types(beside)
                types = {
                    theirs[name]: ours[name]
                    for name in theirs
                    if ours.get(name, theirs[name]) != theirs[name]
                }
                yield Live(direct, agent, twin, types)
        finally:
            gateway.stop()
