"""Packages through every door: create, ingest, finalize, push, get, list."""

from __future__ import annotations

import hashlib
import io
import os
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from blake3 import blake3

from artifactstore import Digest, Selection
from artifactstore.manifest import decode
from store.harness import EXECUTABLE, LARGE, SAID, TREE, incompressible, write_tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from artifactstore import Package, Store
    from artifactstore.sources import Source
    from store.doors import Door
    from store.harness import FakeClock, Home

RAW_EVIDENCE = 7_776_000  # seconds that this retention class keeps a package
SIZES = [0, 1, LARGE - 1, LARGE, LARGE + 1, 2 * LARGE + 4097]


def digests(data: bytes) -> tuple[Digest, Digest]:
    return Digest("blake3", blake3(data).digest()), Digest("sha256", hashlib.sha256(data).digest())


def create(door: Door, **said: str) -> str:
    return door.create_package(**{**SAID, **said})


def push(door: Door, directory: Path, **said: str) -> Package:
    return door.push(directory, **{**SAID, **said}).package


def as_bytes(data: bytes, _folder: Path) -> Source:
    return data


def as_path(data: bytes, folder: Path) -> Source:
    path = folder / "source"
    path.write_bytes(data)
    return path


def as_file_object(data: bytes, _folder: Path) -> Source:
    return io.BytesIO(data)


def as_chunks(data: bytes, _folder: Path) -> Iterator[bytes]:
    step = 1 << 20
    return (data[start : start + step] for start in range(0, len(data), step))


def test_a_created_package_says_what_its_producer_said(door: Door) -> None:
    metadata: dict[str, Any] = {
        "run": {"id": 7, "ok": True},
        "tags": ["a", "b"],
        "score": 0.25,
        "note": None,
        "\u00fc": "\u2713",
    }
    package_id = door.create_package(**SAID, metadata=metadata)
    package = door.get_package(package_id)
    assert uuid.UUID(package_id).version == 7
    assert package == replace(
        package,
        package_id=package_id,
        name="nightly",
        producer="ci",
        subject="app",
        status="open",
        retention_class="raw-evidence",
        retention_seconds=RAW_EVIDENCE,
        expires_at=None,
        metadata=metadata,
        metadata_schema=None,
        created_by="ada",
        finalized_at=None,
        finalized_by=None,
        manifest_digest=None,
        manifest_sha256=None,
        manifest_size=None,
        content_digest=None,
        file_count=0,
        total_size=0,
    )


@pytest.mark.parametrize("give", [as_bytes, as_path, as_file_object, as_chunks])
@pytest.mark.parametrize("size", [0, 11, 2 * LARGE + 4097])
def test_every_kind_of_source_gives_the_same_file(
    python_door: Door, tmp_path: Path, give: Callable[[bytes, Path], Source], size: int
) -> None:
    data = incompressible(size)
    package = create(python_door)
    file = python_door.ingest_file(package, "data.csv", give(data, tmp_path), actor="ada")
    assert (file.digest, file.sha256) == digests(data)
    assert (file.package_id, file.relative_path, file.media_type) == (package, "data.csv", "text/csv")
    assert (file.size, file.executable) == (size, False)
    assert python_door.read_file(package, "data.csv") == data


@pytest.mark.parametrize("size", SIZES)
def test_sizes_around_the_border_between_small_and_large(store: Store, tmp_path: Path, size: int) -> None:
    data = incompressible(size, seed=size)
    package = create(store)
    for number, give in enumerate((as_bytes, as_path, as_file_object, as_chunks)):
        file = store.ingest_file(package, f"{number}.bin", give(data, tmp_path), actor="ada")
        assert (file.size, file.digest, file.sha256) == (size, *digests(data))
        assert store.read_file(package, f"{number}.bin") == data


@pytest.mark.parametrize("kind", [bytearray, memoryview])
@pytest.mark.parametrize("size", [0, 5, LARGE + 1])
def test_any_buffer_is_a_source(
    store: Store, kind: Callable[[bytes], bytearray | memoryview], size: int
) -> None:
    data = incompressible(size)
    package = create(store)
    store.ingest_file(package, "a", kind(data), actor="ada")
    store.ingest_file(package, "b", iter([kind(data), b"", kind(b"end")]), actor="ada")
    assert store.read_file(package, "a") == data
    assert store.read_file(package, "b") == data + b"end"


