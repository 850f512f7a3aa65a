"""A CMIS repository over HTTP, and a client that keeps what goes over the wire.

The folder for captures is the variable `TCK_CAPTURES`.
"""

from __future__ import annotations

import json
import os
import re
import threading
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator


class Repository(BaseHTTPRequestHandler):
    """The browser binding of a repository that holds folders and documents in memory."""

    objects: dict[str, dict[str, Any]]

    def do_GET(self) -> None:
        """Answer with the properties of an object or of the repository."""
        url = urlsplit(self.path)
        wanted = parse_qs(url.query).get("objectId", ["root"])[0]
        if url.path == "/":
            self.answer(200, {"repositoryId": "tck", "cmisVersionSupported": "1.1", "rootFolderId": "root"})
        elif wanted in self.objects:
            self.answer(200, {"succinctProperties": self.objects[wanted]})
        else:
            self.answer(404, {"exception": "objectNotFound", "message": wanted})

    def do_POST(self) -> None:
        """Create an object."""
        given = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        name = given.get("cmis:name", "")
        if not name or "/" in name:
            self.answer(400, {"exception": "invalidArgument", "message": f"not a name: {name!r}"})
            return
        created = f"id-{len(self.objects)}"
        self.objects[created] = {**given, "cmis:objectId": created}
        self.answer(201, {"succinctProperties": self.objects[created]})

    def answer(self, status: int, document: dict[str, Any]) -> None:
        """Send a JSON document."""
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        """Say nothing: what matters is captured."""


class Session:
    """A client of the repository that writes each request and response into a file of its own."""

    def __init__(self, address: str, captures: Path, test: str) -> None:
        self._address = address
        self._captures = captures
        self._test = re.sub(r"[^A-Za-z0-9]+", "-", test).strip("-")
        self._count = 0

    def call(
        self, method: str, path: str, document: dict[str, Any] | None = None
    ) -> tuple[int, dict[str, Any]]:
        """The status and the document of the answer."""
        self._count += 1
        body = None if document is None else json.dumps(document).encode()
        request = urllib.request.Request(f"{self._address}{path}", data=body, method=method)
        try:
            with urllib.request.urlopen(request, timeout=10) as response:
                status, answer = response.status, response.read()
        except urllib.error.HTTPError as error:
            status, answer = error.code, error.read()
        name = f"{self._test}-{self._count}"
        self._keep(f"{name}.request.txt", f"{method} {path} HTTP/1.1\n\n".encode() + (body or b""))
        self._keep(f"{name}.response.txt", f"HTTP/1.1 {status}\n\n".encode() + answer)
        return status, json.loads(answer)

    def _keep(self, name: str, data: bytes) -> None:
        (self._captures / name).write_bytes(data)


@pytest.fixture(scope="session")
def address() -> Iterator[str]:
    """Where the repository listens."""
    kind = type("Board", (Repository,), {"objects": {"root": {"cmis:objectId": "root", "cmis:name": ""}}})
    with ThreadingHTTPServer(("127.0.0.1", 0), kind) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def session(address: str, request: pytest.FixtureRequest) -> Session:
    """A client for one test."""
    return Session(address, Path(os.environ["TCK_CAPTURES"]), request.node.name)
