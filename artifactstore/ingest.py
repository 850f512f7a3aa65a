"""The pipeline that turns a directory into staged objects.

Each small file is read once, hashed and written aside, on several cores once there are many; large files
stream through a ring of buffers. Objects become visible a batch at a time, each batch with two barriers.
What was ingested is kept as plain tuples in order of their paths, on disk once there are many, so memory
stays bounded.
"""

from __future__ import annotations

import hashlib
import marshal
import os
import weakref
from dataclasses import dataclass
from itertools import chain
from typing import IO, TYPE_CHECKING

from artifactstore import codec
from artifactstore.errors import AccessError, InvalidInputError
from artifactstore.media_types import guess_media_type
from artifactstore.model import IngestResult
from artifactstore.objects.backend import SMALL_FILE
from artifactstore.objects.staging import staging_elsewhere
from artifactstore.scan import Run
from artifactstore.sources import open_source, opened_folder, stage_descriptor
from artifactstore.workers import NETWORK_THREADS, Job, Workers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from artifactstore.objects.backend import Batch
    from artifactstore.objects.staging import Staging
    from artifactstore.scan import Scan

    # relative path, media type, size, blake3, sha256, executable
    Entry = tuple[str, str, int, bytes, bytes, bool]
    OnProgress = Callable[["Progress"], None]
    # The file, and whether its bytes are new; None for a large one, which the calling thread streams.
    Result = tuple[Entry, bool] | None
    # The results of a run, and what `Batch.adopt` takes.
    _Answer = tuple[list[Result], tuple[dict[bytes, str], tuple[bytes, ...], tuple[bytes, ...]]]

