"""A row of the table under a power cut: record it, cut it anywhere, look at each disk that may be left."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from crash.changing_call import check
from crash.disk_states import EVERYTHING, Disk, fingerprint, keep_all, read, write
from crash.outcomes import outcomes
from crash.place import Place
from crash.recorder import record

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from crash.changing_call import ChangingCall
    from crash.disk_states import Step, Tree

AT_STAKE = ("home", "elsewhere")  # what of a place lies on the disk that loses its power
_TESTS = Path(__file__).parent.parent


@dataclass(frozen=True)
class Left:
    """A disk that a cut has left.

    Args:
        lost: something is not as the running program saw it.
    """

    tree: Tree
    acknowledged: bool
    story: str
    lost: bool


@dataclass(frozen=True)
class Recording:
    """What one run of a row did to its disk.

    Args:
        place: as the run has left it; what is not at stake, its clock and its notes, survives every cut.
        before: the disk when the run began.
        seed: of the random outcomes.
    """

    row: ChangingCall
    place: Place
    before: Disk
    steps: list[Step]
    seed: str

    @property
    def uses_barrier(self) -> bool:
        """Whether anything was made durable by one barrier for all."""
        return any(step.syncs == EVERYTHING for step in self.steps)

    def cuts(self) -> Iterator[tuple[int, Disk, bool]]:
        """Each moment: the steps done, the disk then, and whether the call was acknowledged."""
        disk, acknowledged = self.before.copy(), False
        yield 0, disk, acknowledged
        for number, step in enumerate(self.steps, 1):
            disk.do(step)
            acknowledged = acknowledged or step.acknowledges
            yield number, disk, acknowledged

    def points(self) -> list[tuple[int, int]]:
        """All cuts with all of their outcomes, by number."""
        return [
            (cut, number)
            for cut, disk, _ in self.cuts()
            for number, _ in enumerate(outcomes(disk, f"{self.seed} {cut}"))
        ]

    def left(self, points: Collection[tuple[int, int]]) -> Iterator[Left]:
        """The disks that these points leave, equal ones once."""
        chosen, seen = set(points), set()
        for cut, disk, acknowledged in self.cuts():
            whole = None
            for number, outcome in enumerate(outcomes(disk, f"{self.seed} {cut}")):
                if (cut, number) not in chosen:
                    continue
                tree = disk.after(outcome.decide)
                key = fingerprint(tree), acknowledged
                if key not in seen:
                    seen.add(key)
                    whole = whole or fingerprint(disk.after(keep_all))
                    last = self.steps[cut - 1].call if cut else "nothing"
                    story = f"cut {cut}, after {last}; {outcome.name}"
                    yield Left(tree, acknowledged, story, lost=key[0] != whole)

    def acknowledged_at(self) -> int:
        """The cut from which on the call is acknowledged."""
        return next(cut for cut, _, acknowledged in self.cuts() if acknowledged)

    def disk_at(self, cut: int) -> Disk:
        """The disk at a cut, with what is pending: what the next process meets if this one was killed."""
        return next(disk for number, disk, _ in self.cuts() if number == cut)


def recorded(row: ChangingCall, root: Path, *options: str) -> Recording:
    """Set up a row and record its run."""
    root.mkdir()
    place = Place(root)
    row.set_up(place)
    return _record(row, place, Disk.holding(read(root, AT_STAKE), AT_STAKE), *options)


def recorded_again(earlier: Recording, disk: Disk, root: Path, *options: str) -> Recording:
    """Record what a caller does who does not know whether the call happened.

    Args:
        disk: what an accident has left of an earlier run; what is pending there is so still.
    """
    root.mkdir()
    place = put(earlier, disk.after(keep_all), root)
    return _record(earlier.row, place, disk, "--again", *options)


def _record(row: ChangingCall, place: Place, disk: Disk, *options: str) -> Recording:
    worker = [sys.executable, "-m", "crash.worker", row.name, str(place.root), *options]
    before = disk.copy()
    steps = record(worker, place.root, disk, log=place.root.with_suffix(".strace"), folder=_TESTS)
    return Recording(row, place, before, steps, seed=" ".join((row.name, *options)))


def put(recording: Recording, tree: Tree, root: Path) -> Place:
    """Put a disk and what lies beside it into an empty folder."""
    for entry in os.scandir(recording.place.root):
        if entry.name in AT_STAKE:
            continue
        if entry.is_dir():
            shutil.copytree(entry.path, root / entry.name, copy_function=os.link)
        else:
            shutil.copyfile(entry.path, root / entry.name)
    write(tree, root)
    return Place(root)


def violation(recording: Recording, left: Left, root: Path) -> str | None:
    """Open a disk, look at it and do the call again: the promise that was broken, if any."""
    root.mkdir()
    row, place = recording.row, put(recording, left.tree, root)
    try:
        check(place, row, acknowledged=left.acknowledged)
        row.again(place)
        check(place, row, acknowledged=True)
    except Exception as error:  # noqa: BLE001 - whatever goes wrong is a finding
        return f"{recording.seed}: {left.story}: {type(error).__name__}: {error}"
    finally:
        shutil.rmtree(root)
    return None
