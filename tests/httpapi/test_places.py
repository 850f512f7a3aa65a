"""Bytes on their way out, from wherever they lie: in memory, behind fsspec, in the second of two copies."""

from __future__ import annotations

import contextlib
import io
import socket
import tarfile
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from cli.harness import answer_of
from lifecycle.harness import flip
from s3.places import REMOTE, Place
from store.harness import LARGE, SAID, TREE, Home, incompressible, read_tree, write_tree

from artifactstore import Store
from artifactstore.client import Client as Afar
from artifactstore.digest import digest_pair, object_key
from httpapi.harness import OPERATOR, PATIENCE, PUSHER, Client, RawAnswers, raw, serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from artifactstore.httpapi import Server

HELD_BACK = 1 << 16  # bytes of a large file that are sent only when all of it is right
SMALL_DATA = bytes(range(256)) * 40
LARGE_DATA = incompressible(2 * LARGE + 4097)
FILES = {**TREE, "small.bin": SMALL_DATA, "large.bin": LARGE_DATA}


def _damage(path: Path) -> None:
    if path.stat().st_size:
        flip(path)


def _remove(path: Path) -> None:
    path.unlink()


@dataclass(frozen=True)
class Placed:
    """A finalized package with all files, behind a server.

    Args:
        store: has its bytes at a place of the kind that is tested.
        package: its id.
    """

    store: Store
    server: Server
    client: Client
    package: str

    def at(self, path: str) -> str:
        """Where the content of a file is."""
        return f"/packages/{self.package}/files/{path}"


@contextlib.contextmanager
def placed(store: Store, tree: Path, then: Callable[[str], object] = str) -> Iterator[Placed]:
    """Serve a store with a package.

    Args:
        then: done with its id before it is served.
    """
    package = store.push(tree, **SAID).package.package_id
    then(package)
    with serving(store) as server:
        client = Client(server)
        try:
            yield Placed(store, server, client, package)
        finally:
            client.close()


@contextlib.contextmanager
def two_copies(home: Home, tree: Path, harm: Callable[[Path], None]) -> Iterator[Placed]:
    """A package in two folders, the first of which is harmed in each of its objects."""

    def copy_and_harm(_: str) -> None:
        store.copy(source="local", target="second", actor="ada")
        for path in home.object_paths():
            harm(path)

    further = {"second": home.root.parent / "second"}
    with (
        Store.open(home.database, home.objects, further=further) as store,
        placed(store, tree, copy_and_harm) as made,
    ):
        yield made


@pytest.fixture
def evidence(tmp_path: Path) -> Path:
    """Small files and a large one."""
    return write_tree(tmp_path / "evidence", FILES)


@pytest.fixture(params=["local", "memory", "directory", "first copy missing", "first copy damaged"])
def there(request: pytest.FixtureRequest, home: Home, evidence: Path, tmp_path: Path) -> Iterator[Placed]:
    """The files in each kind of place."""
    kind = request.param
    if kind == "local":
        with home.open() as store, placed(store, evidence) as made:
            yield made
    elif kind.startswith("first copy"):
        with two_copies(home, evidence, _remove if "missing" in kind else _damage) as made:
            yield made
    else:
        url = f"memory://{uuid.uuid4().hex}" if kind == "memory" else f"local://{tmp_path}/remote"
        with remote(home, url) as store, placed(store, evidence) as made:
            yield made


@contextlib.contextmanager
def remote(home: Home, url: str) -> Iterator[Store]:
    """A store whose objects go to a place behind fsspec."""
    place = Place(None, url)
    try:
        with Store.open(
            home.database, home.objects, further={REMOTE: place.backend()}, default_backend=REMOTE
        ) as store:
            yield store
    finally:
        place.close()


def test_whole_files(there: Placed) -> None:
    for path, data in FILES.items():
        target = there.at(quote(path))
        for _ in range(2):
            answer = there.client("GET", target, status=200)
            assert answer.body == data
            assert answer.fields["content-length"] == str(len(data))
        head = there.client("HEAD", target, status=200)
        assert (head.body, head.fields["content-length"]) == (b"", str(len(data)))


def test_ranges_and_conditions(there: Placed) -> None:
    for path, wanted, part in (
        ("small.bin", "bytes=0-0", slice(0, 1)),
        ("small.bin", "bytes=100-", slice(100, None)),
        ("small.bin", "bytes=-5", slice(-5, None)),
        ("large.bin", "bytes=0-9", slice(0, 10)),
        ("large.bin", "bytes=1048570-1048590", slice(1048570, 1048591)),
        ("large.bin", "bytes=8000000-", slice(8000000, None)),
        ("large.bin", "bytes=-1", slice(-1, None)),
    ):
        answer = there.client("GET", there.at(path), Range=wanted, status=206)
        assert answer.body == FILES[path][part]
    for path in ("small.bin", "large.bin"):
        etag = there.client("HEAD", there.at(path), status=200).fields["etag"]
        assert there.client("GET", there.at(path), If_None_Match=etag, status=304).body == b""
        partly = there.client("GET", there.at(path), If_Range=etag, Range="bytes=0-4", status=206)
        assert partly.body == FILES[path][:5]


