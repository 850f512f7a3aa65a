"""All routes, and how a request finds its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from artifactstore.httpapi import (
    deletion_routes,
    documentation_routes,
    event_routes,
    object_routes,
    package_routes,
    retention_routes,
    schema_routes,
    service_routes,
    upload_routes,
)
from artifactstore.httpapi.refusals import Refusal

if TYPE_CHECKING:
    from artifactstore.httpapi.routes import Route

ROUTES: tuple[Route, ...] = (
    *service_routes.ROUTES,
    *documentation_routes.ROUTES,
    *package_routes.ROUTES,
    *object_routes.ROUTES,
    *upload_routes.ROUTES,
    *retention_routes.ROUTES,
    *deletion_routes.ROUTES,
    *schema_routes.ROUTES,
    *event_routes.ROUTES,
)
# RFC 9110 §9, RFC 5789; others are not known here at all.
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"})


def find(method: str, segments: tuple[str, ...]) -> tuple[Route, dict[str, str]] | str:
    """The route of a request with the parameters of its path, or the methods that its path allows.

    Raises:
        Refusal: 404, there is no such path; 405 or 501, the method is none of it.
    """
    if method not in METHODS:
        raise Refusal(501, "the method is not known here", close=True)
    matching = [(route, found) for route in ROUTES if (found := route.match(segments)) is not None]
    if not matching:
        raise Refusal(404, "there is no such path", hint="see /docs", code="no-such-path")
    for route, found in matching:
        if route.method == method:
            return route, found
    for route, found in matching:
        if method == "HEAD" and route.method == "GET":
            return route, found
    methods = {route.method for route, _ in matching}
    allowed = ", ".join(sorted(methods | {"OPTIONS"} | ({"HEAD"} if "GET" in methods else set())))
    if method == "OPTIONS":
        return allowed
    raise Refusal(405, f"this path allows {allowed}", headers={"Allow": allowed})
