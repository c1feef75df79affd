"""The operations of the REST interface: what each answers."""

from __future__ import annotations

import base64
from dataclasses import asdict, dataclass, fields
from typing import Annotated, Any

import msgspec
import structlog
from msgspec import Meta
from starlette.concurrency import run_in_threadpool

from sallyport.approvals.problems import DecisionError
from sallyport.audit import replay as rp
from sallyport.audit.archive import RecordingError
from sallyport.audit.ports import SESSION, SessionQuery, SessionRow
from sallyport.core.errors import ConfigError, RefusedError
from sallyport.core.owners import Member
from sallyport.core.subject import Subject
from sallyport.operations.approvals import (
    HTTP_STATUS,
    ApprovalOperations,
    grant_data,
    request_data,
    sample_data,
)
from sallyport.operations.explaining import explanation_data
from sallyport.operations.history import VERDICTS
from sallyport.operations.jsondata import row_data, struct_data, version_data
from sallyport.operations.policies import PolicyVersions, UnknownVersionError, compared
from sallyport.operations.ports import PolicyStatus, TargetStatus
from sallyport.operations.sessions import UnknownSessionError
from sallyport.policy.versions import PolicyVersion, unified
from sallyport.web.api.findings import FINDINGS
from sallyport.web.api.management import MANAGEMENT
from sallyport.web.api.operations import (
    ANY_OBJECT,
    FAR,
    LIMIT,
    POSITION,
    TEXT,
    TIME,
    Call,
    Operation,
    Parameter,
    ProblemError,
    invalid,
    not_found,
)
from sallyport.web.api.receipts import RECEIPTS
from sallyport.web.api.statements import STATEMENTS
from sallyport.web.api.tokens import TOKENS
from sallyport.web.console import FormError
from sallyport.web.pages.policy import version_id
from sallyport.web.pages.sessions import SEARCH_SECONDS, after_of, kill_reason, place, weight

log = structlog.get_logger("sallyport.web")
_EVENT_BYTES = 1 << 20


# -- sessions --------------------------------------------------------------------------------------


@dataclass(slots=True)
class FoundSession(SessionRow):
    """``statement``: number of its first statement that was looked for; null when none was."""

    statement: int | None = None


class SessionPage(msgspec.Struct, frozen=True):
    """``next``: the value of ``after`` for the page behind this one; null at the end. A search for
    statements stops after some seconds: a page may be short, or empty, and there is more while
    ``next`` is not null. ``unread``: sessions whose recordings could not be searched.
    """

    sessions: list[FoundSession]
    next: str | None
    unread: list[str]


class EventPage(msgspec.Struct, frozen=True):
    """``next``: the value of ``start`` for the next page; null when there is nothing more (of a
    live session: yet).
    """

    events: list[dict[str, Any]]
    start: int
    next: int | None


class Killed(msgspec.Struct, frozen=True):
    """The session that was ended."""

    killed: str


async def list_sessions(call: Call) -> Any:
    """``GET /sessions``."""
    limit = call.number("limit", 50, 1, 500)
    status = call.choice("status", "live", "ended", "interrupted")
    refused = call.choice("refused", "true", "false")
    try:
        after = after_of(call.text("after"))
        if after is None and "after" in call.request.query_params:
            raise FormError("empty")
    except FormError:
        raise invalid("after: the value of 'next' of the page before") from None
    query = SessionQuery(
        subject=call.text("subject"),
        target=call.text("target"),
        status=status,
        since=call.seconds("since"),
        until=call.seconds("until"),
        refused=refused == "true",
        after=after,
        limit=limit,
        text=call.text("text"),
        relation=call.text("relation"),
        verdict=call.choice("verdict", *VERDICTS),
        kind=SESSION,
    )
    page = await run_in_threadpool(call.sessions.search, query, SEARCH_SECONDS)
    return {
        "sessions": [
            {
                **row_data(match.row),
                "statement": None if match.statement is None else match.statement.number,
            }
            for match in page.matches
        ],
        "next": None if page.after is None else place(page.after),
        "unread": page.unread,
    }


async def get_session(call: Call) -> Any:
    """``GET /sessions/{id}``."""
    return row_data(await run_in_threadpool(_row, call))


