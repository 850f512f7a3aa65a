"""Faults inside a process: the N-th call fails, or the process ends right before it.

Counted are the calls of the operating system that the package makes on the calling thread, and those that
SQLite makes to its files, which a layer of ours between both sees. Other threads have no faults: what they
do is not in one order, and a run must be one that can be repeated.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import gc
import os
import threading
import traceback
import warnings
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any
from unittest import mock

import apsw

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DIED = 137  # exit code of a process that a fault has ended
NAME = "faulty"
ERRORS = (errno.EIO, errno.ENOSPC, errno.EMFILE)
_CALLS = (
    *("open", "close", "read", "readv", "pread", "write", "pwrite", "fsync", "ftruncate"),
    *("mkdir", "rmdir", "rename", "link", "unlink", "stat", "lstat", "fstat", "listdir", "scandir"),
)


@dataclass
class Fault:
    """What happens at which call.

    Args:
        at: number of the call, from 0 on.
        error: of the operating system; None ends the process.
        count: calls so far.
        fired: the call that was hit.
        over: no call is hit any more.
    """

    at: int
    error: int | None
    count: int = 0
    fired: str | None = None
    over: bool = False

    def __post_init__(self) -> None:
        self._thread = threading.get_ident()

    def is_next(self, call: str) -> bool:
        """Count a call; true if it must fail. Does not return if the process ends here."""
        if threading.get_ident() != self._thread or self.fired is not None or self.over:
            return False
        self.count += 1
        if self.count <= self.at:
            return False
        self.fired = call
        if self.error is None:
            os._exit(DIED)
        return True


def _failing(fault: Fault, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(call)
    def wrapped(*arguments: Any, **named: Any) -> Any:
        if fault.is_next(name):
            if name == "close":
                # Linux has closed the descriptor even where it reports an error.
                call(*arguments)
            assert fault.error is not None
            raise OSError(fault.error, os.strerror(fault.error))
        return call(*arguments, **named)

    return wrapped


class _Layer(apsw.VFS):
    """SQLite's view of the file system."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        super().__init__(NAME, "", makedefault=True)

    def hit(self, call: str) -> None:
        """Count a call, and fail it if it is its turn."""
        if self.fault.is_next(call):
            full = self.fault.error == errno.ENOSPC
            # With the codes that an error of SQLite's own layer has.
            raise apsw.exceptionfor(apsw.SQLITE_FULL if full else apsw.SQLITE_IOERR)

    def xOpen(self, name: Any, flags: list[int]) -> _File:  # noqa: N802 - SQLite's name
        """Open a file; the connection uses the layer for all that follows."""
        self.hit("xOpen")
        return _File(self, name, flags)

    def xDelete(self, name: str, sync: bool) -> None:  # noqa: N802
        """Remove a file."""
        self.hit("xDelete")
        super().xDelete(name, sync)


class _File(apsw.VFSFile):
    """A file of SQLite."""

    def __init__(self, layer: _Layer, name: Any, flags: list[int]) -> None:
        self._layer = layer
        super().__init__("unix", name, flags)

    def xRead(self, amount: int, offset: int) -> bytes:  # noqa: N802
        self._layer.hit("xRead")
        return super().xRead(amount, offset)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        self._layer.hit("xWrite")
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:  # noqa: N802
        self._layer.hit("xSync")
        super().xSync(flags)

    def xTruncate(self, size: int) -> None:  # noqa: N802
        self._layer.hit("xTruncate")
        super().xTruncate(size)


@contextlib.contextmanager
def injected(fault: Fault) -> Iterator[None]:
    """What opens a store in this block meets the fault; it must close it there, too."""
    layer = _Layer(fault)
    with contextlib.ExitStack() as stack:
        # What an earlier error has left half done, the collector may end at any time, with calls of its own.
        gc.disable()
        stack.callback(gc.enable)
        stack.callback(layer.unregister)
        for name in _CALLS:
            stack.enter_context(mock.patch.object(os, name, _failing(fault, name, getattr(os, name))))
        stack.enter_context(mock.patch.object(fcntl, "flock", _failing(fault, "flock", fcntl.flock)))
        yield


def ended(act: Callable[[], object]) -> bool:
    """Do something in a child process; true if a fault has ended it."""
    with warnings.catch_warnings():
        # Of the threads of a test runner, which hold nothing that the child needs.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        code = 1
        try:
            act()
            code = 0
        except BaseException:
            traceback.print_exc()
            raise
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in {0, DIED}, code
    return code == DIED
