"""Parts of the push: the two ways to a durable batch, and the share of the log and its views."""

from __future__ import annotations

import contextlib
import os
import threading
import time
import uuid
from typing import TYPE_CHECKING

from artifactstore.objects.durability import dirty_kib
from benchmarks import targets
from benchmarks.library import beside, found, seconds_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from artifactstore.objects.durability import FileSystem
    from artifactstore.objects.local import LocalBackend
    from benchmarks.datasets import Dataset
    from benchmarks.library import Finding

BATCHES = (1, 3, 10, 32, 100, 1000)  # new files of one publication
FILE_SIZE = 4096  # bytes
NEIGHBOUR_BLOCK = 4 << 20  # bytes the neighbour writes at once
NEIGHBOUR_FILE = 512 << 20  # bytes after which it starts over
BACKLOG_KIB = 256 << 10  # of other programs' dirty pages in front of each busy publication


def barrier(directory: Path, *, rounds: int) -> list[Finding]:
    """One barrier over the file system against a sync of each file, alone and beside a busy writer."""
    from artifactstore.objects.local import LocalBackend

    backend = LocalBackend(str(directory / "barrier"))
    backend.attach(uuid.uuid4(), create=True)
    findings = []
    for busy in (False, True):
        with neighbour(directory / "neighbour") if busy else contextlib.nullcontext():
            for count in BATCHES:
                whole, each = [], []
                for _ in range(rounds):
                    for samples, way in ((whole, True), (each, False)):
                        if busy:
                            wait_for_backlog()
                        samples.append(publication(backend, count, whole=way) * 1000)  # [s] -> [ms]
                what = f"{count} new files, {'busy' if busy else 'quiet'} disk: syncfs / fsync of each"
                findings.append(found("barrier", what, whole, "ms", ratios=beside(whole, each)))
    backend.close()
    return findings


def publication(backend: LocalBackend, count: int, *, whole: bool) -> float:
    """Seconds to make a batch of new files durable, staging not counted."""
    with backend.batch() as batch:
        force(batch._file_system, whole=whole)  # the choice is what is measured
        for _ in range(count):
            batch.stage_bytes(os.urandom(FILE_SIZE))
        return seconds_of(batch.publish)


def force(file_system: FileSystem, *, whole: bool) -> None:
    """Take the choice of barrier away from the file system."""
    file_system.whole_is_cheaper = lambda _count: whole  # type: ignore[method-assign]


def wait_for_backlog() -> None:
    """Until the neighbour has enough unwritten pages again: the barrier before has flushed them."""
    give_up = time.monotonic() + 10
    while dirty_kib() < BACKLOG_KIB and time.monotonic() < give_up:
        time.sleep(0.01)


@contextlib.contextmanager
def neighbour(path: Path) -> Iterator[None]:
    """Another writer that keeps the disk busy through the page cache, until the block ends."""
    stop = threading.Event()

    def write() -> None:
        block = os.urandom(NEIGHBOUR_BLOCK)
        with path.open("wb", buffering=0) as file:
            while not stop.is_set():
                if file.tell() >= NEIGHBOUR_FILE:
                    file.seek(0)
                file.write(block)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        path.unlink()


def log_share(dataset: Dataset, directory: Path, *, rounds: int) -> list[Finding]:
    """What part of a push is encoding, log and views: the same events recorded alone, against the push."""
    import artifactstore
    from artifactstore import commit, packages
    from artifactstore.moment import Uuid7Source, system_clock

    labels = {"name": "w1", "producer": "bench", "subject": "w1", "retention_class": "raw-evidence"}
    pushes, records = [], []
    for number in range(rounds):
        with artifactstore.open(directory / f"push-{number}") as store:
            pushes.append(seconds_of(lambda: store.push(dataset.root, actor="bench", **labels)))
            package = store.list_packages().items[0]
            entries = [
                (file.relative_path, file.media_type, file.size, file.blake3, file.sha256, file.executable)
                for file in store.get_manifest(package.package_id).files
            ]
        with artifactstore.open(directory / f"record-{number}") as store:
            package_id = store.create_package(actor="bench", **labels)

            def record() -> None:
                with commit.transaction(
                    store._database,
                    actor="bench",
                    clock=system_clock,
                    new_id=Uuid7Source(system_clock),
                    shares=False,
                ) as transaction:
                    transaction.record(packages.ingested(package_id, entries, len(entries), "local", None))  # noqa: B023

            records.append(seconds_of(record))
    shares = beside(records, pushes)
    what = "encoding, log and views of W1's push"
    return [found("log share", what, shares, "", ratios=shares, most=targets.LOG_SHARE)]
