"""What is durable before a call answers, and what it learns of a disk that loses bytes."""

from __future__ import annotations

import errno
import os
import uuid
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, NoReturn

import pytest
from lifecycle.harness import DAY, MICROSECONDS, flip

from artifactstore import BackendError, acknowledged
from artifactstore.digest import digest_pair, object_key
from artifactstore.objects import durability
from artifactstore.objects.durability import FileSystem
from artifactstore.objects.local import LocalBackend
from artifactstore.objects.local_batch import LocalBatch
from store.harness import LARGE, SAID, TREE, FakeClock, incompressible, read_tree, refused, write_tree

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator
    from pathlib import Path

    from artifactstore import Store
    from artifactstore.connection import Connection
    from store.harness import Home

SECTOR = 4096  # bytes


@dataclass
class LossyDisk:
    """A disk that cannot write back what it has taken, and the kernel's way to tell of it.

    Args:
        untold: descriptors that were open when bytes were lost, and have not been told yet.
    Source: syncfs(2); Documentation/core-api/errseq.rst.
    """

    untold: set[int] = field(default_factory=set)

    def lose(self) -> None:
        """Lose what is not synced."""
        self.untold = {int(name) for name in os.listdir("/proc/self/fd")}

    def syncfs(self, descriptor: int) -> None:
        """Tell each descriptor once."""
        if descriptor in self.untold:
            self.untold.remove(descriptor)
            raise OSError(errno.EIO, os.strerror(errno.EIO))


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> LossyDisk:
    """All barriers are those of a lossy disk."""
    lossy = LossyDisk()
    monkeypatch.setattr(durability, "_load_syncfs", lambda _descriptor: lossy.syncfs)
    monkeypatch.setattr(durability, "dirty_kib", lambda: 0)
    return lossy


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[LocalBackend]:
    made = LocalBackend(str(tmp_path / "objects"))
    made.attach(uuid.uuid4(), create=True)
    yield made
    made.close()


def test_each_batch_hears_of_what_was_lost_since_it_began(disk: LossyDisk, backend: LocalBackend) -> None:
    with ExitStack() as entered:
        batches = [entered.enter_context(backend.batch()) for _ in range(3)]
        for number, batch in enumerate(batches):
            batch.stage_bytes(b"%d" % number)
        disk.lose()
        for batch in batches:
            with pytest.raises(BackendError):
                batch.publish()
    assert list(backend.stored()) == []


