"""Where the commands print: the answer on stdout, everything else on stderr.

Every command imports this, `version` too: what only some answers or a failure need is imported where they are
written.
"""

from __future__ import annotations

import io
import os
import sys
from itertools import islice

from artifactstore.cli.exit_codes import READER_GONE
from artifactstore.cli.text import for_pipe, for_terminal, padded, width
from artifactstore.errors import ArtifactStoreError, InvalidInputError

TYPE_CHECKING = False  # not from `typing`: `artifactstore version` would import it for this alone
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import BinaryIO, TextIO

    from artifactstore.cli.columns import Column, Fact, ItemT

_ALIGNED_TOGETHER = 1000  # rows of a table on a terminal


def say(text: str) -> None:
    """Write one line to stderr; that it cannot be written is no reason to fail."""
    from contextlib import suppress

    if sys.stderr is not None:  # with None, print would choose stdout
        with suppress(OSError, ValueError):
            print(for_terminal(text), file=sys.stderr, flush=True)


def discard(stream: TextIO | None) -> None:
    """Send what is still buffered, and all that follows, nowhere.

    Python would complain when it exits about what it cannot write, or wait until it can.
    """
    from contextlib import suppress

    if stream is not None:
        with suppress(io.UnsupportedOperation):
            descriptor = stream.fileno()
            nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
            os.dup2(nowhere, descriptor)
            os.close(nowhere)


class Output:
    """Standard output: the answer and nothing else.

    On a terminal tables are aligned and every character that would act upon it is escaped. In a pipe they
    are tab separated, whole, and in UTF-8 whatever the locale is.

    Args:
        stream: None if the process was started with stdout closed.
    Raises:
        ArtifactStoreError: from every method, if the answer cannot be written.
        SystemExit: the reader of a pipe is gone.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self.terminal = stream is not None and stream.isatty()
        self._encoding = (stream.encoding if stream is not None and self.terminal else None) or "utf-8"
        self._clean = for_terminal if self.terminal else for_pipe

    def data(self, data: bytes) -> None:
        """Write bytes as they are."""
        self._attempt(lambda stream: _write_all(stream, data))

    def line(self, text: str) -> None:
        """Write one line of text."""
        self._text(f"{self._clean(text)}\n")

    def flush(self) -> None:
        """Make sure that what was written has left the process."""
        if self._stream is not None:
            self._attempt(lambda stream: stream.flush())

    def refuse_terminal(self) -> None:
        """Refuse to write binary data where a person would see it."""
        if self.terminal:
            raise InvalidInputError(
                "a terminal cannot show binary data", hint="redirect stdout, or name a file with -o"
            )

    def document(self, value: object) -> None:
        """Write one JSON document."""
        self._text(f"{_json(value, indent=2)}\n")

    def json_line(self, value: object) -> None:
        """Write one JSON value on one line."""
        self._text(f"{_json(value, separators=(',', ':'))}\n")

    def array(self, items: Iterable[object]) -> None:
        """Write one JSON document, an array, while its items come in."""
        opening = "["
        for item in items:
            self._text(f"{opening}\n{_json(item)}")
            opening = ","
        self._text("[]\n" if opening == "[" else "\n]\n")

    def table(self, items: Iterable[ItemT], columns: tuple[Column[ItemT], ...]) -> None:
        """Write one line for each item."""
        if not self.terminal:
            for item in items:
                self._text("\t".join(for_pipe(column.exact(item)) for column in columns) + "\n")
            return
        shown = [column for column in columns if not column.pipe_only]
        head = [[column.title for column in shown]]
        rest = iter(items)
        while part := list(islice(rest, _ALIGNED_TOGETHER)):
            rows = [[for_terminal((column.shown or column.exact)(item)) for column in shown] for item in part]
            self._aligned([*head, *rows], [column.right for column in shown])
            head = []

    def listing(
        self, items: Iterable[ItemT], columns: tuple[Column[ItemT], ...], *, as_json: bool, as_lines: bool
    ) -> None:
        """Write items as the caller asked for: a table, one JSON array, or one JSON object a line."""
        if as_json and as_lines:
            raise InvalidInputError("--json and --jsonl exclude each other", code="usage")
        if as_json:
            self.array(items)
        elif as_lines:
            for item in items:
                self.json_line(item)
        else:
            self.table(items, columns)

    def record(self, facts: Iterable[Fact]) -> None:
        """Write one line for each fact: its name and its value."""
        if not self.terminal:
            for fact in facts:
                self._text(f"{fact.name}\t{for_pipe(fact.exact)}\n")
            return
        rows = [
            [fact.name.replace("_", " "), for_terminal(fact.exact if fact.shown is None else fact.shown)]
            for fact in facts
        ]
        self._aligned(rows, [False, False])

    def _aligned(self, rows: list[list[str]], right: list[bool]) -> None:
        columns = [max(width(row[number]) for row in rows) for number in range(len(right))]
        for row in rows:
            cells = (padded(text, columns[number], right=right[number]) for number, text in enumerate(row))
            self._text(f"{'  '.join(cells).rstrip()}\n")

    def _text(self, text: str) -> None:
        self.data(text.encode(self._encoding, "backslashreplace"))

    def _attempt(self, deed: Callable[[BinaryIO], None]) -> None:
        """Do something with the stream, and say it if that fails."""
        if self._stream is None:
            raise ArtifactStoreError("cannot write the answer: stdout is closed", code="output-failed")
        try:
            deed(self._stream.buffer)
        except BrokenPipeError:
            discard(self._stream)
            raise SystemExit(READER_GONE) from None
        except OSError as error:
            discard(self._stream)
            message = f"cannot write the answer: {error.strerror}"
            raise ArtifactStoreError(message, code="output-failed") from error


def _json(value: object, *, indent: int | None = None, separators: tuple[str, str] | None = None) -> str:
    from json import dumps

    from artifactstore.facts import plain

    return dumps(plain(value), indent=indent, separators=separators)


def _write_all(stream: BinaryIO, data: bytes) -> None:
    # Without Python's buffer (`python -u`) a write may take a part only.
    with memoryview(data) as view:
        start = 0
        while start < len(view):
            start += stream.write(view[start:])
