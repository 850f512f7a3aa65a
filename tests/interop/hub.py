"""A State Hub that is as rude as a test wants it."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator

GOOD = (201, b'{"ok": true}', {})


@dataclass
class Hub:
    """What it answers next, and what it was told.

    Args:
        answers: status, body and further fields of each coming answer, or a function that answers; when they
            are used up, it is polite.
    """

    port: int = 0
    answers: list[Any] = field(default_factory=list)
    told: list[tuple[str, dict[str, str], Any]] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"


@contextlib.contextmanager
def running(tls: ssl.SSLContext | None = None) -> Iterator[Hub]:
    """A hub on a port of this machine."""
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            hub.told.append((self.path, dict(self.headers.items()), json.loads(body)))
            answer = hub.answers.pop(0) if hub.answers else GOOD
            if callable(answer):
                answer(self)
                return
            status, text, fields = answer
            self.send_response(status)
            for name, value in {"Content-Length": str(len(text)), **fields}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        hub.port = server.server_port
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield hub
        finally:
            hub.released.set()
            server.shutdown()
            thread.join()


def closes_early(handler: BaseHTTPRequestHandler) -> None:
    """Promise more than comes."""
    handler.wfile.write(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"ok"')
    handler.wfile.flush()
    handler.connection.shutdown(socket.SHUT_RDWR)


def says_nothing(handler: BaseHTTPRequestHandler) -> None:
    """Close without a word."""
    handler.connection.shutdown(socket.SHUT_RDWR)


def is_no_http(handler: BaseHTTPRequestHandler) -> None:
    """Speak another protocol."""
    handler.wfile.write(b"SSH-2.0-hub\r\n")


def waits(hub: Hub) -> Callable[[BaseHTTPRequestHandler], None]:
    """Never answer while the test runs."""
    return lambda _handler: [hub.released.wait(), None][1]


def drips(hub: Hub) -> Callable[[BaseHTTPRequestHandler], None]:
    """Send a byte now and then, so that no single wait is long."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        with contextlib.suppress(OSError):
            handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
            while not hub.released.wait(0.05):
                handler.wfile.write(b" ")
                handler.wfile.flush()

    return answer


@contextlib.contextmanager
def takes_no_connection() -> Iterator[int]:
    """The port of a server on this machine whose queue is full: who connects waits for ever."""
    with contextlib.ExitStack() as opened:
        server = opened.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        port: int = server.getsockname()[1]
        for _ in range(4):
            waiting = opened.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(("127.0.0.1", port))
        yield port
