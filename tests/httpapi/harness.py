"""A server in this process and clients that say exactly what a test wants: good requests, and raw bytes."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import threading
from dataclasses import dataclass, field
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any

from artifactstore.httpapi import Limits, make_server

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from artifactstore import Store
    from artifactstore.httpapi import Server

PATIENCE = 30.0  # seconds after which a server counts as stuck
# Secrets that must never be seen in any output.
READER, WRITER, PUSHER, OPERATOR = (f"canary-{name}-2f6c91" for name in ("read", "write", "push", "admin"))
TOKENS = (
    f"reader:read:{READER}",
    f"writer:write:{WRITER}",
    f"ci:read+write:{PUSHER}",
    f"operator:admin:{OPERATOR}",
)


@dataclass(frozen=True)
class Answer:
    """A response."""

    status: int
    fields: Mapping[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


@dataclass
class Client:
    """A well-behaved client with a token."""

    server: Server
    token: str | None = PUSHER
    _connection: HTTPConnection | None = field(default=None, repr=False)

    def __call__(
        self,
        method: str,
        path: str,
        body: bytes | dict[str, Any] | None = None,
        *,
        status: int | None = None,
        **fields: str,
    ) -> Answer:
        """Send a request; a dict is sent as JSON, and an underscore in a field's name is a hyphen."""
        if self._connection is None:
            self._connection = HTTPConnection("127.0.0.1", self.server.server_port, timeout=PATIENCE)
        sent = {name.replace("_", "-"): value for name, value in fields.items()}
        if self.token is not None:
            sent.setdefault("Authorization", f"Bearer {self.token}")
        if isinstance(body, dict):
            sent.setdefault("Content-Type", "application/json")
            body = json.dumps(body).encode()
        self._connection.request(method, path, body=body, headers=sent)
        response = self._connection.getresponse()
        answer = Answer(
            response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
        )
        assert status is None or answer.status == status, answer
        return answer

    def package(self, **said: Any) -> str:
        """The id of a new open package."""
        made = self("POST", "/packages", {"name": "n", "producer": "p", "subject": "s", **said}, status=201)
        return str(made.document["package_id"])

    def finalized(self, files: Mapping[str, bytes], **said: Any) -> str:
        """The id of a finalized package with these files."""
        package = self.package(**said)
        for path, data in files.items():
            self("PUT", f"/packages/{package}/files/{path}", data, status=201)
        self("POST", f"/packages/{package}/finalize", status=200)
        return package

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


@contextlib.contextmanager
def serving(store: Store, *, limits: Limits | None = None, **options: Any) -> Iterator[Server]:
    """A server of a store that runs on a thread."""
    server = make_server(store, limits=limits, **{"tokens": TOKENS, **options})
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.stop(PATIENCE)
        thread.join()


@dataclass(frozen=True)
class RawAnswers:
    """All that a server sent on one connection."""

    data: bytes
    closed: bool

    @property
    def statuses(self) -> list[int]:
        """The statuses of all responses, interim ones too."""
        return [int(found) for found in re.findall(rb"HTTP/1\.1 (\d{3}) ", self.data)]

    @property
    def final(self) -> bytes:
        """What stands behind the first head."""
        return self.data.partition(b"\r\n\r\n")[2]


def raw(server: Server, data: bytes, *, finish: bool = False, patience: float = PATIENCE) -> RawAnswers:
    """Send bytes and read until the server closes, or has nothing more to say.

    Args:
        finish: also end our side; then the server has to close.
    """
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=patience) as connection:
        with contextlib.suppress(OSError):
            connection.sendall(data)
        if finish:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_WR)
        received = b""
        while True:
            try:
                part = connection.recv(1 << 16)
            except TimeoutError:
                return RawAnswers(received, closed=False)
            except ConnectionResetError:
                return RawAnswers(received, closed=True)
            if not part:
                return RawAnswers(received, closed=True)
            received += part
