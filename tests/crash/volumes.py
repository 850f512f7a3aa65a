"""Real file systems in image files, and the kernel's own way to cut their power."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import struct
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_SHUTDOWN = 0x8004587D  # EXT4_IOC_SHUTDOWN, XFS_IOC_GOINGDOWN: all that is not on the disk is lost
_WITH_LOG, _WITHOUT_LOG = 1, 2  # whether the journal in memory still reaches the disk


@dataclass(frozen=True)
class FileSystem:
    """How to make and mount one.

    Args:
        kind: as mount names it.
        size: of the image in bytes, most of them never written.
        options: the journal is not written by the clock, so that what nobody syncs stays in memory.
    """

    name: str
    kind: str
    size: int
    make: tuple[str, ...]
    options: str

    @contextlib.contextmanager
    def mounted(self, image: Path, folder: Path) -> Iterator[None]:
        """Mount an image; it is detached again whatever happens."""
        _run("mount", "-t", self.kind, "-o", f"loop,{self.options}", image, folder)
        try:
            yield
        finally:
            try:
                _run("umount", folder)
            except AssertionError:
                _run("umount", "--lazy", folder)
                raise

    def format(self, image: Path) -> None:
        """Make an empty file system in an image."""
        with open(image, "wb") as file:
            file.truncate(self.size)
        _run(*self.make, image)


FILE_SYSTEMS = (
    FileSystem("ext4", "ext4", 64 << 20, ("mkfs.ext4", "-q", "-F"), "commit=300"),
    FileSystem("ext4 writeback", "ext4", 64 << 20, ("mkfs.ext4", "-q", "-F"), "commit=300,data=writeback"),
    FileSystem("xfs", "xfs", 320 << 20, ("mkfs.xfs", "-q"), "nouuid"),
)


def copy_image(source: Path, target: Path) -> None:
    """Copy an image, holes as holes."""
    _run("cp", "--sparse=always", source, target)


def cut_power(folder: Path, *, with_log: bool) -> None:
    """Shut the file system down: from here on it reads and writes nothing, and forgets what is in memory.

    Args:
        folder: where it is mounted.
        with_log: write the journal first: names and lengths are there then, bytes that nobody synced are not.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.ioctl(descriptor, _SHUTDOWN, struct.pack("I", _WITH_LOG if with_log else _WITHOUT_LOG))
        try:
            os.mkdir("alive", dir_fd=descriptor)
        except OSError as error:
            assert error.errno == errno.EIO  # noqa: PT017 - any other error is as wrong as none
        else:
            raise AssertionError("the file system has survived the cut")
    finally:
        os.close(descriptor)


def _run(*command: str | Path) -> None:
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, f"{command[0]}: {ran.stderr}"
