"""Any fsspec file system by its URL: memory, sftp, gcs, azure and the like.

Weaker than S3 and the local directory: nothing is checked by the other side but the size, and durable is what
the service calls so. The libraries below have no common way to limit a call, so each runs on a thread that is
left alone when the time is over.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import threading
import time
import uuid
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar, cast

from artifactstore.errors import AccessError, ArtifactStoreError, BackendError
from artifactstore.objects.service import PROBE, Found, Range

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from artifactstore.objects.backend import Fill
    from artifactstore.objects.service import Lock

ResultT = TypeVar("ResultT")

_RENAMING = frozenset({"file", "local", "sftp", "ssh"})  # where a rename puts a whole file in place at once
_FOLDERS = _RENAMING | {"memory", "ftp", "smb", "hdfs"}  # where a folder must be made before its files
_BLOCK = 8 << 20  # bytes
_THREADS = 16  # calls at once
_SLOWEST = 256 << 10  # bytes per second below which a transfer counts as hanging
_LISTING = 256 << 20  # bytes that a call counts for whose length nobody knows
# What the file systems call the moment of the last write.
_MOMENTS = ("mtime", "LastModified", "last_modified", "updated", "modified", "created")


class FileSystemService:
    """Bytes under keys in a folder of an fsspec file system; see `Service`.

    Args:
        url: `protocol://...`, as fsspec reads it.
        options: arguments of the file system; may hold secrets, which are never shown.
        name: the URL for people, without secrets.
        timeout: seconds after which a call is given up; a transfer gets more by its size.
    """

    def __init__(
        self, url: str, options: Mapping[str, Any] | None = None, *, name: str, timeout: float = 60.0
    ) -> None:
        self._url = url
        self._options = dict(options or {})
        self._name = name
        self._timeout = timeout
        self._lock = threading.Lock()
        self._opened: tuple[Any, str] | None = None
        self._pid = 0
        protocol = url.partition("://")[0]
        self._renames = protocol in _RENAMING
        self._has_folders = protocol in _FOLDERS

    def __repr__(self) -> str:
        return f"<FileSystemService {self._name}>"

    @property
    def name(self) -> str:
        """The URL, without secrets."""
        return self._name

    def _place(self) -> tuple[Any, str]:
        """The file system and the root in it; made on first use, and anew in each process."""
        with self._lock:
            if self._opened is None or self._pid != os.getpid():
                import fsspec

                file_system, root = self._within(
                    0,
                    fsspec.url_to_fs,
                    self._url,
                    skip_instance_cache=True,
                    use_listings_cache=False,
                    **self._options,
                )
                self._opened, self._pid = (file_system, str(root).rstrip("/")), os.getpid()
            return self._opened

    def _path(self, key: str) -> tuple[Any, str]:
        file_system, root = self._place()
        return file_system, f"{root}/{key}"

    # Reading

    def head(self, key: str) -> Found | None:
        """What lies under a key; see `Service.head`."""
        with self._translated():
            file_system, path = self._path(key)
            try:
                found = self._within(0, file_system.info, path)
            except FileNotFoundError:
                return None
            return _found(key, found) if found["type"] == "file" else None

    def require(self) -> None:
        """Nothing: the marker tells whether the place is there; see `Service.require`."""

    def get(self, key: str, start: int, length: int) -> Range | None:
        """A part of what lies under a key; see `Service.get`."""
        found = self.head(key)
        if found is None:
            return None
        length = max(0, min(length, found.size - start))
        with self._translated():
            file_system, path = self._path(key)
            try:
                data = b""
                if length:
                    data = self._within(length, file_system.cat_file, path, start=start, end=start + length)
            except FileNotFoundError:
                return None
        if len(data) != length:
            message = f"{self._name}: {len(data)} bytes came instead of {length}"
            raise BackendError(message, code="connection-lost", retryable=True)
        return Range(bytes(data), found.size)

    def entries(self, prefix: str) -> Iterator[Found]:
        """All files below a folder, or those in it that begin with a name; see `Service.entries`."""
        folder, _, begin = prefix.rpartition("/")
        with self._translated():
            file_system, path = self._path(folder)
            root = self._place()[1]
            depth = 1 if begin else None
            try:
                entries = self._within(_LISTING, file_system.find, path, maxdepth=depth, detail=True)
            except FileNotFoundError:
                entries = {}
        for name in sorted(entries):
            key = name[len(root) + 1 :]
            if key.startswith(prefix):
                yield _found(key, entries[name])

    # Writing

    def put(self, key: str, data: bytes | memoryview, *, sha256: bytes, replace: bool) -> bool:
        """Store bytes, and look at their size; see `Service.put`."""
        if not replace and self.head(key) is not None:
            return False
        content = bytes(data)
        with self._translated():
            file_system, path = self._path(key)
            self._make_folder(file_system, path)
            if self._renames:
                with self._aside(file_system, path) as aside:
                    self._within(len(content), file_system.pipe_file, aside, content)
            else:
                self._within(len(content), file_system.pipe_file, path, content)
        self._require_size(key, len(content))
        return True

    def upload(self, key: str, fill: Fill, size: int, *, sha256: bytes, replace: bool) -> bool:
        """Store a stream; see `Service.upload`."""
        if not replace and self.head(key) is not None:
            return False
        with self._translated():
            file_system, path = self._path(key)
            self._make_folder(file_system, path)
            if self._renames:
                # A file that an exception closes has its name already, but one that nobody looks for.
                with self._aside(file_system, path) as aside:
                    self._pour(fill, self._within(0, file_system.open, aside, "wb"))
            else:
                import tempfile

                with tempfile.NamedTemporaryFile(prefix="artifactstore-") as file:
                    buffer = bytearray(_BLOCK)
                    with memoryview(buffer) as view:
                        while length := fill(view):
                            file.write(view[:length])
                    file.flush()
                    self._within(size, file_system.put_file, file.name, path)
        self._require_size(key, size)
        return True

    @contextlib.contextmanager
    def _aside(self, file_system: Any, path: str) -> Iterator[str]:
        """A name to write under, which becomes the path if all went well."""
        aside = f"{path}.{uuid.uuid4().hex}.tmp"
        try:
            yield aside
            self._within(0, file_system.mv, aside, path)
        except BaseException:
            with contextlib.suppress(Exception):
                self._within(0, file_system.rm_file, aside)
            raise

    def _make_folder(self, file_system: Any, path: str) -> None:
        # Elsewhere a folder would be a bucket.
        if self._has_folders:
            self._within(0, file_system.makedirs, path.rpartition("/")[0], exist_ok=True)

    def _require_size(self, key: str, size: int) -> None:
        found = self.head(key)
        if found is None or found.size != size:
            there = "nothing" if found is None else f"{found.size} bytes"
            message = f"{self._name}: {there} arrived instead of {size} bytes"
            raise BackendError(message, code="bytes-damaged", retryable=True)

    def copy(self, key: str, target: str) -> bool:
        """Copy within the file system; see `Service.copy`."""
        with self._translated():
            file_system, path = self._path(key)
            to = self._path(target)[1]
            self._make_folder(file_system, to)
            try:
                self._within(_LISTING, file_system.cp_file, path, to)
            except FileNotFoundError:
                return False
        return True

    def hidden(self, prefix: str) -> Iterator[Found]:
        """Nothing: no versions are kept; see `Service.hidden`."""
        return iter(())

    @property
    def object_locks(self) -> None:
        """None: see `Service.object_locks`."""
        return None

    def delete_all(self, keys: Sequence[str], *, released: Collection[str] = ()) -> dict[str, Lock]:
        """Free keys; see `Service.delete_all`."""
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(_THREADS) as pool:
            list(pool.map(self._delete, keys))
        return {}

    def _delete(self, key: str) -> None:
        with self._translated(), contextlib.suppress(FileNotFoundError):
            file_system, path = self._path(key)
            self._within(0, file_system.rm_file, path)

    def unfinished(self, prefix: str, before: int) -> Iterator[tuple[str, str]]:
        """Files that a crash left under a temporary name; see `Service.unfinished`."""
        for found in self.entries(prefix):
            if found.key.endswith(".tmp") and found.written_at <= before:
                yield found.key, ""

    def abort(self, key: str, upload: str) -> None:
        """Remove such a file; see `Service.abort`."""
        self._delete(key)

    def prove_writable(self) -> None:
        """Write a probe and remove it; see `Service.prove_writable`."""
        key = f"{PROBE}{uuid.uuid4().hex}"
        try:
            self.put(key, b"artifactstore checks that it may write here\n", sha256=b"", replace=True)
        finally:
            self._delete(key)

    def close(self) -> None:
        """Forget the file system; see `Service.close`."""
        with self._lock:
            self._opened = None

    def _pour(self, fill: Fill, file: Any) -> None:
        """Write a stream into an open file and close it, whatever happens."""
        try:
            while True:
                # A block of its own each: a write that was given up may still read it.
                block = bytearray(_BLOCK)
                with memoryview(block) as view:
                    length = fill(view)
                del block[length:]
                if not block:
                    return
                self._within(length, file.write, block)
        finally:
            self._within(0, file.close)

    def _within(
        self, size: int, call: Callable[..., ResultT], *arguments: object, **further: object
    ) -> ResultT:
        """Make a call on a thread of its own.

        Args:
            size: bytes that travel.
        Raises:
            TimeoutError: it is still under way; its thread does not keep the process alive.
        """
        answers: SimpleQueue[tuple[ResultT | None, BaseException | None]] = SimpleQueue()

        def answer() -> None:
            try:
                answers.put((call(*arguments, **further), None))
            except BaseException as error:  # noqa: BLE001 - raised again by the thread that waits
                answers.put((None, error))

        threading.Thread(target=answer, name="artifactstore-call", daemon=True).start()
        try:
            result, error = answers.get(timeout=self._timeout + size / _SLOWEST)
        except Empty:
            raise TimeoutError from None
        if error is not None:
            raise error
        return cast("ResultT", result)

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        """Our error for whatever the file system's own library raises."""
        try:
            yield
        except ArtifactStoreError:
            raise
        except PermissionError:
            raise AccessError(
                f"{self._name}: access is denied", hint="check credentials and rights"
            ) from None
        except (ImportError, ValueError) as error:
            hint = "check the URL and its options, and install the package that fsspec needs for it"
            message = f"{self._name}: it cannot be opened ({type(error).__name__})"
            raise BackendError(message, hint=hint, code="no-file-system") from None
        except TimeoutError:
            message = f"{self._name}: no answer in time"
            raise BackendError(message, hint="try again later", code="timeout", retryable=True) from None
        except Exception as error:  # noqa: BLE001 - each library has errors of its own
            # The text of the error may quote the options.
            reason = getattr(error, "strerror", None) or type(error).__name__
            raise BackendError(f"{self._name}: the call failed: {reason}", retryable=True) from None


def _found(key: str, entry: Mapping[str, Any]) -> Found:
    return Found(key, int(entry["size"]), _moment(entry))


def _moment(entry: Mapping[str, Any]) -> int:
    """Microseconds of the last write; now if nobody says, so that it counts as too young to judge."""
    for name in _MOMENTS:
        value = entry.get(name)
        if isinstance(value, str):
            with contextlib.suppress(ValueError):
                value = datetime.datetime.fromisoformat(value)
        if isinstance(value, datetime.datetime):
            aware = value if value.tzinfo else value.replace(tzinfo=datetime.UTC)
            return round(aware.timestamp() * 1_000_000)
        if isinstance(value, int | float):
            return round(value * 1_000_000)
    return time.time_ns() // 1000
