"""Worker processes: they only ever help, and whatever becomes of them the results are right and in order."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, Any

import pytest

from artifactstore.workers import Job, Workers

if TYPE_CHECKING:
    from collections.abc import Callable

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
ITEMS = [list(range(start, start + 50)) for start in range(0, 5000, 50)]
BAD = 1700  # the first number of an item that goes wrong

pytestmark = pytest.mark.skipif(CORES < 2, reason="one core has no worker processes")


def doubling(_tag: str) -> Callable[[list[int]], Any]:
    """What a worker does: it doubles, and says who did it."""
    return lambda item: (os.getpid(), [2 * number for number in item])


def failing(_tag: str) -> Callable[[list[int]], Any]:
    """A worker that cannot do one item."""

    def answer(item: list[int]) -> Any:
        if item[0] == BAD:
            raise ValueError(item)
        return os.getpid(), [2 * number for number in item]

    return answer


def dying(_tag: str) -> Callable[[list[int]], Any]:
    """A worker that is killed in the middle."""

    def answer(item: list[int]) -> Any:
        if item[0] >= BAD:
            os.kill(os.getpid(), signal.SIGKILL)
        return os.getpid(), [2 * number for number in item]

    return answer


class Recorder:
    """A job that notes who did what."""

    def __init__(self, function: str, *, padding: str = "") -> None:
        self.here: list[int] = []
        self.again: list[int] = []
        self.elsewhere: set[int] = set()
        self.job: Job[list[int], list[int]] = Job(
            here=self._here,
            again=self._again,
            request=lambda item: item,
            receive=self._receive,
            function=f"test_workers:{function}",
            arguments=(padding,),
        )

    def _here(self, item: list[int]) -> list[int]:
        self.here.append(item[0])
        return [2 * number for number in item]

    def _again(self, item: list[int]) -> list[int]:
        self.again.append(item[0])
        return [2 * number for number in item]

    def _receive(self, _item: list[int], answer: Any) -> list[int]:
        process, doubled = answer
        self.elsewhere.add(process)
        return list(doubled)

    def run(self, items: list[list[int]] = ITEMS) -> None:
        """Do all items; the results are right and in order."""
        with Workers(self.job) as workers:
            done = list(workers.spread(items))
        assert done == [(item, [2 * number for number in item]) for item in items]


def is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def test_workers_share_the_work_and_end_with_it() -> None:
    job = Recorder("doubling")
    job.run()
    assert job.here
    assert job.elsewhere
    assert os.getpid() not in job.elsewhere
    assert job.again == []
    assert not any(map(is_alive, job.elsewhere))


def test_a_few_files_are_done_here() -> None:
    job = Recorder("doubling")
    job.run(ITEMS[:8])
    assert job.elsewhere == set()
    assert len(job.here) == 8


def test_what_a_worker_cannot_do_is_done_here() -> None:
    job = Recorder("failing")
    # Whoever gets the bad item: a worker fails at it, this process does not.
    job.run()
    assert set(job.again) <= {BAD}
    assert job.elsewhere


def test_a_worker_that_is_killed_leaves_nothing_undone() -> None:
    job = Recorder("dying")
    job.run()
    assert job.again
    assert min(job.again) >= BAD
    assert not any(map(is_alive, job.elsewhere))


def test_a_function_that_is_not_there_changes_nothing() -> None:
    job = Recorder("nothing")
    job.run()
    assert job.elsewhere == set()


@pytest.mark.parametrize("executable", ["/nowhere/python", "/usr/bin/uwsgi", "", None])
def test_without_an_interpreter_everything_is_done_here(
    monkeypatch: pytest.MonkeyPatch, executable: str | None
) -> None:
    monkeypatch.setattr(sys, "executable", executable)
    job = Recorder("doubling")
    job.run()
    assert job.elsewhere == set()
    assert len(job.here) == len(ITEMS)


def test_requests_larger_than_the_pipe_do_not_block() -> None:
    # Marshalled, an item of these takes 2.5 MB: several of them never fit into a pipe together.
    large = [list(range(start, start + 500_000)) for start in range(0, 3_000_000, 500_000)]
    job = Recorder("doubling")
    job.run([*ITEMS[:10], *large])


def test_arguments_larger_than_the_pipe_do_not_block() -> None:
    job = Recorder("doubling", padding="x" * (3 << 20))
    job.run()
    assert job.elsewhere


def test_an_error_ends_the_workers() -> None:
    job = Recorder("doubling")

    def stop_early() -> None:
        with Workers(job.job) as workers:
            for item, _ in workers.spread(ITEMS):
                if item[0] == BAD:
                    raise RuntimeError

    with pytest.raises(RuntimeError):
        stop_early()
    assert not any(map(is_alive, job.elsewhere))
