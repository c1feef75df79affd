"""Database roles of one session each, in SQL: their names, how they are made, found and dropped.
Pure.

Two kinds. A *session role* may log in once, for a short time, and has nothing of its own. It is a
member of one *grant role*, which may not log in and has exactly the privileges of one grant set;
those who have the same set share it. The names say whose they are:
``sallyport_<gateway>_<run>_<random>`` and ``sallyport_grants_<database>_<grant set>``, so that any
gateway can sweep what another left.

A session role past its VALID UNTIL that no backend uses can never be used again: whoever finds it
may drop it. Making a session role takes a shared advisory lock, making and dropping a grant role
the exclusive one. That keeps gateways from disturbing each other, and no more: any session of the
database can hold the lock, so nothing may depend on it. Sources: PostgreSQL's documentation, CREATE
ROLE, GRANT (16: WITH INHERIT, SET; a role that its CREATEROLE maker administers), DROP OWNED.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from sallyport.sql.text.identifiers import quoted
from sallyport.targets.privileges import Privileges, quote_literal
from sallyport.targets.role_names import SESSION_ROLES
from sallyport.wire.scram import Verifier

#: The advisory lock of everything here ("sallypor" in ASCII).
LOCK: Final = 0x73616C6C79706F72
#: Seconds in which the login must happen, and after which an unused role is swept.
LOGIN_SECONDS: Final = 60
_SWEEP_AFTER: Final = 60
#: SQLSTATEs: duplicate_object, undefined_object, lock_not_available.
DUPLICATE, UNDEFINED, LOCKED = "42710", "42704", "55P03"
#: With which a role is not dropped, and would not be later: dependent_objects_still_exist,
#: insufficient_privilege.
NOT_DROPPED: Final = frozenset({"2BP01", "42501"})


def _waiting(function: str) -> str:
    """For the lock, but not long: every role of the database can take it. The first row's last
    value tells whether it took over a second.
    """
    return (
        "SET LOCAL lock_timeout = '3s';\n"
        f"SELECT pg_catalog.{function}({LOCK}),"
        " pg_catalog.clock_timestamp() > pg_catalog.statement_timestamp() + interval '1 s';\n"
        "SET LOCAL lock_timeout = DEFAULT;\n"
    )


SHARED_LOCK: Final = _waiting("pg_advisory_xact_lock_shared")
EXCLUSIVE_LOCK: Final = _waiting("pg_advisory_xact_lock")
#: Version, seconds of the server's clock, database, and what the administrator's role is.
ABOUT: Final = (
    "SELECT pg_catalog.current_setting('server_version_num'), extract(epoch FROM"
    " pg_catalog.clock_timestamp()), pg_catalog.current_database(), r.rolsuper OR r.rolcreaterole"
    " FROM pg_catalog.pg_roles r WHERE r.rolname = current_user"
)


@dataclass(frozen=True, slots=True)
class GrantSet:
    """``statements``: each is ``GRANT ... TO ``, without whom. ``name``: of its role. ``lacking``:
    what of it a role's privileges do not have. ``is_read_only``: nothing of it writes. ``schemas``:
    in which names are looked up; where one cannot be used, names mean something else than the
    gateway thinks.
    """

    name: str
    statements: tuple[str, ...]
    is_read_only: bool
    schemas: frozenset[str]
    lacking: Callable[[Privileges], list[str]] = field(compare=False, repr=False)


def mark_of(text: str) -> str:
    """8 hex digits that stand for it in a role's name."""
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def session_role(gateway: str, run: str) -> str:
    """A new name. ``gateway``: 8 hex digits, of a data directory. ``run``: 6, of a process."""
    return f"sallyport_{gateway}_{run}_{secrets.token_hex(6)}"


def grant_role(database: str, content: str) -> str:
    """``content``: all that makes the set what it is, OIDs included: a table that is made anew has
    none of its old grants.
    """
    return (
        f"sallyport_grants_{mark_of(database)}_{hashlib.sha256(content.encode()).hexdigest()[:16]}"
    )


def verifier_text(verifier: Verifier) -> str:
    """As pg_authid.rolpassword has it (scram-common.c, scram_build_secret)."""
    salt, stored, server = (
        base64.b64encode(part).decode()
        for part in (verifier.salt, verifier.stored_key, verifier.server_key)
    )
    return f"SCRAM-SHA-256${verifier.iterations}:{salt}${stored}:{server}"


def create_grants(grants: GrantSet) -> str:
    """One message, one transaction. Fails with :data:`DUPLICATE` where the role is there
    already.
    """
    role = quoted(grants.name)
    statements = "".join(f"{statement}{role};\n" for statement in grants.statements)
    about = quote_literal("Privileges of sessions behind Sallyport; made and swept by the gateway")
    return (
        f"{EXCLUSIVE_LOCK}CREATE ROLE {role} NOLOGIN;\nCOMMENT ON ROLE {role} IS"
        f" {about};\n{statements}"
    )


