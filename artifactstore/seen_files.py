"""What earlier calls have read of a directory, so that a file that looks the same need not be read again.

A file is believed to be the same while its device, inode, size and both times are. One that had changed only
just before it was read is never believed: a change right after the reading could bear the same times. All
this is a cache beside the store: whatever is wrong with it, files are read.
"""

from __future__ import annotations

import contextlib
import hashlib
import marshal
import os
import stat
from typing import IO, TYPE_CHECKING

from artifactstore.moment import system_clock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    # Device, inode, size in bytes, time of the last change of the bytes and of the inode, in nanoseconds.
    Stamp = tuple[int, int, int, int, int]
    # Relative path, stamp, blake3, sha256.
    _Seen = tuple[str, Stamp, bytes, bytes]

SETTLED = 2_000_000_000  # nanoseconds after which no file system gives a further change the same time
_HEAD = b"artifactstore seen files 1\n"
_BLOCK = 4096  # files that are read and checked together
_LENGTH, _SUM = 8, 16  # bytes in front of a block: its length, and the beginning of its sha256
_UNUSED = 90 * 86_400  # seconds after which what is known of a directory is dropped


def stamp_of(status: os.stat_result) -> Stamp:
    """By what a file is believed to be the same."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


class SeenFiles:
    """The files of one directory: what an earlier call has noted, and what this one notes.

    A context manager; what was noted is kept if the block ends well.

    Args:
        place: folder of the cache; made when it is needed.
        directory: real path of the directory.
        believe: False reads every file again, and still notes what was read.
    """

    def __init__(self, place: str, directory: str, *, believe: bool = True) -> None:
        self._place = place
        self._path = os.path.join(place, hashlib.sha256(os.fsencode(directory)).hexdigest()[:32])
        self._earlier = self._read() if believe else iter(())
        self._next: _Seen | None = None
        self._noted: list[_Seen] = []
        self._new: IO[bytes] | None = None
        self._is_cut = False
        self._settled_before = 0
        self._open = contextlib.ExitStack()

    def __enter__(self) -> SeenFiles:
        self._settled_before = system_clock() * 1000 - SETTLED
        self._next = next(self._earlier, None)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        kept = False
        try:
            if kind is None and not self._is_cut:
                self._write_block()
                kept = self._keep()
        finally:
            if self._new is not None and not kept:
                with contextlib.suppress(OSError):
                    os.unlink(self._new.name)
            with contextlib.suppress(OSError):  # the call may be acknowledged already
                self._open.close()

    @property
    def is_empty(self) -> bool:
        """Whether nothing (more) is known."""
        return self._next is None

    def digests(self, path: str, stamp: Stamp) -> tuple[bytes, bytes] | None:
        """The blake3 and sha256 of a file that looks the same as when it was read.

        Args:
            path: relative, and not before any that was asked for earlier.
        """
        while self._next is not None and self._next[0] < path:
            self._next = next(self._earlier, None)
        seen = self._next
        return seen[2:] if seen is not None and seen[:2] == (path, stamp) else None

    def note(self, path: str, stamp: Stamp, blake3: bytes, sha256: bytes) -> None:
        """Remember what was read; in the order of the paths."""
        if max(stamp[3:]) < self._settled_before:
            self._noted.append((path, stamp, blake3, sha256))
            if len(self._noted) == _BLOCK:
                self._write_block()

    def _read(self) -> Iterator[_Seen]:
        """What is known, in the order of the paths, up to whatever is wrong with the file."""
        with contextlib.suppress(OSError, ValueError, EOFError, TypeError):
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
            file = self._open.enter_context(open(descriptor, "rb"))  # noqa: SIM115 - closed with the others
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or file.read(len(_HEAD)) != _HEAD:
                return
            while head := file.read(_LENGTH + _SUM):
                length = int.from_bytes(head[:_LENGTH], "big")
                block = file.read(length) if length < status.st_size else b""
                if hashlib.sha256(block).digest()[:_SUM] != head[_LENGTH:]:
                    return
                yield from marshal.loads(block)  # noqa: S302 - our own file, and just as we wrote it

    def _write_block(self) -> None:
        """Move what was noted to a new file, if there can be one."""
        block = marshal.dumps(self._noted)
        self._noted = []
        head = len(block).to_bytes(_LENGTH, "big") + hashlib.sha256(block).digest()[:_SUM]
        try:
            if self._new is None:
                self._new = self._begin()
            self._new.write(head + block)
        except OSError:
            self._is_cut = True  # what follows would have a gap before it

    def _begin(self) -> IO[bytes]:
        import tempfile

        os.makedirs(self._place, mode=0o700, exist_ok=True)
        file = tempfile.NamedTemporaryFile(dir=self._place, delete=False)  # noqa: SIM115 - as above
        self._open.enter_context(file)
        file.write(_HEAD)
        return file

    def _keep(self) -> bool:
        """Put the new file in the place of the earlier one; says whether that went well."""
        with contextlib.suppress(OSError):
            if self._new is not None and not self._is_cut:
                self._new.flush()
                os.replace(self._new.name, self._path)
                self._drop_unused()
                return True
        return False

    def _drop_unused(self) -> None:
        """Remove what belongs to directories that nobody has pushed for long, and what a crash has left."""
        newest = os.stat(self._path).st_mtime
        with os.scandir(self._place) as listing:
            for entry in listing:
                if entry.stat(follow_symlinks=False).st_mtime < newest - _UNUSED:
                    os.unlink(entry.path)
