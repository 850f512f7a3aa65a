"""The store: every public call, each one append-plus-project transaction."""

from __future__ import annotations

import hashlib
import os
import uuid
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from artifactstore import codec, commit, events, fields, queries, rebuild
from artifactstore.database import BUSY_TIMEOUT, Database
from artifactstore.digest import Digest
from artifactstore.errors import ConflictError, DuplicateRelativePathError, InvalidInputError, StateError
from artifactstore.idempotency import KnownContent, first_use, request
from artifactstore.ingest import open_directory, stage_directory
from artifactstore.lifecycle.retention import DEFAULT_CLASSES, expiry
from artifactstore.manifest import ManifestEncoder, ManifestFile, ManifestPackage
from artifactstore.media_types import check_media_type, guess_media_type
from artifactstore.model import OPEN, IngestResult, PushResult
from artifactstore.moment import Uuid7Source, system_clock
from artifactstore.objects.local import LocalBackend
from artifactstore.paths import check_relative_path, printable
from artifactstore.reads import StoreReads
from artifactstore.scan import Scan, Selection
from artifactstore.sources import stage

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from contextlib import AbstractContextManager
    from types import TracebackType

    from artifactstore.codec import Value
    from artifactstore.commit import Transaction
    from artifactstore.database import Connection
    from artifactstore.events import Draft, Idempotency
    from artifactstore.ingest import Entry, EntryList, OnProgress
    from artifactstore.model import File, Package, ReplayResult
    from artifactstore.moment import Clock, IdSource
    from artifactstore.objects.backend import Backend, Batch, Staged
    from artifactstore.sources import Source

STALE_AFTER = 86_400  # seconds after which what a crash left in the staging folder is removed
SKIPPED_KEY = "artifactstore.skipped"  # in the metadata: files that a push left out
_SEAL_ATTEMPTS = 5  # times a finalize starts over because files came in meanwhile


