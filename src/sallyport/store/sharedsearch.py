"""The index of statements in a store that gateways share: the work of
:class:`sallyport.store.statementsearch.StatementSearch`, by PostgreSQL's full-text search.

The words are split here and not by PostgreSQL's parser, to which ``public.customers`` is the name
of a host: they are letters and digits that stand together, without regard to case and accents, as
FTS5's tokenizer has them. Of a word that stands in one statement more than 256 times PostgreSQL
keeps the first 256 places.

Each gateway puts in what it recorded and remembers how far it is; all search all of it.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from sqlalchemy import Connection, Engine, Select, cast, delete, func, select, text, union, update
from sqlalchemy.dialects.postgresql import ARRAY, TSQUERY, insert
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.types import Text

from sallyport.store.dialect import lock_key, reason_of
from sallyport.store.searchtables import search_progress, search_statements, search_texts
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

#: Of what is stored; a gateway that finds another one makes its part anew.
VERSION: Final = 1
_WORD: Final = re.compile(r"[^\W_]+")
#: Characters of a word; PostgreSQL's bound is 2046 bytes.
_LONGEST_WORD: Final = 500
_DAY: Final = 86_400.0
_CANCELED: Final = "57014"


class SharedStatementSearch:
    """``gateway``: who writes; "" only reads."""

    def __init__(self, engine: Engine, gateway: str = "", *, maximum: int = MOST) -> None:
        """Raises SearchError."""
        self._engine, self._gateway, self._maximum = engine, gateway, maximum
        if gateway:
            self._prepare()

    def _prepare(self) -> None:
        with self._transaction() as connection:
            query = select(search_progress.c.version).where(
                search_progress.c.gateway == self._gateway
            )
            if connection.execute(query).scalar() != VERSION:
                self._clear(connection)

    def clear(self) -> None:
        """Remove what this gateway has put in."""
        with self._transaction() as connection:
            self._clear(connection)

    def _clear(self, connection: Connection) -> None:
        mine = search_statements.c.gateway == self._gateway
        connection.execute(delete(search_statements).where(mine))
        connection.execute(
            delete(search_progress).where(search_progress.c.gateway == self._gateway)
        )
        values = {"version": VERSION, "cursor": "", "complete_until": 0.0}
        counts = {"gateway": self._gateway, "statements": 0, "dropped": 0}
        connection.execute(insert(search_progress).values({**values, **counts}))

    def add(
        self, statements: Sequence[IndexedStatement], cursor: str, complete_until: float
    ) -> None:
        """In one transaction: the statements, and how far the record was read. SearchError."""
        with self._transaction() as connection:
            if statements:
                # Row numbers are the time: two gateways could choose the same at once.
                key = {"key": lock_key("search")}
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), key)
                self._insert(connection, statements)
            c = search_progress.c
            progress = {"cursor": cursor, "complete_until": complete_until}
            connection.execute(
                update(search_progress)
                .where(c.gateway == self._gateway)
                .values(statements=c.statements + len(statements), **progress)
            )

    def _insert(self, connection: Connection, statements: Sequence[IndexedStatement]) -> None:
        texts: dict[str, str] = {}

        def shared(values: tuple[Any, ...]) -> str:
            text, digest = shared_text(values)
            texts[digest.hex()] = text
            return digest.hex()

        def taken_of(keys: list[int]) -> Iterable[int]:
            query = select(search_statements.c.key).where(search_statements.c.key.in_(keys))
            return connection.execute(query).scalars()

        rows = []
        for key, statement in keyed(statements, taken_of):
            sql = statement.sql[:LONGEST]
            rows.append(
                {
                    "key": key, "gateway": self._gateway, "session": statement.session,
                    "number": statement.number, "sql": sql,
                    "shortened": len(statement.sql) > LONGEST, "outcome": statement.outcome,
                    "code": statement.code, "sqlstate": statement.sqlstate,
                    "rows": statement.rows, "seconds": statement.seconds,
                    "fingerprint": statement.fingerprint, "who": shared(who_of(statement)),
                    "what": shared(what_of(statement)), "terms": terms_of(statement).split(),
                    "words": _vector(sql),
                }
            )  # fmt: skip
        for digest, encoded in sorted(texts.items()):  # in one order: no two wait for each other
            row = insert(search_texts).values(digest=digest, text=encoded)
            connection.execute(row.on_conflict_do_nothing())
        connection.execute(insert(search_statements), rows)

    def trim(self) -> int:
        """Let this gateway's oldest go while it has too many; how many went. Raises SearchError."""
        gone = trim_oldest(self._held(), self._maximum, self._delete_oldest)
        if gone:
            self._delete_unused_texts()
        return gone

    def _delete_oldest(self, number: int) -> int:
        c = search_statements.c
        own = select(c.key).where(c.gateway == self._gateway)
        oldest = own.order_by(c.key).limit(number).subquery()
        with self._transaction() as connection:
            return self._delete(connection, c.key.in_(select(oldest.c.key)), dropped=True)

    def forget(self, sessions: Sequence[str]) -> int:
        """Delete what is kept of the statements of these sessions, at most 500; how many there
        were. PostgreSQL overwrites it when it vacuums. Raises SearchError.
        """
        with self._transaction() as connection:
            count = self._delete(connection, search_statements.c.session.in_(sessions))
        self._delete_unused_texts()
        return count

    def _held(self) -> int:
        """How many are this gateway's."""
        c = search_progress.c
        with self._transaction() as connection:
            query = select(c.statements).where(c.gateway == self._gateway)
            return int(connection.execute(query).scalar() or 0)

    def _delete(self, connection: Connection, which: Any, *, dropped: bool = False) -> int:
        query = delete(search_statements).where(which).returning(search_statements.c.gateway)
        counts = Counter(connection.execute(query).scalars())
        c = search_progress.c
        for gateway, count in sorted(counts.items()):  # in one order: no two wait for each other
            changes = {"statements": c.statements - count, "dropped": c.dropped + count * dropped}
            connection.execute(
                update(search_progress).where(c.gateway == gateway).values(**changes)
            )
        return counts.total()

    def _delete_unused_texts(self) -> None:
        s = search_statements
        with self._transaction() as connection:
            key = {"key": lock_key("search")}  # none may come to be used meanwhile
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), key)
            used = union(select(s.c.who), select(s.c.what))
            connection.execute(delete(search_texts).where(search_texts.c.digest.not_in(used)))

    def state(self) -> IndexState:
        """Counts are of all gateways; the cursor is this one's. For a reader, what is complete is
        complete of all gateways that were at work on the last day. Raises SearchError.
        """
        with self._transaction() as connection:
            rows = connection.execute(select(search_progress)).all()
            oldest = connection.execute(select(func.min(search_statements.c.key))).scalar()
        newest = max((row.complete_until for row in rows), default=0.0)
        if self._gateway:
            mine = [row for row in rows if row.gateway == self._gateway]
        else:
            mine = [row for row in rows if row.complete_until > newest - _DAY]
        return IndexState(
            sum(row.statements for row in rows),
            None if oldest is None else oldest / SECOND,
            mine[0].cursor if self._gateway and mine else "",
            min((row.complete_until for row in mine), default=0.0),
            sum(row.dropped for row in rows),
        )

    def search(self, query: StatementQuery) -> list[StatementHit]:
        """One page, newest first. Raises SearchError."""
        s = search_statements.c
        until = row_number(query.until) if query.until is not None else LAST_ROW
        chosen: Select[Any] = select(s.key).where(
            s.key >= (row_number(query.since) if query.since is not None else 0),
            s.key < (until if query.before is None else min(until, query.before)),
        )
        if query.terms:
            chosen = chosen.where(s.terms.contains(cast(_terms(query), ARRAY(Text))))
        for phrase in query.phrases:
            chosen = chosen.where(s.words.bool_op("@@")(cast(_phrase(phrase), TSQUERY)))
        page = chosen.order_by(s.key.desc()).limit(query.limit).subquery()
        who, what = search_texts.alias(), search_texts.alias()
        rows = (
            select(
                s.key, s.session, s.number, s.sql, s.shortened, s.outcome, s.code, s.sqlstate,
                s.rows, s.seconds, s.fingerprint, who.c.text, what.c.text,
            )
            .join(page, page.c.key == s.key)
            .join(who, who.c.digest == s.who)
            .join(what, what.c.digest == s.what)
            .order_by(s.key.desc())
        )  # fmt: skip
        with self._transaction() as connection:
            patience = {"limit": str(int(PATIENCE * 1000))}
            connection.execute(
                text("SELECT set_config('statement_timeout', :limit, true)"), patience
            )
            return [hit_of(row) for row in connection.execute(rows)]

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        try:
            with self._engine.begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            reason = reason_of(error)
            if _CANCELED in reason:
                limit = f"{PATIENCE:g} seconds"
                raise SearchError(f"the search took more than {limit}. Ask for less") from None
            raise SearchError(f"the index of statements cannot be used: {reason}") from None


