"""What is sent back: a status, fields, and a body that is bytes, a part of a file or a stream."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote

from artifactstore.facts import plain
from artifactstore.httpapi.refusals import PHRASES, PROBLEM, RETRY_AFTER, Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import IO

    from artifactstore.httpapi.wire import Wire

JSON = "application/json"
CBOR = "application/cbor"
EVENT_STREAM = "text/event-stream"
# Evidence is hostile HTML: no browser may run it, guess its type, or keep it.
GUARDS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "sandbox; default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "private, no-store",
}
_LINE_BREAKS = ("\r", "\n", "\0")


class Content(Protocol):
    """A body that is not in memory."""

    @property
    def size(self) -> int | None:
        """In bytes; None if nobody knows before it is sent."""

    def write(self, wire: Wire, write: Callable[[bytes], None]) -> None:
        """Send it.

        Args:
            wire: for parts of files.
            write: for all else.
        """

    def close(self) -> None:
        """Release what it holds; called whether it was sent or not."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A response.

    Args:
        close: end the connection after it.
    """

    status: int = 200
    body: bytes | Content = b""
    media_type: str | None = None
    fields: Mapping[str, str] = field(default_factory=dict)
    close: bool = False


def document(value: object, *, status: int = 200, fields: Mapping[str, str] | None = None) -> Answer:
    """A value of the library as JSON; the same document as `--json` prints."""
    body = json.dumps(plain(value), separators=(",", ":")).encode() + b"\n"
    return Answer(status, body, JSON, fields or {})


def problem(refusal: Refusal) -> Answer:
    """A refusal as problem+json."""
    fields = dict(refusal.headers)
    if refusal.status == 503:
        fields.setdefault("Retry-After", RETRY_AFTER)
    return Answer(refusal.status, refusal.body(), PROBLEM, fields, refusal.close)


class Streamed:
    """A body of unknown length that is made while it is sent.

    Args:
        make: writes it to a binary stream.
    """

    size = None

    def __init__(self, make: Callable[[IO[bytes]], object]) -> None:
        self._make = make

    def write(self, wire: Wire, write: Callable[[bytes], None]) -> None:
        """Make and send it."""
        del wire
        self._make(_WriteOnly(write))  # type: ignore[arg-type]  # only written

    def close(self) -> None:
        """Holds nothing."""


class _WriteOnly:
    """Enough of a binary stream for tarfile and zipfile to write to; small writes go out together."""

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self._write = write

    def write(self, data: bytes) -> int:
        """Send it."""
        self._write(bytes(data))
        return len(data)

    def flush(self) -> None:
        """All is sent already."""


def head_bytes(answer: Answer, *, persistent: bool, size: int | None, chunked: bool) -> bytes:
    """The head of a response.

    Args:
        size: of the body; None leaves its length out.
    Raises:
        ValueError: a field holds a line break: it would begin another response.
    """
    fields: dict[str, str] = {"Date": formatdate(usegmt=True), "Server": "artifactstore", **GUARDS}
    if answer.media_type is not None:
        fields["Content-Type"] = answer.media_type
    fields.update(answer.fields)
    if chunked:
        fields["Transfer-Encoding"] = "chunked"
    elif size is not None and answer.status not in {204, 304}:
        fields["Content-Length"] = str(size)
    fields["Connection"] = "keep-alive" if persistent else "close"
    lines = [f"HTTP/1.1 {answer.status} {PHRASES[answer.status]}"]
    for name, value in fields.items():
        if any(mark in value for mark in _LINE_BREAKS):
            raise ValueError(f"the field {name} holds a line break")
        lines.append(f"{name}: {value}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def disposition(name: str, *, inline: bool) -> str:
    """A Content-Disposition that every reader understands in the same way.

    Source: RFC 6266 §4.3, appendix D; RFC 8187.
    """
    kind = "inline" if inline else "attachment"
    simple = "".join(
        each if each.isascii() and each.isprintable() and each not in '"\\%' else "_" for each in name
    )
    encoded = "" if simple == name else f"; filename*=UTF-8''{quote(name, safe='')}"
    return f'{kind}; filename="{simple}"{encoded}'
