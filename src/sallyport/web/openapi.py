"""The OpenAPI 3.1 document, made from the table of operations: what is not in the table is not served, and the other way round."""

from __future__ import annotations

from functools import lru_cache
from http import HTTPStatus
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from sallyport import __version__
from sallyport.web.api import PREFIX, Operation, Parameter, json_response
from sallyport.web.resources import OPERATIONS

_PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string"},
    },
}
_ID = {"type": "string", "minLength": 1, "maxLength": 100, "pattern": "^[A-Za-z0-9_.-]+$"}


#: Answers whose types have Unix seconds where REST says RFC 3339, and the names of those.
_TIMED = frozenset({"SessionRow", "FoundSession", "PolicyVersion"})
_TIMES = frozenset({"started", "ended", "loaded", "changed"})


def _as_times(properties: dict[str, Any]) -> None:
    for name in _TIMES & properties.keys():
        time = {"type": "string", "format": "date-time"}
        empty = "anyOf" in properties[name]
        properties[name] = {"anyOf": [time, {"type": "null"}]} if empty else time


@lru_cache(maxsize=1)
def document() -> dict[str, Any]:
    """The whole document."""
    types = {one.answer for one in OPERATIONS if isinstance(one.answer, type)}
    types |= {one.body for one in OPERATIONS if one.body is not None}
    ordered = sorted(types, key=lambda one: one.__name__)
    schemas, components = msgspec.json.schema_components(ordered, ref_template="#/components/schemas/{name}")
    for name in _TIMED & components.keys():
        _as_times(components[name]["properties"])
    named = dict(zip(ordered, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for one in OPERATIONS:
        paths.setdefault(PREFIX + one.path, {})[one.method.lower()] = _operation(one, named)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Sallyport",
            "version": __version__,
            "description": "What people do with sessions, approvals, policy and targets of a Sallyport gateway.",
        },
        "security": [{"bearer": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "An access token for the gateway, from an issuer it trusts. Roles come from its groups.",
                }
            },
            "schemas": {**components, "Problem": _PROBLEM},
        },
    }


def _operation(one: Operation, named: dict[Any, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {
        "operationId": one.name,
        "summary": one.summary,
        "description": f"Permission: {one.permission}.",
        "parameters": [*(_path(one)), *(_query(parameter) for parameter in one.query)],
        "responses": _responses(one, named),
    }
    if one.identify is not None:
        made["security"] = [{"bearer": []}, {}]
    if one.body is not None:
        made["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": named[one.body]}},
        }
    return made


def _path(one: Operation) -> list[dict[str, Any]]:
    return [{"name": "id", "in": "path", "required": True, "schema": _ID}] if "{id}" in one.path else []


def _query(one: Parameter) -> dict[str, Any]:
    return {"name": one.name, "in": "query", "description": one.description, "schema": dict(one.schema)}


def _responses(one: Operation, named: dict[Any, Any]) -> dict[str, Any]:
    schema = named[one.answer] if isinstance(one.answer, type) else one.answer
    made: dict[str, Any] = {
        "200": {"description": "As asked.", "content": {"application/json": {"schema": schema}}}
    }
    body = (415,) if one.body is not None else ()
    for status in sorted({400, 401, 403, 413, 421, 422, 429, 503, *body, *one.errors}):
        kind = "text/plain" if status in (413, 421) else "application/problem+json"
        problem: Any = (
            {"type": "string"} if kind == "text/plain" else {"$ref": "#/components/schemas/Problem"}
        )
        made[str(status)] = {"description": HTTPStatus(status).phrase, "content": {kind: {"schema": problem}}}
    return made


async def openapi(request: Request) -> Response:
    return json_response(document())
