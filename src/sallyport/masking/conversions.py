"""Databases whose texts the server converts to UTF-8 before it sends them.

The conversion fails for a value that UTF-8 has no character for, or that is malformed: the error
would tell that of a masked value, if it were masked on its way to the client only.
"""

from __future__ import annotations

from sallyport.masking.maskers import Family, base_type, classify
from sallyport.sql.catalog.snapshot import CatalogSnapshot

#: The server sends UTF-8 as it is, and UTF-8 has a character for each byte of LATIN1.
_ALWAYS_SENT = frozenset({"UTF8", "LATIN1"})
#: Their values are sent as ASCII.
_WITHOUT_TEXT = frozenset(Family) - {Family.TEXT, Family.JSON, Family.JSONB, Family.OTHER}


def may_fail_to_be_sent(catalog: CatalogSnapshot, type_oid: int) -> bool:
    """Whether there may be a value of this type that the server cannot send."""
    if catalog.encoding in _ALWAYS_SENT:
        return False
    family, _ = classify(base_type(type_oid, catalog.types), 0, catalog.types)
    return family not in _WITHOUT_TEXT
