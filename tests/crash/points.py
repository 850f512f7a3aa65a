"""Every system call of every row as a point where a fault can strike, tried on all cores.

A row is prepared once; each point gets a copy of that place and a process of its own, forked from one that
has done the row before, so that importing modules is no part of it.
"""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import os
import shutil
import tempfile
import traceback
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from artifactstore.objects import durability
from crash.calls import ROWS
from crash.changing_call import ChangingCall, check
from crash.cores import share
from crash.place import Place
from crash.tracing import begin_faults, end_faults, trace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    from crash.report import Drill
    from crash.tracing import Decide

    # Does a row at a place; says what came of it.
    Attempt = Callable[[ChangingCall, Place, Callable[..., object]], Any]

ACKNOWLEDGED = "acknowledged"
# How a batch becomes durable, by the KiB that other programs seem to have left to write.
WAYS = {"one barrier": 0, "each file": 1 << 30}
_TRIES = 5  # threads do not make the same calls in each run: the last point of one may be missing in the next


@dataclass(frozen=True, slots=True)
class Point:
    """Right before one system call of a row.

    Args:
        way: how batches become durable.
        number: of the call among those that are counted.
        call: its name.
    """

    row: str
    way: str
    number: int
    call: str

    def __str__(self) -> str:
        return f"{self.row} ({self.way}), before {self.call} (call {self.number})"


@dataclass(frozen=True, slots=True)
class Done:
    """What a traced process did.

    Args:
        calls: names of its system calls.
        code: exit code; the negative number of the signal that ended it.
        said: the lines that the attempt said.
    """

    calls: list[str]
    code: int
    said: list[str]

    @property
    def acknowledged(self) -> bool:
        """Whether the call had returned."""
        return ACKNOWLEDGED in self.said


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a try.

    Args:
        fired: the fault struck.
        said: what the call under the fault said.
        violation: the promise that was broken, if one was.
    """

    fired: bool
    said: str
    violation: str | None = None


class Campaign:
    """Rows with all their points, and the processes that try them."""

    def __init__(self, folder: Path, workers: ProcessPoolExecutor) -> None:
        self._folder = folder
        self._workers = workers
        self._found: dict[str, list[Point]] = {}

    def points(self, row: ChangingCall) -> list[Point]:
        """All points of a row, for each way of making batches durable that differs."""
        if row.name not in self._found:
            self._found[row.name] = self._workers.submit(_points, self._place(row), row.name).result()
        return self._found[row.name]

    def verdicts(self, points: Sequence[Any], strike: Callable[[Place, Any], Verdict]) -> list[Verdict]:
        """Let a fault strike at each of the points.

        Args:
            points: what `strike` understands, not only `Point`; each names its `row`.
            strike: gets a copy of the row's place; whatever it raises is a violation.
        """
        places = [self._place(ROWS[point.row]) for point in points]
        several = min(len(points) // 20 + 1, 4)
        return list(self._workers.map(functools.partial(_struck, strike), places, points, chunksize=several))

    def _place(self, row: ChangingCall) -> Place:
        place = Place(self._folder / row.name)
        if not place.root.exists():
            place.root.mkdir()
            row.set_up(place)
        return place


@contextlib.contextmanager
def campaign() -> Iterator[Campaign]:
    """A campaign in memory where there is some: a process that dies takes no page cache with it."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108 - only where to look
    with (
        tempfile.TemporaryDirectory(prefix="artifactstore-drill-", dir=memory) as folder,
        ProcessPoolExecutor(share(), mp_context=multiprocessing.get_context("spawn")) as workers,
    ):
        yield Campaign(Path(folder), workers)


def judge(drill: Drill, name: str, verdicts: Sequence[Verdict], *, all_fire: bool = True) -> None:
    """Record the figures of a drill, and fail it for a violation or a fault that did not strike."""
    violations = [verdict.violation for verdict in verdicts if verdict.violation is not None]
    fired = sum(verdict.fired for verdict in verdicts)
    drill.count(name, tried=len(verdicts), fired=fired, violations=len(violations))
    assert violations == [], "\n".join(violations)
    assert fired == len(verdicts) or not all_fire


# What the processes do


def done(place: Place, row: str, way: str, decide: Decide, attempt: Attempt | None = None) -> Done:
    """Do a row in a traced process.

    Args:
        place: of the row.
        decide: what befalls each system call.
        attempt: what the process does; the row if not given.
    """
    still = place.still(days=ROWS[row].days)
    reading, writing = os.pipe()

    def start() -> int:
        def say(text: str = ACKNOWLEDGED) -> None:
            try:
                os.write(writing, f"{text}\n".encode())
            except OSError:  # the fault has met the drill itself
                end_faults()
                os.write(writing, f"{text}\n".encode())

        with _made_durable(way):
            begin_faults()
            try:
                if attempt is None:
                    ROWS[row].run(still, say)
                else:
                    attempt(ROWS[row], still, say)
            except Exception:  # noqa: BLE001 - the drill must hear of it
                end_faults()
                say(traceback.format_exc())
                return 1
            end_faults()
        return 0

    try:
        ending = trace(start, decide)
    finally:
        os.close(writing)
    with open(reading, encoding="utf-8") as said:
        return Done(ending.calls, ending.code, said.read().splitlines())


def _points(place: Place, row: str) -> list[Point]:
    found: dict[tuple[str, ...], str] = {}
    for way in WAYS:
        _warm_up(place, row, way)
        with _copied(place) as copy:
            whole = done(copy, row, way, lambda _number, _call: None)
        assert whole.acknowledged, whole
        found.setdefault(tuple(whole.calls), way)
    return [
        Point(row, way, number, call) for calls, way in found.items() for number, call in enumerate(calls)
    ]


def _struck(strike: Callable[[Place, Any], Verdict], place: Place, point: Any) -> Verdict:
    tries = 1
    if isinstance(point, Point):
        _warm_up(place, point.row, point.way)
        tries = _TRIES
    for _ in range(tries):
        with _copied(place) as copy:
            try:
                verdict = strike(copy, point)
            except Exception:  # noqa: BLE001 - the drill goes on and shows all of them
                return Verdict(True, "", f"{point}:\n{traceback.format_exc()}")
        if verdict.fired:
            break
    return verdict


@functools.cache
def _warm_up(place: Place, row: str, way: str) -> None:
    """Do a row once in this process, which imports what it needs."""
    with _copied(place) as copy, _made_durable(way):
        ROWS[row].run(copy)
        check(copy, ROWS[row], acknowledged=True)


@contextlib.contextmanager
def _copied(place: Place) -> Iterator[Place]:
    with tempfile.TemporaryDirectory(prefix="copy-", dir=place.root.parent) as folder:
        shutil.copytree(place.root, folder, dirs_exist_ok=True)
        yield Place(Path(folder))


@contextlib.contextmanager
def _made_durable(way: str) -> Iterator[None]:
    """Let batches become durable in one way, whatever other programs have left to write."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(durability, "dirty_kib", lambda: WAYS[way])
        yield
