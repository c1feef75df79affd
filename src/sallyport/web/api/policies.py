"""The operations of the REST interface on the policy in force and before, and on targets."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import msgspec
from msgspec import Meta
from starlette.concurrency import run_in_threadpool

from sallyport.core.errors import ConfigError, RefusedError
from sallyport.core.owners import Member
from sallyport.core.subject import Subject
from sallyport.operations.explaining import explanation_data
from sallyport.operations.jsondata import version_data
from sallyport.operations.policies import PolicyVersions, UnknownVersionError, compared
from sallyport.operations.ports import PolicyStatus, TargetStatus
from sallyport.policy.versions import PolicyVersion, unified
from sallyport.web.api.operations import (
    FAR,
    LIMIT,
    Call,
    Operation,
    Parameter,
    ProblemError,
    invalid,
    not_found,
)
from sallyport.web.pages.policy import version_id


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


POLICIES: tuple[Operation, ...] = (
    Operation(
        "GET",
        "/policy",
        "getPolicy",
        "policy.read",
        "The policy in force.",
        get_policy,
        PolicyStatus,
    ),
    Operation(
        "GET",
        "/policy/versions",
        "listPolicyVersions",
        "policy.read",
        "The policies that were in force, newest first.",
        list_policy_versions,
        PolicyVersionList,
        (LIMIT,),
        errors=(404,),
    ),
    Operation(
        "GET",
        "/policy/versions/{id}",
        "getPolicyVersion",
        "policy.read",
        "One of them, and what it changed.",
        get_policy_version,
        ComparedVersion,
        (
            Parameter(
                "against",
                "Compare with the version of this id instead of the one before.",
                {"type": "integer", "minimum": 1, "maximum": FAR},
            ),
        ),
        errors=(404,),
    ),
    Operation(
        "GET",
        "/policy/gateways",
        "listPolicyGateways",
        "policy.read",
        "Which gateway runs which version of the policy.",
        list_policy_gateways,
        MemberList,
        errors=(404, 503),
    ),
    Operation(
        "POST",
        "/policy/explain",
        "explainPolicy",
        "policy.explain",
        "What the policy would say to a statement. Nothing is run.",
        explain,
        Explained,
        body=ExplainBody,
    ),
    Operation(
        "GET",
        "/targets",
        "listTargets",
        "targets.read",
        "The databases behind the gateway.",
        list_targets,
        TargetList,
    ),
)
