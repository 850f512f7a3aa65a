"""After a power cut at any moment, with any disk that POSIX allows, nothing acknowledged is lost."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from crash.calls import CALLS, ROWS, ChangingCall
from crash.disk_states import Disk
from crash.outcomes import outcomes
from crash.planted import BARRIERS
from crash.power_cuts import AT_STAKE, Recording, recorded, recorded_again, violation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from crash.report import Drill

MEMORY = Path("/dev/shm")  # noqa: S108 - each test makes a folder of its own there


def _can_trace() -> bool:
    return shutil.which("strace") is not None and (
        subprocess.run(["strace", "--output=/dev/null", "true"], check=False).returncode == 0
    )


pytestmark = pytest.mark.skipif(not _can_trace(), reason="strace is missing or may not trace here")


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A folder in memory where there is one: thousands of disks are opened, synced and thrown away."""
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        yield Path(folder)


@dataclass
class Cuts:
    """Cuts of some recordings, and what came of them."""

    drill: Drill
    scratch: Path
    tried: int = 0
    looked_at: int = 0
    broken: list[str] = field(default_factory=list)

    def make(self, recording: Recording, *, at_most: int, at_all: int | None = None) -> None:
        """Cut a recording everywhere with every outcome.

        Args:
            at_most: of these points in a short run.
            at_all: of these points in a full run.
        """
        points = recording.points()
        if at_all is not None and len(points) > at_all:
            points = self.drill.random.sample(points, at_all)
        points = self.drill.sample(points, at_most)
        self.tried += len(points)
        for left in recording.left(points):
            self.looked_at += 1
            found = violation(recording, left, self.scratch / "left")
            if found is not None:
                self.broken.append(found)

    def report(self, name: str) -> None:
        """Count them, and fail for what was broken."""
        self.drill.count(name, tried=self.tried, fired=self.looked_at, violations=len(self.broken))
        assert self.broken == []


@pytest.mark.parametrize("barrier", BARRIERS)
@pytest.mark.parametrize("row", ["push", "gc", "delete orphans", "repair"])
def test_nothing_is_pending_that_an_acknowledgement_needs(scratch: Path, row: str, barrier: str) -> None:
    recording = recorded(ROWS[row], scratch / "recorded", "--barrier", barrier)
    moment = recording.acknowledged_at()
    points = [point for point in recording.points() if point[0] == moment]
    found = [violation(recording, left, scratch / "left") for left in recording.left(points)]
    assert set(found) == {None}


@pytest.mark.slow
@pytest.mark.parametrize("row", CALLS, ids=lambda row: row.name)
def test_a_power_cut_loses_nothing_acknowledged(drill: Drill, scratch: Path, row: ChangingCall) -> None:
    cuts = Cuts(drill, scratch)
    for barrier in BARRIERS:
        recording = recorded(row, scratch / barrier, "--barrier", barrier)
        if barrier == "each" or recording.uses_barrier:  # else both are the same
            cuts.make(recording, at_most=8)
    cuts.report("power loss, strict POSIX")


@pytest.mark.slow
@pytest.mark.parametrize("accident", ["kill", "power cut"])
@pytest.mark.parametrize("row", CALLS, ids=lambda row: row.name)
def test_a_power_cut_after_an_accident_loses_nothing_acknowledged(
    drill: Drill, scratch: Path, row: ChangingCall, accident: str
) -> None:
    """The next process meets what nobody has synced yet, or what a cut has left, and acknowledges it."""
    barrier = "--barrier", drill.random.choice(list(BARRIERS))
    first = recorded(row, scratch / "first", *barrier)
    cuts = Cuts(drill, scratch)
    moments = range(1, first.acknowledged_at())
    for number, cut in enumerate(drill.random.sample(moments, 6 if drill.full else 1)):
        disk = first.disk_at(cut)
        if accident == "power cut":
            tree = disk.after(drill.random.choice(list(outcomes(disk, str(cut)))).decide)
            disk = Disk.holding(tree, AT_STAKE)
        again = recorded_again(first, disk, scratch / f"again {number}", *barrier)
        cuts.make(again, at_most=4, at_all=300)
    cuts.report(f"power loss after a {accident}")


@dataclass(frozen=True)
class Planted:
    """A mistake, and a row that it breaks."""

    bug: str
    row: str
    barrier: str = "each"


@pytest.mark.slow
@pytest.mark.parametrize(
    "planted",
    [
        Planted("no sync of folders", "push"),
        Planted("no sync of files", "push"),
        Planted("no barrier", "push", "whole"),
        Planted("event before object", "ingest new file"),
        Planted("synchronous=NORMAL", "create"),
    ],
    ids=lambda planted: planted.bug,
)
def test_a_planted_bug_is_found(drill: Drill, scratch: Path, planted: Planted) -> None:
    options = "--barrier", planted.barrier, "--bug", planted.bug
    recording = recorded(ROWS[planted.row], scratch / "planted", *options)
    acknowledged = [point for point in recording.points() if point[0] >= recording.acknowledged_at()]
    assert any(violation(recording, left, scratch / "left") for left in recording.left(acknowledged))