def _row(call: Call) -> SessionRow:
    id_ = call.path("id")
    try:
        row = call.sessions.find(id_)
    except UnknownSessionError as error:
        raise not_found(str(error)) from None
    if row.id != id_:
        raise not_found(f"There is no session {id_}; whole ids only.")
    return row


async def session_events(call: Call) -> Any:
    """``GET /sessions/{id}/events``."""
    start, limit = call.number("start", 0, 0, FAR), call.number("limit", 200, 1, 1000)
    row = await run_in_threadpool(_row, call)
    try:
        page = await run_in_threadpool(
            call.console.pager.page,
            ("events", row.id, call.principal.subject),
            lambda: call.sessions.replay(row.id),
            start,
            limit,
            weigh=weight,
            maximum=_EVENT_BYTES,
        )
    except RecordingError as error:
        raise not_found(str(error)) from None
    return {
        "events": [step_data(step) for step in page.items],
        "start": page.start,
        "next": page.next,
    }


def step_data(step: rp.Step) -> dict[str, Any]:
    """A step as JSON values: ``kind`` and its fields; bytes as base64."""
    data: dict[str, Any] = {"kind": type(step).__name__.lower()}
    for field in fields(step):
        data[field.name] = _plain(getattr(step, field.name))
    return data


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, msgspec.Struct):
        return {name: _plain(item) for name, item in struct_data(value).items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


async def kill_session(call: Call) -> Any:
    """``POST /sessions/{id}/kill``."""
    id_, who = call.path("id"), call.principal.subject
    log.warning(
        "session killed", session=id_, by=who.id, issuer=who.issuer, address=call.principal.address
    )
    try:
        is_ended = call.services.gateway.kill(id_, kill_reason(who.email or who.id))
    except RefusedError as error:
        raise ProblemError(503, "Not ended", error.refusal.text) from None
    if not is_ended:
        raise not_found(f"No session {id_} is connected.")
    return {"killed": id_}


# -- approvals -------------------------------------------------------------------------------------


class DecisionBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``reason``: needed for a denial; whoever asked reads it. ``minutes``: approve what is like it
    for so long, too. ``scope``: how like.
    """

    approve: bool
    reason: Annotated[str, Meta(max_length=2000)] = ""
    minutes: Annotated[int, Meta(ge=0, le=1440)] = 0
    scope: Annotated[str, Meta(pattern="^(statement|rule)$")] = "statement"


class ApprovalList(msgspec.Struct, frozen=True):
    """Requests, newest first."""

    approvals: list[dict[str, Any]]


def _operations(call: Call) -> ApprovalOperations:
    if call.services.approvals is None:
        raise not_found("Approvals are not configured in this gateway.")
    return ApprovalOperations(call.services.approvals, "rest")


async def list_approvals(call: Call) -> Any:
    """``GET /approvals``."""
    status, limit = call.choice("status", "pending"), call.number("limit", 50, 1, 500)
    requests = await run_in_threadpool(
        _operations(call).list, call.principal, pending=status == "pending", limit=limit
    )
    return {"approvals": [request_data(request, whole=False) for request in requests]}


async def get_approval(call: Call) -> Any:
    """``GET /approvals/{id}``."""
    ops = _operations(call)
    try:
        return request_data(await run_in_threadpool(ops.show, call.principal, call.path("id")))
    except DecisionError as error:
        raise _decision_problem(error) from None


class SampleData(msgspec.Struct, frozen=True):
    """Values as text, null for NULL. ``masked``: columns that policy masks for whoever asks.
    ``problem``: why there are no rows.
    """

    columns: list[str]
    rows: list[list[str | None]]
    masked: list[str]
    problem: str


async def get_sample(call: Call) -> Any:
    """``GET /approvals/{id}/sample``."""
    ops = _operations(call)
    try:
        return sample_data(await ops.sample(call.principal, call.path("id"), call.services.gateway))
    except DecisionError as error:
        raise _decision_problem(error) from None
    except RefusedError as error:
        raise ProblemError(503, "Not measured", error.refusal.text) from None


async def decide(call: Call) -> Any:
    """``POST /approvals/{id}/decision``."""
    ops, body, who, id_ = _operations(call), call.body, call.principal, call.path("id")
    try:
        if body.approve and body.minutes:
            grant = await run_in_threadpool(
                ops.grant, who, id_, float(body.minutes), scope=body.scope, reason=body.reason
            )
            return {**request_data(ops.show(who, id_)), "granted": grant_data(grant)}
        return request_data(
            await run_in_threadpool(ops.decide, who, id_, body.approve, body.reason)
        )
    except DecisionError as error:
        raise _decision_problem(error) from None
    except RefusedError as error:
        raise ProblemError(503, "Not recorded", error.refusal.text) from None


def _decision_problem(error: DecisionError) -> ProblemError:
    detail = f"{error.refusal.message}. {error.refusal.hint}".strip()
    return ProblemError(
        HTTP_STATUS[error.problem], error.problem.value, detail, code=error.refusal.code.id
    )


# -- policy and targets ----------------------------------------------------------------------------


class SubjectBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Somebody to try a statement as."""

    id: str = ""
    groups: list[str] = []
    agent: str = ""
    actors: tuple[str, ...] = ()
    claims: dict[str, Any] = {}


class ExplainBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Asks what the policy would say of a statement (``sql``), or of several, of ``subject``."""

    target: str
    sql: Annotated[str, Meta(min_length=1, max_length=20_000)]
    subject: SubjectBody = SubjectBody()


class Explained(msgspec.Struct, frozen=True):
    """What the policy says of each statement."""

    statements: list[dict[str, Any]]


class PolicyVersionList(msgspec.Struct, frozen=True):
    """Newest first, without their texts."""

    versions: list[dict[str, Any]]


class MemberList(msgspec.Struct, frozen=True):
    """Every process of every gateway of the store."""

    gateways: list[Member]


class ComparedVersion(msgspec.Struct, frozen=True):
    """``against``: what it is compared with; null for the first. ``diff``: in unified format."""

    version: PolicyVersion
    against: dict[str, Any] | None
    diff: str


class TargetList(msgspec.Struct, frozen=True):
    """Every target of the configuration."""

    targets: list[TargetStatus]


async def get_policy(call: Call) -> Any:
    """``GET /policy``."""
    return asdict(call.services.gateway.policy())


def _versions(call: Call) -> PolicyVersions:
    if call.services.policies is None:
        raise not_found("Versions of the policy are not kept in this gateway.")
    return call.services.policies


async def list_policy_versions(call: Call) -> Any:
    """``GET /policy/versions``."""
    versions = await run_in_threadpool(_versions(call).recent, call.number("limit", 50, 1, 500))
    return {"versions": [_version_data(version) for version in versions]}


def _version_data(version: PolicyVersion) -> dict[str, Any]:
    data = version_data(version)
    del data["text"]
    return data


async def list_policy_gateways(call: Call) -> Any:
    """Every process, and the version that is in force there."""
    members = call.services.members
    if members is None:
        raise not_found("This gateway does not say who serves.")
    return {"gateways": [asdict(member) for member in await run_in_threadpool(members.members)]}


async def get_policy_version(call: Call) -> Any:
    """``GET /policy/versions/{number}``."""
    against = call.number("against", 0, 1, FAR) if "against" in call.request.query_params else None
    try:
        version, earlier, lines = await run_in_threadpool(
            compared, _versions(call), version_id(call.path("id")), against
        )
    except UnknownVersionError as error:
        raise not_found(str(error)) from None
    return {
        "version": version_data(version),
        "against": None if earlier is None else _version_data(earlier),
        "diff": unified(lines),
    }


async def explain(call: Call) -> Any:
    """``POST /policy/explain``."""
    asked = call.body
    who = asked.subject
    subject = Subject(
        who.id or "someone",
        "",
        frozenset(who.groups),
        agent=who.agent or next(iter(who.actors), ""),
        claims=who.claims,
        actors=tuple(who.actors),
    )
    try:
        explanations = await call.services.gateway.explain(subject, asked.target, asked.sql)
    except ConfigError as error:
        raise invalid(str(error)) from None
    except RefusedError as error:
        refusal = error.refusal
        more: dict[str, Any] = {"code": refusal.code.id, "sqlstate": refusal.sqlstate}
        more["position"] = refusal.position
        detail = " ".join(filter(None, (refusal.message, refusal.detail, refusal.hint)))
        raise ProblemError(422, "The statement cannot be read", detail, **more) from None
    return {"statements": [explanation_data(explanation) for explanation in explanations]}


async def list_targets(call: Call) -> Any:
    """``GET /targets``."""
    return {"targets": [asdict(target) for target in call.services.gateway.targets()]}


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "GET", "/sessions", "listSessions", "sessions.list", "Sessions, newest first, one page.", list_sessions,
        SessionPage,
        (
            Parameter("subject", "Part of subject, label or agent.", TEXT),
            Parameter("target", "The target's name.", TEXT),
            Parameter("status", "Only these.", {"type": "string", "enum": ["live", "ended", "interrupted"]}),
            Parameter("refused", "Only those with a refused statement.", {"type": "boolean"}),
            Parameter("text", "Part of a statement's SQL, whatever case and layout. Needs sessions.read.", TEXT),
            Parameter("relation", "A relation that the statement touches, with or without its schema. Needs sessions.read.", TEXT),
            Parameter("verdict", "The statement's verdict: of the same statement as text and relation.", {"type": "string", "enum": list(VERDICTS)}),
            Parameter("since", "Started then or later: RFC 3339, or Unix seconds.", TIME),
            Parameter("until", "Started before: RFC 3339, or Unix seconds.", TIME),
            Parameter("after", "'next' of the page before.", {"type": "string", "pattern": r"^\d{1,12}(\.\d{1,9})?~[a-z0-9_]{1,64}$"}),
            LIMIT,
        ),
    ),
    Operation("GET", "/sessions/{id}", "getSession", "sessions.read", "One session.", get_session, SessionRow, errors=(404,)),
    Operation(
        "GET", "/sessions/{id}/events", "listSessionEvents", "sessions.replay",
        "What the agent asked and saw, step by step, one page.", session_events, EventPage,
        (
            Parameter("start", "Position of the first step.", POSITION),
            Parameter("limit", "The maximum number of steps.", {"type": "integer", "minimum": 1, "maximum": 1000, "default": 200}),
        ),
        errors=(404,),
    ),
    Operation("POST", "/sessions/{id}/kill", "killSession", "sessions.kill", "End a live session.", kill_session, Killed, errors=(404,)),
    Operation(
        "GET", "/approvals", "listApprovals", "approvals.list", "Requests for approval.", list_approvals, ApprovalList,
        (Parameter("status", "Only these.", {"type": "string", "enum": ["pending"]}), LIMIT), errors=(404,),
    ),
    Operation("GET", "/approvals/{id}", "getApproval", "approvals.read", "One request, whole.", get_approval, ANY_OBJECT, errors=(404,)),
    Operation(
        "GET", "/approvals/{id}/sample", "sampleApproval", "approvals.read", "Some of the rows it would change, masked for you.",
        get_sample, SampleData, errors=(404, 503), action="approvals.sample",
    ),
    Operation(
        "POST", "/approvals/{id}/decision", "decideApproval", "approvals.decide", "Approve or deny.", decide, ANY_OBJECT,
        body=DecisionBody, errors=(404, 409, 503),
    ),
    Operation("GET", "/policy", "getPolicy", "policy.read", "The policy in force.", get_policy, PolicyStatus),
    Operation(
        "GET", "/policy/versions", "listPolicyVersions", "policy.read", "The policies that were in force, newest first.",
        list_policy_versions, PolicyVersionList, (LIMIT,), errors=(404,),
    ),
    Operation(
        "GET", "/policy/versions/{id}", "getPolicyVersion", "policy.read", "One of them, and what it changed.", get_policy_version,
        ComparedVersion,
        (Parameter("against", "Compare with the version of this id instead of the one before.", {"type": "integer", "minimum": 1, "maximum": FAR}),),
        errors=(404,),
    ),
    Operation(
        "GET", "/policy/gateways", "listPolicyGateways", "policy.read",
        "Which gateway runs which version of the policy.", list_policy_gateways, MemberList,
        errors=(404, 503),
    ),
    Operation(
        "POST", "/policy/explain", "explainPolicy", "policy.explain",
        "What the policy would say to a statement. Nothing is run.", explain, Explained, body=ExplainBody,
    ),
    Operation("GET", "/targets", "listTargets", "targets.read", "The databases behind the gateway.", list_targets, TargetList),
    *STATEMENTS,
    *RECEIPTS,
    *TOKENS,
    *FINDINGS,
    *MANAGEMENT,
)  # fmt: skip
