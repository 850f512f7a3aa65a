"""A proxy on loopback that breaks what passes through it, in front of a real server."""

from __future__ import annotations

import contextlib
import http.client
import socket
import socketserver
import struct
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator

_BLOCK = 1 << 16  # bytes


class Broken(Exception):  # noqa: N818 - it is no failure of the proxy
    """The connection to the client is to be reset."""


@dataclass(frozen=True)
class Request:
    """What a client asks for."""

    method: str
    path: str
    headers: list[tuple[str, str]]
    size: int  # bytes of the body

    def is_part(self) -> bool:
        """Whether it sends a part of a large object."""
        return self.method == "PUT" and "partNumber=" in self.path

    def is_object(self, method: str) -> bool:
        """Whether it is about a whole object, and not about the marker, a list or an upload."""
        return (
            self.method == method and "/blake3/" in self.path and "?" not in self.path.replace("?x-id=", "")
        )


@dataclass(frozen=True)
class Answer:
    """What the server has said."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


@dataclass
class Fault:
    """What goes wrong with some requests.

    Args:
        concerns: which.
        times: how many of them.
        receive: reads so many bytes of the body of a request and breaks; None reads it all.
        instead: an answer without asking the server.
        before: called before the server is asked.
        send: sends the answer, or not; gets the connection and the answer.
    """

    concerns: Callable[[Request], bool]
    times: int = 1
    receive: int | None = None
    instead: Answer | None = None
    before: Callable[[], object] | None = None
    send: Callable[[socket.socket, Answer], None] | None = None
    seen: int = 0


def error(status: int, code: str) -> Answer:
    """An answer that refuses."""
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>as planned</Message></Error>".encode()
    return Answer(status, [("Content-Type", "application/xml")], body)


def lose(_connection: socket.socket, _answer: Answer) -> None:
    """The server has done it, and nobody hears."""
    raise Broken


def cut(at: int) -> Callable[[socket.socket, Answer], None]:
    """Send only so many bytes of the body, and end as if that were all."""

    def send(connection: socket.socket, answer: Answer) -> None:
        _send(connection, answer, answer.body[:at])

    return send


def reset(at: int) -> Callable[[socket.socket, Answer], None]:
    """Send only so many bytes of the body, and break the connection."""

    def send(connection: socket.socket, answer: Answer) -> None:
        _send(connection, answer, answer.body[:at])
        raise Broken

    return send


def change(connection: socket.socket, answer: Answer) -> None:
    """Send as many bytes as came, of which one bit is another."""
    _send(connection, answer, answer.body[:-1] + bytes([answer.body[-1] ^ 1]))


def stall(until: threading.Event) -> Callable[[socket.socket, Answer], None]:
    """Send a part of the body, and the rest only when the test says so."""

    def send(connection: socket.socket, answer: Answer) -> None:
        _send(connection, answer, answer.body[: len(answer.body) // 2])
        until.wait(60)
        raise Broken

    return send


def _send(connection: socket.socket, answer: Answer, body: bytes) -> None:
    """Send an answer whose head is that of the whole."""
    lines = [f"HTTP/1.1 {answer.status} as it is"]
    lines += [f"{name}: {value}" for name, value in answer.headers]
    connection.sendall("\r\n".join([*lines, "Connection: close", "", ""]).encode("latin-1") + body)


class _Connection(socketserver.StreamRequestHandler):
    server: _Server

    def handle(self) -> None:
        try:
            self._one()
        except (Broken, OSError, http.client.HTTPException):
            # A reset, and not an end: what was sent may never be read.
            with contextlib.suppress(OSError):
                self.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def _one(self) -> None:
        line = self.rfile.readline().decode("latin-1").split(" ")
        if len(line) != 3:
            return
        headers = []
        while (header := self.rfile.readline().decode("latin-1").strip()) != "":
            name, _, value = header.partition(":")
            headers.append((name, value.strip()))
        size = next((int(value) for name, value in headers if name.lower() == "content-length"), 0)
        asked = Request(line[0], line[1], headers, size)
        fault = self.server.fault_of(asked)
        if fault is not None and fault.receive is not None:
            self.rfile.read(min(fault.receive, size))
            raise Broken
        body = self.rfile.read(size)
        if fault is not None and fault.before is not None:
            fault.before()
        answer = self._asked(asked, body) if fault is None or fault.instead is None else fault.instead
        if fault is not None and fault.send is not None:
            fault.send(self.request, answer)
            return
        if fault is not None and fault.instead is not None:
            length = ("Content-Length", str(len(answer.body)))
            answer = Answer(answer.status, [*answer.headers, length], answer.body)
        _send(self.request, answer, b"" if asked.method == "HEAD" else answer.body)

    def _asked(self, asked: Request, body: bytes) -> Answer:
        upstream = http.client.HTTPConnection(*self.server.upstream, timeout=60)
        try:
            upstream.putrequest(asked.method, asked.path, skip_host=True, skip_accept_encoding=True)
            for name, value in asked.headers:
                if name.lower() != "connection":
                    upstream.putheader(name, value)
            upstream.endheaders(body or None)
            said = upstream.getresponse()
            data = said.read()
            headers = [
                (name, value)
                for name, value in said.getheaders()
                if name.lower() not in {"transfer-encoding", "connection", "content-length"}
            ]
            length = said.getheader("Content-Length") if asked.method == "HEAD" else str(len(data))
            return Answer(said.status, [*headers, ("Content-Length", length or "0")], data)
        finally:
            upstream.close()


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64

    def __init__(self, upstream: tuple[str, int], tls: ssl.SSLContext | None) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.upstream = upstream
        self.tls = tls
        self.faults: list[Fault] = []
        self._lock = threading.Lock()

    def get_request(self) -> tuple[socket.socket, Any]:
        """The next connection."""
        connection, address = super().get_request()
        if self.tls is not None:
            # The greeting is for the thread of the connection.
            connection = self.tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return connection, address

    def fault_of(self, request: Request) -> Fault | None:
        """What goes wrong with this request, if anything."""
        with self._lock:
            for fault in self.faults:
                if fault.seen < fault.times and fault.concerns(request):
                    fault.seen += 1
                    return fault
        return None

    def handle_error(self, *_about: Any) -> None:
        """A client that went away is none of a test's concern."""


class Proxy:
    """A running proxy."""

    def __init__(self, server: _Server) -> None:
        self._server = server
        self.url = f"{'https' if server.tls else 'http'}://127.0.0.1:{server.server_address[1]}"

    def plan(self, *faults: Fault) -> None:
        """What goes wrong from now on; nothing if none is given."""
        self._server.faults = list(faults)


@contextlib.contextmanager
def in_front_of(endpoint_url: str, *, tls: ssl.SSLContext | None = None) -> Iterator[Proxy]:
    """A proxy in front of a server that speaks http.

    Args:
        tls: how it speaks with clients; None for plain http.
    """
    parts = urlsplit(endpoint_url)
    assert parts.hostname is not None
    assert parts.port is not None
    server = _Server((parts.hostname, parts.port), tls)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield Proxy(server)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
