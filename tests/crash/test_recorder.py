"""The record of a program's system calls is complete, or it is refused."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from crash.disk_states import Disk, read
from crash.recorder import record, requires_strace

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = requires_strace

START = """
import os, sys, threading
root = sys.argv[1]
place = os.open(root + "/place", os.O_RDONLY)
"""
END = """
os.write(1, b"acknowledged\\n")
"""
ALL = """
os.mkdir("folder", dir_fd=place)
def work(number):
    file = os.open(f"folder/{number}", os.O_RDWR | os.O_CREAT, dir_fd=place)
    os.write(file, b"bytes of ")
    os.write(file, str(number).encode())
    os.pwrite(file, b"B", 0)
    os.fsync(os.dup(file))
threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
os.rename(root + "/place/folder/0", root + "/place/moved")
os.link("folder/1", "linked", src_dir_fd=place, dst_dir_fd=place)
os.unlink("folder/2", dir_fd=place)
os.truncate(os.open("folder/3", os.O_RDWR, dir_fd=place), 3)
open(root + "/place/folder/4", "w").close()
open(root + "/not recorded", "w").close()
os.fsync(os.open("folder", os.O_RDONLY, dir_fd=place))
"""


def recorded(program: str, root: Path) -> list[str]:
    """The calls of a program that works in the folder `place`."""
    (root / "place").mkdir()
    (root / "place" / "old").write_bytes(b"old")
    disk = Disk.holding(read(root, ["place"]), ["place"])
    command = [sys.executable, "-c", START + program + END, str(root)]
    return [step.call for step in record(command, root, disk, log=root / "log", folder=root)]


def test_threads_and_relative_names_are_followed(tmp_path: Path) -> None:
    calls = recorded(ALL, tmp_path)
    assert calls[0] == "mkdir folder"
    assert calls[-1] == "acknowledge"
    assert calls[-2].startswith("fsync")
    assert [call for call in calls if "not recorded" in call] == []
    assert len([call for call in calls if call.startswith("write")]) == 3 * 8


@pytest.mark.parametrize(
    "program",
    [
        "os.writev(os.open('new', os.O_WRONLY | os.O_CREAT, dir_fd=place), [b'bytes'])",
        "import subprocess; subprocess.run(['true'])",
        "os.symlink('old', 'link', dir_fd=place)",
        "import mmap; mmap.mmap(os.open('old', os.O_RDWR, dir_fd=place), 3)[:] = b'new'",
    ],
    ids=[
        "another call for writing",
        "another process",
        "a kind of file that a store has not",
        "a shared map",
    ],
)
def test_what_is_not_followed_is_refused(tmp_path: Path, program: str) -> None:
    with pytest.raises(AssertionError):
        recorded(program, tmp_path)
