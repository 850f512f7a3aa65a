"""Wild input in bulk: only documented refusals come out, of bounded length, and what is taken is right.

A run as usual takes a part that its seed chooses; with `--full` it takes all.
"""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING

import pytest
from crash.cores import share

from abuse import coverage_guided, fuzzing
from abuse.fuzz_cases import FOUND
from abuse.fuzz_documents import CBOR_DOORS, EXPORT_DOORS, PATH_DOORS
from abuse.fuzz_texts import COMMAND_DOORS, JSON_DOORS, TEXT_DOORS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from crash.report import Drill

    from abuse.fuzzing import Door, Tally

DOORS: tuple[Door, ...] = (
    *CBOR_DOORS,
    *PATH_DOORS,
    *EXPORT_DOORS,
    *JSON_DOORS,
    *TEXT_DOORS,
    *COMMAND_DOORS,
)
BY_NAME = {door.name: door for door in DOORS}
NUMBERS = {door.name: number for number, door in enumerate(DOORS)}


def part(point: tuple[str, int, int, int]) -> Tally:
    """One part of the inputs of a door, in a process of the pool."""
    name, seed, number, count = point
    return fuzzing.run(DOORS, NUMBERS[name], f"{seed} {number}", count)


# Doors, all inputs of a full run for each, inputs of one part, parts of a run as usual for each.
GROUPS = [
    ("CBOR mutants", CBOR_DOORS[:1], 2_000_000, 5_000, 2),
    ("CBOR mutants", CBOR_DOORS[1:2], 2_500_000, 5_000, 2),
    ("CBOR mutants", CBOR_DOORS[2:], 500_000, 5_000, 1),
    ("paths", PATH_DOORS, 1_000_000, 20_000, 2),
    ("exports of paths", EXPORT_DOORS, 20_000, 200, 1),
    ("JSON documents", JSON_DOORS, 60_000, 2_500, 1),
    ("texts of settings and arguments", TEXT_DOORS, 50_000, 1_000, 1),
    ("command lines", COMMAND_DOORS, 5_000, 100, 1),
]


@pytest.fixture(scope="module")
def pool() -> Iterator[ProcessPoolExecutor]:
    """One for all doors."""
    with ProcessPoolExecutor(share(), mp_context=multiprocessing.get_context("spawn")) as running:
        yield running


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "doors", "inputs", "together", "parts"),
    GROUPS,
    ids=[f"{row[0]}-{row[1][0].name}" for row in GROUPS],
)
def test_wild_input_is_taken_rightly_or_refused(
    pool: ProcessPoolExecutor,
    drill: Drill,
    name: str,
    doors: tuple[Door, ...],
    inputs: int,
    together: int,
    parts: int,
) -> None:
    seed = drill.random.randrange(1 << 32)
    points = [
        (door.name, seed, number, together)
        for door in doors
        for number in drill.sample(range(inputs // together), at_most=parts)
    ]
    tallies = {door.name: fuzzing.Tally() for door in doors}
    for point, tally in zip(points, pool.map(part, points), strict=True):
        tallies[point[0]].add(tally)
    failures = [failure for tally in tallies.values() for failure in tally.failures]
    wild = (tally.tried if door in ALWAYS_TAKEN else tally.refused for door, tally in tallies.items())
    drill.count(
        f"fuzzing: {name}",
        tried=sum(tally.tried for tally in tallies.values()),
        fired=sum(wild),
        violations=len(failures),
    )
    assert not failures, "\n\n".join(failures[:5])
    # A door that takes everything, or nothing, is not one at which anything was tried.
    assert [door for door, tally in tallies.items() if not tally.taken] == []
    assert [door for door, tally in tallies.items() if not tally.refused and door not in ALWAYS_TAKEN] == []


ALWAYS_TAKEN = {"export of paths", "secret in a URL"}


@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.name)
def test_each_door_takes_and_refuses(door: Door) -> None:
    tally = fuzzing.run(DOORS, NUMBERS[door.name], "short", 20 if door.name in SLOW else 200)
    assert not tally.failures, tally.failures[0]
    assert tally.taken
    assert tally.refused or door.name in ALWAYS_TAKEN


SLOW = {"export of paths", "command"}


@pytest.mark.slow
@pytest.mark.skipif(not coverage_guided.IS_HERE, reason=coverage_guided.MISSING)
def test_fuzzing_led_by_coverage_finds_nothing(drill: Drill) -> None:
    seconds = 300 if drill.full else 3
    tried = 0
    failures = []
    for name in drill.sample(sorted(coverage_guided.readers()), at_most=3):
        count, failure = coverage_guided.run(name, seconds)
        tried += count
        failures += [f"{name}\n{failure}"] * (failure is not None)
    drill.count("fuzzing led by coverage", tried=tried, fired=tried, violations=len(failures))
    assert not failures, failures[0]


@pytest.mark.parametrize(
    ("door", "value"), [(name, value) for name, values in FOUND.items() for value in values]
)
def test_what_fuzzing_has_found_stays_mended(door: str, value: Any) -> None:
    fuzzing.knock(BY_NAME[door], value)
