"""Which objects an ingest into a remote backend must look for again inside its own commit.

Under the write lock nobody can remove an object, but a look costs a request, and all other writers wait. So
only what may be gone is looked for: see decision 0012.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from artifactstore import codec, events
from artifactstore.connection import fetch, fetch_one

if TYPE_CHECKING:
    from collections.abc import Iterable

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

    Args:
        since: the newest event before the batch began.
    """
    if batch.met is None:
        return backend.missing(wanted)
    doubtful = _doubtful(connection, backend.backend_id, batch.met, since)
    return backend.missing(each for each in wanted if each[0] in doubtful) if doubtful else []


def _doubtful(connection: Connection, backend_id: str, met: Iterable[bytes], since: int) -> set[bytes]:
    """Objects that somebody may have removed since the batch sent or met them."""
    # Whose removal a gc has announced: it may have died between removing and saying so.
    sql = "SELECT blake3 FROM pending_deletions WHERE backend_id = ?"
    doubtful = {blake3 for (blake3,) in fetch(connection, sql, (backend_id,))}
    # What was removed meanwhile.
    sql = "SELECT payload FROM events WHERE sequence > ? AND type = ?"
    for (payload,) in connection.execute(sql, (since, events.OBJECT_DELETED)):
        removed = codec.decode(payload)
        if isinstance(removed, dict) and removed["backend_id"] == backend_id:
            doubtful.add(removed["blake3"])
    # Orphans that were there before: nobody's location protects them.
    sql = "SELECT 1 FROM storage_locations WHERE blake3 = ? AND backend_id = ? AND state <> 'deleted'"
    doubtful.update(blake3 for blake3 in met if fetch_one(connection, sql, (blake3, backend_id)) is None)
    return doubtful
