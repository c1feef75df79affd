"""What of a session's connection nothing may move but the gateway: role, pinned settings, who is
asking, keys of masks; and the search_path, which statements may move that were judged.

Code that was not read can move all of it, and PostgreSQL reports only some. So behind every
statement that may run such code the server is asked for a digest of each, and the session ends
where one is not what it started with. Digests, since keys of masks are secrets.

Source: PostgreSQL, src/backend/utils/misc/guc.c (set_config_option).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from sallyport.core.errors import PinMovedError, ProtocolError
from sallyport.sql.names.search_path import split_search_path
from sallyport.sql.names.temporary_listing import LISTING
from sallyport.sql.utility.settings import IDENTITY, MASKED_STARTUP, is_pinned

_IDENTITY_PREFIX = "sallyport."
#: Pinned whether the session was started with it or not.
_ALWAYS = {"session_replication_role": "origin", **dict.fromkeys(IDENTITY, "")}
_VALUE = "pg_catalog.current_setting('{}', true)"
_DIGEST = "pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to({}, 'UTF8')), 'hex')"
_PATH = "pg_catalog.encode(pg_catalog.convert_to({}, 'UTF8'), 'hex')"


class Pins:
    """``started_with``: the settings that the session's connection was started with. ``role``: as
    whom it logged in. ``statement``, ``listing``: queries with one text; the second has what the
    temporary schema holds behind the first line.
    """

    __slots__ = ("_expected", "listing", "statement")

    def __init__(self, started_with: Mapping[str, str], role: str) -> None:
        pinned = {n: v for n, v in started_with.items() if _is_pinned(n)}
        self._expected = {
            "session_authorization": _digest(role),
            "role": _digest(role),
            "DateStyle": _digest("ISO"),
            **{name: _digest(value) for name, value in sorted({**_ALWAYS, **pinned}.items())},
        }
        line = self._line()
        self.statement = f"SELECT {line}".encode()
        self.listing = f"SELECT pg_catalog.concat({line}, pg_catalog.chr(10), ({LISTING}))".encode()

    def _line(self) -> str:
        values = {name: _VALUE.format(name.replace("'", "''")) for name in self._expected}
        values["session_authorization"] = "session_user::pg_catalog.text"
        values["role"] = "current_user::pg_catalog.text"
        values["DateStyle"] = f"pg_catalog.split_part({values['DateStyle']}, ',', 1)"
        digests = [_DIGEST.format(f"coalesce({value}, '')") for value in values.values()]
        path = _PATH.format(_VALUE.format("search_path"))
        return f"pg_catalog.concat_ws(' ', {', '.join([*digests, path])})"

    def check(self, line: str, search_path: tuple[str, ...], is_masked: bool) -> None:
        """Compare what the server answered. ``search_path``: the one that is known.
        ``is_masked``: the subject has masks.

        Raises PinMovedError, and ProtocolError for an answer of another form.
        """
        *digests, path = line.split(" ")
        names = [*self._expected]
        if len(digests) != len(names):
            raise ProtocolError("the server's answer about pinned settings cannot be read")
        for name, digest in zip(names, digests, strict=True):
            if digest != self._expected[name] and (is_masked or name not in MASKED_STARTUP):
                raise PinMovedError(f"code that the statement ran changed {name}")
        if split_search_path(bytes.fromhex(path).decode()) != search_path:
            raise PinMovedError("code that the statement ran changed search_path")


def _is_pinned(name: str) -> bool:
    return is_pinned(name) or name in MASKED_STARTUP or name.startswith(_IDENTITY_PREFIX)


def _digest(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()
