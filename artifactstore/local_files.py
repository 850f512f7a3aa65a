"""Paths of this machine, files read whole from places that may hold anything, and names given but once."""

from __future__ import annotations

import errno
import os
import stat
import sys

from artifactstore.errors import ConflictError, InvalidInputError
from artifactstore.paths import printable

_AT_LEAST = 1 << 16  # bytes asked for; some file systems announce no size
# Source: linux/fcntl.h, linux/fs.h.
_HERE = -100  # AT_FDCWD
_NOREPLACE = 1  # RENAME_NOREPLACE
_NOT_KNOWN = frozenset({errno.EINVAL, errno.ENOSYS})  # the kernel, or the file system, has no such rename


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


def check_name_is_free(path: str) -> None:
    """Refuse a name that something has.

    Raises:
        ConflictError: it is taken.
    """
    if os.path.lexists(path):
        raise _taken(path)


def rename_new(old: str, new: str) -> None:
    """Rename a file, unless something has the new name.

    Where the system cannot look and rename in one step, the look comes right before.

    Raises:
        ConflictError: the name is taken.
    """
    number = _renamed_new(old, new)
    if number == errno.EEXIST:
        raise _taken(new)
    if number in _NOT_KNOWN:
        check_name_is_free(new)
        os.rename(old, new)
    elif number:
        raise OSError(number, os.strerror(number), new)


def _renamed_new(old: str, new: str) -> int:
    """Rename in one step; 0, or the number of the error."""
    if sys.platform != "linux":
        return errno.ENOSYS
    import ctypes

    library = ctypes.CDLL(None, use_errno=True)
    if not hasattr(library, "renameat2"):
        return errno.ENOSYS
    done = library.renameat2(_HERE, os.fsencode(old), _HERE, os.fsencode(new), _NOREPLACE) == 0
    return 0 if done else ctypes.get_errno()


def _taken(path: str) -> ConflictError:
    return ConflictError(f"{printable(path)} exists already", hint="choose a new name, or remove it")
