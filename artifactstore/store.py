"""The store: every public call, each one append-plus-project transaction."""

from __future__ import annotations

import os
import uuid
from typing import TYPE_CHECKING

from artifactstore import commit, event_log, events
from artifactstore.backends import Backends
from artifactstore.database import BUSY_TIMEOUT, Database
from artifactstore.errors import BackendError
from artifactstore.lifecycle import retention
from artifactstore.lifecycle.calls import LifecycleCalls
from artifactstore.lifecycle.policy import RetentionPolicy
from artifactstore.lifecycle.retention_calls import RetentionCalls
from artifactstore.linkage.calls import LinkageCalls
from artifactstore.metadata.calls import SchemaCalls
from artifactstore.moment import Uuid7Source, believed, system_clock
from artifactstore.package_calls import PackageCalls
from artifactstore.read_calls import ReadCalls

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import TracebackType

    from artifactstore.backends import Place
    from artifactstore.connection import Connection
    from artifactstore.moment import Clock, IdSource
    from artifactstore.objects.routing import Route
    from artifactstore.results import ReplayResult
    from artifactstore.uploads import Uploads


class Store(PackageCalls, ReadCalls, RetentionCalls, LifecycleCalls, SchemaCalls, LinkageCalls):
    """A store: its event log, its views and its objects.

    Safe to share between threads and after a fork; any number of processes may use the same store. Each
    call that changes something is one transaction: when it returns, bytes, names and events are durable,
    and when it raises, nothing has changed. Only `sweep`, `gc`, `verify`, `repair`, `copy` and `orphans`
    commit in steps: when they raise, the steps before are done.

    Made by `Store.open` or `artifactstore.open`; a context manager.
    """

    @classmethod
    def open(
        cls,
        database: str | os.PathLike[str],
        objects: Place,
        *,
        further: Mapping[str, Place] | None = None,
        default_backend: str | None = None,
        routes: Iterable[Route] = (),
        policy: RetentionPolicy | None = None,
        create: bool = True,
        clock: Clock = system_clock,
        new_id: IdSource | None = None,
        busy_timeout: float = BUSY_TIMEOUT,
    ) -> Store:
        """Open the store at two places, and make it if it is not there.

        Args:
            database: path of the SQLite file.
            objects: root directory of the objects, the backend `local`; or a backend.
            further: further backends by their ids, or their root directories; `copy` and routes fill them,
                reads fall back to them.
            default_backend: id of the one that takes what no route matches; that of `objects` if not given.
            routes: where objects of a producer and a retention class go; the first that matches counts.
            policy: how long packages are kept; what the store's own classes say by default.
            create: False refuses to make a store.
            clock: microseconds since 1970, UTC.
            new_id: source of UUIDv7.
            busy_timeout: seconds that a writer waits for other writers.
        Raises:
            StoreNotFoundError: there is no store and none may be made.
            StateError: the database is not a store's, newer, or needs a migration.
            BackendError: the object root is missing or belongs to another store.
            AccessError: permission is missing.
        """
        clock = believed(clock)
        new_id = new_id or Uuid7Source(clock)
        file = Database(os.fspath(database), busy_timeout=busy_timeout)
        backends = Backends(file, objects, further or {}, default=default_backend, routes=routes)
        try:
            new = create and not file.exists()
            if new:
                try:
                    backends.check_free()
                except BackendError:
                    # Unless another process has just made this very store.
                    if not file.exists():
                        raise
                file.create(lambda connection: _write_first_events(connection, clock, new_id))
            file.check()
            file.settle()
            with file.read() as connection:
                store_id = uuid.UUID(bytes=event_log.store_id(connection))
            backends.attach(store_id, new=new)
        except BaseException:
            backends.close()
            file.close()
            raise
        return cls(file, backends, store_id, clock, new_id, policy or RetentionPolicy())

    def close(self) -> None:
        """Close the database and the object store. Idempotent."""
        self._database.close()
        self._backends.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Store {self.store_id} at {self._database.path}>"

    def uploads(self) -> Uploads:
        """The sessions in which files arrive in parts; they live beside the database."""
        from artifactstore.uploads import Uploads

        return Uploads(f"{self._database.path}.uploads", self, self._clock, self._new_id)

    def replay(self, *, check: bool = False) -> ReplayResult:
        """Rebuild every view from the log.

        Args:
            check: rebuild into a scratch database only and change nothing.
        Returns:
            The fingerprints before and after; they are the same unless the views were damaged.
        """
        from artifactstore import rebuild

        return rebuild.replay(self._database, check=check)


def _write_first_events(connection: Connection, clock: Clock, new_id: IdSource) -> None:
    """The creation of the store and its retention classes, in the transaction that makes the schema."""
    drafts = [events.store_created(new_id().bytes)]
    drafts += [events.class_defined(name, duration) for name, duration in retention.DEFAULT_CLASSES.items()]
    commit.Transaction(connection, "artifactstore", clock(), new_id).record(drafts)
