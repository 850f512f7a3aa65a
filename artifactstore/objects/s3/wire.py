"""HTTP/1.1 to one server: connections that are kept, one request at a time on each, a deadline on everything.

It sends what `short_way` sends and understands what S3 servers answer to that, and nothing more: what is left
out here is asked for again with a whole HTTP library.
"""

from __future__ import annotations

import select
import socket
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

_CONNECT_TIMEOUT = 5.0  # seconds for a name, and for an address
_IDLE_MAX = 12.0  # seconds after which an unused connection is not trusted any more
_KEPT = 32  # connections that may wait for their next request
_HEAD_MAX = 32 << 10  # bytes of the head of an answer
_BLOCK = 64 << 10  # bytes received at once while it is not known how many there are
_TOGETHER = 32 << 10  # bytes of a body that travel with the head
_PIECE = 256 << 10  # bytes sent between two looks at the deadline
_LINE_MAX = 1 << 10  # bytes of a line between chunks


class UnfamiliarError(Exception):
    """An answer that is left to a whole HTTP library, or is larger than any that was asked for."""


class LostError(ConnectionError):
    """The connection ended, or what came is not HTTP."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the server is.

    Args:
        tls: how to speak TLS; None for plain http.
        pause: seconds without any progress after which an exchange is given up.
    """

    host: str
    port: int
    tls: ssl.SSLContext | None
    pause: float


@dataclass(frozen=True, slots=True)
class Request:
    """One request, which can be made twice.

    Args:
        head: all of it, with the empty line.
        most: bytes of the longest body that can be a good answer.
        bodiless: the answer is only a head, whatever length it names.
    """

    head: bytes
    body: memoryview
    most: int
    bodiless: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server said.

    Args:
        headers: by lower-case name.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes | bytearray


