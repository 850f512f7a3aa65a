"""Pushes and downloads over connections that break, and with servers that change what they give."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from cli.harness import PATIENCE
from store.harness import SAID, TREE, assert_replay_identical, incompressible, refused, write_tree

from artifactstore import ArtifactStoreError, BackendError, Digest, IntegrityError
from artifactstore.client import Client
from artifactstore.client.uploads import PART
from artifactstore.digest import digest_pair
from client.harness import relay
from client.serving import ACTORS, TOKEN, Served

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from artifactstore import Package


def client_of(url: str, **options: Any) -> Client:
    return Client(url, TOKEN, **{"timeout": 20.0, "connections": 2, **options})


def finalized(served: Served) -> list[Package]:
    return list(served.store.list_packages(status="finalized").items)


def assert_whole(served: Served, package: Package, files: dict[str, bytes]) -> None:
    """The one package that there is, and exactly these files in it."""
    assert [each.package_id for each in served.store.list_packages().items] == [package.package_id]
    listed = served.store.list_files(package.package_id).items
    assert {
        file.relative_path: served.store.read_file(package.package_id, file.relative_path) for file in listed
    } == files
    assert served.store.fsck(read=True).clean
    assert_replay_identical(served.store)


def test_a_push_sends_each_content_once_and_only_what_the_server_lacks(
    served: Served, tmp_path: Path
) -> None:
    data = incompressible(1 << 20)
    tree = write_tree(tmp_path / "tree", {"a": data, "b": data, "c/d": data, "small": b"x"})
    with relay(served.url) as between, client_of(between.url) as client:
        first = client.push(tree, **SAID)
        assert len(data) < between.sent < len(data) + 20_000
        assert (first.ingest.new_object_count, first.ingest.new_object_size) == (2, len(data) + 1)
        before = between.sent
        (tree / "new").write_bytes(b"new")
        second = client.push(tree, **SAID)
        assert between.sent - before < 20_000
        assert (second.ingest.file_count, second.ingest.new_object_count) == (5, 1)
    assert len(finalized(served)) == 2


@pytest.mark.parametrize("cut", [1, 30, 150, 200, 400, 700, 1000, 1500, 2500, 4000, 6000])
@pytest.mark.parametrize("side", ["cuts", "sent_cuts"])
def test_a_push_survives_a_connection_that_is_cut(served: Served, tree: Path, side: str, cut: int) -> None:
    with relay(served.url, **{side: (cut, None, cut)}) as between, client_of(between.url) as client:
        result = client.push(tree, **SAID)
        assert between.connections >= 2
    assert_whole(served, result.package, TREE)


@pytest.mark.parametrize("cut", [500, 1500, 2500, 3500])
def test_a_push_that_fails_leaves_an_open_package_and_goes_on_with_its_key(
    served: Served, tree: Path, cut: int
) -> None:
    with (
        relay(served.url, sent_cuts=(cut, *[0] * 1000)) as between,
        client_of(between.url, tries=2) as client,
        pytest.raises(BackendError) as caught,
    ):
        client.push(tree, **SAID, idempotency_key="push-1")
    assert caught.value.code == "server-unreachable"
    assert finalized(served) == []
    left = served.store.list_packages().items
    assert len(left) <= 1
    with served.client() as client:
        result = client.push(tree, **SAID, idempotency_key="push-1")
        assert [result.package.package_id] == [each.package_id for each in left] or not left
        assert client.push(tree, **SAID, idempotency_key="push-1").unchanged
    assert_whole(served, result.package, TREE)


def push_command(url: str, tree: Path, *more: str) -> subprocess.Popen[bytes]:
    """A push in a process of its own."""
    said = ["--producer", "ci", "--subject", "app", "--name", "nightly", "--actor", "ada"]
    command = [sys.executable, "-m", "artifactstore", "push", str(tree), *said, *more]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ARTIFACTSTORE_")}
    environment |= {"ARTIFACTSTORE_API_URL": url, "ARTIFACTSTORE_API_TOKEN": TOKEN}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("stall", [0, 300, 1200, 2000, 4000])
def test_a_push_can_be_stopped_while_it_waits_for_a_server(
    served: Served, tree: Path, number: signal.Signals, stall: int
) -> None:
    with relay(served.url, stall=stall) as between, push_command(between.url, tree) as process:
        try:
            assert between.stalled.wait(PATIENCE)
            process.send_signal(number)
            assert process.wait(PATIENCE / 2) == 128 + number
            assert process.stderr is not None
            assert process.stderr.read().decode() == ""
        finally:
            process.kill()
    assert finalized(served) == []


@pytest.mark.parametrize("stall", [300, 1200, 2000, 3000, 4000])
def test_a_push_that_is_killed_goes_on_with_its_key(served: Served, tree: Path, stall: int) -> None:
    with relay(served.url, stall=stall) as between:
        with push_command(between.url, tree, "--idempotency-key", "run-7") as process:
            try:
                assert between.stalled.wait(PATIENCE)
            finally:
                process.kill()
        assert finalized(served) == []
    with served.client() as client:
        package = client.push(tree, **SAID, idempotency_key="run-7").package
    assert_whole(served, package, TREE)


def test_what_a_killed_push_still_puts_in_is_not_in_the_way(served: Served, tree: Path) -> None:
    keys: dict[str, Any] = {"idempotency_key": "run-8"}

    def leftover(_: object) -> None:
        # The other try's request arrives after this one has looked.
        for package in served.store.list_packages(status="open").items:
            if package.file_count < 2:
                name = sorted(TREE)[package.file_count]
                served.store.ingest_file(package.package_id, name, tree / name, actor=SAID["actor"])

    with served.client() as client:
        package = client.push(tree, **SAID, **keys, on_progress=leftover).package
    assert_whole(served, package, TREE)


def test_a_large_file_is_sent_and_fetched_over_connections_that_are_cut(
    served: Served, tmp_path: Path
) -> None:
    data = incompressible(40 << 20)
    tree = write_tree(tmp_path / "tree", {"large.bin": data})
    with (
        relay(served.url, sent_cuts=(None, 5 << 20, None, 20 << 20)) as between,
        client_of(between.url) as client,
    ):
        package = client.push(tree, **SAID).package
    assert_whole(served, package, {"large.bin": data})
    with relay(served.url, cuts=(3 << 20, 11 << 20, 7 << 20)) as between, client_of(between.url) as client:
        assert client.read_file(package.package_id, "large.bin") == data
        # Resumed, not begun again.
        assert between.received < len(data) + (1 << 20)


class Refusals(logging.Handler):
    """Counts the conflicts that a server answers with."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.count = threading.Semaphore(0)

    def emit(self, record: logging.LogRecord) -> None:
        """One line of the access log."""
        if getattr(record, "status", None) == 409:
            self.count.release()


