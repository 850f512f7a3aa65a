"""How far a long call has come, on one line of stderr that is overwritten."""

from __future__ import annotations

import contextlib
import sys
import time
from typing import TYPE_CHECKING

from artifactstore.cli.text import count_text, size_text

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from artifactstore.ingest import OnProgress, Progress

_INTERVAL = 0.1  # seconds between two drawings


class ProgressLine:
    """Files or objects, bytes and bytes a second; `on_progress` or `on_objects` is what the library calls.

    A context manager: at its end the line is blank again.

    Args:
        shown: False draws nothing.
    """

    def __init__(self, *, shown: bool) -> None:
        self.on_progress: OnProgress | None = self._draw_files if shown else None
        self.on_objects: Callable[[int, int], None] | None = self._draw_objects if shown else None
        self._started = time.monotonic()
        self._drawn_at = float("-inf")
        self._columns = 0

    def __enter__(self) -> ProgressLine:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._columns:
            self._write(f"\r{' ' * self._columns}\r")

    def _draw_files(self, progress: Progress) -> None:
        self._draw(progress.files, "file", progress.size)

    def _draw_objects(self, count: int, size: int) -> None:
        self._draw(count, "object", size)

    def _draw(self, count: int, noun: str, size: int) -> None:
        now = time.monotonic()
        if now - self._drawn_at < _INTERVAL:
            return
        self._drawn_at = now
        rate = int(size / max(now - self._started, 0.001))
        text = f"{count_text(count, noun)}  {size_text(size)}  {size_text(rate)}/s"
        # Blanks instead of an escape sequence: they work on every terminal.
        self._write(f"\r{text.ljust(self._columns)}")
        self._columns = max(self._columns, len(text))

    @staticmethod
    def _write(text: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(text)
            sys.stderr.flush()
