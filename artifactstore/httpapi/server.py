"""The server: a bounded number of connections, each on its own thread; a stop that finishes what runs."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import socketserver
import ssl
import threading
import time
from dataclasses import dataclass
from http.server import ThreadingHTTPServer
from typing import TYPE_CHECKING

from artifactstore.errors import SettingsError
from artifactstore.httpapi.access import Hosts, Tokens, is_loopback
from artifactstore.httpapi.handler import Handler
from artifactstore.httpapi.service import Service
from artifactstore.httpapi.token_file import expanded

if TYPE_CHECKING:
    from collections.abc import Iterable

    from artifactstore.httpapi.wire import Limits
    from artifactstore.store import Store

_log = logging.getLogger(__name__)

GRACE = 30.0  # seconds that requests which run at a stop have to end
_OVERFULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
)


@dataclass(slots=True)
class _Open:
    """A connection; `idle_since` is None while a request of it is worked on."""

    connection: socket.socket
    idle_since: float | None


class Server(ThreadingHTTPServer):
    """Serves one store. Made by `make_server`; `serve_forever` runs it, `stop` ends it.

    A connection that waits for a request holds a thread and nothing else. If there are too many, the one that
    has waited for longest gives way, so nobody can shut others out by doing nothing.
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = 512
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], service: Service, tls: ssl.SSLContext | None) -> None:
        self.service = service
        self.stopping = False
        self._tls = tls
        self._open: dict[int, _Open] = {}
        self.change = threading.Condition()  # tells when a connection ends or waits
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, Handler)

    @property
    def open_count(self) -> int:
        """How many connections there are."""
        return len(self._open)

    @property
    def url(self) -> str:
        """Where it answers."""
        host, port = self.server_address[:2]
        name = f"[{host!s}]" if ":" in str(host) else str(host)
        return f"{'http' if self._tls is None else 'https'}://{name}:{port}"

    def server_bind(self) -> None:
        """Bind, without asking the name service who we are."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def service_actions(self) -> None:
        """What is done between two connections."""
        self.service.tend()
        with self.change:
            self.change.notify_all()

    # Connections

    def process_request(self, request: socket.socket, client_address: object) -> None:  # type: ignore[override]
        """Give a new connection a thread, if need be in place of an idle one."""
        request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self.change:
            if len(self._open) >= self.service.limits.connections and not self._evict():
                with contextlib.suppress(OSError):
                    request.setblocking(False)
                    request.send(_OVERFULL)
                request.close()
                return
            self._open[request.fileno()] = _Open(request, time.monotonic())
        super().process_request(request, client_address)

    def _evict(self) -> bool:
        """End the connection that has been idle for longest; false if none is."""
        idle = [(each.idle_since, key) for key, each in self._open.items() if each.idle_since is not None]
        if not idle:
            return False
        _end(self._open.pop(min(idle)[1]).connection)
        return True

    def finish_request(self, request: socket.socket, client_address: object) -> None:  # type: ignore[override]
        """On the thread of the connection: TLS first, then its requests."""
        key = request.fileno()
        mine = self._open.get(key)
        try:
            if self._tls is not None:
                request.settimeout(self.service.limits.head)
                request = self._tls.wrap_socket(request, server_side=True, do_handshake_on_connect=False)
                if mine is not None:
                    mine.connection = request
                request.do_handshake()
            Handler(request, client_address, self)
        except (OSError, ValueError) as error:
            _log.debug("a connection ended: %s", error)
        finally:
            with self.change:
                if self._open.get(key) is mine:
                    self._open.pop(key, None)
                self.change.notify_all()
            with contextlib.suppress(OSError):
                request.close()

    def mark_idle(self, connection: socket.socket) -> None:
        """Note that a connection waits for a request."""
        with self.change:
            mine = self._open.get(connection.fileno())
            if mine is not None:
                mine.idle_since = time.monotonic()
                if self.stopping:
                    _end(mine.connection)
                self.change.notify_all()

    def mark_ending(self, connection: socket.socket) -> None:
        """Note that the last answer of a connection is sent."""
        with self.change:
            mine = self._open.get(connection.fileno())
            if mine is not None:
                mine.idle_since = time.monotonic()

    def mark_busy(self, connection: socket.socket) -> bool:
        """Note that a request is worked on; false if the connection had to give way."""
        with self.change:
            mine = self._open.get(connection.fileno())
            if mine is None or self.stopping:
                return False
            mine.idle_since = None
            return True

    def shutdown_request(self, request: socket.socket) -> None:  # type: ignore[override]
        """The connection is closed by who has answered on it."""
        with contextlib.suppress(OSError):
            request.close()

    def handle_error(self, request: object, client_address: object) -> None:
        """Log what went wrong beside any request."""
        del request, client_address
        _log.exception("a connection failed")

    # The end

    def server_close(self) -> None:
        """Give the port back and end all waits."""
        super().server_close()
        self.service.close()

    def stop(self, grace: float = GRACE) -> bool:
        """Refuse what is new, let what runs end, and end what waits. Call from another thread. Idempotent.

        Args:
            grace: seconds that requests have to end.
        Returns:
            Whether all of them did.
        """
        self.stopping = True
        self.shutdown()
        self.server_close()
        with self.change:
            for each in self._open.values():
                if each.idle_since is not None:
                    _end(each.connection)
            ended = self.change.wait_for(lambda: not self._open, grace)
            for each in self._open.values():
                _end(each.connection)
        return ended


def make_server(
    store: Store,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    tokens: Iterable[str] = (),
    anonymous_read: bool = False,
    allowed_hosts: Iterable[str] = (),
    tls_certificate: str | os.PathLike[str] | None = None,
    tls_key: str | os.PathLike[str] | None = None,
    insecure_bind: bool = False,
    limits: Limits | None = None,
) -> Server:
    """A server of a store, bound and not yet running: call `serve_forever`, and `stop` from another thread.

    Args:
        store: stays the caller's.
        port: 0 takes a free one.
        tokens: `token`, which may do everything, `name:scope:token`, or `file:/absolute/path` of a list.
        anonymous_read: let everybody read.
        allowed_hosts: names under which it is asked for, beside those of this machine and, if others can
            reach it, any address in numbers.
        tls_certificate, tls_key: PEM files; with them it speaks TLS alone.
        insecure_bind: let others reach it without TLS, for a network that is trusted.
    Raises:
        SettingsError: a token is none, the certificate cannot be used or is missing beside a key, the
            address cannot be bound, or strangers could reach the store without a token or listen to one.
    """
    known = Tokens.parse(expanded(tokens), anonymous_read=anonymous_read)
    if tls_key is not None and tls_certificate is None:
        raise SettingsError(
            "a key without its certificate would serve plain HTTP", hint="give --tls-cert, too"
        )
    tls = None if tls_certificate is None else _tls(tls_certificate, tls_key)
    if not is_loopback(host):
        if not known.known:
            raise SettingsError(
                f"{host} can be reached from elsewhere, and there are no tokens",
                hint="set ARTIFACTSTORE_AUTH_TOKENS, or bind to 127.0.0.1",
            )
        if tls is None and not insecure_bind:
            raise SettingsError(
                f"{host} can be reached from elsewhere, and tokens would travel in the clear",
                hint="use --tls-cert and --tls-key, or bind to 127.0.0.1 behind a proxy, or --insecure-bind",
            )
    hosts = Hosts.of(host, allowed_hosts, secure=tls is not None)
    service = Service(store, tokens=known, hosts=hosts, limits=limits)
    try:
        return Server((host, port), service, tls)
    except (OSError, OverflowError) as error:
        service.close()
        raise SettingsError(f"cannot bind to {host} port {port}: {error}", hint="choose another") from error


def _tls(certificate: str | os.PathLike[str], key: str | os.PathLike[str] | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(
            f"the certificate {os.fspath(certificate)} and its key cannot be used: {error}",
            hint="give PEM files that belong together",
        ) from error
    return context


def _end(connection: socket.socket) -> None:
    """End a connection that another thread reads from."""
    with contextlib.suppress(OSError):
        socket.socket.shutdown(connection, socket.SHUT_RDWR)
