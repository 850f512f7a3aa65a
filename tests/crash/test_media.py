"""Every changing call on a full disk, without the right to touch something, and on a read-only medium."""

from __future__ import annotations

import contextlib
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from store.harness import unprivileged

from artifactstore import AccessError, ArtifactStoreError
from crash.calls import CALLS, ROWS
from crash.changing_call import KEPT, ChangingCall, MendingCall, MigrationCall, check, is_left_over
from crash.disks import MIB, PAGE, fill, mounted, remount
from crash.place import Place
from crash.points import Campaign, Verdict, judge
from crash.tidiness import assert_tidy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from crash.report import Drill

pytestmark = pytest.mark.slow

# What may not be touched: a path of the place, and the mode that it has then.
FORBIDDEN: tuple[tuple[str, int], ...] = (
    (".", 0o000),
    ("home", 0o500),
    ("home", 0o000),
    ("home/artifactstore.db", 0o400),
    ("home/artifactstore.db", 0o000),
    ("home/artifactstore.db.lock", 0o400),
    ("home/storage", 0o500),
    ("home/storage", 0o000),
    ("home/storage/artifactstore.json", 0o000),
    ("home/storage/blake3", 0o500),
    ("home/storage/blake3", 0o000),
    ("home/storage/tmp", 0o500),
    ("elsewhere/second", 0o500),
    ("elsewhere/second", 0o000),
    ("elsewhere/second/blake3", 0o500),
    ("tree", 0o000),
    ("tree/a", 0o000),
    ("tree/a/new.json", 0o000),
)


@dataclass(frozen=True, slots=True)
class NearlyFull:
    """A row on a disk with so many pages left; -1 to find out how many it needs."""

    row: str
    pages: int = -1


@dataclass(frozen=True, slots=True)
class ReadOnly:
    """A row on a read-only medium."""

    row: str


@dataclass(frozen=True, slots=True)
class Forbidden:
    """A row that may not touch something, by its path in the place and the mode that it has."""

    row: str
    path: str
    mode: int


@pytest.fixture
def can_mount(tmp_path: Path) -> None:
    """Skips where no file system can be mounted."""
    with mounted(tmp_path / "trial"):
        pass


@pytest.mark.usefixtures("can_mount")
def test_a_disk_that_is_nearly_full(drill: Drill, campaign: Campaign) -> None:
    needed = campaign.verdicts([NearlyFull(row.name) for row in CALLS], pages_needed)
    assert [verdict.violation for verdict in needed if verdict.violation] == []
    for row, verdict in zip(CALLS, needed, strict=True):
        chosen = drill.sample([NearlyFull(row.name, pages) for pages in range(int(verdict.said))], at_most=3)
        judge(drill, "full disks", campaign.verdicts(chosen, run_on_full_disk), all_fire=False)


def test_without_the_right_to_touch_something(drill: Drill, campaign: Campaign) -> None:
    pairs = [Forbidden(row.name, path, mode) for row in CALLS for path, mode in FORBIDDEN]
    chosen = drill.sample(pairs, at_most=30)
    judge(drill, "missing rights", campaign.verdicts(chosen, run_without_rights), all_fire=False)


@pytest.mark.usefixtures("can_mount")
def test_a_read_only_medium(drill: Drill, campaign: Campaign) -> None:
    chosen = [ReadOnly(row.name) for row in CALLS]
    judge(drill, "read-only media", campaign.verdicts(chosen, run_on_read_only_medium))


def pages_needed(place: Place, point: NearlyFull) -> Verdict:
    """The fewest pages with which a row happens."""
    row = ROWS[point.row]

    def happens(pages: int) -> bool:
        with on_a_disk(place) as (there, disk):
            still = there.still(days=row.days)
            fill(disk, leave=pages * PAGE)
            return refusal(row, still) is None

    low, high = 0, 16
    while not happens(high):
        low, high = high + 1, 2 * high
        assert high <= 8 * MIB // PAGE, f"{row.name} is refused with {low - 1} pages"
    while low < high:
        middle = (low + high) // 2
        if happens(middle):
            high = middle
        else:
            low = middle + 1
    return Verdict(True, str(low))


def run_on_full_disk(place: Place, point: NearlyFull) -> Verdict:
    """Let the disk be full in the midst of the row; then make room."""
    row = ROWS[point.row]
    with on_a_disk(place) as (there, disk):
        still = there.still(days=row.days)
        ballast = fill(disk, leave=point.pages * PAGE)
        refused = refusal(row, still)
        ballast.unlink()
        assert refused is None or refused.code == "disk-full", repr(refused)
        settle(row, there, acknowledged=refused is None)
    return Verdict(refused is not None, repr(refused))


def run_without_rights(place: Place, point: Forbidden) -> Verdict:
    """Do the row without what lets root pass over file modes; then give the mode back."""
    row = ROWS[point.row]
    target = place.root / point.path
    if not target.exists():
        return Verdict(False, "it is not there")
    still = place.still(days=row.days)
    mode = target.stat().st_mode
    target.chmod(point.mode)
    try:
        with unprivileged():
            refused = refusal(row, still)
    finally:
        target.chmod(mode)
    assert refused is None or is_about_access(refused), repr(refused)
    settle(row, place, acknowledged=refused is None)
    return Verdict(refused is not None, repr(refused))


def run_on_read_only_medium(place: Place, point: ReadOnly) -> Verdict:
    """All that reads works there, the row is refused; then make it writable."""
    row = ROWS[point.row]
    with on_a_disk(place) as (there, disk):
        still = there.still(days=row.days)
        remount(disk, "ro")
        refused = refusal(row, still)
        assert refused is not None
        assert is_about_access(refused), repr(refused)
        if not isinstance(row, MigrationCall | MendingCall) and not row.creates:
            can_be_read(still, row)
        remount(disk, "rw")
        settle(row, there, acknowledged=False)
    return Verdict(True, repr(refused))


def can_be_read(place: Place, row: ChangingCall) -> None:
    """Everything that only reads works, and finds nothing but that the place cannot be written."""
    with place.open() as store:
        findings = [f"{found.part}: {found.what}" for found in store.fsck(read=True).findings]
        surplus = [line for line in findings if not is_left_over(line, row, acknowledged=False)]
        assert [line for line in surplus if "not readable and writable" not in line] == []
        assert store.replay(check=True).identical
        for path, data in KEPT.items():
            assert store.read_file(place.noted("kept"), path) == data, path


@contextlib.contextmanager
def on_a_disk(place: Place) -> Iterator[tuple[Place, Path]]:
    """The place on a disk of its own."""
    with mounted(place.root.with_name(f"{place.root.name}-disk")) as disk:
        shutil.copytree(place.root, disk / "place")
        yield Place(disk / "place"), disk


def refusal(row: ChangingCall, place: Place) -> ArtifactStoreError | None:
    """Do the row; what it was refused with."""
    try:
        row.run(place)
    except ArtifactStoreError as error:
        return error
    return None


def is_about_access(error: ArtifactStoreError) -> bool:
    """Whether an error says that something may not be touched."""
    return isinstance(error, AccessError) or error.code == "backend-missing"


def settle(row: ChangingCall, place: Place, *, acknowledged: bool) -> None:
    """Look, do the row again, look again, clean up."""
    check(place, row, acknowledged=acknowledged)
    row.again(place)
    check(place, row, acknowledged=True)
    assert_tidy(place, row)
