"""Repair: a failed location gets its bytes again from wherever they still are."""

from __future__ import annotations

import contextlib
import logging
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from artifactstore import events, object_queries, presence
from artifactstore.check import walk_files
from artifactstore.connection import fetch
from artifactstore.errors import AccessError, ArtifactStoreError, BackendError, ObjectNotFoundError
from artifactstore.ingest import open_directory
from artifactstore.lifecycle import object_locks
from artifactstore.lifecycle.object_check import StoredObject, check, refusal_of_one
from artifactstore.lifecycle.verify import Failure, live_locations, packages_of
from artifactstore.moment import id_text
from artifactstore.os_errors import release
from artifactstore.sources import file_digests, open_source, stage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from contextlib import AbstractContextManager

    from artifactstore.commit import Transaction
    from artifactstore.connection import Connection
    from artifactstore.digest import DigestPair
    from artifactstore.objects.backend import Backend
    from artifactstore.sources import Source


_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Healed:
    """An object that is whole again.

    Args:
        origin: `backend ID`, `directory`, or `in place` if it was whole all the time.
    """

    blake3: bytes
    backend_id: str
    origin: str


@dataclass(frozen=True, slots=True)
class Unhealed:
    """An object that nobody could give back, or whose place did not take it.

    Args:
        holds: ids of the holds on the packages that it hurts.
    """

    failure: Failure
    holds: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RepairResult:
    """What a repair did."""

    healed: tuple[Healed, ...]
    unhealed: tuple[Unhealed, ...]


def repair(
    read: Callable[[], AbstractContextManager[Connection]],
    new_transaction: Callable[[], AbstractContextManager[Transaction]],
    backends: Mapping[str, Backend],
    backend: Backend,
    directory: str | None,
) -> RepairResult:
    """Heal every failed object of a backend; see `Store.repair`.

    What another call has mended meanwhile, or a gc has taken, is neither healed nor unhealed.

    Crash: an object is whole before the log says so; the next repair finds it whole and says it.
    """
    with read() as connection:
        failed = _failed(connection, backend.backend_id)
    offered = {} if directory is None else _offered(directory, {wanted.size for wanted, _ in failed})
    healed: list[Healed] = []
    unhealed: list[Unhealed] = []
    for wanted, found in failed:
        reason = found
        try:
            origin = _heal(read, backends, backend, wanted, offered)
        except (AccessError, BackendError) as error:
            origin, reason = None, f"{reason}; {refusal_of_one(backend, error)}"
        with new_transaction() as transaction:
            # Under the lock, since a gc, a push or another repair may have come between.
            connection = transaction.connection
            if not _is_failed(connection, backend.backend_id, wanted.blake3):
                # Whoever was faster has locked what he wrote, not what was written here.
                object_locks.follow(connection, backend, [wanted.blake3])
                continue
            if origin is not None and check(backend, wanted) is None:
                record_repaired(transaction, backend, wanted, origin)
                healed.append(Healed(wanted.blake3, backend.backend_id, origin))
            else:
                hurt = packages_of(connection, wanted.blake3)
                failure = Failure(wanted.blake3, backend.backend_id, reason, hurt)
                unhealed.append(Unhealed(failure, _holds(connection, wanted.blake3)))
    return RepairResult(tuple(healed), tuple(unhealed))


def record_repaired(transaction: Transaction, backend: Backend, wanted: StoredObject, origin: str) -> None:
    """Say of each live location of an object that its bytes are there again, and lock what was written."""
    blake3, backend_id = wanted.blake3, backend.backend_id
    locations = live_locations(transaction.connection, [blake3], backend_id)
    drafts = [
        events.location_repaired(
            package_id, reference=reference, blake3=blake3, backend_id=backend_id, origin=origin
        )
        for reference, package_id in locations.get(blake3, ())
    ]
    if drafts:
        # The bytes may be those of another call, which was killed before it had synced them.
        presence.make_durable(backend, [(blake3, wanted.size)])
        transaction.record(drafts)
        object_locks.follow(transaction.connection, backend, [blake3])


