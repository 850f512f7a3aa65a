"""After a power cut at any moment, with any disk that POSIX allows, nothing acknowledged is lost."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from crash.calls import CALLS, ROWS
from crash.disk_states import Disk
from crash.outcomes import outcomes
from crash.planted import BARRIERS
from crash.power_cuts import AT_STAKE, Recording, recorded, recorded_again, violation
from crash.recorder import requires_strace

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from pathlib import Path

    from crash.changing_call import ChangingCall
    from crash.report import Drill

pytestmark = requires_strace

# Done again after a kill they find nothing to delete, say so and sync nothing: what the dead process had
# deleted may come back, an orphan or an upload session as before.
UNDONE = {"delete orphans", "upload cancelled", "uploads expired"}


@dataclass
class Cuts:
    """Cuts of some recordings, and what came of them.

    Args:
        lost: disks, no two alike, from which something was gone that the program had seen there.
    """

    drill: Drill
    scratch: Path
    tried: int = 0
    lost: int = 0
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
            self.lost += left.lost
            found = violation(recording, left, self.scratch / "left")
            if found is not None:
                self.broken.append(found)

    def report(self, name: str) -> None:
        """Count them, and fail for what was broken, or if nothing was lost."""
        self.drill.count(name, tried=self.tried, fired=self.lost, violations=len(self.broken))
        assert self.broken == []


def some(choices: Iterable[str], drill: Drill) -> list[str]:
    """All of them in a full run, one of them in a short one."""
    return drill.sample(list(choices), at_most=1)


def broken_at(recording: Recording, cuts: Collection[int], scratch: Path, outcome: str = "") -> list[str]:
    """What is broken by cuts after so many steps, if they end in this way; in any if none is given."""
    points = [point for point in recording.points() if point[0] in cuts]
    disks = (left for left in recording.left(points) if f"; {outcome}" in left.story)
    found = (violation(recording, left, scratch / "left") for left in disks)
    return [each for each in found if each is not None]


def broken_at_acknowledgement(recording: Recording, scratch: Path) -> list[str]:
    """What a cut breaks that comes right after the acknowledgement."""
    return broken_at(recording, [recording.acknowledged_at()], scratch)


@pytest.mark.parametrize("barrier", BARRIERS)
@pytest.mark.parametrize(
    "row", ["init", "create", "finalize", "push", "gc", "delete orphans", "repair", "export", "backup"]
)
def test_an_acknowledgement_waits_for_all_that_it_says(scratch: Path, row: str, barrier: str) -> None:
    recording = recorded(ROWS[row], scratch / "recorded", "--barrier", barrier)
    assert broken_at_acknowledgement(recording, scratch) == []


@pytest.mark.parametrize("barrier", BARRIERS)
@pytest.mark.parametrize("row", ["ingest new file", "push"])
def test_an_object_that_has_its_name_has_its_bytes(scratch: Path, row: str, barrier: str) -> None:
    """Whoever stores the same bytes again after a cut finds the name, and does not write them again."""
    recording = recorded(ROWS[row], scratch / "recorded", "--barrier", barrier)
    named = [cut for cut, step in enumerate(recording.steps, 1) if step.call.startswith(("link", "rename"))]
    assert named
    assert broken_at(recording, named, scratch, "names with") == []


@pytest.mark.parametrize(
    ("row", "last"),
    [
        ("init", "mkdir home"),
        ("create", "write home/artifactstore.db-wal"),
        ("ingest new file", "link"),
        ("push", "rename"),
        ("repair", "rename"),
    ],
    ids=["folder of the store", "commit", "object", "objects of a push", "mended object"],
)
def test_what_a_killed_process_has_not_synced_is_made_durable_by_the_next(
    scratch: Path, row: str, last: str
) -> None:
    first = recorded(ROWS[row], scratch / "first", "--barrier", "each")
    done = first.steps[: first.acknowledged_at() - 1]
    # What is remembered of files that were read is of no promise.
    steps = {number: step.call for number, step in enumerate(done, 1) if ".seen/" not in step.call}
    killed = max(number for number, call in steps.items() if f"{call} ".startswith(f"{last} "))
    again = recorded_again(first, first.disk_at(killed), scratch / "again", "--barrier", "each")
    assert broken_at_acknowledgement(again, scratch) == []


@pytest.mark.slow
@pytest.mark.parametrize("row", CALLS, ids=lambda row: row.name)
def test_a_power_cut_loses_nothing_acknowledged(drill: Drill, scratch: Path, row: ChangingCall) -> None:
    cuts = Cuts(drill, scratch)
    recordings = [recorded(row, scratch / each, "--barrier", each) for each in some(BARRIERS, drill)]
    if not any(each.uses_barrier for each in recordings):
        del recordings[1:]  # without a batch of objects all runs are the same
    for recording in recordings:
        cuts.make(recording, at_most=8)
    cuts.report("power loss, strict POSIX")


ACCIDENTS = ("kill", "power cut")


@pytest.mark.slow
@pytest.mark.parametrize("row", CALLS, ids=lambda row: row.name)
def test_a_power_cut_after_an_accident_loses_nothing_acknowledged(
    drill: Drill, scratch: Path, row: ChangingCall
) -> None:
    """The next process meets what nobody has synced, or mends what a cut has left, and has a cut itself."""
    barrier = "--barrier", drill.random.choice(list(BARRIERS))
    first = recorded(row, scratch / "first", *barrier)
    for accident in some(ACCIDENTS, drill):
        if accident == "kill" and row.name in UNDONE:
            continue
        cuts = Cuts(drill, scratch)
        for cut in drill.random.sample(range(1, first.acknowledged_at()), 4 if drill.full else 1):
            disk = first.disk_at(cut)
            if accident == "power cut":
                tree = disk.after(drill.random.choice(list(outcomes(disk, str(cut)))).decide)
                disk = Disk.holding(tree, AT_STAKE)
            again = recorded_again(first, disk, scratch / f"{accident} {cut}", *barrier)
            cuts.make(again, at_most=5, at_all=150)
        # What happened before the accident is perhaps only looked at after it: then there is nothing to lose.
        assert cuts.broken == []
        if cuts.lost:
            cuts.report(f"power loss after a {accident}, strict POSIX")


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
        Planted("no sync of the folder of a backup", "backup"),
        Planted("event before object", "ingest new file"),
        Planted("synchronous=NORMAL", "create"),
    ],
    ids=lambda planted: planted.bug,
)
def test_a_planted_bug_is_found(drill: Drill, scratch: Path, planted: Planted) -> None:
    options = "--barrier", planted.barrier, "--bug", planted.bug
    recording = recorded(ROWS[planted.row], scratch / "planted", *options)
    points = recording.points()
    drill.random.shuffle(points)
    parts = (points[start : start + 16] for start in range(0, len(points), 16))
    disks = itertools.chain.from_iterable(map(recording.left, parts))
    assert any(violation(recording, left, scratch / "left") for left in disks)