def test_a_file_object_that_gives_little_at_a_time(store: Store) -> None:
    class Trickle(io.RawIOBase):
        def __init__(self, data: bytes) -> None:
            self._rest = data

        def read(self, size: int = -1, /) -> bytes:
            part, self._rest = self._rest[: min(size, 65_537)], self._rest[min(size, 65_537) :]
            return part

    data = incompressible(LARGE + 12_345)
    package = create(store)
    store.ingest_file(package, "trickle", Trickle(data), actor="ada")
    assert store.read_file(package, "trickle") == data


def test_media_type_and_executable_bit_are_guessed_or_given(door: Door, tmp_path: Path) -> None:
    script = tmp_path / "run.sh"
    script.write_bytes(b"#!/bin/sh\n")
    script.chmod(0o755)
    package = create(door)
    guessed = door.ingest_file(package, "run.sh", script, actor="ada")
    assert (guessed.media_type, guessed.executable) == ("application/x-sh", True)
    given = door.ingest_file(
        package, "other", script, actor="ada", media_type='text/plain; charset="utf-8"', executable=False
    )
    assert (given.media_type, given.executable) == ('text/plain; charset="utf-8"', False)
    assert door.ingest_file(package, "unknown.qqq", b"", actor="ada").media_type == "application/octet-stream"
    assert [file.executable for file in door.list_files(package).items] == [False, True, False]


def test_a_directory_goes_into_an_open_package(door: Door, tree: Path, tmp_path: Path) -> None:
    package = create(door)
    door.ingest_file(package, "first.txt", b"a line\n", actor="ada")
    result = door.ingest_directory(package, tree, actor="ada")
    assert result.file_count == len(TREE)
    assert result.total_size == sum(map(len, TREE.values()))
    # Of two equal files one is new, and here the third one was there before.
    assert result.new_object_count == len(set(TREE.values())) - 1
    assert result.new_object_size == sum(map(len, set(TREE.values()))) - len(b"a line\n")
    more = write_tree(tmp_path / "more", {"logs/z.log": b"z"})
    assert door.ingest_directory(package, more, actor="ada").file_count == 1
    files = door.list_files(package).items
    assert [file.relative_path for file in files] == sorted(
        [*TREE, "first.txt", "logs/z.log"], key=os.fsencode
    )
    assert {file.relative_path for file in files if file.executable} == {EXECUTABLE}
    found = door.get_package(package)
    assert (found.status, found.file_count) == ("open", len(TREE) + 2)


def test_finalize_seals_the_package(door: Door) -> None:
    package = create(door)
    door.ingest_file(package, "b.txt", b"bb", actor="ada")
    door.ingest_file(package, "a.txt", b"a", actor="ada")
    digest = door.finalize_package(package, actor="bob")
    found = door.get_package(package)
    cbor = door.get_manifest_bytes(package)
    assert (found.status, found.finalized_by, found.created_by) == ("finalized", "bob", "ada")
    assert found.manifest_digest == digest
    assert (found.manifest_digest, found.manifest_sha256) == digests(cbor)
    assert found.manifest_size == len(cbor)
    assert (found.file_count, found.total_size) == (2, 3)
    assert found.finalized_at is not None
    assert found.expires_at == found.finalized_at + RAW_EVIDENCE * 1_000_000
    manifest = decode(cbor)
    assert [file.relative_path for file in manifest.files] == ["a.txt", "b.txt"]
    assert manifest.content_digest == found.content_digest
    assert manifest.package.package_id == package


def test_a_permanent_record_never_expires(door: Door, tree: Path) -> None:
    package = push(door, tree, retention_class="permanent-record")
    assert (package.retention_seconds, package.expires_at) == (None, None)


def test_push_does_it_all(door: Door, tree: Path) -> None:
    result = door.push(tree, **SAID, metadata={"run": 7})
    package = result.package
    assert not result.unchanged
    assert result.ingest.file_count == package.file_count == len(TREE)
    assert result.ingest.total_size == package.total_size == sum(map(len, TREE.values()))
    assert (package.status, package.created_by, package.finalized_by) == ("finalized", "ada", "ada")
    assert dict(package.metadata) == {"run": 7}
    assert door.get_package(package.package_id) == package
    assert {file.relative_path: door.read_file(package.package_id, file.relative_path) for file in
            door.list_files(package.package_id).items} == TREE  # fmt: skip