def test_a_removal_and_a_batch_take_no_error_from_each_other(
    disk: LossyDisk, backend: LocalBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    with backend.batch() as batch:
        gone = batch.stage_bytes(b"gone").digests.blake3
        batch.publish()
    with backend.batch() as batch:
        batch.stage_bytes(b"new")
        with monkeypatch.context() as patched:
            patched.setattr(os, "unlink", lambda *_arguments, **_named: disk.lose())
            with pytest.raises(BackendError):
                backend.remove_all([gone])
        with pytest.raises(BackendError):
            batch.publish()


def test_an_export_hears_of_what_was_lost_since_it_began(
    disk: LossyDisk, store: Store, tree: Path, tmp_path: Path
) -> None:
    package = store.push(tree, **SAID).package.package_id
    with pytest.raises(BackendError):
        store.export_package(package, tmp_path / "out", on_progress=lambda _progress: disk.lose())
    assert not (tmp_path / "out").exists()


class KnownKinds:
    """Every kind of file system is one."""

    def __contains__(self, _magic: object) -> bool:
        return True


@pytest.mark.parametrize(
    ("version", "trusted"), [("4.19.0-26-amd64", False), ("5.7.19", False), ("5.8.0", True)]
)
def test_a_barrier_of_a_kernel_that_tells_nothing_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, trusted: bool
) -> None:
    monkeypatch.setattr(durability, "dirty_kib", lambda: 0)
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(release=version))
    monkeypatch.setattr(durability, "_SYNCFS_MAGIC", KnownKinds())
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        assert FileSystem(descriptor).whole_is_cheaper(1000) is trusted
    finally:
        os.close(descriptor)


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was synced, by its path, one after the other: each file and folder by itself."""
    monkeypatch.setattr(durability, "dirty_kib", lambda: 1 << 40)
    paths: list[str] = []
    sync = os.fsync

    def recorded(descriptor: int) -> None:
        paths.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", recorded)
    return paths


def test_the_folders_that_an_export_makes_are_durable(
    store: Store, tree: Path, tmp_path: Path, synced: list[str]
) -> None:
    package = store.push(tree, **SAID).package.package_id
    (tmp_path / "link").symlink_to(tmp_path)
    target = tmp_path / "link" / "out" / "2026" / "nightly"
    synced.clear()
    store.export_package(package, target)
    assert read_tree(target).items() >= TREE.items()
    assert {str(tmp_path), str(tmp_path / "out"), str(tmp_path / "out" / "2026")} <= set(synced)


@pytest.mark.parametrize("call", ["verify", "repair"])
def test_what_is_called_whole_again_is_durable(
    home: Home, store: Store, tree: Path, synced: list[str], call: str
) -> None:
    """Whoever has mended it, another repair or a person, may have died before a sync."""
    store.push(tree, **SAID)
    path = home.objects / object_key(digest_pair(TREE["logs/a.log"]).blake3)
    flip(path)
    assert store.verify(actor="scrub").failures
    path.write_bytes(TREE["logs/a.log"])
    synced.clear()
    if call == "verify":
        assert not store.verify(actor="scrub").failures
    else:
        assert store.repair(actor="ada").healed
    assert {str(path), str(path.parent)} <= set(synced)
    assert store.fsck(read=True).clean


class Killed(BaseException):
    """The end of a process."""


@pytest.mark.parametrize("gc_dies", [False, True], ids=["removed", "removed by a gc that died"])
@pytest.mark.parametrize("call", ["push", "ingest_file", "ingest_directory"])
def test_what_another_has_stored_since_a_removal_is_durable_before_it_is_named(
    home: Home,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    synced: list[str],
    call: str,
    *,
    gc_dies: bool,
) -> None:
    data = b"the same bytes\n"
    tree = write_tree(tmp_path / "new", {"same": data})
    path = home.objects / object_key(digest_pair(data).blake3)
    clock = FakeClock()
    armed: list[Store] = []
    publish, remove_all = LocalBatch.publish, LocalBackend.remove_all

    def removed(backend: LocalBackend, wanted: Iterable[bytes], **further: Collection[bytes]) -> NoReturn:
        remove_all(backend, wanted, **further)
        raise Killed

    def published(batch: LocalBatch) -> None:
        publish(batch)
        if armed:
            other = armed.pop()
            other.sweep(actor="cron")
            if gc_dies:
                with monkeypatch.context() as patched:
                    patched.setattr(LocalBackend, "remove_all", removed)
                    with pytest.raises(Killed):
                        other.gc(actor="cron")
            else:
                assert other.gc(actor="cron").removed_count == 2
            # Another writer has named the same bytes, and comes to the sync of their folder later.
            path.write_bytes(data)
            synced.clear()

    def committing(connection: Connection) -> object:
        synced.append("commit")
        return newest(connection)

    newest = acknowledged.newest
    monkeypatch.setattr(acknowledged, "newest", committing)
    monkeypatch.setattr(LocalBatch, "publish", published)
    with home.open(clock=clock) as other, home.open(clock=clock) as store:
        other.push(tree, **{**SAID, "retention_class": "transient"})
        clock.now += 2 * DAY * MICROSECONDS
        package = store.create_package(**SAID)
        armed.append(other)
        if call == "push":
            package = store.push(tree, **SAID).package.package_id
        elif call == "ingest_file":
            store.ingest_file(package, "same", data, actor="ada")
        else:
            store.ingest_directory(package, tree, actor="ada")
        assert armed == []
        assert store.read_file(package, "same") == data
    before = synced[: synced.index("commit")]
    assert {str(path), *(str(folder) for folder in list(path.parents)[:4])} <= set(before)


@pytest.mark.parametrize("taken", [0, 1024, 2999])
def test_a_short_write_of_the_last_bytes_is_no_success(
    store: Store, monkeypatch: pytest.MonkeyPatch, taken: int
) -> None:
    sectors: list[int] = []
    write = os.pwrite

    def short(descriptor: int, data: memoryview, offset: int) -> int:
        written = write(descriptor, data, offset)
        if len(data) == SECTOR:
            sectors.append(offset)
            return taken
        return written

    package = store.create_package(**SAID)
    monkeypatch.setattr(os, "pwrite", short)
    large = incompressible(LARGE + 3000)
    with refused(BackendError, "disk-full"):
        store.ingest_file(package, "large", large, actor="ada")
    assert sectors == [LARGE]
    monkeypatch.undo()
    assert store.fsck(read=True).clean
    store.ingest_file(package, "large", large, actor="ada")
