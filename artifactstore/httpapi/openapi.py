"""The OpenAPI document, made from the table of routes.

Source: OpenAPI Specification 3.1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from artifactstore.httpapi.access import ADMIN
from artifactstore.httpapi.answers import CBOR, EVENT_STREAM, JSON
from artifactstore.httpapi.refusals import PHRASES, PROBLEM
from artifactstore.httpapi.routes import BYTES
from artifactstore.httpapi.schemas import schemas
from artifactstore.httpapi.table import ROUTES
from artifactstore.version import __version__

if TYPE_CHECKING:
    from artifactstore.httpapi.routes import Parameter, Reply, Route

_ALWAYS = (400, 421, 500, 503)


def openapi_document() -> dict[str, Any]:
    """The API as OpenAPI 3.1 describes one."""
    paths: dict[str, dict[str, Any]] = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "artifactstore",
            "version": __version__,
            "summary": "Keeps evidence: packages, their files, their retention and the log of all of it.",
        },
        "servers": [{"url": "/"}],
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": schemas(),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(route: Route) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.operation_id,
        "summary": route.summary,
        "description": route.description or _first_line(route),
        "tags": [route.segments[0] if route.segments else "service"],
        "parameters": [*_path_parameters(route), *_parameters(route)],
        "responses": _responses(route),
    }
    if route.scope is None:
        operation["security"] = []
    else:
        operation["x-scope"] = route.scope
    if route.body is not None:
        operation["requestBody"] = _request_body(route)
    return {name: value for name, value in operation.items() if value != [] or name == "security"}


def _first_line(route: Route) -> str:
    return (route.respond.__doc__ or "").partition("\n")[0]


def _path_parameters(route: Route) -> list[dict[str, Any]]:
    names = [part[1:-1] for part in route.segments if part.startswith("{")]
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {"type": "string", "minLength": 1},
            "description": _PATH[name],
        }
        for name in names
    ]


_PATH = {
    "package": "Id of a package, or a unique prefix of at least 4 digits.",
    "path": "Relative path of the file in its package; it may hold slashes.",
    "file": "Id of a file.",
    "digest": "`blake3:<hex>`, `sha256:<hex>` or hex, or a unique prefix.",
    "upload": "Id of an upload session.",
    "hold": "Id of a hold.",
    "slug": "Name of a metadata schema.",
}


def _parameters(route: Route) -> list[dict[str, Any]]:
    # OpenAPI 3.1 has no place for Content-Type among the parameters.
    taken = [("query", each) for each in route.query]
    taken += [("header", each) for each in route.fields if each.name != "Content-Type"]
    return [_parameter(place, each) for place, each in taken]


def _parameter(place: str, parameter: Parameter) -> dict[str, Any]:
    described = {
        "name": parameter.name,
        "in": place,
        "required": parameter.required,
        "description": parameter.description,
        "schema": dict(parameter.schema),
    }
    if parameter.name == "metadata":
        # One parameter for each key, as `metadata[KEY]=VALUE`.
        described |= {
            "schema": {"type": "object", "additionalProperties": {"type": "string"}},
            "style": "deepObject",
        }
    return described


def _request_body(route: Route) -> dict[str, Any]:
    if route.body == BYTES:
        return {"required": False, "content": {"*/*": {"schema": {}}}}
    schema = {"$ref": f"#/components/schemas/{route.body}"}
    return {"required": route.body_required, "content": {JSON: {"schema": schema}}}


def _responses(route: Route) -> dict[str, Any]:
    responses: dict[str, Any] = {str(route.reply.status): _response(route.reply)}
    statuses = {*route.refuses, *_ALWAYS}
    if route.scope is not None:
        statuses |= {401, 403}
    if "{" in route.path or route.scope == ADMIN:
        statuses |= {404, 422}
    if route.changes:
        statuses |= {403, 408, 411, 413, 415, 422}
    if any(parameter.name == "Range" for parameter in route.fields):
        responses["206"] = {"description": "A part of the bytes.", "content": {"*/*": {"schema": {}}}}
    if 304 in statuses:
        responses["304"] = {"description": "The client has it already."}
    for status in sorted(statuses - {304}):
        responses[str(status)] = {
            "description": PHRASES[status],
            "content": {PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
    return dict(sorted(responses.items()))


def _response(reply: Reply) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for media_type in reply.media_types:
        if reply.schema is None or media_type in {CBOR, EVENT_STREAM}:
            content[media_type] = {"schema": {}}
        else:
            content[media_type] = {"schema": {"$ref": f"#/components/schemas/{reply.schema}"}}
    return {"description": reply.description, **({"content": content} if content else {})}
