"""Objects in a local directory: `<root>/blake3/ab/cd/abcd...`, read-only files.

Written with `os` calls on descriptors, since fsspec never syncs. The root carries a marker with the id of
the store that owns it, so that two stores never share one and an unmounted volume is not taken for an empty
store.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import logging
import os
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
from artifactstore.objects.backend import Stored
from artifactstore.objects.durability import FileSystem, sync_each, sync_path
from artifactstore.objects.failures import translated
from artifactstore.objects.files import NEW_FILE
from artifactstore.objects.staging import STAGING, Staging, StagingElsewhere, make_leaf

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from types import TracebackType


_log = logging.getLogger(__name__)

MARKER = "artifactstore.json"
_MARKER_FORMAT = 1
_SET_ASIDE = "damaged"
_RENAME_ALONE = 500  # objects below which a second thread costs more than it gains


class LocalBackend:
    """A directory of objects.

    Args:
        root: the directory; it is made by `attach`.
        backend_id: its name in the log.
    """

    def __init__(self, root: str, *, backend_id: str = "local") -> None:
        # Without links, so that the folders above it can be synced by name.
        self.root = os.path.realpath(root)
        self._backend_id = backend_id
        self._descriptor: int | None = None
        self._file_system: FileSystem | None = None
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
                raise BackendError(
                    f"the object root {self.root} is missing or has lost its marker {MARKER}",
                    hint="mount or restore it; the log names objects that should be there",
                    code="backend-missing",
                )
            elif owner != str(store_id):
                raise _foreign(self.root, owner)
            if self._descriptor is None:
                self._descriptor = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                self._file_system = FileSystem(self._descriptor)

    def _owner(self) -> str | None:
        """The store id in the marker, or None without one."""
        try:
            with open(os.path.join(self.root, MARKER), "rb") as file:
                marker = json.loads(file.read(4096))
            found, owner = marker["format"], str(uuid.UUID(marker["store_id"]))
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            message = f"the marker {MARKER} in {self.root} is damaged: {error}"
            raise BackendError(message, hint="restore it from a backup", code="marker-damaged") from error
        if found != _MARKER_FORMAT:
            message = f"the object root {self.root} has format {found!r}, newer than {_MARKER_FORMAT}"
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
        _make_folders(self.root)
        self._refuse_surplus()
        self._write_marker(store_id)

    def take_over(self, store_id: uuid.UUID) -> str | None:
        """Mark the root as this store's; see `Backend.take_over`."""
        with translated(self.root):
            owner = self._owner()
            _make_folders(self.root)
            self._write_marker(store_id)
            return owner

    def _write_marker(self, store_id: uuid.UUID) -> None:
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

    def batch(self, *, keep: bool = False, damaged: frozenset[bytes] = frozenset()) -> LocalBatch:
        """Begin to add objects; see `Backend.batch`."""
        if self._descriptor is None or self._file_system is None:
            raise BackendError(f"the object root {self.root} is not attached")
        return LocalBatch(
            self.root,
            self._descriptor,
            self._file_system,
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
                            _remove_folder(path)
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
                descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            except FileNotFoundError:
                message = f"the object blake3:{blake3.hex()} is missing in backend {self._backend_id}"
                raise ObjectNotFoundError(message, hint="restore it from a copy of the object root") from None
            found = os.fstat(descriptor).st_size
            if found != size:
                os.close(descriptor)
                message = f"the object blake3:{blake3.hex()} has {found} bytes instead of {size}"
                raise IntegrityError(message, hint="restore it from a copy of the object root")
            return io.FileIO(descriptor, "rb", closefd=True)

    def size_of(self, blake3: bytes) -> int | None:
        """The size of an object; see `Backend.size_of`."""
        with translated(self.root):
            try:
                return os.stat(os.path.join(self.root, object_key(blake3)), follow_symlinks=False).st_size
            except FileNotFoundError:
                return None

    def missing(self, wanted: Iterable[tuple[bytes, int]]) -> list[bytes]:
        """Which objects are not there; see `Backend.missing`."""
        return [blake3 for blake3, size in wanted if self.size_of(blake3) != size]

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

    def remove(self, blake3: bytes) -> None:
        """Remove an object; see `Backend.remove`.

        Crash: a removal that is not durable yet leaves an object that no location names; it is found by age.
        """
        with translated(self.root), contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(self.root, object_key(blake3)))

    def remove_all(self, wanted: Iterable[bytes]) -> None:
        """Remove objects; see `Backend.remove_all`."""
        for blake3 in wanted:
            self.remove(blake3)

    def inodes(self) -> Iterator[tuple[int, int]]:
        """Device and inode of the root; see `Backend.inodes`."""
        with contextlib.suppress(OSError):
            status = os.stat(self.root)
            yield status.st_dev, status.st_ino

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
            os.close(self._descriptor)
            self._descriptor = None
            self._file_system = None


