"""Reading an object: a seekable stream that checks the digest when it is read whole."""

from __future__ import annotations

import contextlib
import io
import os
from collections import deque
from typing import TYPE_CHECKING, NoReturn

from artifactstore.digest import new_blake3
from artifactstore.errors import ArtifactStoreError, IntegrityError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from _typeshed import WriteableBuffer

    from artifactstore.objects.backend import Fill


_BLOCK = 1 << 20  # bytes read at once
_OBJECT = "the object"  # that nobody knows by another name


@contextlib.contextmanager
def named(name: str) -> Iterator[None]:
    """Let errors say which file it is that could not be read."""
    try:
        yield
    except ArtifactStoreError as error:
        raise error.about(name) from error.__cause__


class ObjectReader(io.RawIOBase):
    """A read-only binary stream over one object.

    Any range can be read without the rest. Bytes that are read in order from the start are hashed as they
    go by; when the last one was read so, the digest is compared, and damage raises instead of ending the
    stream. A reader that seeks gets what is stored, unchecked.

    Args:
        raw: the object's bytes.
        blake3: the digest they must have, 32 bytes.
        size: in bytes.
        name: what to call the file in an error; none if it has no other name than its digest.
    """

    def __init__(self, raw: io.RawIOBase, blake3: bytes, size: int, name: str = "") -> None:
        self._raw = raw
        self._expected = blake3
        self._size = size
        self._name = name
        self._hash = new_blake3()
        self._hashed = 0

    def readable(self) -> bool:
        """Always true."""
        return True

    def seekable(self) -> bool:
        """Always true."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Move to a position, in bytes."""
        return self._raw.seek(offset, whence)

    def fileno(self) -> int:
        """The descriptor, where the object is a file of this machine; what is read by it is not checked."""
        return self._raw.fileno()

    def tell(self) -> int:
        """The position, in bytes."""
        return self._raw.tell()

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Read into a buffer; 0 at the end.

        Raises:
            IntegrityError: all bytes were read in order and they are not the object's.
        """
        position = self._raw.tell()
        try:
            count = self._raw.readinto(buffer) or 0
        except ArtifactStoreError as error:
            if not self._name:
                raise
            raise error.about(self._name) from error.__cause__
        if position == self._hashed and self._hashed < self._size:
            with memoryview(buffer) as view, view.cast("B") as data, data[:count] as fresh:
                self._hash.update(fresh)
            self._hashed += count
            if self._hashed == self._size or count == 0:
                self._compare()
        return count

    def readall(self) -> bytes:
        """Everything from the position to the end, checked if the position is the start.

        Where several places have the object, wrong bytes of one are followed by those of the next.
        """
        while True:
            whole = self._raw.tell() == 0
            try:
                return self._rest()
            except IntegrityError:
                if not whole or not self.reject():
                    raise

    @property
    def has_others(self) -> bool:
        """Whether another place may have the object too."""
        return isinstance(self._raw, FallbackReader) and self._raw.has_others

    def reject(self) -> bool:
        """Leave a place whose bytes are wrong for another, and begin again at the start.

        Returns:
            False if there is no other place.
        """
        if not reject(self._raw):
            return False
        self._raw.seek(0)
        self._hash = new_blake3()
        self._hashed = 0
        return True

    def _rest(self) -> bytes:
        rest = bytearray(max(self._size - self._raw.tell(), 0))
        with memoryview(rest) as view:
            length = 0
            while count := self.readinto(view[length:]):
                length += count
        return bytes(rest[:length])

    def close(self) -> None:
        """Close the object."""
        self._raw.close()
        super().close()

    def _compare(self) -> None:
        if self._hash.digest() != self._expected:
            raise IntegrityError(
                f"the bytes of {self._name or _OBJECT} are not blake3:{self._expected.hex()}",
                hint="the stored object is damaged; restore it from a copy",
            )


def open_object(raw: io.RawIOBase, blake3: bytes, size: int, name: str = "") -> io.BufferedReader:
    """A buffered reader over an object, see `ObjectReader`."""
    if size == 0 and new_blake3().digest() != blake3:
        raise IntegrityError(f"{name or _OBJECT} cannot be empty: its digest is blake3:{blake3.hex()}")
    return io.BufferedReader(ObjectReader(raw, blake3, size, name), 1 << 16)


class FallbackReader(io.RawIOBase):
    """A seekable stream over an object that lies in several places: where one fails, the next goes on.

    Args:
        sources: each opens the object in one place, the best first.
        on_failure: told why a place could not give the object.
    """

    def __init__(
        self, sources: Iterable[Callable[[], io.RawIOBase]], on_failure: Callable[[ArtifactStoreError], None]
    ) -> None:
        self._sources = deque(sources)
        self._on_failure = on_failure
        self._first_failure: ArtifactStoreError | None = None
        self._raw: io.RawIOBase
        if not self._open_next():
            super().close()  # or its finalizer would close what was never opened
            self._give_up()

    def readable(self) -> bool:
        """Always true."""
        return True

    def seekable(self) -> bool:
        """Always true."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Move to a position, in bytes."""
        return self._raw.seek(offset, whence)

    def tell(self) -> int:
        """The position, in bytes."""
        return self._raw.tell()

    def fileno(self) -> int:
        """The descriptor, where the present place is on this machine; who reads by it turns to no other."""
        return self._raw.fileno()

    @property
    def has_others(self) -> bool:
        """Whether there are places that were not tried yet."""
        return bool(self._sources)

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Read into a buffer; 0 at the end.

        Raises:
            ArtifactStoreError: no place can go on; what the first one said.
        """
        while True:
            position = self._raw.tell()
            try:
                return self._raw.readinto(buffer) or 0
            except ArtifactStoreError as error:
                self._note(error)
            if not self.reject():
                self._give_up()
            self._raw.seek(position)

    def reject(self) -> bool:
        """Leave a place whose bytes are wrong; the position is the start then.

        Returns:
            False if there is no other place.
        """
        left = self._raw
        if not self._open_next():
            return False
        left.close()
        return True

    def close(self) -> None:
        """Close the object."""
        self._raw.close()
        super().close()

    def _open_next(self) -> bool:
        while self._sources:
            try:
                self._raw = self._sources.popleft()()
            except ArtifactStoreError as error:
                self._note(error)
            else:
                return True
        return False

    def _give_up(self) -> NoReturn:
        assert self._first_failure is not None  # noqa: S101 - there is a source, and each has failed
        raise self._first_failure

    def _note(self, error: ArtifactStoreError) -> None:
        self._on_failure(error)
        self._first_failure = self._first_failure or error


def reject(raw: io.RawIOBase) -> bool:
    """Turn to another place of an object, from its start; False if there is none."""
    return isinstance(raw, FallbackReader) and raw.reject()


def settle(raw: io.RawIOBase, blake3: bytes) -> None:
    """Turn an object of several places to one that has it right, for who can take nothing back; at its start.

    Only what is on this machine is read for that: what comes over a network is not fetched twice.
    """
    while isinstance(raw, FallbackReader) and raw.has_others and _is_here(raw):
        digest = new_blake3()
        fill = fill_from(raw)
        with memoryview(bytearray(_BLOCK)) as buffer:
            while count := fill(buffer):
                digest.update(buffer[:count])
        raw.seek(0)
        if digest.digest() == blake3 or not raw.reject():
            return


def _is_here(raw: io.RawIOBase) -> bool:
    try:
        raw.fileno()
    except io.UnsupportedOperation:
        return False
    return True


class MemoryReader(io.RawIOBase):
    """A read-only stream over bytes in memory."""

    def __init__(self, data: bytes) -> None:
        self._stream = io.BytesIO(data)

    def readable(self) -> bool:
        """Always true."""
        return True

    def seekable(self) -> bool:
        """Always true."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Move to a position, in bytes."""
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        """The position, in bytes."""
        return self._stream.tell()

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Read into a buffer; 0 at the end."""
        return self._stream.readinto(buffer)


def checked(raw: io.RawIOBase, blake3: bytes, size: int) -> io.RawIOBase:
    """A small object, read and compared with its digest at once.

    Raises:
        IntegrityError: it is damaged.
    """
    with open_object(raw, blake3, size) as stream:
        return MemoryReader(stream.read())


def fill_from(raw: io.RawIOBase) -> Fill:
    """Reads a raw stream in full buffers, as a ring wants them."""

    def fill(buffer: memoryview) -> int:
        length = 0
        while length < len(buffer):
            # Released also when the read raises: the buffer is closed then.
            with buffer[length:] as rest:
                count = raw.readinto(rest)
            if not count:
                break
            length += count
        return length

    return fill
