"""A disk that takes bytes and cannot keep them, like a thin one whose space others have used up."""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from store.harness import incompressible

from artifactstore import BackendError
from artifactstore.objects import durability
from artifactstore.objects.local import LocalBackend
from crash.disks import MIB, mounted
from crash.volumes import FileSystem

if TYPE_CHECKING:
    from artifactstore.objects.local_batch import LocalBatch

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount"),
    pytest.mark.skipif(not Path("/dev/loop-control").exists(), reason="there are no loop devices here"),
    pytest.mark.skipif(shutil.which("mkfs.ext4") is None, reason="mkfs.ext4 is missing"),
]

# Without a journal, whose own errors would make it read-only. Nearly all of it is holes in its image.
EXT4 = FileSystem(
    "ext4 without a journal",
    "ext4",
    48 * MIB,
    ("mkfs.ext4", "-q", "-F", "-O", "^has_journal", "-E", "lazy_itable_init=1,nodiscard"),
    "defaults",
)
SIZE = 6 * MIB  # bytes of a batch, and of the disk below


def stage(batch: LocalBatch, seed: int) -> None:
    for number in range(SIZE // MIB):
        batch.stage_bytes(incompressible(MIB, seed + number))


def test_no_batch_takes_the_error_of_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(durability, "dirty_kib", lambda: 0)
    folder = tmp_path / "mounted"
    folder.mkdir()
    with mounted(tmp_path / "below", size=SIZE) as below:
        image = below / "image"
        EXT4.format(image)
        with EXT4.mounted(image, folder):
            backend = LocalBackend(str(folder / "objects"))
            backend.attach(uuid.uuid4(), create=True)
            with backend.batch() as first, backend.batch() as second:
                stage(first, 100)
                stage(second, 200)
                with pytest.raises(BackendError):
                    first.publish()
                # There is room again, but what was lost stays so.
                subprocess.run(["mount", "-o", f"remount,size={10 * SIZE}", str(below)], check=True)
                with pytest.raises(BackendError):
                    second.publish()
            assert list(backend.stored()) == []
            with backend.batch() as third:
                stage(third, 300)
                third.publish()
            assert len(list(backend.stored())) == SIZE // MIB
            backend.close()
