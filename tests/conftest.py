"""Fixtures for all tests of the store: real files, real SQLite, a clock and ids that repeat."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

pytest.register_assert_rewrite(
    "store.harness",
    "store.doors",
    "cli.harness",
    "client.harness",
    "lifecycle.harness",
    "lifecycle.machine",
    "crash.changing_call",
    "crash.hooks",
    "crash.packages",
    "crash.upkeep",
    "s3.places",
)
pytest_plugins = ["crash.report"]

from store.doors import DOORS, DOORS_IN_ONE_STEP, PYTHON_DOORS, Door  # noqa: E402 - only after assertions are rewritten
from store.harness import EXECUTABLE, TREE, CountedIds, FakeClock, Home, write_tree  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from artifactstore import Store


@pytest.fixture
def clock() -> FakeClock:
    """A clock that the test can set."""
    return FakeClock()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Where the store of the test lives; nothing is there yet."""
    return Home(tmp_path / "home")


@pytest.fixture
def store(home: Home, clock: FakeClock) -> Iterator[Store]:
    """An open, empty store."""
    with home.open(clock=clock, new_id=CountedIds()) as opened:
        yield opened


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A small directory of evidence."""
    return write_tree(tmp_path / "evidence", TREE, executable=EXECUTABLE)


@pytest.fixture(params=DOORS)
def door(request: pytest.FixtureRequest, home: Home) -> Iterator[Door]:
    """An empty store behind each of its doors."""
    with request.param(home) as opened:
        yield opened


@pytest.fixture(params=DOORS_IN_ONE_STEP)
def door_in_one_step(request: pytest.FixtureRequest, home: Home) -> Iterator[Door]:
    """An empty store behind the doors whose calls are one transaction, however many files they take."""
    with request.param(home) as opened:
        yield opened


@pytest.fixture(params=PYTHON_DOORS)
def python_door(request: pytest.FixtureRequest, home: Home) -> Iterator[Door]:
    """An empty store behind the doors for programs."""
    with request.param(home) as opened:
        yield opened
