"""Sizes that are out of the ordinary. They take long or much space, so they run as drills."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from crash.disks import in_memory
from store.harness import SAID, Home, refused, write_tree

from artifactstore import InvalidInputError, Selection, check_directory

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from crash.report import Drill

GIB = 1 << 30
KIT = "ARTIFACTSTORE-AUDIT"

pytestmark = pytest.mark.slow


@pytest.fixture
def space() -> Iterator[Path]:
    """A folder that is removed at once, however many or deep its folders have become."""
    with in_memory(GIB) as folder:
        yield folder


@pytest.fixture
def disk_space(tmp_path: Path) -> Iterator[Path]:
    """The same on a disk, for what is larger than memory may be."""
    folder = tmp_path / "space"
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


def verify(export: Path) -> None:
    """The kit's own checker finds nothing."""
    command = [sys.executable, "-I", "-B", str(export / KIT / "verify.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_file_of_more_than_four_gib(disk_space: Path, drill: Drill) -> None:
    space = disk_space
    size = 4 * GIB + 12_345
    sha256 = "c19d5551c8c7f7deb5d320c6d03f12ce313b67fff6a89b5f19a03b35680c2eb2"  # as sha256sum says
    if shutil.disk_usage(space).free < 4 * size:
        pytest.skip("not enough space")
    tree = space / "tree"
    tree.mkdir()
    marks = {0: b"first", 2 * GIB - 2: b"border", 4 * GIB - 3: b"another", size - 4: b"last"}
    with (tree / "large").open("wb") as file:
        file.truncate(size)
        for position, mark in marks.items():
            file.seek(position)
            file.write(mark)
    with Home(space / "home").open() as store:
        package = store.push(tree, **SAID).package
        found = store.get_file(package.package_id, "large")
        assert (found.size, found.sha256.value.hex(), package.total_size) == (size, sha256, size)
        with store.open_file(package.package_id, "large") as stream:
            for position, mark in marks.items():
                stream.seek(position)
                assert stream.read(len(mark)) == mark
        assert store.push(tree, **SAID, if_changed=True).unchanged
        assert store.replay(check=True).identical
        if drill.full:
            store.export_package(package.package_id, space / "out")
            assert check_directory(space / "out" / KIT / "manifest.cbor", space / "out").intact
            verify(space / "out")


def test_a_very_deep_directory(space: Path, drill: Drill) -> None:
    depth = 2000 if drill.full else 1100  # deeper than Python may recurse; each level opens all above it
    tree = space / "tree"
    tree.mkdir()
    here = os.open(tree, os.O_RDONLY | os.O_DIRECTORY)
    for level in range(depth):
        descriptor = os.open(f"{level % 10}", os.O_CREAT | os.O_WRONLY | os.O_EXCL, dir_fd=here)
        os.write(descriptor, str(level).encode())
        os.close(descriptor)
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY | os.O_DIRECTORY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    with Home(space / "home").open() as store:
        package = store.push(tree, **SAID).package
        assert package.file_count == depth
        deepest = "d/" * (depth - 1) + f"{(depth - 1) % 10}"
        assert store.read_file(package.package_id, deepest) == str(depth - 1).encode()
        store.export_package(package.package_id, space / "out")
    manifest = space / "out" / KIT / "manifest.cbor"
    assert check_directory(manifest, space / "out").intact
    assert check_directory(manifest, tree).intact
    verify(space / "out")


def test_a_directory_deeper_than_any_path_is_refused_with_the_rule(space: Path) -> None:
    tree = space / "tree"
    tree.mkdir()
    here = os.open(tree, os.O_RDONLY | os.O_DIRECTORY)
    for _ in range(10_000):
        os.mkdir("d" * 40, dir_fd=here)
        below = os.open("d" * 40, os.O_RDONLY | os.O_DIRECTORY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    with Home(space / "home").open() as store:
        with refused(InvalidInputError, "invalid-relative-path", "4096 are allowed"):
            store.push(tree, **SAID)
        with refused(InvalidInputError, "empty-package"):
            store.push(tree, **SAID, selection=Selection(skip_unsafe=True))


PUSH = """
import resource, sys
from artifactstore import Store
said = {"name": "n", "producer": "p", "subject": "s", "retention_class": "transient", "actor": "ada"}
with Store.open(sys.argv[1] + "/a.db", sys.argv[1] + "/objects") as store:
    store.push(sys.argv[2], **said)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    count = store.push(sys.argv[3], **said).package.file_count
    print(count, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_memory_does_not_grow_with_the_number_of_files(space: Path, drill: Drill) -> None:
    few = write_tree(space / "few", {f"{number}": b"%d" % number for number in range(300)})
    many = space / "many"
    for folder in range(100 if drill.full else 10):
        (many / f"{folder}").mkdir(parents=True)
        for number in range(1000):
            (many / f"{folder}" / f"{number}").write_bytes(b"%d" % (number % 300))
    done = subprocess.run(
        [sys.executable, "-c", PUSH, str(space / "home"), str(few), str(many)],
        capture_output=True,
        text=True,
        check=True,
    )
    count, grown = map(int, done.stdout.split())
    drill.count("memory of a push of many files", tried=count, fired=count, violations=grown > 64 * 1024)
    assert grown <= 64 * 1024, f"{count} files took {grown} KiB more"


def test_the_longest_path_there_can_be(space: Path) -> None:
    # One byte less than a package takes: longer ones no system call takes.
    path = "/".join([*["d" * 254] * 16, "f" * 15])
    assert len(path) == 4095
    with Home(space / "home").open() as store:
        package = store.create_package(**SAID)
        store.ingest_file(package, path, b"deep", actor="ada")
        store.finalize_package(package, actor="ada")
        store.export_package(package, space / "out")
        assert store.read_file(package, path) == b"deep"
    manifest = space / "out" / KIT / "manifest.cbor"
    assert check_directory(manifest, space / "out").intact
    verify(space / "out")


def test_more_files_than_are_kept_in_memory_or_published_at_once(space: Path, drill: Drill) -> None:
    files = {f"{number % 250:03}/{number}": f"{number % 23_000}".encode() for number in range(25_000)}
    tree = write_tree(space / "tree", files)
    home = Home(space / "home")
    with home.open() as store:
        result = store.push(tree, **SAID)
        assert result.ingest.file_count == 25_000
        assert result.ingest.new_object_count == 23_000
        # Every object is there, and one for the manifest.
        assert len(home.object_paths()) == 23_001
        for path, data in drill.sample(list(files.items()), at_most=500):
            assert store.read_file(result.package.package_id, path) == data
        opened = store.create_package(**SAID)
        assert store.ingest_directory(opened, tree, actor="ada").new_object_count == 0
        store.finalize_package(opened, actor="ada")
        assert store.get_package(opened).content_digest == result.package.content_digest
        assert store.replay(check=True).identical
