"""The description of the API: it is OpenAPI, it has every route, and what the server does keeps to it."""

from __future__ import annotations

import inspect
import re
from importlib import resources
from typing import TYPE_CHECKING, Any

import pytest
from docs.pages import PROJECT
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from artifactstore.errors import ArtifactStoreError
from artifactstore.httpapi.openapi import openapi_document
from artifactstore.httpapi.refusals import BY_ERROR, refusal_of, status_of
from artifactstore.httpapi.table import ROUTES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from httpapi.harness import Answer, Client

API = openapi_document()


def test_it_is_valid() -> None:
    assert [str(error) for error in OpenAPIV31SpecValidator(API).iter_errors()] == []


def test_it_has_every_route_and_nothing_else() -> None:
    described = {(method.upper(), path) for path, methods in API["paths"].items() for method in methods}
    assert described == {(route.method, route.path) for route in ROUTES}


def test_names_of_operations_differ() -> None:
    names = [route.operation_id for route in ROUTES]
    assert len(set(names)) == len(names)
    assert all(inspect.getdoc(route.respond) for route in ROUTES)


def conforming(answer: Answer, path: str, method: str = "get") -> Any:
    """The document of an answer, which its schema allows."""
    said = API["paths"][path][method]["responses"][str(answer.status)]["content"]
    [media_type] = [kind for kind in said if answer.fields["content-type"].startswith(kind)]
    schema = {**said[media_type]["schema"], "components": API["components"]}
    problems = [error.message for error in Draft202012Validator(schema).iter_errors(answer.document)]
    assert problems == []
    return answer.document


def test_what_the_server_answers_is_as_described(client: Client, operator: Client) -> None:
    package = client.finalized({"a.txt": b"a", "b/c.bin": b"c"}, metadata={"run": {"id": 7}})
    opened = client.package()
    where = f"/packages/{package}"
    file = conforming(client("GET", f"{where}/files"), "/packages/{package}/files")["items"][0]
    digest = file["digest"]
    hold = conforming(
        operator("POST", f"{where}/retention/holds", {"reason": "trial"}, status=201),
        "/packages/{package}/retention/holds",
        "post",
    )
    json = {"Accept": "application/json"}
    known = {"files": [{"relative_path": "y", "digest": digest}]}
    upload = client("POST", "/uploads", {"package": opened, "relative_path": "x"}, status=201)
    for answer, path, method in (
        (client("GET", "/"), "/", "get"),
        (client("GET", "/health"), "/health", "get"),
        (client("GET", "/openapi.json"), "/openapi.json", "get"),
        (client("GET", "/packages?limit=1"), "/packages", "get"),
        (client("GET", where), "/packages/{package}", "get"),
        (client("GET", f"{where}/manifest"), "/packages/{package}/manifest", "get"),
        (client("GET", f"{where}/retention"), "/packages/{package}/retention", "get"),
        (client("GET", f"{where}/retention/explain"), "/packages/{package}/retention/explain", "get"),
        (client("GET", f"{where}/retention/history"), "/packages/{package}/retention/history", "get"),
        (client("GET", f"/files/{file['file_id']}"), "/files/{file}", "get"),
        (client("GET", f"/objects/{digest}"), "/objects/{digest}", "get"),
        (client("POST", "/objects/query", {"digests": [digest]}), "/objects/query", "post"),
        (client("GET", "/events", **json), "/events", "get"),
        (upload, "/uploads", "post"),
        (client("GET", upload.fields["location"]), "/uploads/{upload}", "get"),
        (client("POST", f"{where}/finalize"), "/packages/{package}/finalize", "post"),
        (
            client("POST", f"/packages/{opened}/files", known),
            "/packages/{package}/files",
            "post",
        ),
        (
            operator("POST", f"{where}/retention/extend", {"by": "90d"}),
            "/packages/{package}/retention/extend",
            "post",
        ),
        (
            operator("POST", f"{where}/retention/holds/{hold['hold_id']}/release", {"reason": "over"}),
            "/packages/{package}/retention/holds/{hold}/release",
            "post",
        ),
        (operator("POST", "/retention/sweep", {}), "/retention/sweep", "post"),
        (operator("POST", "/retention/gc/plan", {}), "/retention/gc/plan", "post"),
        (operator("POST", "/retention/gc", {}), "/retention/gc", "post"),
        (
            operator("POST", "/metadata-schemas", {"slug": "run.v1", "schema": {"type": "object"}}),
            "/metadata-schemas",
            "post",
        ),
        (client("GET", "/metadata-schemas"), "/metadata-schemas", "get"),
        (client("GET", "/metadata-schemas/run.v1?version=1"), "/metadata-schemas/{slug}", "get"),
        (client("GET", "/packages/zzzz"), "/packages/{package}", "get"),
        (client("GET", "/packages?limit=0"), "/packages", "get"),
    ):
        conforming(answer, path, method)


# Errors


def error_classes(kind: type[ArtifactStoreError] = ArtifactStoreError) -> Iterator[type[ArtifactStoreError]]:
    """The whole tree."""
    yield kind
    for below in kind.__subclasses__():
        if below.__module__.startswith("artifactstore."):
            yield from error_classes(below)


def test_the_bytes_of_a_file_are_of_any_type() -> None:
    for method, path in (("put", "/packages/{package}/files/{path}"), ("patch", "/uploads/{upload}")):
        assert list(API["paths"][path][method]["requestBody"]["content"]) == ["*/*"]


@pytest.mark.parametrize("kind", list(error_classes()))
def test_every_error_has_a_status(kind: type[ArtifactStoreError]) -> None:
    error = kind("the message /secret/place", hint="the hint")
    assert kind in BY_ERROR or kind.__module__ != "artifactstore.errors"
    refusal = refusal_of(error)
    assert refusal.status == status_of(error)
    assert refusal.code == kind.default_code
    if refusal.status >= 500 and kind.__name__ != "IntegrityError":
        assert "/secret/place" not in refusal.body().decode()


# The page


def test_the_page_needs_nothing_from_outside(client: Client, stranger: Client) -> None:
    page = stranger("GET", "/docs", status=200)
    assert page.fields["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in page.fields["content-security-policy"]
    text = page.body.decode()
    assert re.findall(r"https?://", text) == []
    assert re.findall(r"(?:src|href)=(\S+?)>", text) == ['"/openapi.json"']
    assert "innerHTML" not in text
    assert resources.files("artifactstore.httpapi").joinpath("documentation.html").read_bytes() == page.body
    assert client("GET", "/openapi.json").document == API


def test_the_reference_has_every_route() -> None:
    text = (PROJECT / "docs/reference/http.md").read_text(encoding="utf-8")
    assert [route for route in ROUTES if f"### {route.method} {route.path}\n" not in text] == []
