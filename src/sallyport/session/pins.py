"""What of a session's connection nothing may move but the gateway: role, pinned settings, who is
asking, keys of masks; and the search_path, which statements may move that were judged.

Code that was not read can move all of it, and PostgreSQL reports only some. So behind every
statement that may run such code the server is asked for a digest of each, and the session ends
where one is not what it started with. Digests, since keys of masks are secrets.
Policy's statement_timeout is an upper bound: a session may have a shorter one.

Source: PostgreSQL, src/backend/utils/misc/guc.c (set_config_option).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from functools import lru_cache

from sallyport.core.errors import PinMovedError, ProtocolError
from sallyport.policy.bound import SubjectPolicy
from sallyport.policy.checks.changed_settings import is_within, masks_dates
from sallyport.sql.names.search_path import split_search_path
from sallyport.sql.names.temporary_listing import LISTING
from sallyport.sql.utility.settings import IDENTITY, MASKED_STARTUP, is_pinned, milliseconds

_IDENTITY_PREFIX = "sallyport."
#: Pinned whether the session was started with it or not.
_ALWAYS = {"session_replication_role": "origin", **dict.fromkeys(IDENTITY, "")}
_CLIENT_ENCODING = "client_encoding"
_VALUE = "pg_catalog.current_setting('{}', true)"
_DIGEST = "pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to({}, 'UTF8')), 'hex')"
_HEX = "pg_catalog.encode(pg_catalog.convert_to({}, 'UTF8'), 'hex')"
_DIGEST_SIZE = hashlib.sha256().digest_size
#: Sent behind the digests, as they are. current_setting gives none of them as NULL.
_SHOWN = ("statement_timeout", "search_path")


class Pins:
    """``started_with``: the settings that the session's connection was started with. ``role``: as
    whom it logged in.
    """

    __slots__ = ("_digests", "_is_moved", "_names", "_timeout")

    def __init__(self, started_with: Mapping[str, str], role: str) -> None:
        pinned = {n: v for n, v in started_with.items() if _is_pinned(n)}
        expected = {
            "session_authorization": role,
            "role": role,
            "DateStyle": "ISO",
            **dict(sorted({**_ALWAYS, **pinned}.items())),
        }
        self._names = _kept_once(tuple(expected))
        self._digests = b"".join([_digest(value) for value in expected.values()])
        self._is_moved = False
        self._timeout = milliseconds(started_with.get("statement_timeout", "0")) or 0

    @property
    def statement(self) -> bytes:
        """A query whose answer is one line, for :meth:`check`."""
        return _queries(self._names)[0]

    def lacks(self, settings: Mapping[str, str]) -> bool:
        """Whether the connection does not have one of these settings that masks need: it was
        started without it, or with another value, or the session has moved it since.
        """
        if self._is_moved and settings:
            return True
        started = dict(self._expected())
        return any(started.get(name) != _digest(value) for name, value in settings.items())

    def _expected(self) -> Iterator[tuple[str, bytes]]:
        """Names, and the digests of the values that they should have."""
        for number, name in enumerate(self._names):
            yield name, self._digests[number * _DIGEST_SIZE : (number + 1) * _DIGEST_SIZE]

    def on_moved(self) -> None:
        """The session has changed what is pinned only for who has masks, which it has not yet."""
        self._is_moved = True

    @property
    def listing(self) -> bytes:
        """A query whose answer has what the temporary schema holds behind that line."""
        return _queries(self._names)[1]

    def check(self, line: str, search_path: tuple[str, ...], policy: SubjectPolicy) -> None:
        """Compare what the server answered. ``search_path``: the one that is known. ``policy``:
        says what the subject may change.

        Raises PinMovedError, and ProtocolError for an answer of another form.
        """
        *digests, timeout, path = line.split(" ")
        if len(digests) != len(self._names):
            raise ProtocolError("the server's answer about pinned settings cannot be read")
        free = set() if policy.masks else {*MASKED_STARTUP}
        if not masks_dates(policy):
            free.add("DateStyle")
        for (name, expected), digest in zip(self._expected(), digests, strict=True):
            if digest == expected.hex():
                continue
            if name not in free:
                raise PinMovedError(f"code that the statement ran changed {name}")
            if name in MASKED_STARTUP:
                self.on_moved()
        limit = policy.limits.statement_timeout
        if limit and not self._keeps(_text(timeout), limit):
            raise PinMovedError("code that the statement ran changed statement_timeout")
        if split_search_path(_text(path)) != search_path:
            raise PinMovedError("code that the statement ran changed search_path")

    def _keeps(self, timeout: str, limit: float) -> bool:
        """Whether a statement_timeout is within policy's (seconds), or within what the session was
        started with under another policy.
        """
        return not self._timeout or is_within(timeout, max(limit, self._timeout / 1000))


def _is_pinned(name: str) -> bool:
    return is_pinned(name) or name in MASKED_STARTUP or name.startswith(_IDENTITY_PREFIX)


@lru_cache(64)  # sessions have the same names, but for unusual startup settings
def _kept_once(names: tuple[str, ...]) -> tuple[str, ...]:
    return names


@lru_cache(64)
def _queries(names: tuple[str, ...]) -> tuple[bytes, bytes]:
    values = {name: _VALUE.format(name.replace("'", "''")) for name in names}
    values["session_authorization"] = "session_user::pg_catalog.text"
    values["role"] = "current_user::pg_catalog.text"
    values["DateStyle"] = f"pg_catalog.split_part({values['DateStyle']}, ',', 1)"
    if _CLIENT_ENCODING in values:  # the alias that PostgreSQL reports as it was set
        value = values[_CLIENT_ENCODING]
        values[_CLIENT_ENCODING] = f"pg_catalog.replace({value}, 'UNICODE', 'UTF8')"
    digests = [_DIGEST.format(f"coalesce({value}, '')") for value in values.values()]
    shown = [_HEX.format(_VALUE.format(name)) for name in _SHOWN]
    line = f"pg_catalog.concat_ws(' ', {', '.join([*digests, *shown])})"
    listing = f"SELECT pg_catalog.concat({line}, pg_catalog.chr(10), ({LISTING}))"
    return f"SELECT {line}".encode(), listing.encode()


def _text(digits: str) -> str:
    return bytes.fromhex(digits).decode()


def _digest(value: str) -> bytes:
    return hashlib.sha256(value.encode()).digest()
