"""What an ingest must see to inside its own commit: that the objects that it names are there, and stay.

Under the write lock nobody can remove an object. A local backend is asked for each: decision 0008. Over a
network a look costs a request, and all other writers wait, so only what may be gone is looked for: 0012.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from artifactstore import codec, events
from artifactstore.connection import fetch_one

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from artifactstore.connection import Connection
    from artifactstore.objects.backend import Backend, Batch


def gone(
    connection: Connection,
    backend: Backend,
    batch: Batch,
    since: int,
    wanted: Iterable[tuple[bytes, int]],
) -> list[bytes]:
    """Which objects (blake3, size) of a batch are not there any more. Call under the write lock.

    Those that are there are durable on return, also if another writer has just stored them anew.

    Args:
        since: the newest event before the batch began.
    """
    removed = _removed(connection, backend.backend_id, since)
    if batch.met is not None:
        orphans = _orphans(connection, backend.backend_id, batch.met)
        if removed is None and not orphans:
            return []
        return backend.missing(
            each for each in wanted if each[0] in orphans or (removed is not None and removed(each[0]))
        )
    doubtful: list[tuple[bytes, int]] = []
    if removed is not None:
        wanted = _noting(wanted, removed, doubtful)
    missing = backend.missing(wanted)
    lost = set(missing)
    make_durable(backend, [each for each in doubtful if each[0] not in lost])
    return missing


def _noting(
    wanted: Iterable[tuple[bytes, int]],
    removed: Callable[[bytes], bool],
    doubtful: list[tuple[bytes, int]],
) -> Iterator[tuple[bytes, int]]:
    """The same objects, of which there may be very many; those that may have been removed are noted."""
    for each in wanted:
        if removed(each[0]):
            doubtful.append(each)
        yield each


def make_durable(backend: Backend, wanted: Sequence[tuple[bytes, int]]) -> None:
    """Make objects (blake3, size) durable that are there.

    Whoever has stored them may not have synced them yet, or have died before. What a service has answered for
    is durable.
    """
    if wanted and backend.folder:
        with backend.batch() as batch:
            batch.reuse(wanted)
            batch.publish()


def _removed(connection: Connection, backend_id: str, since: int) -> Callable[[bytes], bool] | None:
    """Tells of an object whether somebody may have removed it since an event; None if it is true of none."""
    removed = set()
    sql = "SELECT payload FROM events WHERE sequence > ? AND type = ?"
    for (payload,) in connection.execute(sql, (since, events.OBJECT_DELETED)):
        deleted = codec.decode(payload)
        if isinstance(deleted, dict) and deleted["backend_id"] == backend_id:
            removed.add(deleted["blake3"])
    # A gc that has announced a removal may have died between removing and saying so.
    announced = fetch_one(connection, "SELECT 1 FROM pending_deletions LIMIT 1") is not None
    if not removed and not announced:
        return None
    sql = "SELECT 1 FROM pending_deletions WHERE blake3 = ? AND backend_id = ?"
    return lambda blake3: blake3 in removed or fetch_one(connection, sql, (blake3, backend_id)) is not None


def _orphans(connection: Connection, backend_id: str, met: Iterable[bytes]) -> set[bytes]:
    """Objects that were there before without a location to protect them."""
    sql = "SELECT 1 FROM storage_locations WHERE blake3 = ? AND backend_id = ? AND state <> 'deleted'"
    return {blake3 for blake3 in met if fetch_one(connection, sql, (blake3, backend_id)) is None}
