"""Two processes that take turns: each a fork that stops before every step, driven from here.

A `Schedule` says who goes how far before the other one does; run again it gives the same interleaving.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import traceback
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from artifactstore import ArtifactStoreError
from crash.stepping import WAITS, Steps

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator, Sequence
    from multiprocessing.connection import Connection as Pipe

    # Does something, calls the function it is given when the stops shall begin, and says what came of it.
    Body = Callable[[Callable[[], None]], object]

_PATIENCE = 120  # seconds without any step, after which a process hangs: a defect, not a lock
END = "the end"
ACKNOWLEDGED, REFUSED, FAILED = "acknowledged", "refused", "failed"


@dataclass(frozen=True)
class Schedule:
    """Who goes how far before the other one does.

    Args:
        first: which of the two begins, 0 or 1.
        turns: steps of each turn, the two alternating; or the name of the step before which it ends, END for
            all that are left. Afterwards the one whose turn it is goes to its end, then the other one.
        dies: the one whose turn it is after the turns is killed instead of going on.
    """

    first: int
    turns: tuple[int | str, ...]
    dies: bool = False


@dataclass(frozen=True)
class Answer:
    """How a call ended.

    Args:
        kind: acknowledged, refused (an error of ours) or failed (any other error).
        value: what was acknowledged, the code of the refusal, or the traceback.
    """

    kind: str
    value: object


class Process:
    """A fork of this process that runs a body and stops before each step; no store may be open here.

    Args:
        body: what it does.
    """

    def __init__(self, body: Body) -> None:
        self._pipe, there = multiprocessing.Pipe()
        self.taken: list[str] = []
        self.step = ""
        self.answer: Answer | None = None
        self.ended = False
        self._id = os.fork()
        if self._id == 0:
            self._pipe.close()
            _run(body, there)
        there.close()
        self._hear()

    @property
    def waits(self) -> bool:
        """Whether it has just tried to take the write lock in vain."""
        return self.step == WAITS

    def go(self, until: int | str = END) -> None:
        """Do so many steps, or all before one; fewer if it ends or has to wait for the other one."""
        done = 0
        while not self.ended and done != until:
            self.taken.append(self.step)
            self._pipe.send(None)
            self._hear()
            done += 1
            if self.waits or (isinstance(until, str) and self.step.startswith(until)):
                return

    def _hear(self) -> None:
        if not self._pipe.poll(_PATIENCE):
            self.kill()
            raise AssertionError(f"hangs after {self.taken}")
        message = self._pipe.recv()
        if isinstance(message, str):
            self.step = message
        else:
            self.step, self.answer = "", message
            self._end()

    def kill(self) -> None:
        """End it at once, if it has not ended."""
        if not self.ended:
            os.kill(self._id, signal.SIGKILL)
            self._end()

    def _end(self) -> None:
        self.ended = True
        self._pipe.close()
        os.waitpid(self._id, 0)


def answer_of(call: Callable[[], object]) -> Answer:
    """How a call ends."""
    try:
        return Answer(ACKNOWLEDGED, call())
    except ArtifactStoreError as error:
        return Answer(REFUSED, error.code)
    except Exception:  # noqa: BLE001 - whatever it is, the drill reports it
        return Answer(FAILED, traceback.format_exc())


def _run(body: Body, pipe: Pipe) -> None:
    """The life of the fork."""
    try:
        pipe.send(answer_of(partial(body, Steps(pipe).begin)))
    finally:
        os._exit(0)


def start(bodies: tuple[Body, Body]) -> tuple[Process, Process]:
    """Two processes, each of which stands before its first step."""
    return Process(bodies[0]), Process(bodies[1])


def interleave(processes: tuple[Process, Process], schedule: Schedule) -> bool:
    """Run two processes to their ends as the schedule says.

    Returns:
        Whether they met: one had begun and not ended when the other one went, or died.
    """
    try:
        turn = schedule.first
        for until in schedule.turns:
            processes[turn].go(until)
            turn = 1 - turn
        waiting = processes[turn]
        met = not waiting.ended and bool(waiting.taken) and (schedule.dies or bool(processes[1 - turn].taken))
        if schedule.dies:
            waiting.kill()
        _finish(processes, turn)
    finally:
        for process in processes:
            process.kill()
    return met


def _finish(processes: Sequence[Process], turn: int) -> None:
    for one, other in ((processes[turn], processes[1 - turn]), (processes[1 - turn], processes[turn])):
        while not one.ended:
            one.go()
            if one.waits:
                # It cannot go on before the other one has released the lock.
                assert not other.ended, "waits for a lock that nobody holds"
                other.go(1)
                assert not other.waits, "both wait for the lock"


def all_of_two_turns(lengths: tuple[int, int]) -> Iterator[Schedule]:
    """Every schedule in which one stops somewhere and the other one then goes some way, or all of it.

    Args:
        lengths: steps that each of the two takes.
    """
    for first in (0, 1):
        for ahead in range(1, lengths[first]):
            for beside in range(lengths[1 - first] + 1):
                if beside:
                    yield Schedule(first, (ahead, beside))
                yield Schedule(first, (ahead, beside), dies=True)


def some_of_more_turns(lengths: tuple[int, int], choose: random.Random, count: int) -> Iterator[Schedule]:
    """Schedules in which the two alternate three to eight times."""
    for _ in range(count):
        turns = tuple(choose.randint(1, max(2, min(lengths) // 2)) for _ in range(choose.randint(3, 8)))
        yield Schedule(choose.randrange(2), turns, dies=choose.random() < 0.25)
