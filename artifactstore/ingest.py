"""The pipeline that turns a directory into staged objects.

What looks as it did when an earlier call read it is not read again. Each other small file is read once,
hashed and written aside, on several cores once there are many; large files
stream through a ring of buffers. Objects become visible a batch at a time, each batch with two barriers.
What was ingested is kept as plain tuples in order of their paths, on disk once there are many, so memory
stays bounded.
"""

from __future__ import annotations

import hashlib
import marshal
import os
import stat
import weakref
from dataclasses import dataclass
from itertools import chain
from typing import IO, TYPE_CHECKING

from artifactstore import codec
from artifactstore.errors import InvalidInputError
from artifactstore.media_types import guess_media_type
from artifactstore.objects.backend import SMALL_FILE
from artifactstore.objects.staging import staging_elsewhere
from artifactstore.os_errors import release
from artifactstore.paths import printable
from artifactstore.results import IngestResult
from artifactstore.scan import Run
from artifactstore.seen_files import stamp_of
from artifactstore.sources import open_source, opened_folder, reading, stage_descriptor, unreadable
from artifactstore.workers import NETWORK_THREADS, Job, Workers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from artifactstore.objects.backend import Batch
    from artifactstore.objects.staging import Staging
    from artifactstore.scan import Scan
    from artifactstore.seen_files import SeenFiles, Stamp

    # relative path, media type, size, blake3, sha256, executable
    Entry = tuple[str, str, int, bytes, bytes, bool]
    OnProgress = Callable[["Progress"], None]
    # The file, whether its bytes are new, and how it looked.
    Result = tuple[Entry, bool, Stamp]
    # The results of a run, and what `Batch.adopt` takes.
    # None for a large file, which the calling thread streams.
    Answer = tuple[list[Result | None], tuple[dict[bytes, str], tuple[bytes, ...], tuple[bytes, ...]]]

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


@dataclass(frozen=True, slots=True)
class _Part:
    """A run, and the part of it that has to be read.

    Args:
        known: what need not be read, by their positions in the run.
        unknown: the rest of the run.
    """

    run: Run
    known: dict[int, Result]
    unknown: Run

    def __len__(self) -> int:
        return len(self.unknown)


def stage_directory(
    batch: Batch, scan: Scan, seen: SeenFiles | None = None, *, on_progress: OnProgress | None = None
) -> EntryList:
    """Stage every file of a directory that the selection takes.

    The last objects are staged, not published: the caller may add some and then calls `batch.publish`.

    Args:
        seen: files that need not be read again; notes all of them.

    Raises:
        InvalidInputError: a file or a name breaks a rule.
        SourceChangedError: something changed while it was read.
        BackendError: storage refused.
    """
    entries = EntryList()
    since_publish = 0
    for run, results in _staged_runs(batch, scan, seen):
        for position, result in enumerate(results):
            entry, new, stamp = result or _stage_one(batch, scan.root, run, position)
            entries.add(entry, new=new)
            if seen is not None:
                seen.note(entry[0], stamp, entry[3], entry[4])
        since_publish += len(results)
        if since_publish >= _BATCH_FILES:
            batch.publish()
            since_publish = 0
        if on_progress is not None:
            on_progress(Progress(entries.count, entries.total_size))
    return entries


def _staged_runs(
    batch: Batch, scan: Scan, seen: SeenFiles | None
) -> Iterator[tuple[Run, list[Result | None]]]:
    """The results of all runs in order."""
    place = batch.elsewhere()
    if place is None:
        yield from _staged_in_threads(batch, scan)
        return

    def receive(_part: _Part, answer: Answer) -> list[Result | None]:
        results, handed_over = answer
        doubles = batch.adopt(*handed_over)
        return [
            (result[0], False, result[2]) if doubles and result and result[0][3] in doubles else result
            for result in results
        ]

    job: Job[_Part, list[Result | None]] = Job(
        here=lambda part: stage_run(batch, scan.root, part.unknown),
        function=place.function,
        arguments=(scan.root, *place.arguments),
        descriptors=(scan.root, *place.descriptors),
        request=lambda part: (part.unknown.folder, part.unknown.source, part.unknown.names),
        receive=receive,
    )
    with Workers(job) as workers:
        for part, results in workers.spread(_part(batch, scan.root, run, seen) for run in scan.runs()):
            read = iter(results)
            both = (part.known.get(number) or next(read) for number in range(len(part.run)))
            yield part.run, list(both) if part.known else results


