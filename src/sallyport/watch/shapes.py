"""What detectors know of a statement: a fingerprint without its literals, and what it touches.

Made once per verdict and kept with it, so that statements that were judged before cost a look-up.
"""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import Final

import msgspec

from sallyport.core.errors import RefusedError
from sallyport.judge import Verdict
from sallyport.sql.catalog.snapshot import CatalogSnapshot
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
    actions: kind and relation, for each relation.
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
    actions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(
            self, "actions", tuple(f"{self.kind} {relation}" for relation in self.relations)
        )


def without_literals(sql: bytes) -> str:
    """The text in lower case with ? for every value, lists of values as one, and single spaces.
    Comments are left out. A text that cannot be read gives the same for all such texts.
    """
    try:
        tokens = Tokens(sql)
    except RefusedError:
        return "(unreadable)"
    words = []
    for start, end in zip(tokens.starts, tokens.ends, strict=True):
        token = sql[start:end]
        words.append("?" if _VALUE.match(token) else token.decode("utf-8", "replace").lower())
    return _LIST.sub("? ", " ".join(words))


def fingerprint(text: str) -> str:
    """Of a text without literals: 16 hex digits."""
    return blake2b(text.encode("utf-8", "replace"), digest_size=8).hexdigest()


def shape_of(verdict: Verdict, catalog: CatalogSnapshot) -> Shape:
    """The shape of a statement that ran, made when it is first asked for."""
    shape: Shape | None = verdict.records.get(_KEPT)
    if shape is None:
        shape = verdict.records[_KEPT] = _shape(verdict, catalog)
    return shape


def refused_shape(sql: bytes, relations: tuple[str, ...]) -> Shape:
    """The shape of a statement that was refused."""
    text = without_literals(sql)
    kind = text.partition(" ")[0][:20]
    return Shape(fingerprint(text), kind, _label(kind, relations), relations)


def _shape(verdict: Verdict, catalog: CatalogSnapshot) -> Shape:
    facts = verdict.facts
    text = without_literals(verdict.sql)
    used = facts.mentioned_columns.union(*(access.columns for access in facts.accesses))
    columns = tuple(catalog.column_name(column) for column in sorted(used)[:_MAX_COLUMNS])
    names = (*verdict.relations, *columns)
    return Shape(
        fingerprint(text),
        facts.kind,
        _label(facts.kind, verdict.relations),
        verdict.relations,
        columns,
        verdict.masked_columns,
        tuple(name for name in names if _looks_like_credential(name)),
        _LIMIT.search(text) is not None,
        _SEARCH.search(text) is not None,
    )


def _label(kind: str, relations: tuple[str, ...]) -> str:
    more = f" and {len(relations) - 2} more" if len(relations) > 2 else ""
    return f"{kind} {', '.join(relations[:2])}{more}".strip()


def _looks_like_credential(name: str) -> bool:
    """name: schema.relation or schema.relation.column; only its last part is looked at."""
    if name.startswith(("pg_catalog.", "information_schema.")):
        return False
    return _CREDENTIAL.search(name.rpartition(".")[2].lower()) is not None