def test_a_push_is_the_same_as_its_steps(python_door: Door, tree: Path) -> None:
    pushed = push(python_door, tree)
    stepwise = create(python_door)
    for path in reversed(TREE):
        python_door.ingest_file(stepwise, path, tree / path, actor="ada")
    python_door.finalize_package(stepwise, actor="ada")
    assert python_door.get_package(stepwise).content_digest == pushed.content_digest
    assert python_door.get_package(stepwise).manifest_digest != pushed.manifest_digest
    assert (
        decode(python_door.get_manifest_bytes(stepwise)).files
        == decode(python_door.get_manifest_bytes(pushed.package_id)).files
    )


def test_equal_trees_have_equal_content_in_different_stores(
    door: Door, tree: Path, tmp_path: Path, home: Home
) -> None:
    other_tree = write_tree(tmp_path / "copy", dict(reversed(TREE.items())), executable=EXECUTABLE)
    first = push(door, tree)
    second = push(door, other_tree, name="another", producer="else", subject="other", actor="bob")
    with type(home)(tmp_path / "other home").open() as other_store:
        third = push(other_store, tree, retention_class="transient")
    assert first.content_digest == second.content_digest == third.content_digest
    assert len({first.manifest_digest, second.manifest_digest, third.manifest_digest}) == 3


@pytest.mark.parametrize("change", ["content", "name", "executable", "one more", "one less"])
def test_any_change_of_the_files_changes_the_content_digest(store: Store, tree: Path, change: str) -> None:
    before = push(store, tree).content_digest
    if change == "content":
        (tree / "logs/a.log").write_bytes(b"b line\n")
    elif change == "name":
        (tree / "logs/a.log").rename(tree / "logs/A.log")
    elif change == "executable":
        (tree / "logs/a.log").chmod(0o755)
    elif change == "one more":
        (tree / "logs/c.log").touch()
    else:
        (tree / "logs/a.log").unlink()
    assert push(store, tree).content_digest != before


def test_a_second_push_stores_nothing_twice(door: Door, tree: Path, home: Home) -> None:
    push(door, tree)
    objects = home.object_paths()
    second = door.push(tree, **SAID)
    assert (second.ingest.new_object_count, second.ingest.new_object_size) == (0, 0)
    assert not second.unchanged
    # Only its manifest is new, since that names the package.
    assert len(home.object_paths()) == len(objects) + 1


def test_if_changed_returns_the_package_that_is_there(door: Door, tree: Path, home: Home) -> None:
    first = push(door, tree)
    with home.unchanged():
        again = door.push(tree, **{**SAID, "name": "another name"}, if_changed=True)
    assert again.unchanged
    assert again.package == first
    assert (again.ingest.new_object_count, again.ingest.new_object_size) == (0, 0)
    # Another producer or subject, or other content, is another package.
    assert not door.push(tree, **{**SAID, "producer": "else"}, if_changed=True).unchanged
    assert not door.push(tree, **{**SAID, "subject": "other"}, if_changed=True).unchanged
    (tree / "new.txt").write_bytes(b"new")
    assert not door.push(tree, **SAID, if_changed=True).unchanged
    (tree / "new.txt").unlink()
    newest = push(door, tree)
    assert door.push(tree, **SAID, if_changed=True).package == newest


def test_if_changed_does_not_count_an_open_package(door: Door, tree: Path) -> None:
    package = create(door)
    door.ingest_directory(package, tree, actor="ada")
    assert not door.push(tree, **SAID, if_changed=True).unchanged


def test_exclude_and_include_choose_what_is_pushed(door: Door, tree: Path) -> None:
    selection = Selection(include=("*.log", "*.md"), exclude=("logs/",))
    package = door.push(tree, **SAID, selection=selection).package
    assert [file.relative_path for file in door.list_files(package.package_id).items] == [
        "README.md", "empty.log", "logs-old/c.log",
    ]  # fmt: skip


