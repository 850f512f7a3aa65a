"""Real file systems in memory that are small, full or read-only. Only root can mount them."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

MEMORY = Path("/dev/shm")  # noqa: S108 - each use makes a folder of its own there
MIB = 1 << 20
PAGE = 4096


@contextlib.contextmanager
def in_memory(room: int = 0) -> Iterator[Path]:
    """A folder in memory, or on a disk if there are not so many bytes left in memory.

    For what claims nothing of a disk: thousands of files are made, synced and removed there at once.
    """
    has_room = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free >= room
    folder = Path(tempfile.mkdtemp(prefix="artifactstore-drill-", dir=MEMORY if has_room else None))
    try:
        yield folder
    finally:
        # Python's own way goes down by recursion.
        subprocess.run(["rm", "-rf", str(folder)], check=True)


@contextlib.contextmanager
def mounted(folder: Path, *, size: int = 16 * MIB) -> Iterator[Path]:
    """An empty file system of so many bytes at a folder; skips the test where nothing can be mounted."""
    folder.mkdir(exist_ok=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def remount(disk: Path, mode: str) -> None:
    """Make a mounted file system `ro` or `rw`."""
    subprocess.run(["mount", "-o", f"remount,{mode}", str(disk)], check=True)


def fill(disk: Path, *, leave: int) -> Path:
    """Use up the disk but for so many bytes."""
    ballast = disk / "ballast"
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(free(disk) - leave, 1))
    return ballast


def free(disk: Path) -> int:
    """Bytes that are left."""
    status = os.statvfs(disk)
    return status.f_bavail * status.f_frsize
