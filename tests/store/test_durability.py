"""What is durable before a call answers, and what it learns of a disk that loses bytes."""

from __future__ import annotations

import errno
import os
import uuid
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from artifactstore import BackendError
from artifactstore.objects import durability
from artifactstore.objects.durability import FileSystem
from artifactstore.objects.local import LocalBackend
from store.harness import SAID

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from artifactstore import Store


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
