"""Arguments whose text names something: a setting, a sequence.

What such a call does is decided by the text, so the text that is judged must be the one that
PostgreSQL reads. It is for a plain literal and for a parameter whose value is used as it was sent.
Casts with a length cut a text, as do casts to name (63 bytes) and "char"; char(n) loses trailing
blanks; a domain may do any of it. What went through one of them names nothing here, and the caller
refuses.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from sallyport.sql.analysis import Analysis
from sallyport.sql.catalog.snapshot import Relation
from sallyport.sql.lineage import UNKNOWN_TYPE, Value
from sallyport.sql.text.identifiers import quoted
from sallyport.sql.values.types import BOOL, REGCLASS, TEXT, VARCHAR

#: Types whose values are the text they were written as, where they have no length.
UNCHANGED: Final = frozenset({UNKNOWN_TYPE, TEXT, VARCHAR})
#: NAMEDATALEN - 1: a longer identifier is cut there (truncate_identifier in scansup.c).
_BYTES: Final = 63
_PART: Final = re.compile(
    r'"((?:[^"\0]|"")+)"|([A-Za-z_\x80-\U0010ffff][A-Za-z0-9_$\x80-\U0010ffff]*)'
)


def kept_literal(value: Value, target: int, modified: bool) -> str | None:
    """The text of ``value`` after a cast to ``target`` (``modified``: with a length); None where it
    may be another text.

    To types that are no text it stays with the value: what is done with it there asks for its type.
    """
    to_text = target in (TEXT, VARCHAR, REGCLASS)
    return None if modified or (to_text and value.type not in UNCHANGED) else value.literal


def plain_text(value: Value) -> str | None:
    """The text of an argument of type text, as PostgreSQL reads it; None where that is not
    known.
    """
    return value.literal if value.constant and value.type in UNCHANGED else None


def plain_bool(value: Value) -> bool | None:
    """A boolean argument (parse_bool_with_len in bool.c); None where it is not known."""
    if not value.constant or value.literal is None or value.type not in (UNKNOWN_TYPE, BOOL):
        return None
    text = value.literal.strip(" \t\r\n\f\v").lower()
    if (text and any(word.startswith(text) for word in ("true", "yes"))) or text in ("on", "1"):
        return True
    if (text and any(word.startswith(text) for word in ("false", "no"))) or text in (
        "of",
        "off",
        "0",
    ):
        return False
    return None


def named_sequence(analysis: Analysis, value: Value) -> int | None:
    """The OID of the sequence that an argument of type regclass names; None where it is not known
    which is meant.

    Source: regclassin (regproc.c), stringToQualifiedNameList, SplitIdentifierString (varlena.c). A
    number would be an OID.
    """
    if not value.constant or value.literal is None or value.type not in (*UNCHANGED, REGCLASS):
        return None
    names = _identifiers(value.literal)
    if names is None or len(names) > 2:
        return None
    relation = _relation(analysis, names)
    if relation is None or relation.kind != "S":
        return None
    if len(names) == 1 and value.type in (TEXT, VARCHAR):
        analysis.resolves_names_at_run_time = True  # looked up when the statement runs
    return relation.oid


def serial_sequence(analysis: Analysis, values: Sequence[Value]) -> str | None:
    """What pg_get_serial_sequence gives for plain texts (ruleutils.c): the sequence that a column
    owns, qualified and quoted.

    None where that is not known. The relation is looked up, and the column asked for its sequence,
    when the statement runs.
    """
    texts = [plain_text(value) for value in values]
    if len(texts) != 2 or texts[0] is None or texts[1] is None:
        return None
    names = _identifiers(texts[0])
    if names is None or len(names) > 2:
        return None
    relation = _relation(analysis, names)
    if relation is None:
        return None
    column = next((c for c in relation.columns if c.name == texts[1]), None)
    if column is None:
        return None
    owner = (relation.oid, column.attnum)
    owned = [r for r in analysis.catalog.relations.values() if r.kind == "S" and r.owner == owner]
    if len(owned) != 1:
        return None
    analysis.resolves_names_at_run_time = True
    return quoted(owned[0].schema, owned[0].name)


def _relation(analysis: Analysis, names: Sequence[str]) -> Relation | None:
    """By one or two names. One that is not there is an error of PostgreSQL's; it may be newer than
    the snapshot.
    """
    schema = names[0] if len(names) == 2 else ""
    relation = analysis.relation(schema, names[-1])
    if relation is None:
        analysis.missing_relation(schema, names[-1], -1)
    return relation


def _identifiers(text: str) -> list[str] | None:
    names = []
    position = 0
    while True:
        match = _PART.match(text, position)
        if match is None:
            return None
        quoted, plain = match.groups()
        name = quoted.replace('""', '"') if plain is None else _folded(plain)
        if name is None or len(name.encode()) > _BYTES:
            return None
        names.append(name)
        position = match.end()
        if position == len(text):
            return names
        if text[position] != ".":
            return None
        position += 1


def _folded(name: str) -> str | None:
    """Lower case as downcase_identifier makes it; None for letters that only some of a server's
    encodings fold.
    """
    if any(not char.isascii() and char.lower() != char for char in name):
        return None
    return name.lower()
