"""A command that gives up when it has waited too long."""

from __future__ import annotations

import contextlib
import signal
from typing import TYPE_CHECKING

from artifactstore.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def time_limit(seconds: int) -> Iterator[None]:
    """End the block when it takes too long, in good order: as a signal to stop does.

    Args:
        seconds: 0 is no limit.
    Raises:
        BackendError: the time is over; retryable.
    """

    def give_up(_number: int, _frame: object) -> None:
        raise BackendError(f"the store did not answer for {seconds} s", code="time-limit", retryable=True)

    if not seconds:
        yield
        return
    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
