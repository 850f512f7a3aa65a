"""Waiting for events, also those of other processes, without asking again and again.

Every commit of every process notes its last event in the lock file of the writers once it is durable, see
`acknowledged`. The kernel tells of that write (inotify). One thread listens for all who wait.

The same thread notices when somebody who waits over a network hangs up.

Source: inotify(7), epoll(7). Where there is no inotify, and on file systems that do not tell, the thread
looks at the log at intervals.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import select
import threading
import time
from typing import TYPE_CHECKING

from artifactstore.errors import ArtifactStoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_log = logging.getLogger(__name__)

_IN_MODIFY = 0x2
_IN_CLOEXEC_NONBLOCK = os.O_CLOEXEC | os.O_NONBLOCK
_TOLD = 5.0  # seconds after which even a listener that is told looks for itself
_UNTOLD = 0.25  # seconds between two looks without inotify


class Arrivals:
    """Tells threads when the log has grown beyond a place.

    Args:
        path: the lock file of the writers.
        newest: the sequence of the last event.
    """

    def __init__(self, path: str, newest: Callable[[], int]) -> None:
        self._newest = newest
        self._changed = threading.Condition()
        self._last = 0
        self._closed = False
        self._gone: set[int] = set()  # connections that have hung up while somebody waits for them
        self._poller = select.epoll()
        self._told = _watch(path)
        self._wake, self._waker = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        for descriptor in (self._wake, self._told):
            if descriptor is not None:
                self._poller.register(descriptor, select.EPOLLIN)
        self._thread = threading.Thread(target=self._listen, name="artifactstore-arrivals", daemon=True)
        self._thread.start()

    def wait(self, after: int, timeout: float, connection: int | None = None) -> bool:
        """Wait until there is an event behind `after`.

        Args:
            timeout: seconds.
            connection: descriptor of the socket of the one who waits, whose end is the end of the wait.
        Returns:
            False if there is none when the time is up, or the wait was ended.
        """
        if self._newest() > after:
            return True
        deadline = time.monotonic() + timeout
        with self._noticing(connection), self._changed:
            while self._last <= after:
                left = deadline - time.monotonic()
                if left <= 0 or self._closed or connection in self._gone:
                    return False
                self._changed.wait(left)
            return True

    @contextlib.contextmanager
    def _noticing(self, connection: int | None) -> Iterator[None]:
        """Let the thread that listens tell when a connection hangs up."""
        if connection is None:
            yield
            return
        with contextlib.suppress(OSError, ValueError):  # closed already, with the store or by the other side
            self._poller.register(connection, select.EPOLLRDHUP | select.EPOLLONESHOT)
        try:
            yield
        finally:
            with contextlib.suppress(OSError, ValueError):
                self._poller.unregister(connection)
            with self._changed:
                self._gone.discard(connection)

    @property
    def closed(self) -> bool:
        """Whether nobody may wait any more."""
        return self._closed

    def close(self) -> None:
        """End all waits. Idempotent."""
        with self._changed:
            if self._closed:
                return
            self._closed = True
            self._changed.notify_all()
        os.write(self._waker, b"x")
        self._thread.join()
        for descriptor in (self._wake, self._waker, self._told):
            if descriptor is not None:
                os.close(descriptor)
        self._poller.close()

    def _listen(self) -> None:
        while not self._closed:
            try:
                newest = self._newest()
            except ArtifactStoreError as error:
                _log.warning("cannot look for new events: %s", error.message)
            else:
                with self._changed:
                    if newest > self._last:
                        self._last = newest
                        self._changed.notify_all()
            ready = self._poller.poll(_UNTOLD if self._told is None else _TOLD)
            gone = {descriptor for descriptor, _ in ready} - {self._wake, self._told}
            if gone:
                with self._changed:
                    self._gone |= gone
                    self._changed.notify_all()
            if self._told is not None:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._told, 1 << 16)


def _watch(path: str) -> int | None:
    """A descriptor that becomes readable when the file is written to; None where nobody tells."""
    try:
        library = ctypes.CDLL(None, use_errno=True)
        descriptor = library.inotify_init1(_IN_CLOEXEC_NONBLOCK)
    except (OSError, AttributeError):
        return None
    if descriptor < 0:
        return None
    if library.inotify_add_watch(descriptor, os.fsencode(path), ctypes.c_uint32(_IN_MODIFY)) < 0:
        os.close(descriptor)
        return None
    return int(descriptor)
