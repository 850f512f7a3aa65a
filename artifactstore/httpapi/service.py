"""What all requests share: the store, who may do what, who waits, and what is being uploaded."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from typing import TYPE_CHECKING

from artifactstore.errors import ArtifactStoreError
from artifactstore.httpapi.access import Hosts, Tokens
from artifactstore.httpapi.checked_files import CheckedFiles
from artifactstore.httpapi.refusals import Refusal
from artifactstore.httpapi.wire import Limits

if TYPE_CHECKING:
    from collections.abc import Iterator

    from artifactstore.arrivals import Arrivals
    from artifactstore.store import Store
    from artifactstore.uploads import Uploads

_log = logging.getLogger(__name__)

LARGE = 1 << 18  # bytes above which a JSON body counts as large
_LARGE_AT_ONCE = 4
TENDING = 3600.0  # seconds between two looks for expired uploads


class Service:
    """The store behind the API.

    Args:
        store: stays the caller's; the service does not close it.
    """

    def __init__(
        self,
        store: Store,
        *,
        tokens: Tokens | None = None,
        hosts: Hosts | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.store = store
        self.tokens = tokens or Tokens()
        self.hosts = hosts or Hosts()
        self.limits = limits or Limits()
        self.arrivals: Arrivals = store.arrivals()
        self.uploads: Uploads = store.uploads()
        self.checked_files = CheckedFiles()
        self._waiters = threading.BoundedSemaphore(self.limits.waiters)
        self._next_tending: float | None = None  # None before the first time
        self.counting = threading.Condition()  # tells of changes of the number below
        self.waiting_count = 0
        self._handlers = threading.BoundedSemaphore(self.limits.handlers)
        self._large = threading.BoundedSemaphore(_LARGE_AT_ONCE)
        self._senders = threading.BoundedSemaphore(self.limits.senders)

    @contextlib.contextmanager
    def working(self, *, sending: bool) -> Iterator[None]:
        """One of the requests that are worked on at once.

        Args:
            sending: whether the request has a body, which may take its time to come. Those are not let into
                all places, so that they never keep out those who only ask.
        Raises:
            Refusal: 503, there are too many and none ends in time.
        """
        with contextlib.ExitStack() as held:
            for places in (self._senders, self._handlers) if sending else (self._handlers,):
                if not places.acquire(timeout=self.limits.patience):
                    raise Refusal(503, "the server has too much to do", hint="try again", code="overloaded")
                held.callback(places.release)
            yield

    @contextlib.contextmanager
    def reading_large(self) -> Iterator[None]:
        """One of the few requests at once whose large JSON body is in memory as values, each of which takes
        many times the space of its text.

        Raises:
            Refusal: 503, there are too many and none ends in time.
        """
        if not self._large.acquire(timeout=self.limits.patience):
            raise Refusal(503, "too many large documents come at once", hint="try again", code="overloaded")
        try:
            yield
        finally:
            self._large.release()

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """One of those who wait for events; while it waits, it is none of those who work.

        Raises:
            Refusal: 503, too many wait.
        """
        self.begin_waiting()
        self._handlers.release()
        try:
            yield
        finally:
            self._handlers.acquire()
            self.end_waiting()

    def begin_waiting(self) -> None:
        """Take a place among those who wait, until `end_waiting`.

        Raises:
            Refusal: 503, too many wait.
        """
        if not self._waiters.acquire(blocking=False):
            raise Refusal(503, "too many wait for events", hint="try again", code="overloaded")
        self._count_waiting(1)

    def end_waiting(self) -> None:
        """Give the place back."""
        self._count_waiting(-1)
        self._waiters.release()

    def _count_waiting(self, change: int) -> None:
        with self.counting:
            self.waiting_count += change
            self.counting.notify_all()

    def tend(self) -> None:
        """Remove upload sessions that nobody goes on with, now and then. Cheap to ask, and never raises."""
        now = time.monotonic()
        if self._next_tending is not None and now < self._next_tending:
            return
        threading.Thread(target=self._remove_expired, name="artifactstore-uploads", daemon=True).start()
        self._next_tending = now + TENDING

    @property
    def tended(self) -> bool:
        """Whether that has begun at least once."""
        return self._next_tending is not None

    def _remove_expired(self) -> None:
        try:
            self.uploads.remove_expired()
        except ArtifactStoreError as error:
            _log.warning("cannot remove expired uploads: %s", error.message)

    def close(self) -> None:
        """End all waits. Idempotent."""
        self.arrivals.close()
