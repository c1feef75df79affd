"""Names as PostgreSQL's quoted identifiers (section 4.1.1)."""

from __future__ import annotations


def quoted(*names: str) -> str:
    """A name as a quoted identifier; several are joined by dots: ``"schema"."relation"``."""
    return ".".join(['"' + name.replace('"', '""') + '"' for name in names])
