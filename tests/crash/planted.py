"""Changes to the code that runs in a worker: which barrier it takes, and mistakes that a drill must find.

To plant another bug: write what it replaces and add one line to `BUGS`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from artifactstore import connection, database
from artifactstore.objects import durability, local, local_batch

if TYPE_CHECKING:
    from collections.abc import Callable


def _pretend_dirty(kib: int) -> Callable[[], None]:
    def choose() -> None:
        durability.dirty_kib = lambda: kib

    return choose


# `syncfs` pays if little waits to be written, by whichever program; a machine's other work must not decide.
BARRIERS: dict[str, Callable[[], None]] = {"whole": _pretend_dirty(0), "each": _pretend_dirty(1 << 40)}


def _sync_only(*, folders: bool) -> Callable[[], None]:
    def plant() -> None:
        real = durability.sync_path

        def sync_path(name: str, *, folder: int | None = None, directory: bool = False) -> None:
            if directory is folders:
                real(name, folder=folder, directory=directory)

        local.sync_path = local_batch.sync_path = sync_path

    return plant


def _no_barrier() -> None:
    durability.FileSystem.barrier = lambda _self: None  # type: ignore[method-assign]


def _event_before_object() -> None:
    publish, leave = local_batch.LocalBatch.publish, local_batch.LocalBatch.__exit__

    def publish_at_the_end(batch: local_batch.LocalBatch, *raised: Any) -> None:
        publish(batch)
        leave(batch, *raised)

    local_batch.LocalBatch.publish = lambda _batch: None  # type: ignore[method-assign]
    local_batch.LocalBatch.__exit__ = publish_at_the_end  # type: ignore[method-assign]
    local.LocalBackend.missing = lambda _backend, _wanted: []  # type: ignore[method-assign]


def _synchronous_normal() -> None:
    def lazier(path: str, busy_timeout: float, **further: object) -> connection.Connection:
        opened = connection.connect(path, busy_timeout, **further)
        opened.pragma("synchronous", "NORMAL")
        return opened

    database.connect = lazier  # type: ignore[attr-defined]


def _no_sync_beside_the_database() -> None:
    database.sync_path = lambda _name, **_further: None


BUGS: dict[str, Callable[[], None]] = {
    "no sync of folders": _sync_only(folders=False),
    "no sync of files": _sync_only(folders=True),
    "no barrier": _no_barrier,
    "no sync of the folder of a backup": _no_sync_beside_the_database,
    "event before object": _event_before_object,
    "synchronous=NORMAL": _synchronous_normal,
}
