"""`artifact://<package>/<path>`: stored evidence as a read-only file system of fsspec.

pandas, pyarrow, DuckDB and all that read through fsspec find it by its entry point and read evidence in
place. A package is named by its id or a unique prefix of it.
"""

from __future__ import annotations

import errno
import io
import os
import weakref
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from fsspec.spec import AbstractFileSystem

from artifactstore.app import open_anywhere
from artifactstore.errors import AccessError, InvalidInputError, NotFoundError
from artifactstore.model import FINALIZED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import NoReturn, TypeVar

    from artifactstore.any_store import AnyStore
    from artifactstore.model import File, Package

    FoundT = TypeVar("FoundT")

Entry = dict[str, Any]  # what fsspec says of a file or folder: name, size, type and more
_PAGE = 1000


class ArtifactFile(io.BufferedReader):
    """A stored file, open for reading; see `artifactstore.reader.ObjectReader` for what is checked.

    Args:
        stream: as `Store.open_file` gives it; consumed.
        size: in bytes.
    """

    def __init__(self, stream: io.BufferedReader, size: int) -> None:
        super().__init__(stream.detach())
        self.size = size


class ArtifactFileSystem(AbstractFileSystem):  # type: ignore[misc]  # as above
    """The packages of a store as folders.

    Ranges are read without the rest; a file that is read from start to end is checked against its digest.
    The store is opened at the first look, never made, and closed with the last user of this object.

    Args:
        root: directory of the store, as for `artifactstore.open`; the environment names it by default.
        storage_options: what fsspec gives to every file system.
    Raises:
        StoreNotFoundError: from every method, if there is no store.
    """

    protocol = "artifact"
    root_marker = ""
    cachable = False  # a cached one would outlive the settings that named its store

    def __init__(self, root: str | os.PathLike[str] | None = None, **storage_options: Any) -> None:
        super().__init__(root=root, **storage_options)
        self._root = root
        self._opened: AnyStore | None = None
        self._known: tuple[str, dict[str, list[Entry]]] | None = None

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        stripped = super()._strip_protocol(path)
        return stripped.lstrip("/") if isinstance(stripped, str) else stripped

    def ls(self, path: str, detail: bool = True, **_options: Any) -> list[Any]:
        """The packages of the store that still have their bytes, or what lies in a package or a folder.

        Raises:
            FileNotFoundError: there is no such thing.
        """
        path = self._strip_protocol(path)
        package, _, inner = path.partition("/")
        if not package:
            entries = [_package_entry(found, found.package_id) for found in self._packages()]
        else:
            folders = self._folders(package)
            entries = folders[inner] if inner in folders else [self._file_entry(package, inner)]
            entries = [{**entry, "name": f"{package}/{entry['name']}"} for entry in entries]
        return entries if detail else [entry["name"] for entry in entries]

    def info(self, path: str, **_options: Any) -> Entry:
        """Name, type and size of one thing; of a file also media type and digests, of a package its state.

        Raises:
            FileNotFoundError: there is no such thing.
        """
        path = self._strip_protocol(path)
        package, _, inner = path.partition("/")
        if not package:
            return {"name": "", "size": 0, "type": "directory"}
        if not inner:
            return _package_entry(self._get_package(package), path)
        try:
            entry = self._file_entry(package, inner)
        except FileNotFoundError:
            if inner not in self._folders(package):
                raise
            return {"name": path, "size": 0, "type": "directory"}
        return {**entry, "name": path}

    def created(self, path: str) -> datetime:
        """When the package of a path was created."""
        moment = self._get_package(self._strip_protocol(path).partition("/")[0]).created_at
        return datetime.fromtimestamp(moment / 1_000_000, tz=UTC)

    modified = created

    def ukey(self, path: str) -> str:
        """The digest of a file: the same bytes have the same key, others never.

        Raises:
            FileNotFoundError: it is no file.
        """
        package, _, inner = self._strip_protocol(path).partition("/")
        return str(self._file_entry(package, inner)["digest"])

    checksum = ukey

    def _open(self, path: str, mode: str = "rb", **_options: Any) -> ArtifactFile:
        if mode != "rb":
            self._refuse()
        entry = self.info(path)
        if entry["type"] == "directory":
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        package, _, inner = path.partition("/")
        return ArtifactFile(self._store().open_file(package, inner), entry["size"])

    def _refuse(self, *_arguments: Any, **_options: Any) -> NoReturn:
        raise AccessError(
            "artifact:// is read-only", hint="store evidence with `artifactstore push`", code="read-only"
        )

    # Every other changing method of fsspec ends in one of these.
    mkdir = makedirs = rmdir = _rm = rm_file = cp_file = pipe_file = put_file = touch = mv = _refuse

    def _store(self) -> AnyStore:
        if self._opened is None:
            store = open_anywhere(self._root, create=False)
            weakref.finalize(self, store.close)
            self._opened = store
        return self._opened

    def _packages(self) -> Iterator[Package]:
        cursor = None
        while True:
            page = self._store().list_packages(limit=_PAGE, cursor=cursor)
            yield from page.items
            cursor = page.next_cursor
            if cursor is None:
                return

    def _get_package(self, package: str) -> Package:
        return _found(package, lambda: self._store().get_package(package))

    def _file_entry(self, package: str, inner: str) -> Entry:
        return _entry_of(_found(f"{package}/{inner}", lambda: self._store().get_file(package, inner)))

    def _folders(self, package: str) -> dict[str, list[Entry]]:
        """What lies in each folder of a package, names relative to the package.

        The last finalized one is remembered: it cannot change.
        """
        found = self._get_package(package)
        if self._known is not None and self._known[0] == found.package_id:
            return self._known[1]
        folders: dict[str, list[Entry]] = {"": []}
        cursor = None
        while True:
            page = self._store().list_files(found.package_id, limit=_PAGE, cursor=cursor)
            for file in page.items:
                folder = _make_folder(folders, file.relative_path.rpartition("/")[0])
                folder.append(_entry_of(file))
            cursor = page.next_cursor
            if cursor is None:
                break
        if found.status == FINALIZED:
            self._known = (found.package_id, folders)
        return folders


def _make_folder(folders: dict[str, list[Entry]], path: str) -> list[Entry]:
    """The entries of a folder, which is entered into the ones above it when it is new."""
    if path not in folders:
        above = _make_folder(folders, path.rpartition("/")[0])
        above.append({"name": path, "size": 0, "type": "directory"})
        folders[path] = []
    return folders[path]


def _found(path: str, look: Callable[[], FoundT]) -> FoundT:
    """What a look-up finds; what it does not find is missing in the way that users of files know."""
    try:
        return look()
    except (NotFoundError, InvalidInputError) as error:
        raise FileNotFoundError(errno.ENOENT, error.message, path) from error


def _entry_of(file: File) -> Entry:
    return {
        "name": file.relative_path,
        "size": file.size,
        "type": "file",
        "media_type": file.media_type,
        "digest": str(file.digest),
        "sha256": str(file.sha256),
    }


def _package_entry(package: Package, name: str) -> Entry:
    return {
        "name": name,
        "size": 0,
        "type": "directory",
        "status": package.status,
        "subject": package.subject,
        "producer": package.producer,
    }
