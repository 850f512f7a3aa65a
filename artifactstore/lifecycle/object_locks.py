"""Retention and holds in the words of a place that enforces them itself: S3 Object Lock.

The log decides, and the place follows. Whatever makes a lock stronger is done before the commit that needs
it, so that no lock is ever weaker than the log. One that a failed call has left too strong only makes gc
wait.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from artifactstore.connection import fetch
from artifactstore.digest import object_key
from artifactstore.moment import MOMENT_MAX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from artifactstore.connection import Connection
    from artifactstore.objects.backend import Backend

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
    """Lock objects at least until an instant; nothing where the place has no locks."""
    locks = backend.object_locks
    if locks is not None:
        _each(objects, lambda blake3: locks.retain(object_key(blake3), until))


def follow(
    connection: Connection,
    backend: Backend,
    objects: Iterable[bytes],
    *,
    retention: bool = True,
    holds: bool = True,
) -> None:
    """Make the locks of objects what the log says now. Call under the write lock.

    Args:
        retention: lock until the last of the packages that need an object expires.
        holds: a legal hold if one of them is held, and none if none is.
    """
    locks = backend.object_locks
    if locks is None:
        return
    wanted = {
        blake3: fetch(connection, _NEEDED, (_FOR_EVER * MICROSECONDS, blake3, backend.backend_id))[0]
        for blake3 in objects
    }

    def settle(blake3: bytes) -> None:
        until, held = wanted[blake3]
        if retention and until is not None:
            locks.retain(object_key(blake3), min(until, MOMENT_MAX))
        if holds:
            locks.hold(object_key(blake3), on=bool(held))

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


# Until when an object is needed, and whether a hold is on anything that needs it.
_NEEDED = """
    SELECT max(CASE WHEN p.status = 'finalized' THEN coalesce(r.expires_at, p.finalized_at + ?) END),
      max(r.hold_count > 0)
    FROM storage_locations l JOIN artifact_packages p ON p.sequence = l.package_sequence
    JOIN retention_state r ON r.package_sequence = l.package_sequence
    WHERE l.blake3 = ? AND l.backend_id = ? AND l.state <> 'deleted'"""


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
