"""Whose turn it is to write: one thread of one process at a time, by a queue and a lock file."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections import deque
from typing import TYPE_CHECKING

from artifactstore.errors import BusyError
from artifactstore.os_errors import release

if TYPE_CHECKING:
    from types import TracebackType

    from artifactstore.group_commit import Group


class _Place:
    """One who waits in the queue of a process."""

    __slots__ = ("called", "owner", "shares")

    def __init__(self, owner: object, *, shares: bool) -> None:
        self.owner = owner
        self.shares = shares
        self.called = threading.Lock()
        self.called.acquire()


class WritersTurns:
    """The turns to write to one database, of all threads of this process and of other processes.

    Threads of a process are served in the order in which they came.

    Args:
        path: of the database; the lock file lies beside it.
        timeout: seconds to wait for other writers.
    """

    def __init__(self, path: str, timeout: float) -> None:
        self._path = path
        self._timeout = timeout
        self._lock = threading.Lock()
        self._queue: deque[_Place] = deque()
        self._owner: object = None
        self._group: Group | None = None
        self._descriptor: int | None = None

    def take(self, owner: object, *, shares: bool = False) -> int:
        """Wait for the turn.

        Args:
            owner: who gives it back, also if this raises.
            shares: may be handed the turn with a group whose transaction is open; see `handed`.
        Returns:
            The descriptor of the lock file.
        Raises:
            BusyError: another writer had it for longer than the timeout.
        """
        deadline = time.monotonic() + self._timeout
        if not self.pause(owner, shares=shares):
            raise self._busy()
        if self._group is not None and self._descriptor is not None:
            return self._descriptor  # with the lock of those who began the group
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
                return self._descriptor

    def is_of(self, owner: object) -> bool:
        """Whether this owner has the turn."""
        with self._lock:
            return self._owner is owner

    def handed(self, owner: object) -> Group | None:
        """The group that this owner has got with the turn, if any."""
        with self._lock:
            return self._group if self._owner is owner else None

    def hand_over(self, group: Group) -> bool:
        """Pass the turn and a group on to whoever waits longest; False if nobody does, or wants no group."""
        with self._lock:
            if not self._queue or not self._queue[0].shares:
                return False
            self._group = group
            self._call_next()
            return True

    def give(self, owner: object) -> None:
        """Give the turn back, if this owner has it. What was committed is committed: this does not raise."""
        # Nothing can interrupt between taking a plain lock and the block.
        with self._lock:
            if self._owner is not owner:
                self._queue = deque(place for place in self._queue if place.owner is not owner)
                return
            try:
                if self._descriptor is not None:
                    fcntl.flock(self._descriptor, fcntl.LOCK_UN)
            except OSError:
                self.close()  # which gives the lock back as well
            finally:
                self._group = None
                self._call_next()

    def pause(self, owner: object, *, shares: bool = False) -> bool:
        """Let no other thread of this process write; False if one still does when the time is up."""
        with self._lock:
            if self._owner is None:
                self._owner = owner
                return True
            place = _Place(owner, shares=shares)
            self._queue.append(place)
        if place.called.acquire(timeout=self._timeout):
            return True
        with self._lock:
            if self._owner is owner:  # called in the last moment
                return True
            self._queue.remove(place)
            return False

    def close(self) -> None:
        """Release the lock file."""
        if self._descriptor is not None:
            release(self._descriptor)
            self._descriptor = None

    def _call_next(self) -> None:
        self._owner = None
        if self._queue:
            place = self._queue.popleft()
            self._owner = place.owner
            place.called.release()

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

    def __enter__(self) -> int:
        try:
            return self._turns.take(self)
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
