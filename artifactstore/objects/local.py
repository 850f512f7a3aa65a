"""Objects in a local directory: `<root>/blake3/ab/cd/abcd...`, read-only files.

Written with `os` calls on descriptors, since fsspec never syncs. The root carries a marker with the id of
the store that owns it, so that two stores never share one and an unmounted volume is not taken for an empty
store.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import io
import json
import logging
import os
import stat
import time
import uuid
from typing import TYPE_CHECKING

from artifactstore.digest import DIGEST_SIZE, is_lower_hex, object_key
from artifactstore.errors import (
    ArtifactStoreError,
    BackendError,
    IntegrityError,
    ObjectNotFoundError,
    StateError,
)
from artifactstore.local_files import check_local_path, read_whole
from artifactstore.objects.backend import Stored
from artifactstore.objects.durability import FileSystem, make_folders, side_by_side, sync_path
from artifactstore.objects.failures import translated
from artifactstore.objects.local_layout import STAGING, is_object
from artifactstore.os_errors import TOO_MANY_FILES, release, translation

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from artifactstore.objects.backend import Named
    from artifactstore.objects.local_batch import LocalBatch
    from artifactstore.objects.service import Lock

_log = logging.getLogger(__name__)

MARKER = "artifactstore.json"
_MARKER_FORMAT = 1
_MARKER_SIZE = 4096  # bytes that it may have
_NO_FILE = frozenset({errno.ELOOP, errno.ENXIO})  # a link, and a socket: neither can be opened


class LocalBackend:
    """A directory of objects.

    Args:
        root: the directory; it is made by `attach`.
        backend_id: its name in the log.
    """

    def __init__(self, root: str, *, backend_id: str = "local") -> None:
        # Without links, so that the folders above it can be synced by name.
        self.root = os.path.realpath(check_local_path(root))
        self._backend_id = backend_id
        self._descriptor: int | None = None
        self._known_folders: set[str] = set()

    @property
    def backend_id(self) -> str:
        """The name under which the log knows it."""
        return self._backend_id

    @property
    def folder(self) -> str:
        """The root; see `Backend.folder`."""
        return self.root

    def attach(self, store_id: uuid.UUID, *, create: bool) -> None:
        """Make sure that the root belongs to this store; see `Backend.attach`."""
        with translated(self.root):
            owner = self._owner()
            if owner is None and create:
                self._claim(store_id)
            elif owner is None:
                raise _unmarked(self.root)
            elif owner != str(store_id):
                raise _foreign(self.root, owner)
            if self._descriptor is None:
                self._descriptor = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def require(self) -> None:
        """Raise if the marker cannot be read; see `Backend.require`."""
        with translated(self.root):
            if self._owner() is None:
                raise _unmarked(self.root)

    def _owner(self) -> str | None:
        """The store id in the marker, or None without one."""
        try:
            marker = json.loads(_read_marker(self.root))
            found, owner = marker["format"], str(uuid.UUID(marker["store_id"]))
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            message = f"the marker {MARKER} in {self.root} is damaged: {error}"
            raise BackendError(message, hint="restore it from a backup", code="marker-damaged") from error
        if found != _MARKER_FORMAT:
            message = f"the object root {self.root} has the format {found!r}, not {_MARKER_FORMAT}"
            raise StateError(message, hint="upgrade artifactstore", code="store-too-new")
        return owner

    def check_free(self) -> None:
        """Refuse a root that a new store could not claim; see `Backend.check_free`."""
        with translated(self.root):
            owner = self._owner()
            if owner is not None:
                raise _foreign(self.root, owner)
            with contextlib.suppress(FileNotFoundError):
                self._refuse_surplus()

    def _refuse_surplus(self) -> None:
        surplus = [name for name in os.listdir(self.root) if name != f"{MARKER}.new"]
        if surplus:
            raise BackendError(
                f"the object root {self.root} is not empty and no store has marked it: {min(surplus)!r}",
                hint="choose an empty directory",
                code="backend-not-empty",
            )

    def _claim(self, store_id: uuid.UUID) -> None:
        make_folders(self.root)
        self._refuse_surplus()
        self._write_marker(store_id)

    def take_over(self, store_id: uuid.UUID) -> str | None:
        """Mark the root as this store's; see `Backend.take_over`."""
        with translated(self.root):
            owner = self._owner()
            make_folders(self.root)
            self._write_marker(store_id)
            return owner

    def _write_marker(self, store_id: uuid.UUID) -> None:
        from artifactstore.objects.files import NEW_FILE

        staged = os.path.join(self.root, f"{MARKER}.new")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(staged)
        descriptor = os.open(staged, NEW_FILE, 0o600)
        with open(descriptor, "w", encoding="utf-8") as file:
            json.dump({"format": _MARKER_FORMAT, "store_id": str(store_id)}, file)
            file.write("\n")
            file.flush()
            os.fsync(descriptor)
        os.rename(staged, os.path.join(self.root, MARKER))
        sync_path(self.root, directory=True)

    # Adding

    def batch(
        self,
        *,
        keep: bool = False,
        damaged: frozenset[bytes] = frozenset(),
        named: Named | None = None,
    ) -> LocalBatch:
        """Begin to add objects; see `Backend.batch`."""
        if self._descriptor is None:
            raise BackendError(f"the object root {self.root} is not attached")
        # Not at the top: most commands only read, and with it come threads and rings of buffers.
        from artifactstore.objects.local_batch import LocalBatch

        return LocalBatch(
            self.root,
            self._descriptor,
            self._known_folders,
            keep=keep,
            damaged=damaged,
        )

    def remove_stale(self, *, older_than: int, dry_run: bool = False) -> int:
        """Remove staging folders of dead processes; see `Backend.remove_stale`."""
        stale = 0
        staging = os.path.join(self.root, STAGING)
        try:
            names = os.listdir(staging)
        except OSError:
            return 0  # not made yet, or not readable: then the call that needs it says so
        for name in names:
            path = os.path.join(staging, name)
            try:
                if time.time() - os.lstat(path).st_mtime < older_than:
                    continue
                with _abandoned(path) as free:
                    if free:
                        if not dry_run:
                            from artifactstore.objects.local_batch import remove_folder

                            remove_folder(path)
                        stale += 1
            except FileNotFoundError:
                continue  # another process cleans up too
            except OSError as error:
                _log.warning("cannot remove %s, which a crash or a stranger left: %s", path, error.strerror)
        return stale

    # Reading

    def open(self, blake3: bytes, size: int) -> io.RawIOBase:
        """A stream over an object; see `Backend.open`."""
        path = os.path.join(self.root, object_key(blake3))
        with translated(self.root):
            try:
                # O_NONBLOCK: a FIFO in the place of an object must not be waited for.
                descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
            except FileNotFoundError:
                message = f"the object blake3:{blake3.hex()} is missing in backend {self._backend_id}"
                raise ObjectNotFoundError(message, hint="restore it from a copy of the object root") from None
            except OSError as error:
                if error.errno not in _NO_FILE:
                    raise
                raise _damaged(blake3, size, "no regular file") from error
            status = os.fstat(descriptor)
            if not is_object(status, size):
                release(descriptor)
                found = f"{status.st_size} bytes" if stat.S_ISREG(status.st_mode) else "no regular file"
                raise _damaged(blake3, size, found)
            return _Object(descriptor, "rb", closefd=True)

    def size_of(self, blake3: bytes) -> int | None:
        """The size of an object; see `Backend.size_of`."""
        with translated(self.root):
            try:
                status = os.stat(os.path.join(self.root, object_key(blake3)), follow_symlinks=False)
            except FileNotFoundError:
                return None
            return status.st_size if stat.S_ISREG(status.st_mode) else None

    def missing(self, wanted: Iterable[tuple[bytes, int]]) -> list[bytes]:
        """Which objects are not there; see `Backend.missing`."""
        missing = []
        with translated(self.root):
            # Below the descriptor of the root, which saves the kernel the way to it for each of very many.
            for blake3, size in wanted:
                try:
                    found = os.stat(object_key(blake3), dir_fd=self._descriptor, follow_symlinks=False)
                except FileNotFoundError:
                    missing.append(blake3)
                else:
                    if not is_object(found, size):
                        missing.append(blake3)
        return missing

    def stored(self) -> Iterator[Stored]:
        """All objects; see `Backend.stored`."""
        with translated(self.root):
            top = os.path.join(self.root, "blake3")
            for first in _sorted_names(top):
                for second in _sorted_names(os.path.join(top, first)):
                    folder = os.path.join(top, first, second)
                    for name in _sorted_names(folder):
                        if len(name) != 2 * DIGEST_SIZE or not is_lower_hex(name):
                            continue
                        with contextlib.suppress(FileNotFoundError):
                            status = os.lstat(os.path.join(folder, name))
                            yield Stored(bytes.fromhex(name), status.st_size, status.st_mtime_ns // 1000)

    def hidden(self) -> Iterator[Stored]:
        """Nothing: what is deleted is gone; see `Backend.hidden`."""
        return iter(())

    def _unlink(self, key: str) -> None:
        """Remove one object, not durable yet; idempotent."""
        with contextlib.suppress(FileNotFoundError):
            try:
                os.unlink(key, dir_fd=self._descriptor)
            except IsADirectoryError:  # somebody's folder, with who knows what in it
                from artifactstore.objects.local_batch import set_aside

                set_aside(key, self._descriptor)

    @property
    def object_locks(self) -> None:
        """None; see `Backend.object_locks`."""
        return None

    def remove_all(self, wanted: Iterable[bytes], *, released: Collection[bytes] = ()) -> dict[bytes, Lock]:
        """Remove objects; see `Backend.remove_all`.

        Crash: before the folders are synced a removed object may be back, and nothing has said yet that it
        is gone.
        """
        keys = [object_key(blake3) for blake3 in wanted]
        folders = sorted({key[:12] for key in keys})
        with translated(self.root):
            own = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self._descriptor)
            try:
                file_system = FileSystem(own)
                side_by_side(self._unlink, keys)
                if file_system.whole_is_cheaper(len(folders)):
                    file_system.barrier()
                else:
                    side_by_side(self._sync_folder, folders)
            finally:
                release(own)
        return {}

    def _sync_folder(self, folder: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            sync_path(folder, folder=self._descriptor, directory=True)

    def problems(
        self,
        store_id: uuid.UUID,
        *,
        claimed: bool = True,
        deep: bool = False,
        max_age: float = 0,
    ) -> tuple[str, ...]:
        """Why the root cannot be used; see `Backend.problems`."""
        try:
            owner = self._owner()
        except (ArtifactStoreError, OSError) as error:
            if isinstance(error, OSError) and error.errno in TOO_MANY_FILES:
                raise translation(error, f"the object root {self.root}") from error
            return (str(error),)
        if owner is None:
            return (f"the object root {self.root} is missing or has lost its marker {MARKER}",)
        if owner != str(store_id):
            return (_foreign(self.root, owner).message,)
        effective = os.access in os.supports_effective_ids
        if not os.access(self.root, os.R_OK | os.W_OK | os.X_OK, effective_ids=effective):
            return (f"the object root {self.root} is not readable and writable for this user",)
        return ()

    def close(self) -> None:
        """Release the descriptor of the root."""
        if self._descriptor is not None:
            release(self._descriptor)
            self._descriptor = None


class _Object(io.FileIO):
    """A stream over an object; nothing is lost if closing it fails."""

    def close(self) -> None:
        """Close it."""
        with contextlib.suppress(OSError):
            super().close()


def _sorted_names(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []


@contextlib.contextmanager
def _abandoned(path: str) -> Iterator[bool]:
    """Whether the batch that owned a staging folder is dead; the folder stays locked meanwhile."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
    else:
        yield True
    finally:
        release(descriptor)


def _read_marker(root: str) -> bytes:
    try:
        return read_whole(os.path.join(root, MARKER), limit=_MARKER_SIZE)
    except OSError as error:
        if error.errno in {errno.EINVAL, errno.EFBIG}:
            raise ValueError(error.strerror) from error
        raise


def _damaged(blake3: bytes, size: int, found: str) -> IntegrityError:
    message = f"the object blake3:{blake3.hex()} has {found} instead of {size}"
    return IntegrityError(message, hint="restore it from a copy of the object root")


def _unmarked(root: str) -> BackendError:
    return BackendError(
        f"the object root {root} is missing or has lost its marker {MARKER}",
        hint="mount or restore it; the log names objects that should be there",
        code="backend-missing",
    )


def _foreign(root: str, owner: str) -> BackendError:
    return BackendError(
        f"the object root {root} belongs to the store {owner}",
        hint="one store, one root: choose another directory",
        code="backend-foreign",
    )
