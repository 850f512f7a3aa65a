"""Retention: what a class means for a package, and what may be done with it now.

Retention only grows, and a hold always wins.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, cast

from artifactstore import event_log, events, fields, model, query_arguments
from artifactstore.connection import fetch, fetch_one
from artifactstore.errors import IntegrityError, InvalidInputError, NotFoundError, StateError
from artifactstore.lifecycle.durations import format_duration
from artifactstore.model import Explanation, Hold, RetentionState
from artifactstore.moment import MOMENT_MAX, MOMENT_MIN, format_moment, id_text

if TYPE_CHECKING:
    from artifactstore.connection import Connection, Row
    from artifactstore.events import Event

# Seconds that a package is kept after finalize; None is for ever. Written into the log of every new store.
# Source: the retention classes of the operator guide; a year has 365 days.
DEFAULT_CLASSES: dict[str, int | None] = {
    "transient": 86_400,
    "raw-evidence": 7_776_000,
    "summary-evidence": 31_536_000,
    "release-evidence": 220_752_000,
    "permanent-record": None,
}
EXPIRED = "expired"
ABANDONED = "abandoned"
MICROSECONDS = 1_000_000  # in a second
CLOCK_JUMP = 365 * 86_400 * MICROSECONDS  # past the newest event; beyond it the clock is not believed


def expiry(finalized_at: int, retention_seconds: int | None) -> int | None:
    """When a package expires, in microseconds; None if it never does.

    Args:
        finalized_at: microseconds; the clock of retention starts here.
    """
    return None if retention_seconds is None else finalized_at + retention_seconds * MICROSECONDS


def later_expiry(
    state: RetentionState, now: int, *, until: int | None, by: int | None, for_ever: bool
) -> int | None:
    """The new expiry of an extension, which must be later than the present one.

    Args:
        now: microseconds, of the clock.
        until: an instant in microseconds.
        by: seconds after the present expiry.
        for_ever: never.
    Raises:
        InvalidInputError: not exactly one of the three, of another type, or it would end the retention not
            later or in the past.
        StateError: the package is open, collected, or kept for ever already.
    """
    fields.check_flag(for_ever, field="for ever")
    if (until is not None) + (by is not None) + for_ever != 1:
        raise InvalidInputError(
            "an extension goes to an instant, by a duration, or for ever: give one of them"
        )
    for field, value in (("until", until), ("by", by)):
        if value is not None:
            fields.check_integer(value, field=field)
    if state.status != model.FINALIZED:
        raise StateError(
            f"the retention of a package that is {state.status} cannot be extended",
            hint="its clock starts at finalize" if state.status == model.OPEN else "its bytes are gone",
            code="not-extendable",
        )
    if state.expires_at is None:
        raise StateError(f"package {state.package_id} is kept for ever already", code="kept-for-ever")
    if for_ever:
        return None
    target = until if until is not None else state.expires_at + (by or 0) * MICROSECONDS
    if target <= state.expires_at or (by is not None and by <= 0):
        raise InvalidInputError(
            f"{_instant(target)} is not later than the present expiry {_instant(state.expires_at)}",
            hint="retention only grows",
            code="retention-shortened",
        )
    if target <= now:
        raise InvalidInputError(
            f"{_instant(target)} is in the past", hint="extend beyond now", code="retention-shortened"
        )
    if target > MOMENT_MAX:
        raise InvalidInputError(
            "an expiry after the year 9999 is none", hint="use --forever", code="invalid-time"
        )
    return target


def check_clock(now: int, newest: int, *, accept: bool) -> None:
    """Refuse to delete by a clock that has jumped.

    Args:
        now: of the clock, microseconds.
        newest: of the newest event.
        accept: the caller vouches for the clock.
    Raises:
        StateError: the clock stands more than a year after everything that was ever recorded.
    """
    if not accept and has_jumped(now, newest):
        raise StateError(
            f"the clock says {_instant(now)}, but the newest event is of {_instant(newest)}",
            hint="if the clock is right, say --accept-clock",
            code="clock-jumped",
        )


def has_jumped(now: int, newest: int) -> bool:
    """Whether a clock stands more than a year after the newest event, both in microseconds."""
    return now > newest + CLOCK_JUMP


def is_due(state: RetentionState, now: int) -> bool:
    """Whether a package may be marked: finalized, expired and not held."""
    return (
        state.status == model.FINALIZED
        and state.hold_count == 0
        and state.expires_at is not None
        and state.expires_at <= now
    )


def may_be_collected(state: RetentionState, now: int) -> bool:
    """Whether gc may take a package now: it is eligible, nothing holds it, and it is still due."""
    if state.eligible_at is None or state.hold_count or state.collected_at is not None:
        return False
    if state.eligible_reason == ABANDONED:
        return state.status == model.OPEN
    return is_due(state, now)


def explain(connection: Connection, sequence: int, now: int) -> Explanation:
    """Why a package is kept and what would happen to it now, in plain words.

    Args:
        now: of the clock, microseconds.
    """
    state = state_of(connection, sequence)
    lasting = "for ever" if state.retention_seconds is None else format_duration(state.retention_seconds)
    rule = f"class {state.retention_class}: kept {lasting} after finalize"
    if state.status == model.OPEN:
        expiry_text = "not finalized, so its clock has not started"
    elif state.eligible_reason == ABANDONED:
        expiry_text = "was never finalized, so its clock never started"
    elif state.expires_at is None:
        expiry_text = "never expires"
    else:
        passed = state.expires_at <= now
        distance = format_duration(abs(state.expires_at - now) // MICROSECONDS)
        expiry_text = (
            f"expired at {_instant(state.expires_at)}, {distance} ago"
            if passed
            else f"expires at {_instant(state.expires_at)}, in {distance}"
        )
    active = [hold for hold in holds_of(connection, sequence) if hold.released_at is None]
    if state.status == model.GARBAGE_COLLECTED:
        sweep = gc = "nothing: its bytes are gone"
    elif has_jumped(now, event_log.newest_moment(connection)):
        sweep = gc = "stop, unless the clock is accepted: it stands more than a year after the newest event"
    else:
        sweep = _sweep_would(state, active, now)
        gc = (
            "delete it"
            if may_be_collected(state, now)
            else "keep it: a hold is on it"
            if active
            else "keep it: no sweep has made it eligible"
            if state.eligible_at is None
            else "keep it: it is not due (any more)"
        )
    return Explanation(
        state, rule, expiry_text, _last_extension(connection, sequence), tuple(active), sweep, gc
    )


def _last_extension(connection: Connection, sequence: int) -> str | None:
    row = fetch_one(
        connection,
        "SELECT h.sequence FROM retention_history h JOIN events e ON e.sequence = h.sequence"
        " WHERE h.package_sequence = ? AND e.type = ? ORDER BY h.sequence DESC LIMIT 1",
        (sequence, events.RETENTION_EXTENDED),
    )
    if row is None:
        return None
    [event] = event_log.read(connection, after=row[0] - 1, limit=1)
    reason = event.payload["reason"]
    return f"{_instant(event.recorded_at)} by {event.actor}{'' if reason is None else f': {reason}'}"


def _sweep_would(state: RetentionState, active: list[Hold], now: int) -> str:
    if state.eligible_at is not None:
        if may_be_collected(state, now):
            return "leave it eligible"
        return "withdraw its eligibility" + (": a hold is on it" if active else ": it is not due any more")
    if is_due(state, now):
        return "make it eligible"
    if active:
        return "leave it alone: a hold is on it"
    if state.status == model.OPEN:
        return "leave it alone, or report it as abandoned if nobody worked on it for long"
    return "leave it alone: it is not due"


def _instant(moment: int) -> str:
    return format_moment(max(MOMENT_MIN, min(moment, MOMENT_MAX)))


# Reading


_STATE_COLUMNS = """
    p.sequence, p.package_id, p.name, p.status, r.retention_class, r.retention_seconds, r.expires_at,
    r.hold_count, r.eligible_at, r.eligible_reason, r.eligible_by, r.collected_at, r.collected_by,
    r.collected_plan"""
_STATE = (
    f"{_STATE_COLUMNS} FROM artifact_packages p JOIN retention_state r ON r.package_sequence = p.sequence"
)


def state_of(connection: Connection, sequence: int) -> RetentionState:
    """The retention of one package."""
    return _state(fetch_one(connection, f"SELECT {_STATE} WHERE p.sequence = ?", (sequence,)))


def holds_of(connection: Connection, sequence: int) -> list[Hold]:
    """All holds that ever were on a package, oldest first."""
    rows = fetch(
        connection,
        "SELECT hold_id, reason, authority, case_id, applied_at, applied_by, released_at, released_by,"
        " release_reason FROM retention_holds WHERE package_sequence = ? ORDER BY applied_at, hold_id",
        (sequence,),
    )
    return [Hold(id_text(row[0]), *row[1:]) for row in rows]


def hold_of_event(connection: Connection, sequence: int, event_sequence: int) -> Hold:
    """The hold that an event of this package applied, as it is now."""
    [applied] = event_log.read(connection, after=event_sequence - 1, limit=1)
    hold_id = id_text(cast("bytes", applied.payload["hold_id"]))
    return next(hold for hold in holds_of(connection, sequence) if hold.hold_id == hold_id)


def active_hold(connection: Connection, sequence: int, hold_id: str) -> Hold:
    """One hold of a package that is not released.

    Args:
        hold_id: its id, or the first digits of it if no other hold of the package has them.
    Raises:
        InvalidInputError: it is no id, or fits several holds.
        NotFoundError: the package has no such hold.
        StateError: it is released already.
    """
    low, high = query_arguments.id_range(hold_id, what="hold")
    found = [hold for hold in holds_of(connection, sequence) if low <= uuid.UUID(hold.hold_id).bytes <= high]
    if not found:
        message = f"the package has no hold {hold_id}"
        raise NotFoundError(message, hint="see `artifactstore retention explain`")
    if len(found) > 1:
        candidates = ", ".join(hold.hold_id for hold in found[:3])
        raise InvalidInputError(
            f"the id {hold_id!r} is short for several holds: {candidates}{', ...' * (len(found) > 3)}",
            hint="give more digits",
            code="ambiguous-id",
        )
    [hold] = found
    if hold.released_at is not None:
        message = f"the hold {hold.hold_id} was released at {_instant(hold.released_at)}"
        raise StateError(message, code="hold-released")
    return hold


def history_of(connection: Connection, sequence: int) -> list[Event]:
    """Every event that touched a package's retention, oldest first."""
    rows = fetch(
        connection,
        "SELECT sequence FROM retention_history WHERE package_sequence = ? ORDER BY sequence",
        (sequence,),
    )
    return [event for (place,) in rows for event in event_log.read(connection, after=place - 1, limit=1)]


