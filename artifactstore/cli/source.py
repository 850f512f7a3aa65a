"""Standard input as a source of bytes."""

from __future__ import annotations

import io
import os
import select
import sys
import threading
from typing import TYPE_CHECKING

from artifactstore.cli.signals import SignalPipe
from artifactstore.errors import InvalidInputError

if TYPE_CHECKING:
    from typing import BinaryIO

    from _typeshed import WriteableBuffer

STANDARD_INPUT = "-"


def standard_input() -> BinaryIO:
    """The bytes that are piped into the process.

    Raises:
        InvalidInputError: the process was started with stdin closed.
    """
    if sys.stdin is None:
        raise InvalidInputError("there is nothing to read: stdin is closed", code="usage")
    try:
        descriptor = sys.stdin.fileno()
    except io.UnsupportedOperation:
        return sys.stdin.buffer
    if threading.current_thread() is not threading.main_thread():
        return sys.stdin.buffer
    return io.BufferedReader(_Stoppable(descriptor), 1 << 16)


class _Stoppable(io.RawIOBase):
    """A descriptor whose reads a signal always ends."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._signals = SignalPipe()

    def readable(self) -> bool:
        """Always true."""
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Read what is there; 0 at the end."""
        while True:
            ready, _, _ = select.select([self._descriptor, self._signals.descriptor], [], [])
            # The handler of a signal runs before the next statement, and ends the command.
            if self._signals.descriptor in ready:
                self._signals.wait()
            if self._descriptor in ready:
                return os.readv(self._descriptor, [buffer])

    def close(self) -> None:
        """Give the signals back; the descriptor stays open."""
        if not self.closed:
            self._signals.close()
        super().close()
