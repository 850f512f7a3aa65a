"""Interleavings of a pair of calls, each tried on a copy of a prepared place by processes of a pool."""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import os
import traceback
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from crash.cores import share
from crash.interleaving import Schedule, all_of_two_turns, interleave, some_of_more_turns, start
from crash.pairs import ROWS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from crash.meeting import Pair
    from crash.place import Place
    from crash.report import Drill

TWO_TURNS = 400  # schedules of a pair with two turns in a full run: all of them, unless there are more
MORE_TURNS = 100  # and with more than two


@dataclass(frozen=True)
class Outcome:
    """What came of one interleaving.

    Args:
        met: one call stood in its middle when the other one went on.
        steps: what each did.
        trouble: what was not true afterwards.
    """

    schedule: Schedule
    met: bool
    steps: tuple[list[str], list[str]]
    trouble: str = ""


def attempt(name: str, schedule: Schedule, prepared: Place) -> Outcome:
    """One interleaving on a copy of what was prepared, in a process of the pool."""
    pair = ROWS[name]
    place = prepared.copied(prepared.root.with_name(f"{prepared.root.name}-{os.getpid()}"))
    steps: tuple[list[str], list[str]] = [], []
    met, trouble = False, ""
    try:
        one, other = processes = start((partial(pair.one.run, place), partial(pair.other.run, place)))
        steps = one.taken, other.taken
        met = interleave(processes, schedule)
        pair.check(place, (one.answer, other.answer))
    except Exception:  # noqa: BLE001 - the test reports all of them
        taken = [f"{act.name}: {', '.join(done)}" for act, done in zip(pair.acts, steps, strict=True)]
        trouble = "\n".join([f"{name}: {schedule}", *taken, traceback.format_exc()])
    place.remove()
    return Outcome(schedule, met, steps, trouble)


@contextlib.contextmanager
def workers() -> Iterator[ProcessPoolExecutor]:
    """Processes that have everything imported and no store open, so that their forks begin at once."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(share(), context, initializer=gc.freeze) as pool:
        yield pool


def drilled(
    pool: ProcessPoolExecutor,
    drill: Drill,
    pair: Pair,
    prepared: Place,
    *,
    sample: int,
    two_turns: int = TWO_TURNS,
    more_turns: int = MORE_TURNS,
) -> list[Outcome]:
    """Let two calls meet in many ways.

    Args:
        sample: schedules without `--full`.
        two_turns: schedules with two turns in a full run.
        more_turns: and with more than two.
    """
    in_turn = [Schedule(first, ()) for first in (0, 1)]
    alone = list(pool.map(partial(attempt, pair.name, prepared=prepared), in_turn))
    troubles = [outcome.trouble for outcome in alone if outcome.trouble]
    assert not troubles, "\n\n".join(troubles)
    one, other = (max(len(outcome.steps[number]) for outcome in alone) for number in (0, 1))
    every = list(all_of_two_turns((one, other)))
    some = every if len(every) <= two_turns else drill.random.sample(every, two_turns)
    more = some_of_more_turns((one, other), drill.random, more_turns)
    possible = [*some, *more]
    chosen = drill.sample(possible, at_most=sample)
    outcomes = list(pool.map(partial(attempt, pair.name, prepared=prepared), chosen))
    # By chance none of a few may have met: then it is the next one that does.
    for schedule in (each for each in possible if each not in chosen):
        if any(outcome.met for outcome in outcomes):
            break
        outcomes.append(pool.submit(attempt, pair.name, schedule, prepared).result())
    return outcomes


def conclude(drill: Drill, name: str, outcomes: Sequence[Outcome]) -> None:
    """Record the figures of a drill, and fail it for what was not true."""
    troubles = [outcome.trouble for outcome in outcomes if outcome.trouble]
    met = sum(outcome.met for outcome in outcomes)
    drill.count(name, tried=len(outcomes), fired=met, violations=len(troubles))
    assert not troubles, "\n\n".join([f"{len(troubles)} of {len(outcomes)} are bad", *troubles[:3]])
