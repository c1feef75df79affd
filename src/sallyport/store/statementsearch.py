"""The index of statements: SQLite with FTS5 in a file of its own, ``<data>/search.db``.

One row a statement, in the order of time: the row's number is made of the time, so that a range of
time is a range of rows, the newest come first without sorting, and a page goes on behind a row. The
words of the SQL and everything a statement can be asked for (its *terms*: subject, target, verdict,
relation, ...) are in one full-text index, which intersects lists of rows; a search reads no
recording and no row that it does not show.

A term is stored as a hash of its kind and value. Words that people type are quoted for FTS5
(https://www.sqlite.org/fts5.html, section 3.1), so nothing in them is syntax.

The file holds nothing that the recordings do not: it may be deleted, and is made again from them.
It is apart from the gateway's database so that merging its lists never makes a lock or an approval
wait. What it holds was masked before it was recorded.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from sallyport.store.statementindex import (
    KINDS,
    LAST_ROW,
    LONGEST,
    MOST,
    PATIENCE,
    SECOND,
    IndexedStatement,
    IndexState,
    SearchError,
    StatementHit,
    StatementQuery,
    hit_of,
    keyed,
    row_number,
    shared_text,
    term_of,
    terms_of,
    trim_oldest,
    what_of,
    who_of,
)

FILE: Final = "search.db"
#: Of the tables below; a file of another version is made anew.
VERSION: Final = 1

_TABLES: Final = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE texts (key INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE, text TEXT NOT NULL);
CREATE TABLE statements (
  key INTEGER PRIMARY KEY, session TEXT NOT NULL, number INTEGER NOT NULL, sql TEXT NOT NULL,
  shortened INTEGER NOT NULL, outcome TEXT NOT NULL, code TEXT NOT NULL, sqlstate TEXT NOT NULL,
  rows INTEGER, seconds REAL,
  fingerprint TEXT NOT NULL, who INTEGER NOT NULL, what INTEGER NOT NULL
);
CREATE VIRTUAL TABLE words USING fts5(sql, terms, content='', columnsize=0);
"""


def check_fts5() -> None:
    """Raises SearchError when this SQLite has no FTS5."""
    connection = sqlite3.connect(":memory:")
    try:
        connection.execute("CREATE VIRTUAL TABLE probe USING fts5(text)")
    except sqlite3.OperationalError as error:
        raise SearchError(
            f"the SQLite of this Python ({sqlite3.sqlite_version}) has no FTS5: {error}. "
            "Statements cannot be searched. "
            "Install a Python whose SQLite has it (Debian's and python.org's do), "
            "or set 'recording: {search_statements: 0}'"
        ) from None
    finally:
        connection.close()


