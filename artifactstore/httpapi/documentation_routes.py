"""Routes of the documentation: the OpenAPI document and a page made from it."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING

from artifactstore.httpapi.answers import Answer, document
from artifactstore.httpapi.routes import Reply, Route

if TYPE_CHECKING:
    from artifactstore.httpapi.routes import Call


_POLICY = (
    "default-src 'none'; connect-src 'self'; style-src 'self' 'unsafe-inline';"
    " script-src 'self' 'unsafe-inline'; frame-ancestors 'none'"
)


def show_openapi(_call: Call) -> Answer:
    """The API, as OpenAPI 3.1."""
    from artifactstore.httpapi.openapi import openapi_document

    return document(openapi_document())


def show_documentation(_call: Call) -> Answer:
    """The API for people: an empty page that fetches the description with the token that is typed into it."""
    page = resources.files("artifactstore.httpapi").joinpath("documentation.html").read_bytes()
    return Answer(200, page, "text/html; charset=utf-8", {"Content-Security-Policy": _POLICY})


ROUTES = (
    Route(
        "GET",
        "/docs",
        show_documentation,
        "Read about the API",
        Reply("A page that works without a network, and can try a call.", media_types=("text/html",)),
        None,
    ),
    Route(
        "GET", "/openapi.json", show_openapi, "Fetch the API's description", Reply("OpenAPI 3.1.", "OpenApi")
    ),
)
