"""Connections to one server: kept alive, looked at before they are used again, never waited for endlessly."""

from __future__ import annotations

import contextlib
import errno
import http.client
import io
import os
import select
import socket
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator, Mapping

    from _typeshed import WriteableBuffer

    from artifactstore.client.address import Address
    from artifactstore.digest import Buffer

BLOCK = 256 << 10  # bytes sent at once
_CONNECT = 10.0  # seconds for a connection to come about
_SLOWEST = 1024  # bytes a second; an answer that trickles in more slowly than that is given up
_IDLE_MAX = 30.0  # seconds after which an unused connection is not trusted any more


@dataclass(frozen=True, slots=True)
class Body:
    """The bytes of a request, which can be sent more than once.

    Args:
        size: bytes.
        chunks: gives them from the start, each time it is called.
    """

    size: int
    chunks: Callable[[], Iterator[Buffer]]

    @classmethod
    def of(cls, data: bytes) -> Body:
        """A body in memory."""
        return cls(len(data), lambda: iter((data,)))


@dataclass(frozen=True, slots=True)
class Request:
    """One request.

    Args:
        target: path and query, percent-encoded.
        repeatable: whether doing it twice is the same as doing it once.
        waits: seconds that the server may let us wait beyond the usual.
        expects: statuses that are good answers beside the usual ones, if they come with JSON.
    """

    method: str
    target: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Body | None = None
    repeatable: bool = True
    waits: float = 0.0
    expects: frozenset[int] = frozenset()


class NotSentError(Exception):
    """The request has not reached the server: no connection came about."""


class BrokenError(Exception):
    """The connection failed after the request was sent, so it may have been done."""


class _TimedSocket:
    """A socket as `http.client` wants one, on which no read outlasts the time that the answer has.

    The time grows with what has come, so that a long answer may take long and one that trickles may not.
    """

    def __init__(self, raw: socket.socket, timeout: float) -> None:
        self.raw = raw
        self._timeout = timeout
        self._until = 0.0
        self.ended = False  # by the server

    def begin(self, waits: float) -> None:
        """Start the time of an answer."""
        self._until = time.monotonic() + self._timeout + waits

    def makefile(self, _mode: str) -> io.BufferedReader:
        """What an answer is read from."""
        return io.BufferedReader(_Reader(self), BLOCK)

    def receive(self, buffer: WriteableBuffer) -> int:
        """Read what is there."""
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError("the answer comes too slowly")
        self.raw.settimeout(left)
        count = self.raw.recv_into(buffer)
        self._until += count / _SLOWEST
        self.ended = count == 0
        return count

    def sendall(self, data: Buffer) -> None:
        """Send all of it."""
        self.raw.settimeout(self._timeout)
        self.raw.sendall(data)

    def close(self) -> None:
        """Nothing yet: `http.client` closes before it has read an answer that the server ends by closing."""


