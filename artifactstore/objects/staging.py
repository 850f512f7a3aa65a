"""Writing objects aside: each once, under a name that nobody looks for, with its folder made ready."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from artifactstore.digest import Hasher, digest_pair, object_key
from artifactstore.objects.backend import Staged
from artifactstore.objects.failures import translated
from artifactstore.objects.files import write_new, write_stream
from artifactstore.objects.local_layout import is_object

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from artifactstore.digest import Buffer
    from artifactstore.objects.backend import Fill

_OBJECT_MODE = 0o400  # read-only: an object is never written again


@dataclass(frozen=True, slots=True)
class StagingElsewhere:
    """What a worker process needs to stage for a batch of this one.

    Args:
        descriptors: open folders, by the same numbers there.
        arguments: plain values.
        function: `module:name` of what is called there with the descriptor of the source and the arguments.
    """

    descriptors: tuple[int, ...]
    arguments: tuple[object, ...]
    function: str = "artifactstore.ingest:staging_worker"


def staging_elsewhere(root: str, root_descriptor: int, folder: int, distrusted: tuple[bytes, ...]) -> Staging:
    """The staging of a worker process, in the folder of a batch that another process owns."""
    return Staging(
        root,
        root_descriptor,
        folder,
        f"{os.getpid()}-",
        distrusted=frozenset(distrusted),
        known_folders=set(),
    )


class Staging:
    """Takes bytes, and writes those that are new into one folder.

    Args:
        root: path of the object root, for messages.
        root_descriptor: of the object root.
        folder: descriptor of the folder for what is staged.
        prefix: of all names there.
        distrusted: blake3 of objects that are there but must be written anew.
        known_folders: folders of objects that were seen, below the root.
        keep: stage also what is there already.
    """

    def __init__(
        self,
        root: str,
        root_descriptor: int,
        folder: int,
        prefix: str,
        *,
        distrusted: frozenset[bytes],
        known_folders: set[str],
        keep: bool = False,
    ) -> None:
        self._root = root
        self._root_descriptor = root_descriptor
        self._folder = folder
        self._prefix = prefix
        self._distrusted = distrusted
        self._known_folders = known_folders
        self._keep = keep
        self._numbers = itertools.count()
        # blake3 of what is written or has been written and not published, with the name of its staged file.
        self._reserved: dict[bytes, str] = {}
        # The part of it that is written to its end.
        self._staged: dict[bytes, str] = {}
        # What was published and is still here under its staged name.
        self._kept: dict[bytes, str] = {}
        # blake3 of objects that were there before, which must be durable too before anybody names them.
        self._present: set[bytes] = set()
        # blake3 of objects that stand there with a wrong size, or are not trusted.
        self._damaged: set[bytes] = set()

    def stage_bytes(self, data: Buffer) -> Staged:
        """Take bytes that are in memory; see `Batch.stage_bytes`."""
        digests = digest_pair(data)
        size = len(data)
        name = self._reserve(digests.blake3, size)
        if name is None:
            return Staged(digests, size, new=False)
        with translated(self._root):
            write_new(name, data, folder=self._folder, mode=_OBJECT_MODE)
        self._staged[digests.blake3] = name
        return Staged(digests, size, new=True)

    def stage_stream(
        self, fill: Fill, *, expected: int = 0, again: Callable[[], Fill] | None = None
    ) -> Staged:
        """Take bytes of any length; see `Batch.stage_stream`."""
        hasher = Hasher()
        name = f"{self._prefix}stream-{next(self._numbers)}"
        with translated(self._root):
            disk = os.fstatvfs(self._root_descriptor)
            if expected > disk.f_bfree * disk.f_frsize:
                # A sparse file can announce what no disk holds; it would be noticed when all disks are full.
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            size = write_stream(
                name,
                fill,
                folder=self._folder,
                mode=_OBJECT_MODE,
                hashes=(
                    lambda view, _offset: hasher.update_sha256(view),
                    lambda view, _offset: hasher.update_blake3(view),
                ),
            )
            digests = hasher.pair()
            reserved = self._reserve(digests.blake3, size)
            if reserved is None:
                os.unlink(name, dir_fd=self._folder)
                return Staged(digests, size, new=False)
            os.rename(name, reserved, src_dir_fd=self._folder, dst_dir_fd=self._folder)
        self._staged[digests.blake3] = reserved
        return Staged(digests, size, new=True)

    def reuse(self, wanted: Sequence[tuple[bytes, int]]) -> set[bytes]:
        """Which of these objects need not be staged; see `Batch.reuse`."""
        there = set()
        with translated(self._root):
            for blake3, size in wanted:
                with contextlib.suppress(FileNotFoundError):
                    key = object_key(blake3)
                    status = os.stat(key, dir_fd=self._root_descriptor, follow_symlinks=False)
                    if is_object(status, size) and blake3 not in self._distrusted:
                        there.add(blake3)
        self._present |= there
        return there

    def hand_over(self, *, remember: int) -> tuple[dict[bytes, str], tuple[bytes, ...], tuple[bytes, ...]]:
        """What was staged since the last time, for `LocalBatch.adopt`.

        Args:
            remember: so many objects are not written again when they are met later; then all is forgotten.
        """
        new = self._staged, tuple(self._present), tuple(self._damaged)
        self._staged = {}
        self._present.clear()
        self._damaged.clear()
        if len(self._reserved) > remember:
            self._reserved.clear()
        return new

    def _reserve(self, blake3: bytes, size: int) -> str | None:
        """The staged name under which these bytes must be written; None if they are here already."""
        if blake3 in self._reserved or blake3 in self._present or blake3 in self._kept:
            return None
        key = object_key(blake3)
        status = None
        with translated(self._root):
            try:
                status = os.stat(key, dir_fd=self._root_descriptor, follow_symlinks=False)
            except FileNotFoundError:
                # Here and not with the names, since several processes stage, but one gives names.
                self._make_folder_of(key)
        trusted = is_object(status, size) and blake3 not in self._distrusted
        if trusted and not self._keep:
            self._present.add(blake3)
            return None
        if status is not None and not trusted:
            self._damaged.add(blake3)
        name = f"{self._prefix}{next(self._numbers)}"
        self._reserved[blake3] = name
        return name

    def _make_folder_of(self, key: str) -> None:
        folder = key[:12]
        if folder not in self._known_folders:
            make_leaf(folder, self._root_descriptor)
            self._known_folders.add(folder)


def make_leaf(folder: str, root: int) -> None:
    """Make `blake3/ab/cd` and what is missing above it.

    Args:
        root: descriptor of the object root.
    """
    try:
        os.mkdir(folder, 0o700, dir_fd=root)
    except FileExistsError:
        pass
    except FileNotFoundError:
        make_leaf(os.path.dirname(folder), root)
        with contextlib.suppress(FileExistsError):
            os.mkdir(folder, 0o700, dir_fd=root)
