"""Where bytes come from: memory, a path, a binary file object or an iterator of chunks."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import stat
from typing import TYPE_CHECKING, Protocol

from artifactstore.digest import Hasher, digest_pair
from artifactstore.errors import AccessError, ArtifactStoreError, InvalidInputError, SourceChangedError
from artifactstore.objects.backend import SMALL_FILE
from artifactstore.objects.ring import pump
from artifactstore.os_errors import TOO_MANY_FILES, release, translation
from artifactstore.paths import printable
from artifactstore.reader import fill_from

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from artifactstore.digest import Buffer, DigestPair
    from artifactstore.objects.backend import Batch, Fill, Staged
    from artifactstore.objects.staging import Staging

    class Readable(Protocol):
        """What a binary file object must be able to do."""

        def read(self, size: int, /) -> bytes:
            """At most `size` bytes, none at the end."""

    Source = Buffer | str | os.PathLike[str] | Readable | Iterable[Buffer]

_NO_FOLDER_NOW = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
# Never waits for a writer of a FIFO, never follows a link, never becomes the terminal of the process.
_OPEN = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY


def stage(batch: Batch, source: Source) -> tuple[Staged, bool]:
    """Stage whatever a caller offers as the content of one file.

    Returns:
        What was staged, and whether the source is an executable file.
    Raises:
        InvalidInputError: the source is missing, is no regular file, or is nothing that has bytes.
        SourceChangedError: a file changed while it was read.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        with memoryview(source) as view, view.cast("B") as data:
            if len(data) < SMALL_FILE:
                return batch.stage_bytes(data), False

            def again() -> Fill:
                return _fill_from_chunks(iter((data,)))

            return batch.stage_stream(again(), expected=len(data), again=again), False
    if isinstance(source, str | os.PathLike):
        descriptor = open_source(os.fspath(source))
        try:
            with reading(os.fspath(source)):
                return stage_descriptor(batch, descriptor, os.fspath(source), os.fstat(descriptor))
        finally:
            release(descriptor)
    if isinstance(source, io.RawIOBase) and source.seekable():
        return _stage_seekable(batch, source), False
    fill = _reading(_fill_from_chunks(_chunks_of(source)), "the source")
    buffer = bytearray(SMALL_FILE)
    with memoryview(buffer) as view:
        length = fill(view)
        if length < SMALL_FILE:
            return batch.stage_bytes(view[:length]), False
        return batch.stage_stream(_fill_from_chunks(_after(view, fill))), False


def open_source(name: str, *, folder: int | None = None) -> int:
    """Open a file for reading without ever waiting or, below a folder, following a link.

    Args:
        folder: descriptor that `name` is relative to; None for a path of the caller, whose links are his.
    """
    flags = _OPEN if folder is None else _OPEN | os.O_NOFOLLOW
    try:
        return os.open(name, flags, dir_fd=folder)
    except FileNotFoundError as error:
        message = f"no such file: {printable(name)}"
        kind = InvalidInputError if folder is None else SourceChangedError
        raise kind(message) from error
    except OSError as error:
        if error.errno == errno.ELOOP:
            message = f"{printable(name)} became a symbolic link while it was read"
            raise SourceChangedError(message) from error
        raise unreadable(error, printable(name)) from error
    except ValueError as error:
        raise InvalidInputError(f"not a path: {printable(name)}") from error


def stage_descriptor(
    batch: Staging | Batch, descriptor: int, name: str, before: os.stat_result
) -> tuple[Staged, bool]:
    """Stage an open file and make sure that it did not change meanwhile.

    Args:
        before: the state of the file when it was opened.
    Raises:
        InvalidInputError: it is not a regular file.
        SourceChangedError: its size, times or length moved while it was read.
    """
    if not stat.S_ISREG(before.st_mode):
        raise InvalidInputError(f"{printable(name)} is not a regular file", code="not-a-regular-file")
    try:
        if before.st_size < SMALL_FILE:
            staged = batch.stage_bytes(_read_small(descriptor, before.st_size))
        else:
            staged = _stage_large(batch, descriptor, printable(name), before.st_size)
        after = os.fstat(descriptor)
    except OSError as error:
        if isinstance(error, ArtifactStoreError):
            raise
        raise unreadable(error, printable(name)) from error
    if staged.size != before.st_size or _identity(before) != _identity(after):
        raise SourceChangedError(
            f"{printable(name)} changed while it was read", hint="push again when its producer is done"
        )
    return staged, bool(before.st_mode & stat.S_IXUSR)


def _stage_large(batch: Staging | Batch, descriptor: int, name: str, size: int) -> Staged:
    start = os.lseek(descriptor, 0, os.SEEK_CUR)

    def again() -> Fill:
        os.lseek(descriptor, start, os.SEEK_SET)
        # One byte more than announced, as in `_read_small`.
        return _reading(fill_from_descriptor(descriptor, limit=size + 1), name)

    return batch.stage_stream(again(), expected=size, again=again)


