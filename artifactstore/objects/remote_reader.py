"""Reading a remote object by ranges."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from _typeshed import WriteableBuffer

    # Bytes from a position on; never none before the end.
    Fetch = Callable[[int, int], bytes | bytearray]

FIRST_BLOCK = 1 << 20  # bytes read at once after a jump
NEXT_BLOCK = 8 << 20  # bytes read at once by a reader that goes on in order


class RemoteReader(io.RawIOBase):
    """A seekable stream over a remote object, of which one block is in memory.

    Args:
        fetch: gets a position and a length.
        size: of the object, in bytes.
        first: its first bytes, if they are known.
    """

    def __init__(self, fetch: Fetch, size: int, first: bytes | bytearray = b"") -> None:
        self._fetch = fetch
        self._size = size
        self._position = 0
        self._start = 0
        self._block = first

    def readable(self) -> bool:
        """Always true."""
        return True

    def seekable(self) -> bool:
        """Always true."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Move to a position, in bytes."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError(f"a position before the start: {base + offset}")
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        """The position, in bytes."""
        return self._position

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Read into a buffer; 0 at the end."""
        if self.closed:
            raise ValueError("the stream is closed")
        with memoryview(buffer) as view, view.cast("B") as target:
            if self._position >= self._size or not len(target):
                return 0
            offset = self._position - self._start
            if not 0 <= offset < len(self._block):
                self._load()
                offset = 0
            count = min(len(target), len(self._block) - offset)
            target[:count] = memoryview(self._block)[offset : offset + count]
        self._position += count
        return count

    def close(self) -> None:
        """Forget the block."""
        self._block = b""
        super().close()

    def _load(self) -> None:
        """Make the block begin at the position."""
        in_order = self._position == self._start + len(self._block)
        length = NEXT_BLOCK if in_order else FIRST_BLOCK
        self._block = b""
        self._block = self._fetch(self._position, min(length, self._size - self._position))
        self._start = self._position