def create_session(
    name: str,
    grants: str,
    verifier: Verifier,
    until: float,
    settings: Mapping[str, str],
    about: str,
    version: int,
) -> str:
    """One message, one transaction; no password is in it. ``until``: Unix seconds of the server's
    clock. ``about``: a comment. ``version``: server_version_num. Fails with :data:`UNDEFINED` where
    there is no role ``grants`` any more.
    """
    role = quoted(name)
    lines = [
        (
            f"CREATE ROLE {role} LOGIN CONNECTION LIMIT 1 PASSWORD '{verifier_text(verifier)}'"
            f" VALID UNTIL '{_timestamp(until)}'"
        ),
        _member(grants, role, version),
        *(f"ALTER ROLE {role} SET {key} = {value}" for key, value in settings.items()),
        f"COMMENT ON ROLE {role} IS {quote_literal(about)}",
    ]
    return SHARED_LOCK + ";\n".join(lines)


def _member(grants: str, role: str, version: int) -> str:
    # without SET a session cannot even become the grant role; before 16 it can, and gains nothing
    # by it
    how = " WITH INHERIT TRUE, SET FALSE" if version >= 160000 else ""
    return f"GRANT {quoted(grants)} TO {role}{how}"


def _timestamp(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, tz=datetime.UTC).strftime(
        "%Y-%m-%d %H:%M:%S+00"
    )


def move(role: str, before: str, after: str, version: int) -> str:
    """Give a live session other privileges, from its next statement on."""
    return (
        f"{SHARED_LOCK}{_member(after, quoted(role), version)};\nREVOKE {quoted(before)} FROM"
        f" {quoted(role)}"
    )


def drop_session(role: str) -> str:
    """The statement that drops a session's role."""
    return f"DROP ROLE IF EXISTS {quoted(role)}"


def close_session(role: str, grants: str) -> str:
    """One message, for a role that cannot be dropped because it owns something: it opens nothing
    any more. ``grants``: the grant role that it is a member of.
    """
    name = quoted(role)
    return f"ALTER ROLE {name} NOLOGIN PASSWORD NULL;\nREVOKE {quoted(grants)} FROM {name}"


def without_lock(message: str) -> str:
    """The same in no order, where somebody keeps the lock."""
    return message.removeprefix(SHARED_LOCK).removeprefix(EXCLUSIVE_LOCK)


def leftovers(own: Sequence[str]) -> str:
    """Session roles that nobody can use any more; and those of earlier runs of this gateway, whose
    id is the first of ``own``: the others are its runs that live.
    """
    earlier = ""
    if own:
        gateway, *runs = own
        earlier = (
            f" OR (r.rolname ~ '^sallyport_{gateway}_' AND r.rolname !~"
            f" '^sallyport_{gateway}_({'|'.join(runs)})_')"
        )
    return (
        f"SELECT r.rolname FROM pg_catalog.pg_roles r WHERE r.rolname ~ '{SESSION_ROLES}' AND"
        f" ((r.rolvaliduntil < pg_catalog.now() - interval '{_SWEEP_AFTER} s' AND NOT EXISTS"
        f" (SELECT FROM pg_catalog.pg_stat_activity a WHERE a.usesysid = r.oid)){earlier})"
    )


def _members(condition: str) -> str:
    return (
        "EXISTS (SELECT FROM pg_catalog.pg_auth_members m JOIN pg_catalog.pg_roles s ON s.oid ="
        f" m.member WHERE {condition} AND s.rolname ~ '{SESSION_ROLES}')"
    )


def unused_grants(database: str) -> str:
    """Grant roles of this database that no session role is a member of."""
    return (
        "SELECT r.rolname FROM pg_catalog.pg_roles r WHERE r.rolname ~"
        f" '^sallyport_grants_{mark_of(database)}_[0-9a-f]{{16}}$' AND NOT"
        f" {_members('m.roleid = r.oid')}"
    )


def drop_grants(name: str, version: int) -> str:
    """One message, one transaction; it fails where somebody has become a member meanwhile."""
    role = quoted(name)
    used = _members(f"m.roleid = {quote_literal(name)}::pg_catalog.regrole")
    inherit = " WITH INHERIT TRUE" if version >= 160000 else ""
    return (
        f"{EXCLUSIVE_LOCK}SELECT 1 / (CASE WHEN {used} THEN 0 ELSE 1 END);\n"
        f"GRANT {role} TO CURRENT_USER{inherit};\nDROP OWNED BY {role};\nDROP ROLE {role}"
    )
