"""One server of each kind in a session, started when a test wants it."""

from __future__ import annotations

import os
import uuid
from typing import TYPE_CHECKING

import pytest
from store.harness import CountedIds, FakeClock, Home

from artifactstore import Store
from artifactstore.moment import system_clock
from s3.places import REMOTE, SERVERS, Place, Server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

# The same server over TLS is one more run of everything: `test_s3` has the part that every suite runs.
SLOW = {"ceph-tls": [pytest.mark.slow]}
SERVER_PARAMS = [pytest.param(name, marks=SLOW.get(name, [])) for name in SERVERS]
KINDS = ("memory", "directory", *SERVER_PARAMS)


@pytest.fixture(scope="session")
def start() -> Iterator[Callable[[str], Server]]:
    """Gives a running server by its name."""
    servers: dict[str, Server] = {}

    def started(name: str) -> Server:
        if name not in servers:
            server = Server(name, dict(os.environ))
            server.start()
            servers[name] = server
        return servers[name]

    yield started
    for server in servers.values():
        server.run("resume")
        server.run("stop")


@pytest.fixture(autouse=True)
def _no_foreign_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("ARTIFACTSTORE_", "AWS_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def place_of(
    kind: str, start: Callable[[str], Server], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Place:
    """A fresh place of a kind."""
    if kind == "memory":
        return Place(None, f"memory://{uuid.uuid4().hex}")
    if kind == "directory":
        return Place(None, f"local://{tmp_path}/remote")
    server = start(kind)
    if "AWS_CA_BUNDLE" in server.exported:
        monkeypatch.setenv("AWS_CA_BUNDLE", server.exported["AWS_CA_BUNDLE"])
    return Place(server)


@pytest.fixture(params=KINDS)
def place(
    request: pytest.FixtureRequest,
    start: Callable[[str], Server],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Iterator[Place]:
    """A fresh place of each kind."""
    made = place_of(request.param, start, monkeypatch, tmp_path)
    yield made
    made.close()


@pytest.fixture(params=SERVER_PARAMS)
def bucket(
    request: pytest.FixtureRequest,
    start: Callable[[str], Server],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Iterator[Place]:
    """A fresh place on each S3 server."""
    made = place_of(request.param, start, monkeypatch, tmp_path)
    yield made
    made.close()


@pytest.fixture
def remote(place: Place, home: Home) -> Iterator[Store]:
    """An empty store whose objects go to the place, with a local backend beside it."""
    with open_store(home, place) as store:
        yield store


def open_store(home: Home, place: Place, clock: FakeClock | None = None) -> Store:
    """A store that ingests into a place."""
    return Store.open(
        home.database,
        home.objects,
        further={REMOTE: place.backend()},
        default_backend=REMOTE,
        clock=clock or system_clock,
        new_id=CountedIds() if clock else None,
    )