def test_a_unique_prefix_of_an_id_is_enough(door: Door) -> None:
    package = create(door)
    door.ingest_file(package[:-1], "a", b"a", actor="ada")
    for short in (package[:4], package[:13], package.upper(), package.replace("-", "")):
        assert door.get_package(short).package_id == package
    door.finalize_package(package[:6], actor="ada")
    assert decode(door.get_manifest_bytes(package[:9])).package.package_id == package


def test_list_filters(door: Door, tree: Path) -> None:
    ids = {
        "one": door.create_package(**SAID, metadata={"run": {"id": 7}, "tags": ["x", "y"], "ok": True}),
        "two": create(door, producer="lab", name="weekly"),
        "three": create(door, subject="other", retention_class="transient"),
        "four": push(door, tree, actor="bob").package_id,
    }
    packages = {name: door.get_package(package_id) for name, package_id in ids.items()}

    def listed(**wanted: Any) -> list[str]:
        names = {package_id: name for name, package_id in ids.items()}
        return [names[package.package_id] for package in door.list_packages(**wanted).items]

    assert listed() == ["four", "three", "two", "one"]
    assert listed(producer="lab") == ["two"]
    assert listed(producer="ci") == ["four", "three", "one"]
    assert listed(subject="other") == ["three"]
    assert listed(retention_class="transient") == ["three"]
    assert listed(status="open") == ["three", "two", "one"]
    assert listed(status="finalized") == ["four"]
    assert listed(name="weekly") == ["two"]
    assert listed(metadata={"run.id": "7"}) == ["one"]
    assert listed(metadata={"tags": "x", "ok": "true"}) == ["one"]
    assert listed(metadata={"tags": "x", "run.id": "8"}) == []
    assert listed(created_after=packages["two"].created_at) == ["four", "three"]
    assert listed(created_before=packages["three"].created_at) == ["two", "one"]
    assert listed(created_after=packages["one"].created_at, created_before=packages["three"].created_at) == [
        "two"
    ]
    assert listed(producer="ci", subject="app", status="open", name="nightly", metadata={"tags": "y"}) == [
        "one"
    ]
    assert listed(producer="nobody") == []


def test_listed_packages_are_whole(door: Door, tree: Path) -> None:
    package = push(door, tree)
    assert door.list_packages().items == (package,)


def test_pages_of_packages_are_stable_while_new_ones_come(door: Door) -> None:
    ids = [create(door) for _ in range(7)]
    seen: list[str] = []
    cursor = None
    while True:
        page = door.list_packages(limit=3, cursor=cursor)
        seen += [package.package_id for package in page.items]
        create(door, name="newer")
        cursor = page.next_cursor
        if cursor is None:
            break
    assert seen == list(reversed(ids))


def test_the_last_page_says_so(door: Door) -> None:
    for _ in range(2):
        create(door)
    assert door.list_packages(limit=2).next_cursor is None
    assert door.list_packages(limit=1).next_cursor is not None


def test_pages_of_files(python_door: Door, tree: Path) -> None:
    package = push(python_door, tree).package_id
    seen: list[str] = []
    cursor = None
    while True:
        page = python_door.list_files(package, limit=2, cursor=cursor)
        assert len(page.items) <= 2
        seen += [file.relative_path for file in page.items]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert seen == sorted(TREE, key=os.fsencode)


def test_a_clock_that_was_set_back_does_not_turn_the_log_around(
    store: Store, clock: FakeClock, tree: Path
) -> None:
    push(store, tree)
    clock.now -= 3_600_000_000
    package = push(store, tree)
    times = [event.recorded_at for event in store.events()]
    assert times == sorted(times)
    assert package.expires_at is not None
    assert package.expires_at >= times[-1] + RAW_EVIDENCE * 1_000_000
    [warning] = store.health().warnings
    assert warning.startswith("the clock stands before the newest event")


def test_objects_are_private_read_only_and_where_the_layout_says(store: Store, home: Home) -> None:
    package = create(store)
    file = store.ingest_file(package, "a.bin", b"content", actor="ada")
    key = file.digest.hex
    path = home.objects / "blake3" / key[:2] / key[2:4] / key
    assert path.read_bytes() == b"content"
    assert path.stat().st_mode & 0o777 == 0o400
    assert home.database.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
