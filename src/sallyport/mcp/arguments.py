"""The tools' arguments: types, bounds, and what is wrong with those that do not fit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

import msgspec

from sallyport.core.errors import SallyportError

#: Seconds that a call waits by itself. Clients give up after a minute or so.
WAIT = 45.0
_MOST_ROWS = 5000

Name = Annotated[str, msgspec.Meta(max_length=200, pattern=r"\A[^\0]*\Z")]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=600)]


class ArgumentError(SallyportError):
    """The arguments of a call do not fit. The text says which, and what would."""


class QueryArguments(msgspec.Struct, forbid_unknown_fields=True):
    """Of ``query``."""

    sql: Annotated[str, msgspec.Meta(min_length=1, pattern=r"\A[^\0]*\Z")]
    parameters: Annotated[list[Any], msgspec.Meta(max_length=1000)] = []
    target: Name = ""
    max_rows: Annotated[int, msgspec.Meta(ge=1, le=_MOST_ROWS)] = 100
    session: Name = ""
    wait_seconds: Seconds = WAIT


class DescribeArguments(msgspec.Struct, forbid_unknown_fields=True):
    """Of ``describe``."""

    words: Annotated[str, msgspec.Meta(max_length=500, pattern=r"\A[^\0]*\Z")] = ""
    target: Name = ""
    session: Name = ""


class StatusArguments(msgspec.Struct, forbid_unknown_fields=True):
    """Of ``status``."""

    session: Name = ""
    wait_seconds: Seconds = 0.0
    cancel: bool = False


_Arguments = TypeVar("_Arguments", bound=msgspec.Struct)


def parsed(arguments: Mapping[str, Any], kind: type[_Arguments]) -> _Arguments:
    """Raises ArgumentError: also for texts, numbers and nesting that no PostgreSQL could be
    sent.
    """
    try:
        json.dumps(arguments, ensure_ascii=False).encode()
    except (UnicodeEncodeError, ValueError, RecursionError):
        raise ArgumentError(
            "the arguments do not fit: lone surrogates, deep nesting or a number that is too long"
        ) from None
    try:
        return msgspec.convert(dict(arguments), kind)
    except (msgspec.ValidationError, RecursionError) as error:
        raise ArgumentError(f"the arguments do not fit: {str(error)[:300]}") from None
