"""Waits that a signal always ends."""

from __future__ import annotations

import os
import signal


class SignalPipe:
    """A descriptor that becomes readable when a signal arrives. Only for the main thread.

    Python runs a signal's handler between two statements: what arrives just before a blocking call would be
    acted upon only after it, which may be never. Who waits for this descriptor too misses none.
    """

    def __init__(self) -> None:
        self.descriptor, self._told = os.pipe()
        os.set_blocking(self._told, False)
        self._before = signal.set_wakeup_fd(self._told, warn_on_full_buffer=False)

    def wait(self) -> None:
        """Return when a signal has arrived since the last wait; its handler has then run."""
        os.read(self.descriptor, 64)

    def close(self) -> None:
        """Give the signals back."""
        signal.set_wakeup_fd(self._before)
        os.close(self.descriptor)
        os.close(self._told)
