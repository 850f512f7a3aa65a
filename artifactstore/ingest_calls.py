"""The calls of a store that put files into packages."""

from __future__ import annotations

import os
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING

from artifactstore import (
    event_log,
    events,
    fields,
    file_queries,
    object_queries,
    package_queries,
    packages,
    presence,
)
from artifactstore.calls import StoreCalls
from artifactstore.errors import BackendError, InvalidInputError, SourceChangedError
from artifactstore.idempotency import first_use, request
from artifactstore.lifecycle import object_locks, retention
from artifactstore.os_errors import release
from artifactstore.paths import check_new_path, printable

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from artifactstore.commit import Transaction
    from artifactstore.connection import Connection
    from artifactstore.digest import Digest
    from artifactstore.events import Idempotency
    from artifactstore.ingest import Entry, EntryList, OnProgress
    from artifactstore.known_files import KnownFile
    from artifactstore.model import File, Package, RetentionState
    from artifactstore.objects.backend import Backend, Batch
    from artifactstore.results import IngestResult
    from artifactstore.scan import Scan, Selection
    from artifactstore.seen_files import SeenFiles
    from artifactstore.sources import Source


class IngestCalls(StoreCalls):
    """Files into an open package: one, a whole directory, or such as the store has already.

    Bytes first: they are durable before the transaction that names them begins. What reads files is imported
    by the calls: most commands only ask a store.
    """

    def ingest_file(
        self,
        package: str,
        relative_path: str,
        source: Source,
        *,
        actor: str,
        media_type: str | None = None,
        executable: bool | None = None,
        expected_size: int | None = None,
        expected_digests: Iterable[Digest] = (),
        idempotency_key: str | None = None,
    ) -> File:
        """Put one file into an open package.

        Args:
            package: id, or a unique prefix of it.
            relative_path: its name in the package.
            source: bytes, a path, a binary file object or an iterator of chunks.
            media_type: guessed from the name if not given.
            executable: taken from a source path if not given, else false.
            expected_size, expected_digests: refuse other bytes than these.
            idempotency_key: the same key with the same bytes and arguments returns the first result.
        Raises:
            InvalidInputError: the path, the media type or the source breaks a rule.
            SourceChangedError: the source file changed while it was read.
            DuplicateRelativePathError: the package has such a file, or a folder of that name.
            StateError: the package is finalized.
        """
        from artifactstore.media_types import check_media_type, guess_media_type
        from artifactstore.sources import stage

        fields.check_label(actor, field="actor")
        check_new_path(relative_path)
        if executable is not None:
            fields.check_flag(executable, field="executable")
        chosen = guess_media_type(relative_path) if media_type is None else check_media_type(media_type)
        self._refuse_own_file(source)
        with self._database.read() as connection:
            sequence = package_queries.package_sequence(connection, package)
            if idempotency_key is None:
                _admit(connection, sequence, [relative_path], None)
            found = package_queries.package(connection, sequence)
            since = event_log.newest_sequence(connection)
        backend = self._backends.routed(found.producer, found.retention_class)
        with self._batch(backend, keep=True) as batch:
            staged, marked = stage(batch, source)
            packages.refuse_unexpected(staged, expected_size, expected_digests)
            executable = marked if executable is None else executable
            entry = (
                relative_path, chosen, staged.size, staged.digests.blake3, staged.digests.sha256, executable
            )  # fmt: skip
            idempotency = request(idempotency_key, "ingest_file", sequence, *entry)
            # Asked twice: here, before anything is published, and again under the write lock.
            with self._database.read() as connection:
                first = _admit(connection, sequence, [relative_path], idempotency)
                if first is not None:
                    return file_queries.file_of_event(connection, first)
            batch.publish()
            with self._transaction(actor, shares=True) as transaction:
                first = _admit(transaction.connection, sequence, [relative_path], idempotency)
                if first is None:
                    wanted = [(staged.digests.blake3, staged.size)]
                    missing = presence.gone(transaction.connection, backend, batch, since, wanted)
                    if missing and not batch.restore(missing):
                        raise BackendError(f"the bytes of {relative_path!r} are gone again", retryable=True)
                    self._record_files(transaction, backend, sequence, [entry], 1, idempotency, batch.sent)
                    first = file_queries.file_sequence(transaction.connection, sequence, relative_path)
                return file_queries.file_of_event(transaction.connection, first)

    def ingest_directory(
        self,
        package: str,
        directory: str | os.PathLike[str],
        *,
        actor: str,
        selection: Selection | None = None,
        cache: bool = True,
        idempotency_key: str | None = None,
        on_progress: OnProgress | None = None,
    ) -> IngestResult:
        """Put all files of a directory into an open package, in one transaction.

        Args:
            selection: which files are evidence and what to do about links; all files, no links by default.
            cache: do not read again what looks as it did when it was last read.
            on_progress: called now and then on this thread.
        Raises:
            as `ingest_file`; also InvalidInputError if the directory has no file to take.
        """
        fields.check_label(actor, field="actor")
        with self._database.read() as connection:
            sequence = package_queries.package_sequence(connection, package)
            if idempotency_key is None:
                packages.require_open(connection, sequence)
            found = package_queries.package(connection, sequence)
            since = event_log.newest_sequence(connection)
        backend = self._backends.routed(found.producer, found.retention_class)
        with (
            self._seen_files(directory, cache) as seen,
            self._batch(backend) as batch,
        ):
            scan, entries = self._stage_directory(batch, directory, selection, seen, on_progress)
            result = entries.result(scan)
            repeated = replace(result, new_object_count=0, new_object_size=0)
            idempotency = request(idempotency_key, "ingest_directory", sequence, entries.digest())
            # Asked twice, as in `ingest_file`.
            with self._database.read() as connection:
                first = _admit(connection, sequence, (entry[0] for entry in entries), idempotency)
            if first is not None:
                self._give_back(actor, backend, batch, entries, found)
                return repeated
            batch.publish()
        with self._transaction(actor) as transaction:
            if (
                _admit(transaction.connection, sequence, (entry[0] for entry in entries), idempotency)
                is not None
            ):
                return repeated
            sent = set(batch.sent)
            wanted = ((entry[3], entry[2]) for entry in entries)
            if presence.gone(transaction.connection, backend, batch, since, wanted):
                sent.update(self._ingest_again(backend, entries, directory, selection))
            self._record_files(transaction, backend, sequence, entries, entries.count, idempotency, sent)
        return result

    def check_new_file(self, package: str, relative_path: str) -> Package:
        """Refuse a file that the package could not take now, before any of its bytes are sent.

        Raises:
            as `ingest_file`.
        """
        check_new_path(relative_path)
        with self._database.read() as connection:
            sequence = package_queries.package_sequence(connection, package)
            _admit(connection, sequence, [relative_path], None)
            return package_queries.package(connection, sequence)

    def known_objects(self, digests: Iterable[Digest]) -> list[Digest]:
        """Which of these bytes a package still holds, so that `ingest_known` can name them.

        Only for those who may read: an answer tells what the store has.
        """
        with self._database.read() as connection:
            return [
                digest
                for digest in digests
                if object_queries.known_object(connection, digest, self._backends.default.backend_id)
                is not None
            ]

    def ingest_known(
        self,
        package: str,
        files: Iterable[KnownFile],
        *,
        actor: str,
        idempotency_key: str | None = None,
    ) -> list[File]:
        """Put files into an open package whose bytes the store has already, in one transaction.

        Only for those who may read: others could claim bytes that they never had.

        Returns:
            The files, in the order in which they were given.
        Raises:
            InvalidInputError: a path or a media type breaks a rule, two paths collide, or there is no file.
            NotFoundError: no package holds the bytes; the code is `object-unknown`. Send them.
            DuplicateRelativePathError: the package has such a file, or a folder of that name.
            StateError: the package is finalized.
        """
        from artifactstore.known_files import check_known_files, known_entries

        fields.check_label(actor, field="actor")
        wanted = check_known_files(files)
        with self._database.read() as connection:
            named = package_queries.package(connection, package_queries.package_sequence(connection, package))
        backend = self._backends.routed(named.producer, named.retention_class)
        with self._transaction(actor) as transaction:
            connection = transaction.connection
            sequence = package_queries.package_sequence(connection, package)
            # A key covers the request, not what the store knows of the bytes.
            listed = [[file.relative_path, str(file.digest), *file.described()] for file in wanted]
            idempotency = request(idempotency_key, "ingest_known", sequence, listed)
            if _admit(connection, sequence, (file.relative_path for file in wanted), idempotency) is None:
                entries = known_entries(connection, backend, wanted)
                self._record_files(transaction, backend, sequence, entries, len(entries), idempotency)
            found = (file_queries.file_at(connection, sequence, file.relative_path) for file in wanted)
            return [file for file in found if file is not None]

    # What the calls above, and a push, are made of

    def _batch(self, backend: Backend, *, keep: bool = False) -> Batch:
        """Begin to add objects to a backend, told what the log knows of those that are there."""

        def named(blake3: bytes) -> bool:
            with self._database.read() as connection:
                return object_queries.was_named(connection, blake3, backend.backend_id)

        return backend.batch(keep=keep, damaged=self._damaged(backend), named=named)

    def _damaged(self, backend: Backend) -> frozenset[bytes]:
        """Objects of a backend that a verify found damaged: a new ingest mends them."""
        with self._database.read() as connection:
            return frozenset(object_queries.failed_objects(connection, backend.backend_id))

    def _stage_directory(
        self,
        batch: Batch,
        directory: str | os.PathLike[str],
        selection: Selection | None,
        seen: SeenFiles | None,
        on_progress: OnProgress | None,
    ) -> tuple[Scan, EntryList]:
        from artifactstore.ingest import open_directory, stage_directory
        from artifactstore.scan import Scan, Selection

        path = os.fspath(directory)
        descriptor = open_directory(path)
        try:
            places = self._own_places
            if places.holds(path):
                message = f"the directory {printable(path)} belongs to the store itself"
                raise InvalidInputError(message, hint="push another one", code="store-inside")
            scan = Scan(descriptor, os.path.realpath(path), selection or Selection(), places.inodes())
            entries = stage_directory(batch, scan, seen, on_progress=on_progress)
        finally:
            release(descriptor)
        if not entries.count:
            message = f"the directory {printable(path)} has no files to take"
            raise InvalidInputError(message, hint="an empty package is no evidence", code="empty-package")
        return scan, entries

    def _seen_files(self, directory: str | os.PathLike[str], cache: bool) -> SeenFiles:
        from artifactstore.seen_files import SeenFiles

        place = f"{self._database.path}.seen"
        try:
            path = os.path.realpath(directory)
        except ValueError:
            path = ""  # no path at all: to open it gives the precise error
        return SeenFiles(place, path, believe=cache)

    def _refuse_own_file(self, source: Source) -> None:
        """Refuse a file of the store: to read one of the database as evidence would break its locks."""
        # The part of an upload becomes a file of a package from where it lies.
        if isinstance(source, str | os.PathLike) and self._own_places.holds(source, sessions=False):
            message = f"{printable(os.fspath(source))} belongs to the store itself"
            raise InvalidInputError(message, code="store-inside")

    def _ingest_again(
        self,
        backend: Backend,
        entries: EntryList,
        directory: str | os.PathLike[str],
        selection: Selection | None,
    ) -> Collection[bytes]:
        """Read the directory once more, under the write lock: an object about to be named is gone.

        A gc may have removed one that was there when the directory was read. Nobody can remove it now; and
        that happens so rarely that writers may wait for it.

        Returns:
            As `Batch.sent`.
        """
        with backend.batch() as batch:
            _, again = self._stage_directory(batch, directory, selection, None, None)
            if again.digest() != entries.digest():
                raise SourceChangedError(f"{printable(os.fspath(directory))} changed while it was read")
            batch.publish()
            return batch.sent

    def _record_files(
        self,
        transaction: Transaction,
        backend: Backend,
        sequence: int,
        entries: Iterable[Entry],
        count: int,
        idempotency: Idempotency | None,
        sent: Collection[bytes] = (),
    ) -> None:
        """Record the files of a package.

        Args:
            sent: those of their objects that were written for it.
        """
        state = self._record_work(transaction, sequence)
        transaction.record(
            packages.ingested(state.package_id, entries, count, backend.backend_id, idempotency)
        )
        self._record_mended(transaction, backend, entries)
        # What was written is not locked yet, and others may have needed it all the time.
        objects = (entry[3] for entry in entries) if state.hold_count else sent
        object_locks.follow(transaction.connection, backend, objects)

    def _record_mended(self, transaction: Transaction, backend: Backend, entries: Iterable[Entry]) -> None:
        """Say of what was found damaged, and is written anew, that it is whole."""
        if object_queries.failed_objects(transaction.connection, backend.backend_id):
            from artifactstore.lifecycle.repair import record_mended

            written = ((entry[3], entry[4], entry[2]) for entry in entries)
            record_mended(transaction, backend, written, "a new ingest")

    def _give_back(
        self, actor: str, backend: Backend, batch: Batch, entries: EntryList, package: Package
    ) -> None:
        """Store again what a package has lost: a call that answers with it has its bytes at hand.

        Args:
            batch: holds what was not there, or was damaged, when the entries were read.
        """
        if entries.new_count:
            with self._database.read() as connection:
                sequence = package_queries.package_sequence(connection, package.package_id)
                named = frozenset(object_locks.objects_of(connection, sequence, backend.backend_id))
            batch.forget_others(named)
            batch.publish()
            with self._transaction(actor) as transaction:
                self._record_mended(transaction, backend, (entry for entry in entries if entry[3] in named))
                object_locks.follow(transaction.connection, backend, batch.sent)

    def _record_work(self, transaction: Transaction, sequence: int) -> RetentionState:
        """Somebody works on an open package: it is not abandoned."""
        state = retention.state_of(transaction.connection, sequence)
        if state.eligible_at is not None:
            key = uuid.UUID(state.package_id).bytes
            transaction.record([events.eligibility_withdrawn(key, reason="in use again")])
        return state


def _admit(
    connection: Connection, sequence: int, paths: Iterable[str], idempotency: Idempotency | None
) -> int | None:
    """The event of an earlier use of the key; None if it is new and the paths can go into the package."""
    first = first_use(connection, idempotency)
    if first is None and packages.require_open(connection, sequence).file_count:
        for path in paths:
            packages.refuse_collision(connection, sequence, path)
    return first
