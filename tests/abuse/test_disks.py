"""Disks that are full or read-only: real ones, small file systems in memory. Only root can make them."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from crash.disks import MIB, fill, free, mounted, remount
from store.harness import LARGE, SAID, TREE, Home, incompressible, refused, write_tree

from artifactstore import AccessError, BackendError, check_directory
from artifactstore.database import Database
from artifactstore.rebuild import migrate
from artifactstore.schema import SCHEMA_VERSION

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from store.harness import FakeClock

    from artifactstore import Store


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """An empty file system of 16 MiB."""
    with mounted(tmp_path / "disk") as folder:
        yield folder


@pytest.fixture
def split(tmp_path: Path, disk: Path) -> Home:
    """A store with its objects on the small disk and its database elsewhere."""
    home = Home(tmp_path / "split")
    home.root.mkdir()
    home.objects.symlink_to(disk / "objects")
    return home


@pytest.mark.parametrize(
    "files",
    [
        {f"{number}": incompressible(60_000, number) for number in range(400)},
        {"large": incompressible(20 * MIB)},
        {"small": b"s", "large": incompressible(LARGE), "larger": incompressible(14 * MIB)},
    ],
    ids=["many", "large", "mixed"],
)
def test_a_push_that_does_not_fit(split: Home, disk: Path, tmp_path: Path, files: dict[str, bytes]) -> None:
    tree = write_tree(tmp_path / "tree", files)
    small = write_tree(tmp_path / "small", TREE)
    with split.open() as store:
        first = store.push(small, **SAID).package
        before = free(disk)
        with split.unchanged(), refused(BackendError, "disk-full", str(disk), "no space left"):
            store.push(tree, **SAID)
        assert free(disk) >= before - MIB
        assert store.push(small, **SAID, if_changed=True).package == first
        assert store.push(write_tree(small, {"new": b"new"}), **SAID).package.file_count == len(TREE) + 1


@pytest.mark.parametrize("size", [2 * MIB, 20 * MIB])
def test_a_file_that_does_not_fit(split: Home, disk: Path, size: int) -> None:
    with split.open() as store:
        package = store.create_package(**SAID)
        ballast = fill(disk, leave=MIB)
        with split.unchanged(), pytest.raises(BackendError) as caught:
            store.ingest_file(package, "large", incompressible(size), actor="ada")
        assert (caught.value.code, caught.value.retryable) == ("disk-full", True)
        ballast.unlink()
        store.ingest_file(package, "large", incompressible(2 * MIB), actor="ada")
        assert store.read_file(package, "large") == incompressible(2 * MIB)


def test_an_export_that_does_not_fit(home: Home, disk: Path, tmp_path: Path) -> None:
    with home.open() as store:
        for files in (
            {"a": b"a", "large": incompressible(20 * MIB)},
            {str(n): incompressible(MIB, n) for n in range(20)},
        ):
            tree = write_tree(tmp_path / f"tree-{len(files)}", files)
            package = store.push(tree, **SAID).package
            with home.unchanged(), refused(BackendError, "disk-full", str(disk / "out")):
                store.export_package(package.package_id, disk / "out")
            assert list(disk.iterdir()) == []


def test_a_log_that_does_not_fit(tmp_path: Path, disk: Path) -> None:
    home = Home(disk / "home")
    home.root.mkdir()
    home.objects.symlink_to(tmp_path / "objects")
    tree = write_tree(tmp_path / "tree", {f"{number:04}": b"the same" for number in range(2000)})
    with home.open() as store:
        package = store.create_package(**SAID)
        before = home.snapshot()
        ballast = fill(disk, leave=MIB // 4)
        with refused(BackendError, "disk-full", str(home.database)):
            store.push(tree, **SAID)
        # The bytes were durable before the log was asked; nobody names them.
        after = home.snapshot()
        assert (after.tables, after.schema, after.version) == (before.tables, before.schema, before.version)
        assert home.staged() == []
        assert store.get_package(package).status == "open"
        assert store.replay(check=True).identical
        ballast.unlink()
        assert store.push(tree, **SAID).package.file_count == 2000
    with home.open(create=False) as store:
        assert store.replay(check=True).identical


def test_a_store_that_cannot_be_made_on_a_full_disk(disk: Path) -> None:
    home = Home(disk / "home")
    home.root.mkdir()
    ballast = fill(disk, leave=0)
    with pytest.raises(BackendError) as caught:
        home.open()
    assert caught.value.code == "disk-full"
    ballast.unlink()
    with home.open() as store:
        assert store.health().status == "ok"


def write_calls(store: Store, package: str, tree: Path) -> list[Callable[[], object]]:
    return [
        lambda: store.create_package(**SAID),
        lambda: store.ingest_file(package, "new", b"new bytes", actor="ada"),
        lambda: store.finalize_package(package, actor="ada"),
        lambda: store.push(write_tree(tree, {"new": b"new bytes"}), **SAID),
    ]


def test_objects_on_a_read_only_disk(split: Home, disk: Path, tree: Path) -> None:
    with split.open() as store:
        package = store.push(tree, **SAID).package
        opened = store.create_package(**SAID)
        store.ingest_file(opened, "a", b"a", actor="ada")
    remount(disk, "ro")
    with split.open(create=False) as store, split.unchanged():
        for call in write_calls(store, opened, tree)[1:]:
            with refused(AccessError, "access-denied", str(disk), "read-only"):
                call()
        assert store.health().status == "degraded"
        assert store.read_file(package.package_id, "README.md") == TREE["README.md"]
    remount(disk, "rw")


def test_a_whole_store_on_a_read_only_disk(disk: Path, tree: Path) -> None:
    home = Home(disk / "home")
    with home.open() as store:
        package = store.push(tree, **SAID).package
    remount(disk, "ro")
    with home.open(create=False) as store:
        assert store.list_packages().items == (package,)
        assert store.read_file(package.package_id, "README.md") == TREE["README.md"]
        [finding] = store.fsck(read=True).findings
        assert "not readable and writable" in finding.what
        with refused(AccessError, "access-denied", str(home.database), "read-only"):
            store.create_package(**SAID)
    with refused(AccessError, "access-denied", str(disk / "new")):
        Home(disk / "new").open()
    remount(disk, "rw")
    with home.open(create=False) as store:
        assert store.push(tree, **SAID, if_changed=True).unchanged


def test_a_store_that_a_medium_becomes_writable_under(disk: Path, tree: Path) -> None:
    home = Home(disk / "home")
    home.open().close()
    remount(disk, "ro")
    with home.open(create=False) as store:
        assert store.list_packages().items == ()
        remount(disk, "rw")
        package = store.push(tree, **SAID).package
        assert store.list_packages().items == (package,)


@pytest.mark.parametrize("lost", [(), ("-shm",)], ids=["all there", "without its index"])
def test_a_crashed_store_on_a_read_only_disk(
    split: Home, disk: Path, tree: Path, lost: tuple[str, ...]
) -> None:
    home = Home(disk / "home")
    with split.open() as store:
        store.push(tree, **SAID)
        # As if its process had died now: what it wrote is in the write-ahead log only.
        subprocess.run(["cp", "-a", str(split.root), str(home.root)], check=True)
    for suffix in lost:
        os.unlink(f"{home.database}{suffix}")
    remount(disk, "ro")
    if lost:
        with pytest.raises(AccessError, match="cannot open") as caught:
            home.open(create=False)
        assert "-wal" in str(caught.value.hint)
    else:
        with home.open(create=False) as store:
            assert store.read_file(store.list_packages().items[0].package_id, "README.md")
    remount(disk, "rw")
    with home.open(create=False) as store:
        assert store.fsck(read=True).clean
        assert len(store.list_packages().items) == 1


def test_an_export_on_a_read_only_disk(home: Home, disk: Path, tree: Path) -> None:
    with home.open() as store:
        package = store.push(tree, **SAID).package
        store.export_package(package.package_id, disk / "out")
    remount(disk, "ro")
    kit = disk / "out" / "ARTIFACTSTORE-AUDIT"
    assert check_directory(kit / "manifest.cbor", disk / "out").intact
    checker = subprocess.run([sys.executable, "-I", "-B", str(kit / "verify.py")], check=False)
    assert checker.returncode == 0
    remount(disk, "rw")


def test_a_migration_that_does_not_fit_leaves_no_half_backup(
    disk: Path, tree: Path, clock: FakeClock
) -> None:
    home = Home(disk / "home")
    with home.open() as store:
        store.push(tree, **SAID)
    home.tamper(f"PRAGMA user_version = {SCHEMA_VERSION - 1}")
    before = home.snapshot()
    (home.root / "artifactstore.v1.20260101T000000Z.backup.db.partial").write_bytes(b"left by a crash")
    with contextlib.closing(Database(str(home.database))) as database:
        # Enough to open the database, not enough for a second one.
        ballast = fill(disk, leave=2 * os.stat(home.database).st_size // 3)
        with refused(BackendError, "disk-full", str(disk)):
            migrate(database, clock)
        ballast.unlink()
        assert home.snapshot() == before
        backup = migrate(database, clock).backup
    assert backup is not None
    assert set(home.snapshot().neighbours) == {*before.neighbours, os.path.basename(backup)}


def test_a_folder_that_a_disk_does_not_give_is_no_lack_of_rights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_folder: int) -> object:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    export = tmp_path / "out"
    with Home(tmp_path / "home").open() as store:
        package = store.push(write_tree(tmp_path / "tree", TREE), **SAID).package
        store.export_package(package.package_id, export)
    monkeypatch.setattr(os, "scandir", broken)
    with refused(BackendError, "backend-failed", "Input/output error"):
        check_directory(export / "ARTIFACTSTORE-AUDIT" / "manifest.cbor", export)
