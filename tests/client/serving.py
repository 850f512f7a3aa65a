"""A real server on a loopback port, in front of a store."""

from __future__ import annotations

import contextlib
import logging
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from artifactstore.client import Client
from artifactstore.httpapi import make_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from artifactstore import Store

ACTORS = ("ada", "bob")  # whose tokens may do everything
WRITER = "writer-only"


def token_of(actor: str) -> str:
    """The token of an actor, at a server that lives as long as a test."""
    return f"token-of-{actor}"


TOKEN = token_of(ACTORS[0])


@dataclass(frozen=True)
class Served:
    """A server that runs."""

    store: Store
    url: str

    def client(self, token: str = TOKEN, **options: Any) -> Client:
        """A client of it."""
        return Client(self.url, token, **options)

    def flags(self, actor: str = ACTORS[0]) -> tuple[str, ...]:
        """What makes a command use it."""
        return "--api-url", self.url, "--api-token", token_of(actor)


@contextlib.contextmanager
def serving(store: Store, certificate: Path | None = None) -> Iterator[Served]:
    """Serve a store.

    Args:
        certificate: and its key, for TLS.
    """
    tokens = [f"{actor}:admin:{token_of(actor)}" for actor in ACTORS]
    server = make_server(store, tokens=[*tokens, f"writer:write:{WRITER}"], tls_certificate=certificate)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    # A command that runs in this process logs to its own stderr, and so would the server.
    logs = [logging.getLogger("artifactstore.access"), logging.getLogger("artifactstore.httpapi")]
    for log in logs:
        log.propagate = False
    try:
        yield Served(store, server.url)
    finally:
        server.stop()
        thread.join()
        for log in logs:
            log.propagate = True
