"""What must rest while the process forks.

SQLite keeps POSIX locks, which a child does not inherit, and counts them in memory, which it does. If any
connection is open at a fork, even one that the child never touches, the child's own connections believe that
they hold locks which nobody holds: as soon as the parent closes its connections it removes the log that the
child writes to, and what the child has committed is gone. So every connection is closed before a fork, and
both sides open theirs anew.

Source: sqlite.org/howtocorrupt.html §2.6; `unixInodeInfo` in SQLite's os_unix.c.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import Protocol


class Resting(Protocol):
    """Something that can be brought to rest for the moment of a fork."""

    def before_fork(self) -> None:
        """Come to rest."""

    def after_fork(self, *, in_child: bool) -> None:
        """Go on, in the parent or in the child."""


class _Watch:
    def __init__(self) -> None:
        self._watched: weakref.WeakValueDictionary[int, Resting] = weakref.WeakValueDictionary()
        self._resting: list[Resting] = []
        self._turn = threading.Lock()
        self._registered = False

    def add(self, it: Resting) -> None:
        with self._turn:
            self._watched[id(it)] = it
            if not self._registered:
                self._registered = True
                os.register_at_fork(
                    before=self._before,
                    after_in_parent=lambda: self._after(in_child=False),
                    after_in_child=lambda: self._after(in_child=True),
                )

    def _before(self) -> None:
        self._turn.acquire()
        self._resting = list(self._watched.values())
        for it in self._resting:
            it.before_fork()

    def _after(self, *, in_child: bool) -> None:
        for it in self._resting:
            it.after_fork(in_child=in_child)
        self._resting = []
        self._turn.release()


# The one global of the package: a fork concerns the whole process, and its hooks cannot be taken back.
_watch = _Watch()


def watch(it: Resting) -> None:
    """Bring something to rest before each fork for as long as it lives; holds no reference to it."""
    _watch.add(it)