def test_archives(there: Placed) -> None:
    answer = there.client("GET", f"/packages/{there.package}/archive?bare=true", status=200)
    with tarfile.open(fileobj=io.BytesIO(answer.body)) as tar:
        found = {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
    assert found == FILES


def test_a_client_reads_and_exports(there: Placed, tmp_path: Path) -> None:
    with Afar(there.server.url, PUSHER) as client:
        for path, data in FILES.items():
            assert client.read_file(there.package, path) == data
        with client.open_file(there.package, "large.bin") as stream:
            stream.seek(LARGE)
            assert stream.read(100) == LARGE_DATA[LARGE : LARGE + 100]
    flags = ["--api-url", there.server.url, "--api-token", PUSHER]
    for path in ("small.bin", "large.bin"):
        assert answer_of([*flags, "cat", there.package, path]).stdout == FILES[path]
    exported = answer_of([*flags, "export", there.package, str(tmp_path / "out"), "--bare"])
    assert exported.code == 0, exported
    assert read_tree(tmp_path / "out") == FILES


def test_a_range_is_of_the_copy_that_is_right_once_the_other_was_found_wrong(
    home: Home, evidence: Path
) -> None:
    middle = len(LARGE_DATA) // 2  # where it is damaged
    with two_copies(home, evidence, _damage) as there:
        assert there.client("GET", there.at("large.bin"), status=200).body == LARGE_DATA
        answer = there.client("GET", there.at("large.bin"), Range=f"bytes={middle}-{middle}", status=206)
        assert answer.body == LARGE_DATA[middle : middle + 1]


def test_two_damaged_copies_are_no_whole_answer(home: Home, evidence: Path) -> None:
    key = object_key(digest_pair(LARGE_DATA).blake3)
    with two_copies(home, evidence, _damage) as there:
        _damage(home.root.parent / "second" / key)
        for _ in range(2):
            answer = fetched(there, "large.bin")
            assert answer.closed
            assert len(answer.final) <= len(LARGE_DATA) - HELD_BACK


@pytest.mark.parametrize("size", [LARGE + 1, 2 * LARGE, len(LARGE_DATA)])
def test_damage_far_away_is_no_whole_answer(home: Home, tmp_path: Path, size: int) -> None:
    tree = write_tree(tmp_path / "evidence", {"large.bin": LARGE_DATA[:size]})
    with remote(home, f"local://{tmp_path}/remote") as store, placed(store, tree) as there:
        flip(tmp_path / "remote" / object_key(digest_pair(LARGE_DATA[:size]).blake3))
        answer = fetched(there, "large.bin")
        assert (answer.statuses, answer.closed, len(answer.final)) == ([200], True, size - HELD_BACK)


def fetched(there: Placed, path: str) -> RawAnswers:
    """All that the server says to a request for a file."""
    return raw(there.server, request_for(there, path))


def request_for(there: Placed, path: str) -> bytes:
    """The bytes of a request for a file."""
    key = f"Authorization: Bearer {OPERATOR}"
    return f"GET {there.at(path)} HTTP/1.1\r\nHost: localhost\r\n{key}\r\n\r\n".encode()


def test_a_place_that_fails_in_the_middle_is_followed_by_the_next(home: Home, tmp_path: Path) -> None:
    """More is on its way than sockets and readers hold, so the place is still needed when it goes."""
    data = incompressible(64 << 20)
    tree = write_tree(tmp_path / "evidence", {"large.bin": data})
    with (
        remote(home, f"local://{tmp_path}/remote") as store,
        placed(store, tree, lambda _: store.copy(source=REMOTE, target="local", actor="ada")) as there,
        socket.socket() as connection,
    ):
        connection.settimeout(PATIENCE)
        connection.connect(("127.0.0.1", there.server.server_port))
        connection.sendall(request_for(there, "large.bin"))
        head, _, first = connection.recv(1 << 16).partition(b"\r\n\r\n")
        (tmp_path / "remote" / object_key(digest_pair(data).blake3)).unlink()
        answer = bytearray(first)
        while len(answer) < len(data) and (part := connection.recv(1 << 20)):
            answer += part
    assert head.startswith(b"HTTP/1.1 200 ")
    assert answer == data
