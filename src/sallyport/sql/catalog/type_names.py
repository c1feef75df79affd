"""How SQL names a type whatever the search_path is."""

from __future__ import annotations

import re
from typing import Final

from sallyport.sql.catalog.snapshot import Type
from sallyport.sql.text.identifiers import quoted

_SIMPLE_NAME: Final = re.compile(r"[a-z_][a-z0-9_]*")


def qualified_type(type_: Type) -> str:
    """With its schema, and quotes where they are needed: ``pg_catalog.int4``, ``"public"."mood"``.
    An array's own name (``pg_catalog._int4``) is as good as brackets.
    """
    if type_.schema == "pg_catalog" and _SIMPLE_NAME.fullmatch(type_.name) and type_.name != "char":
        return f"pg_catalog.{type_.name}"
    return quoted(type_.schema, type_.name)
