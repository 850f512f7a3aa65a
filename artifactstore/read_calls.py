"""The calls of a store that only read."""

from __future__ import annotations

import contextlib
import logging
import os
from functools import partial
from typing import TYPE_CHECKING

from artifactstore import event_log, file_queries, object_queries, package_queries, query_arguments
from artifactstore.calls import StoreCalls
from artifactstore.digest import Digest
from artifactstore.errors import (
    ArtifactStoreError,
    InvalidInputError,
    NotFoundError,
    ObjectNotFoundError,
    StateError,
)
from artifactstore.model import GARBAGE_COLLECTED
from artifactstore.objects.backend import SMALL_FILE
from artifactstore.package_queries import PackageFilter
from artifactstore.paths import check_relative_path, printable
from artifactstore.reader import FallbackReader, checked, named, open_object

if TYPE_CHECKING:
    import io
    from collections.abc import Callable, Iterator, Mapping
    from os import PathLike
    from typing import IO, Literal

    from artifactstore.arrivals import Arrivals
    from artifactstore.events import Event
    from artifactstore.ingest import OnProgress
    from artifactstore.lifecycle.backup import BackupResult
    from artifactstore.manifest import Manifest
    from artifactstore.model import File, FileHit, Package, Page, Verification
    from artifactstore.objects.backend import Backend
    from artifactstore.results import ExportResult, Health

_log = logging.getLogger(__name__)


