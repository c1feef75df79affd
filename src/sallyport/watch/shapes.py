"""What detectors know of a statement: a fingerprint without its literals, and what it touches.

Made once per verdict and kept with it, so that statements that were judged before cost a look-up.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Sequence
from hashlib import blake2b
from itertools import pairwise
from typing import Final

import msgspec

from sallyport.core.errors import RefusedError
from sallyport.judge import Verdict
from sallyport.policy.personal import looks_personal
from sallyport.sql.catalog.snapshot import CatalogSnapshot, ColumnId
from sallyport.sql.text.tokens import Tokens

#: Under this name a shape is kept among a verdict's records.
_KEPT: Final = "watch"
#: Columns of one statement that are kept.
_MAX_COLUMNS: Final = 64
#: Tokens that stand for values: numbers, strings, parameters.
_VALUE: Final = re.compile(rb"\.?[0-9]|['$]|[EeBbXxNn]'|[Uu]&'")
_LIST: Final = re.compile(r"\? (?:, \? ?)+")
_LIMIT: Final = re.compile(r"\b(?:limit|fetch (?:first|next)|offset)\b")
_SEARCH: Final = re.compile(r"\bwhere\b.*(?:[<>~]|\blike\b|\bilike\b|\bbetween\b|\bsubstr)")
#: Parts of names that are told as they are. Others may hold data: an agent names what it creates.
_PLAIN_NAME: Final = re.compile(r"[^\W\d][\w$ -]*")
_DIGITS: Final = re.compile(r"\d(?:[ _-]?\d){8}")
#: Words that statements begin with.
_HEAD: Final = re.compile(
    r"select|insert|update|delete|merge|with|table|values|copy|truncate|create|alter"
    r"|drop|grant|revoke|comment|explain|prepare|execute|deallocate|declare|fetch|move"
    r"|close|set|reset|show|begin|start|commit|end|rollback|abort|savepoint|release"
    r"|lock|call|do|notify|listen|unlisten|vacuum|analyze|cluster|reindex|refresh"
    r"|discard"
)
_AGGREGATES: Final = frozenset(
    ["count", "sum", "avg", "min", "max", "stddev", "stddev_pop", "stddev_samp", "variance"]
)
_AFTER_WHERE: Final = frozenset(
    ["order", "limit", "offset", "fetch", "having", "window", "union", "intersect", "except", ";"]
)
#: Words of a condition that leaves rows out.
_EXCLUDING: Final = frozenset(["<>", "!=", "not", "distinct"])
_MAX_CONJUNCTS: Final = 16
#: Names of columns and relations that look like credentials.
_CREDENTIAL: Final = re.compile(
    r"passw|passphrase|secret|credential|(?:api|access|private)_?key"
    r"|(?:^|_)(?:salt|t?otp|jwt)(?:$|_)"
    r"|(?:access|refresh|auth|session|bearer)_?token|(?:^|[._])tokens?$"
)


class Shape(msgspec.Struct, frozen=True):
    """fingerprint: hex digits, equal for statements that differ in literals and layout only.
    label: kind and relations, for people. pages: it has LIMIT, OFFSET or FETCH. searches: WHERE
    compares by order or pattern. credentials: columns and relations that look like them.
    aggregates: it counts or sums up one group of rows. conditions: fingerprints of what AND joins
    in its WHERE, then; singling: those of them that tell persons apart, by a masked or personal
    column or by excluding a primary key. actions: kind and relation, for each relation.
    """

    fingerprint: str
    kind: str
    label: str
    relations: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    masked: tuple[str, ...] = ()
    credentials: tuple[str, ...] = ()
    pages: bool = False
    searches: bool = False
    aggregates: bool = False
    conditions: frozenset[str] = frozenset()
    singling: frozenset[str] = frozenset()
    actions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(
            self, "actions", tuple(f"{self.kind} {relation}" for relation in self.relations)
        )


def without_literals(sql: bytes) -> str:
    """The text in lower case with ? for every value, lists of values as one, and single spaces.
    Comments are left out. A text that cannot be read gives the same for all such texts.
    """
    return _text(_words(sql))


def _words(sql: bytes) -> list[str]:
    try:
        tokens = Tokens(sql)
    except RefusedError:
        return ["(unreadable)"]
    words = []
    for start, end in zip(tokens.starts, tokens.ends, strict=True):
        token = sql[start:end]
        words.append("?" if _VALUE.match(token) else _word(token.decode("utf-8", "replace")))
    return words


def _word(token: str) -> str:
    """A quoted name may hold a value as well as a literal does."""
    if token.startswith('"'):
        return f'"{told_name(token[1:-1])}"'
    return token.lower() if not _DIGITS.search(token) else _digest(token)


def _text(words: Iterable[str]) -> str:
    return _LIST.sub("? ", " ".join(words))


def fingerprint(text: str) -> str:
    """Of a text without literals: 16 hex digits."""
    return blake2b(text.encode("utf-8", "replace"), digest_size=8).hexdigest()


def told_name(name: str) -> str:
    """A name as findings and baselines have it: a part of it that is none of letters, digits, _, $,
    spaces and hyphens, or has more than eight digits in a row, by a digest.
    """
    return ".".join(
        part if _PLAIN_NAME.fullmatch(part) and not _DIGITS.search(part) else _digest(part)
        for part in name.split(".")
    )


def _digest(part: str) -> str:
    """Of eight bits: names mostly differ, and nobody finds out which of many values one is by
    trying.
    """
    return f"(name {fingerprint(part)[:2]})" if part else ""


def _told(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(map(told_name, names))


def shape_of(verdict: Verdict, catalog: CatalogSnapshot, masked: Container[ColumnId] = ()) -> Shape:
    """The shape of a statement that ran, made when it is first asked for. masked: columns that are
    masked for whoever the verdict is of.
    """
    shape: Shape | None = verdict.records.get(_KEPT)
    if shape is None:
        shape = verdict.records[_KEPT] = _shape(verdict, catalog, masked)
    return shape


def refused_shape(sql: bytes, relations: tuple[str, ...]) -> Shape:
    """The shape of a statement that was refused."""
    text = without_literals(sql)
    head = text.partition(" ")[0]
    kind = head if _HEAD.fullmatch(head) else "statement"  # what begins otherwise may be anything
    relations = _told(relations)
    return Shape(fingerprint(text), kind, _label(kind, relations), relations)


def _shape(verdict: Verdict, catalog: CatalogSnapshot, masked: Container[ColumnId]) -> Shape:
    facts = verdict.facts
    words = _words(verdict.sql)
    text = _text(words)
    used = facts.mentioned_columns.union(*(access.columns for access in facts.accesses))
    columns = tuple(catalog.column_name(column) for column in sorted(used)[:_MAX_COLUMNS])
    credentials = filter(_looks_like_credential, (*verdict.relations, *columns))
    relations = _told(verdict.relations)
    conditions: frozenset[str] = frozenset()
    singling: frozenset[str] = frozenset()
    if aggregates := _is_total(words):
        persons, keys = _telling(verdict, catalog, masked)
        conjuncts = {_text(words): words for words in _conjuncts(words)}
        conditions = frozenset(fingerprint(text) for text in conjuncts)
        singling = frozenset(
            fingerprint(text)
            for text, words in conjuncts.items()
            if not persons.isdisjoint(words)
            or (not _EXCLUDING.isdisjoint(words) and not keys.isdisjoint(words))
        )
    return Shape(
        fingerprint(text),
        facts.kind,
        _label(facts.kind, relations),
        relations,
        _told(columns),
        _told(verdict.masked_columns),
        _told(credentials),
        _LIMIT.search(text) is not None,
        _SEARCH.search(text) is not None,
        aggregates,
        conditions,
        singling,
    )


def _is_total(words: Sequence[str]) -> bool:
    """Whether the statement gives aggregates of one group."""
    calls = pairwise(words)
    return "group" not in words and any(
        word in _AGGREGATES and following == "(" for word, following in calls
    )


def _conjuncts(words: Sequence[str]) -> list[list[str]]:
    """Of the first WHERE, what AND joins; at most :data:`_MAX_CONJUNCTS`."""
    if "where" not in words:
        return []
    conjuncts: list[list[str]] = [[]]
    depth, is_range = 0, False
    for word in words[words.index("where") + 1 :]:
        depth += (word == "(") - (word == ")")
        if depth < 0 or (depth == 0 and word in _AFTER_WHERE):
            break
        if depth == 0 and word == "and" and not is_range:
            if len(conjuncts) == _MAX_CONJUNCTS:
                break
            conjuncts.append([])
            continue
        if depth == 0 and word in ("between", "and"):
            is_range = word == "between"
        conjuncts[-1].append(word)
    return conjuncts


def _telling(
    verdict: Verdict, catalog: CatalogSnapshot, masked: Container[ColumnId]
) -> tuple[set[str], set[str]]:
    """Names, in lower case, of columns in the statement's conditions that say something about a
    person (masked, or their names say so), and of those of its primary key.
    """
    persons, keys = set[str](), set[str]()
    for column, _ in verdict.facts.mentioned:
        relation, of_table = catalog.relations.get(column.relation), catalog.column(column)
        if relation is None or of_table is None:
            continue
        name = of_table.name.lower()
        if column in masked or looks_personal(of_table.name):
            persons |= {name, f'"{name}"'}
        if column.attnum in relation.primary_key:
            keys |= {name, f'"{name}"'}
    return persons, keys


def _label(kind: str, relations: tuple[str, ...]) -> str:
    more = f" and {len(relations) - 2} more" if len(relations) > 2 else ""
    return f"{kind} {', '.join(relations[:2])}{more}".strip()


def _looks_like_credential(name: str) -> bool:
    """name: schema.relation or schema.relation.column; only its last part is looked at."""
    if name.startswith(("pg_catalog.", "information_schema.")):
        return False
    return _CREDENTIAL.search(name.rpartition(".")[2].lower()) is not None
