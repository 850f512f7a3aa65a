"""Every changing call with its objects on a real S3 server: killed before each step, and beside others."""

from __future__ import annotations

import os
import re
import traceback
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import pytest
from crash.calls import CALLS, ROWS
from crash.changing_call import ChangingCall, check
from crash.encounters import attempt, conclude, drilled, workers
from crash.interleaving import END, Process, Schedule
from crash.pairs import PAIRS
from crash.pairs import ROWS as PAIRS_BY_NAME
from crash.points import Verdict, judge
from crash.tidiness import assert_tidy

from s3.drill_place import LockingPlace, S3Place, VersionedPlace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import ProcessPoolExecutor
    from pathlib import Path

    from crash.meeting import Pair
    from crash.report import Drill

    from s3.places import Server

POINTS = 3  # of a row without --full
SCHEDULES = 1  # of a pair without --full
TWO_TURNS, MORE_TURNS = 60, 20  # of a pair in a full run
ACKNOWLEDGED = "acknowledged"
# Rows that lock objects, or delete in a place with locks; the shortest two in every run.
LOCKING = (
    "hold",
    "release",
    *(
        pytest.param(name, marks=pytest.mark.slow)
        for name in (
            "finalize",
            "push",
            "push of what is there",
            "extend",
            "copy",
            "repair",
            "gc",
        )
    ),
)
COUNTED = re.compile("blake3|delete_objects|commit")
REMOVES = re.compile("(delete|list)_object")


@dataclass(frozen=True)
class Killed:
    """Kill a row right before one of its steps.

    Args:
        number: of the step; all of them are done if there is no such.
        steps: what the row did before it was killed.
    """

    row: str
    number: int | str
    steps: tuple[str, ...] = ()


def steps_of(row: str, prepared: S3Place) -> list[str]:
    """What a row does when nobody kills it, each step that others can see."""
    steps, acknowledged = do(row, prepared.copied(prepared.root.with_name(f"whole-{os.getpid()}")), END)
    assert acknowledged
    return steps


def do(row: str, place: S3Place, until: int | str) -> tuple[list[str], bool]:
    """Do so many steps of a row and die; says which they were, and whether the call had returned."""
    still = place.still(days=ROWS[row].days)
    said = place.root / ACKNOWLEDGED

    def body(begin: Callable[[], None]) -> object:
        begin()
        return ROWS[row].run(still, said.touch)

    process = Process(body)
    process.go(until)
    process.kill()
    acknowledged = said.exists()
    if process.answer is not None:
        assert acknowledged, process.answer
    return process.taken, acknowledged


def kill(row: str, prepared: S3Place, number: int) -> Verdict:
    """Kill the row before a step; then look, do it again, look again, clean up."""
    point = f"{row}, before step {number}"
    place = prepared.copied(prepared.root.with_name(f"{prepared.root.name}-{os.getpid()}"))
    try:
        steps, acknowledged = do(row, place, number)
        point += f" after {', '.join(steps)}"
        check(place, ROWS[row], acknowledged=acknowledged)
        ROWS[row].again(place)
        check(place, ROWS[row], acknowledged=True)
        if not isinstance(place, LockingPlace):  # there what nobody needs stays until its lock ends
            assert_tidy(place, ROWS[row])
    except Exception:  # noqa: BLE001 - the drill goes on and shows all of them
        return Verdict(True, "", f"{point}:\n{traceback.format_exc()}")
    finally:
        place.remove()
    return Verdict(len(steps) == number, "")


@pytest.fixture(scope="module")
def pool() -> Iterator[ProcessPoolExecutor]:
    """One for all rows and pairs."""
    with workers() as running:
        yield running


@pytest.fixture
def place(start: Callable[[str], Server], tmp_path: Path) -> Iterator[S3Place]:
    """A fresh place on the quicker one of the servers."""
    made = S3Place.fresh(tmp_path / "prepared", start("seaweedfs"))
    made.root.mkdir()
    yield made
    made.remove()


def test_the_drill_sees_the_requests_of_calls(pool: ProcessPoolExecutor, place: S3Place) -> None:
    seen = {}
    for number, name in enumerate(("push", "ingest large file", "gc")):
        prepared = S3Place.fresh(place.root.with_name(f"prepared-{number}"), place.server)
        prepared.root.mkdir()
        ROWS[name].set_up(prepared)
        steps = pool.submit(steps_of, name, prepared).result()
        prepared.remove()
        seen[name] = [step.partition(" ")[0] for step in steps if COUNTED.search(step)]
    assert seen == {
        # Three small objects that are new, among them the manifest, and one that is there.
        "push": ["put_object", "head_object", "put_object", "put_object", "commit"],
        "ingest large file": [
            "head_object",
            "create_multipart_upload",
            "upload_part",
            "complete_multipart_upload",
            "head_object",
            "commit",
        ],
        # The release; the removal of three objects; that nothing is left.
        "gc": ["commit", "delete_objects", "commit", "commit"],
    }