class Connections:
    """The connections to one server. Safe to share between threads: each request has one for itself."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._idle: list[_Connection] = []  # its methods are whole steps for other threads
        self._closed = False

    def ask(self, request: Request, until: float) -> Answer:
        """Send a request and read its answer; again on a fresh connection if a kept one turns out to be dead.

        Args:
            until: the moment of `time.monotonic` at which the whole is given up.
        Raises:
            OSError: no answer, or half of one; TimeoutError and LostError are among them.
            UnfamiliarError: an answer of another kind.
        """
        connection = self._kept()
        if connection is not None:
            try:
                return self._asked(connection, request, until)
            except ConnectionError:
                # A server closes what it thinks idle whenever it likes.
                if connection.heard:
                    raise
        return self._asked(_Connection(self._endpoint, until), request, until)

    def _asked(self, connection: _Connection, request: Request, until: float) -> Answer:
        try:
            answer = connection.exchange(request, until)
        except BaseException:
            connection.close()
            raise
        if connection.usable and len(self._idle) < _KEPT:
            self._idle.append(connection)
            if self._closed:  # meanwhile
                self.close()
        else:
            connection.close()
        return answer

    def _kept(self) -> _Connection | None:
        """The one that was used last, of those that the server has not closed."""
        while self._idle:
            try:
                connection = self._idle.pop()
            except IndexError:  # another thread was faster
                return None
            if connection.fresh():
                return connection
            connection.close()
        return None

    def close(self) -> None:
        """Close those that rest, and the others as soon as they do."""
        self._closed = True
        while self._idle:
            try:
                self._idle.pop().close()
            except IndexError:
                return


class _Connection:
    def __init__(self, endpoint: Endpoint, until: float) -> None:
        self._pause = endpoint.pause
        self._until = until
        self._timeout = 0.0
        self._rest = b""  # received and not understood yet
        self._rested_at = 0.0
        self.usable = False  # for another request
        self.heard = False  # something of the present answer
        self._socket: socket.socket = _connected(endpoint, until)
        try:
            if endpoint.tls is not None:
                self._socket.settimeout(min(_CONNECT_TIMEOUT, self._left()))
                self._socket = endpoint.tls.wrap_socket(self._socket, server_hostname=endpoint.host)
        except BaseException:
            self._socket.close()
            raise

    def fresh(self) -> bool:
        """Whether the server has neither closed it nor said anything unasked since it was last used."""
        if time.monotonic() - self._rested_at > _IDLE_MAX:
            return False
        poller = select.poll()
        poller.register(self._socket, select.POLLIN)
        return not poller.poll(0)

    def exchange(self, request: Request, until: float) -> Answer:
        """Send a request and read its answer; see `Connections.ask`."""
        self._until = until
        self.usable = self.heard = False
        try:
            refused = self._send(request)
            try:
                answer = self._answer(request)
            except ConnectionError:
                if refused is not None:
                    raise refused from None
                raise
        except (TimeoutError, ConnectionError):
            raise
        except OSError as error:  # TLS that breaks off is a connection that breaks off
            raise LostError(str(error)) from error
        self.usable = self.usable and refused is None and not self._rest
        self._rested_at = time.monotonic()
        return answer

    def close(self) -> None:
        """End it."""
        self._socket.close()

    # Sending

    def _send(self, request: Request) -> ConnectionError | None:
        """Send all of it; what ended it early, if the server may have answered before that."""
        head, body = request.head, request.body
        together = len(body) <= _TOGETHER
        try:
            self._send_all(memoryview(head + body if together else head))
            if not together:
                self._send_all(body)
        except (BrokenPipeError, ConnectionResetError) as error:
            return error
        return None

    def _send_all(self, data: memoryview) -> None:
        done = 0
        while done < len(data):
            self._wait_no_longer()
            done += self._socket.send(data[done : done + _PIECE])

    # Receiving

    def _answer(self, request: Request) -> Answer:
        status, headers = self._head()
        while status // 100 == 1:  # nothing yet, and nobody asked
            status, headers = self._head()
        if request.bodiless or status in {204, 304}:
            return Answer(status, headers, b"")
        if "transfer-encoding" in headers:
            if headers["transfer-encoding"].lower() != "chunked":
                raise UnfamiliarError
            return Answer(status, headers, self._chunks(max(request.most, _BLOCK)))
        length = headers.get("content-length", "")
        if not _is_number(length):
            raise UnfamiliarError
        size = int(length)
        if size > max(request.most, _BLOCK):
            raise UnfamiliarError
        return Answer(status, headers, self._exactly(size))

    def _head(self) -> tuple[int, dict[str, str]]:
        """Status and headers of an answer."""
        first, *lines = self._until_mark(b"\r\n\r\n", _HEAD_MAX).decode("latin-1").split("\r\n")
        version, _, said = first.partition(" ")
        status = said[:3]
        if version not in {"HTTP/1.1", "HTTP/1.0"} or len(status) != 3 or not _is_number(status):
            raise LostError("the answer is not HTTP")
        headers: dict[str, str] = {}
        for line in lines:
            name, colon, value = line.partition(":")
            if not colon:
                raise LostError("the answer is not HTTP")
            name = name.lower()
            headers[name] = f"{headers[name]}, {value.strip()}" if name in headers else value.strip()
        self.usable = version == "HTTP/1.1" and "close" not in headers.get("connection", "").lower()
        return int(status), headers

    def _chunks(self, most: int) -> bytearray:
        """A body whose length nobody knew before."""
        body = bytearray()
        while True:
            length = self._until_mark(b"\r\n", _LINE_MAX).partition(b";")[0].strip()
            try:
                size = int(length, 16)
            except ValueError:
                raise LostError("the answer is not HTTP") from None
            if size < 0 or len(body) + size > most:
                raise UnfamiliarError
            if size == 0:
                break
            body += self._exactly(size)
            self._exactly(2)
        while self._until_mark(b"\r\n", _LINE_MAX):
            pass
        return body

    def _until_mark(self, mark: bytes, most: int) -> bytes:
        """What comes before a mark, which is taken as well."""
        while (end := self._rest.find(mark)) < 0:
            if len(self._rest) > most:
                raise LostError("the answer is not HTTP")
            self._wait_no_longer()
            came = self._socket.recv(_BLOCK)
            if not came:
                raise LostError("the connection ended before the answer")
            self.heard = True
            self._rest += came
        found, self._rest = self._rest[:end], self._rest[end + len(mark) :]
        return found

    def _exactly(self, size: int) -> bytes | bytearray:
        """So many bytes."""
        if len(self._rest) >= size:
            found, self._rest = self._rest[:size], self._rest[size:]
            return found
        body = bytearray(size)
        done = len(self._rest)
        body[:done] = self._rest
        self._rest = b""
        with memoryview(body) as view:
            while done < size:
                self._wait_no_longer()
                count = self._socket.recv_into(view[done:])
                if not count:
                    raise LostError("the connection ended within the answer")
                done += count
        return body

    # Time

    def _wait_no_longer(self) -> None:
        """Let the next step end in time. To set the limit is a system call, so only if it is another."""
        left = self._left()
        if left != self._timeout:
            self._socket.settimeout(left)
            self._timeout = left

    def _left(self) -> float:
        return min(self._pause, _left(self._until))


def _left(until: float) -> float:
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError("the deadline is over")
    return left


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _connected(endpoint: Endpoint, until: float) -> socket.socket:
    """A socket to the first address that answers."""
    failure: OSError = socket.gaierror(socket.EAI_NONAME, "the name has no address")
    for family, kind, protocol, _, address in _addresses(endpoint, until):
        raw = socket.socket(family, kind, protocol)
        try:
            raw.settimeout(min(_CONNECT_TIMEOUT, _left(until)))
            raw.connect(address)
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            raw.close()
            failure = error
        except BaseException:
            raw.close()
            raise
        else:
            return raw
    if isinstance(failure, TimeoutError | ConnectionError | socket.gaierror):
        raise failure
    raise ConnectionRefusedError(str(failure)) from failure  # no way there


def _addresses(endpoint: Endpoint, until: float) -> list[Any]:
    """The addresses of the host, looked up aside: the system's resolver knows no deadline."""
    found: list[Any] = []

    def look_up() -> None:
        try:
            found.append(socket.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            found.append(error)

    thread = threading.Thread(target=look_up, name="artifactstore-name", daemon=True)
    thread.start()
    thread.join(min(_CONNECT_TIMEOUT, _left(until)))
    if not found:
        raise TimeoutError("the name is not found in time")
    if isinstance(found[0], BaseException):
        raise found[0]
    return list(found[0])
