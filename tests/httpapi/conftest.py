"""A served store and those who ask it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

pytest.register_assert_rewrite("httpapi.harness")

from cli.harness import Program  # noqa: E402 - as in tests/

from httpapi.harness import OPERATOR, PUSHER, READER, WRITER, Client, serving  # noqa: E402 - as in tests/

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from artifactstore import Store
    from artifactstore.httpapi import Server


@pytest.fixture
def server(store: Store) -> Iterator[Server]:
    """A server of an empty store."""
    with serving(store) as running:
        yield running


def _client(server: Server, token: str | None) -> Iterator[Client]:
    client = Client(server, token)
    yield client
    client.close()


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    """Somebody who may read and write."""
    yield from _client(server, PUSHER)


@pytest.fixture
def reader(server: Server) -> Iterator[Client]:
    """Somebody who may read."""
    yield from _client(server, READER)


@pytest.fixture
def writer(server: Server) -> Iterator[Client]:
    """Somebody who may write and not read."""
    yield from _client(server, WRITER)


@pytest.fixture
def operator(server: Server) -> Iterator[Client]:
    """Somebody who may do everything."""
    yield from _client(server, OPERATOR)


@pytest.fixture
def stranger(server: Server) -> Iterator[Client]:
    """Somebody without a token."""
    yield from _client(server, None)


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    """The command line on a store of its own."""
    monkeypatch.chdir(tmp_path)
    return Program(tmp_path / "store")
