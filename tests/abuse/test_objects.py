"""Object roots that are missing, foreign or damaged; objects that are missing, cut or altered."""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import logging
import os
import shutil
import stat
import time
import uuid
from typing import TYPE_CHECKING

import pytest
from store.harness import LARGE, SAID, TREE, Home, incompressible, refused, unprivileged, write_tree

from artifactstore import (
    AccessError,
    ArtifactStoreError,
    BackendError,
    Digest,
    IntegrityError,
    ObjectNotFoundError,
    StateError,
)
from artifactstore.backends import STALE_AFTER

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from artifactstore import Package, Store

CONTENT = b"a line\n"  # of logs/a.log and logs/b.log


@pytest.fixture
def package(store: Store, tree: Path) -> Package:
    return store.push(tree, **SAID).package


def object_path(home: Home, digest: Digest | None) -> Path:
    assert digest is not None
    return home.objects / "blake3" / digest.hex[:2] / digest.hex[2:4] / digest.hex


def write_over(path: Path, data: bytes) -> None:
    path.chmod(0o600)
    path.write_bytes(data)


def reasons(store: Store) -> str:
    health = store.health()
    assert health.status == "degraded"
    assert health.db.healthy
    return "; ".join(health.backend.reasons)


# The root


def test_a_missing_root_is_not_taken_for_an_empty_store(home: Home, store: Store, package: Package) -> None:
    store.close()
    home.objects.rename(home.root / "elsewhere")
    with home.unchanged(), refused(BackendError, "backend-missing", str(home.objects)):
        home.open()
    assert not home.objects.exists()
    home.objects.mkdir()
    with home.unchanged(), refused(BackendError, "backend-missing", str(home.objects), "artifactstore.json"):
        home.open()
    home.objects.rmdir()
    (home.root / "elsewhere").rename(home.objects)
    with home.open() as again:
        assert again.get_package(package.package_id) == package


def test_a_root_that_vanishes_while_the_store_is_open(
    home: Home, store: Store, package: Package, tree: Path, tmp_path: Path
) -> None:
    home.objects.rename(tmp_path / "elsewhere")
    before = home.snapshot()
    assert "missing" in reasons(store)
    with refused(ObjectNotFoundError, "object-not-found"):
        store.read_file(package.package_id, "README.md")
    assert store.list_packages().items == (package,)
    home.objects.mkdir()
    assert "artifactstore.json" in reasons(store)
    home.objects.rmdir()
    assert home.snapshot() == before


def test_an_unused_store_makes_its_root_anew(home: Home, tree: Path) -> None:
    home.open().close()
    shutil.rmtree(home.objects)
    with home.open(create=False) as store:
        assert store.push(tree, **SAID).package.file_count == len(TREE)


def test_a_root_that_is_a_file(home: Home) -> None:
    home.root.mkdir()
    home.objects.write_bytes(b"precious")
    with pytest.raises(BackendError) as caught:
        home.open()
    assert str(home.objects) in caught.value.message
    assert home.objects.read_bytes() == b"precious"


@pytest.mark.parametrize("is_new", [True, False])
def test_a_root_that_belongs_to_another_store(
    home: Home, store: Store, package: Package, tmp_path: Path, *, is_new: bool
) -> None:
    other = Home(tmp_path / "other")
    other.root.mkdir()
    if not is_new:
        other.open().close()
        shutil.rmtree(other.objects)
    other.objects.symlink_to(home.objects)
    before = sorted(path.name for path in other.root.iterdir())
    with home.unchanged(), refused(BackendError, "backend-foreign", str(store.store_id), str(home.objects)):
        other.open()
    # Nothing was made for a store that cannot be.
    assert sorted(path.name for path in other.root.iterdir()) == before