def _part(batch: Batch, root: int, run: Run, seen: SeenFiles | None) -> _Part:
    """Look which files of a run need not be read."""
    if seen is None or seen.is_empty:
        return _Part(run, {}, run)
    found: dict[int, Result] = {}
    with opened_folder(root, run.source) as folder:
        for number, (name, source) in enumerate(run.names):
            try:
                status = os.stat(source, dir_fd=folder, follow_symlinks=False)
            except OSError:
                continue  # to open it gives the precise error
            path, stamp = run.folder + name, stamp_of(status)
            digests = seen.digests(path, stamp)
            if digests is not None and stat.S_ISREG(status.st_mode):
                executable = bool(status.st_mode & stat.S_IXUSR)
                entry = (path, guess_media_type(name), status.st_size, *digests, executable)
                found[number] = entry, False, stamp
    there = batch.reuse([(entry[3], entry[2]) for entry, _, _ in found.values()])
    found = {number: result for number, result in found.items() if result[0][3] in there}
    if not found:
        return _Part(run, {}, run)
    names = [name for number, name in enumerate(run.names) if number not in found]
    return _Part(run, found, Run(run.folder, run.source, names))


def _staged_in_threads(batch: Batch, scan: Scan) -> Iterator[tuple[Run, list[Result | None]]]:
    """The same, a file at a time on each of many threads.

    Each file is read, also one that was seen before: next to the request for its object that costs nothing.
    """
    job: Job[Run, list[Result | None]] = Job(
        here=lambda run: stage_run(batch, scan.root, run),
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
) -> Callable[[tuple[str, str, list[tuple[str, str]]]], Answer]:
    """What a worker process does for `stage_directory`.

    Args:
        source: descriptor of the directory that is read.
        others: as in `staging_elsewhere`.
    """
    staging = staging_elsewhere(root, root_descriptor, folder, distrusted)

    def answer(request: tuple[str, str, list[tuple[str, str]]]) -> Answer:
        return stage_run(staging, source, Run(*request)), staging.hand_over(remember=_BATCH_FILES)

    return answer


def stage_run(batch: Staging | Batch, root: int, run: Run) -> list[Result | None]:
    """Stage the small files of one run."""
    results: list[Result | None] = []
    if not run.names:
        return results
    with opened_folder(root, run.source) as folder, reading(run.folder or "."):
        for name, source in run.names:
            descriptor = open_source(source, folder=folder)
            try:
                status = os.fstat(descriptor)
                if status.st_size >= SMALL_FILE:
                    results.append(None)
                else:
                    results.append(_stage_open(batch, descriptor, run.folder + name, name, status))
            finally:
                release(descriptor)
    return results


def _stage_one(batch: Batch, root: int, run: Run, position: int) -> Result:
    name, source = run.names[position]
    with opened_folder(root, run.source) as folder, reading(run.folder + name):
        descriptor = open_source(source, folder=folder)
        try:
            return _stage_open(batch, descriptor, run.folder + name, name, os.fstat(descriptor))
        finally:
            release(descriptor)


def _stage_open(
    batch: Staging | Batch, descriptor: int, path: str, name: str, status: os.stat_result
) -> Result:
    staged, executable = stage_descriptor(batch, descriptor, path, status)
    digests = staged.digests
    media_type = guess_media_type(name)
    entry = (path, media_type, staged.size, digests.blake3, digests.sha256, executable)
    return entry, staged.new, stamp_of(status)


def open_directory(directory: str) -> int:
    """Open the directory of a push.

    Raises:
        InvalidInputError: it does not exist or is no directory.
        AccessError: it may not be read.
    """
    try:
        return os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InvalidInputError(
            f"cannot read the directory {printable(directory)}: {reason}", hint="name a directory"
        ) from error
    except OSError as error:
        raise unreadable(error, f"the directory {printable(directory)}") from error
