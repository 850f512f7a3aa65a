"""Retention and holds in the words of a place that enforces them itself: S3 Object Lock.

The log decides, and the place follows. Whatever makes a lock stronger is done before the commit that needs
it, and a hold is lifted after the commit that ends it, so that no lock is ever weaker than the log. One that
a failed call has left too strong only makes gc wait.
"""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING

from artifactstore.connection import fetch
from artifactstore.digest import object_key
from artifactstore.errors import ObjectNotFoundError
from artifactstore.moment import MOMENT_MAX
from artifactstore.objects.service import Lock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from artifactstore.connection import Connection
    from artifactstore.objects.backend import Backend
    from artifactstore.objects.service import ObjectLocks

MICROSECONDS = 1_000_000  # in a second
_FOR_EVER = 100 * 365 * 86_400  # seconds; no server knows a lock without an end
_COMMIT = 2  # seconds that a commit may take after the lock was computed; else it is computed again


def end(begins: int, seconds: int | None) -> int:
    """Until when the objects of a package must be locked, in microseconds.

    Args:
        begins: when the clock of retention starts, microseconds.
        seconds: of retention; None is for ever.
    """
    length = _FOR_EVER if seconds is None else seconds
    return min(begins + (length + _COMMIT) * MICROSECONDS, MOMENT_MAX)


def retain(backend: Backend, objects: Iterable[bytes], until: int) -> None:
    """Lock objects at least until an instant; nothing where the place has no locks.

    Raises:
        ObjectNotFoundError: one of them is not there.
    """
    for blake3 in retain_present(backend, objects, until):
        raise ObjectNotFoundError(
            f"blake3:{blake3.hex()} is missing in backend {backend.backend_id}, so it cannot be locked",
            hint="run `artifactstore storage verify` and `storage repair`",
        )


def retain_present(backend: Backend, objects: Iterable[bytes], until: int) -> set[bytes]:
    """The same for those that are there; gives the others."""
    missing: set[bytes] = set()
    locks = backend.object_locks
    if locks is None:
        return missing

    def lock(blake3: bytes) -> None:
        try:
            locks.retain(object_key(blake3), until)
        except ObjectNotFoundError:
            missing.add(blake3)

    _each(objects, lock)
    return missing


def follow(
    connection: Connection,
    backend: Backend,
    objects: Iterable[bytes],
    *,
    retention: bool = True,
    holds: bool = True,
) -> None:
    """Make the locks of objects at least what the log says now. Call under the write lock.

    Args:
        retention: lock until the last of the packages that need an object expires.
        holds: a legal hold if one of them is held.
    """
    locks = backend.object_locks
    if locks is None:
        return
    wanted = needed(connection, backend.backend_id, objects)

    def settle(blake3: bytes) -> None:
        lock = wanted[blake3]
        if retention and lock.until is not None:
            locks.retain(object_key(blake3), lock.until)
        if holds and lock.held:
            locks.hold(object_key(blake3), on=True)

    _each(wanted, settle)


def follow_package(
    connection: Connection,
    backends: Iterable[Backend],
    sequence: int,
    *,
    retention: bool = True,
    holds: bool = True,
) -> None:
    """The same for all objects of a package, in several places."""
    for backend in backends:
        objects = objects_of(connection, sequence, backend.backend_id)
        follow(connection, backend, objects, retention=retention, holds=holds)


def weaker(connection: Connection, backend: Backend, objects: Iterable[bytes]) -> list[bytes]:
    """Which objects are locked less than the log says; what is not there is not looked at."""
    locks = backend.object_locks
    if locks is None:
        return []
    wanted = needed(connection, backend.backend_id, objects)
    found: list[bytes] = []

    def compare(blake3: bytes) -> None:
        with contextlib.suppress(ObjectNotFoundError):
            if not locks.covers(object_key(blake3), wanted[blake3]):
                found.append(blake3)

    _each((blake3 for blake3, lock in wanted.items() if lock != Lock(None, held=False)), compare)
    return found


def lift_holds(connection: Connection, backends: Iterable[Backend], sequence: int) -> None:
    """End the legal holds on objects of a package that no package needs. Call under the write lock.

    Only once the log says durably that the hold is over.
    """
    for backend in backends:
        locks = backend.object_locks
        if locks is not None:
            objects = objects_of(connection, sequence, backend.backend_id)
            wanted = needed(connection, backend.backend_id, objects)
            free = [blake3 for blake3, lock in wanted.items() if not lock.held]
            _each(free, partial(_lift, locks))


def released(connection: Connection, backend: Backend, objects: Iterable[bytes]) -> frozenset[bytes]:
    """Which of these objects the log has known under a hold, and no longer does: what is left of it may go.

    Any other legal hold is somebody else's. None where the place has no locks.
    """
    if backend.object_locks is None:
        return frozenset()
    return frozenset(blake3 for blake3 in objects if fetch(connection, _RELEASED, (blake3,)) == [(1,)])


def _lift(locks: ObjectLocks, blake3: bytes) -> None:
    locks.hold(object_key(blake3), on=False)


def needed(connection: Connection, backend_id: str, objects: Iterable[bytes]) -> dict[bytes, Lock]:
    """The lock that each of these objects must have in a backend, by the packages that need it there."""
    found: dict[bytes, Lock] = {}
    for blake3 in objects:
        [(until, held)] = fetch(connection, _NEEDED, (_FOR_EVER * MICROSECONDS, blake3, backend_id))
        found[blake3] = Lock(None if until is None else min(until, MOMENT_MAX), bool(held))
    return found


# Until when an object is needed, and whether a hold is on anything that needs it.
_NEEDED = """
    SELECT max(CASE WHEN p.status = 'finalized' THEN coalesce(r.expires_at, p.finalized_at + ?) END),
      max(r.hold_count > 0)
    FROM storage_locations l JOIN artifact_packages p ON p.sequence = l.package_sequence
    JOIN retention_state r ON r.package_sequence = l.package_sequence
    WHERE l.blake3 = ? AND l.backend_id = ? AND l.state <> 'deleted'"""


# Whether all holds are over of those that ever were on a package with an object, wherever that lay.
_RELEASED = """
    SELECT count(*) > 0 AND count(*) = count(h.released_at)
    FROM storage_locations l JOIN retention_holds h ON h.package_sequence = l.package_sequence
    WHERE l.blake3 = ?"""


def objects_of(connection: Connection, sequence: int, backend_id: str) -> list[bytes]:
    """blake3 of all objects that a package has in a backend."""
    rows = fetch(
        connection,
        "SELECT DISTINCT blake3 FROM storage_locations"
        " WHERE package_sequence = ? AND backend_id = ? AND state <> 'deleted'",
        (sequence, backend_id),
    )
    return [blake3 for (blake3,) in rows]


def _each(objects: Iterable[bytes], act: Callable[[bytes], None]) -> None:
    """Act on many objects at once; the first error is raised when all that has begun has ended."""
    from concurrent.futures import ThreadPoolExecutor

    from artifactstore.workers import NETWORK_THREADS

    with ThreadPoolExecutor(NETWORK_THREADS, thread_name_prefix="artifactstore-lock") as pool:
        futures = [pool.submit(partial(act, blake3)) for blake3 in dict.fromkeys(objects)]
        try:
            for future in futures:
                future.result()
        finally:
            for future in futures:
                future.cancel()
