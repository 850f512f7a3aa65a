"""What a push and its parts leave behind in the store, and what a client tells nobody."""

from __future__ import annotations

import logging
import os
import threading
from typing import TYPE_CHECKING

import pytest
from store.harness import EXECUTABLE, SAID, TREE, Home, incompressible, refused, write_tree

from artifactstore import (
    AccessError,
    ConflictError,
    InvalidInputError,
    Progress,
    SourceChangedError,
    StateError,
)
from artifactstore.client import Client
from artifactstore.client.uploads import PART
from client.harness import relay
from client.serving import TOKEN, WRITER, Served

if TYPE_CHECKING:
    from pathlib import Path


def test_a_push_is_the_same_as_one_where_the_store_is(served: Served, tree: Path, tmp_path: Path) -> None:
    with served.client() as client:
        afar = client.push(tree, **SAID, metadata={"run": 7})
    with Home(tmp_path / "other").open() as other:
        here = other.push(tree, **SAID, metadata={"run": 7})
        listed = other.list_files(here.package.package_id).items
    assert afar.ingest == here.ingest
    for name in ("content_digest", "file_count", "total_size", "metadata", "created_by", "finalized_by"):
        assert getattr(afar.package, name) == getattr(here.package, name)
    files = served.store.list_files(afar.package.package_id).items
    for name in ("relative_path", "media_type", "size", "digest", "sha256", "executable"):
        assert [getattr(file, name) for file in files] == [getattr(file, name) for file in listed]
    assert [file.relative_path for file in files if file.executable] == [EXECUTABLE]


def test_nothing_is_sent_of_a_directory_that_breaks_a_rule(served: Served, home: Home, tree: Path) -> None:
    (tree / "zz").symlink_to("README.md")
    with served.client() as client, home.unchanged():
        with refused(InvalidInputError, "symlink"):
            client.push(tree, **SAID)
        with refused(InvalidInputError, "invalid-field"):
            client.push(tree, **{**SAID, "name": ""})
        with refused(InvalidInputError, "unknown-retention-class"):
            client.push(tree / "logs", **{**SAID, "retention_class": "none"})


def test_what_changes_while_it_is_sent_is_nobodys_evidence(served: Served, tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "tree", {"a": b"a", "b": b"b"})

    def change(_progress: Progress) -> None:
        (tree / "b").write_bytes(b"B")

    with served.client() as client, refused(SourceChangedError, "source-changed", "'b'"):
        client.push(tree, **SAID, on_progress=change)
    assert served.store.list_packages(status="finalized").items == ()


def test_a_large_file_that_changes_while_it_is_sent(served: Served, tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "tree", {"large": incompressible(17 << 20)})

    def change(_progress: Progress) -> None:
        with (tree / "large").open("r+b") as file:
            file.write(b"changed")

    with served.client() as client, refused(SourceChangedError, "source-changed", "'large'"):
        client.push(tree, **SAID, on_progress=change)
    assert served.store.list_packages(status="finalized").items == ()


def test_a_token_that_may_not_read_sends_everything(served: Served, tmp_path: Path) -> None:
    data = incompressible(100_000)
    tree = write_tree(tmp_path / "tree", {"a": data, "b": data})
    served.store.push(tree, **SAID)
    with relay(served.url) as between, Client(between.url, WRITER) as client:
        result = client.push(tree, **SAID)
        assert between.sent > 2 * len(data)
        with refused(AccessError, "scope-missing"):
            client.get_package(result.package.package_id)
        package = client.create_package(**SAID)
        client.ingest_file(package, "c", b"c", actor="ada")
        client.ingest_directory(package, tree, actor="ada")
        client.finalize_package(package, actor="ada")
    assert (result.package.file_count, result.package.created_by) == (2, "writer (for ada)")
    assert served.store.get_package(package).file_count == 3


