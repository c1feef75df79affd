"""Letting a client in: who it is, which target it may reach, how its upstream session starts.

Everything is decided here before a byte of SQL is read. A target that does not exist and one that
policy does not open to the subject look the same from outside.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import structlog

from sallyport.audit.events import LoginDetails
from sallyport.audit.recording import SessionRecording
from sallyport.core.errors import Refusal, RefusedError, refuse
from sallyport.core.ids import new_id
from sallyport.core.secret import without_tokens
from sallyport.core.subject import Subject
from sallyport.identity.problems import printable
from sallyport.judge import Judge
from sallyport.policy.bound import SubjectPolicy
from sallyport.policy.checks.changed_settings import check_change
from sallyport.server.databases import Database
from sallyport.server.gateway import Gateway
from sallyport.server.upstream import UpstreamLink
from sallyport.session.identity_settings import application_name, identity_settings, left_out
from sallyport.session.login.client import Authenticate
from sallyport.session.pins import Pins
from sallyport.sql.facts import SettingChange
from sallyport.sql.names.search_path import format_search_path, split_search_path
from sallyport.sql.utility.settings import STARTUP, is_pinned

#: Rules that a refusal outside of their windows names.
_LISTED_RULES = 5

log = structlog.get_logger("sallyport.admission")

OUT_OF_DESCRIPTORS = refuse(
    "SP1605",
    "the gateway is out of file descriptors",
    "The gateway cannot take more connections until others end.",
    "Try again later. If that fails too, tell the gateway's operator: the log says what to do.",
)


@dataclass(frozen=True, slots=True)
class Admitted:
    """A subject with a logged-in connection to its target. Whoever gets it closes ``link``. ``id``:
    of the session. ``identity``: the settings that tell the target who is asking. ``pins``: what
    code that was not read must not move. ``role``: of the database, as which the session runs.
    ``maximum``: sessions that policy allows the subject at once.
    """

    id: str
    identity: Mapping[str, str]
    subject: Subject
    database: Database
    judge: Judge
    link: UpstreamLink
    search_path: tuple[str, ...]
    pins: Pins
    role: str
    maximum: int | None = None


async def identify(
    gateway: Gateway, request: Authenticate, address: str, entrance: str = "wire"
) -> Subject:
    """Whose token it is. ``address``: the client's. ``entrance``: where it came in. Raises
    RefusedError.
    """
    gateway.check_open()
    return await gateway.authenticator.authenticate(
        request.token,
        label=request.label,
        entrance=entrance,
        address=address,
        target=request.target,
    )


async def admit(gateway: Gateway, request: Authenticate, subject: Subject) -> Admitted:
    """Choose, check limits, log in upstream. ``subject``: of :func:`identify`. Raises
    RefusedError.
    """
    database, judge = await _choose_target(gateway, request, subject)
    limits = judge.subject_policy(subject).limits
    gateway.admit(subject, limits.sessions)
    settings = _settings(request.settings, judge.subject_policy(subject))
    path = split_search_path(settings["search_path"]) or ()
    settings.update(judge.mask_settings(subject))
    session = new_id("ses")
    identity = _identity(subject, session, settings)
    link = await database.open_session(settings, judge, subject, session, minor=request.minor)
    if gateway.descriptors.are_scarce(link.descriptor):
        link.abort()
        raise RefusedError(OUT_OF_DESCRIPTORS)
    role = link.backend.parameters.get("session_authorization", judge.catalog.role)
    pins = Pins(settings, role)
    who = (session, identity, subject, database, judge, link, path, pins, role, limits.sessions)
    return Admitted(*who)


def open_recording(
    gateway: Gateway, admitted: Admitted, request: Authenticate, peer: str, entrance: str
) -> SessionRecording:
    """Begin the session's recording with what it was let in by."""
    subject, asked = admitted.subject, dict(request.settings)
    application = asked.pop("application_name", "")
    hides = admitted.judge.subject_judge(subject, admitted.search_path).hides_values
    asked = {
        # a custom setting may be any value, and SET of it is recorded without as well
        name: "[redacted]" if hides and "." in name else without_tokens(value)
        for name, value in asked.items()
    }
    claims = admitted.judge.policy.claims_read(subject)
    return gateway.recorder.open_session(
        admitted.id, subject, admitted.database.name, peer, application,
        LoginDetails(entrance, admitted.role, asked, claims),
    )  # fmt: skip


def _identity(subject: Subject, session: str, settings: dict[str, str]) -> dict[str, str]:
    """Add who is asking to what the upstream session starts with."""
    identity = identity_settings(subject, session)
    if missing := left_out(identity):
        log.warning("too long for the target; left out", subject=subject.id[:200], settings=missing)
    asked = settings.get("application_name", "")
    settings.update(identity, application_name=application_name(asked, subject, session))
    return identity


async def _choose_target(
    gateway: Gateway, request: Authenticate, subject: Subject
) -> tuple[Database, Judge]:
    unknown = refuse(
        "SP1603",
        f'target "{request.target}" does not exist, or you may not use it',
        "The gateway does not say which of the two it is.",
        "Check the database name in the connection string: it selects the target.",
    )
    database = gateway.databases.get(request.target)
    if database is None:
        log.info("no such target", subject=subject.id, asked=printable(request.target, 100))
        raise RefusedError(unknown)
    judge = await database.ready()
    # now, not in a second: what this session may have asked for by then has a catalog of its own
    gateway.tasks.attempt(gateway.look_at_catalogs, "catalogs that moved")
    policy = judge.subject_policy(subject)
    if not policy.may_connect:
        log.info(
            "no rule lets this subject in",
            subject=subject.id,
            issuer=subject.issuer,
            groups=sorted(subject.groups),
            target=database.name,
            outside_window=policy.opening_rules != (),
        )
        raise RefusedError(
            _outside_window(request.target, policy) if policy.opening_rules else unknown
        )
    return database, judge


def _outside_window(target: str, policy: SubjectPolicy) -> Refusal:
    """Rules let this subject in, at other times: no secret from whom they are for."""
    rules = [
        f'Rule "{rule.name}" allows you in {" and ".join(map(str, rule.windows))}.'
        for rule in policy.opening_rules[:_LISTED_RULES]
    ]
    return refuse(
        "SP1603",
        f'you may not use target "{target}" at this time',
        " ".join(rules),
        "Connect in that window.",
    )


def _settings(asked: Mapping[str, str], policy: SubjectPolicy) -> dict[str, str]:
    """What the upstream session starts with: what the client may ask for, which is what SET may ask
    for, over what the gateway starts all sessions with. Raises RefusedError.
    """
    for name, value in asked.items():
        refusal = check_change(SettingChange(name, value), policy)
        if refusal is not None:
            raise RefusedError(refusal)
    settings = {name.lower(): value for name, value in STARTUP.items()}
    settings["search_path"] = format_search_path(policy.standing.catalog.default_search_path)
    if policy.limits.statement_timeout:
        settings["statement_timeout"] = str(int(policy.limits.statement_timeout * 1000))
    # What is pinned was asked for in some spelling of its one value.
    settings.update({name: value for name, value in asked.items() if not is_pinned(name)})
    return settings
