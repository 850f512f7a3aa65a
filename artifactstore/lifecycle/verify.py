"""Verify: read objects again, recompute both digests, and say what was found.

Each object is read once, however many packages share it; each of its locations gets an event. Results are
committed some hundred objects at a time, so a verify that is killed goes on where it was. Damage is looked at
once more under the write lock: a gc may have removed the object meanwhile, a push or a repair have mended it.
"""

from __future__ import annotations

import logging
import time
import uuid
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from artifactstore import events, object_queries, presence
from artifactstore.connection import fetch
from artifactstore.errors import AccessError, BackendError
from artifactstore.lifecycle import object_locks
from artifactstore.lifecycle.object_check import UNREADABLE, StoredObject, check
from artifactstore.lifecycle.projection import DELETED, FAILED
from artifactstore.moment import id_text
from artifactstore.objects.backend import SMALL_FILE
from artifactstore.objects.local import LocalBackend
from artifactstore.workers import NETWORK_THREADS, Job, Workers

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence
    from contextlib import AbstractContextManager

    from artifactstore.commit import Transaction
    from artifactstore.connection import Connection
    from artifactstore.lifecycle.verify_budget import Budget
    from artifactstore.objects.backend import Backend

    # What is wrong with an object; None if nothing is; or an error that leaves that open.
    Outcome = str | AccessError | BackendError | None

_log = logging.getLogger(__name__)

_RUN = 50  # objects that are one piece of work
_TOGETHER = 500  # objects whose results are one transaction
_SAMPLE_BASE = 1 << 32
_UNDECIDED = 16  # objects that were not read, after which the place is to blame


@dataclass(frozen=True, slots=True)
class Failure:
    """An object whose bytes are not what the log says, and who is hurt by that."""

    blake3: bytes
    backend_id: str
    reason: str
    packages: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class VerifyResult:
    """What a verify found.

    Args:
        object_count: objects read.
        location_count: their locations.
        size: bytes read.
        complete: False if a budget ended it before everything was read.
        relocked_count: objects that their place locked less than the log says, and does no longer.
    """

    object_count: int
    location_count: int
    size: int
    failures: tuple[Failure, ...]
    complete: bool
    relocked_count: int = 0


def objects(
    connection: Connection, backend_id: str, budget: Budget, started: int, limit: int, after: tuple[int, int]
) -> list[tuple[StoredObject, tuple[int, int]]]:
    """The next objects to read, the longest unverified first, each with its place in that order.

    Args:
        started: microseconds; what was verified later is done already.
        after: the place of the last object seen.
    """
    conditions = ["l.backend_id = ?", f"l.state <> '{DELETED}'"]
    values: list[object] = [backend_id]
    if budget.package is not None:
        conditions.append("l.package_sequence = ?")
        values.append(budget.package)
    if budget.failed_only:
        conditions.append(f"l.state = '{FAILED}'")
    before = started if budget.verified_before is None else min(started, budget.verified_before)
    found: list[tuple[StoredObject, tuple[int, int]]] = []
    # What was never verified comes first; an index keeps both halves in order.
    halves: list[tuple[str, tuple[int, ...]]] = []
    if after[0] < 0:
        halves.append(("l.verified_at IS NULL AND l.sequence > ?", (after[1],)))
    halves.append(
        (
            "l.verified_at <= ? AND (l.verified_at, l.sequence) > (?, ?)",
            (before, *((-1, 0) if after[0] < 0 else after)),
        )
    )
    for condition, further in halves:
        if len(found) >= limit:
            break
        rows = fetch(
            connection,
            "SELECT l.blake3, coalesce(f.sha256, p.manifest_sha256), l.size, coalesce(l.verified_at, -1),"
            " l.sequence FROM storage_locations l LEFT JOIN artifact_files f ON f.sequence = l.sequence"
            " JOIN artifact_packages p ON p.sequence = l.package_sequence"
            f" WHERE {' AND '.join((*conditions, condition))}"
            " ORDER BY l.verified_at, l.sequence LIMIT ?",
            (*values, *further, limit - len(found)),
        )
        found += [
            (StoredObject(blake3, sha256, size), (verified_at, sequence))
            for blake3, sha256, size, verified_at, sequence in rows
        ]
    return found


