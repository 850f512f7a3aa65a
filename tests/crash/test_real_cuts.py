"""Power cuts on real file systems: nothing acknowledged is lost, and the call can be done again."""

from __future__ import annotations

import collections
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from crash.calls import CALLS, ROWS
from crash.changing_call import ChangingCall, check
from crash.place import Place
from crash.planted import BARRIERS
from crash.recorder import ACKNOWLEDGED, requires_strace
from crash.volumes import FILE_SYSTEMS, FileSystem, copy_image, cut_power

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

    from crash.report import Drill

TESTS = Path(__file__).parent.parent
# Before these the worker is killed; the last one is its end.
CHANGING = (
    *(
        "write",
        "pwrite64",
        "ftruncate",
        "fsync",
        "fdatasync",
        "syncfs",
        "rename",
        "renameat",
        "link",
        "linkat",
    ),
    *("mkdir", "mkdirat", "unlink", "unlinkat", "rmdir", "exit_group"),
)
pytestmark = [
    pytest.mark.slow,
    requires_strace,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount"),
    pytest.mark.skipif(not Path("/dev/loop-control").exists(), reason="there are no loop devices here"),
    *(
        pytest.mark.skipif(shutil.which(tool) is None, reason=f"{tool} is missing")
        for tool in ("mkfs.ext4", "mkfs.xfs")
    ),
]
each_file_system = pytest.mark.parametrize("file_system", FILE_SYSTEMS, ids=lambda each: each.name)


@dataclass(frozen=True)
class Cut:
    """The worker is killed before its so manieth call of a name in one thread; then the power goes.

    Args:
        with_log: as in `cut_power`.
    """

    call: str
    number: int
    barrier: str
    with_log: bool
    bug: str | None = None


class Volume:
    """A row that is set up on a file system, to be cut as often as one likes."""

    def __init__(self, file_system: FileSystem, row: ChangingCall, scratch: Path) -> None:
        self._file_system = file_system
        self._row = row
        self._base, self._image = scratch / "base", scratch / "image"
        self._folder = scratch / "mounted"
        self._folder.mkdir(exist_ok=True)
        self._place = Place(self._folder / "place")
        file_system.format(self._base)
        with file_system.mounted(self._base, self._folder):
            self._place.root.mkdir()
            row.set_up(self._place)

    def cuts(self, barrier: str, chance: random.Random, count: int) -> Iterator[Cut]:
        """Cuts anywhere in the row, as many as asked for if there are so many."""
        points = sorted(set(self._calls(barrier)))
        for call, number in chance.sample(points, min(count, len(points))):
            yield Cut(call, number, barrier, with_log=chance.random() < 0.5)

    def _calls(self, barrier: str) -> Iterator[tuple[str, int]]:
        """The calls that change something, each with its number within its name and thread."""
        log = self._image.with_suffix(".strace")
        copy_image(self._base, self._image)
        with self._file_system.mounted(self._image, self._folder):
            ran = self._work(
                barrier, None, "--seccomp-bpf", f"--output={log}", f"--trace={','.join(CHANGING)}"
            )
        assert ran.stdout == ACKNOWLEDGED, ran.stderr
        counts: collections.Counter[tuple[str, str]] = collections.Counter()
        for line in log.read_text().splitlines():
            thread, text = line.split(maxsplit=1)
            call, is_call, _ = text.partition("(")
            if is_call and call in CHANGING:
                counts[thread, call] += 1
                yield call, counts[thread, call]

    def _work(self, barrier: str, bug: str | None, *strace: str) -> subprocess.CompletedProcess[bytes]:
        worker = [
            sys.executable,
            "-m",
            "crash.worker",
            self._row.name,
            str(self._place.root),
            "--barrier",
            barrier,
        ]
        if bug is not None:
            worker += ["--bug", bug]
        return subprocess.run(
            ["strace", "--follow-forks", *strace, *worker], cwd=TESTS, capture_output=True, check=False
        )

    def survives(self, cut: Cut) -> str | None:
        """Make a cut and look at what it has left: the promise that was broken, if any."""
        copy_image(self._base, self._image)
        clock = self._place.root / "now"
        with self._file_system.mounted(self._image, self._folder):
            # The clock is not at stake, and the kill may come while the worker sets it.
            before = str(self._place.clock(days=self._row.days).now)
            kill = f"--inject={cut.call}:signal=SIGKILL:when={cut.number}"
            ran = self._work(cut.barrier, cut.bug, "--output=/dev/null", f"--trace={cut.call}", kill)
            # In another run a thread may get less to do: then the cut comes at the end.
            assert ran.returncode in {-signal.SIGKILL, 0}, ran.stderr
            now = clock.read_text() if clock.exists() else ""
            cut_power(self._folder, with_log=cut.with_log)
        with self._file_system.mounted(self._image, self._folder):
            clock.write_text(now or before)
            try:
                check(self._place, self._row, acknowledged=ran.stdout == ACKNOWLEDGED)
                self._row.again(self._place)
                check(self._place, self._row, acknowledged=True)
            except Exception as error:  # noqa: BLE001 - whatever goes wrong is a finding
                return f"{self._file_system.name}, {self._row.name}, {cut}: {type(error).__name__}: {error}"
        return None


@each_file_system
def test_a_cut_loses_what_nobody_has_synced(scratch: Path, file_system: FileSystem) -> None:
    image, folder = scratch / "image", scratch / "mounted"
    folder.mkdir()
    file_system.format(image)
    with file_system.mounted(image, folder):
        for name in ("synced", "forgotten"):
            (folder / name).write_bytes(b"bytes")
            if name == "synced":
                with open(folder / name, "rb") as file:
                    os.fsync(file.fileno())
        cut_power(folder, with_log=False)
    with file_system.mounted(image, folder):
        assert (folder / "synced").read_bytes() == b"bytes"
        assert not (folder / "forgotten").exists()


@each_file_system
def test_a_power_cut_loses_nothing_acknowledged(drill: Drill, scratch: Path, file_system: FileSystem) -> None:
    tried, broken = 0, []
    for row in drill.sample(CALLS, at_most=3):
        volume = Volume(file_system, row, scratch)
        for barrier in drill.sample(list(BARRIERS), at_most=1):
            for cut in volume.cuts(barrier, drill.random, 10 if drill.full else 3):
                tried += 1
                found = volume.survives(cut)
                if found is not None:
                    broken.append(found)
    drill.count(f"power loss, real: {file_system.name}", tried=tried, fired=tried, violations=len(broken))
    assert broken == []


@each_file_system
def test_a_planted_bug_is_found(scratch: Path, file_system: FileSystem) -> None:
    volume = Volume(file_system, ROWS["push"], scratch)
    at_the_end = Cut("exit_group", 1, "whole", with_log=True, bug="no barrier")
    assert volume.survives(at_the_end) is not None
