"""Runs one statement by one format and says what came back, in a form that two databases can be
compared by.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import psycopg
from psycopg import pq

_CODE = re.compile(rb"\[(SP\d{4})\]")
_LITERAL = re.compile(r"(?<![\w&])'((?:[^']|'')*)'(?!:)")
SETTINGS = (
    "timezone = 'Asia/Kolkata'",
    "datestyle = 'ISO, DMY'",
    "extra_float_digits = -3",
    "intervalstyle = 'iso_8601'",
    "bytea_output = 'escape'",
)
_GOOD = (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK)
RECORD, RECORD_ARRAY = 2249, 2287
#: What a statement that changes rows begins with; it is run between BEGIN and ROLLBACK.
_WRITES = re.compile(
    r"\s*(?:INSERT|UPDATE|DELETE|MERGE)\b|.*\b(?:INSERT INTO|DELETE FROM)\b|.*\bUPDATE \w+ SET\b",
    re.I | re.S,
)


@dataclass(frozen=True)
class Answer:
    """``columns``: name and type OID. ``error``: SQLSTATE. ``refusal``: the gateway's code.
    ``message``: of the error.
    """

    columns: tuple[tuple[str, int], ...] = ()
    rows: tuple[tuple[bytes | None, ...], ...] = ()
    tag: str = ""
    error: str = ""
    refusal: str = ""
    message: str = ""

    def shown(self) -> str:
        """For people: at most five rows."""
        if self.refusal or self.error:
            return f"{self.error} {self.message}"
        rows = [
            " | ".join("NULL" if v is None else v.decode(errors="replace") for v in row)
            for row in self.rows[:5]
        ]
        more = [f"... {len(self.rows)} rows"] if len(self.rows) > len(rows) else []
        return "\n".join([f"{self.tag} {list(self.columns)}", *rows, *more])


def run_statement(db: psycopg.Connection, sql: str, way: str) -> Answer:
    """By one of :data:`WAYS`. Writes, and whatever left a transaction open, are rolled back."""
    writes = _WRITES.match(sql) is not None
    if writes or way == "cursor":
        db.pgconn.exec_(b"BEGIN")
    answer = _answer_of(_RUNNERS[way](db.pgconn, sql), db.pgconn)
    if db.pgconn.transaction_status != pq.TransactionStatus.IDLE:
        db.pgconn.exec_(b"ROLLBACK")
    if way in ("prepared", "execute"):
        db.pgconn.exec_(b"DEALLOCATE ALL")
    return answer


def _text(connection: pq.abc.PGconn, sql: str) -> pq.abc.PGresult:
    return connection.exec_(sql.encode())


def _binary(connection: pq.abc.PGconn, sql: str) -> pq.abc.PGresult:
    return connection.exec_params(sql.encode(), None, result_format=1)


def _parameter(connection: pq.abc.PGconn, sql: str) -> pq.abc.PGresult:
    """The first text of the statement becomes a parameter of no declared type."""
    text = _LITERAL.search(sql)
    if text is None:
        return connection.exec_params(sql.encode(), None)
    statement = f"{sql[: text.start()]}$1{sql[text.end() :]}"
    return connection.exec_params(statement.encode(), [text[1].encode()])


def _prepared(connection: pq.abc.PGconn, sql: str) -> pq.abc.PGresult:
    """A named statement, bound twice."""
    result = connection.prepare(b"kept", sql.encode())
    for _ in range(2):
        if result.status in _GOOD:
            result = connection.exec_prepared(b"kept", None)
    return result


def _execute(connection: pq.abc.PGconn, sql: str) -> pq.abc.PGresult:
    return _in_turn(connection, f"PREPARE kept AS {sql}", "EXECUTE kept", "EXECUTE kept")


def _cursor(connection: pq.abc.PGconn, sql: str) -> pq.abc.PGresult:
    return _in_turn(connection, f"DECLARE walk NO SCROLL CURSOR FOR {sql}", "FETCH ALL FROM walk")


def _settings(connection: pq.abc.PGconn, sql: str) -> pq.abc.PGresult:
    """Under settings that change how values are read and written."""
    result = _in_turn(connection, *(f"SET {setting}" for setting in SETTINGS), sql)
    if connection.transaction_status == pq.TransactionStatus.INERROR:
        connection.exec_(b"ROLLBACK")
    for setting in SETTINGS:
        connection.exec_(f"RESET {setting.partition(' ')[0]}".encode())
    return result


def _copy(connection: pq.abc.PGconn, sql: str) -> pq.abc.PGresult:
    return connection.exec_(f"COPY ({sql}) TO STDOUT".encode())


def _in_turn(connection: pq.abc.PGconn, *statements: str) -> pq.abc.PGresult:
    """The result of the first that fails, or of the last."""
    for statement in statements:
        result = connection.exec_(statement.encode())
        if result.status not in _GOOD:
            break
    return result


_RUNNERS = {
    "text": _text,
    "binary": _binary,
    "parameter": _parameter,
    "prepared": _prepared,
    "execute": _execute,
    "cursor": _cursor,
    "copy": _copy,
    "settings": _settings,
}
#: Simple protocol; extended protocol in binary; with a parameter; named and bound twice; PREPARE
#: and EXECUTE; DECLARE and FETCH; COPY TO; under other settings.
WAYS = tuple(_RUNNERS)


def _answer_of(result: pq.abc.PGresult, connection: pq.abc.PGconn) -> Answer:
    rows: tuple[tuple[bytes | None, ...], ...] = ()
    if result.status == pq.ExecStatus.COPY_OUT:
        rows = tuple(_copied(connection))
        result = connection.get_result() or result
        while connection.get_result() is not None:
            pass
    if result.status not in _GOOD:
        raw = result.error_message
        code = _CODE.search(raw)
        sqlstate = (result.error_field(pq.DiagnosticField.SQLSTATE) or b"").decode()
        message = raw.decode(errors="replace").strip()
        return Answer(error=sqlstate, refusal=code[1].decode() if code else "", message=message)
    width = range(result.nfields)
    columns = tuple(((result.fname(i) or b"").decode(), result.ftype(i)) for i in width)
    rows = rows or tuple(
        tuple(result.get_value(row, i) for i in width) for row in range(result.ntuples)
    )
    return Answer(columns, rows, (result.command_status or b"").decode())


def _copied(connection: pq.abc.PGconn) -> Iterator[tuple[bytes | None, ...]]:
    """A row for each line that COPY sends."""
    while True:
        size, data = connection.get_copy_data(0)
        if size < 0:
            return
        yield (bytes(data),)


def without_row_types(answer: Answer, composites: dict[int, int], way: str) -> Answer:
    """Row types count as ``record``; their binary form, which names the types of columns, is left
    to the text format.
    """
    columns = tuple((name, composites.get(oid, oid)) for name, oid in answer.columns)
    rows = answer.rows
    if way == "binary":
        records = {i for i, (_, oid) in enumerate(columns) if oid in (RECORD, RECORD_ARRAY)}
        if records:
            rows = tuple(
                tuple(b"" if i in records else v for i, v in enumerate(row)) for row in rows
            )
    return Answer(columns, rows, answer.tag, answer.error, answer.refusal, answer.message)


def same_rows(left: Answer, right: Answer) -> bool:
    """As multisets, and the same columns, command tag and SQLSTATE."""
    if (left.error, left.columns, left.tag) != (right.error, right.columns, right.tag):
        return False
    return left.rows == right.rows or Counter(left.rows) == Counter(right.rows)


def orders_rows(sql: str) -> bool:
    """Whether the statement ends in an ORDER BY of its own: one outside parentheses and quotes."""
    depth, outside = 0, []
    for part in re.findall(r"'(?:[^']|'')*'|\"[^\"]*\"|[()]|[^()'\"]+", sql):
        if part == "(":
            depth += 1
        elif part == ")":
            depth -= 1
        elif depth == 0 and part[0] not in "'\"":
            outside.append(part)
    return re.search(r"\border\s+by\b", " ".join(outside), re.I) is not None


def composite_types(db: psycopg.Connection) -> dict[int, int]:
    """OID of each row type, and of each array of one, to ``record`` and ``record[]``."""
    rows = db.execute(
        "SELECT oid::int8, typarray::int8 FROM pg_type WHERE typtype = 'c'"
    ).fetchall()
    types = {row[0]: RECORD for row in rows}
    return types | {row[1]: RECORD_ARRAY for row in rows if row[1]}
