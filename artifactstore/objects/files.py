"""Writing one new file from a stream, past the page cache where the file system allows it."""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
from typing import TYPE_CHECKING

from artifactstore.objects.ring import pump

if TYPE_CHECKING:
    from collections.abc import Sequence

    from artifactstore.digest import Buffer
    from artifactstore.objects.backend import Fill
    from artifactstore.objects.ring import Consume

NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
_SECTOR = 4096  # bytes; direct I/O wants lengths and offsets in multiples of it
_WRITERS = 2  # threads; more gain nothing on one disk


def write_new(name: str, data: Buffer, *, folder: int, mode: int) -> None:
    """Write a file that must not exist; not durable yet.

    Args:
        folder: descriptor that `name` is relative to.
        mode: permission bits before the umask.
    """
    descriptor = os.open(name, NEW_FILE, mode, dir_fd=folder)
    try:
        written = os.write(descriptor, data)
        if written < len(data):
            with memoryview(data) as view:
                while written < len(view):
                    written += os.write(descriptor, view[written:])
    finally:
        os.close(descriptor)


def write_stream(name: str, fill: Fill, *, folder: int, mode: int, hashes: Sequence[Consume]) -> int:
    """Write a file that must not exist from a stream, hashing on the way; not durable yet.

    Args:
        folder: descriptor that `name` is relative to.
        mode: permission bits before the umask.
        hashes: each sees all bytes in order, on a thread of its own.
    Returns:
        The size in bytes.
    """
    descriptor, direct = _open(name, folder, mode)
    try:
        size = pump(
            fill,
            (
                *((consume, 1) for consume in hashes),
                (lambda view, offset: _write_at(descriptor, view, offset, direct=direct), _WRITERS),
            ),
        )
        if direct:
            os.ftruncate(descriptor, size)
    finally:
        os.close(descriptor)
    return size


def _open(name: str, folder: int, mode: int) -> tuple[int, bool]:
    """A new file for direct I/O, which is several times as fast as the page cache; else a plain one."""
    direct = getattr(os, "O_DIRECT", 0)
    if direct:
        try:
            return os.open(name, NEW_FILE | direct, mode, dir_fd=folder), True
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            # Some file systems refuse direct I/O only after they have made the file.
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=folder)
    return os.open(name, NEW_FILE, mode, dir_fd=folder), False


def _write_at(descriptor: int, view: memoryview, offset: int, *, direct: bool) -> None:
    whole = len(view) - len(view) % _SECTOR if direct else len(view)
    written = 0
    while written < whole:
        written += os.pwrite(descriptor, view[written:whole], offset + written)
    if whole < len(view):
        # The last sector goes out padded; the file is cut to its length when the stream has ended.
        with mmap.mmap(-1, _SECTOR) as sector:
            sector[: len(view) - whole] = bytes(view[whole:])
            if os.pwrite(descriptor, sector, offset + whole) < len(view) - whole:
                # Direct I/O cannot go on in the midst of a sector, and a disk with room takes all of it.
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