CHOSEN: tuple[tuple[str, Schedule], ...] = (
    # A gc dies in the removal beside an ingest.
    ("push x gc, expired", Schedule(0, ("begin", "delete_objects", 0, 2, 0), dies=True)),
    ("push x gc, expired", Schedule(0, ("head_object", 1, END))),
    # Two send the same bytes; one has looked for them when the other one has committed.
    ("push x push", Schedule(0, ("put_object", END))),
    # A gc takes the bytes while they are read.
    ("verify x gc, expired", Schedule(0, ("get_object blake3", END))),
    ("copy x gc, expired", Schedule(0, ("get_object blake3", END))),
    # It takes a damaged object that a repair has just looked at, to set it aside.
    ("repair x gc, expired and damaged", Schedule(0, ("copy_object", END))),
    ("repair x gc, expired and damaged", Schedule(0, ("put_object", END))),
)


@pytest.mark.parametrize(("name", "schedule"), CHOSEN, ids=[name for name, _ in CHOSEN])
def test_chosen_interleavings(
    pool: ProcessPoolExecutor, place: S3Place, name: str, schedule: Schedule
) -> None:
    PAIRS_BY_NAME[name].set_up(place)
    outcome = pool.submit(attempt, name, schedule, place).result()
    assert outcome.met
    assert not outcome.trouble, outcome.trouble


@pytest.mark.slow
@pytest.mark.parametrize("row", CALLS, ids=lambda row: row.name)
def test_killed_before_each_step(
    pool: ProcessPoolExecutor, place: S3Place, drill: Drill, row: ChangingCall
) -> None:
    row.set_up(place)
    steps = pool.submit(steps_of, row.name, place).result()
    chosen = drill.sample(range(1, len(steps)), at_most=POINTS)
    verdicts = list(pool.map(partial(kill, row.name, place), chosen))
    judge(drill, "kill points over S3", verdicts)


@pytest.fixture
def locking_place(start: Callable[[str], Server], tmp_path: Path) -> Iterator[LockingPlace]:
    """A fresh place with Object Lock on the other one of the servers."""
    made = LockingPlace.fresh(tmp_path / "prepared", start("ceph"))
    made.root.mkdir()
    yield made
    made.remove()


@pytest.mark.parametrize("row", LOCKING)
def test_a_killed_call_leaves_no_lock_weaker_than_the_log(
    pool: ProcessPoolExecutor, locking_place: LockingPlace, drill: Drill, row: str
) -> None:
    # What follows a kill asks fsck, which compares the locks of the server with the log.
    ROWS[row].set_up(locking_place)
    steps = pool.submit(steps_of, row, locking_place).result()
    assert any("put_object_retention" in step or "legal_hold" in step for step in steps) == (row != "gc")
    chosen = drill.sample(range(1, len(steps)), at_most=POINTS)
    verdicts = list(pool.map(partial(kill, row, locking_place), chosen))
    judge(drill, "kill points over S3 with locks", verdicts)


@pytest.fixture(params=["seaweedfs", "ceph"])
def versioned_place(
    request: pytest.FixtureRequest, start: Callable[[str], Server], tmp_path: Path
) -> Iterator[VersionedPlace]:
    """A fresh place in a bucket with versions on each of the servers."""
    made = VersionedPlace.fresh(tmp_path / "prepared", start(request.param))
    made.root.mkdir()
    yield made
    made.remove()


@pytest.mark.slow
def test_after_a_killed_gc_only_what_is_gone_counts_as_freed(
    pool: ProcessPoolExecutor, versioned_place: VersionedPlace, drill: Drill
) -> None:
    ROWS["gc"].set_up(versioned_place)
    steps = pool.submit(steps_of, "gc", versioned_place).result()
    # What is hidden, or gone in part, is the next gc's.
    chosen = [number for number, step in enumerate(steps) if REMOVES.match(step)]
    verdicts = list(pool.map(partial(kill, "gc", versioned_place), chosen))
    judge(drill, "kill points over S3 with versions", verdicts)


@pytest.mark.slow
@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.name)
def test_interleavings_of_two_calls(
    pool: ProcessPoolExecutor, place: S3Place, drill: Drill, pair: Pair
) -> None:
    pair.set_up(place)
    outcomes = drilled(pool, drill, pair, place, sample=SCHEDULES, two_turns=TWO_TURNS, more_turns=MORE_TURNS)
    conclude(drill, "interleavings over S3", outcomes)