_BATCH_FILES = 20_000  # files between two publications
_IN_MEMORY = 20_000  # entries kept in memory


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a call has come: files and bytes done so far."""

    files: int
    size: int


class EntryList:
    """Ingested files in order, in memory while they are few and in a temporary file beyond that."""

    def __init__(self) -> None:
        self.count = 0
        self.total_size = 0
        self.new_count = 0
        self.new_size = 0
        self._tail: list[Entry] = []
        self._file: IO[bytes] | None = None
        self._blocks = 0

    def add(self, entry: Entry, *, new: bool) -> None:
        """Append one file."""
        size = entry[2]
        self.count += 1
        self.total_size += size
        if new:
            self.new_count += 1
            self.new_size += size
        self._tail.append(entry)
        if len(self._tail) >= _IN_MEMORY:
            if self._file is None:
                import tempfile

                self._file = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the list
                weakref.finalize(self, self._file.close)
            self._file.seek(0, os.SEEK_END)
            marshal.dump(self._tail, self._file)
            self._blocks += 1
            self._tail = []

    def digest(self) -> bytes:
        """A sha256 over all entries, for telling one request from another."""
        listed = hashlib.sha256()
        for entry in self:
            listed.update(codec.encode_ordered(list(entry)))
        return listed.digest()

    def result(self, scan: Scan) -> IngestResult:
        """What the caller is told of an ingest."""
        return IngestResult(
            file_count=self.count,
            total_size=self.total_size,
            new_object_count=self.new_count,
            new_object_size=self.new_size,
            skipped=tuple(scan.skipped),
            warnings=scan.warnings,
        )

    def __iter__(self) -> Iterator[Entry]:
        return chain(self._spilled(), self._tail)

    def _spilled(self) -> Iterator[Entry]:
        if self._file is not None:
            self._file.seek(0)
            for _ in range(self._blocks):
                yield from marshal.load(self._file)  # noqa: S302 - our own private temporary file


def stage_directory(batch: Batch, scan: Scan, *, on_progress: OnProgress | None = None) -> EntryList:
    """Stage every file of a directory that the selection takes.

    The last objects are staged, not published: the caller may add some and then calls `batch.publish`.

    Raises:
        InvalidInputError: a file or a name breaks a rule.
        SourceChangedError: something changed while it was read.
        BackendError: storage refused.
    """
    entries = EntryList()
    since_publish = 0
    for run, results in _staged_runs(batch, scan):
        for position, result in enumerate(results):
            entry, new = result or _stage_one(batch, scan.root, run, position)
            entries.add(entry, new=new)
        since_publish += len(results)
        if since_publish >= _BATCH_FILES:
            batch.publish()
            since_publish = 0
        if on_progress is not None:
            on_progress(Progress(entries.count, entries.total_size))
    return entries


def _staged_runs(batch: Batch, scan: Scan) -> Iterator[tuple[Run, list[Result]]]:
    """The results of all runs in order."""
    place = batch.elsewhere()
    if place is None:
        yield from _staged_in_threads(batch, scan)
        return

    def receive(_run: Run, answer: _Answer) -> list[Result]:
        results, handed_over = answer
        doubles = batch.adopt(*handed_over)
        return [
            (result[0], False) if doubles and result and result[0][3] in doubles else result
            for result in results
        ]

    job: Job[Run, list[Result]] = Job(
        here=lambda run: _stage_run(batch, scan.root, run),
        function="artifactstore.ingest:staging_worker",
        arguments=(scan.root, *place.arguments),
        descriptors=(scan.root, *place.descriptors),
        request=lambda run: (run.folder, run.source, run.names),
        receive=receive,
    )
    with Workers(job) as workers:
        yield from workers.spread(scan.runs())


def _staged_in_threads(batch: Batch, scan: Scan) -> Iterator[tuple[Run, list[Result]]]:
    """The same, a file at a time on each of many threads."""
    job: Job[Run, list[Result]] = Job(
        here=lambda run: _stage_run(batch, scan.root, run),
        request=lambda run: run,
        receive=lambda _run, results: list(results),
        function="",
        arguments=(),
        threads=NETWORK_THREADS,
    )
    single = (Run(run.folder, run.source, [name]) for run in scan.runs() for name in run.names)
    with Workers(job) as workers:
        yield from workers.spread(single)


def staging_worker(
    source: int, root: str, root_descriptor: int, folder: int, distrusted: tuple[bytes, ...]
) -> Callable[[tuple[str, str, list[tuple[str, str]]]], _Answer]:
    """What a worker process does for `stage_directory`.

    Args:
        source: descriptor of the directory that is read.
        others: as in `staging_elsewhere`.
    """
    staging = staging_elsewhere(root, root_descriptor, folder, distrusted)

    def answer(request: tuple[str, str, list[tuple[str, str]]]) -> _Answer:
        return _stage_run(staging, source, Run(*request)), staging.hand_over(remember=_BATCH_FILES)

    return answer


def _stage_run(batch: Staging | Batch, root: int, run: Run) -> list[Result]:
    """Stage the small files of one run."""
    results: list[Result] = []
    with opened_folder(root, run.source) as folder:
        for name, source in run.names:
            descriptor = open_source(source, folder=folder)
            try:
                status = os.fstat(descriptor)
                if status.st_size >= SMALL_FILE:
                    results.append(None)
                else:
                    results.append(_stage_open(batch, descriptor, run.folder + name, name, status))
            finally:
                os.close(descriptor)
    return results


def _stage_one(batch: Batch, root: int, run: Run, position: int) -> tuple[Entry, bool]:
    name, source = run.names[position]
    with opened_folder(root, run.source) as folder:
        descriptor = open_source(source, folder=folder)
        try:
            return _stage_open(batch, descriptor, run.folder + name, name, os.fstat(descriptor))
        finally:
            os.close(descriptor)


def _stage_open(
    batch: Staging | Batch, descriptor: int, path: str, name: str, status: os.stat_result
) -> tuple[Entry, bool]:
    staged, executable = stage_descriptor(batch, descriptor, path, status)
    digests = staged.digests
    media_type = guess_media_type(name)
    return (path, media_type, staged.size, digests.blake3, digests.sha256, executable), staged.new


def open_directory(directory: str) -> int:
    """Open the directory of a push.

    Raises:
        InvalidInputError: it does not exist or is no directory.
        AccessError: it may not be read.
    """
    try:
        return os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except PermissionError as error:
        raise AccessError(f"cannot read the directory {directory!r}: permission denied") from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InvalidInputError(
            f"cannot read the directory {directory!r}: {reason}", hint="name a directory"
        ) from error