class Store(StoreReads):
    """A store: its event log, its views and its objects.

    Safe to share between threads and after a fork; any number of processes may use the same store. Each
    call that changes something is one transaction: when it returns, bytes, names and events are durable,
    and when it raises, nothing has changed.

    Made by `Store.open` or `artifactstore.open`; a context manager.
    """

    def __init__(
        self, database: Database, backend: Backend, store_id: uuid.UUID, clock: Clock, new_id: IdSource
    ) -> None:
        self._database = database
        self._backend = backend
        self._clock = clock
        self._new_id = new_id
        self.store_id = store_id

    @classmethod
    def open(
        cls,
        database: str | os.PathLike[str],
        objects: str | os.PathLike[str],
        *,
        create: bool = True,
        clock: Clock = system_clock,
        new_id: IdSource | None = None,
        busy_timeout: float = BUSY_TIMEOUT,
    ) -> Store:
        """Open the store at two places, and make it if it is not there.

        Args:
            database: path of the SQLite file.
            objects: root directory of the objects.
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
        new_id = new_id or Uuid7Source(clock)
        file = Database(os.fspath(database), busy_timeout=busy_timeout)
        backend = LocalBackend(os.fspath(objects))
        try:
            if create and not file.exists():
                file.create(lambda connection: _write_first_events(connection, clock, new_id))
            file.check()
            with file.read() as connection:
                store_id = uuid.UUID(bytes=events.store_id(connection))
                used = queries.backend_is_used(connection, backend.backend_id)
            if used:
                backend.attach(store_id, create=False)
            else:
                # The log names no object yet, so an empty root is as it should be.
                with file.write():
                    backend.attach(store_id, create=True)
            backend.remove_stale(older_than=STALE_AFTER)
        except BaseException:
            backend.close()
            file.close()
            raise
        return cls(file, backend, store_id, clock, new_id)

    def close(self) -> None:
        """Close the database and the object store. Idempotent."""
        self._database.close()
        self._backend.close()

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
        details = _details(name, producer, subject, retention_class, metadata)
        idempotency = request(idempotency_key, "create_package", *details.arguments())
        with self._transaction(actor) as transaction:
            first = first_use(transaction.connection, idempotency)
            if first is not None:
                return queries.package(transaction.connection, first).package_id
            package_id = self._new_id()
            transaction.record([_created(transaction, package_id, details, self._clock(), idempotency)])
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
                _open_package(connection, sequence)
        with self._backend.batch() as batch:
            staged, marked = stage(batch, source)
            batch.publish()
        executable = marked if executable is None else executable
        entry = (
            relative_path, chosen, staged.size, staged.digests.blake3, staged.digests.sha256, executable
        )  # fmt: skip
        idempotency = request(idempotency_key, "ingest_file", sequence, *entry)
        with self._transaction(actor) as transaction:
            first = first_use(transaction.connection, idempotency)
            if first is None:
                found = _open_package(transaction.connection, sequence)
                _refuse_collision(transaction.connection, sequence, relative_path)
                draft = self._file_draft(uuid.UUID(found.package_id), entry, idempotency)
                first = transaction.record([draft]).sequence
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
                _open_package(connection, sequence)
        with self._backend.batch() as batch:
            scan, entries = self._stage_directory(batch, directory, selection, on_progress)
            batch.publish()
        idempotency = request(idempotency_key, "ingest_directory", sequence, _digest_of(entries))
        result = _ingest_result(scan, entries)
        with self._transaction(actor) as transaction:
            if first_use(transaction.connection, idempotency) is not None:
                return replace(result, new_object_count=0, new_object_size=0)
            found = _open_package(transaction.connection, sequence)
            if found.file_count:
                for entry in entries:
                    _refuse_collision(transaction.connection, sequence, entry[0])
            transaction.record(self._file_drafts(uuid.UUID(found.package_id), entries, idempotency))
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
        idempotency = request(idempotency_key, "finalize_package", sequence)
        for _ in range(_SEAL_ATTEMPTS):
            with self._database.read() as connection, self._backend.batch() as batch:
                if first_use(connection, idempotency) is not None:
                    return _sealed_digest(queries.package(connection, sequence))
                found = _open_package(connection, sequence)
                if not found.file_count:
                    raise StateError(
                        f"package {found.package_id} has no files", hint="add one first", code="empty-package"
                    )
                encoder = ManifestEncoder(self._described(found), found.file_count)
                staged, _ = stage(batch, encoder.chunks(queries.manifest_files(connection, sequence)))
                batch.publish()
            with self._transaction(actor) as transaction:
                if first_use(transaction.connection, idempotency) is not None:
                    return _sealed_digest(queries.package(transaction.connection, sequence))
                if _open_package(transaction.connection, sequence).file_count == found.file_count:
                    transaction.record([self._finalized(transaction, found, encoder, staged, idempotency)])
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
        details = _details(name, producer, subject, retention_class, metadata)
        fields.check_label(actor, field="actor")
        with self._database.read() as connection:
            queries.class_duration(connection, retention_class)
        with self._backend.batch() as batch:
            scan, entries = self._stage_directory(batch, directory, selection, on_progress)
            details = _with_skipped(details, scan)
            package_id, created_at = self._new_id(), self._clock()
            encoder = ManifestEncoder(
                _manifest_package(str(package_id), self.store_id, details, created_at), entries.count
            )
            staged, _ = stage(batch, encoder.chunks(ManifestFile(*entry) for entry in entries))
            idempotency = request(idempotency_key, "push", *details.arguments(), encoder.content_digest)
            known = KnownContent(idempotency, if_changed, producer, subject, encoder.content_digest)
            # Asked twice: here, before anything is published, and again under the write lock.
            with self._database.read() as connection:
                earlier = known.package(connection)
            if earlier is None:
                batch.publish()
        result = _ingest_result(scan, entries)
        if earlier is None:
            with self._transaction(actor) as transaction:
                earlier = known.package(transaction.connection)
                if earlier is None:
                    created = _created(transaction, package_id, details, created_at, None)
                    sequence = transaction.record([created]).sequence
                    transaction.record(self._file_drafts(package_id, entries, None))
                    package = queries.package(transaction.connection, sequence)
                    transaction.record([self._finalized(transaction, package, encoder, staged, idempotency)])
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

    def _transaction(self, actor: str) -> AbstractContextManager[Transaction]:
        fields.check_label(actor, field="actor")
        return commit.transaction(self._database, actor=actor, clock=self._clock, new_id=self._new_id)

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
        return frozenset((*self._database.inodes(), *self._backend.inodes()))

    def _refuse_own_file(self, source: Source) -> None:
        if isinstance(source, str | os.PathLike):
            try:
                status = os.stat(source)
            except (OSError, ValueError):
                return  # opening it gives the precise error
            if (status.st_dev, status.st_ino) in self._own_files():
                raise InvalidInputError(f"{os.fspath(source)!r} belongs to the store itself")

    def _file_draft(self, package_id: uuid.UUID, entry: Entry, idempotency: Idempotency | None) -> Draft:
        path, media_type, size, blake3, sha256, executable = entry
        return events.file_ingested(
            package_id.bytes,
            relative_path=path,
            media_type=media_type,
            size=size,
            blake3=blake3,
            sha256=sha256,
            executable=executable,
            backend_id=self._backend.backend_id,
            idempotency=idempotency,
        )

    def _file_drafts(
        self, package_id: uuid.UUID, entries: EntryList, idempotency: Idempotency | None
    ) -> Iterator[Draft]:
        """One event a file; the last one carries the key of the call."""
        for number, entry in enumerate(entries, start=1):
            yield self._file_draft(package_id, entry, idempotency if number == entries.count else None)

    def _described(self, package: Package) -> ManifestPackage:
        details = _Details(
            package.name, package.producer, package.subject, package.retention_class, dict(package.metadata)
        )
        return _manifest_package(package.package_id, self.store_id, details, package.created_at)

    def _finalized(
        self,
        transaction: Transaction,
        package: Package,
        encoder: ManifestEncoder,
        staged: Staged,
        idempotency: Idempotency | None,
    ) -> Draft:
        return events.package_finalized(
            uuid.UUID(package.package_id).bytes,
            manifest_blake3=staged.digests.blake3,
            manifest_sha256=staged.digests.sha256,
            manifest_size=staged.size,
            content_digest=encoder.content_digest,
            file_count=package.file_count,
            total_size=package.total_size,
            expires_at=expiry(transaction.recorded_at, package.retention_seconds),
            backend_id=self._backend.backend_id,
            idempotency=idempotency,
        )


@dataclass(frozen=True, slots=True)
class _Details:
    """What a producer says of a package, checked."""

    name: str
    producer: str
    subject: str
    retention_class: str
    metadata: dict[str, Value]

    def arguments(self) -> tuple[Value, ...]:
        return self.name, self.producer, self.subject, self.retention_class, self.metadata


def _details(
    name: str, producer: str, subject: str, retention_class: str, metadata: Mapping[str, Value] | None
) -> _Details:
    return _Details(
        fields.check_label(name, field="name"),
        fields.check_label(producer, field="producer"),
        fields.check_label(subject, field="subject"),
        fields.check_label(retention_class, field="retention class"),
        fields.check_metadata(metadata or {}),
    )


def _with_skipped(details: _Details, scan: Scan) -> _Details:
    """What was left out is part of what the package says about itself."""
    if not scan.skipped:
        return details
    skipped: list[Value] = [{"path": file.path, "reason": file.reason} for file in scan.skipped]
    return replace(details, metadata=fields.check_metadata({**details.metadata, SKIPPED_KEY: skipped}))


def _manifest_package(
    package_id: str, store_id: uuid.UUID, details: _Details, created_at: int
) -> ManifestPackage:
    return ManifestPackage(
        package_id=package_id,
        store_id=str(store_id),
        name=details.name,
        producer=details.producer,
        subject=details.subject,
        retention_class=details.retention_class,
        created_at=created_at,
        metadata=details.metadata,
        metadata_schema=None,
    )


def _created(
    transaction: Transaction,
    package_id: uuid.UUID,
    details: _Details,
    created_at: int,
    idempotency: Idempotency | None,
) -> Draft:
    return events.package_created(
        package_id.bytes,
        name=details.name,
        producer=details.producer,
        subject=details.subject,
        retention_class=details.retention_class,
        retention_seconds=queries.class_duration(transaction.connection, details.retention_class),
        metadata=details.metadata,
        metadata_schema=None,
        created_at=created_at,
        idempotency=idempotency,
    )


def _write_first_events(connection: Connection, clock: Clock, new_id: IdSource) -> None:
    """The creation of the store and its retention classes, in the transaction that makes the schema."""
    drafts = [events.store_created(uuid.uuid4().bytes)]
    drafts += [events.class_defined(name, duration) for name, duration in DEFAULT_CLASSES.items()]
    commit.Transaction(connection, "artifactstore", clock(), new_id).record(drafts)


def _open_package(connection: Connection, sequence: int) -> Package:
    found = queries.package(connection, sequence)
    if found.status != OPEN:
        raise StateError(
            f"package {found.package_id} is {found.status}; nothing can be added or changed",
            hint="create a new package",
            code="package-finalized",
        )
    return found


def _refuse_collision(connection: Connection, sequence: int, relative_path: str) -> None:
    taken = queries.colliding_path(connection, sequence, relative_path)
    if taken == relative_path:
        raise DuplicateRelativePathError(
            f"the package has a file {printable(relative_path)} already", hint="use a distinct relative path"
        )
    if taken is not None:
        raise DuplicateRelativePathError(
            f"{printable(relative_path)} cannot stand beside {printable(taken)}: one is a folder of the other",
            hint="use a distinct relative path",
        )


def _sealed_digest(package: Package) -> Digest:
    if package.manifest_digest is None:
        raise StateError(f"package {package.package_id} is not finalized")
    return package.manifest_digest


def _digest_of(entries: EntryList) -> bytes:
    listed = hashlib.sha256()
    for entry in entries:
        listed.update(codec.encode_ordered(list(entry)))
    return listed.digest()


def _ingest_result(scan: Scan, entries: EntryList) -> IngestResult:
    return IngestResult(
        file_count=entries.count,
        total_size=entries.total_size,
        new_object_count=entries.new_count,
        new_object_size=entries.new_size,
        skipped=tuple(scan.skipped),
        warnings=scan.warnings,
    )
