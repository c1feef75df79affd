"""Secret values that do not leak by accident: not in repr, str, format, pickles or encoders."""

from __future__ import annotations

import re
from typing import Final, NoReturn

#: What opens this gateway: a JWT (header, payload, signature; RFC 7515 section 7.1), or a session
#: token, which begins like this.
#: Linear: it begins where such characters begin, and gives none back.
_SIGNED: Final = re.compile(
    r"(?<![A-Za-z0-9_-])(eyJ[A-Za-z0-9_-]{8,}+\.[A-Za-z0-9_-]{2,}+\.)[A-Za-z0-9_-]{16,}+"
)
_SESSION_TOKEN: Final = re.compile(r"spt_[A-Za-z0-9]{32}")
_REMOVED: Final = "[not recorded]"


class Secret:
    """Wraps a secret string. Only :meth:`reveal` gives it back; everything else shows
    ``<secret>``.
    """

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


def without_tokens(text: str) -> str:
    """``text`` with every token in it made useless: a JWT without its signature, which shows
    whose it was, and no session token.
    """
    if "eyJ" in text:
        text = _SIGNED.sub(rf"\g<1>{_REMOVED}", text)
    return _SESSION_TOKEN.sub(f"spt_{_REMOVED}", text) if "spt_" in text else text
