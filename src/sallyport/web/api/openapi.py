"""The OpenAPI 3.1 document, made from the table of operations: what is not in the table is not
served, and the other way round.
"""

from __future__ import annotations

from functools import lru_cache
from http import HTTPStatus
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from sallyport import __version__
from sallyport.web.api.operations import PREFIX, Operation, Parameter, json_response
from sallyport.web.api.resources import OPERATIONS

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
    types = {operation.answer for operation in OPERATIONS if isinstance(operation.answer, type)}
    types |= {operation.body for operation in OPERATIONS if operation.body is not None}
    ordered = sorted(types, key=lambda operation: operation.__name__)
    schemas, components = msgspec.json.schema_components(
        ordered, ref_template="#/components/schemas/{name}"
    )
    for name in _TIMED & components.keys():
        _as_times(components[name]["properties"])
    named = dict(zip(ordered, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths.setdefault(PREFIX + operation.path, {})[operation.method.lower()] = _operation(
            operation, named
        )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Sallyport",
            "version": __version__,
            "description": (
                "What people do with sessions, approvals, policy and targets of a Sallyport"
                " gateway."
            ),
        },
        "security": [{"bearer": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": (
                        "An access token for the gateway, from an issuer it trusts. Roles come from"
                        " its groups."
                    ),
                }
            },
            "schemas": {**components, "Problem": _PROBLEM},
        },
    }


def _operation(operation: Operation, named: dict[Any, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "description": f"Permission: {operation.permission}.",
        "parameters": [*(_path(operation)), *(_query(parameter) for parameter in operation.query)],
        "responses": _responses(operation, named),
    }
    if operation.identify is not None:
        made["security"] = [{"bearer": []}, {}]
    if operation.body is not None:
        made["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": named[operation.body]}},
        }
    return made


def _path(operation: Operation) -> list[dict[str, Any]]:
    return (
        [{"name": "id", "in": "path", "required": True, "schema": _ID}]
        if "{id}" in operation.path
        else []
    )


def _query(parameter: Parameter) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "in": "query",
        "description": parameter.description,
        "schema": dict(parameter.schema),
    }


def _responses(operation: Operation, named: dict[Any, Any]) -> dict[str, Any]:
    schema = named[operation.answer] if isinstance(operation.answer, type) else operation.answer
    made: dict[str, Any] = {
        "200": {"description": "As asked.", "content": {"application/json": {"schema": schema}}}
    }
    body = (415,) if operation.body is not None else ()
    for status in sorted({400, 401, 403, 413, 421, 422, 429, 503, *body, *operation.errors}):
        kind = "text/plain" if status in (413, 421) else "application/problem+json"
        problem: Any = (
            {"type": "string"} if kind == "text/plain" else {"$ref": "#/components/schemas/Problem"}
        )
        made[str(status)] = {
            "description": HTTPStatus(status).phrase,
            "content": {kind: {"schema": problem}},
        }
    return made


async def openapi(request: Request) -> Response:
    """``GET /openapi.json``."""
    return json_response(document())
