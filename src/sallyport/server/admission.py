"""Letting a client in: who it is, which target it may reach, how its upstream session starts.

Everything is decided here before a byte of SQL is read. A target that does not exist and one that policy does not open to the subject look the
same from outside.
"""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from sallyport.core.errors import RefusedError, refuse
from sallyport.core.subject import Subject
from sallyport.identity.jwt import printable
from sallyport.judge import Judge
from sallyport.server.databases import Database
from sallyport.server.gateway import Gateway
from sallyport.server.upstream import UpstreamLink
from sallyport.session.login import Authenticate
from sallyport.sql.search_path import format_search_path, split_search_path
from sallyport.sql.settings import STARTUP, classify_setting

log = structlog.get_logger("sallyport.admission")

#: Checked to be UTF-8 under any of its names when the StartupMessage was read.
_ANY_SPELLING = frozenset({"client_encoding"})

OUT_OF_DESCRIPTORS = refuse(
    "SP1605",
    "the gateway is out of file descriptors",
    "It cannot take more connections until others end.",
    "Try again later; the gateway's operator finds what to do in its log.",
)


@dataclass(frozen=True, slots=True)
class Admitted:
    """A subject with a logged-in connection to its target. Whoever gets it closes ``link``."""

    subject: Subject
    database: Database
    judge: Judge
    link: UpstreamLink
    search_path: tuple[str, ...]


async def admit(gateway: Gateway, request: Authenticate, address: str) -> Admitted:
    """Authenticate, choose, check limits, log in upstream. ``address``: the client's. Raises RefusedError."""
    gateway.check_open()
    subject = await gateway.authenticator.authenticate(
        request.token, label=request.label, entrance="wire", address=address
    )
    database, judge = await _choose_target(gateway, request, subject)
    limits = judge.subject_policy(subject).limits
    gateway.admit(subject, limits.sessions)
    path = _search_path(request, judge, subject)
    settings = _settings(request, limits.statement_timeout)
    settings.update(judge.mask_settings(subject))
    settings["search_path"] = format_search_path(path)
    link = await database.dialer.open(settings, minor=request.minor)
    if gateway.descriptors.are_scarce(link.descriptor):
        link.abort()
        raise RefusedError(OUT_OF_DESCRIPTORS)
    return Admitted(subject, database, judge, link, path)


async def _choose_target(gateway: Gateway, request: Authenticate, subject: Subject) -> tuple[Database, Judge]:
    unknown = refuse(
        "SP1603",
        f'there is no target "{request.target}" for you',
        "It does not exist, or no rule of the policy lets you in.",
        "The database name in the connection string picks the target.",
    )
    database = gateway.databases.get(request.target)
    if database is None:
        log.info("no such target", subject=subject.id, asked=printable(request.target, 100))
        raise RefusedError(unknown)
    judge = await database.ready()
    if not judge.subject_policy(subject).may_connect:
        log.info(
            "no rule lets this subject in",
            subject=subject.id,
            issuer=subject.issuer,
            groups=sorted(subject.groups),
            target=database.name,
        )
        raise RefusedError(unknown)
    return database, judge


def _settings(request: Authenticate, timeout: float | None) -> dict[str, str]:
    """What the upstream session starts with: what the client may ask for, under what is pinned and what policy bounds."""
    for name, value in request.settings.items():
        found = classify_setting(name, value)
        if found.kind not in ("allowed", "pinned") or (
            found.kind == "pinned" and name.lower() not in _ANY_SPELLING
        ):
            raise RefusedError(
                refuse(
                    "SP1301",
                    f"the startup parameter {name} cannot be {value!r}",
                    f"The setting {name} {found.reason}.",
                )
            )
    settings = {**STARTUP, **request.settings, "client_encoding": "UTF8"}
    if timeout:
        settings["statement_timeout"] = str(int(timeout * 1000))
    return settings


def _search_path(request: Authenticate, judge: Judge, subject: Subject) -> tuple[str, ...]:
    default = judge.catalog.default_search_path
    if request.search_path is None:
        return default
    asked = split_search_path(request.search_path)
    if asked is None or (asked != default and asked not in judge.subject_policy(subject).search_paths):
        raise RefusedError(
            refuse("SP1302", f"the search_path {request.search_path!r} is not listed by policy")
        )
    return asked
