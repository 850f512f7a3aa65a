"""Random walks with faults and clock jumps; each seed is walked in two processes, which say the same."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from store.harness import SAID, Home

from artifactstore import ArtifactStoreError, Store
from crash.faults import DIED, ERRORS, Fault, ended, injected
from crash.model import Walk

if TYPE_CHECKING:
    from crash.report import Drill

STEPS = 50_000  # of a full run
SAMPLE = 150  # steps of a sample: about as many as one seed walks
SEEDS = 2  # walked by one pair of processes in a full run


@dataclass(frozen=True)
class Sum:
    """What happened in some walks."""

    steps: int
    errors: int
    deaths: int


def start(seeds: range, hashing: int) -> subprocess.Popen[str]:
    """Walk some seeds in a process of its own.

    Args:
        hashing: how it orders what Python leaves in no order.
    """
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).parents[1]),
        "PYTHONHASHSEED": str(hashing),
    }
    command = [sys.executable, "-m", "crash.model", *map(str, seeds)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def walk_twice(seeds: range) -> Sum:
    """Walk some seeds in two processes; both must say the same."""
    processes = [start(seeds, hashing) for hashing in (1, 2)]
    one, other = (process.communicate()[0] for process in processes)
    assert [process.returncode for process in processes] == [0, 0], "see what the processes have written"
    assert one == other, "a seed does not replay"
    figures = [[int(number) for number in line.split()[:3]] for line in one.splitlines()]
    return Sum(*(sum(column) for column in zip(*figures, strict=True)))


@pytest.mark.slow
def test_walks_with_faults_and_clock_jumps(drill: Drill) -> None:
    assert [field.name for field in fields(Walk)][:3] == [field.name for field in fields(Sum)]
    wanted, first = STEPS if drill.full else SAMPLE, drill.random.randrange(10**6)
    seeds = SEEDS if drill.full else 1
    steps = errors = deaths = 0
    while steps < wanted:
        found = walk_twice(range(first, first + seeds))
        steps, errors, deaths = steps + found.steps, errors + found.errors, deaths + found.deaths
        first += seeds
    drill.count("model: steps, each seed replayed", tried=steps, fired=steps)
    drill.count("model: errors of the system in a call", tried=errors, fired=errors)
    drill.count("model: deaths in a call", tried=deaths, fired=deaths)


# The faults themselves


def create(home: Home, fault: Fault) -> str | None:
    """Make a package under a fault; the class of the error, if there is one."""
    try:
        with injected(fault), home.open(create=False) as store:
            try:
                store.create_package(**SAID)
            finally:
                fault.over = fault.error is not None
    except (ArtifactStoreError, OSError) as error:
        return type(error).__name__
    return None


def packages(home: Home) -> int:
    """How many there are."""
    with home.open() as store:
        return len(store.list_packages(limit=1000).items)


@pytest.mark.parametrize("error", ERRORS, ids=errno.errorcode.get)
def test_each_call_can_fail_and_the_error_is_told(home: Home, store: Store, error: int) -> None:
    store.close()
    hit, at, count = set(), 0, 0
    while True:
        fault = Fault(at, error)
        raised = create(home, fault)
        count += raised is None
        assert packages(home) == count, (fault.fired, at, raised)
        if fault.fired is None:
            break
        hit.add(fault.fired)
        at += 1
    assert raised is None
    assert {"open", "flock", "xRead", "xWrite", "xSync"} <= hit
    assert at > 50


def test_a_process_can_die_at_each_call(home: Home, store: Store) -> None:
    store.close()
    found = []
    for at in range(0, 200, 9):
        died = ended(lambda at=at: create(home, Fault(at, None)))
        found.append((died, packages(home)))
    deaths = [died for died, _ in found]
    assert deaths == sorted(deaths, reverse=True)
    assert {*deaths} == {True, False}
    assert DIED == 137
    before = [count for died, count in found if died]
    assert before[0] == 0
    assert found[-1][1] > 0
