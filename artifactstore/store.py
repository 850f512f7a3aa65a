"""The store: every public call, each one append-plus-project transaction."""

from __future__ import annotations

import logging
import os
import uuid
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING

from artifactstore import commit, events, fields, packages, queries, rebuild
from artifactstore.database import BUSY_TIMEOUT, Database
from artifactstore.digest import Digest
from artifactstore.errors import (
    AccessError,
    BackendError,
    ConflictError,
    InvalidInputError,
    SourceChangedError,
    StateError,
)
from artifactstore.idempotency import KnownContent, first_use, request
from artifactstore.ingest import open_directory, stage_directory
from artifactstore.lifecycle import retention
from artifactstore.lifecycle.calls import LifecycleCalls, attach
from artifactstore.lifecycle.policy import RetentionPolicy
from artifactstore.manifest import ManifestEncoder, ManifestFile
from artifactstore.media_types import check_media_type, guess_media_type
from artifactstore.model import IngestResult, PushResult
from artifactstore.moment import Uuid7Source, believed, system_clock
from artifactstore.objects.local import LocalBackend
from artifactstore.objects.routing import chosen
from artifactstore.paths import check_relative_path, printable
from artifactstore.scan import Scan, Selection
from artifactstore.sources import stage

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import TracebackType

    from artifactstore.codec import Value
    from artifactstore.commit import Transaction
    from artifactstore.database import Connection
    from artifactstore.events import Idempotency
    from artifactstore.ingest import Entry, EntryList, OnProgress
    from artifactstore.manifest import ManifestPackage
    from artifactstore.model import File, Package, ReplayResult
    from artifactstore.moment import Clock, IdSource
    from artifactstore.objects.backend import Backend, Batch, Staged
    from artifactstore.objects.routing import Route
    from artifactstore.sources import Source

_log = logging.getLogger(__name__)

STALE_AFTER = 86_400  # seconds after which what a crash left in the staging folder is removed
_SEAL_ATTEMPTS = 5  # times a finalize starts over because files came in meanwhile


