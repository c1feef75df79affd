"""What an index of statements keeps and is asked, whichever database it is in.

Rows are in the order of time: a row's number is made of the time, so that a range of time is a
range of rows, the newest come first without sorting, and a page goes on behind a row. Everything a
statement can be asked for (its *terms*: subject, target, verdict, relation, ...) is stored as a
hash of its kind and value.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import attrgetter
from typing import Any, Final, Protocol

from msgspec import Struct

from sallyport.core.errors import SallyportError

#: Characters of a statement that are kept and searched.
LONGEST: Final = 4000
#: Statements that are kept, unless the configuration says otherwise.
MOST: Final = 2_000_000
#: Row numbers of one second.
SECOND: Final = 1_000_000_000
LAST_ROW: Final = (1 << 63) - 1
#: How many are left when the oldest have gone, and how many of them go in one transaction.
_KEPT: Final = 0.95
_TRIMMED: Final = 5_000
#: Seconds that a search may take before it is given up.
PATIENCE: Final = 10.0

#: What a statement may be asked for, each a term of the index.
KINDS: Final = (
    "subject", "actor", "agent", "label", "target", "session", "verdict", "code", "rule",
    "relation", "column", "masked", "sqlstate", "fingerprint",
)  # fmt: skip


class SearchError(SallyportError):
    """The index of statements cannot be used, or not for this; the text says why and what to do."""


class IndexedStatement(Struct, frozen=True):
    """``at``: Unix seconds. ``actors``: who acts for the subject. ``outcome``: allow | hold | deny.
    ``relations``, ``columns``, ``masked``: ``schema.relation`` and ``schema.relation.column``.
    ``seconds``: how long it took; it and ``rows`` are None when its end is not recorded.
    """

    at: float
    session: str
    number: int
    sql: str
    subject: str
    email: str
    actors: tuple[str, ...]
    agent: str
    label: str
    target: str
    outcome: str
    code: str
    rule: str
    relations: tuple[str, ...]
    columns: tuple[str, ...]
    masked: tuple[str, ...]
    sqlstate: str
    fingerprint: str
    rows: int | None
    seconds: float | None


@dataclass(frozen=True, slots=True)
class StatementQuery:
    """Which statements. ``terms``: kind (of :data:`KINDS`) and value; all must hold. ``phrases``:
    words that follow each other in the SQL, in any case; a last ``*`` of a phrase stands for the
    rest of a word. ``since``, ``until``: Unix seconds, the second excluded. ``before``: the key of
    the last hit of the page before.
    """

    terms: tuple[tuple[str, str], ...] = ()
    phrases: tuple[str, ...] = ()
    since: float | None = None
    until: float | None = None
    before: int | None = None
    limit: int = 50


@dataclass(frozen=True, slots=True)
class StatementHit:
    """``key``: where the next page goes on. ``shortened``: the recording has more of the SQL."""

    key: int
    statement: IndexedStatement
    shortened: bool


@dataclass(frozen=True, slots=True)
class IndexState:
    """``statements``: that it holds. ``oldest``: Unix seconds of the oldest of them, None when it
    is empty. ``cursor``: what of the record is in it (text of an ExportCursor, "" for nothing).
    ``complete_until``: Unix seconds; what was recorded before is in it. ``dropped``: statements
    that went because there were too many.
    """

    statements: int
    oldest: float | None
    cursor: str
    complete_until: float
    dropped: int


class StatementIndexPort(Protocol):
    """The index. The gateway has one for writing, which one thread at a time uses; others read
    beside it.
    """

    def clear(self) -> None:
        """Make it empty: the recordings have everything. Raises SearchError."""

    def add(
        self, statements: Sequence[IndexedStatement], cursor: str, complete_until: float, /
    ) -> None:
        """In one transaction: the statements, and how far the record was read. SearchError."""

    def trim(self) -> int:
        """Let the oldest go while there are too many; how many went. Raises SearchError."""

    def forget(self, sessions: Sequence[str], /) -> int:
        """Delete what is kept of the statements of these sessions, at most 500; how many there
        were. Raises SearchError.
        """

    def state(self) -> IndexState:
        """Raises SearchError."""

    def search(self, query: StatementQuery, /) -> list[StatementHit]:
        """One page, newest first. Raises SearchError."""


_WHO: Final = ("subject", "email", "actors", "agent", "label", "target")
_WHAT: Final = ("rule", "relations", "columns", "masked")
_HOW: Final = ("session", "outcome", "code", "sqlstate", "fingerprint")
#: The kinds of those.
_WHO_TERMS: Final = ("subject", "subject", "actor", "agent", "label", "target")
_WHAT_TERMS: Final = ("rule", "relation", "column", "masked")
_HOW_TERMS: Final = ("session", "verdict", "code", "sqlstate", "fingerprint")

who_of, what_of, _how_of = attrgetter(*_WHO), attrgetter(*_WHAT), attrgetter(*_HOW)


def trim_oldest(held: int, maximum: int, delete_oldest: Callable[[int], int]) -> int:
    """Let the oldest of ``held`` statements go when there are more than ``maximum``; how many went.
    ``delete_oldest``: deletes so many in one transaction, and says how many there were.
    """
    if held <= maximum:
        return 0
    kept, gone = int(maximum * _KEPT), 0
    while held - gone > kept:
        count = delete_oldest(min(_TRIMMED, held - gone - kept))
        if not count:
            break
        gone += count
    return gone


def hit_of(row: Sequence[Any]) -> StatementHit:
    """A row of the index: its columns in the order of :class:`IndexedStatement`, texts last."""
    (
        key,
        session,
        number,
        sql,
        shortened,
        outcome,
        code,
        sqlstate,
        rows,
        seconds,
        fingerprint,
        who,
        what,
    ) = row
    fields = {
        **dict(zip(_WHO, json.loads(who), strict=True)),
        **dict(zip(_WHAT, json.loads(what), strict=True)),
    }
    for name, value in fields.items():
        fields[name] = tuple(value) if isinstance(value, list) else value
    statement = IndexedStatement(
        at=key / SECOND, session=session, number=number, sql=sql, outcome=outcome,
        code=code, sqlstate=sqlstate, fingerprint=fingerprint, rows=rows, seconds=seconds, **fields,
    )  # fmt: skip
    return StatementHit(key, statement, bool(shortened))


def row_number(at: float) -> int:
    """The first of a moment (Unix seconds)."""
    return min(max(int(at * 1_000_000) * 1000, 0), LAST_ROW)


def place_of(statement: IndexedStatement) -> tuple[float, str, int]:
    """Where it stands among others."""
    return statement.at, statement.session, statement.number


@lru_cache(maxsize=65_536)
def term_of(kind: str, value: str) -> str:
    """One word of FTS5's tokenizer (unicode61): letters and digits only."""
    return hashlib.blake2b(
        f"{kind}\0{value.casefold()}".encode("utf-8", "replace"), digest_size=8
    ).hexdigest()


