"""Inside a process that a drill drives: it stops before each step that others can see, until it may go on.

The steps are the real ones; only their moment is chosen. Where the process would wait for the write lock it
really tries to take it and stops as waiting, so nobody has to guess whether it is blocked.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from artifactstore import turns, upload_files
from artifactstore.database import Database
from artifactstore.objects.durability import FileSystem
from artifactstore.objects.local import LocalBackend
from artifactstore.objects.s3.calls import S3Calls

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection as Pipe

    from artifactstore.connection import Connection

WAITS = "waits for the write lock"

# Names that other processes look at: objects, what was set aside, staging folders, files of upload sessions.
_SHARED = re.compile(
    r"(?:^|/)(blake3/../../[0-9a-f]{64}|damaged/[^/]+|tmp/[0-9a-f]{16}|[0-9a-f-]{36}\.(?:json|part))$"
)
_CALLS_BY_NAME = ("link", "lstat", "mkdir", "open", "rename", "rmdir", "stat", "unlink")
_KEY = re.compile(r"(?:blake3/../../[0-9a-f]{64}|damaged/[^/]+|[^/]+)$")
_METHODS = (
    (Database, "read"),
    (Database, "backup"),
    (LocalBackend, "check_free"),
    (LocalBackend, "attach"),
    (FileSystem, "barrier"),
)


class Steps:
    """The stops of this process, told to its driver through a pipe."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe
        self._turn = threading.Lock()

    def stop(self, step: str) -> None:
        """Say which step comes next and wait until it may be done."""
        with self._turn:
            self._pipe.send(step)
            self._pipe.recv()

    def begin(self) -> None:
        """From here on stop before each step. It is never undone: the process must be one of its own."""
        for owner, name in _METHODS:
            self._stop_before(owner, name)
        for name in _CALLS_BY_NAME:
            self._stop_before_shared(name)
        self._stop_before_requests()
        self._stop_before_locks_of_uploads()
        self._stop_in_transactions()
        # The lock is tried again and again, with a pause in between: the pause is a stop.
        waiting = SimpleNamespace(monotonic=time.monotonic, sleep=lambda _pause: self.stop(WAITS))
        turns.time = waiting  # type: ignore[assignment]
        # The same steps on every machine, however many cores and dirty pages it has.
        os.cpu_count = lambda: 1
        self._one_thread()
        FileSystem.whole_is_cheaper = lambda _self, _count: True  # type: ignore[method-assign]

    def _stop_before(self, owner: type, name: str) -> None:
        call: Callable[..., Any] = getattr(owner, name)

        def stopped(*arguments: Any, **named: Any) -> Any:
            self.stop(name)
            return call(*arguments, **named)

        setattr(owner, name, stopped)

    def _stop_before_shared(self, name: str) -> None:
        call: Callable[..., Any] = getattr(os, name)

        def stopped(*arguments: Any, **named: Any) -> Any:
            for argument in arguments:
                found = _SHARED.search(argument) if isinstance(argument, str) else None
                if found:
                    self.stop(f"{name} {found[1]}")
                    break
            return call(*arguments, **named)

        setattr(os, name, stopped)

    def _stop_before_requests(self) -> None:
        call = S3Calls._call_once

        def stopped(calls: S3Calls, method: str, deadline: float, arguments: dict[str, Any]) -> Any:
            found = _KEY.search(arguments.get("Key", ""))
            self.stop(f"{method} {found[0] if found else ''}".rstrip())
            return call(calls, method, deadline, arguments)

        S3Calls._call_once = stopped  # type: ignore[method-assign]

    def _stop_before_locks_of_uploads(self) -> None:
        def flock(descriptor: int, operation: int) -> None:
            self.stop("lock of an upload")
            fcntl.flock(descriptor, operation)

        upload_files.fcntl = SimpleNamespace(LOCK_EX=fcntl.LOCK_EX, LOCK_NB=fcntl.LOCK_NB, flock=flock)

    def _one_thread(self) -> None:
        """Let what waits for a network do one thing after the other."""
        begin = ThreadPoolExecutor.__init__

        def begun(pool: ThreadPoolExecutor, _threads: int | None = None, *further: Any, **named: Any) -> None:
            begin(pool, 1, *further, **named)

        ThreadPoolExecutor.__init__ = begun  # type: ignore[assignment, method-assign]

    def _stop_in_transactions(self) -> None:
        write, create = Database.write, Database.create

        @contextlib.contextmanager
        def writing(database: Database, **named: Any) -> Iterator[Connection]:
            self.stop("begin")
            with write(database, **named) as connection:
                yield connection
                self.stop("commit")

        def creating(database: Database, fill: Callable[[Connection], None]) -> bool:
            def filling(connection: Connection) -> None:
                fill(connection)
                self.stop("commit")

            self.stop("create")
            return create(database, filling)

        Database.write = writing  # type: ignore[method-assign, assignment]
        Database.create = creating  # type: ignore[method-assign]