def _terms(query: StatementQuery) -> list[str]:
    for kind, _ in query.terms:
        if kind not in KINDS:
            raise SearchError(f"statements have no {kind!r}. There is: {', '.join(KINDS)}")
    return [term_of(kind, value) for kind, value in query.terms]


def words_of(sql: str) -> list[str]:
    """Its words, in their order."""
    plain = "".join(
        character
        for character in unicodedata.normalize("NFD", sql)
        if not unicodedata.combining(character)
    )
    return [word[:_LONGEST_WORD] for word in _WORD.findall(plain.casefold())]


def _vector(sql: str) -> str:
    """A ``tsvector`` as text: each word with its places. Words hold no sign that has a meaning."""
    places: dict[str, list[int]] = {}
    for place, word in enumerate(words_of(sql), 1):
        places.setdefault(word, []).append(place)
    return " ".join(
        f"'{word}':{','.join(map(str, numbers[:256]))}" for word, numbers in places.items()
    )


def _phrase(phrase: str) -> str:
    """A ``tsquery`` as text. Raises SearchError."""
    words = words_of(phrase)
    if not words:
        raise SearchError(f"there is no word to search for in {phrase!r}: write letters")
    quoted = [f"'{word}'" for word in words]
    if phrase.endswith("*"):
        quoted[-1] += ":*"
    return " <-> ".join(quoted)
