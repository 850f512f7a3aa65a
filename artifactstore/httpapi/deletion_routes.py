"""Routes that let packages go: a sweep marks them, a gc deletes their bytes, as a plan says."""

from __future__ import annotations

from types import NoneType
from typing import TYPE_CHECKING, Any, cast

from artifactstore import codec
from artifactstore.errors import IntegrityError, InvalidInputError
from artifactstore.facts import gc_document, plan_digest, plan_document
from artifactstore.httpapi.access import ADMIN
from artifactstore.httpapi.answers import document
from artifactstore.httpapi.package_routes import ACTOR
from artifactstore.httpapi.routes import Reply, Route
from artifactstore.lifecycle.calls import ABANDONED_AFTER
from artifactstore.lifecycle.durations import parse_duration
from artifactstore.lifecycle.gc_plan import PLAN_TYPE, GcPlan
from artifactstore.moment import parse_moment

if TYPE_CHECKING:
    from artifactstore.codec import Value
    from artifactstore.httpapi.answers import Answer
    from artifactstore.httpapi.routes import Call

PACKAGES_MAX = 10_000  # of one request, so that request and answer have an end
_MAYBE_FLAG = (bool, NoneType)


def sweep_retention(call: Call) -> Answer:
    """Mark what has expired as eligible, and take back what is not any more; deletes nothing."""
    given = call.document(
        abandoned_after=(str, int, NoneType),
        mark_abandoned=_MAYBE_FLAG,
        accept_clock=_MAYBE_FLAG,
        limit=(int, NoneType),
    )
    age = given["abandoned_after"]
    result = call.store.sweep(
        actor=call.actor,
        abandoned_after=parse_duration(age) if isinstance(age, str) else _seconds(age),
        mark_abandoned=bool(given["mark_abandoned"]),
        accept_clock=bool(given["accept_clock"]),
        limit=_limit(given),
    )
    return document(result)


def plan_gc(call: Call) -> Answer:
    """What a gc would delete now, or whether a plan still holds. Changes nothing."""
    given = call.document(plan=(dict, NoneType), limit=(int, NoneType))
    return document(plan_document(_planned(call, given)))


def collect_garbage(call: Call) -> Answer:
    """Delete the bytes of eligible packages, exactly as a plan says or as would be planned now."""
    given = call.document(plan=(dict, NoneType), limit=(int, NoneType), accept_clock=_MAYBE_FLAG)
    result = call.store.gc(
        actor=call.actor, plan=_planned(call, given), accept_clock=bool(given["accept_clock"])
    )
    return document(gc_document(result))


def _planned(call: Call, given: dict[str, Any]) -> GcPlan:
    plan = None if given["plan"] is None else _plan_of(given["plan"])
    return call.store.plan_gc(plan=plan, limit=_limit(given))


def _seconds(given: Value) -> int:
    return ABANDONED_AFTER if given is None else cast("int", given)


def _limit(given: dict[str, Any]) -> int:
    limit = given["limit"] if given["limit"] is not None else PACKAGES_MAX
    if not 1 <= limit <= PACKAGES_MAX:
        raise InvalidInputError(f"limit is a number from 1 to {PACKAGES_MAX}", code="invalid-field")
    return cast("int", limit)


def _plan_of(given: dict[str, Any]) -> GcPlan:
    """The plan that a document of `plan_gc` says.

    Raises:
        InvalidInputError: it was altered, or is none.
    """
    members = {"media_type": PLAN_TYPE, **given}
    digest = members.pop("plan_digest", None)
    packages = given.get("packages")
    if isinstance(packages, list):
        members["packages"] = [_moments_read(each) if isinstance(each, dict) else each for each in packages]
    try:
        plan = GcPlan.from_bytes(codec.encode(members))
    except IntegrityError as error:
        raise InvalidInputError(error.message, code="not-a-plan") from error
    if digest != plan_digest(plan):
        raise InvalidInputError(
            "the plan is not what its plan_digest says", hint="send it as it came", code="not-a-plan"
        )
    return plan


def _moments_read(members: dict[str, Any]) -> dict[str, Any]:
    return {
        name: parse_moment(value) if name.endswith("_at") and isinstance(value, str) else value
        for name, value in members.items()
    }


_OF_GC = f"At most {PACKAGES_MAX} packages at a time, the oldest first; while a plan has so many, go on."

ROUTES = (
    Route(
        "POST",
        "/retention/sweep",
        sweep_retention,
        "Mark what has expired",
        Reply("What has changed; each list has at most `limit` packages.", "SweepResult"),
        ADMIN,
        f"At most {PACKAGES_MAX} packages at a time; while a list is full, the next sweep does the rest.",
        fields=(ACTOR,),
        body="NewSweep",
        refuses=(409,),
    ),
    Route(
        "POST",
        "/retention/gc/plan",
        plan_gc,
        "Plan what would be deleted",
        Reply("The plan, which `POST /retention/gc` takes as it is.", "GcPlan"),
        ADMIN,
        f"Changes nothing. With a `plan`, says whether it still holds. {_OF_GC}",
        body="NewGcPlan",
        refuses=(409,),
    ),
    Route(
        "POST",
        "/retention/gc",
        collect_garbage,
        "Delete what is eligible",
        Reply("What was deleted, under which plan.", "GcResult"),
        ADMIN,
        f"With a `plan`, does exactly that, or nothing if it is stale. {_OF_GC}",
        fields=(ACTOR,),
        body="NewGc",
        refuses=(409,),
    ),
)
