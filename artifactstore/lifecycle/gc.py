"""Garbage collection: plan without changing anything, then execute exactly that.

The order makes it safe beside ingest at every moment. First the release of the locations is committed, which
says the intent; then each object is removed inside a write transaction that has just seen that no live
location names it; and that transaction records the removal. An ingest looks for the objects that it names
inside its own commit. So whoever comes second sees what the first one did.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from artifactstore import events
from artifactstore.connection import fetch, fetch_one
from artifactstore.errors import InvalidInputError, StateError
from artifactstore.lifecycle import object_locks, retention
from artifactstore.lifecycle.gc_plan import GcPlan, PlannedPackage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager

    from artifactstore.commit import Transaction
    from artifactstore.connection import Connection, Row
    from artifactstore.events import Draft
    from artifactstore.model import RetentionState
    from artifactstore.objects.backend import Backend
    from artifactstore.objects.service import Lock

    NewTransaction = Callable[[], AbstractContextManager[Transaction]]

_REMOVED_AT_ONCE = 500  # objects whose removal is one transaction, so that writers never wait long


@dataclass(frozen=True, slots=True)
class GcResult:
    """What a gc did.

    Args:
        collected: ids of packages that are collected now.
        passed_over: ids of planned packages that a hold or an extension saved at the last moment, or that
            another gc took.
        removed_count: objects removed, also those that an interrupted gc had left.
        removed_size: their bytes.
        locked_count: objects that nobody needs and a lock of their place keeps; a later gc removes them.
        locked_size: their bytes.
        unlocked_at: when the last of these locks ends, in microseconds; None without one.
        held_count: objects that nobody needs and a legal hold keeps that is in no package's history here.
        held_size: their bytes.
        waiting_count: objects that nobody needs, in backends that are not there now; the next gc removes
            them.
    """

    plan: GcPlan
    collected: tuple[str, ...]
    passed_over: tuple[str, ...]
    removed_count: int
    removed_size: int
    waiting_count: int
    locked_count: int = 0
    locked_size: int = 0
    unlocked_at: int | None = None
    held_count: int = 0
    held_size: int = 0


@dataclass(frozen=True, slots=True)
class Removal:
    """What one transaction of `remove_objects` did; as in `GcResult`."""

    count: int
    size: int
    locked_count: int
    locked_size: int
    unlocked_at: int | None
    held_count: int
    held_size: int


def plan(
    connection: Connection,
    store_id: uuid.UUID,
    now: int,
    wanted: list[str] | None = None,
    *,
    limit: int | None = None,
) -> GcPlan:
    """Decide what may go now. Reads only the candidates and their objects.

    Args:
        now: microseconds, of the clock.
        wanted: only these packages; all that are eligible if None.
        limit: packages at most, the oldest first.
    """
    states = [state for state in retention.eligible(connection) if retention.may_be_collected(state, now)]
    if wanted is not None:
        names = set(wanted)
        states = [state for state in states if state.package_id in names]
    states = states[:limit]
    chosen = json.dumps([state.sequence for state in states])
    objects = {
        (blake3, backend_id): (size, bool(stays))
        for blake3, backend_id, size, stays in fetch(connection, _OBJECTS, (chosen, chosen))
    }
    freed = [size for size, stays in objects.values() if not stays]
    return GcPlan(
        store_id=str(store_id),
        packages=tuple(_planned(connection, state, objects) for state in states),
        object_count=len(freed),
        freed_size=sum(freed),
        shared_size=sum(size for size, stays in objects.values() if stays),
    )


# The objects of the chosen packages, and whether anybody else needs them.
_OBJECTS = """
    WITH chosen AS MATERIALIZED (SELECT value AS sequence FROM json_each(?)),
    objects AS MATERIALIZED (
      SELECT DISTINCT l.blake3, l.backend_id, l.size FROM chosen c
      CROSS JOIN storage_locations l ON l.package_sequence = c.sequence AND l.state <> 'deleted')
    SELECT o.blake3, o.backend_id, o.size, EXISTS (
      SELECT 1 FROM storage_locations x WHERE x.blake3 = o.blake3 AND x.backend_id = o.backend_id
      AND x.state <> 'deleted' AND x.package_sequence NOT IN (SELECT value FROM json_each(?)))
    FROM objects o"""


def _planned(
    connection: Connection, state: RetentionState, objects: Mapping[tuple[bytes, str], tuple[int, bool]]
) -> PlannedPackage:
    [(files, size)] = fetch(
        connection,
        "SELECT file_count, total_size FROM artifact_packages WHERE sequence = ?",
        (state.sequence,),
    )
    used = {(blake3, backend_id) for _, blake3, backend_id in _live(connection, state.sequence)}
    return PlannedPackage(
        package_id=state.package_id,
        name=state.name,
        retention_class=state.retention_class,
        reason=state.eligible_reason or retention.EXPIRED,
        expires_at=state.expires_at,
        eligible_at=state.eligible_at or 0,
        eligible_by=state.eligible_by or "",
        file_count=files,
        total_size=size,
        freed_size=sum(objects[key][0] for key in used if not objects[key][1]),
        shared_size=sum(objects[key][0] for key in used if objects[key][1]),
    )


def _live(connection: Connection, package: int) -> list[Row]:
    """Reference, blake3 and backend of each location of a package that is not released."""
    return fetch(
        connection,
        "SELECT sequence, blake3, backend_id FROM storage_locations"
        " WHERE package_sequence = ? AND state <> 'deleted' ORDER BY sequence, backend_id",
        (package,),
    )


def check_plan(connection: Connection, planned: GcPlan, store_id: uuid.UUID, now: int) -> None:
    """Refuse a plan that is not exactly what would be planned now for the same packages.

    Raises:
        InvalidInputError: it is of another store.
        StateError: a hold, an extension, another gc or a new user of the bytes came between.
    """
    if planned.store_id != str(store_id):
        raise InvalidInputError(
            f"the plan is for the store {planned.store_id}, this is {store_id}", code="plan-of-another-store"
        )
    today = plan(connection, store_id, now, [package.package_id for package in planned.packages])
    if today != planned:
        reason = _moved(planned, {package.package_id: package for package in today.packages})
        raise StateError(f"the plan is stale: {reason}", hint="make a new plan", code="plan-stale")


def _moved(planned: GcPlan, today: Mapping[str, PlannedPackage]) -> str:
    """The first thing that is not as a plan says, in words."""
    for package in planned.packages:
        found = today.get(package.package_id)
        if found is None:
            return f"{package.package_id} may not go any more"
        if (found.eligible_at, found.eligible_by) != (package.eligible_at, package.eligible_by):
            return f"{package.package_id} was marked again since"
    return "other packages share its bytes now, or it was altered"


def release(
    new_transaction: NewTransaction, planned: GcPlan, now: Callable[[], int]
) -> Iterator[tuple[str, bool]]:
    """Release the locations of each planned package, a transaction each, deciding again under the lock.

    Returns:
        Each package's id and whether it was collected.
    Crash: a package is collected or it is not; its objects are removed by the next gc.
    """
    digest = planned.digest
    for package in planned.packages:
        with new_transaction() as transaction:
            connection = transaction.connection
            row = fetch_one(
                connection,
                "SELECT sequence FROM artifact_packages WHERE package_id = ?",
                (uuid.UUID(package.package_id).bytes,),
            )
            state = None if row is None else retention.state_of(connection, row[0])
            collected = state is not None and retention.may_be_collected(state, now())
            if state is not None and collected:
                transaction.record(_released(connection, state, digest))
        yield package.package_id, collected


def _released(connection: Connection, state: RetentionState, digest: bytes) -> Iterator[Draft]:
    package_id = uuid.UUID(state.package_id).bytes
    for reference, blake3, backend_id in _live(connection, state.sequence):
        yield events.location_deleted(package_id, reference=reference, blake3=blake3, backend_id=backend_id)
    reason = state.eligible_reason or retention.EXPIRED
    yield events.garbage_collected(package_id, reason=reason, plan_digest=digest)


def remove_objects(new_transaction: NewTransaction, backends: Mapping[str, Backend]) -> Iterator[Removal]:
    """Remove the bytes of all objects whose last location is released, some at a time.

    Crash: an object that is gone but not recorded is recorded by the next gc; removing is idempotent.
    """
    last = b"", ""
    while True:
        with new_transaction() as transaction:
            pending = fetch(
                transaction.connection,
                "SELECT d.blake3, d.backend_id, d.size FROM pending_deletions d WHERE NOT EXISTS"
                " (SELECT 1 FROM storage_locations l WHERE l.blake3 = d.blake3"
                "  AND l.backend_id = d.backend_id AND l.state <> 'deleted')"
                f" AND d.backend_id IN ({', '.join('?' * len(backends))})"
                " AND (d.blake3, d.backend_id) > (?, ?) ORDER BY d.blake3, d.backend_id LIMIT ?",
                (*backends, *last, _REMOVED_AT_ONCE),
            )
            if not pending:
                return
            locked = {
                (blake3, name): lock
                for name, backend in backends.items()
                for blake3, lock in _remove(
                    transaction.connection, backend, [row[0] for row in pending if row[1] == name]
                ).items()
            }
            gone = [row for row in pending if (row[0], row[1]) not in locked]
            if gone:
                transaction.record(
                    events.object_deleted(blake3=blake3, size=size, backend_id=backend_id)
                    for blake3, backend_id, size in gone
                )
        last = pending[-1][:2]
        stays = [(row[2], locked[row[0], row[1]]) for row in pending if (row[0], row[1]) in locked]
        held = [size for size, lock in stays if lock.held]
        kept = [(size, lock.until) for size, lock in stays if not lock.held]
        yield Removal(
            count=len(gone),
            size=sum(row[2] for row in gone),
            locked_count=len(kept),
            locked_size=sum(size for size, _ in kept),
            unlocked_at=max((until for _, until in kept if until is not None), default=None),
            held_count=len(held),
            held_size=sum(held),
        )


def _remove(connection: Connection, backend: Backend, wanted: list[bytes]) -> dict[bytes, Lock]:
    """Remove objects of a backend; those that stay, since they are locked."""
    return backend.remove_all(wanted, released=object_locks.released(connection, backend, wanted))


def waiting_count(connection: Connection, backends: Mapping[str, Backend]) -> int:
    """How many objects wait to be removed from backends other than these."""
    others = (
        f"SELECT count(*) FROM pending_deletions WHERE backend_id NOT IN ({', '.join('?' * len(backends))})"
    )
    count: int = fetch(connection, others, tuple(backends))[0][0]
    return count
