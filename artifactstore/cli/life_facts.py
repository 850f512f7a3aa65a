"""Retention, holds, sweeps and plans as the commands show them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from artifactstore.cli.columns import Column, Fact
from artifactstore.cli.text import count_text, moment_text, size_text
from artifactstore.moment import format_moment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from artifactstore.events import Event
    from artifactstore.lifecycle.gc_plan import PlannedPackage
    from artifactstore.model import Explanation, Hold, RetentionState, Verification


# One package


def expiry_text(state: RetentionState) -> str:
    """When a finalized package expires, for people."""
    return "never" if state.expires_at is None else moment_text(state.expires_at)


def retention_facts(found: Explanation) -> Iterator[Fact]:
    """Rule, expiry, extension, holds, eligibility, and for a tombstone how its bytes went."""
    state = found.state
    yield Fact("rule", found.rule)
    yield Fact("expiry", found.expiry)
    if found.extension is not None:
        yield Fact("extended", found.extension)
    for hold in found.holds:
        yield Fact("hold", _hold_text(hold, format_moment), _hold_text(hold, moment_text))
    if state.eligible_at is not None:
        yield _deed(state.eligible_at, "eligible", f"by {state.eligible_by}, because {_why(state)}")
    if state.collected_at is not None:
        words = f"by {state.collected_by}, because {_why(state)}"
        if state.collected_plan is not None:
            words = f"{words}, under the plan sha256:{state.collected_plan.hex()}"
        yield _deed(state.collected_at, "deleted", words)


def _deed(moment: int, name: str, words: str) -> Fact:
    return Fact(name, f"{format_moment(moment)} {words}", f"{moment_text(moment)} {words}")


def _why(state: RetentionState) -> str:
    return "nobody finalized it" if state.eligible_reason == "abandoned" else "it had expired"


def verification_facts(checked: Verification) -> Iterator[Fact]:
    """Since when all bytes of a package are known to be right, and how many are known not to be."""
    if checked.oldest_at is not None:
        yield Fact("oldest_verified_at", format_moment(checked.oldest_at), moment_text(checked.oldest_at))
    if checked.failed_count:
        yield Fact(
            "damaged", f"{count_text(checked.failed_count, 'location')}; run `artifactstore storage repair`"
        )


def hold_facts(hold: Hold) -> list[Fact]:
    """A hold, and its end if it is over."""
    facts = [
        Fact("hold", hold.hold_id),
        Fact("reason", hold.reason),
        Fact("authority", hold.authority or ""),
        Fact("case", hold.case_id or ""),
        Fact("applied", f"{moment_text(hold.applied_at)} by {hold.applied_by}"),
    ]
    if hold.released_at is not None:
        facts.append(Fact("released", f"{moment_text(hold.released_at)} by {hold.released_by}"))
        facts.append(Fact("release_reason", hold.release_reason or ""))
    return facts


def _hold_text(hold: Hold, written: Callable[[int], str]) -> str:
    words = f"{hold.hold_id} since {written(hold.applied_at)} by {hold.applied_by}: {hold.reason}"
    return f"{words}{_ordered(hold.authority, hold.case_id)}"


def _ordered(authority: object, case_id: object) -> str:
    given = [
        f"{name} {text}" for name, text in (("authority", authority), ("case", case_id)) if text is not None
    ]
    return f" ({', '.join(given)})" if given else ""


# History


def _details(event: Event) -> str:
    """What an event says of retention, in words."""
    from artifactstore.event_log import to_json

    payload: Any = to_json(event)["payload"]
    until = payload.get("expires_at") or "never"
    because = f": {payload['reason']}" if payload.get("reason") else ""
    match event.type.removeprefix("v1."):
        case "package.created":
            return f"class {payload['retention_class']}"
        case "package.finalized":
            return f"expires {until}"
        case "retention.extended":
            return f"expires {until}{because}"
        case "retention.hold_applied":
            ordered = _ordered(payload["authority"], payload["case_id"])
            return f"hold {payload['hold_id']}{because}{ordered}"
        case "retention.hold_released":
            return f"hold {payload['hold_id']}{because}"
        case "package.garbage_collected":
            return f"{payload['reason']}, plan {payload['plan_digest']}"
    return str(payload.get("reason") or "")


HISTORY_COLUMNS: tuple[Column[Event], ...] = (
    Column(
        "TIME", lambda event: format_moment(event.recorded_at), lambda event: moment_text(event.recorded_at)
    ),
    Column("EVENT", lambda event: event.type),
    Column("ACTOR", lambda event: event.actor),
    Column("DETAILS", _details),
)


# Sweep and gc


@dataclass(frozen=True, slots=True)
class Change:
    """What a sweep did with a package: `eligible`, `withdrawn`, or `reported` if it left it alone."""

    change: str
    why: str
    state: RetentionState


CHANGE_COLUMNS: tuple[Column[Change], ...] = (
    Column("CHANGE", lambda each: each.change),
    Column("WHY", lambda each: each.why),
    Column("PACKAGE", lambda each: each.state.package_id),
    Column("NAME", lambda each: each.state.name),
    Column("CLASS", lambda each: each.state.retention_class),
    Column(
        "EXPIRES",
        lambda each: _moment(each.state.expires_at, format_moment),
        lambda each: _moment(each.state.expires_at, moment_text),
    ),
)

PLAN_COLUMNS: tuple[Column[PlannedPackage], ...] = (
    Column("PACKAGE", lambda package: package.package_id),
    Column("NAME", lambda package: package.name),
    Column("CLASS", lambda package: package.retention_class),
    Column("WHY", lambda package: package.reason),
    Column(
        "EXPIRED",
        lambda package: _moment(package.expires_at, format_moment),
        lambda package: _moment(package.expires_at, moment_text),
    ),
    Column("ELIGIBLE BY", lambda package: package.eligible_by),
    Column("FILES", lambda package: str(package.file_count), right=True),
    Column(
        "SIZE",
        lambda package: str(package.total_size),
        lambda package: size_text(package.total_size),
        right=True,
    ),
    Column(
        "FREED",
        lambda package: str(package.freed_size),
        lambda package: size_text(package.freed_size),
        right=True,
    ),
    Column(
        "SHARED",
        lambda package: str(package.shared_size),
        lambda package: size_text(package.shared_size),
        right=True,
    ),
)


def saved_by(state: RetentionState) -> str:
    """What came between the plan of a gc and a package that it did not take."""
    if state.collected_at is not None:
        return f"another gc, by {state.collected_by}, was faster"
    return "a hold is on it" if state.hold_count else "it is not due any more"


def _moment(moment: int | None, written: Callable[[int], str]) -> str:
    return "" if moment is None else written(moment)
