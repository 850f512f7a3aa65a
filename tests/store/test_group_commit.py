"""Small calls of several threads that are committed together."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from artifactstore import IntegrityError, acknowledged, group_commit
from artifactstore.events import PACKAGE_CREATED
from store.harness import SAID

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future

    from artifactstore import Store
    from store.harness import Home

CALLS = 6
PATIENCE = 30


class _Queue(deque[object]):
    """The queue of those who want to write, which tells when it has the length that is waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.grown = threading.Condition()

    def append(self, place: object, /) -> None:
        super().append(place)
        with self.grown:
            self.grown.notify_all()


@contextlib.contextmanager
def queued(store: Store, *calls: Callable[[], object]) -> Iterator[list[Future[object]]]:
    """Make calls that all wait, in this order, until the block ends."""
    database = store._database
    queue = _Queue()
    database._turns._queue = queue
    with ThreadPoolExecutor(len(calls)) as pool, database.write():
        results = []
        for number, call in enumerate(calls, 1):
            results.append(pool.submit(call))
            with queue.grown:
                assert queue.grown.wait_for(lambda n=number: len(queue) >= n, PATIENCE)  # type: ignore[misc]
        yield results


def create(store: Store, name: str) -> Callable[[], str]:
    return lambda: store.create_package(**{**SAID, "name": name})


@pytest.fixture
def commits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The last sequence of each commit, of groups that end only when nobody waits."""
    monkeypatch.setattr(group_commit, "_LONGEST", float("inf"))
    seen: list[int] = []
    note = acknowledged.note

    def observed(descriptor: int, head: acknowledged.Head) -> None:
        seen.append(head.sequence)
        note(descriptor, head)

    monkeypatch.setattr(acknowledged, "note", observed)
    return seen


def names(store: Store) -> list[str]:
    """The names of all packages, in the order of the log."""
    return [str(event.payload["name"]) for event in store.events() if event.type == PACKAGE_CREATED]


def test_calls_that_wait_are_one_commit_in_the_order_in_which_they_came(
    store: Store, commits: list[int]
) -> None:
    before = store.events()[-1].sequence
    with queued(store, *(create(store, f"{n}") for n in range(CALLS))) as results:
        pass
    assert len({result.result() for result in results}) == CALLS
    assert commits == [before, before + CALLS]
    assert names(store) == [f"{n}" for n in range(CALLS)]
    assert store.replay(check=True).identical


def test_the_next_call_alone_is_a_commit_of_its_own(store: Store, commits: list[int]) -> None:
    with queued(store, create(store, "one"), create(store, "two")):
        pass
    commits.clear()
    store.create_package(**SAID)
    assert len(commits) == 1


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
@pytest.mark.parametrize("place", range(CALLS))
def test_one_that_fails_undoes_what_it_did_and_nothing_else(
    store: Store, commits: list[int], place: int, error: type[BaseException]
) -> None:
    store.create_package(**{**SAID, "name": "before"})
    commits.clear()

    def failing() -> str:
        with store._transaction("ada", shares=True) as transaction:
            transaction.connection.execute("DELETE FROM artifact_packages")
            raise error

    calls = [create(store, f"{n}") for n in range(CALLS)]
    calls[place] = failing
    with queued(store, *calls) as results:
        pass
    with pytest.raises(error):
        results[place].result()
    kept = [n for n in range(CALLS) if n != place]
    assert len({results[n].result() for n in kept}) == CALLS - 1
    assert names(store) == ["before", *(f"{n}" for n in kept)]
    assert len(commits) == 2  # that of the one they wait for, and theirs
    assert store.replay(check=True).identical


def test_what_does_more_than_append_is_committed_alone(store: Store, commits: list[int]) -> None:
    package = store.create_package(**SAID)
    commits.clear()
    calls = [
        create(store, "one"),
        lambda: store.apply_hold(package, reason="r", actor="ada"),
        create(store, "two"),
    ]
    with queued(store, *calls) as results:
        pass
    assert all(result.result() for result in results)
    assert len(commits) == 4


def test_a_commit_that_fails_is_an_error_of_each_call_and_leaves_nothing(store: Store, home: Home) -> None:
    store.create_package(**SAID)
    before = home.snapshot()
    writer = store._database._writer
    assert writer is not None
    with queued(store, *(create(store, f"{n}") for n in range(CALLS))) as results:
        answers = iter([False])  # the lock itself is a transaction too, which commits
        writer.set_commit_hook(lambda: next(answers, True))
    errors = [result.exception() for result in results]
    writer.set_commit_hook(None)
    assert len({id(error) for error in errors}) == CALLS
    assert {type(error) for error in errors} == {IntegrityError}
    assert home.snapshot() == before
    store.create_package(**SAID)
    assert store.replay(check=True).identical