def run(
    backend: Backend,
    read: Callable[[], AbstractContextManager[Connection]],
    new_transaction: Callable[[], AbstractContextManager[Transaction]],
    budget: Budget,
    started: int,
    on_progress: Callable[[int, int], None] | None = None,
) -> VerifyResult:
    """Verify what the budget allows, the longest unverified first.

    Args:
        started: microseconds, not before the newest event.
        on_progress: called with objects and bytes done so far.
    Raises:
        AccessError, BackendError: the place is away, or did not give some objects; what was read is recorded.
    Crash: what was committed is verified; the rest comes first the next time.
    """
    began = time.monotonic()
    count = places = size = relocked = 0
    undecided: list[AccessError | BackendError] = []
    failures: list[Failure] = []
    ahead = _Ahead(read, backend.backend_id, budget, started)
    batches = iter(ahead)
    done = False
    with Workers(_job(backend)) as workers, closing(_checked(workers, backend, batches)) as outcomes:
        while not done:
            checked: list[tuple[StoredObject, str | None]] = []
            done = True
            for wanted, outcome in outcomes:
                if isinstance(outcome, AccessError | BackendError):
                    undecided.append(outcome)
                else:
                    checked.append((wanted, outcome))
                    count += 1
                    size += wanted.size
                    if on_progress is not None:
                        on_progress(count, size)
                if budget.is_spent(size, time.monotonic() - began) or len(undecided) >= _UNDECIDED:
                    break
                if len(checked) == _TOGETHER:
                    done = False
                    break
            failed: set[bytes] = set()
            sound = [wanted for wanted, failure in checked if failure is None]
            if sound:
                with new_transaction() as transaction:
                    failed.update(object_queries.failed_objects(transaction.connection, backend.backend_id))
                    found = [(wanted, None) for wanted in sound if wanted.blake3 not in failed]
                    places += _record(transaction, started, backend.backend_id, found)
                relocked += _lock_again(read, new_transaction, backend, sound)
            # One by one, so that writers wait no longer than it takes to read an object.
            for wanted, failure in checked:
                if failure is not None or wanted.blake3 in failed:
                    with new_transaction() as transaction:
                        recorded, still = _record_again(transaction, started, backend, wanted, failure)
                        places += recorded
                        failures += still
            ahead.under_way.difference_update(wanted.blake3 for wanted, _ in checked)
    if undecided:
        raise _first(undecided)
    complete = not ahead.under_way and not any(batches)
    return VerifyResult(count, places, size, tuple(failures), complete, relocked)


class _Ahead:
    """The objects to verify, some hundred at a time; they are asked for while earlier ones are recorded.

    None is given twice: one that is under way is not in the log yet.
    """

    def __init__(
        self,
        read: Callable[[], AbstractContextManager[Connection]],
        backend_id: str,
        budget: Budget,
        started: int,
    ) -> None:
        self._read = read
        self._backend_id = backend_id
        self._budget = budget
        self._started = started
        self.under_way: set[bytes] = set()  # given, and not recorded

    def __iter__(self) -> Iterator[list[StoredObject]]:
        seed = uuid.uuid4().int % _SAMPLE_BASE
        after = (-1, 0)
        while True:
            with self._read() as connection:
                batch = objects(connection, self._backend_id, self._budget, self._started, _TOGETHER, after)
            if not batch:
                return
            after = batch[-1][1]
            chosen = {wanted.blake3: wanted for wanted, _ in batch if _is_chosen(wanted, self._budget, seed)}
            fresh = [wanted for wanted in chosen.values() if wanted.blake3 not in self.under_way]
            self.under_way.update(wanted.blake3 for wanted in fresh)
            yield fresh


def _first(errors: list[AccessError | BackendError]) -> AccessError | BackendError:
    """The one to raise; the log of the program has the others."""
    for error in errors[1:]:
        _log.warning("%s", error.message)
    return errors[0]


def _record_again(
    transaction: Transaction, started: int, backend: Backend, wanted: StoredObject, failure: str | None
) -> tuple[int, list[Failure]]:
    """Look once more at an object that is damaged, or was, while nobody writes; and record what is found.

    Returns:
        How many locations were recorded, and the failure if there still is one.
    """
    # What a network could not deliver twice is not worth that all writers wait for it.
    if backend.folder or failure != UNREADABLE:
        failure = check(backend, wanted)
    if failure is None:
        # Whoever has mended it may have died before he had synced it.
        presence.make_durable(backend, [(wanted.blake3, wanted.size)])
    recorded = _record(transaction, started, backend.backend_id, [(wanted, failure)])
    if failure is None or not recorded:
        return recorded, []
    hurt = packages_of(transaction.connection, wanted.blake3)
    return recorded, [Failure(wanted.blake3, backend.backend_id, failure, hurt)]


def _lock_again(
    read: Callable[[], AbstractContextManager[Connection]],
    new_transaction: Callable[[], AbstractContextManager[Transaction]],
    backend: Backend,
    sound: list[StoredObject],
) -> int:
    """Lock what its place locks less than the log says; how many objects that were."""
    with read() as connection:
        weaker = object_locks.weaker(connection, backend, (wanted.blake3 for wanted in sound))
    if weaker:
        with new_transaction() as transaction:
            object_locks.follow(transaction.connection, backend, weaker)
    return len(weaker)