def _stage_seekable(batch: Batch, raw: io.RawIOBase) -> Staged:
    """Stage a stream that can be read again, such as an object of another backend."""
    start = raw.tell()

    def again() -> Fill:
        raw.seek(start)
        return _reading(fill_from(raw), "the source")

    with memoryview(bytearray(SMALL_FILE)) as view:
        length = again()(view)
        if length < SMALL_FILE:
            return batch.stage_bytes(view[:length])
    return batch.stage_stream(again(), again=again)


def _identity(status: os.stat_result) -> tuple[int, int, int, int]:
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _read_small(descriptor: int, size: int) -> bytes:
    # One byte more than announced, so that growth shows; not more, since a file may grow without end.
    data = os.read(descriptor, size + 1)
    if len(data) < size:
        parts = [data]
        left = size + 1 - len(data)
        while left and (part := os.read(descriptor, left)):
            parts.append(part)
            left -= len(part)
        data = b"".join(parts)
    return data


def fill_from_descriptor(descriptor: int, *, limit: int) -> Fill:
    """Reads a file from where its descriptor stands.

    Args:
        limit: bytes to read at most.
    """
    left = limit

    def fill(buffer: memoryview) -> int:
        nonlocal left
        wanted = min(len(buffer), left)
        length = 0
        while length < wanted and (count := os.readv(descriptor, [buffer[length:wanted]])):
            length += count
        left -= length
        return length

    return fill


def file_digests(descriptor: int) -> DigestPair:
    """Both digests of an open file, in bounded memory; of one that grows, up to a byte more than it had."""
    size = os.fstat(descriptor).st_size
    if size < SMALL_FILE:
        return digest_pair(_read_small(descriptor, size))
    hasher = Hasher()
    pump(
        fill_from_descriptor(descriptor, limit=size + 1),
        (
            (lambda view, _offset: hasher.update_sha256(view), 1),
            (lambda view, _offset: hasher.update_blake3(view), 1),
        ),
    )
    return hasher.pair()


def _reading(fill: Fill, name: str) -> Fill:
    """A failure to read is the source's own; without this it would be taken for one of the backend."""

    def guarded(buffer: memoryview) -> int:
        try:
            return fill(buffer)
        except ArtifactStoreError:
            raise
        except OSError as error:
            raise unreadable(error, name) from error

    return guarded


@contextlib.contextmanager
def reading(name: str) -> Iterator[None]:
    """Turn what the operating system refuses about the caller's own file or folder into our errors."""
    try:
        yield
    except OSError as error:
        if isinstance(error, ArtifactStoreError):
            raise
        raise unreadable(error, printable(name)) from error


def unreadable(error: OSError, name: str) -> ArtifactStoreError:
    """Why the caller's own file or folder cannot be read.

    Args:
        name: printable.
    """
    if isinstance(error, PermissionError):
        return AccessError(f"cannot read {name}: permission denied")
    if error.errno in TOO_MANY_FILES:
        return translation(error, name)  # nothing is wrong with the file
    return InvalidInputError(f"cannot read {name}: {error.strerror or error}")


def _fill_from_chunks(chunks: Iterator[Buffer]) -> Fill:
    left: list[memoryview] = []

    def fill(buffer: memoryview) -> int:
        length = 0
        while length < len(buffer):
            if not left:
                chunk = next(chunks, None)
                if chunk is None:
                    break
                left.append(memoryview(chunk).cast("B"))
            part = left.pop()
            count = min(len(part), len(buffer) - length)
            buffer[length : length + count] = part[:count]
            length += count
            if count < len(part):
                left.append(part[count:])
        return length

    return fill


def _after(first: memoryview, fill: Fill) -> Iterator[Buffer]:
    """What was read already, then the rest."""
    yield first
    while length := fill(first):
        yield first[:length]


def _chunks_of(source: Readable | Iterable[Buffer]) -> Iterator[Buffer]:
    if hasattr(source, "read"):
        chunks = iter(lambda: source.read(1 << 20), b"")
    else:
        try:
            chunks = iter(source)
        except TypeError:
            message = f"a {type(source).__name__} holds no bytes"
            hint = "give bytes, a path, a binary file object or an iterator of bytes"
            raise InvalidInputError(message, hint=hint) from None
    for chunk in chunks:
        if not isinstance(chunk, bytes | bytearray | memoryview):
            message = f"the source gave a {type(chunk).__name__} instead of bytes"
            raise InvalidInputError(message, hint="open files in binary mode")
        yield chunk


@contextlib.contextmanager
def opened_folder(root: int, path: str) -> Iterator[int]:
    """Open a folder below a root, one name at a time, so that no part of the path can be a link.

    Raises:
        SourceChangedError: a part is no folder (any more).
    """
    shown = f"the folder {printable(path or '.')}"
    try:
        descriptor = os.dup(root)
    except OSError as error:
        raise unreadable(error, shown) from error
    try:
        for name in path.split("/") if path else ():
            try:
                below = os.open(
                    name,
                    os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC,
                    dir_fd=descriptor,
                )
            except OSError as error:
                if error.errno in _NO_FOLDER_NOW:
                    message = f"{shown} changed while it was read: {error.strerror}"
                    raise SourceChangedError(message) from error
                raise unreadable(error, shown) from error
            release(descriptor)
            descriptor = below
        yield descriptor
    finally:
        release(descriptor)
