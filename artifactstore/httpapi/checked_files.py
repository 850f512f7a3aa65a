"""Which stored files were read to the end a short while ago, and the digest that they had."""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

TRUSTED = 600.0  # seconds
_KEPT = 4096  # files

Looks = tuple[int, int, int, int, int]


class CheckedFiles:
    """What need not be read a second time before it is sent. Safe to share between threads.

    A file counts for as long as it is the same one and looks as it did: whoever writes to it changes its
    times. What decays without a write is found again after `TRUSTED` seconds, or by `storage verify`.

    Args:
        clock: seconds, only forward.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._found: OrderedDict[Looks, tuple[bytes, float]] = OrderedDict()

    def note(self, descriptor: int, looks: Looks, digest: bytes) -> None:
        """Say that an open file was read to the end, and which digest it had.

        Args:
            looks: of the file before it was read; if it is not so any more, nothing is known.
        """
        if looks_of(descriptor) != looks:
            return
        with self._lock:
            self._found.pop(looks, None)
            self._found[looks] = digest, self._clock() + TRUSTED
            while len(self._found) > _KEPT:
                self._found.popitem(last=False)

    def knows(self, looks: Looks, digest: bytes) -> bool:
        """Whether a file that looks so had this digest a short while ago."""
        return self.digest_of(looks) == digest

    def digest_of(self, looks: Looks) -> bytes | None:
        """The digest that a file that looks so had a short while ago; None if nobody has read it."""
        with self._lock:
            found, until = self._found.get(looks, (b"", 0.0))
        return found if self._clock() < until else None


def looks_of(descriptor: int) -> Looks:
    """What tells an open file from others, and from itself after a write."""
    state = os.fstat(descriptor)
    return state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns
