"""What SQLite refuses, in the words of this package."""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING

import apsw

from artifactstore.errors import AccessError, ArtifactStoreError, BackendError, BusyError, IntegrityError
from artifactstore.os_errors import FULL, TOO_MANY_FILES, refusal, translation

if TYPE_CHECKING:
    from types import TracebackType

# Result codes; a stable part of SQLite's interface. Source: sqlite.org/rescode.html.
_PERM, _BUSY, _READONLY, _IOERR, _CORRUPT, _FULL, _CANTOPEN = 3, 5, 8, 10, 11, 13, 14
_PROTOCOL, _CONSTRAINT, _AUTH, _NOTADB = 15, 19, 23, 26
_READONLY_DBMOVED = 1032
# What the system said is told instead of SQLite's own "cannot open" or "disk I/O error".
_TOLD = frozenset({*FULL, *TOO_MANY_FILES, errno.EIO, errno.EROFS})


class Translating:
    """Turn SQLite's and the operating system's errors into ours, with the file's name.

    Args:
        connection: the one at work, which knows what the system has said to SQLite; may come later.
    """

    __slots__ = ("_path", "connection")

    def __init__(self, path: str, connection: apsw.Connection | None = None) -> None:
        self._path = path
        self.connection = connection

    def __enter__(self) -> Translating:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        ours = None if error is None else self.told(error)
        if ours is not None and ours is not error:
            raise ours from error

    def told(self, error: BaseException) -> ArtifactStoreError | None:
        """The error that a caller sees for this one; None if it is no error of the store."""
        if isinstance(error, ArtifactStoreError):
            return error
        if isinstance(error, OSError):
            return translation(error, f"the database {self._path}")
        if isinstance(error, UnicodeDecodeError):
            message = f"a text in {self._path} is damaged: {error}"
            return IntegrityError(message, code="database-damaged")
        if isinstance(error, apsw.Error):
            system_errno = 0
            with contextlib.suppress(apsw.ConnectionClosedError):
                system_errno = 0 if self.connection is None else self.connection.system_errno
            return refusal_of_sqlite(error, self._path, system_errno)
        return None


def refusal_of_sqlite(error: Exception, path: str, system_errno: int) -> ArtifactStoreError | None:
    """The error of this package for one of SQLite's; None for what only a bug of ours can cause.

    Args:
        error: as apsw raises it, with SQLite's codes.
        path: of the database.
        system_errno: what the system has said to SQLite, as in `errno`; 0 if nobody knows.
    """
    result = getattr(error, "result", 0)
    if result == _BUSY:
        message = f"another program has held {path} for longer than the timeout"
        return BusyError(message, hint="try again later")
    if result == _FULL:
        return refusal(errno.ENOSPC, f"the database {path}")
    if getattr(error, "extendedresult", 0) == _READONLY_DBMOVED:
        return BackendError(f"{path} was moved or replaced while it was open", retryable=True)
    if result in {_READONLY, _PERM, _AUTH}:
        return AccessError(f"cannot write {path}: {error}", hint="check its permissions and mount")
    if result in {_NOTADB, _CORRUPT}:
        # What SQLite says may hold bytes of the damaged file.
        said = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in str(error))
        return IntegrityError(f"{path} is damaged or not SQLite: {said}", code="database-damaged")
    if result == _CONSTRAINT:
        return IntegrityError(f"what the log of {path} says contradicts itself: {error}")
    if result in {_CANTOPEN, _IOERR, _PROTOCOL}:
        number = system_errno if system_errno in _TOLD else _refused_now()
        if number in _TOLD:
            return refusal(number, f"the database {path}", error)
        if result == _CANTOPEN and not may_be_written(path):
            return AccessError(f"cannot open {path}: {error}", hint=_why_not_opened(path))
        return BackendError(f"reading or writing {path} failed: {error}", retryable=True)
    return None


def may_be_written(path: str) -> bool:
    """Whether neither a mode nor a link stands in SQLite's way; asked without opening the file.

    Args:
        path: of a file that may not be there yet.
    """
    effective = os.access in os.supports_effective_ids
    folder = os.access(os.path.dirname(path), os.R_OK | os.W_OK | os.X_OK, effective_ids=effective)
    if not os.path.lexists(path):
        return folder
    plain = os.path.isfile(path) and not os.path.islink(path)
    return folder and plain and os.access(path, os.R_OK | os.W_OK, effective_ids=effective)


def _refused_now() -> int:
    """What the system says when any file is opened; 0 if nothing: SQLite keeps it to itself."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        return error.errno or 0
    return 0


def _why_not_opened(path: str) -> str:
    with contextlib.suppress(OSError):
        if os.statvfs(os.path.dirname(path)).f_flag & os.ST_RDONLY:
            return "it is on a read-only file system: copy it with its -wal to a place that can be written"
    return "check the path, its permissions and that it is no link"
