"""The calls of a store that make packages: create, finalize, and both around a whole directory."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING

from artifactstore import event_log, fields, file_queries, package_queries, packages, presence
from artifactstore.digest import Digest
from artifactstore.errors import ConflictError, StateError
from artifactstore.idempotency import KnownContent, first_use, is_repeated, request
from artifactstore.ingest_calls import IngestCalls
from artifactstore.lifecycle import object_locks, retention
from artifactstore.metadata import admission

if TYPE_CHECKING:
    import os
    import uuid
    from collections.abc import Iterable, Mapping

    from artifactstore.codec import Value
    from artifactstore.commit import Transaction
    from artifactstore.connection import Connection
    from artifactstore.events import Idempotency
    from artifactstore.ingest import EntryList, OnProgress
    from artifactstore.linkage.message import LinkageRequest
    from artifactstore.manifest import ManifestPackage
    from artifactstore.model import MetadataSchema, Package
    from artifactstore.objects.backend import Backend, Batch, Staged
    from artifactstore.results import PushResult
    from artifactstore.scan import Selection

_SEAL_ATTEMPTS = 5  # times a finalize starts over because files came in meanwhile


class PackageCalls(IngestCalls):
    """Packages: opened and sealed, or made in one go from a directory.

    What writes manifests and messages is imported by the calls: most commands only ask a store.
    """

    def create_package(
        self,
        *,
        name: str,
        producer: str,
        subject: str,
        retention_class: str,
        actor: str,
        metadata: Mapping[str, Value] | None = None,
        metadata_schema: str | None = None,
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
            metadata_schema: slug of a registered schema that the metadata keeps to.
            idempotency_key: the same key with the same arguments returns the first package.
        Returns:
            The id of the package.
        Raises:
            InvalidInputError: an argument breaks a rule, the metadata its schema, or the class is unknown.
            NotFoundError: the schema is not registered.
            ConflictError: the key was used with other arguments.
        """
        details = packages.check_details(name, producer, subject, retention_class, metadata, metadata_schema)
        idempotency = request(idempotency_key, "create_package", *details.arguments())
        with self._database.read() as connection:
            first = first_use(connection, idempotency)
            if first is not None:
                return package_queries.package(connection, first).package_id
            schema = admission.require_metadata(connection, metadata_schema, details.metadata)
        with self._transaction(actor, shares=True) as transaction:
            first = first_use(transaction.connection, idempotency)
            if first is not None:
                return package_queries.package(transaction.connection, first).package_id
            admission.require_metadata(
                transaction.connection, metadata_schema, details.metadata, checked=schema
            )
            package_id = self._new_id()
            self._record_created(transaction, details, package_id, self._clock(), idempotency)
        return str(package_id)

    def finalize_package(self, package: str, *, actor: str, idempotency_key: str | None = None) -> Digest:
        """Seal a package: its manifest is stored and its clock of retention starts.

        Returns:
            The digest of the manifest, which names the package's content.
        Raises:
            StateError: the package is finalized already, or empty, or lacks files that its schema demands.
            InvalidInputError: the metadata breaks the schema that the package names.
            ConflictError: files keep coming in, or the key was used with other arguments.
        """
        from artifactstore.manifest import ManifestEncoder
        from artifactstore.sources import stage

        fields.check_label(actor, field="actor")
        with self._database.read() as connection:
            sequence = package_queries.package_sequence(connection, package)
            named = package_queries.package(connection, sequence)
        idempotency = request(idempotency_key, "finalize_package", sequence)
        backend = self._backends.routed(named.producer, named.retention_class)
        for _ in range(_SEAL_ATTEMPTS):
            with self._database.read() as connection, backend.batch() as batch:
                if first_use(connection, idempotency) is not None:
                    return _sealed_digest(package_queries.package(connection, sequence))
                since = event_log.newest_sequence(connection)
                found = packages.require_open(connection, sequence)
                if not found.file_count:
                    raise StateError(
                        f"package {found.package_id} has no files", hint="add one first", code="empty-package"
                    )
                schema = admission.require_metadata(
                    connection, found.metadata_schema, found.metadata, before=sequence
                )
                files = file_queries.manifest_files(connection, sequence)
                admission.require_files(schema, ((file.relative_path, file.media_type) for file in files))
                described = packages.described(
                    packages.details_of(found),
                    package_id=found.package_id,
                    store_id=self.store_id,
                    created_at=found.created_at,
                )
                encoder = ManifestEncoder(described, found.file_count)
                staged, _ = stage(batch, encoder.chunks(file_queries.manifest_files(connection, sequence)))
                batch.publish()
                locked_until, unlocked = self._lock_early(
                    backend, [staged.digests.blake3], found.retention_seconds
                )
                for place in self._backends.locking():
                    objects = object_locks.objects_of(connection, sequence, place.backend_id)
                    object_locks.retain(place, objects, locked_until)
            with self._transaction(actor, shares=True) as transaction:
                if first_use(transaction.connection, idempotency) is not None:
                    return _sealed_digest(package_queries.package(transaction.connection, sequence))
                now = packages.require_open(transaction.connection, sequence)
                wanted = [(staged.digests.blake3, staged.size)]
                gone = presence.gone(transaction.connection, backend, batch, since, wanted)
                if now.file_count == found.file_count and not gone:
                    object_locks.retain(backend, unlocked, locked_until)
                    self._record_finalized(
                        transaction, backend, sequence, found, staged, encoder.content_digest, idempotency
                    )
                    self._lock_late(transaction.connection, sequence, locked_until)
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
        metadata_schema: str | None = None,
        selection: Selection | None = None,
        cache: bool = True,
        if_changed: bool = False,
        idempotency_key: str | None = None,
        expected: Mapping[str, Digest] | None = None,
        linkage: LinkageRequest | None = None,
        on_progress: OnProgress | None = None,
    ) -> PushResult:
        """Create a package, ingest a directory into it and finalize it, in one transaction.

        Args:
            if_changed: if this producer and subject have a finalized package of this class with exactly these
                files, whose time is not over, return the newest one; what it has lost is stored again.
            selection, cache, on_progress: as in `ingest_directory`.
            expected: blake3 of files that the caller has read before, by path: what he says of them in the
                metadata is about these very bytes.
            linkage: whom to tell of a new package; the message waits in the outbox, see `list_linkages`.
            others: as in `create_package`.
        Returns:
            The finalized package, and what was stored.
        Raises:
            InvalidInputError: an argument or a file breaks a rule, the metadata its schema, or there is no
                file.
            NotFoundError: the schema is not registered.
            StateError: the directory lacks files that the schema demands.
            SourceChangedError: a file changed while it was read.
            ConflictError: the key was used with other arguments.
            StateError: the package of the key is collected, so nothing would be stored.
        """
        from artifactstore.results import PushResult

        details = packages.check_details(name, producer, subject, retention_class, metadata, metadata_schema)
        fields.check_label(actor, field="actor")
        said = details.metadata
        schema, duration, since = self._admitted(details, idempotency_key)
        backend = self._backends.routed(producer, retention_class)
        with (
            self._seen_files(directory, cache) as seen,
            self._batch(backend) as batch,
        ):
            scan, entries = self._stage_directory(batch, directory, selection, seen, on_progress)
            admission.require_files(schema, ((entry[0], entry[1]) for entry in entries))
            packages.refuse_other_bytes(expected or {}, entries)
            details = packages.with_skipped(details, scan)
            package_id, created_at = self._new_id(), self._clock()
            described = packages.described(
                details, package_id=str(package_id), store_id=self.store_id, created_at=created_at
            )
            staged, content_digest = _stage_manifest(batch, described, entries)
            idempotency = request(idempotency_key, "push", *details.arguments(), content_digest)
            known = KnownContent(
                idempotency, if_changed, producer, subject, retention_class, content_digest, created_at
            )
            # Asked twice: here, before anything is published, and again under the write lock.
            with self._database.read() as connection:
                earlier = known.package(connection)
            if earlier is not None:
                self._give_back(actor, backend, batch, entries, earlier)
            else:
                batch.publish()
                objects = (entry[3] for entry in entries)
                locked_until, unlocked = self._lock_early(
                    backend, [*objects, staged.digests.blake3], duration
                )
        result = entries.result(scan)
        if earlier is None:
            with self._transaction(actor) as transaction:
                earlier = known.package(transaction.connection)
                if earlier is None:
                    now = admission.require_metadata(
                        transaction.connection, metadata_schema, said, checked=schema
                    )
                    if now != schema:
                        admission.require_files(now, ((entry[0], entry[1]) for entry in entries))
                    manifest, sent = staged.digests.blake3, set(batch.sent)
                    wanted = chain(((entry[3], entry[2]) for entry in entries), [(manifest, staged.size)])
                    gone = set(presence.gone(transaction.connection, backend, batch, since, wanted))
                    if gone - {manifest}:
                        sent.update(self._ingest_again(backend, entries, directory, selection))
                    if manifest in gone:
                        _store_manifest(backend, described, entries)
                    object_locks.retain(backend, unlocked | gone, locked_until)
                    sequence = self._record_created(transaction, details, package_id, created_at, None)
                    self._record_files(transaction, backend, sequence, entries, entries.count, None, sent)
                    package = package_queries.package(transaction.connection, sequence)
                    self._record_finalized(
                        transaction, backend, sequence, package, staged, content_digest, idempotency
                    )
                    self._lock_late(transaction.connection, sequence, locked_until)
                    package = package_queries.package(transaction.connection, sequence)
                    if linkage is not None:
                        from artifactstore.linkage.message import requested

                        transaction.record([requested(package, linkage, self._new_id())])
                    return PushResult(package, result)
        return PushResult(earlier, replace(result, new_object_count=0, new_object_size=0), unchanged=True)

    # What the calls above are made of

    def _admitted(
        self, details: packages.Details, key: str | None
    ) -> tuple[MetadataSchema | None, int | None, int]:
        """What the rules of today say of a package: its schema, its seconds; and where the log ends now.

        A repeated key asks for what it made before, whatever the rules are by now.
        """
        with self._database.read() as connection:
            since = event_log.newest_sequence(connection)
            if is_repeated(connection, key):
                return None, None, since
            schema = admission.require_metadata(connection, details.metadata_schema, details.metadata)
            classes = package_queries.retention_classes(connection)
            return schema, self._policy.duration(details.retention_class, classes), since

    def _record_created(
        self,
        transaction: Transaction,
        details: packages.Details,
        package_id: uuid.UUID,
        created_at: int,
        idempotency: Idempotency | None,
    ) -> int:
        known = package_queries.retention_classes(transaction.connection)
        created = packages.created(
            details,
            package_id=package_id,
            created_at=created_at,
            retention_seconds=self._policy.duration(details.retention_class, known),
            idempotency=idempotency,
        )
        return transaction.record([created]).sequence

    def _record_finalized(
        self,
        transaction: Transaction,
        backend: Backend,
        sequence: int,
        package: Package,
        manifest: Staged,
        content_digest: bytes,
        idempotency: Idempotency | None,
    ) -> None:
        self._record_work(transaction, sequence)
        transaction.record(
            [
                packages.finalized(
                    transaction, package, manifest, content_digest, backend.backend_id, idempotency
                )
            ]
        )

    def _lock_early(
        self, backend: Backend, objects: Iterable[bytes], seconds: int | None
    ) -> tuple[int, set[bytes]]:
        """Lock the objects of a package that is about to be finalized.

        Before the commit, and without the write lock: a lock that turns out to be needed by nobody only makes
        gc wait.

        Returns:
            Until when, in microseconds; and those that a gc has removed meanwhile.
        """
        with self._database.read() as connection:
            until = object_locks.end(max(self._clock(), event_log.newest_moment(connection)), seconds)
        return until, object_locks.retain_present(backend, objects, until)

    def _lock_late(self, connection: Connection, sequence: int, locked_until: int) -> None:
        """What `_lock_early` could not know: a commit that had to wait, and holds."""
        state = retention.state_of(connection, sequence)
        late = state.expires_at is not None and state.expires_at > locked_until
        if late or state.hold_count:
            object_locks.follow_package(
                connection,
                self._backends.locking(),
                sequence,
                retention=late,
                holds=bool(state.hold_count),
            )


def _store_manifest(backend: Backend, described: ManifestPackage, entries: EntryList) -> None:
    """Store the manifest that a gc has removed once more, durable on return."""
    with backend.batch() as batch:
        _stage_manifest(batch, described, entries)
        batch.publish()


def _stage_manifest(batch: Batch, described: ManifestPackage, entries: EntryList) -> tuple[Staged, bytes]:
    """The manifest of a push, and the sha256 over its files."""
    from artifactstore.manifest import ManifestEncoder, ManifestFile
    from artifactstore.sources import stage

    encoder = ManifestEncoder(described, entries.count)
    staged, _ = stage(batch, encoder.chunks(ManifestFile(*entry) for entry in entries))
    return staged, encoder.content_digest


def _sealed_digest(package: Package) -> Digest:
    if package.manifest_digest is None:
        raise StateError(f"package {package.package_id} is not finalized")
    return package.manifest_digest