def due(connection: Connection, *, now: int, limit: int) -> list[RetentionState]:
    """Packages that a sweep would mark, the longest expired first."""
    rows = fetch(
        connection,
        f"SELECT {_STATE} WHERE r.hold_count = 0 AND r.eligible_at IS NULL AND r.collected_at IS NULL"
        " AND r.expires_at <= ? ORDER BY r.expires_at LIMIT ?",
        (now, limit),
    )
    return [_state(row) for row in rows]


def eligible(connection: Connection, *, after: int = 0, limit: int = -1) -> list[RetentionState]:
    """Packages that a sweep has marked and gc has not taken, in the order of their creation.

    Args:
        after: key of the last package seen.
    """
    # Of `r`, else SQLite walks through all packages in their order.
    rows = fetch(
        connection,
        f"SELECT {_STATE} WHERE r.eligible_at IS NOT NULL AND r.collected_at IS NULL"
        " AND r.package_sequence > ? ORDER BY r.package_sequence LIMIT ?",
        (after, limit),
    )
    return [_state(row) for row in rows]


def abandoned(connection: Connection, *, before: int) -> list[RetentionState]:
    """Open packages that nobody has touched since an instant and no sweep has marked.

    Args:
        before: microseconds.
    """
    # The files of a package tell when it was touched last; only those of what may be abandoned are looked at,
    # so the last condition names `r`, which is joined first for that.
    last = event_log.last_before(connection, before)
    rows = fetch(
        connection,
        f"SELECT {_STATE} WHERE p.status = 'open' AND p.sequence <= ?"
        " AND r.hold_count = 0 AND r.eligible_at IS NULL AND NOT EXISTS"
        " (SELECT 1 FROM artifact_files f WHERE f.package_sequence = r.package_sequence AND f.sequence > ?)"
        " ORDER BY p.sequence",
        (last, last),
    )
    return [_state(row) for row in rows]


def _state(row: Row | None) -> RetentionState:
    if row is None:
        raise IntegrityError("a package has lost its retention", hint="run `artifactstore replay`")
    sequence, package_id, *rest = row
    return RetentionState(sequence, id_text(package_id), *rest)
