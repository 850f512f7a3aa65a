"""Copies: the objects of packages in a second backend."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from artifactstore import event_log, events, object_queries, presence
from artifactstore.connection import fetch
from artifactstore.errors import (
    AccessError,
    ArtifactStoreError,
    BackendError,
    InvalidInputError,
    ObjectNotFoundError,
)
from artifactstore.lifecycle import object_locks
from artifactstore.lifecycle.object_check import (
    DIFFERENT,
    MISSING,
    StoredObject,
    check,
    refusal_of_one,
)
from artifactstore.lifecycle.repair import record_mended
from artifactstore.lifecycle.verify import Failure, live_locations, packages_of
from artifactstore.objects.backend import SMALL_FILE
from artifactstore.os_errors import translation
from artifactstore.reader import ObjectReader, fill_from
from artifactstore.workers import NETWORK_THREADS, Job, Workers

if TYPE_CHECKING:
    import io
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from artifactstore.commit import Transaction
    from artifactstore.connection import Connection, Row
    from artifactstore.objects.backend import Backend, Batch, Staged

_TOGETHER = 500  # locations copied between two commits


@dataclass(frozen=True, slots=True)
class Filter:
    """Which packages to copy; everything given must hold.

    Args:
        package: key of the package's rows.
    """

    producer: str | None
    retention_class: str | None
    package: int | None


@dataclass(frozen=True, slots=True)
class CopyResult:
    """What a copy did.

    Args:
        location_count: locations that the target has now and had not.
        object_count: objects that were really written.
        size: their bytes.
        failures: objects that were left out because the source does not give their bytes, or because what is
            damaged in the target cannot be set aside there.
    """

    location_count: int
    object_count: int
    size: int
    failures: tuple[Failure, ...]


def copy(
    read: Callable[[], AbstractContextManager[Connection]],
    new_transaction: Callable[[], AbstractContextManager[Transaction]],
    source: Backend,
    target: Backend,
    chosen: Filter,
) -> CopyResult:
    """Add locations on another backend; see `Store.copy`.

    Crash: what was committed is copied; the rest comes the next time.
    """
    if source.backend_id == target.backend_id:
        raise InvalidInputError(f"cannot copy from {source.backend_id!r} to itself")
    locations = objects = size = 0
    failures: dict[bytes, Failure] = {}
    after = 0
    while True:
        with read() as connection:
            rows = _next(connection, source.backend_id, target.backend_id, chosen, after)
            damaged = frozenset(object_queries.failed_objects(connection, target.backend_id))
            since = event_log.newest_sequence(connection)
        if not rows:
            return CopyResult(locations, objects, size, tuple(failures.values()))
        wanted = {row[0]: StoredObject(row[0], row[1], row[2]) for row in rows if row[0] not in failures}
        with target.batch(damaged=damaged) as batch:
            for entry, staged in _staged(read, source, target, batch, list(wanted.values())):
                if isinstance(staged, Failure):
                    failures[entry.blake3] = staged
                    del wanted[entry.blake3]
                elif staged is not None:
                    objects += staged.new
                    size += staged.size * staged.new
            batch.publish()
        with new_transaction() as transaction:
            sizes = ((entry.blake3, entry.size) for entry in wanted.values())
            gone = set(presence.gone(transaction.connection, target, batch, since, sizes))
            # What a gc has released meanwhile is not copied; what it has removed from the target is again.
            live = [
                row
                for row in rows
                if row[0] in wanted and _is_stored(transaction.connection, row, source.backend_id)
            ]
            still = [row for row in live if row[0] not in gone]
            again = [row for row in live if row[0] in gone]
            if still:
                transaction.record(
                    events.location_added(
                        package_id,
                        reference=reference,
                        blake3=blake3,
                        size=length,
                        backend_id=target.backend_id,
                    )
                    for blake3, _, length, reference, package_id in still
                )
                record_mended(
                    transaction,
                    target,
                    ((row[0], wanted[row[0]].sha256, wanted[row[0]].size) for row in still),
                    "a new copy",
                )
                object_locks.follow(transaction.connection, target, (row[0] for row in still))
            locations += len(still)
        after = again[0][3] - 1 if again else rows[-1][3]


def _open(
    read: Callable[[], AbstractContextManager[Connection]], source: Backend, entry: StoredObject
) -> io.RawIOBase | None:
    """The object; None if a gc has taken it meanwhile."""
    try:
        return source.open(entry.blake3, entry.size)
    except ObjectNotFoundError:
        with read() as connection:
            if not live_locations(connection, [entry.blake3], source.backend_id):
                return None
    # A push has brought it back, or it really is missing.
    return source.open(entry.blake3, entry.size)


def _staged(
    read: Callable[[], AbstractContextManager[Connection]],
    source: Backend,
    target: Backend,
    batch: Batch,
    wanted: list[StoredObject],
) -> Iterator[tuple[StoredObject, Staged | Failure | None]]:
    """Stage objects of one backend in another: over a network small ones side by side, large ones alone.

    Returns:
        What became of each; None if a gc has taken it meanwhile.
    """

    def one(entry: StoredObject) -> Staged | Failure | None:
        try:
            staged = _stage(read, source, batch, entry)
        except (ArtifactStoreError, OSError) as error:
            place, reason = _blamed(source, target, entry, error)
        else:
            if staged is None or staged.digests.sha256 == entry.sha256:
                return staged
            place, reason = source, DIFFERENT
        with read() as connection:
            if not live_locations(connection, [entry.blake3], source.backend_id):
                return None
            hurt = packages_of(connection, entry.blake3)
        return Failure(entry.blake3, place.backend_id, reason, hurt)

    # A batch of a local backend takes one file after the other.
    threads = 0 if target.folder else NETWORK_THREADS
    job: Job[tuple[StoredObject], Staged | Failure | None] = Job(
        here=lambda item: one(item[0]),
        request=lambda item: item,
        receive=lambda _item, staged: staged,
        function="",
        arguments=(),
        threads=threads,
    )
    with Workers(job) as workers:
        small = ((entry,) for entry in wanted if entry.size < SMALL_FILE)
        yield from ((entry, staged) for (entry,), staged in workers.spread(small))
    yield from ((entry, one(entry)) for entry in wanted if entry.size >= SMALL_FILE)


def _blamed(
    source: Backend, target: Backend, entry: StoredObject, error: ArtifactStoreError | OSError
) -> tuple[Backend, str]:
    """In which place an object is what lets its copy fail, and why.

    Raises:
        ArtifactStoreError: in neither, so that the error is one of the target, or of a moment.
    """
    reason = _wrong(source, entry)
    if reason is not None:
        return source, reason
    if not isinstance(error, ArtifactStoreError):
        raise translation(error, f"an object in backend {source.backend_id}") from error
    if not isinstance(error, AccessError | BackendError):
        raise error
    refusal = refusal_of_one(target, error)
    reason = _wrong(target, entry)
    if reason in {None, MISSING}:
        raise error
    return target, f"{reason}; {refusal}"


def _wrong(backend: Backend, entry: StoredObject) -> str | None:
    """What `check` says, or why the place refuses this one object."""
    try:
        return check(backend, entry)
    except (AccessError, BackendError) as error:
        return refusal_of_one(backend, error)


def _stage(
    read: Callable[[], AbstractContextManager[Connection]], source: Backend, batch: Batch, entry: StoredObject
) -> Staged | None:
    """Stage one object, or raise before the target has more than a part of it; None if a gc has taken it."""
    found = _open(read, source, entry)
    if found is None:
        return None
    with contextlib.ExitStack() as opened:

        def checked(raw: io.RawIOBase) -> ObjectReader:
            return opened.enter_context(ObjectReader(raw, entry.blake3, entry.size))

        # Its reader refuses the last bytes of what is damaged, so that they are never named in the target.
        reader = checked(found)
        if entry.size < SMALL_FILE:
            return batch.stage_bytes(reader.readall())
        return batch.stage_stream(
            fill_from(reader),
            expected=entry.size,
            again=lambda: fill_from(checked(source.open(entry.blake3, entry.size))),
        )


def _next(connection: Connection, source: str, target: str, chosen: Filter, after: int) -> list[Row]:
    """blake3, sha256, size, reference and package id of locations that the target lacks, by reference."""
    conditions = ["l.backend_id = ?", "l.state = 'stored'", "l.sequence > ?"]
    values: list[object] = [source, after]
    for condition, value in (
        ("p.producer = ?", chosen.producer),
        ("r.retention_class = ?", chosen.retention_class),
        ("p.sequence = ?", chosen.package),
    ):
        if value is not None:
            conditions.append(condition)
            values.append(value)
    return fetch(
        connection,
        "SELECT l.blake3, coalesce(f.sha256, p.manifest_sha256), l.size, l.sequence, p.package_id"
        " FROM storage_locations l LEFT JOIN artifact_files f ON f.sequence = l.sequence"
        " JOIN artifact_packages p ON p.sequence = l.package_sequence"
        " JOIN retention_state r ON r.package_sequence = p.sequence"
        f" WHERE {' AND '.join(conditions)} AND NOT EXISTS (SELECT 1 FROM storage_locations t"
        "   WHERE t.blake3 = l.blake3 AND t.backend_id = ? AND t.sequence = l.sequence"
        "   AND t.state <> 'deleted')"
        " ORDER BY l.sequence LIMIT ?",
        (*values, target, _TOGETHER),
    )


def _is_stored(connection: Connection, row: Row, source: str) -> bool:
    return bool(
        fetch(
            connection,
            "SELECT 1 FROM storage_locations WHERE blake3 = ? AND backend_id = ? AND sequence = ?"
            " AND state <> 'deleted'",
            (row[0], source, row[3]),
        )
    )