class StatementSearch:
    """The file. ``writable``: the gateway's, and the command's that makes it anew; there is one at
    a time, and it is used by one thread at a time. Others read beside it.
    """

    def __init__(self, data: Path, *, writable: bool = False, maximum: int = MOST) -> None:
        """Raises SearchError."""
        check_fts5()
        self.path = data / FILE
        self._maximum = maximum
        self._writable = writable
        if writable:
            self._prepare()
        elif not self.path.is_file():
            raise SearchError(
                f"there is no index of statements yet: {self.path} does not exist. "
                "A gateway makes it while it runs; without one: sallyport audit reindex"
            )

    # -- writing -----------------------------------------------------------

    def _prepare(self) -> None:
        """Make the file, or make it anew when it is of another version or damaged."""
        try:
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        except OSError as error:
            raise SearchError(f"cannot open {self.path}: {error.strerror}") from None
        try:
            with self._connection() as connection:
                if connection.execute("PRAGMA user_version").fetchone()[0] == VERSION:
                    return
        except SearchError:
            pass  # damaged: it is made anew
        self.clear()

    def clear(self) -> None:
        """Make it empty: the recordings have everything. Raises SearchError."""
        for suffix in ("-wal", "-shm", ""):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        with self._connection() as connection:
            connection.executescript(f"BEGIN;{_TABLES}PRAGMA user_version = {VERSION};COMMIT;")

    def add(
        self,
        statements: Sequence[IndexedStatement],
        cursor: str,
        complete_until: float,
    ) -> None:
        """In one transaction: the statements, and how far the record was read. SearchError."""
        with self._connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            self._insert(connection, statements)
            facts = {"cursor": cursor, "complete_until": repr(complete_until)}
            _set_facts(connection, facts, counting={"statements": len(statements)})
            connection.execute("COMMIT")

    def trim(self) -> int:
        """Let the oldest go while there are too many; how many went. Raises SearchError."""
        gone = trim_oldest(self.state().statements, self._maximum, self._delete_oldest)
        if gone:
            with self._connection() as connection:
                connection.execute(_DELETE_UNUSED_TEXTS)
        return gone

    def _delete_oldest(self, number: int) -> int:
        with self._connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            rows = connection.execute(
                f"SELECT {_COLUMNS} ORDER BY s.key LIMIT ?", (number,)
            ).fetchall()
            _delete_words(connection, rows)
            if rows:
                connection.execute("DELETE FROM statements WHERE key <= ?", (rows[-1][0],))
            _set_facts(connection, {}, {"statements": -len(rows), "dropped": len(rows)})
            connection.execute("COMMIT")
        return len(rows)

    def forget(self, sessions: Sequence[str]) -> int:
        """Delete what is kept of the statements of these sessions, at most 500, and overwrite it;
        how many there were. Raises SearchError.
        """
        marks = ", ".join("?" * len(sessions))
        with self._connection() as connection:
            connection.execute("PRAGMA secure_delete = ON")
            connection.execute("BEGIN IMMEDIATE")
            rows = connection.execute(
                f"SELECT {_COLUMNS} WHERE s.session IN ({marks}) ORDER BY s.key", sessions
            ).fetchall()
            _delete_words(connection, rows)
            connection.execute(f"DELETE FROM statements WHERE session IN ({marks})", sessions)
            connection.execute(_DELETE_UNUSED_TEXTS)
            _set_facts(connection, {}, {"statements": -len(rows)})
            connection.execute("COMMIT")
            # FTS5 marks deleted words until it merges its segments
            connection.execute("INSERT INTO words (words) VALUES ('optimize')")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return len(rows)

    def _insert(
        self,
        connection: sqlite3.Connection,
        statements: Sequence[IndexedStatement],
    ) -> None:
        """In the order of their keys: FTS5 writes a list for every row that is out of order."""
        texts = _Texts(connection)
        words, rows = [], []

        def taken_of(keys: list[int]) -> list[int]:
            marks = ", ".join("?" * len(keys))
            rows_there = connection.execute(
                f"SELECT key FROM statements WHERE key IN ({marks})", keys
            )
            return [key for (key,) in rows_there]

        for key, statement in keyed(statements, taken_of):
            sql = statement.sql[:LONGEST]
            words.append((key, sql, terms_of(statement)))
            who, what = texts.key(who_of(statement)), texts.key(what_of(statement))
            rows.append(
                (
                    key, statement.session, statement.number, sql, len(statement.sql) > LONGEST,
                    statement.outcome, statement.code, statement.sqlstate, statement.rows,
                    statement.seconds, statement.fingerprint, who, what,
                )
            )  # fmt: skip
        connection.executemany(f"INSERT INTO statements VALUES ({', '.join('?' * 13)})", rows)
        connection.executemany("INSERT INTO words (rowid, sql, terms) VALUES (?, ?, ?)", words)

    # -- reading -----------------------------------------------------------

    def state(self) -> IndexState:
        """Raises SearchError."""
        with self._connection() as connection:
            facts: dict[str, str] = dict(connection.execute("SELECT name, value FROM facts"))
            oldest = connection.execute("SELECT min(key) FROM statements").fetchone()[0]
        return IndexState(
            int(facts.get("statements", 0)),
            None if oldest is None else oldest / SECOND,
            facts.get("cursor", ""),
            float(facts.get("complete_until", 0.0)),
            int(facts.get("dropped", 0)),
        )

    def search(self, query: StatementQuery) -> list[StatementHit]:
        """One page, newest first. Raises SearchError."""
        since = row_number(query.since) if query.since is not None else 0
        until = row_number(query.until) if query.until is not None else LAST_ROW
        if query.before is not None:
            until = min(until, query.before)
        match = _match(query)
        with self._connection() as connection:
            deadline = time.monotonic() + PATIENCE
            connection.set_progress_handler(lambda: time.monotonic() > deadline, 100_000)
            if match:
                matching = connection.execute(
                    "SELECT rowid FROM words WHERE words MATCH ? AND rowid >= ? AND rowid < ? "
                    "ORDER BY rowid DESC LIMIT ?",
                    (match, since, until, query.limit),
                )
                keys = [key for (key,) in matching]
                marks = ", ".join("?" * len(keys))
                rows = connection.execute(
                    f"SELECT {_COLUMNS} WHERE s.key IN ({marks}) ORDER BY s.key DESC", keys
                )
            else:
                rows = connection.execute(
                    f"SELECT {_COLUMNS} WHERE s.key >= ? AND s.key < ? ORDER BY s.key DESC LIMIT ?",
                    (since, until, query.limit),
                )
            return [hit_of(row) for row in rows]

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """Raises SearchError for what SQLite says."""
        mode = "rw" if self._writable else "ro"
        try:
            uri = f"{self.path.absolute().as_uri()}?mode={mode}"
            connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=10.0)
            try:
                if self._writable:
                    connection.execute("PRAGMA journal_mode = WAL")
                    connection.execute("PRAGMA synchronous = NORMAL")
                elif connection.execute("PRAGMA user_version").fetchone()[0] != VERSION:
                    raise SearchError(
                        f"{self.path} was made by another version of Sallyport. "
                        "Start its gateway, or run 'sallyport audit reindex'"
                    )
                yield connection
            finally:
                connection.close()
        except sqlite3.Error as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
                limit = f"{PATIENCE:g} seconds"
                raise SearchError(f"the search took more than {limit}. Ask for less") from None
            raise SearchError(
                f"the index of statements {self.path} cannot be used: {error}. "
                "If it stays so, stop the gateway and run 'sallyport audit reindex'"
            ) from error


