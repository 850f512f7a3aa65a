"""Objects on their way into a local root: written aside, then named by what they hold, with two barriers."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
from typing import TYPE_CHECKING

from artifactstore.digest import object_key
from artifactstore.objects.durability import FileSystem, side_by_side, sync_path
from artifactstore.objects.failures import translated
from artifactstore.objects.local_layout import STAGING
from artifactstore.objects.staging import Staging, StagingElsewhere, make_leaf
from artifactstore.os_errors import release

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Set
    from types import TracebackType

_log = logging.getLogger(__name__)

_SET_ASIDE = "damaged"
_RENAME_ALONE = 500  # objects below which a second thread costs more than it gains


class LocalBatch(Staging):
    """Objects on their way into a local root; see `Batch`.

    Bytes go to a staging folder of the same file system, which is locked for as long as the batch lives, so
    that a clean-up can tell a dead batch from a slow one.
    """

    _file_system: FileSystem  # from entering on

    def __init__(
        self,
        root: str,
        descriptor: int,
        known_folders: set[str],
        *,
        keep: bool,
        damaged: frozenset[bytes],
    ) -> None:
        super().__init__(root, descriptor, -1, "", distrusted=damaged, keep=keep, known_folders=known_folders)
        self._name = ""

    @property
    def met(self) -> None:
        """None; see `Batch.met`."""
        return None

    @property
    def sent(self) -> Collection[bytes]:
        """None of them; see `Batch.sent`."""
        return ()

    def __enter__(self) -> LocalBatch:
        with translated(self._root):
            with contextlib.suppress(FileExistsError):
                os.mkdir(STAGING, 0o700, dir_fd=self._root_descriptor)
            while not self._take_folder():
                pass
        return self

    def _take_folder(self) -> bool:
        """Make a staging folder and lock it; false if a clean-up took it for a dead one in between."""
        self._name = f"{STAGING}/{os.urandom(8).hex()}"
        os.mkdir(self._name, 0o700, dir_fd=self._root_descriptor)
        try:
            descriptor = os.open(
                self._name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self._root_descriptor
            )
        except FileNotFoundError:
            return False
        except BaseException:
            with contextlib.suppress(OSError):
                os.rmdir(self._name, dir_fd=self._root_descriptor)
            raise
        try:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(descriptor).st_nlink > 0:
                    self._folder = descriptor
                    self._file_system = FileSystem(descriptor)
                    return True
            return False
        finally:
            if self._folder != descriptor:
                release(descriptor)
                with contextlib.suppress(OSError):
                    os.rmdir(self._name, dir_fd=self._root_descriptor)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # Whatever cannot be removed now is found by age; the answer of the call does not depend on it.
        # The descriptor first, since listing the folder may need the last one.
        release(self._folder)
        with contextlib.suppress(OSError):
            remove_folder(os.path.join(self._root, self._name))

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

    def forget_others(self, wanted: Set[bytes]) -> None:
        """Leave the rest to the end of the batch; see `Batch.forget_others`."""
        for blake3 in self._staged.keys() - wanted:
            del self._staged[blake3]
            del self._reserved[blake3]

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
        side_by_side(lambda name: sync_path(name, folder=self._folder), [name for _, name in staged])
        side_by_side(self._sync_stored, stored)
        self._rename(staged)
        names = [*stored, *(object_key(blake3) for blake3, _ in staged)]
        folders = sorted(
            {folder for name in names for folder in (name[:12], name[:9], name[:6])}, key=len, reverse=True
        )
        folders.append(".")
        side_by_side(lambda name: sync_path(name, folder=self._root_descriptor, directory=True), folders)

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
            damaged = blake3 in self._damaged
            if damaged:
                set_aside(key, self._root_descriptor)
            try:
                self._give_name(name, key, replace=damaged)
            except FileNotFoundError:
                # The folder was there, but somebody has removed it since.
                make_leaf(key[:12], self._root_descriptor)
                self._give_name(name, key, replace=damaged)

    def _give_name(self, name: str, key: str, *, replace: bool) -> None:
        """Place a staged file.

        Args:
            replace: another file may stand there; never is there none in between, since another batch
                may have mended the object and its call have answered.
        """
        if self._keep and not replace:
            # An equal object may be there already.
            with contextlib.suppress(FileExistsError):
                os.link(name, key, src_dir_fd=self._folder, dst_dir_fd=self._root_descriptor)
            return
        if self._keep:
            second = f"{name}-{next(self._numbers)}"
            os.link(name, second, src_dir_fd=self._folder, dst_dir_fd=self._folder)
            name = second
        os.rename(name, key, src_dir_fd=self._folder, dst_dir_fd=self._root_descriptor)


def set_aside(key: str, root: int | None) -> None:
    """Keep a damaged object under a second name for those who will ask how it came about.

    That name is durable before the first one is given to other bytes: no power cut takes both.
    """
    with contextlib.suppress(FileExistsError):
        os.mkdir(_SET_ASIDE, 0o700, dir_fd=root)
    kept = f"{_SET_ASIDE}/{key.rpartition('/')[2]}.{os.urandom(4).hex()}"
    _log.warning("object %s is damaged; set aside as %s", key, kept)
    try:
        os.link(key, kept, src_dir_fd=root, dst_dir_fd=root, follow_symlinks=False)
    except FileNotFoundError:
        return
    except PermissionError:
        # A folder, or a file of another user, can only be moved.
        os.rename(key, kept, src_dir_fd=root, dst_dir_fd=root)
    for folder in (_SET_ASIDE, "."):
        sync_path(folder, folder=root, directory=True)


def remove_folder(path: str) -> None:
    """Remove a staging folder, which holds files and the folders of worker processes."""
    with os.scandir(path) as entries:
        found = [(entry.path, entry.is_dir(follow_symlinks=False)) for entry in entries]
    for name, is_folder in found:
        if is_folder:
            remove_folder(name)
        else:
            os.unlink(name)
    os.rmdir(path)
