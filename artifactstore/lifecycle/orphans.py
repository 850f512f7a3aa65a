"""Orphans: objects that no location names, hidden or not, and locations whose object is not there."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from artifactstore import events
from artifactstore.connection import fetch, fetch_one
from artifactstore.lifecycle import object_locks
from artifactstore.lifecycle.object_check import MISSING
from artifactstore.lifecycle.verify import Failure, packages_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager

    from artifactstore.commit import Transaction
    from artifactstore.connection import Connection
    from artifactstore.objects.backend import Backend, Stored

_TOGETHER = 500  # objects looked up, or removed, in one transaction


@dataclass(frozen=True, slots=True)
class Orphan:
    """An object that no live location names.

    Args:
        pending: gc has released it and will remove it.
        deleted: this call removed it.
    """

    blake3: bytes
    backend_id: str
    size: int
    pending: bool
    deleted: bool


@dataclass(frozen=True, slots=True)
class OrphanResult:
    """What is left over, and what is lacking.

    Args:
        protected_count: objects without a location that are too young to judge.
        missing: live locations without their object.
        stale_count: staging folders of dead processes, uploads that nobody completes, old probes; removed if
            the call deletes.
    """

    orphans: tuple[Orphan, ...]
    protected_count: int
    missing: tuple[Failure, ...]
    stale_count: int


def find(
    read: Callable[[], AbstractContextManager[Connection]],
    new_transaction: Callable[[], AbstractContextManager[Transaction]],
    backends: Mapping[str, Backend],
    *,
    delete: bool,
    older_than: int,
    now: int,
) -> OrphanResult:
    """Compare all objects of all backends with the log; see `Store.orphans`.

    Args:
        older_than: seconds since an object was written.
        now: microseconds.
    """
    orphans: list[Orphan] = []
    missing: list[Failure] = []
    protected = stale = 0
    before = now - older_than * 1_000_000
    for backend_id, backend in backends.items():
        for entries in (backend.stored(), backend.hidden()):
            for batch in _batches(entries):
                with read() as connection:
                    left_over = [each for each in batch if not _is_live(connection, each.blake3, backend_id)]
                old = [each for each in left_over if each.written_at <= before]
                protected += len(left_over) - len(old)
                if delete and old:
                    with new_transaction() as transaction:
                        orphans += _remove(transaction, backend, old)
                else:
                    with read() as connection:
                        orphans += _found(connection, backend_id, old)
        missing += _missing(read, backend)
        stale += backend.remove_stale(older_than=older_than, dry_run=not delete)
    return OrphanResult(tuple(orphans), protected, tuple(missing), stale)


def _batches(stored: Iterator[Stored]) -> Iterator[list[Stored]]:
    while batch := list(islice(stored, _TOGETHER)):
        yield batch


def _is_live(connection: Connection, blake3: bytes, backend_id: str) -> bool:
    return (
        fetch_one(
            connection,
            "SELECT 1 FROM storage_locations WHERE blake3 = ? AND backend_id = ? AND state <> 'deleted'",
            (blake3, backend_id),
        )
        is not None
    )


def _is_pending(connection: Connection, blake3: bytes, backend_id: str) -> bool:
    sql = "SELECT 1 FROM pending_deletions WHERE blake3 = ? AND backend_id = ?"
    return fetch_one(connection, sql, (blake3, backend_id)) is not None


def _found(connection: Connection, backend_id: str, old: list[Stored]) -> list[Orphan]:
    pending = (_is_pending(connection, each.blake3, backend_id) for each in old)
    return [
        Orphan(each.blake3, backend_id, each.size, released, False)
        for each, released in zip(old, pending, strict=True)
    ]


def _remove(transaction: Transaction, backend: Backend, old: list[Stored]) -> list[Orphan]:
    """Remove objects that are still orphans under the lock, and say so in the log."""
    backend_id = backend.backend_id
    connection = transaction.connection
    still = [each for each in old if not _is_live(connection, each.blake3, backend_id)]
    pending = {each.blake3 for each in still if _is_pending(connection, each.blake3, backend_id)}
    wanted = [each.blake3 for each in still]
    locked = backend.remove_all(wanted, released=object_locks.released(connection, backend, wanted))
    gone = [each for each in still if each.blake3 not in locked]
    if gone:
        transaction.record(
            events.object_deleted(blake3=each.blake3, size=each.size, backend_id=backend_id) for each in gone
        )
    return [
        Orphan(each.blake3, backend_id, each.size, each.blake3 in pending, each.blake3 not in locked)
        for each in still
    ]


def _missing(read: Callable[[], AbstractContextManager[Connection]], backend: Backend) -> list[Failure]:
    """Live locations without their object, by a log that is younger than the look at the object."""
    backend_id = backend.backend_id
    with read() as connection:
        rows = fetch(
            connection,
            "SELECT DISTINCT blake3, size FROM storage_locations WHERE backend_id = ? AND state <> 'deleted'",
            (backend_id,),
        )
    # One of another size is damaged, which is for a verify to say.
    absent = [blake3 for blake3 in backend.missing(rows) if backend.size_of(blake3) is None]
    # A gc may have removed it since that state of the log, and a push have brought it back since.
    with read() as connection:
        return [
            Failure(blake3, backend_id, MISSING, packages_of(connection, blake3))
            for blake3 in absent
            if _is_live(connection, blake3, backend_id) and backend.size_of(blake3) is None
        ]
