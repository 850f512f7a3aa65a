"""The evidence of a push: read for its digests first, and then sent, but only what the server lacks."""

from __future__ import annotations

import os
import uuid
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from artifactstore import packages
from artifactstore.client.digesting import Digesting, Spool
from artifactstore.digest import Digest
from artifactstore.errors import InvalidInputError, SourceChangedError
from artifactstore.ingest import Progress, open_directory, stage_directory
from artifactstore.manifest import ManifestEncoder, ManifestFile
from artifactstore.os_errors import release
from artifactstore.paths import printable
from artifactstore.results import IngestResult
from artifactstore.scan import Scan, Selection
from artifactstore.sources import open_source, opened_folder, reading, stage, stage_descriptor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future

    from artifactstore.ingest import Entry, EntryList, OnProgress
    from artifactstore.objects.backend import Staged
    from artifactstore.packages import Details
    from artifactstore.sources import Source

    Send = Callable[[Entry, int], object]  # the file and its descriptor

_WAITING = 4  # files a thread that may wait to be sent, so that few are open at once


@dataclass(frozen=True, slots=True)
class Tree:
    """A directory and the digests of all that is taken of it."""

    directory: str
    root: int
    selection: Selection
    scan: Scan
    entries: EntryList

    def content_digest(self, details: Details) -> Digest:
        """The digest that the content of a package with exactly these files has."""
        described = packages.described(details, package_id="", store_id=uuid.UUID(int=0), created_at=0)
        encoder = ManifestEncoder(described, self.entries.count)
        for _ in encoder.chunks(ManifestFile(*entry) for entry in self.entries):
            pass
        return Digest("sha256", encoder.content_digest)

    def result(self, missing: set[bytes]) -> IngestResult:
        """What the caller is told.

        Args:
            missing: blake3 of what the server did not have.
        """
        left = set(missing)
        new_count = new_size = 0
        for entry in self.entries:
            if entry[3] in left:
                left.remove(entry[3])
                new_count += 1
                new_size += entry[2]
        return IngestResult(
            file_count=self.entries.count,
            total_size=self.entries.total_size,
            new_object_count=new_count,
            new_object_size=new_size,
            skipped=tuple(self.scan.skipped),
            warnings=self.scan.warnings,
        )


@contextmanager
def read_tree(
    directory: str | os.PathLike[str], selection: Selection | None, on_progress: OnProgress | None
) -> Iterator[Tree]:
    """Read a directory for its digests; it stays open for sending.

    Raises:
        as `Store.ingest_directory`.
    """
    path = os.fspath(directory)
    chosen = selection or Selection()
    root = open_directory(path)
    try:
        scan = Scan(root, os.path.realpath(path), chosen, frozenset())
        entries = stage_directory(Digesting(), scan, on_progress=on_progress)
        if not entries.count:
            message = f"the directory {printable(path)} has no files to take"
            raise InvalidInputError(message, hint="an empty package is no evidence", code="empty-package")
        yield Tree(path, root, chosen, scan, entries)
    finally:
        release(root)


def send_files(
    tree: Tree,
    wanted: Callable[[Entry], bool],
    send: Send,
    threads: int,
    on_progress: OnProgress | None,
    give_up: Callable[[], object],
) -> None:
    """Send the files that are wanted, several at once.

    The directory is walked again. What is not as it was when it was digested is not sent.

    Args:
        wanted: whether a file is to be sent; asked in order, on this thread.
        send: sends one; called on several threads.
        give_up: ends what these threads wait for, when the caller is interrupted.
    Raises:
        SourceChangedError: something changed since the digests were taken.
        what `send` raises first.
    """
    done = size = 0
    coming: deque[Future[int]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="artifactstore-send") as pool:
        try:
            for entry, folder, name in _again(tree):
                if wanted(entry):
                    coming.append(pool.submit(_send_one, tree, folder, name, entry, send))
                else:
                    done, size = done + 1, size + entry[2]
                while len(coming) >= threads * _WAITING:
                    done, size = done + 1, size + coming.popleft().result()
                if on_progress is not None:
                    on_progress(Progress(done, size))
            while coming:
                done, size = done + 1, size + coming.popleft().result()
                if on_progress is not None:
                    on_progress(Progress(done, size))
        except BaseException as error:
            pool.shutdown(wait=False, cancel_futures=True)
            if not isinstance(error, Exception):
                give_up()
            raise


def _again(tree: Tree) -> Iterator[tuple[Entry, str, str]]:
    """Every file with the folder on disk and the name there where its bytes are."""
    changed = SourceChangedError(f"{printable(tree.directory)} changed while it was read")
    scan = Scan(tree.root, os.path.realpath(tree.directory), tree.selection, frozenset())
    entries = iter(tree.entries)
    for run in scan.runs():
        for name, source in run.names:
            entry = next(entries, None)
            if entry is None or entry[0] != run.folder + name:
                raise changed
            yield entry, run.source, source
    if next(entries, None) is not None:
        raise changed


def _send_one(tree: Tree, folder: str, name: str, entry: Entry, send: Send) -> int:
    with opened_folder(tree.root, folder) as opened, reading(entry[0]):
        descriptor = open_source(name, folder=opened)
    try:
        send(entry, descriptor)
    finally:
        release(descriptor)
    return entry[2]


@contextmanager
def opened_source(source: Source) -> Iterator[tuple[Staged, bool, int]]:
    """The content of one file, whatever it comes from: digests, whether it is executable, an open file.

    Raises:
        as `Store.ingest_file`.
    """
    if isinstance(source, str | os.PathLike):
        path = os.fspath(source)
        descriptor = open_source(path)
        try:
            with reading(path):
                staged, marked = stage_descriptor(Digesting(), descriptor, path, os.fstat(descriptor))
                yield staged, marked, descriptor
        finally:
            release(descriptor)
    else:
        with Spool() as spool:
            staged, marked = stage(spool, source)
            yield staged, marked, spool.descriptor
