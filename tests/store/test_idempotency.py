"""Repeating a call with its key: the first result, no event, no object; with other arguments a conflict."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from lifecycle.harness import flip, truncate

from artifactstore import ConflictError, InvalidInputError, StateError
from artifactstore.digest import digest_pair, object_key
from store.harness import SAID, TREE, refused, write_tree

if TYPE_CHECKING:
    from collections.abc import Callable

    from artifactstore import Store
    from store.doors import Door
    from store.harness import Home

KEY = "job-17/attempt"


def test_create(door: Door, home: Home) -> None:
    first = door.create_package(**SAID, metadata={"b": 1, "a": 2}, idempotency_key=KEY)
    with home.unchanged():
        assert door.create_package(**SAID, metadata={"a": 2, "b": 1}, idempotency_key=KEY) == first
        # Who asks again is no argument of the request.
        assert (
            door.create_package(**{**SAID, "actor": "bob"}, metadata={"a": 2, "b": 1}, idempotency_key=KEY)
            == first
        )
        for other in ({"name": "x"}, {"producer": "x"}, {"subject": "x"}, {"retention_class": "transient"}):
            with refused(ConflictError, "idempotency-conflict", KEY):
                door.create_package(**{**SAID, **other}, metadata={"a": 2, "b": 1}, idempotency_key=KEY)
        with refused(ConflictError, "idempotency-conflict", KEY):
            door.create_package(**SAID, metadata={"a": 3}, idempotency_key=KEY)
    assert door.create_package(**SAID, metadata={"a": 3}, idempotency_key="another") != first


def test_ingest_file(door: Door, home: Home) -> None:
    package = door.create_package(**SAID)
    first = door.ingest_file(package, "a.txt", b"a", actor="ada", idempotency_key=KEY)
    with home.unchanged():
        assert door.ingest_file(package, "a.txt", b"a", actor="ada", idempotency_key=KEY) == first
        with refused(ConflictError, "idempotency-conflict", KEY):
            door.ingest_file(package, "a.txt", b"other bytes", actor="ada", idempotency_key=KEY)
        with refused(ConflictError, "idempotency-conflict", KEY):
            door.ingest_file(package, "b.txt", b"a", actor="ada", idempotency_key=KEY)
        with refused(ConflictError, "idempotency-conflict", KEY):
            door.ingest_file(package, "a.txt", b"a", actor="ada", executable=True, idempotency_key=KEY)
    door.finalize_package(package, actor="ada")
    with home.unchanged():
        assert door.ingest_file(package, "a.txt", b"a", actor="ada", idempotency_key=KEY) == first
        with refused(StateError, "package-finalized", package):
            door.ingest_file(package, "new.txt", b"new", actor="ada", idempotency_key="new")


def test_ingest_file_into_another_package_is_another_request(python_door: Door, home: Home) -> None:
    one, two = python_door.create_package(**SAID), python_door.create_package(**SAID)
    python_door.ingest_file(one, "a.txt", b"a", actor="ada", idempotency_key=KEY)
    with home.unchanged(), refused(ConflictError, "idempotency-conflict", KEY):
        python_door.ingest_file(two, "a.txt", b"a", actor="ada", idempotency_key=KEY)


def test_ingest_directory(door_in_one_step: Door, home: Home, tree: Path) -> None:
    door = door_in_one_step
    package = door.create_package(**SAID)
    first = door.ingest_directory(package, tree, actor="ada", idempotency_key=KEY)
    with home.unchanged():
        again = door.ingest_directory(package, tree, actor="ada", idempotency_key=KEY)
        assert (again.file_count, again.total_size) == (first.file_count, first.total_size)
        assert (again.new_object_count, again.new_object_size) == (0, 0)
    (tree / "new.txt").write_bytes(b"new bytes")
    with home.unchanged(), refused(ConflictError, "idempotency-conflict", KEY):
        door.ingest_directory(package, tree, actor="ada", idempotency_key=KEY)
    (tree / "new.txt").unlink()
    door.finalize_package(package, actor="ada")
    with home.unchanged():
        assert door.ingest_directory(package, tree, actor="ada", idempotency_key=KEY).file_count == len(TREE)
        (tree / "new.txt").write_bytes(b"newer bytes")
        with refused(StateError, "package-finalized", package):
            door.ingest_directory(package, tree, actor="ada", idempotency_key="another")


def test_finalize(door: Door, home: Home) -> None:
    package = door.create_package(**SAID)
    door.ingest_file(package, "a.txt", b"a", actor="ada")
    first = door.finalize_package(package, actor="ada", idempotency_key=KEY)
    with home.unchanged():
        assert door.finalize_package(package, actor="ada", idempotency_key=KEY) == first
        with refused(StateError, "package-finalized", package):
            door.finalize_package(package, actor="ada", idempotency_key="another")
        with refused(StateError, "package-finalized", package):
            door.finalize_package(package, actor="ada")
    other = door.create_package(**SAID)
    door.ingest_file(other, "a.txt", b"a", actor="ada")
    with home.unchanged(), refused(ConflictError, "idempotency-conflict", KEY):
        door.finalize_package(other, actor="ada", idempotency_key=KEY)


def test_push(door: Door, home: Home, tree: Path, tmp_path: Path) -> None:
    first = door.push(tree, **SAID, metadata={"run": 7}, idempotency_key=KEY)
    copy = write_tree(tmp_path / "copy", TREE, executable="bin/run.sh")
    with home.unchanged():
        # The directory's own name is no argument of the request, its content is.
        again = door.push(copy, **SAID, metadata={"run": 7}, idempotency_key=KEY)
        assert again.unchanged
        assert again.package == first.package
        with refused(ConflictError, "idempotency-conflict", KEY):
            door.push(tree, **SAID, metadata={"run": 8}, idempotency_key=KEY)
        with refused(ConflictError, "idempotency-conflict", KEY):
            door.push(tree, **{**SAID, "name": "x"}, metadata={"run": 7}, idempotency_key=KEY)
    (tree / "new.txt").write_bytes(b"new bytes")
    with home.unchanged(), refused(ConflictError, "idempotency-conflict", KEY):
        door.push(tree, **SAID, metadata={"run": 7}, idempotency_key=KEY)


def test_a_key_stands_for_one_kind_of_call(door: Door, home: Home, tree: Path) -> None:
    door.push(tree, **SAID, idempotency_key=KEY)
    with home.unchanged(), refused(ConflictError, "idempotency-conflict", KEY):
        door.create_package(**SAID, idempotency_key=KEY)


@pytest.mark.parametrize("key", ["", " ", "a\nb", "x" * 256, "a\x00", "\u202e"])
def test_a_key_is_one_line_of_text(store: Store, home: Home, tree: Path, key: str) -> None:
    package = store.create_package(**SAID)
    store.ingest_file(package, "a", b"a", actor="ada")
    with home.unchanged():
        with refused(InvalidInputError, "invalid-field", "idempotency key"):
            store.create_package(**SAID, idempotency_key=key)
        with refused(InvalidInputError, "invalid-field", "idempotency key"):
            store.ingest_file(package, "b", b"b", actor="ada", idempotency_key=key)
        with refused(InvalidInputError, "invalid-field", "idempotency key"):
            store.ingest_directory(package, tree, actor="ada", idempotency_key=key)
        with refused(InvalidInputError, "invalid-field", "idempotency key"):
            store.finalize_package(package, actor="ada", idempotency_key=key)
        with refused(InvalidInputError, "invalid-field", "idempotency key"):
            store.push(tree, **SAID, idempotency_key=key)


def test_keys_survive_replay(store: Store, home: Home, tree: Path) -> None:
    first = store.push(tree, **SAID, idempotency_key=KEY)
    store.replay()
    with home.unchanged():
        assert store.push(tree, **SAID, idempotency_key=KEY).package == first.package


REPEATED: dict[str, Callable[[Store, Path], object]] = {
    "push of what is there": lambda store, tree: (
        store.push(tree, **SAID, cache=False, if_changed=True).package
    ),
    "push with a key": lambda store, tree: store.push(tree, **SAID, cache=False, idempotency_key=KEY).package,
    "directory with a key": lambda store, tree: (
        store.ingest_directory(
            store.create_package(**SAID, idempotency_key="package"),
            tree,
            actor="ada",
            cache=False,
            idempotency_key=KEY,
        ).file_count
    ),
}
DAMAGE: dict[str, Callable[[Path], object]] = {
    "missing": Path.unlink,
    "too short": truncate,
    "other bytes": flip,
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("call", REPEATED)
def test_a_call_that_makes_nothing_new_gives_back_what_was_lost(
    home: Home, store: Store, tree: Path, call: str, damage: str
) -> None:
    first = REPEATED[call](store, tree)
    DAMAGE[damage](home.objects / object_key(digest_pair(TREE["logs/a.log"]).blake3))
    if damage == "other bytes":
        assert store.verify(actor="scrub").failures
    assert REPEATED[call](store, tree) == first
    assert store.fsck(read=True).clean
    with home.unchanged():
        assert REPEATED[call](store, tree) == first
