"""Two real processes on one store, driven step by step through every pair of calls that may meet."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from crash.encounters import attempt, conclude, drilled, workers
from crash.interleaving import END, Schedule
from crash.pairs import PAIRS, ROWS
from crash.place import Place

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import ProcessPoolExecutor
    from pathlib import Path

    from crash.meeting import Pair
    from crash.report import Drill

NAME = "interleavings"
SAMPLE = 6  # schedules of a pair without --full


@pytest.fixture(scope="session")
def pool() -> Iterator[ProcessPoolExecutor]:
    """One for all pairs."""
    with workers() as running:
        yield running


def prepared(pair: Pair, root: Path) -> Place:
    place = Place(root / "prepared")
    place.root.mkdir()
    pair.set_up(place)
    return place


def test_the_drill_sees_the_steps_of_a_gc(pool: ProcessPoolExecutor, scratch: Path) -> None:
    name = "push x gc, expired"
    outcome = pool.submit(attempt, name, Schedule(1, ()), prepared(ROWS[name], scratch)).result()
    assert not outcome.trouble
    # The release of one package, the removal of its two objects, and nothing that is left.
    steps = [step.partition(" ")[0] for step in outcome.steps[1]]
    assert [step for step in steps if step in {"begin", "unlink", "commit"}] == [
        "begin", "commit", "begin", "unlink", "unlink", "commit", "begin", "commit",
    ]  # fmt: skip


OPENS, PLACES, TAKES_OVER, UNLINKS = "open blake3", "link blake3", "rename blake3", "unlink blake3"
LOCKS = "lock of an upload"
CHOSEN: tuple[tuple[str, Schedule], ...] = (
    # A gc dies in the removal beside an ingest, which costs bytes in simpler protocols.
    ("push x gc, expired", Schedule(0, ("begin", UNLINKS, 0, 2, 0), dies=True)),
    ("ingest of files x gc, expired", Schedule(0, (PLACES, "commit", "begin", "commit", 0), dies=True)),
    # Whoever holds the bytes, or the package, comes in between what a gc has seen and what it does.
    ("push x gc, expired", Schedule(1, (UNLINKS, END))),
    ("hold x gc, expired", Schedule(1, ("begin", END))),
    # And a gc between what an ingest has seen and what it names.
    ("push x gc, expired", Schedule(0, ("begin", END))),
    ("ingest of files x gc, expired", Schedule(0, (PLACES, END))),
    # From here on each lost something once, or accused somebody without reason.
    # A clean-up removes, or has locked, the staging folder that was made a moment ago.
    ("ingest of files x orphans, orphaned", Schedule(0, ("open tmp", END))),
    ("ingest of files x orphans, orphaned", Schedule(0, ("open tmp", "rmdir tmp"))),
    # A gc takes the bytes while they are opened: the package is collected, not damaged.
    ("read x gc, expired", Schedule(0, (OPENS, END))),
    ("export x gc, expired", Schedule(0, (OPENS, END))),
    ("gc x orphans, expired", Schedule(1, ("stat blake3", END))),
    ("verify x gc, expired", Schedule(0, (OPENS, END))),
    # What is bad when it is read may be whole when that is recorded.
    ("verify x gc and push, expired", Schedule(0, (OPENS, "mkdir tmp", "begin", END))),
    ("verify x repair, damaged", Schedule(0, ("begin", END))),
    ("verify x push, damaged", Schedule(0, ("begin", END))),
    # The copy goes between two looks at it.
    ("repair x gc, expired and damaged", Schedule(0, (OPENS, 0, OPENS, 0, OPENS, END))),
    ("copy x gc, expired", Schedule(0, (OPENS, END))),
    # What the target had is removed before the copy can name it.
    ("copy x gc, copied for another", Schedule(0, ("begin", END))),
    # Two calls mend one object; the second one dies when it has set aside what the first one has written.
    ("push x push, truncated", Schedule(1, ("barrier", END, TAKES_OVER, 0, 1, 0), dies=True)),
    # Two make the store; one looks for the marker of the root before the other one claims and uses it.
    ("first push x first push", Schedule(0, ("attach", 0, 1, END))),
    # A slow request to begin comes behind what a quicker one of its key has sent.
    ("begin of an upload x begin of an upload and append, package for an upload", Schedule(0, (LOCKS, END))),
    # The file that a request has opened to lock it is removed, and another one has its name.
    ("append x cancel and begin anew, empty upload", Schedule(0, (LOCKS, END))),
    # What is over when it is looked at has been gone on with before it is locked.
    ("append x expiry, upload about to expire", Schedule(1, (LOCKS, END))),
    # An old program goes on after the migration.
    ("migrate x push by the program before, old store", Schedule(1, ("begin", END))),
)


@pytest.mark.parametrize(("name", "schedule"), CHOSEN, ids=[name for name, _ in CHOSEN])
def test_chosen_interleavings(
    pool: ProcessPoolExecutor, scratch: Path, name: str, schedule: Schedule
) -> None:
    outcome = pool.submit(attempt, name, schedule, prepared(ROWS[name], scratch)).result()
    assert outcome.met
    assert not outcome.trouble, outcome.trouble


@pytest.mark.slow
@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.name)
def test_every_interleaving_of_two_calls(
    pool: ProcessPoolExecutor, scratch: Path, drill: Drill, pair: Pair
) -> None:
    conclude(drill, NAME, drilled(pool, drill, pair, prepared(pair, scratch), sample=SAMPLE))