@pytest.mark.parametrize("is_new", [True, False])
def test_a_root_with_somebody_elses_files(home: Home, *, is_new: bool) -> None:
    if is_new:
        home.root.mkdir()
    else:
        home.open().close()
        shutil.rmtree(home.objects)
    write_tree(home.objects, {"precious.txt": b"precious"})
    before = sorted(path.name for path in home.root.iterdir())
    with refused(BackendError, "backend-not-empty", str(home.objects), "precious.txt"):
        home.open()
    assert [path.name for path in home.objects.iterdir()] == ["precious.txt"]
    assert sorted(path.name for path in home.root.iterdir()) == before


def test_what_a_crash_left_of_a_claim_is_no_obstacle(home: Home) -> None:
    home.open().close()
    home.marker().rename(home.objects / "artifactstore.json.new")
    with home.open() as store:
        assert store.health().status == "ok"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"7",
        b"{}",
        b"\xff\xfe",
        b'{"store_id": 7}',
        b'{"format": 1}',
        b'{"format":1,"store_id":"x"}',
        b"[" * 4000,
        b'{"format":1,"store_id":"' + b"x" * 5000 + b'"}',
        b"9" * 4090,
    ],
    ids=lambda content: content[:24].decode("latin-1"),
)
def test_a_damaged_marker(home: Home, store: Store, package: Package, content: bytes) -> None:
    store.close()
    write_over(home.marker(), content)
    with home.unchanged(), refused(BackendError, "marker-damaged", "artifactstore.json", str(home.objects)):
        home.open()


@pytest.mark.parametrize("kind", ["fifo", "folder", "endless"])
def test_a_marker_that_is_no_file(home: Home, store: Store, package: Package, kind: str) -> None:
    store.close()
    marker = home.marker()
    marker.unlink()
    if kind == "fifo":
        os.mkfifo(marker)
    elif kind == "folder":
        marker.mkdir()
    else:
        marker.symlink_to("/dev/zero")
    with (
        home.unchanged(),
        refused(BackendError, "marker-damaged", "artifactstore.json", "not a regular file"),
    ):
        home.open()


def test_a_marker_of_a_later_format(home: Home, store: Store, package: Package) -> None:
    store.close()
    marker = json.loads(home.marker().read_bytes())
    write_over(home.marker(), json.dumps({**marker, "format": 2}).encode())
    with home.unchanged(), refused(StateError, "store-too-new", str(home.objects), "format 2"):
        home.open()


def test_health_names_what_is_wrong_with_the_root(home: Home, store: Store, package: Package) -> None:
    marker = home.marker().read_bytes()
    with home.unchanged():
        write_over(home.marker(), b"{")
        assert "damaged" in reasons(store)
        write_over(home.marker(), json.dumps({"format": 1, "store_id": str(uuid.uuid4())}).encode())
        assert "belongs to the store" in reasons(store)
        write_over(home.marker(), marker)
        home.objects.chmod(0o500)
        with unprivileged():
            assert "not readable and writable" in reasons(store)
        home.objects.chmod(0)
        with unprivileged():
            assert str(home.objects) in reasons(store)
        home.objects.chmod(0o700)
        assert store.health().status == "ok"


def test_a_root_that_may_not_be_written(home: Home, store: Store, package: Package, tree: Path) -> None:
    opened = store.create_package(**SAID)
    staging = home.objects / "tmp"
    for folder, mode in ((staging, 0o500), (home.objects / "blake3", 0o500)):
        folder.chmod(mode)
        try:
            with home.unchanged(), unprivileged():
                with refused(AccessError, "access-denied", str(home.objects)):
                    store.push(write_tree(tree, {"new": f"for {folder.name}".encode()}), **SAID)
                with refused(AccessError, "access-denied", str(home.objects)):
                    store.ingest_file(opened, "new", b"other new bytes", actor="ada")
        finally:
            folder.chmod(0o700)
    assert store.read_file(package.package_id, "logs/a.log") == CONTENT


def test_objects_that_may_not_be_read(home: Home, store: Store, package: Package) -> None:
    path = object_path(home, store.get_file(package.package_id, "logs/a.log").digest)
    path.chmod(0)
    with home.unchanged(), unprivileged(), refused(AccessError, "access-denied", path.name):
        store.read_file(package.package_id, "logs/a.log")


# Objects