def terms_of(statement: IndexedStatement) -> str:
    """Everything that the statement can be asked for, as words."""
    return _terms(who_of(statement), what_of(statement), _how_of(statement))


@lru_cache(maxsize=2048)
def _terms(who: tuple[Any, ...], what: tuple[Any, ...], how: tuple[Any, ...]) -> str:
    """Of many statements; who sends the same again only with other values has the same terms."""
    pairs = []
    for kind, value in zip(
        (*_WHO_TERMS, *_WHAT_TERMS, *_HOW_TERMS), (*who, *what, *how), strict=True
    ):
        if isinstance(value, str):
            pairs.append((kind, value))
        elif kind == "actor":
            pairs += [(kind, name) for name in value]
        else:
            pairs += [(kind, short) for name in value for short in _shorter(name)]
    return " ".join(dict.fromkeys(term_of(kind, value) for kind, value in pairs if value))


@lru_cache(maxsize=2048)
def shared_text(values: tuple[Any, ...]) -> tuple[str, bytes]:
    """What many statements have in common, as JSON, and its digest (16 bytes)."""
    text = json.dumps(values, separators=(",", ":"))
    return text, hashlib.blake2b(text.encode(), digest_size=16).digest()


def keyed(
    statements: Sequence[IndexedStatement], taken_of: Callable[[list[int]], Iterable[int]]
) -> Iterator[tuple[int, IndexedStatement]]:
    """With row numbers that nothing has, in their order. ``taken_of``: which of these some row
    has.
    """
    ordered = sorted(statements, key=place_of)
    keys: list[int] = []
    taken: set[int] = set()
    while not keys or taken.intersection(keys):
        keys, last = [], -1
        for statement in ordered:
            last = max(row_number(statement.at), last + 1)
            while last in taken:
                last += 1
            keys.append(last)
        if not keys:
            break
        taken.update(taken_of(keys))
    return zip(keys, ordered, strict=True)


def _shorter(name: str) -> Iterator[str]:
    """A name as people may say it: whole, without the schema, the last part alone."""
    while True:
        yield name
        _, dot, name = name.partition(".")
        if not dot:
            return