class ReadCalls(StoreCalls):
    """What can be asked of a store.

    What only one call needs is imported by it: most programs ask for a package or a file.
    """

    def get_package(self, package: str) -> Package:
        """A package with its metadata and state.

        Raises:
            NotFoundError: there is none of this id.
            InvalidInputError: it is no id, or short for several.
        """
        with self._database.read() as connection:
            return package_queries.package(connection, package_queries.package_sequence(connection, package))

    def list_packages(
        self,
        *,
        producer: str | None = None,
        subject: str | None = None,
        retention_class: str | None = None,
        status: str | None = None,
        name: str | None = None,
        created_after: int | None = None,
        created_before: int | None = None,
        metadata: Mapping[str, str] | None = None,
        limit: int = 50,
        size: int | None = None,
        cursor: str | None = None,
    ) -> Page[Package]:
        """Packages that match everything given, newest first.

        Args:
            status: `open`, `finalized` or `garbage_collected`; all but the last if not given.
            created_after, created_before: microseconds since 1970, exclusive.
            metadata: dotted key to the text of a scalar: `{"run.id": "7"}`; an entry of a list counts under
                the list's key. Keys of more than 255 characters cannot be asked for.
            limit: 1 to 1,000.
            size: bytes of metadata with which a page ends, though not before its first package.
            cursor: `next_cursor` of the page before.
        Raises:
            InvalidInputError: a filter, the limit or the cursor is none.
        """
        wanted = PackageFilter(
            producer=producer,
            subject=subject,
            retention_class=retention_class,
            status=status,
            name=name,
            created_after=created_after,
            created_before=created_before,
            metadata=metadata or {},
        )
        with self._database.read() as connection:
            return package_queries.list_packages(connection, wanted, limit=limit, size=size, cursor=cursor)

    def list_files(self, package: str, *, limit: int = 1000, cursor: str | None = None) -> Page[File]:
        """The files of a package, sorted by the bytes of their relative paths.

        Args:
            limit: 1 to 1,000.
            cursor: `next_cursor` of the page before.
        """
        with self._database.read() as connection:
            sequence = package_queries.package_sequence(connection, package)
            return file_queries.list_files(connection, sequence, limit=limit, cursor=cursor)

    def get_file(self, package: str, relative_path: str) -> File:
        """One file of a package: its size, type and digests.

        Raises:
            NotFoundError: the package has no such file.
        """
        check_relative_path(relative_path)
        with self._database.read() as connection:
            sequence = package_queries.package_sequence(connection, package)
            found = file_queries.file_at(connection, sequence, relative_path)
            if found is None:
                raise NotFoundError(
                    f"package {package!r} has no file {printable(relative_path)}",
                    hint=f"see `artifactstore files {package}`",
                )
            return found

    def find_file(self, file_id: str) -> File:
        """One file by its own id, whichever package it is in.

        Raises:
            InvalidInputError: it is no id.
            NotFoundError: no file has it.
        """
        with self._database.read() as connection:
            return file_queries.file_of_id(connection, file_id)

    def open_file(self, package: str, relative_path: str) -> io.BufferedReader:
        """A readable, seekable binary stream over a file; any range is read without the rest.

        Read from start to end, the bytes are checked against their digest.

        Raises:
            NotFoundError: the package has no such file.
            StateError: the package is collected.
            ObjectNotFoundError: the bytes are not in the backend.
            IntegrityError: here, if the stored size is wrong; at the last read, if the digest is.
        """
        file = self.get_file(package, relative_path)
        _refuse_collected(self.get_package(package))
        name = printable(relative_path)
        with self._beside_gc(package), named(name):
            raw = self._open_stored(file.digest.value, file.size)
        return open_object(raw, file.digest.value, file.size, name)

    def read_file(self, package: str, relative_path: str) -> bytes:
        """The whole content of a file, checked against its digest.

        Raises:
            as `open_file`.
        """
        with self.open_file(package, relative_path) as stream:
            return stream.read()

    def get_manifest_bytes(self, package: str, *, format: Literal["cbor", "json"] = "cbor") -> bytes:  # noqa: A002 - the guide's name
        """The manifest of a finalized package: its very bytes, or their JSON projection.

        Raises:
            InvalidInputError: the format is none.
            StateError: the package is not finalized.
            IntegrityError: the stored manifest is damaged.
        """
        if format not in {"cbor", "json"}:
            raise InvalidInputError(f"unknown format {printable(str(format))}", hint="one of cbor, json")
        data = self._manifest_bytes(package)
        if format == "cbor":
            return data
        from artifactstore import manifest

        return manifest.json_bytes(manifest.decode(data))

    def get_manifest(self, package: str) -> Manifest:
        """The decoded manifest of a finalized package.

        Raises:
            as `get_manifest_bytes`.
        """
        from artifactstore import manifest

        return manifest.decode(self._manifest_bytes(package))

    def _manifest_bytes(self, package: str) -> bytes:
        found = self.get_package(package)
        if found.manifest_digest is None or found.manifest_size is None:
            raise StateError(
                f"package {found.package_id} is not finalized, so it has no manifest",
                hint=f"run `artifactstore package finalize {found.package_id}`",
                code="not-finalized",
            )
        blake3, size = found.manifest_digest.value, found.manifest_size
        _refuse_collected(found)
        with self._beside_gc(package), named("the manifest"):
            raw = self._open_stored(blake3, size)
        with open_object(raw, blake3, size, "the manifest") as stream:
            return stream.read()

    @contextlib.contextmanager
    def _beside_gc(self, package: str) -> Iterator[None]:
        """Tell bytes that a gc takes while they are opened from bytes that are lost."""
        try:
            yield
        except ObjectNotFoundError:
            _refuse_collected(self.get_package(package))
            raise

    def _opening(self, package: str) -> Callable[[bytes, int], io.RawIOBase]:
        """What opens the objects of a package, having asked once where all of them are.

        Asked for each object, that is a tenth of the time in which many small ones come from a server.
        """
        default = self._backends.default
        with self._database.read() as connection:
            sequence = package_queries.package_sequence(connection, package)
            elsewhere = object_queries.read_elsewhere(connection, sequence, default.backend_id)
        return lambda blake3, size: (self._open_stored if blake3 in elsewhere else default.open)(blake3, size)

    def _open_stored(self, blake3: bytes, size: int) -> io.RawIOBase:
        """An object from the first backend that gives it, those that a verify found damaged last."""
        if len(self._backends.all()) == 1:
            return self._backends.default.open(blake3, size)
        with self._database.read() as connection:
            names = object_queries.readable_backends(connection, blake3, self._backends.default.backend_id)
        sources = [source for name in names if (source := self._backends.readable(name)) is not None]
        if not sources:
            return self._backends.default.open(blake3, size)
        if len(sources) == 1:
            return sources[0].open(blake3, size)

        def opened(source: Backend) -> io.RawIOBase:
            raw = source.open(blake3, size)
            # A small one is checked here and now, while another backend can still take its place.
            return raw if size >= SMALL_FILE else checked(raw, blake3, size)

        def failed(error: ArtifactStoreError) -> None:
            _log.warning("blake3:%s is read elsewhere: %s", blake3.hex(), error.message)

        return FallbackReader([partial(opened, source) for source in sources], failed)

    def export_package(
        self,
        package: str,
        directory: str | PathLike[str],
        *,
        bare: bool = False,
        on_progress: OnProgress | None = None,
    ) -> ExportResult:
        """Write a finalized package into a new directory, every file checked on the way, durable on return.

        One folder beside the evidence holds the auditor's kit: manifest, sums, and a checker that needs
        nothing but Python.

        Args:
            directory: must not exist or be empty; it gets its content all at once.
            bare: without the auditor's kit.
        Raises:
            StateError: the package is not finalized.
            ConflictError: the directory holds something.
            InvalidInputError: it would lie in the store itself.
            IntegrityError: a stored object is damaged; nothing is left in the directory.
        """
        from artifactstore import export, manifest

        self._own_places.refuse_output(os.fspath(directory))
        data = self._manifest_bytes(package)
        with self._beside_gc(package):
            return export.export_directory(
                manifest.decode(data),
                data,
                export.StoredObjects(self._opening(package), self._backends.default.folder),
                str(directory),
                bare=bare,
                on_progress=on_progress,
            )

    def export_tar(self, package: str, stream: IO[bytes], *, bare: bool = False) -> ExportResult:
        """Write what `export_package` writes as a tar; the same package gives the same bytes.

        Args:
            stream: only written, never sought.
        Raises:
            as `export_package`.
        """
        from artifactstore import export, manifest

        data = self._manifest_bytes(package)
        with self._beside_gc(package):
            return export.export_tar(manifest.decode(data), data, self._opening(package), stream, bare=bare)

    def backup(self, path: str | PathLike[str]) -> BackupResult:
        """Write the whole database into a new file, durable and found whole on return.

        Others read and write meanwhile; the copy is of the moment when the call began. What `fsck` looks at
        in a database and in a log is looked at in the copy before it gets its name. The objects are the
        other half of a backup: copy them after this.

        Args:
            path: must not exist; its folder must.
        Raises:
            InvalidInputError: there is no such folder, or the file would lie in the store itself.
            ConflictError: the path exists.
            AccessError: permission is missing.
            IntegrityError: the database is damaged; nothing was written.
        """
        from artifactstore.lifecycle.backup import backup

        if not os.path.lexists(path):  # what is there is refused for that
            self._own_places.refuse_output(os.fspath(path))
        return backup(self._database, os.fspath(path))

    def export_zip(self, package: str, stream: IO[bytes], *, bare: bool = False) -> ExportResult:
        """Write what `export_package` writes as a zip; the same package gives the same bytes.

        Args:
            stream: only written, never sought.
        Raises:
            as `export_package`.
        """
        from artifactstore import export, manifest

        data = self._manifest_bytes(package)
        with self._beside_gc(package):
            return export.export_zip(manifest.decode(data), data, self._opening(package), stream, bare=bare)

    def verification(self, package: str) -> Verification:
        """How well the bytes of a package are checked."""
        with self._database.read() as connection:
            return object_queries.package_verification(
                connection, package_queries.package_sequence(connection, package)
            )

    def find_object(self, digest: str | Digest) -> list[FileHit]:
        """All packages and paths that hold the bytes with this digest.

        Args:
            digest: `blake3:<hex>`, `sha256:<hex>` or hex alone, whole or a unique prefix; or a value.
        Raises:
            NotFoundError: no file has it.
            InvalidInputError: it is no digest, or short for several.
        """
        with self._database.read() as connection:
            return object_queries.find_object(
                connection, str(digest) if isinstance(digest, Digest) else digest
            )

    def events(self, *, after: int = 0, limit: int = 1000, size: int | None = None) -> list[Event]:
        """The log from a place on, oldest first.

        Args:
            after: the sequence before the first event wanted; 0 for the beginning.
            limit: at most so many.
            size: bytes of payloads that they have at most, though there is always a first one.
        """
        query_arguments.check_limit(limit)
        query_arguments.check_integer(after, name="after")
        with self._database.read() as connection:
            if size is not None:
                limit = event_log.count_within(connection, after=after, limit=limit, size=size)
            return list(event_log.read(connection, after=after, limit=limit))

    def newest_sequence(self) -> int:
        """The sequence of the last event."""
        with self._database.read() as connection:
            return event_log.newest_sequence(connection)

    def arrivals(self) -> Arrivals:
        """What tells when events arrive, also those of other processes. Close it."""
        from artifactstore.arrivals import Arrivals

        return Arrivals(f"{self._database.path}.lock", self.newest_sequence)

    def health(self, *, deep: bool = False) -> Health:
        """Whether database and object stores can be used. Changes nothing.

        Args:
            deep: also write a probe into each remote backend and remove it.
        """
        from artifactstore.health import probe

        return probe(self._database, self._backends.all(), self._clock, deep=deep)


def _refuse_collected(package: Package) -> None:
    if package.status == GARBAGE_COLLECTED:
        raise StateError(
            f"package {package.package_id} is collected: its bytes are gone",
            hint=f"`artifactstore files {package.package_id}` still lists what it held",
            code="collected",
        )
