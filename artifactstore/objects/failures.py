"""What the operating system's errors about an object root mean to a caller."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from artifactstore.errors import AccessError, ArtifactStoreError, BackendError

if TYPE_CHECKING:
    from types import TracebackType


class translated:  # noqa: N801 - used like the functions of contextlib, and four times as fast as one
    """Turn the operating system's errors into ours."""

    __slots__ = ("_root",)

    def __init__(self, root: str) -> None:
        self._root = root

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if isinstance(error, OSError) and not isinstance(error, ArtifactStoreError):
            raise _translation(error, self._root) from error


def _translation(error: OSError, root: str) -> AccessError | BackendError:
    if isinstance(error, PermissionError):
        message = f"no permission for {error.filename or root} in the object root {root}"
        return AccessError(message, hint="check its owner and mode")
    if error.errno == errno.EROFS:
        message = f"the object root {root} is on a read-only file system"
        return AccessError(message, hint="remount it writable")
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        message = f"no space left for objects in {root}"
        return BackendError(message, hint="free some space", code="disk-full", retryable=True)
    message = f"the object root {root} failed: {error.strerror} ({error.filename or 'no file named'})"
    return BackendError(message, retryable=True)
