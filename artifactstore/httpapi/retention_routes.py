"""Routes about the retention of one package."""

from __future__ import annotations

from types import NoneType
from typing import TYPE_CHECKING, cast

from artifactstore.errors import InvalidInputError
from artifactstore.event_log import to_json
from artifactstore.httpapi.access import ADMIN
from artifactstore.httpapi.answers import document
from artifactstore.httpapi.package_routes import ACTOR, KEY
from artifactstore.httpapi.routes import Reply, Route
from artifactstore.lifecycle.durations import parse_duration
from artifactstore.moment import parse_moment

if TYPE_CHECKING:
    from artifactstore.httpapi.answers import Answer
    from artifactstore.httpapi.routes import Call

TEXT_OR_NOTHING = (str, NoneType)


def show_retention(call: Call) -> Answer:
    """Where a package stands in its life."""
    return document(call.store.explain_retention(call.path["package"]).state)


def explain_retention(call: Call) -> Answer:
    """Why a package is kept, until when, and what would happen to it now, in plain words."""
    return document(call.store.explain_retention(call.path["package"]))


def extend_retention(call: Call) -> Answer:
    """Keep a finalized package longer."""
    given = call.document(
        until=TEXT_OR_NOTHING, by=TEXT_OR_NOTHING, forever=(bool, NoneType), reason=TEXT_OR_NOTHING
    )
    until, by = cast("str | None", given["until"]), cast("str | None", given["by"])
    if (until is not None) + (by is not None) + bool(given["forever"]) != 1:
        raise InvalidInputError("give one of until, by and forever", code="invalid-field")
    state = call.store.extend_retention(
        call.path["package"],
        actor=call.actor,
        until=None if until is None else parse_moment(until),
        by=None if by is None else parse_duration(by),
        for_ever=bool(given["forever"]),
        reason=cast("str | None", given["reason"]),
    )
    return document(state)


def apply_hold(call: Call) -> Answer:
    """Forbid the deletion of a package until this hold is released."""
    given = call.document(reason=str, authority=TEXT_OR_NOTHING, case_id=TEXT_OR_NOTHING)
    hold = call.store.apply_hold(
        call.path["package"],
        reason=cast("str", given["reason"]),
        actor=call.actor,
        authority=cast("str | None", given["authority"]),
        case_id=cast("str | None", given["case_id"]),
        idempotency_key=call.idempotency_key,
    )
    return document(hold, status=201)


def release_hold(call: Call) -> Answer:
    """End one hold; others of the package go on."""
    given = call.document(reason=str)
    hold = call.store.release_hold(
        call.path["package"], call.path["hold"], reason=cast("str", given["reason"]), actor=call.actor
    )
    return document(hold)


def show_retention_history(call: Call) -> Answer:
    """Everything that ever touched the retention of a package, oldest first."""
    events = call.store.retention_history(call.path["package"])
    return document({"items": [to_json(event) for event in events], "next_cursor": None})


ROUTES = (
    Route(
        "GET",
        "/packages/{package}/retention",
        show_retention,
        "Show the state of retention",
        Reply("The state.", "RetentionState"),
    ),
    Route(
        "GET",
        "/packages/{package}/retention/explain",
        explain_retention,
        "Say why a package is kept",
        Reply("State, rule, holds, and what sweep and gc would do now.", "Explanation"),
    ),
    Route(
        "POST",
        "/packages/{package}/retention/extend",
        extend_retention,
        "Keep a package longer",
        Reply("The state after it.", "RetentionState"),
        ADMIN,
        "Retention only grows: an earlier expiry is refused.",
        fields=(ACTOR,),
        body="Extension",
        body_required=True,
        refuses=(404, 409),
    ),
    Route(
        "POST",
        "/packages/{package}/retention/holds",
        apply_hold,
        "Forbid the deletion of a package",
        Reply("The hold with its id.", "Hold", status=201),
        ADMIN,
        fields=(KEY, ACTOR),
        body="NewHold",
        body_required=True,
        refuses=(404, 409, 410),
    ),
    Route(
        "POST",
        "/packages/{package}/retention/holds/{hold}/release",
        release_hold,
        "End one hold",
        Reply("The hold with its end.", "Hold"),
        ADMIN,
        fields=(ACTOR,),
        body="Release",
        body_required=True,
        refuses=(404, 409),
    ),
    Route(
        "GET",
        "/packages/{package}/retention/history",
        show_retention_history,
        "List what touched the retention of a package",
        Reply("Events, oldest first.", "EventList"),
    ),
)
