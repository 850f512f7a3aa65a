"""Routes of the service itself: banner, health, documentation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from artifactstore.facts import health_document
from artifactstore.httpapi.answers import Answer, document
from artifactstore.httpapi.routes import Reply, Route
from artifactstore.version import __version__

if TYPE_CHECKING:
    from artifactstore.httpapi.routes import Call


def show_banner(_call: Call) -> Answer:
    """Who is there."""
    return document(
        {
            "service": "artifactstore",
            "version": __version__,
            "documentation": "/docs",
            "openapi": "/openapi.json",
        }
    )


def show_health(call: Call) -> Answer:
    """Whether database and object store can be used; strangers are not told why not.

    The status is 200 if all is well and 503 if not, for those who look at nothing else.
    """
    health = call.store.health()
    told = health_document(health)
    if call.service.tokens.principal(call.head.fields) is None:
        for part in ("db", "backend"):
            told[part] = {"healthy": getattr(health, part).healthy, "reasons": []}
        told["warnings"] = []
    return document(told, status=200 if health.status == "ok" else 503)


ROUTES = (
    Route("GET", "/", show_banner, "Say who is there", Reply("The banner.", "Banner"), None),
    Route(
        "GET",
        "/health",
        show_health,
        "Say whether the store can be used",
        Reply("The summary that `artifactstore health` prints.", "Health"),
        None,
    ),
)
