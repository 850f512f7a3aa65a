"""Paths of this machine, and files read whole from places that may hold anything."""

from __future__ import annotations

import errno
import os
import stat

from artifactstore.errors import InvalidInputError
from artifactstore.paths import printable

_AT_LEAST = 1 << 16  # bytes asked for; some file systems announce no size


def check_local_path(path: str) -> str:
    """Return a path of this machine if the operating system can be asked for it, whatever is there.

    Raises:
        InvalidInputError: it holds a NUL, or what no name in a file system can be.
    """
    try:
        askable = b"\0" not in os.fsencode(path)
    except UnicodeEncodeError:
        askable = False
    if not askable:
        raise InvalidInputError(f"not a path: {printable(path)}")
    return path


def read_whole(path: str | os.PathLike[str], *, limit: int) -> bytes:
    """The bytes of a regular file; never waits for a writer, never takes more memory than is allowed.

    Args:
        limit: bytes that it may have.
    Raises:
        OSError: there is none, it cannot be read, is no regular file, or is larger; `strerror` says which.
    """
    # O_NONBLOCK: opening a FIFO must not wait for somebody to write to it.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file")
        with open(descriptor, "rb", closefd=False) as file:
            data = file.read(min(limit, max(status.st_size, _AT_LEAST)) + 1)
    finally:
        os.close(descriptor)
    if len(data) > limit:
        raise OSError(errno.EFBIG, f"it is larger than {limit} bytes")
    return data