def test_a_token_that_may_not_read_goes_on_with_its_key(served: Served, tmp_path: Path) -> None:
    files = {"a": b"a", "b": b"a", "c": b"c", "large": incompressible(PART + 1)}
    tree = write_tree(tmp_path / "tree", files)
    with served.client(WRITER, connections=1) as client:
        opened = _interrupted(served, client, tree)
        assert served.store.get_package(opened).file_count
        package = client.push(tree, **SAID, idempotency_key="run").package
        assert client.push(tree, **SAID, idempotency_key="run").unchanged
        other = client.create_package(**SAID)
        for _ in range(2):
            client.ingest_directory(other, tree, actor="ada", idempotency_key="fill")
    assert (package.package_id, package.file_count, package.status) == (opened, len(files), "finalized")
    for each in (opened, other):
        assert {name: served.store.read_file(each, name) for name in files} == files
    assert served.store.get_package(other).file_count == len(files)


def _interrupted(served: Served, client: Client, tree: Path) -> str:
    """Push under the key `run` until one file of several is sent; the package that is open then."""

    def stop(progress: Progress) -> None:
        if served.store.list_packages(status="open").items and progress.files:
            raise RuntimeError

    with pytest.raises(RuntimeError):
        client.push(tree, **SAID, idempotency_key="run", on_progress=stop)
    [package] = served.store.list_packages(status="open").items
    return package.package_id


def test_a_token_that_may_not_read_does_not_seal_what_others_put_in(served: Served, tree: Path) -> None:
    with served.client(WRITER) as client:
        opened = client.create_package(**SAID, idempotency_key="run/create")
        client.ingest_file(opened, "other", b"other", actor="ada")
        with refused(ConflictError, "idempotency-conflict", "run"):
            client.push(tree, **SAID, idempotency_key="run")
    assert served.store.get_package(opened).status == "open"


def test_the_wrong_token_and_none(served: Served, home: Home, tree: Path) -> None:
    with home.unchanged():
        for token in ("wrong-canary", None):
            with Client(served.url, token) as client, pytest.raises(AccessError) as caught:
                client.push(tree, **SAID)
            assert caught.value.code == "unauthorized"
            assert "canary" not in str(caught.value)


def test_a_key_goes_on_with_its_own_package_only(served: Served, home: Home, tree: Path) -> None:
    with served.client() as client:
        package = client.push(tree, **SAID, idempotency_key="k" * 255).package
        with home.unchanged():
            assert client.push(tree, **SAID, idempotency_key="k" * 255).package == package
            (tree / "new").write_bytes(b"new")
            with refused(ConflictError, "idempotency-conflict"):
                client.push(tree, **SAID, idempotency_key="k" * 255)
            with refused(ConflictError, "idempotency-conflict"):
                client.push(tree, **{**SAID, "name": "other"}, idempotency_key="k" * 255)
        assert client.push(tree, **SAID, idempotency_key="\u00fc").package != package


def test_what_is_there_already_is_not_pushed_again_if_asked(served: Served, home: Home, tree: Path) -> None:
    with served.client() as client:
        first = client.push(tree, **SAID).package
        client.push(tree, **{**SAID, "subject": "another"})
        with home.unchanged():
            for key in (None, "k"):
                again = client.push(tree, **SAID, if_changed=True, idempotency_key=key)
                assert (again.package, again.unchanged, again.ingest.new_object_count) == (first, True, 0)
        (tree / "new").write_bytes(b"new")
        assert not client.push(tree, **SAID, if_changed=True).unchanged


def test_an_open_package_with_other_files_is_not_gone_on_with(served: Served, tree: Path) -> None:
    """It was opened under the key of the push, but by somebody who put something else into it."""
    with served.client() as client:
        opened = client.create_package(**SAID, idempotency_key="run/create")
        client.ingest_file(opened, "other", b"other", actor="ada")
        with refused(ConflictError, "idempotency-conflict", "run"):
            client.push(tree, **SAID, idempotency_key="run")
    assert served.store.get_package(opened).file_count == 1