@contextlib.contextmanager
def refusals() -> Iterator[Refusals]:
    """What the server of this process refuses."""
    access, handler = logging.getLogger("artifactstore.access"), Refusals()
    access.addHandler(handler)
    before = access.level
    access.setLevel(logging.INFO)
    try:
        yield handler
    finally:
        access.setLevel(before)
        access.removeHandler(handler)


def test_a_request_that_still_runs_is_outlasted(served: Served, tmp_path: Path) -> None:
    """The other side learns late of a connection that broke without a word, and holds the upload."""
    data = incompressible(PART + 1)
    path = write_tree(tmp_path, {"large.bin": data}) / "large.bin"
    package = served.store.create_package(**SAID)
    uploads, actor = served.store.uploads(), ACTORS[0]
    begun, free = threading.Event(), threading.Event()
    session = uploads.create(
        package,
        "large.bin",
        owner=actor,
        expected_size=len(data),
        expected_digest=Digest("blake3", digest_pair(data).blake3),
        idempotency_key=f"{actor}:once",
    )

    def nothing() -> Iterator[bytes]:
        begun.set()
        assert free.wait(PATIENCE)
        yield b""

    with refusals() as refused_ones, served.client() as client, ThreadPoolExecutor(2) as beside:
        running = beside.submit(uploads.append, session.upload_id, nothing(), offset=0, owner=actor)
        assert begun.wait(PATIENCE)
        try:
            sent = beside.submit(
                client.ingest_file, package, "large.bin", path, actor=actor, idempotency_key="once"
            )
            for _ in range(6):
                assert refused_ones.count.acquire(timeout=PATIENCE)
        finally:
            free.set()
        running.result(PATIENCE)
        assert sent.result(PATIENCE).size == len(data)
    assert served.store.read_file(package, "large.bin") == data


def test_a_download_of_which_nothing_more_comes_is_given_up(served: Served, tmp_path: Path) -> None:
    data = incompressible(1 << 20)
    package = served.store.push(write_tree(tmp_path / "tree", {"a": data}), **SAID).package
    with relay(served.url, cuts=(100_000, *[0] * 100)) as between, client_of(between.url, tries=2) as client:
        with refused(BackendError, "server-unreachable"):
            client.read_file(package.package_id, "a")
        with refused(BackendError, "server-unreachable"):
            client.export_package(package.package_id, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_flipped_bit_never_passes(served: Served, tmp_path: Path) -> None:
    """Wherever in the answer it is: what is read is right, or there is an error."""
    package = served.store.push(write_tree(tmp_path / "tree", {"a": b"evidence"}), **SAID).package
    with relay(served.url) as between, client_of(between.url) as client:
        client.read_file(package.package_id, "a")
        length = between.received
    wrong = 0
    for place in range(length):
        with relay(served.url, flip=place) as between, client_of(between.url, tries=1, timeout=1.0) as client:
            try:
                assert client.read_file(package.package_id, "a") == b"evidence"
            except ArtifactStoreError:
                wrong += 1
    assert wrong > len(b"evidence")


def test_an_export_of_other_bytes_is_none(served: Served, tmp_path: Path) -> None:
    data = incompressible(3000)
    package = served.store.push(write_tree(tmp_path / "tree", {"a": data}), **SAID).package
    with relay(served.url) as between, client_of(between.url, connections=1) as client:
        client.export_package(package.package_id, tmp_path / "whole")
        length = between.received
    # The content is what comes last.
    with (
        relay(served.url, flip=length - 100) as between,
        client_of(between.url, connections=1) as client,
        refused(IntegrityError, "integrity"),
    ):
        client.export_package(package.package_id, tmp_path / "out")
    assert not (tmp_path / "out").exists()
