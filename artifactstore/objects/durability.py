"""All knowledge of how bytes and names become durable on a local file system.

A batch of files needs two barriers: one for the bytes before they get their names, one for the names. On
file systems known to honour it, `syncfs` is such a barrier for any number of files; elsewhere each file and
each folder is synced by itself. docs/adr/0007 has the measurements.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import sys
from functools import cache, cached_property
from typing import TYPE_CHECKING

from artifactstore.os_errors import release

if TYPE_CHECKING:
    import ctypes
    from collections.abc import Callable, Iterable

# statfs magic numbers of local file systems where syncfs flushes data, metadata and the device's cache.
# Source: linux/magic.h; syncfs(2). Not in the list: FUSE, NFS, SMB, 9p, whose syncfs promises less.
_SYNCFS_MAGIC = {
    0xEF53: "ext4",
    0x58465342: "xfs",
    0x9123683E: "btrfs",
    0xF2F52010: "f2fs",
    0x01021994: "tmpfs",
}
# The first kernel whose syncfs reports what could not be written. Source: syncfs(2), "Versions".
_SYNCFS_TELLS = (5, 8)
# What the two ways cost, in milliseconds; only their proportions matter. syncfs also waits for what other
# programs have left to write, a sync of each file does not. Measured by `python -m benchmarks barrier`.
_SYNC_EACH_BASE = 1.0
_SYNC_EACH_FILE = 0.2
_SYNCFS_MIB = 1.6  # of pages not written yet, by anybody
_THREADS = 16
_IN_A_ROW = 8  # names below which threads cost more than they gain


class FileSystem:
    """The barriers of the file system below one folder, for one writer.

    The kernel reports a failed write-back once to each descriptor that was open when it failed. On a
    descriptor that writers share, the first of them takes the error away, and the next is told that all is
    well. So each writer needs his own.

    Args:
        descriptor: of a folder on the file system, opened by this writer before his first write; he keeps and
            closes it.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @cached_property
    def _syncfs(self) -> Callable[[int], None] | None:
        # Not before something is written: ctypes is slow to load, and most commands only read.
        return _load_syncfs(self._descriptor)

    def whole_is_cheaper(self, file_count: int) -> bool:
        """Whether one barrier over the file system beats a sync of each file."""
        if self._syncfs is None:
            return False
        return dirty_kib() / 1024 * _SYNCFS_MIB < _SYNC_EACH_BASE + file_count * _SYNC_EACH_FILE

    def barrier(self) -> None:
        """Return when everything written to the file system so far is durable.

        Raises:
            OSError: the kernel could not write something since the descriptor was opened.
        """
        if self._syncfs is None:
            raise OSError(errno.ENOSYS, "syncfs is not available here")
        self._syncfs(self._descriptor)


def side_by_side(act: Callable[[str], None], names: Iterable[str]) -> None:
    """Do the same to many files or folders at once: the disk's journal takes what comes together as one.

    Measured beside other work on the disk: removing 3,000 objects so takes 0.3 of the time that a row takes.
    A few are done in a row: for the four folders of one object, threads took four times as long.
    """
    wanted = list(names)
    if len(wanted) <= _IN_A_ROW:
        for name in wanted:
            act(name)
        return
    from concurrent.futures import ThreadPoolExecutor

    def each(part: list[str]) -> None:
        for name in part:
            act(name)

    threads = min(_THREADS, len(wanted))
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(each, [wanted[number::threads] for number in range(threads)]):
            pass


def sync_path(name: str, *, folder: int | None = None, directory: bool = False) -> None:
    """Sync one file or folder by name.

    Args:
        folder: descriptor of the folder that the name is relative to.
    """
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | (os.O_DIRECTORY if directory else 0)
    descriptor = os.open(name, flags, dir_fd=folder)
    try:
        _full_sync(descriptor)
    finally:
        release(descriptor)


def make_folders(path: str, *, mode: int = 0o700) -> None:
    """Make a folder and what is missing above it, with all their names durable.

    Also the names that are there already: who made one may have died before the sync, or never cared.

    Args:
        path: absolute, without links.
        mode: permission bits of what is made, before the umask.
    """
    parent = os.path.dirname(path)
    if path == parent or os.path.ismount(path):
        return
    make_folders(parent, mode=mode)
    try:
        os.mkdir(path, mode)
    except FileExistsError:
        # Nobody may sync a folder that he cannot read; whoever made it for him answers for it.
        with contextlib.suppress(PermissionError):
            sync_path(parent, directory=True)
    else:
        sync_path(parent, directory=True)


def _full_sync(descriptor: int) -> None:
    if sys.platform == "darwin":
        import fcntl

        # fsync on macOS leaves the bytes in the disk's cache.
        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    else:
        os.fsync(descriptor)


def _load_syncfs(descriptor: int) -> Callable[[int], None] | None:
    """The system call, or None where it is missing or not to be trusted."""
    if sys.platform != "linux" or _kernel() < _SYNCFS_TELLS:
        return None
    import ctypes

    libc = _libc()
    # f_type is the first word of struct statfs; the rest is not read.
    buffer = (ctypes.c_long * 32)()
    if libc.fstatfs(descriptor, buffer) != 0 or (buffer[0] & 0xFFFFFFFF) not in _SYNCFS_MAGIC:
        return None

    def syncfs(target: int) -> None:
        if libc.syncfs(target) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))

    return syncfs


@cache
def _libc() -> ctypes.CDLL:
    import ctypes

    return ctypes.CDLL(None, use_errno=True)


def _kernel() -> tuple[int, ...]:
    """The first two numbers of the kernel's version."""
    return tuple(int(number) for number in re.findall(r"\d+", os.uname().release)[:2])


def dirty_kib() -> int:
    """Pages of all programs that are not written yet, in KiB; 0 where nobody can tell."""
    try:
        with open("/proc/meminfo", "rb") as file:
            return sum(int(line.split()[1]) for line in file if line.startswith((b"Dirty:", b"Writeback:")))
    except OSError:
        return 0