def record_mended(
    transaction: Transaction,
    backend: Backend,
    written: Iterable[tuple[bytes, bytes | None, int]],
    origin: str,
) -> None:
    """Say of objects that a verify found damaged, and that were written anew since, that they are whole.

    Args:
        written: blake3, sha256 and size of each.
    Raises:
        BackendError: one was found damaged after it had been taken for whole.
    """
    failed = set(object_queries.failed_objects(transaction.connection, backend.backend_id))
    for wanted in {each[0]: StoredObject(*each) for each in written if each[0] in failed}.values():
        if check(backend, wanted) is not None:
            message = f"the object blake3:{wanted.blake3.hex()} was found damaged meanwhile"
            raise BackendError(message, hint="try again: then it is written anew", retryable=True)
        record_repaired(transaction, backend, wanted, origin)


def _failed(connection: Connection, backend_id: str) -> list[tuple[StoredObject, str]]:
    rows = fetch(
        connection,
        "SELECT l.blake3, coalesce(f.sha256, p.manifest_sha256), l.size, l.failure FROM storage_locations l"
        " LEFT JOIN artifact_files f ON f.sequence = l.sequence"
        " JOIN artifact_packages p ON p.sequence = l.package_sequence"
        " WHERE l.backend_id = ? AND l.state = 'failed' GROUP BY l.blake3 ORDER BY l.blake3",
        (backend_id,),
    )
    return [(StoredObject(blake3, sha256, size), failure) for blake3, sha256, size, failure in rows]


def _is_failed(connection: Connection, backend_id: str, blake3: bytes) -> bool:
    sql = "SELECT 1 FROM storage_locations WHERE backend_id = ? AND blake3 = ? AND state = 'failed'"
    return bool(fetch(connection, sql, (backend_id, blake3)))


def _heal(
    read: Callable[[], AbstractContextManager[Connection]],
    backends: Mapping[str, Backend],
    backend: Backend,
    wanted: StoredObject,
    offered: Mapping[DigestPair, str],
) -> str | None:
    """Put the bytes back; the origin that had them, or None."""
    if check(backend, wanted) is None:
        return "in place"
    with read() as connection:
        others = [
            row[0]
            for row in fetch(
                connection,
                "SELECT DISTINCT backend_id FROM storage_locations"
                " WHERE blake3 = ? AND state = 'stored' AND backend_id <> ?",
                (wanted.blake3, backend.backend_id),
            )
        ]
    for other in others:
        source = backends.get(other)
        if source is None or not _gives(source, wanted):
            continue
        # A gc may have removed it since it was checked.
        with contextlib.suppress(ObjectNotFoundError), source.open(wanted.blake3, wanted.size) as raw:
            if _put(backend, wanted, raw):
                return f"backend {other}"
    for digests, path in offered.items():
        if digests.blake3 == wanted.blake3 and _put(backend, wanted, path):
            return "directory"
    return None


def _gives(source: Backend, wanted: StoredObject) -> bool:
    """Whether another place has the object, and lets it be read."""
    try:
        return check(source, wanted) is None
    except (AccessError, BackendError) as error:
        _log.warning("%s", refusal_of_one(source, error))
        return False


def _put(backend: Backend, wanted: StoredObject, source: Source) -> bool:
    """Store the source in the place of a damaged object, if it is that object."""
    with backend.batch(damaged=frozenset((wanted.blake3,))) as batch:
        staged, _ = stage(batch, source)
        if (staged.digests.blake3, staged.digests.sha256) != (wanted.blake3, wanted.sha256):
            return False
        batch.publish()
    return True


def _offered(directory: str, sizes: set[int]) -> dict[DigestPair, str]:
    """The files of a directory that have a size in question, by digest."""
    root = open_directory(directory)
    found: dict[DigestPair, str] = {}
    try:
        for path, regular in walk_files(root):
            # What vanishes, or cannot be read, gives nothing.
            with contextlib.suppress(ArtifactStoreError, OSError):
                if regular and os.stat(path, dir_fd=root, follow_symlinks=False).st_size in sizes:
                    descriptor = open_source(path, folder=root)
                    try:
                        found[file_digests(descriptor)] = os.path.join(directory, path)
                    finally:
                        release(descriptor)
    finally:
        release(root)
    return found


def _holds(connection: Connection, blake3: bytes) -> tuple[str, ...]:
    rows = fetch(
        connection,
        "SELECT DISTINCT h.hold_id FROM storage_locations l"
        " JOIN retention_holds h ON h.package_sequence = l.package_sequence"
        " WHERE l.blake3 = ? AND l.state <> 'deleted' AND h.released_at IS NULL ORDER BY h.hold_id",
        (blake3,),
    )
    return tuple(id_text(row[0]) for row in rows)
