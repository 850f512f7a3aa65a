"""The calls of a client that only read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from artifactstore import export, manifest, query_arguments
from artifactstore.client import answers
from artifactstore.client.arrivals import Arrivals
from artifactstore.client.connection import Request
from artifactstore.client.download import Ahead, Download
from artifactstore.client.targets import file_target, target
from artifactstore.client.transport import CBOR, JSON
from artifactstore.digest import digest_pair
from artifactstore.errors import IntegrityError, InvalidInputError, NotFoundError
from artifactstore.model import Explanation, File, FileHit, Package, Verification
from artifactstore.moment import format_moment
from artifactstore.paths import check_relative_path, printable
from artifactstore.reader import open_object
from artifactstore.results import Health

if TYPE_CHECKING:
    import io
    from collections.abc import Callable, Iterator, Mapping
    from os import PathLike
    from typing import IO, Literal

    from _typeshed import DataclassInstance

    from artifactstore.client.transport import Transport
    from artifactstore.digest import Digest
    from artifactstore.events import Event
    from artifactstore.ingest import OnProgress
    from artifactstore.manifest import Manifest
    from artifactstore.model import Page
    from artifactstore.results import ExportResult

ValueT = TypeVar("ValueT")
DataclassT = TypeVar("DataclassT", bound="DataclassInstance")

_AT_ONCE = 1000  # items of one page


class ClientReads:
    """What can be asked of a store behind an HTTP API; `Client` adds what changes it.

    The calls have the names, the arguments, the results and the errors of `Store`.
    """

    _transport: Transport
    _tries: int
    _connections: int

    # Packages and files

    def get_package(self, package: str) -> Package:
        """As `Store.get_package`."""
        return self._value(Package, "packages", package)

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
        cursor: str | None = None,
    ) -> Page[Package]:
        """As `Store.list_packages`."""
        query_arguments.check_limit(limit)
        query = (
            ("producer", producer),
            ("subject", subject),
            ("retention_class", retention_class),
            ("status", status),
            ("name", name),
            ("created_after", None if created_after is None else format_moment(created_after)),
            ("created_before", None if created_before is None else format_moment(created_before)),
            *((f"metadata.{key}", value) for key, value in (metadata or {}).items()),
            ("limit", limit),
            ("cursor", cursor),
        )
        document = self._get(target("packages", query=query))
        return self._understood(lambda: answers.page(Package, document))

    def list_files(self, package: str, *, limit: int = 1000, cursor: str | None = None) -> Page[File]:
        """As `Store.list_files`."""
        query_arguments.check_limit(limit)
        place = target("packages", package, "files", query=(("limit", limit), ("cursor", cursor)))
        document = self._get(place)
        return self._understood(lambda: answers.page(File, document))

    def get_file(self, package: str, relative_path: str) -> File:
        """As `Store.get_file`."""
        check_relative_path(relative_path)
        for file in self._files(package):
            if file.relative_path == relative_path:
                return file
        raise NotFoundError(
            f"package {package!r} has no file {printable(relative_path)}",
            hint=f"see `artifactstore files {package}`",
        )

    def open_file(self, package: str, relative_path: str) -> io.BufferedReader:
        """As `Store.open_file`; what breaks off on the way is resumed."""
        check_relative_path(relative_path)
        raw = Download(self._transport, file_target(package, relative_path), tries=self._tries)
        return open_object(raw, raw.digest.value, raw.size, printable(relative_path))

    def read_file(self, package: str, relative_path: str) -> bytes:
        """As `Store.read_file`."""
        with self.open_file(package, relative_path) as stream:
            return stream.read()

    def find_object(self, digest: str | Digest) -> list[FileHit]:
        """As `Store.find_object`."""
        document = self._get(target("objects", str(digest)))
        return list(self._understood(lambda: answers.page(FileHit, document)).items)

    def verification(self, package: str) -> Verification:
        """As `Store.verification`."""
        document = self._get(target("packages", package))
        return self._understood(lambda: answers.value(Verification, answers.member(document, "verification")))

    # Manifests and exports

    def get_manifest_bytes(self, package: str, *, format: Literal["cbor", "json"] = "cbor") -> bytes:  # noqa: A002 - the guide's name
        """As `Store.get_manifest_bytes`; checked against the digest that the package has."""
        if format not in {"cbor", "json"}:
            raise InvalidInputError(f"unknown format {printable(str(format))}", hint="one of cbor, json")
        data = self._manifest_bytes(self.get_package(package))
        return data if format == "cbor" else manifest.json_bytes(manifest.decode(data))

    def get_manifest(self, package: str) -> Manifest:
        """As `Store.get_manifest`."""
        return manifest.decode(self._manifest_bytes(self.get_package(package)))

    def export_package(
        self,
        package: str,
        directory: str | PathLike[str],
        *,
        bare: bool = False,
        on_progress: OnProgress | None = None,
    ) -> ExportResult:
        """As `Store.export_package`; every file is checked against the manifest before it is in its place."""
        found, data = self._sealed(package)
        with self._objects(found) as stored:
            return export.export_directory(
                manifest.decode(data),
                data,
                export.StoredObjects(stored.open, ""),
                str(directory),
                bare=bare,
                on_progress=on_progress,
            )

    def export_tar(self, package: str, stream: IO[bytes], *, bare: bool = False) -> ExportResult:
        """As `Store.export_tar`."""
        found, data = self._sealed(package)
        with self._objects(found) as stored:
            return export.export_tar(manifest.decode(data), data, stored.open, stream, bare=bare)

    def _sealed(self, package: str) -> tuple[Package, bytes]:
        found = self.get_package(package)
        return found, self._manifest_bytes(found)

    def _manifest_bytes(self, found: Package) -> bytes:
        place = target("packages", found.package_id, "manifest")
        _, data = self._transport.read(Request("GET", place, {"Accept": CBOR}), manifest.MAX_SIZE)
        expected = found.manifest_digest
        if expected is None or digest_pair(data).blake3 != expected.value:
            raise IntegrityError(
                f"the server at {self._transport.address} gives a manifest that is not {expected}",
                hint="the stored object is damaged, or the server is not what it says",
            )
        return data

    def _objects(self, package: Package) -> Ahead:
        """Opens the objects of a package in the order of its files."""
        by_digest = {file.digest.value: file for file in self._files(package.package_id)}

        def open_stored(blake3: bytes, size: int) -> io.RawIOBase:
            file = by_digest.get(blake3)
            if file is None or file.size != size:
                raise IntegrityError(
                    f"the server at {self._transport.address} lists other files than the manifest does"
                )
            return self._content(file)

        wanted = ((file.digest.value, file.size) for file in by_digest.values())
        return Ahead(open_stored, wanted, self._connections, self._transport.abort)

    def _files(self, package: str) -> Iterator[File]:
        cursor: str | None = None
        while True:
            page = self.list_files(package, limit=_AT_ONCE, cursor=cursor)
            yield from page.items
            if page.next_cursor is None:
                return
            if page.next_cursor == cursor:
                raise self._transport.foreign("the list has no end")
            cursor = page.next_cursor

    def _content(self, file: File) -> io.RawIOBase:
        place = target("files", file.file_id, "content")
        return Download(self._transport, place, (file.digest, file.size), tries=self._tries)

    # The log and the life of a package

    def events(self, *, after: int = 0, limit: int = 1000) -> list[Event]:
        """As `Store.events`; each event is compared with its leaf hash."""
        query_arguments.check_limit(limit)
        query_arguments.check_integer(after, name="after")
        place = target("events", query=(("after", after), ("limit", limit)))
        _, data = self._transport.read(Request("GET", place, {"Accept": CBOR}), manifest.MAX_SIZE)
        return self._understood(lambda: answers.events(data, after))

    def arrivals(self) -> Arrivals:
        """As `Store.arrivals`, by long polls."""
        return Arrivals(self._transport)

    def retention_history(self, package: str) -> list[Event]:
        """As `Store.retention_history`; a payload keeps its JSON form."""
        document = self._get(target("packages", package, "retention", "history"))
        return list(self._understood(lambda: answers.page_of(answers.event, document)).items)

    def explain_retention(self, package: str) -> Explanation:
        """As `Store.explain_retention`."""
        return self._value(Explanation, "packages", package, "retention", "explain")

    def health(self) -> Health:
        """As `Store.health`, of the store behind the API."""
        request = Request("GET", target("health"), expects=frozenset({503}))
        document = self._transport.document(request)
        return self._understood(lambda: answers.value(Health, document))

    # How answers are read

    def _get(self, place: str) -> Any:
        return self._transport.document(Request("GET", place, {"Accept": JSON}))

    def _value(self, kind: type[DataclassT], *segments: str) -> DataclassT:
        document = self._get(target(*segments))
        return self._understood(lambda: answers.value(kind, document))

    def _understood(self, read: Callable[[], ValueT]) -> ValueT:
        """What an answer says, or that it says nothing we know."""
        try:
            return read()
        except answers.MalformedError as error:
            raise self._transport.foreign(str(error)) from None
