"""Whose turn it is to write: one thread of one process at a time, on a condition and a lock file."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from typing import TYPE_CHECKING

from artifactstore.errors import BusyError
from artifactstore.os_errors import release

if TYPE_CHECKING:
    from types import TracebackType


class WritersTurns:
    """The turns to write to one database, of all threads of this process and of other processes.

    Args:
        path: of the database; the lock file lies beside it.
        timeout: seconds to wait for other writers.
    """

    def __init__(self, path: str, timeout: float) -> None:
        self._path = path
        self._timeout = timeout
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._owner: object = None
        self._descriptor: int | None = None

    def take(self, owner: object) -> None:
        """Wait for the turn.

        Args:
            owner: who gives it back, also if this raises.
        Raises:
            BusyError: another writer had it for longer than the timeout.
        """
        deadline = time.monotonic() + self._timeout
        if not self.pause(owner):
            raise self._busy()
        if self._descriptor is None:
            self._descriptor = os.open(
                f"{self._path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
            )
        pause = 0.0005
        while True:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise self._busy() from None
                time.sleep(pause)
                pause = min(pause * 2, 0.01)
            else:
                return

    def give(self, owner: object) -> None:
        """Give the turn back, if this owner has it. What was committed is committed: this does not raise."""
        # The lock itself, not the condition: nothing can interrupt between taking it and the block.
        with self._lock:
            if self._owner is not owner:
                return
            try:
                if self._descriptor is not None:
                    fcntl.flock(self._descriptor, fcntl.LOCK_UN)
            except OSError:
                self.close()  # which gives the lock back as well
            finally:
                self._owner = None
                self._changed.notify()

    def pause(self, owner: object) -> bool:
        """Let no other thread of this process write; False if one still does when the time is up."""
        with self._lock:
            free = self._changed.wait_for(lambda: self._owner is None, self._timeout)
            if free:
                self._owner = owner
            return free

    def close(self) -> None:
        """Release the lock file."""
        if self._descriptor is not None:
            release(self._descriptor)
            self._descriptor = None

    def _busy(self) -> BusyError:
        message = f"another writer has held {self._path} for more than {self._timeout:g} s"
        return BusyError(message, hint="try again later")


class Turn:
    """One turn; a context manager.

    Not a generator: a signal that raises between the halves of one leaves it suspended, with the locks, for
    as long as anybody keeps the error.
    """

    def __init__(self, turns: WritersTurns) -> None:
        self._turns = turns

    def __enter__(self) -> None:
        try:
            self._turns.take(self)
        except BaseException:
            self._turns.give(self)
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._turns.give(self)
