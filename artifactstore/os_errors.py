"""What the operating system refuses, in the words of this package."""

from __future__ import annotations

import contextlib
import errno
import os

from artifactstore.errors import AccessError, BackendError

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
TOO_MANY_FILES = frozenset({errno.EMFILE, errno.ENFILE})


def refusal(number: int, subject: str, cause: object = None) -> AccessError | BackendError:
    """The error of this package for a number of the system.

    Args:
        number: as in `errno`.
        subject: what could not be used, with its path.
        cause: what else is known, such as the name of a file below the subject.
    """
    detail = "" if cause is None else f" ({cause})"
    if number in {errno.EACCES, errno.EPERM}:
        return AccessError(f"no permission for {subject}{detail}", hint="check its owner and mode")
    if number == errno.EROFS:
        return AccessError(f"{subject} is on a read-only file system{detail}", hint="remount it writable")
    if number in FULL:
        return BackendError(
            f"no space left for {subject}", hint="free some space", code="disk-full", retryable=True
        )
    if number in TOO_MANY_FILES:
        return BackendError(
            f"too many open files: cannot use {subject}",
            hint="close some, or raise the limit that `ulimit -n` shows",
            code="too-many-open-files",
            retryable=True,
        )
    return BackendError(f"{subject} failed: {os.strerror(number)}{detail}", retryable=True)


def translation(error: OSError, subject: str) -> AccessError | BackendError:
    """The error of this package for one of the system."""
    return refusal(error.errno or errno.EIO, subject, error.filename)


def release(descriptor: int) -> None:
    """Close a descriptor that was only read, searched or locked: if that fails, nothing is lost by it."""
    with contextlib.suppress(OSError):
        os.close(descriptor)
