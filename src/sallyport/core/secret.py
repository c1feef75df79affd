"""Secret values that do not leak by accident: not in repr, str, format, pickles or encoders."""

from __future__ import annotations

from typing import NoReturn


class Secret:
    """Wraps a secret string. Only :meth:`reveal` gives it back; everything else shows ``<secret>``."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "<secret>"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return "<secret>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is not serialised")

    def __bool__(self) -> bool:
        return bool(self._value)
