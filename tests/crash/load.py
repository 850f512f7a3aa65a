"""Many writers on one store at once: the rows of the load drill, and what one of its processes does.

To add a row: add one line to `LOADS`. A door other than the library is a context manager that gives a
function which ingests one file and returns when that is acknowledged. Load over HTTP: `httpapi.test_load`.
"""

from __future__ import annotations

import contextlib
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from store.harness import SAID, Home

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path
    from threading import Barrier

    # Ingests these bytes under this path and returns the package, once it is acknowledged.
    Ingest = Callable[[str, bytes], str]

_SHARED_EACH = 4  # every so many ingests bring bytes that all others bring too


@dataclass(frozen=True)
class Acknowledged:
    """One ingest that was acknowledged, with the system-wide monotonic times of its begin and end."""

    package: str
    path: str
    began: float
    ended: float


@contextlib.contextmanager
def library(root: Path) -> Iterator[Ingest]:
    """One open store, shared by all threads of the process, and a package of its own."""
    with Home(root).open(create=False) as store:
        package = store.create_package(**SAID)

        def ingest(path: str, data: bytes) -> str:
            store.ingest_file(package, path, data, actor="ada")
            return package

        yield ingest


@dataclass(frozen=True)
class Load:
    """A row: processes with threads, each of which ingests so many files."""

    name: str
    processes: int
    threads: int
    ingests: int
    door: Callable[[Path], AbstractContextManager[Ingest]] = library


LOADS: tuple[Load, ...] = (
    Load("50 threads", processes=1, threads=50, ingests=20),
    Load("8 processes", processes=8, threads=1, ingests=200),
)


def content(path: str) -> bytes:
    """What is ingested under a path: its own bytes, or the same as others."""
    number = int(path.rpartition("-")[2])
    return b"the same for all\n" if number % _SHARED_EACH == 0 else f"{path}\n".encode() * 100


_together: Barrier


def wait_for(barrier: Barrier) -> None:
    """Give a new process what it waits at until all others are ready."""
    global _together  # noqa: PLW0603 - of this process, which has no other way to be given a barrier
    _together = barrier


def run(row: Load, process: int, root: Path) -> list[Acknowledged]:
    """The part of one process; any error is the caller's."""
    with row.door(root) as ingest, ThreadPoolExecutor(row.threads) as threads:

        def one_thread(thread: int) -> list[Acknowledged]:
            acknowledged = []
            for number in range(row.ingests):
                path = f"{process}-{thread}-{number}"
                began = time.monotonic()
                package = ingest(path, content(path))
                acknowledged.append(Acknowledged(package, path, began, time.monotonic()))
            return acknowledged

        _together.wait()
        return [each for part in threads.map(one_thread, range(row.threads)) for each in part]