def _delete_words(connection: sqlite3.Connection, rows: Sequence[tuple[Any, ...]]) -> None:
    """What the rows of :data:`_COLUMNS` are found by. FTS5 is told the words again."""
    for row in rows:
        hit = hit_of(row)
        connection.execute(
            "INSERT INTO words (words, rowid, sql, terms) VALUES ('delete', ?, ?, ?)",
            (hit.key, hit.statement.sql, terms_of(hit.statement)),
        )


_DELETE_UNUSED_TEXTS: Final = (
    "DELETE FROM texts WHERE key NOT IN (SELECT who FROM statements UNION SELECT what FROM"
    " statements)"
)
_COLUMNS: Final = (
    "s.key, s.session, s.number, s.sql, s.shortened, s.outcome, s.code, s.sqlstate, s.rows, "
    "s.seconds, s.fingerprint, who.text, what.text FROM statements s "
    "JOIN texts who ON who.key = s.who JOIN texts what ON what.key = s.what"
)


class _Texts:
    """What many statements share is stored once."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._keys: dict[tuple[Any, ...], int] = {}

    def key(self, values: tuple[Any, ...]) -> int:
        """Of a row that holds them as JSON."""
        key = self._keys.get(values)
        if key is None:
            text, digest = shared_text(values)
            self._connection.execute(
                "INSERT OR IGNORE INTO texts (digest, text) VALUES (?, ?)", (digest, text)
            )
            rows = self._connection.execute("SELECT key FROM texts WHERE digest = ?", (digest,))
            key = self._keys[values] = int(rows.fetchone()[0])
        return key


def _set_facts(
    connection: sqlite3.Connection,
    facts: Mapping[str, str],
    counting: Mapping[str, int],
) -> None:
    connection.executemany(
        "INSERT INTO facts VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value",
        facts.items(),
    )
    connection.executemany(
        "INSERT INTO facts VALUES (?, ?) ON CONFLICT DO UPDATE SET value = value + excluded.value",
        counting.items(),
    )


def _match(query: StatementQuery) -> str:
    """For FTS5; "" when nothing is asked but a time. Raises SearchError."""
    parts = []
    for kind, value in query.terms:
        if kind not in KINDS:
            raise SearchError(f"statements have no {kind!r}. There is: {', '.join(KINDS)}")
        parts.append(f'terms : "{term_of(kind, value)}"')
    for phrase in query.phrases:
        if not any(character.isalnum() for character in phrase):
            raise SearchError(f"there is no word to search for in {phrase!r}: write letters")
        words, star = (phrase[:-1], " *") if phrase.endswith("*") else (phrase, "")
        quoted = words.replace("\0", " ").replace('"', '""')
        parts.append(f'sql : "{quoted}"{star}')
    return " AND ".join(parts)