class Store(LifecycleCalls):
    """A store: its event log, its views and its objects.

    Safe to share between threads and after a fork; any number of processes may use the same store. Each
    call that changes something is one transaction: when it returns, bytes, names and events are durable,
    and when it raises, nothing has changed.

    Made by `Store.open` or `artifactstore.open`; a context manager.
    """

    def __init__(
        self,
        database: Database,
        backends: dict[str, Backend],
        waiting: dict[str, Backend],
        default: Backend,
        routes: tuple[Route, ...],
        store_id: uuid.UUID,
        clock: Clock,
        new_id: IdSource,
        policy: RetentionPolicy,
    ) -> None:
        self._database = database
        # In use, and those that are away or that nobody has needed yet.
        self._backends = backends
        self._waiting = waiting
        self._backend = default
        self._routes = routes
        self._policy = policy
        self._clock = clock
        self._new_id = new_id
        self.store_id = store_id

    @classmethod
    def open(
        cls,
        database: str | os.PathLike[str],
        objects: str | os.PathLike[str] | Backend,
        *,
        further: Mapping[str, str | os.PathLike[str] | Backend] | None = None,
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
        backend = LocalBackend(os.fspath(objects)) if isinstance(objects, str | os.PathLike) else objects
        backends: dict[str, Backend] = {backend.backend_id: backend}
        for backend_id, place in (further or {}).items():
            if backend_id in backends:
                raise InvalidInputError(f"the backend {backend_id!r} is there already")
            if isinstance(place, str | os.PathLike):
                backends[backend_id] = LocalBackend(os.fspath(place), backend_id=backend_id)
            else:
                backends[backend_id] = place
        routes = tuple(routes)
        default = backend.backend_id if default_backend is None else default_backend
        for named in (default, *(route.backend_id for route in routes)):
            if named not in backends:
                raise InvalidInputError(
                    f"unknown backend {named[:80]!r}",
                    hint=f"one of {', '.join(backends)}",
                    code="unknown-backend",
                )
        try:
            new = create and not file.exists()
            if new:
                try:
                    if backend.folder:
                        backend.check_free()
                except BackendError:
                    # Unless another process has just made this very store.
                    if not file.exists():
                        raise
                file.create(lambda connection: _write_first_events(connection, clock, new_id))
            file.check()
            with file.read() as connection:
                store_id = uuid.UUID(bytes=events.store_id(connection))
            waiting: dict[str, Backend] = {}
            for name, each in backends.items():
                # A remote one costs a request, and may be away: it is looked at when somebody needs it.
                if not each.folder and not new:
                    waiting[name] = each
                    continue
                try:
                    attach(file, each, store_id)
                except (BackendError, AccessError) as error:
                    if each is backend and each.folder:
                        raise
                    # The store works without a copy; health says that it is away.
                    _log.warning("backend %s is not available: %s", name, error.message)
                    waiting[name] = each
                else:
                    if each.folder:
                        each.remove_stale(older_than=STALE_AFTER)
        except BaseException:
            for each in backends.values():
                each.close()
            file.close()
            raise
        available = {name: each for name, each in backends.items() if name not in waiting}
        return cls(
            file,
            available,
            waiting,
            backends[default],
            routes,
            store_id,
            clock,
            new_id,
            policy or RetentionPolicy(),
        )

    def close(self) -> None:
        """Close the database and the object store. Idempotent."""
        self._database.close()
        for backend in (*self._backends.values(), *self._waiting.values()):
            backend.close()

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

    # Packages: create, ingest, finalize

    def create_package(
        self,
        *,
        name: str,
        producer: str,
        subject: str,
        retention_class: str,
        actor: str,
        metadata: Mapping[str, Value] | None = None,
        idempotency_key: str | None = None,
    ) -> str:
        """Open a package that files can be ingested into.

        Args:
            name: what a person calls it; need not be unique.
            producer: the tool that made the evidence.
            subject: what the evidence is about.
            retention_class: decides how long it is kept after finalize.
            actor: who makes this call.
            metadata: JSON-shaped, at most 1 MiB.
            idempotency_key: the same key with the same arguments returns the first package.
        Returns:
            The id of the package.
        Raises:
            InvalidInputError: an argument breaks a rule or the class is unknown.
            ConflictError: the key was used with other arguments.
        """
        details = packages.check_details(name, producer, subject, retention_class, metadata)
        idempotency = request(idempotency_key, "create_package", *details.arguments())
        with self._transaction(actor) as transaction:
            first = first_use(transaction.connection, idempotency)
            if first is not None:
                return queries.package(transaction.connection, first).package_id
            package_id = self._new_id()
            self._record_created(transaction, details, package_id, self._clock(), idempotency)
        return str(package_id)

    def ingest_file(
        self,
        package: str,
        relative_path: str,
        source: Source,
        *,
        actor: str,
        media_type: str | None = None,
        executable: bool | None = None,
        idempotency_key: str | None = None,
    ) -> File:
        """Put one file into an open package.

        Args:
            package: id, or a unique prefix of it.
            relative_path: its name in the package.
            source: bytes, a path, a binary file object or an iterator of chunks.
            media_type: guessed from the name if not given.
            executable: taken from a source path if not given, else false.
            idempotency_key: the same key with the same bytes and arguments returns the first result.
        Raises:
            InvalidInputError: the path, the media type or the source breaks a rule.
            SourceChangedError: the source file changed while it was read.
            DuplicateRelativePathError: the package has such a file, or a folder of that name.
            StateError: the package is finalized.
        """
        fields.check_label(actor, field="actor")
        check_relative_path(relative_path)
        chosen = guess_media_type(relative_path) if media_type is None else check_media_type(media_type)
        self._refuse_own_file(source)
        with self._database.read() as connection:
            sequence = queries.package_sequence(connection, package)
            if idempotency_key is None:
                _admit(connection, sequence, [relative_path], None)
            found = queries.package(connection, sequence)
        backend = self._routed(found.producer, found.retention_class)
        with backend.batch(keep=True, damaged=self._damaged(backend)) as batch:
            staged, marked = stage(batch, source)
            executable = marked if executable is None else executable
            entry = (
                relative_path, chosen, staged.size, staged.digests.blake3, staged.digests.sha256, executable
            )  # fmt: skip
            idempotency = request(idempotency_key, "ingest_file", sequence, *entry)
            # Asked twice: here, before anything is published, and again under the write lock.
            with self._database.read() as connection:
                first = _admit(connection, sequence, [relative_path], idempotency)
                if first is not None:
                    return queries.file_of_event(connection, first)
            batch.publish()
            with self._transaction(actor) as transaction:
                first = _admit(transaction.connection, sequence, [relative_path], idempotency)
                if first is None:
                    missing = backend.missing([(staged.digests.blake3, staged.size)])
                    if missing and not batch.restore(missing):
                        raise BackendError(f"the bytes of {relative_path!r} are gone again", retryable=True)
                    self._record_files(transaction, backend, sequence, [entry], 1, idempotency)
                    first = queries.file_sequence(transaction.connection, sequence, relative_path)
                return queries.file_of_event(transaction.connection, first)

    def ingest_directory(
        self,
        package: str,
        directory: str | os.PathLike[str],
        *,
        actor: str,
        selection: Selection | None = None,
        idempotency_key: str | None = None,
        on_progress: OnProgress | None = None,
    ) -> IngestResult:
        """Put all files of a directory into an open package, in one transaction.

        Args:
            selection: which files are evidence and what to do about links; all files, no links by default.
            on_progress: called now and then on this thread.
        Raises:
            as `ingest_file`; also InvalidInputError if the directory has no file to take.
        """
        fields.check_label(actor, field="actor")
        with self._database.read() as connection:
            sequence = queries.package_sequence(connection, package)
            if idempotency_key is None:
                packages.require_open(connection, sequence)
            found = queries.package(connection, sequence)
        backend = self._routed(found.producer, found.retention_class)
        with backend.batch(damaged=self._damaged(backend)) as batch:
            scan, entries = self._stage_directory(batch, directory, selection, on_progress)
            result = entries.result(scan)
            repeated = replace(result, new_object_count=0, new_object_size=0)
            idempotency = request(idempotency_key, "ingest_directory", sequence, entries.digest())
            # Asked twice, as in `ingest_file`.
            with self._database.read() as connection:
                if _admit(connection, sequence, (entry[0] for entry in entries), idempotency) is not None:
                    return repeated
            batch.publish()
        with self._transaction(actor) as transaction:
            if (
                _admit(transaction.connection, sequence, (entry[0] for entry in entries), idempotency)
                is not None
            ):
                return repeated
            self._assure(backend, entries, directory, selection)
            self._record_files(transaction, backend, sequence, entries, entries.count, idempotency)
        return result

    def finalize_package(self, package: str, *, actor: str, idempotency_key: str | None = None) -> Digest:
        """Seal a package: its manifest is stored and its clock of retention starts.

        Returns:
            The digest of the manifest, which names the package's content.
        Raises:
            StateError: the package is finalized already, or empty.
            ConflictError: files keep coming in, or the key was used with other arguments.
        """
        fields.check_label(actor, field="actor")
        with self._database.read() as connection:
            sequence = queries.package_sequence(connection, package)
            named = queries.package(connection, sequence)
        idempotency = request(idempotency_key, "finalize_package", sequence)
        backend = self._routed(named.producer, named.retention_class)
        for _ in range(_SEAL_ATTEMPTS):
            with self._database.read() as connection, backend.batch() as batch:
                if first_use(connection, idempotency) is not None:
                    return _sealed_digest(queries.package(connection, sequence))
                found = packages.require_open(connection, sequence)
                if not found.file_count:
                    raise StateError(
                        f"package {found.package_id} has no files", hint="add one first", code="empty-package"
                    )
                described = packages.described(
                    packages.details_of(found),
                    package_id=found.package_id,
                    store_id=self.store_id,
                    created_at=found.created_at,
                )
                encoder = ManifestEncoder(described, found.file_count)
                staged, _ = stage(batch, encoder.chunks(queries.manifest_files(connection, sequence)))
                batch.publish()
            with self._transaction(actor) as transaction:
                if first_use(transaction.connection, idempotency) is not None:
                    return _sealed_digest(queries.package(transaction.connection, sequence))
                now = packages.require_open(transaction.connection, sequence)
                gone = backend.missing([(staged.digests.blake3, staged.size)])
                if now.file_count == found.file_count and not gone:
                    self._record_finalized(
                        transaction, backend, found, staged, encoder.content_digest, idempotency
                    )
                    return Digest("blake3", staged.digests.blake3)
        raise ConflictError(
            f"files keep coming into package {package!r} while it is finalized",
            hint="finalize when its producer is done",
        )

    def push(
        self,
        directory: str | os.PathLike[str],
        *,
        name: str,
        producer: str,
        subject: str,
        retention_class: str,
        actor: str,
        metadata: Mapping[str, Value] | None = None,
        selection: Selection | None = None,
        if_changed: bool = False,
        idempotency_key: str | None = None,
        on_progress: OnProgress | None = None,
    ) -> PushResult:
        """Create a package, ingest a directory into it and finalize it, in one transaction.

        Args:
            if_changed: return the newest finalized package of this producer and subject if it has exactly
                these files.
            selection, on_progress: as in `ingest_directory`.
            others: as in `create_package`.
        Returns:
            The finalized package, and what was stored.
        Raises:
            InvalidInputError: an argument or a file breaks a rule, or there is no file.
            SourceChangedError: a file changed while it was read.
            ConflictError: the key was used with other arguments.
        """
        details = packages.check_details(name, producer, subject, retention_class, metadata)
        fields.check_label(actor, field="actor")
        with self._database.read() as connection:
            self._policy.duration(retention_class, queries.retention_classes(connection))
        backend = self._routed(producer, retention_class)
        with backend.batch(damaged=self._damaged(backend)) as batch:
            scan, entries = self._stage_directory(batch, directory, selection, on_progress)
            details = packages.with_skipped(details, scan)
            package_id, created_at = self._new_id(), self._clock()
            described = packages.described(
                details, package_id=str(package_id), store_id=self.store_id, created_at=created_at
            )
            staged, content_digest = _stage_manifest(batch, described, entries)
            idempotency = request(idempotency_key, "push", *details.arguments(), content_digest)
            known = KnownContent(idempotency, if_changed, producer, subject, content_digest)
            # Asked twice: here, before anything is published, and again under the write lock.
            with self._database.read() as connection:
                earlier = known.package(connection)
            if earlier is None:
                batch.publish()
        result = entries.result(scan)
        if earlier is None:
            with self._transaction(actor) as transaction:
                earlier = known.package(transaction.connection)
                if earlier is None:
                    self._assure(backend, entries, directory, selection)
                    if backend.missing([(staged.digests.blake3, staged.size)]):
                        with backend.batch() as batch:
                            _stage_manifest(batch, described, entries)
                            batch.publish()
                    sequence = self._record_created(transaction, details, package_id, created_at, None)
                    self._record_files(transaction, backend, sequence, entries, entries.count, None)
                    package = queries.package(transaction.connection, sequence)
                    self._record_finalized(transaction, backend, package, staged, content_digest, idempotency)
                    return PushResult(queries.package(transaction.connection, sequence), result)
        return PushResult(earlier, replace(result, new_object_count=0, new_object_size=0), unchanged=True)

    def replay(self, *, check: bool = False) -> ReplayResult:
        """Rebuild every view from the log.

        Args:
            check: rebuild into a scratch database only and change nothing.
        Returns:
            The fingerprints before and after; they are the same unless the views were damaged.
        """
        return rebuild.replay(self._database, check=check)

    # What the calls above are made of

    def _routed(self, producer: str, retention_class: str) -> Backend:
        """The backend that takes the objects of a package, ready to be written to.

        Raises:
            AccessError, BackendError: it is away, or belongs to another store.
        """
        return self._ready(chosen(self._routes, producer, retention_class) or self._backend.backend_id)

    def _damaged(self, backend: Backend) -> frozenset[bytes]:
        """Objects of a backend that a verify found damaged: a new ingest mends them."""
        with self._database.read() as connection:
            return frozenset(queries.failed_objects(connection, backend.backend_id))

    def _assure(
        self,
        backend: Backend,
        entries: EntryList,
        directory: str | os.PathLike[str],
        selection: Selection | None,
    ) -> None:
        """Make sure, under the write lock, that every object about to be named is there.

        A gc may have removed one that was there when the directory was read. Nobody can remove it now, so
        the directory is simply read again; that happens so rarely that writers may wait for it.
        """
        if not backend.missing((entry[3], entry[2]) for entry in entries):
            return
        with backend.batch() as batch:
            _, again = self._stage_directory(batch, directory, selection, None)
            if again.digest() != entries.digest():
                raise SourceChangedError(f"{os.fspath(directory)!r} changed while it was read")
            batch.publish()

    def _record_created(
        self,
        transaction: Transaction,
        details: packages.Details,
        package_id: uuid.UUID,
        created_at: int,
        idempotency: Idempotency | None,
    ) -> int:
        known = queries.retention_classes(transaction.connection)
        created = packages.created(
            details,
            package_id=package_id,
            created_at=created_at,
            retention_seconds=self._policy.duration(details.retention_class, known),
            idempotency=idempotency,
        )
        return transaction.record([created]).sequence

    def _record_files(
        self,
        transaction: Transaction,
        backend: Backend,
        sequence: int,
        entries: Iterable[Entry],
        count: int,
        idempotency: Idempotency | None,
    ) -> None:
        backend_id = backend.backend_id
        package = self._record_work(transaction, sequence)
        transaction.record(packages.ingested(package.package_id, entries, count, backend_id, idempotency))
        if queries.failed_objects(transaction.connection, backend_id):
            from artifactstore.lifecycle.repair import record_mended

            written = ((entry[3], entry[4], entry[2]) for entry in entries)
            record_mended(transaction, backend, written, "a new ingest")

    def _record_work(self, transaction: Transaction, sequence: int) -> Package:
        """Somebody works on an open package: it is not abandoned."""
        package = queries.package(transaction.connection, sequence)
        if retention.state_of(transaction.connection, sequence).eligible_at is not None:
            key = uuid.UUID(package.package_id).bytes
            transaction.record([events.eligibility_withdrawn(key, reason="in use again")])
        return package

    def _stage_directory(
        self,
        batch: Batch,
        directory: str | os.PathLike[str],
        selection: Selection | None,
        on_progress: OnProgress | None,
    ) -> tuple[Scan, EntryList]:
        path = os.fspath(directory)
        descriptor = open_directory(path)
        try:
            scan = Scan(descriptor, os.path.realpath(path), selection or Selection(), self._own_files())
            entries = stage_directory(batch, scan, on_progress=on_progress)
        finally:
            os.close(descriptor)
        if not entries.count:
            message = f"the directory {printable(path)} has no files to take"
            raise InvalidInputError(message, hint="an empty package is no evidence", code="empty-package")
        return scan, entries

    def _own_files(self) -> frozenset[tuple[int, int]]:
        """Device and inode of what belongs to the store: to read it as evidence would break its locks."""
        own = (backend.inodes() for backend in (*self._backends.values(), *self._waiting.values()))
        return frozenset((*self._database.inodes(), *chain.from_iterable(own)))

    def _refuse_own_file(self, source: Source) -> None:
        if isinstance(source, str | os.PathLike):
            try:
                status = os.stat(source)
            except (OSError, ValueError):
                return  # opening it gives the precise error
            if (status.st_dev, status.st_ino) in self._own_files():
                message = f"{printable(os.fspath(source))} belongs to the store itself"
                raise InvalidInputError(message, code="store-inside")

    def _record_finalized(
        self,
        transaction: Transaction,
        backend: Backend,
        package: Package,
        manifest: Staged,
        content_digest: bytes,
        idempotency: Idempotency | None,
    ) -> None:
        backend_id = backend.backend_id
        self._record_work(transaction, queries.package_sequence(transaction.connection, package.package_id))
        transaction.record(
            [packages.finalized(transaction, package, manifest, content_digest, backend_id, idempotency)]
        )


def _write_first_events(connection: Connection, clock: Clock, new_id: IdSource) -> None:
    """The creation of the store and its retention classes, in the transaction that makes the schema."""
    drafts = [events.store_created(new_id().bytes)]
    drafts += [events.class_defined(name, duration) for name, duration in retention.DEFAULT_CLASSES.items()]
    commit.Transaction(connection, "artifactstore", clock(), new_id).record(drafts)


def _admit(
    connection: Connection, sequence: int, paths: Iterable[str], idempotency: Idempotency | None
) -> int | None:
    """The event of an earlier use of the key; None if it is new and the paths can go into the package."""
    first = first_use(connection, idempotency)
    if first is None and packages.require_open(connection, sequence).file_count:
        for path in paths:
            packages.refuse_collision(connection, sequence, path)
    return first


def _stage_manifest(batch: Batch, described: ManifestPackage, entries: EntryList) -> tuple[Staged, bytes]:
    """The manifest of a push, and the sha256 over its files."""
    encoder = ManifestEncoder(described, entries.count)
    staged, _ = stage(batch, encoder.chunks(ManifestFile(*entry) for entry in entries))
    return staged, encoder.content_digest


def _sealed_digest(package: Package) -> Digest:
    if package.manifest_digest is None:
        raise StateError(f"package {package.package_id} is not finalized")
    return package.manifest_digest