def test_a_sealed_package_takes_no_more(served: Served, home: Home, tree: Path) -> None:
    with served.client() as client:
        package = client.push(tree, **SAID).package.package_id
        with home.unchanged():
            with refused(StateError, "package-finalized"):
                client.ingest_file(package, "new", b"new", actor="ada")
            with refused(StateError, "package-finalized"):
                client.finalize_package(package, actor="ada")


def test_many_threads_share_a_client(served: Served, tmp_path: Path) -> None:
    def push(number: int) -> None:
        tree = write_tree(tmp_path / str(number), {"same": b"same", "own": str(number).encode()})
        digests[number] = client.push(tree, **SAID).package.content_digest

    digests: dict[int, object] = {}
    with served.client() as client:
        threads = [threading.Thread(target=push, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(set(digests.values())) == 6
    assert len(served.store.list_packages(status="finalized").items) == 6
    assert served.store.fsck(read=True).clean


def test_progress_comes_to_all_files(served: Served, tree: Path) -> None:
    seen: list[Progress] = []
    with served.client() as client:
        client.push(tree, **SAID, on_progress=seen.append)
    assert seen[-1] == Progress(len(TREE), sum(map(len, TREE.values())))


def test_the_token_is_told_to_nobody(served: Served, tree: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG), served.client() as client:
        client.push(tree, **SAID)
        told = repr(client) + repr(vars(client)) + "".join(map(repr, client.events()))
    assert TOKEN not in told + caplog.text


def test_waiting_for_events(served: Served) -> None:
    with served.client() as client, served.client() as other:
        last = client.events()[-1].sequence
        arrivals = client.arrivals()
        assert arrivals.wait(last - 1, 10.0)
        assert not arrivals.wait(last, 0.05)
        waiter = threading.Thread(target=other.create_package, kwargs=SAID)
        waiter.start()
        assert arrivals.wait(last, 30.0)
        waiter.join()


@pytest.mark.parametrize("key", ["", " ", "a\nb", "x" * 256, "\u202e"])
def test_a_key_that_is_none(served: Served, home: Home, tree: Path, key: str) -> None:
    with served.client() as client, home.unchanged():
        with refused(InvalidInputError, "invalid-field", "idempotency key"):
            client.push(tree, **SAID, idempotency_key=key)
        with refused(InvalidInputError, "invalid-field", "idempotency key"):
            client.create_package(**SAID, idempotency_key=key)
        with refused(InvalidInputError, "invalid-field", "idempotency key"):
            client.ingest_file("0000", "a", b"a", actor="ada", idempotency_key=key)


@pytest.mark.parametrize("actor", ["", "a\r\nAuthorization: x", "\ud800"])
def test_an_actor_that_is_none(served: Served, home: Home, tree: Path, actor: str) -> None:
    package = served.store.push(tree, **SAID).package.package_id
    with served.client() as client, home.unchanged():
        with refused(InvalidInputError, "invalid-field", "actor"):
            client.push(tree, **{**SAID, "actor": actor})
        with refused(InvalidInputError, "invalid-field", "actor"):
            client.apply_hold(package, reason="r", actor=actor)


def test_an_actor_of_any_language(served: Served, tree: Path) -> None:
    with served.client() as client:
        assert (
            client.push(tree, **{**SAID, "actor": "J\u00fcrgen \u6f22"}).package.created_by
            == "ada (for J\u00fcrgen \u6f22)"
        )


def test_a_forked_child_has_connections_of_its_own(served: Served, tree: Path) -> None:
    with served.client() as client:
        package = client.push(tree, **SAID).package.package_id
        child = os.fork()
        if child == 0:
            code = 1
            try:
                code = 0 if client.read_file(package, "README.md") == TREE["README.md"] else 2
            finally:
                os._exit(code)
        assert client.read_file(package, "README.md") == TREE["README.md"]
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