def _is_chosen(wanted: StoredObject, budget: Budget, seed: int) -> bool:
    """Whether an object is in the sample and in the shard; digests are spread evenly, so both are."""
    place = int.from_bytes(wanted.blake3[:4], "big")
    if budget.shard is not None:
        number, parts = budget.shard
        if place % parts != number - 1:
            return False
    return budget.sample is None or (place ^ seed) % _SAMPLE_BASE < budget.sample * _SAMPLE_BASE


def _attempt(backend: Backend, wanted: StoredObject) -> Outcome:
    """What `check` says, or why a remote place did not answer."""
    try:
        return check(backend, wanted)
    except (AccessError, BackendError) as error:
        if backend.folder:
            raise
        return error


def _job(backend: Backend) -> Job[list[StoredObject], list[Outcome]]:
    """Reading some objects; local ones on all cores."""
    return Job(
        here=lambda run: [_attempt(backend, wanted) for wanted in run],
        request=lambda run: [(wanted.blake3, wanted.sha256, wanted.size) for wanted in run],
        receive=lambda _run, failures: list(failures),
        function="artifactstore.lifecycle.verify:checking_worker" if backend.folder else "",
        arguments=(backend.folder,),
        threads=0 if backend.folder else NETWORK_THREADS,
    )


def checking_worker(folder: str) -> Callable[[list[tuple[bytes, bytes | None, int]]], list[str | None]]:
    """What a worker process does for `run`.

    Args:
        folder: root of the objects.
    """
    backend = LocalBackend(folder)
    return lambda run: [check(backend, StoredObject(*wanted)) for wanted in run]


def _checked(
    workers: Workers[list[StoredObject], list[Outcome]],
    backend: Backend,
    batches: Iterator[list[StoredObject]],
) -> Generator[tuple[StoredObject, Outcome], None, None]:
    """Small objects some at a time; a large one, which uses all cores, by itself."""
    if backend.folder:
        # Not a batch after the other: the workers read on while this process records.
        runs = (run for batch in batches for run in _runs(batch))
        for run, failures in workers.spread(runs):
            yield from zip(run, failures, strict=True)
        return
    for batch in batches:
        for run, failures in workers.spread([entry] for entry in batch if entry.size < SMALL_FILE):
            yield run[0], failures[0]
        # One after the other, since each wants many megabytes of memory.
        for entry in batch:
            if entry.size >= SMALL_FILE:
                yield entry, _attempt(backend, entry)


def _runs(wanted: list[StoredObject]) -> Iterator[list[StoredObject]]:
    run: list[StoredObject] = []
    size = 0
    for entry in wanted:
        run.append(entry)
        size += entry.size
        if len(run) == _RUN or size >= SMALL_FILE:
            yield run
            run, size = [], 0
    if run:
        yield run


def _record(
    transaction: Transaction,
    started: int,
    backend_id: str,
    checked: Sequence[tuple[StoredObject, str | None]],
) -> int:
    """One event for each live location of each object, none older than the verify."""
    locations = live_locations(transaction.connection, [wanted.blake3 for wanted, _ in checked], backend_id)
    drafts = [
        events.location_verified(
            package_id, reference=reference, blake3=wanted.blake3, backend_id=backend_id, failure=failure
        )
        for wanted, failure in checked
        for reference, package_id in locations.get(wanted.blake3, ())
    ]
    if drafts:
        replace(transaction, recorded_at=max(transaction.recorded_at, started + 1)).record(drafts)
    return len(drafts)


def live_locations(
    connection: Connection, objects: Sequence[bytes], backend_id: str
) -> dict[bytes, list[tuple[int, bytes]]]:
    """Reference and package id of each location in a backend that is not released, by the object."""
    found: dict[bytes, list[tuple[int, bytes]]] = {}
    # One query for all of them: one for each is a fifth of the CPU time of a verify of small objects.
    rows = fetch(
        connection,
        "SELECT l.blake3, l.sequence, p.package_id FROM storage_locations l"
        " JOIN artifact_packages p ON p.sequence = l.package_sequence"
        f" WHERE l.blake3 IN ({', '.join('?' * len(objects))}) AND l.backend_id = ?"
        f" AND l.state <> '{DELETED}' ORDER BY l.sequence",
        (*objects, backend_id),
    )
    for blake3, reference, package_id in rows:
        found.setdefault(blake3, []).append((reference, package_id))
    return found


def packages_of(connection: Connection, blake3: bytes) -> tuple[str, ...]:
    """The ids of the packages that need an object."""
    rows = fetch(
        connection,
        "SELECT DISTINCT p.package_id FROM storage_locations l"
        " JOIN artifact_packages p ON p.sequence = l.package_sequence"
        f" WHERE l.blake3 = ? AND l.state <> '{DELETED}' ORDER BY p.sequence",
        (blake3,),
    )
    return tuple(id_text(row[0]) for row in rows)
