"""Real servers that misbehave: each connection is answered by a script."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator

    Script = Callable[["Caller"], None]


@dataclass
class Caller:
    """One connection to a rude server, and what came over it."""

    stream: socket.socket
    stopped: threading.Event
    requests: list[bytes] = field(default_factory=list)

    def read_head(self) -> bytes:
        """The next request's head."""
        data = b""
        while b"\r\n\r\n" not in data:
            part = self.stream.recv(1)  # nothing of the body is taken
            if not part:
                raise ConnectionResetError
            data += part
        self.requests.append(data)
        return data

    def read_request(self) -> bytes:
        """The next request's head, its body read away."""
        head = self.read_head()
        length = re.search(rb"\r\ncontent-length: (\d+)\r\n", head, re.IGNORECASE)
        left = int(length[1]) if length else 0
        while left:
            left -= len(self.stream.recv(min(left, 1 << 16)))
        return head

    def say(self, data: bytes) -> None:
        """Send bytes."""
        self.stream.sendall(data)


@dataclass
class RudeServer:
    """A server on a loopback port; a script for each connection, the last for all further ones."""

    scripts: tuple[Script, ...]
    listener: socket.socket
    tls: ssl.SSLContext | None = None
    callers: list[Caller] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.listener.getsockname()[1])

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def requests(self) -> list[bytes]:
        """The heads of all requests."""
        return [head for caller in self.callers for head in caller.requests]

    def serve(self) -> None:
        """Answer connections, one after another, until it is stopped."""
        threads = []
        while True:
            try:
                stream, _ = self.listener.accept()
            except OSError:
                break
            script = self.scripts[min(len(threads), len(self.scripts) - 1)]
            threads.append(threading.Thread(target=self._answer, args=(stream, script)))
            threads[-1].start()
        for thread in threads:
            thread.join()

    def _answer(self, stream: socket.socket, script: Script) -> None:
        with contextlib.suppress(OSError):
            if self.tls is not None:
                stream = self.tls.wrap_socket(stream, server_side=True)
            with stream:
                caller = Caller(stream, self.stopped)
                self.callers.append(caller)
                script(caller)


@contextlib.contextmanager
def rude(*scripts: Script, tls: ssl.SSLContext | None = None) -> Iterator[RudeServer]:
    """A server that answers as the scripts say."""
    server = RudeServer(scripts, socket.create_server(("127.0.0.1", 0)), tls)
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        yield server
    finally:
        server.stopped.set()
        # Closing alone would not wake a thread that waits in `accept`.
        server.listener.shutdown(socket.SHUT_RDWR)
        server.listener.close()
        thread.join()


def answering(*answers: bytes) -> Script:
    """Answers one request after another with these bytes, the last one again and again."""

    def script(caller: Caller) -> None:
        left = list(answers)
        while True:
            caller.read_request()
            caller.say(left.pop(0) if len(left) > 1 else left[0])

    return script


def closing(answer: bytes = b"") -> Script:
    """Reads a request, answers with these bytes and closes."""

    def script(caller: Caller) -> None:
        caller.read_request()
        caller.say(answer)

    return script


def http_answer(
    body: bytes, *, status: str = "200 OK", content_type: str = "application/json", more: str = ""
) -> bytes:
    """An answer in order, as far as its form goes."""
    head = f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n{more}\r\n"
    return head.encode() + body


@dataclass
class Relay:
    """Stands between a client and a server, counts, cuts and changes what goes through.

    Args:
        port: of the server.
        cuts: by connection: the bytes of the server after which it is cut; None lets all through.
        sent_cuts: the same for the bytes of the client.
        flip: the place in the server's bytes, over all connections, of one that is changed.
        stall: the bytes of the client, over all connections, after which nothing goes on; `stalled` tells.
    """

    port: int
    listener: socket.socket
    cuts: tuple[int | None, ...] = ()
    sent_cuts: tuple[int | None, ...] = ()
    flip: int | None = None
    stall: int | None = None
    stalled: threading.Event = field(default_factory=threading.Event)
    stopped: threading.Event = field(default_factory=threading.Event)
    sent: int = 0
    received: int = 0
    connections: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        """Where clients find it."""
        return f"http://127.0.0.1:{self.listener.getsockname()[1]}"

    def serve(self) -> None:
        """Let connections through until it is stopped."""
        threads: list[threading.Thread] = []
        ends: list[socket.socket] = []
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                break
            number = self.connections
            self.connections += 1
            server = socket.create_connection(("127.0.0.1", self.port))
            ends += [client, server]
            for source, sink, limits, own in (
                (client, server, self.sent_cuts, True),
                (server, client, self.cuts, False),
            ):
                limit = limits[number] if number < len(limits) else None
                threads.append(threading.Thread(target=self._pump, args=(source, sink, limit, own)))
                threads[-1].start()
        for thread in threads:
            thread.join()
        for end in ends:
            end.close()

    def _pump(self, source: socket.socket, sink: socket.socket, limit: int | None, own: bool) -> None:
        left = limit
        with contextlib.suppress(OSError):
            while left is None or left > 0:
                data = source.recv(65536 if left is None else min(left, 65536))
                if not data:
                    break
                left = None if left is None else left - len(data)
                with self.lock:
                    data = self._noted(data, own=own)
                if own and self.stall is not None and self.sent > self.stall:
                    self.stalled.set()
                    self.stopped.wait()
                    break
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _noted(self, data: bytes, *, own: bool) -> bytes:
        if own:
            self.sent += len(data)
            return data
        start = self.received
        self.received += len(data)
        if self.flip is None or not start <= self.flip < self.received:
            return data
        at = self.flip - start
        return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@contextlib.contextmanager
def relay(url: str, **faults: Any) -> Iterator[Relay]:
    """A relay in front of a server."""
    between = Relay(int(url.rpartition(":")[2]), socket.create_server(("127.0.0.1", 0)), **faults)
    thread = threading.Thread(target=between.serve)
    thread.start()
    try:
        yield between
    finally:
        between.stopped.set()
        between.listener.shutdown(socket.SHUT_RDWR)
        between.listener.close()
        thread.join()