def cut(path: Path) -> None:
    write_over(path, path.read_bytes()[:-1])


def grow(path: Path) -> None:
    write_over(path, path.read_bytes() + b"x")


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    write_over(path, bytes(data))


def remove(path: Path) -> None:
    path.unlink()


def link(path: Path) -> None:
    path.rename(path.with_suffix(".moved"))
    path.symlink_to(path.with_suffix(".moved"))


def link_to_a_secret(path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc/passwd")


def socket_file(path: Path) -> None:
    path.unlink()
    os.mknod(path, stat.S_IFSOCK | 0o600)


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def read_in_pieces(store: Store, package: Package, path: str) -> None:
    with store.open_file(package.package_id, path) as stream:
        while stream.read(65_536):
            pass


DAMAGE: list[tuple[Callable[[Path], None], type[ArtifactStoreError]]] = [
    (cut, IntegrityError),
    (grow, IntegrityError),
    (flip, IntegrityError),
    (remove, ObjectNotFoundError),
    (link, IntegrityError),
    (link_to_a_secret, IntegrityError),
    (socket_file, IntegrityError),
    (fifo, IntegrityError),
    (folder, IntegrityError),
]


@pytest.mark.parametrize(
    ("size", "damage", "error"),
    [
        (size, damage, error)
        for size in (0, 7, 70_000, LARGE + 5)
        for damage, error in DAMAGE
        if size or damage not in (cut, flip)
    ],
)
def test_a_damaged_object_is_never_given_out(
    home: Home,
    store: Store,
    tmp_path: Path,
    size: int,
    damage: Callable[[Path], None],
    error: type[ArtifactStoreError],
) -> None:
    tree = write_tree(tmp_path / "tree", {"a": b"before", "b/data.bin": incompressible(size), "c": b"behind"})
    package = store.push(tree, **SAID).package
    file = store.get_file(package.package_id, "b/data.bin")
    damage(object_path(home, file.digest))
    folder = tmp_path / "exports"
    folder.mkdir()
    with home.unchanged():
        with pytest.raises(error) as caught:
            store.read_file(package.package_id, "b/data.bin")
        assert file.digest.hex in caught.value.message
        with pytest.raises(error):
            read_in_pieces(store, package, "b/data.bin")
        for bare in (True, False):
            with pytest.raises(error) as caught:
                store.export_package(package.package_id, folder / "out", bare=bare)
            assert file.digest.hex in caught.value.message
            with pytest.raises(error):
                store.export_tar(package.package_id, io.BytesIO(), bare=bare)
    assert list(folder.iterdir()) == []
    assert store.read_file(package.package_id, "a") == b"before"


def test_the_untouched_part_of_a_damaged_object_can_be_read(home: Home, store: Store) -> None:
    data = incompressible(LARGE)
    package = store.create_package(**SAID)
    file = store.ingest_file(package, "a", data, actor="ada")
    flip(object_path(home, file.digest))
    with store.open_file(package, "a") as stream:
        stream.seek(-100, os.SEEK_END)
        assert stream.read() == data[-100:]


@pytest.mark.parametrize(("damage", "error"), DAMAGE)
def test_a_damaged_manifest(
    home: Home,
    store: Store,
    package: Package,
    tmp_path: Path,
    damage: Callable[[Path], None],
    error: type[ArtifactStoreError],
) -> None:
    damage(object_path(home, package.manifest_digest))
    with home.unchanged():
        for call in (
            lambda: store.get_manifest_bytes(package.package_id),
            lambda: store.get_manifest_bytes(package.package_id, format="json"),
            lambda: store.get_manifest(package.package_id),
            lambda: store.export_package(package.package_id, tmp_path / "out"),
        ):
            with pytest.raises(error):
                call()
    assert not (tmp_path / "out").exists()


def alias(path: Path) -> None:
    """A link whose own size is that of the object."""
    target = path.read_bytes().decode("latin-1").encode().hex()[: path.stat().st_size]
    path.unlink()
    path.symlink_to(target)


@pytest.mark.parametrize(("damage", "size"), [(fifo, 0), (folder, 7), (alias, 7), (alias, 60)])
@pytest.mark.parametrize("way", ["push", "ingest_file"])
def test_what_is_no_file_is_no_object_whatever_its_size(
    home: Home, store: Store, tmp_path: Path, damage: Callable[[Path], None], size: int, way: str
) -> None:
    data = incompressible(size)
    tree = write_tree(tmp_path / "tree", {"data": data})
    first = store.push(tree, **SAID).package
    path = object_path(home, store.get_file(first.package_id, "data").digest)
    damage(path)
    if way == "push":
        assert store.push(tree, **SAID).ingest.new_object_count == 1
    else:
        store.ingest_file(store.create_package(**SAID), "data", data, actor="ada")
    assert store.read_file(first.package_id, "data") == data
    assert len(list((home.objects / "damaged").iterdir())) == 1


@pytest.mark.parametrize("damage", [cut, grow, remove])
@pytest.mark.parametrize("size", [7, LARGE + 5])
def test_a_push_of_the_same_bytes_heals_an_object_of_the_wrong_size(
    home: Home,
    store: Store,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    damage: Callable[[Path], None],
    size: int,
) -> None:
    data = incompressible(size)
    tree = write_tree(tmp_path / "tree", {"data": data})
    first = store.push(tree, **SAID).package
    path = object_path(home, store.get_file(first.package_id, "data").digest)
    damage(path)
    damaged = path.read_bytes() if path.exists() else None
    with caplog.at_level(logging.WARNING):
        result = store.push(tree, **SAID)
    assert result.ingest.new_object_count == 1
    assert store.read_file(first.package_id, "data") == data
    # What was wrong is kept for those who will ask how it came about.
    kept = sorted((home.objects / "damaged").glob("*")) if (home.objects / "damaged").exists() else []
    assert [file.read_bytes() for file in kept] == ([] if damaged is None else [damaged])
    assert ("is damaged" in caplog.text) is (damaged is not None)


# What crashes leave


@pytest.fixture
def left(home: Home, store: Store) -> Path:
    """What a crashed batch left, as old as it may become."""
    store.close()
    folder = home.objects / "tmp" / "0123456789abcdef"
    write_tree(folder, {"0": b"half", "stream-1": b"half"})
    (folder / "0").chmod(0o400)
    os.utime(folder, (0, time.time() - STALE_AFTER - 60))
    return folder


def test_what_a_crash_left_is_removed_by_age(home: Home, left: Path) -> None:
    young = write_tree(home.objects / "tmp" / "fedcba9876543210", {"0": b"at work"})
    with home.open(create=False):
        assert not left.exists()
        assert young.exists()


def test_a_batch_that_is_at_work_is_left_alone_however_old(home: Home, left: Path) -> None:
    descriptor = os.open(left, os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with home.open(create=False):
        assert left.exists()
    os.close(descriptor)
    with home.open(create=False):
        assert not left.exists()


@pytest.mark.parametrize("stray", ["file", "folder", "link"])
def test_strangers_in_the_staging_folder_do_not_close_the_store(
    home: Home, left: Path, tmp_path: Path, stray: str
) -> None:
    outside = write_tree(tmp_path / "outside", {"precious": b"precious"})
    path = home.objects / "tmp" / "0-stray"
    if stray == "file":
        path.write_bytes(b"x")
    elif stray == "folder":
        (path / "below").mkdir(parents=True)
    else:
        path.symlink_to(outside)
    os.utime(path, (0, 0), follow_symlinks=False)
    with home.open(create=False) as store:
        assert store.health().status == "ok"
        assert not left.exists()
    assert (outside / "precious").read_bytes() == b"precious"


def test_concurrent_cleaners_do_not_hinder_each_other(home: Home, left: Path) -> None:
    with contextlib.ExitStack() as stack:
        stores = [stack.enter_context(home.open(create=False)) for _ in range(3)]
        assert not left.exists()
        assert {store.health().status for store in stores} == {"ok"}
