"""One connection: bytes in and out, each with the time that it may take.

A socket's own time-out is not enough: a byte every two seconds never lets it pass. So the head has a
deadline as a whole, a body must keep a rate, and an answer that nobody takes is given up.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import socket
import ssl
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from artifactstore.httpapi.head import HEAD_MAX, LINE_MAX
from artifactstore.httpapi.refusals import Disconnected, Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_END = b"\r\n\r\n"
_BARE = re.compile(rb"(?<!\r)\n|\r(?=[^\n])|\0")
_CHUNK_HEAD = re.compile(rb"([0-9A-Fa-f]{1,15})")
_SIZE_LINE_MAX = 32  # bytes of the line in front of a chunk: its size, which is all that is taken
_READ = 1 << 18  # bytes asked for at once
_SENDFILE = 1 << 26  # bytes given to one sendfile
_LINGER = 2.0  # seconds for a client to take the last answer, whatever it goes on sending
# Bytes of a file that wait in the socket to be sent. Without a bound, it is megabytes: the client then sleeps
# while they are put there, and they have left the processor's cache when they go. What is on its way to a far
# client is not bounded by it.
_UNSENT = 1 << 17


@dataclass(frozen=True, slots=True)
class Limits:
    """How much and how long; times in seconds, sizes in bytes.

    Args:
        connections: open at once; a further one takes the place of one that has been idle for longest.
        handlers: requests that are worked on at once; one more waits for `patience`, then gets a 503.
        senders: those among them that have a body.
        waiters: long polls and event streams at once.
        head: from the first byte of a request to the end of its head.
        idle: between two requests of a connection.
        stall: without any byte of a body that is expected, or of an answer that is taken.
        request: for a whole request.
        rate: bytes a second that a body must come with, and an answer be taken with, after the first `stall`
            seconds.
        body: largest body.
        document: largest JSON body.
        plan: largest one of a request that needs the scope `admin`, such as a plan.
    """

    connections: int = 512
    handlers: int = 64
    senders: int = 48
    waiters: int = 256
    patience: float = 5.0
    head: float = 10.0
    idle: float = 60.0
    stall: float = 20.0
    request: float = 3600.0
    rate: int = 1024
    body: int = 64_000_000_000
    document: int = 4 << 20
    plan: int = 8 << 20


class Wire:
    """A connection to a client, owned by one thread.

    Args:
        connection: a stream socket, or one in TLS.
        clock: seconds, only forward.
    """

    def __init__(
        self, connection: socket.socket, limits: Limits, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._socket = connection
        self._limits = limits
        self._clock = clock
        self._buffer = bytearray()
        self.begin_answer()

    def begin_answer(self) -> None:
        """Count anew: another answer begins."""
        self.sent = 0  # bytes of the present answer
        self._blocked = 0.0  # seconds in which the client took none of them

    def fileno(self) -> int:
        """The descriptor of the connection."""
        return self._socket.fileno()

    @property
    def hung_up(self) -> bool:
        """Whether the client says nothing any more: it has gone."""
        poller = select.poll()
        poller.register(self._socket, select.POLLRDHUP)
        return bool(poller.poll(0))

    # In

    def read_head(self) -> bytes | None:
        """The head of the next request without its empty line; None if the client has no further one.

        Raises:
            Refusal: it is too long, too slow, or ends its lines wrongly.
        """
        while self._buffer.startswith(b"\r\n") and self._buffer[2:3] not in {b"", b"\r"}:
            del self._buffer[:2]  # RFC 9112 §2.2: an empty line before a request is passed over
        if not self._buffer and not self._receive(self._limits.idle):
            return None
        deadline = self._clock() + self._limits.head
        while True:
            if self._buffer.startswith(b"\r\n"):
                del self._buffer[:2]
            end = self._buffer.find(_END)
            head = self._buffer if end < 0 else self._buffer[:end]
            self._refuse_oversize(head)
            if _BARE.search(head):
                raise Refusal(400, "a line of the head does not end with CR LF", close=True)
            if end >= 0:
                del self._buffer[: end + len(_END)]
                return bytes(head)
            left = deadline - self._clock()
            if left <= 0:
                raise Refusal(408, "the head of the request took too long", close=True)
            try:
                if not self._receive(left):
                    raise Disconnected
            except TimeoutError:
                raise Refusal(408, "the head of the request took too long", close=True) from None

    def _refuse_oversize(self, head: bytearray) -> None:
        first = head.find(b"\r\n")
        if (len(head) if first < 0 else first) > LINE_MAX:
            raise Refusal(414, f"the first line is longer than {LINE_MAX} bytes", close=True)
        if len(head) > HEAD_MAX:
            raise Refusal(431, f"the head is longer than {HEAD_MAX} bytes", close=True)

    def _receive(self, patience: float) -> bool:
        """Add what comes to the buffer; false at the end of the stream.

        Raises:
            TimeoutError: nothing came.
        """
        self._socket.settimeout(max(patience, 0.001))
        try:
            data = self._socket.recv(_READ)
        except TimeoutError:
            raise
        except (OSError, ValueError):
            return False
        self._buffer += data
        return bool(data)

    def take(self, size: int, patience: float) -> bytes:
        """Some bytes of a body, at most `size`.

        Raises:
            Disconnected: none come any more.
        """
        if not self._buffer:
            try:
                if not self._receive(patience):
                    raise Disconnected
            except TimeoutError:
                raise Disconnected from None
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    def take_line(self, patience: float, limit: int) -> bytes:
        """A line of the chunked coding, without its end.

        Args:
            patience: seconds for the whole line, however it comes.
            limit: bytes that it may have.
        Raises:
            Refusal: it is too long or ends wrongly.
            Disconnected: it does not come in time.
        """
        deadline = self._clock() + patience
        while (end := self._buffer.find(b"\r\n", 0, limit + 2)) < 0:
            if _BARE.search(self._buffer):
                raise Refusal(400, "a line of the chunked body does not end with CR LF", close=True)
            if len(self._buffer) >= limit + 2:
                raise Refusal(400, "a line of the chunked body is too long", close=True)
            left = deadline - self._clock()
            try:
                if left <= 0 or not self._receive(left):
                    raise Disconnected
            except TimeoutError:
                raise Disconnected from None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        return line

    # Out

    def send(self, data: bytes | memoryview) -> None:
        """Send all of it.

        Raises:
            Disconnected: the client takes no more.
        """
        with memoryview(data) as view:
            start = 0
            while start < len(view):
                self._socket.settimeout(self._limits.stall)
                begun = self._clock()
                try:
                    count = self._socket.send(view[start : start + (1 << 20)])
                except OSError:
                    raise Disconnected from None
                start += count
                self.sent += count
                self._blocked_since(begun)

    def _blocked_since(self, begun: float) -> None:
        """Note a wait for the client.

        Raises:
            Disconnected: it takes the answer more slowly than a body may come.
        """
        self._blocked += self._clock() - begun
        if self._blocked > self._limits.stall + self.sent / self._limits.rate:
            raise Disconnected

    def send_file(self, descriptor: int, offset: int, size: int) -> None:
        """Send a part of a file, without carrying it through this process where the system can.

        Raises:
            Disconnected: the client takes no more, or the file ends before its time.
        """
        if isinstance(self._socket, ssl.SSLSocket):
            while size:
                data = os.pread(descriptor, min(size, 1 << 18), offset)
                if not data:
                    raise Disconnected
                self.send(data)
                offset, size = offset + len(data), size - len(data)
            return
        # With a time-out the socket does not block, so that the wait is ours.
        self._socket.settimeout(self._limits.stall)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT)
        poller = select.poll()
        poller.register(self._socket, select.POLLOUT)
        while size:
            try:
                count = os.sendfile(self._socket.fileno(), descriptor, offset, min(size, _SENDFILE))
            except BlockingIOError:
                begun = self._clock()
                if not poller.poll(self._limits.stall * 1000):
                    raise Disconnected from None
                self._blocked_since(begun)
                continue
            except OSError:
                raise Disconnected from None
            if not count:
                raise Disconnected
            offset, size = offset + count, size - count
            self.sent += count

    def close(self) -> None:
        """End the connection so that the client still gets what was sent.

        Closing a socket that holds unread bytes would reset it, and the answer could be lost with it.
        """
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)
            deadline = self._clock() + _LINGER
            while (left := deadline - self._clock()) > 0:
                self._socket.settimeout(left)
                if not self._socket.recv(_READ):
                    break
        with contextlib.suppress(OSError):
            self._socket.close()


class Body:
    """The body of a request: read once, from start to end; a source for the library.

    Args:
        length: in bytes; None if it is chunked.
        limit: bytes that it may have.
        proceed: asks the client to go on, before the first byte is read.
    """

    def __init__(
        self,
        wire: Wire,
        length: int | None,
        *,
        limits: Limits,
        limit: int,
        proceed: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wire = wire
        self._limits = limits
        self._limit = limit
        self._proceed: Callable[[], None] | None = proceed
        self._clock = clock
        self._chunked = length is None
        self._left = 0 if length is None else length  # of the body, or of the present chunk
        self._started = clock()
        self.done = length == 0
        self.count = 0  # bytes read

    def fileno(self) -> int:
        """The descriptor of the connection that it comes on."""
        return self._wire.fileno()

    @property
    def begun(self) -> bool:
        """Whether any of it was asked for."""
        return self._proceed is None

    def read(self, size: int) -> bytes:
        """At most `size` bytes, none at the end.

        Raises:
            Refusal: it is larger than allowed, or coded wrongly.
            Disconnected: the client is gone or too slow.
        """
        if self.done:
            return b""
        if self._proceed is not None:
            self._proceed()
            self._proceed = None
            self._started = self._clock()
        if self._chunked and self._left == 0 and not self._next_chunk():
            return b""
        data = self._wire.take(min(size, self._left), self._patience())
        self._left -= len(data)
        self.count += len(data)
        if self.count > self._limit:
            raise Refusal(413, f"the body is larger than {self._limit} bytes", close=True)
        if self._left == 0:
            if self._chunked:
                if self._wire.take_line(self._patience(), _SIZE_LINE_MAX):
                    raise Refusal(400, "a chunk is longer than it says", close=True)
            else:
                self.done = True
        return data

    def read_all(self) -> bytes:
        """The whole body."""
        parts: list[bytes] = []
        while data := self.read(_READ):
            parts.append(data)
        return b"".join(parts)

    def __iter__(self) -> Iterator[bytes]:
        return iter(lambda: self.read(_READ), b"")

    def _next_chunk(self) -> bool:
        line = self._wire.take_line(self._patience(), _SIZE_LINE_MAX)
        matched = _CHUNK_HEAD.fullmatch(line)
        if matched is None:
            raise Refusal(400, "the head of a chunk is not a hexadecimal size", close=True)
        self._left = int(matched[1], 16)
        if self._left:
            return True
        # Trailers are read over: nothing here uses one.
        for _ in range(8):
            if not self._wire.take_line(self._patience(), LINE_MAX):
                self.done = True
                return False
        raise Refusal(400, "the body has too many trailers", close=True)

    def _patience(self) -> float:
        """Seconds that the next bytes, or the next line, may take."""
        past = self._clock() - self._started
        if past >= self._limits.request:
            raise Disconnected
        if past > self._limits.stall and self.count < (past - self._limits.stall) * self._limits.rate:
            raise Disconnected
        return min(self._limits.stall, self._limits.request - past)