class _Reader(io.RawIOBase):
    """The reading side of a connection; closing it leaves the connection open for the next answer."""

    def __init__(self, timed: _TimedSocket) -> None:
        self._timed = timed

    def readable(self) -> bool:
        """Always true."""
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Read what is there; 0 at the end."""
        return self._timed.receive(buffer)


class Connection:
    """One connection; one thread uses it at a time."""

    def __init__(self, address: Address, tls: ssl.SSLContext | None, timeout: float) -> None:
        try:
            raw = socket.create_connection((address.host, address.port), timeout=min(_CONNECT, timeout))
        except OSError as error:
            raise NotSentError from error
        try:
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if tls is not None:
                raw = tls.wrap_socket(raw, server_hostname=address.host)
        except OSError as error:
            raw.close()
            raise NotSentError from error
        self._timed = _TimedSocket(raw, timeout)
        self._http = http.client.HTTPConnection(address.host, address.port)
        self._http.auto_open = 0
        self._http.sock = self._timed  # all that it uses of a socket
        self._authority = address.authority
        self._rested_at = 0.0
        self._whole = True  # every request was sent to its end

    def fresh(self) -> bool:
        """Whether the server has neither closed it nor said anything unasked since it was last used."""
        if time.monotonic() - self._rested_at > _IDLE_MAX:
            return False
        poller = select.poll()
        poller.register(self._timed.raw, select.POLLIN)
        return not poller.poll(0)

    def send(self, request: Request) -> http.client.HTTPResponse:
        """Send a request and read the head of its answer.

        Raises:
            BrokenError: the connection failed, or the answer is not HTTP.
            ArtifactStoreError: the body cannot be read.
        """
        refusal = self._send_all(request)
        try:
            self._timed.begin(request.waits)
            answer = self._http.getresponse()
        except (OSError, http.client.HTTPException) as error:
            raise BrokenError from (refusal or error)
        if self._timed.ended:
            # `http.client` takes a head that was cut off for a whole one.
            raise BrokenError from http.client.RemoteDisconnected("the head of the answer is not whole")
        return answer

    def _send_all(self, request: Request) -> OSError | None:
        """Send head and body; what ended it early, if that may have been an answer."""
        try:
            self._http.putrequest(request.method, request.target, skip_host=True, skip_accept_encoding=True)
            self._http.putheader("Host", self._authority)
            for name, value in request.headers.items():
                self._http.putheader(name, value)
            if request.body is not None:
                self._http.putheader("Content-Length", str(request.body.size))
            self._http.endheaders()
        except OSError as error:
            raise BrokenError from error
        for chunk in () if request.body is None else request.body.chunks():
            try:
                self._http.send(chunk)
            except (BrokenPipeError, ConnectionResetError) as error:
                # A server that refuses a body answers early and closes: the answer says why.
                self._whole = False
                return error
            except OSError as error:
                raise BrokenError from error
        return None

    def rest(self, answer: http.client.HTTPResponse) -> bool:
        """Make ready for the next request; false if the answer leaves the connection unusable."""
        if answer.length == 0:
            answer.read()
        self._rested_at = time.monotonic()
        return answer.isclosed() and not answer.will_close and self._whole

    def abort(self) -> None:
        """End it under the hands of the thread that uses it."""
        with contextlib.suppress(OSError):
            self._timed.raw.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close it."""
        self._http.close()
        self._timed.raw.close()


class Pool:
    """Connections to one server. Safe to share between threads and after a fork."""

    def __init__(self, address: Address, tls: ssl.SSLContext | None, timeout: float, *, keep: int) -> None:
        self._address = address
        self._tls = tls
        self._timeout = timeout
        self._keep = keep
        self._idle: list[Connection] = []
        self._busy: set[Connection] = set()
        self._aborted = False
        self._lock = threading.Lock()
        self._process = os.getpid()

    def take(self, *, new: bool) -> Connection:
        """A connection, of those that rest the one that was used last.

        Args:
            new: only one that the server cannot have closed meanwhile.
        Raises:
            NotSentError: none comes about.
        """
        if self._process != os.getpid():
            # A forked child: the connections are the parent's, and a thread that is gone may hold the lock.
            self._process, self._lock, self._idle, self._busy = os.getpid(), threading.Lock(), [], set()
        while True:
            with self._lock:
                connection = None if new or not self._idle else self._idle.pop()
            if connection is None:
                connection = Connection(self._address, self._tls, self._timeout)
            elif not connection.fresh():
                connection.close()
                continue
            with self._lock:
                self._busy.add(connection)
                aborted = self._aborted
            if aborted:
                self.discard(connection)
                raise NotSentError from ConnectionAbortedError(errno.ECONNABORTED, "the client gives up")
            return connection

    def give_back(self, connection: Connection, answer: http.client.HTTPResponse) -> None:
        """Keep a connection for the next request, or close it."""
        if connection.rest(answer):
            with self._lock:
                if len(self._idle) < self._keep and not self._aborted:
                    self._busy.discard(connection)
                    self._idle.append(connection)
                    return
        self.discard(connection)

    def discard(self, connection: Connection) -> None:
        """Close a connection that is of no use any more."""
        with self._lock:
            self._busy.discard(connection)
        connection.close()

    def abort(self) -> None:
        """End whatever is under way on other threads, and all that would follow."""
        with self._lock:
            self._aborted = True
            busy = list(self._busy)
        for connection in busy:
            connection.abort()

    def close(self) -> None:
        """Close the idle ones."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()