class LocalBatch(Staging):
    """Objects on their way into a local root; see `Batch`.

    Bytes go to a staging folder of the same file system, which is locked for as long as the batch lives, so
    that a clean-up can tell a dead batch from a slow one.
    """

    def __init__(
        self,
        root: str,
        descriptor: int,
        file_system: FileSystem,
        known_folders: set[str],
        *,
        keep: bool,
        damaged: frozenset[bytes],
    ) -> None:
        super().__init__(root, descriptor, -1, "", distrusted=damaged, keep=keep, known_folders=known_folders)
        self._file_system = file_system
        self._name = f"{STAGING}/{os.urandom(8).hex()}"

    def __enter__(self) -> LocalBatch:
        with translated(self._root):
            with contextlib.suppress(FileExistsError):
                os.mkdir(STAGING, 0o700, dir_fd=self._root_descriptor)
            os.mkdir(self._name, 0o700, dir_fd=self._root_descriptor)
            self._folder = os.open(
                self._name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self._root_descriptor
            )
            fcntl.flock(self._folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # Whatever cannot be removed now is found by age; the answer of the call does not depend on it.
        with contextlib.suppress(OSError):
            _remove_folder(os.path.join(self._root, self._name))
        os.close(self._folder)

    def elsewhere(self) -> StagingElsewhere:
        """How a worker process stages for this batch; see `Batch.elsewhere`."""
        distrusted = tuple(self._distrusted)
        return StagingElsewhere(
            (self._root_descriptor, self._folder),
            (self._root, self._root_descriptor, self._folder, distrusted),
        )

    def adopt(
        self, staged: Mapping[bytes, str], present: Iterable[bytes], damaged: Iterable[bytes]
    ) -> set[bytes]:
        """Take over what a worker has staged; see `Batch.adopt`."""
        self._present.update(present)
        self._damaged.update(damaged)
        doubles = set()
        for blake3, name in staged.items():
            if self._reserved.setdefault(blake3, name) == name:
                self._staged[blake3] = name
            else:
                doubles.add(blake3)
        return doubles

    def restore(self, missing: Iterable[bytes]) -> bool:
        """Publish again what a gc has removed since; see `Batch.restore`."""
        wanted = sorted((blake3, self._kept.get(blake3, "")) for blake3 in missing)
        if not all(name for _, name in wanted):
            return False
        with translated(self._root):
            self._publish_each(wanted, set())
        return True

    def publish(self) -> None:
        """Make the staged objects visible and durable; see `Batch.publish`."""
        # Other threads go on staging; what they finish from here on belongs to the next publication.
        staged = sorted(self._staged.copy().items())
        present = self._present.copy()
        if not staged and not present:
            return
        with translated(self._root):
            if self._file_system.whole_is_cheaper(len(staged) + len(present)):
                self._file_system.barrier()
                self._rename(staged)
                if staged:
                    self._file_system.barrier()
            else:
                self._publish_each(staged, present)
        self._present -= present
        for blake3, name in staged:
            if self._keep:
                self._kept[blake3] = name
            del self._staged[blake3]
            del self._reserved[blake3]
            self._damaged.discard(blake3)

    def _publish_each(self, staged: list[tuple[bytes, str]], present: set[bytes]) -> None:
        """The same with a sync of each file and folder, where one barrier is missing or dear."""
        stored = [object_key(blake3) for blake3 in sorted(present)]
        sync_each(lambda name: sync_path(name, folder=self._folder), [name for _, name in staged])
        sync_each(self._sync_stored, stored)
        self._rename(staged)
        names = [*stored, *(object_key(blake3) for blake3, _ in staged)]
        folders = sorted(
            {folder for name in names for folder in (name[:12], name[:9], name[:6])}, key=len, reverse=True
        )
        sync_each(lambda name: sync_path(name, folder=self._root_descriptor, directory=True), [*folders, "."])

    def _sync_stored(self, key: str) -> None:
        # A gc may have removed it meanwhile: the caller looks for what it names under the write lock.
        with contextlib.suppress(FileNotFoundError):
            sync_path(key, folder=self._root_descriptor)

    def _rename(self, staged: list[tuple[bytes, str]]) -> None:
        """Give the staged files their names, in the order of their digests, which the folders follow."""
        if len(staged) < _RENAME_ALONE:
            self._rename_part(staged)
            return
        from concurrent.futures import ThreadPoolExecutor

        # Making folders is the dearest part of a push; two threads in distant folders take a third less.
        half = len(staged) // 2
        with ThreadPoolExecutor(2, thread_name_prefix="artifactstore-rename") as pool:
            for _ in pool.map(self._rename_part, (staged[:half], staged[half:])):
                pass

    def _rename_part(self, staged: list[tuple[bytes, str]]) -> None:
        for blake3, name in staged:
            key = object_key(blake3)
            if blake3 in self._damaged:
                self._set_aside(key)
            try:
                self._give_name(name, key)
            except FileNotFoundError:
                # The folder was there, but somebody has removed it since.
                make_leaf(key[:12], self._root_descriptor)
                self._give_name(name, key)

    def _give_name(self, name: str, key: str) -> None:
        if not self._keep:
            os.rename(name, key, src_dir_fd=self._folder, dst_dir_fd=self._root_descriptor)
            return
        # An equal object may be there already.
        with contextlib.suppress(FileExistsError):
            os.link(name, key, src_dir_fd=self._folder, dst_dir_fd=self._root_descriptor)

    def _set_aside(self, key: str) -> None:
        """Keep an object of the wrong size for those who will ask how it came about."""
        with contextlib.suppress(FileExistsError):
            os.mkdir(_SET_ASIDE, 0o700, dir_fd=self._root_descriptor)
        kept = f"{_SET_ASIDE}/{key.rpartition('/')[2]}.{os.urandom(4).hex()}"
        _log.warning("object %s is damaged; set aside as %s and written anew", key, kept)
        with contextlib.suppress(FileNotFoundError):
            os.rename(key, kept, src_dir_fd=self._root_descriptor, dst_dir_fd=self._root_descriptor)


def _make_folders(path: str) -> None:
    """Make a folder and its parents, each name durable."""
    if not os.path.isdir(path):
        _make_folders(os.path.dirname(path))
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, 0o700)
        sync_path(os.path.dirname(path), directory=True)


def _sorted_names(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _remove_folder(path: str) -> None:
    """Remove a staging folder, which holds files and the folders of worker processes."""
    with os.scandir(path) as entries:
        found = [(entry.path, entry.is_dir(follow_symlinks=False)) for entry in entries]
    for name, is_folder in found:
        if is_folder:
            _remove_folder(name)
        else:
            os.unlink(name)
    os.rmdir(path)


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
        os.close(descriptor)


def _foreign(root: str, owner: str) -> BackendError:
    return BackendError(
        f"the object root {root} belongs to the store {owner}",
        hint="one store, one root: choose another directory",
        code="backend-foreign",
    )
