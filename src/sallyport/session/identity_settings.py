"""Who is asking, as the target sees it: settings that a session's connection starts with. Pure.

They are given in the StartupMessage, so RESET, RESET ALL and DISCARD ALL come back to them, ALTER
ROLE and ALTER DATABASE ... SET give way to them (guc.c: PGC_S_CLIENT is above PGC_S_DATABASE_USER),
and no statement that the gateway lets through changes them (:mod:`sallyport.sql.utility.settings`).
A value that does not fit is not given at all: two subjects must never look alike because of a cut.
"""

from __future__ import annotations

from base64 import b85encode
from functools import lru_cache
from hashlib import pbkdf2_hmac
from typing import Final

from sallyport.core.subject import Subject
from sallyport.sql.utility.settings import PREPARED_PREFIX

#: Bytes of a value. PostgreSQL takes a StartupMessage of at most 10,000
#: (MAX_STARTUP_PACKET_LENGTH).
_LONGEST: Final = {"sallyport.groups": 4096}
_LONG: Final = 1024
#: NAMEDATALEN - 1: PostgreSQL cuts application_name there.
_NAME_LENGTH: Final = 63
_SUBJECT_LENGTH: Final = 24
#: Rounds of PBKDF2 (two of SHA-256's compressions each): a millisecond, once per subject.
_ROUNDS: Final = 1024


def identity_settings(subject: Subject, session: str) -> dict[str, str]:
    """By name; of those that do not fit (too long, with NUL, no UTF-8) there are none. ``session``:
    its id.
    """
    values = {
        "sallyport.subject": subject.id,
        "sallyport.issuer": subject.issuer,
        "sallyport.groups": array_literal(sorted(subject.groups)),
        "sallyport.agent": subject.agent,
        "sallyport.session": session,
    }
    fitting = {name: value for name, value in values.items() if _fits(name, value)}
    if {"sallyport.subject", "sallyport.issuer"} <= fitting.keys() and "\n" not in subject.issuer:
        fitting[PREPARED_PREFIX] = _prefix(subject.issuer, subject.id)
    return fitting


@lru_cache(maxsize=4096)
def _prefix(issuer: str, subject: str) -> str:
    """Ten printable characters, neither quotes nor backslashes, of 64 bits. To find another subject
    with those of a given one takes 2**75 compressions of SHA-256.
    """
    who = f"{issuer}\n{subject}".encode()
    return b85encode(pbkdf2_hmac("sha256", who, b"prepared transactions", _ROUNDS, 8)).decode()


def prepared_prefix(subject: Subject) -> str:
    """What identifiers of this subject's prepared transactions begin with; "" where the target is
    not told who it is.
    """
    return identity_settings(subject, "").get(PREPARED_PREFIX, "")


def left_out(settings: dict[str, str]) -> list[str]:
    """Names of those that did not fit."""
    return sorted(
        {f"sallyport.{name}" for name in ("subject", "issuer", "groups", "agent")} - settings.keys()
    )


def _fits(name: str, value: str) -> bool:
    try:
        length = len(value.encode())
    except UnicodeEncodeError:
        return False
    return "\0" not in value and length <= _LONGEST.get(name, _LONG)


def array_literal(words: list[str]) -> str:
    """As PostgreSQL reads it: ``current_setting('sallyport.groups')::text[]`` (documentation,
    8.15.2).
    """
    return (
        "{" + ",".join('"' + w.replace("\\", "\\\\").replace('"', '\\"') + '"' for w in words) + "}"
    )


def application_name(asked: str, subject: Subject, session: str) -> str:
    """``<what the client calls itself> <subject>/<session>``, at most 63 bytes. What was asked for
    is cut first, then the subject; the session's id is always whole. As PostgreSQL does
    (pg_clean_ascii), what is not printable ASCII becomes ``?``.
    """
    own = f"{_clean(subject.id)[:_SUBJECT_LENGTH]}/{session}"
    return f"{_clean(asked)[: _NAME_LENGTH - 1 - len(own)]} {own}".lstrip()


def _clean(text: str) -> str:
    return "".join(c if " " <= c <= "~" else "?" for c in text)
