"""What the drills share."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from crash import points

if TYPE_CHECKING:
    from collections.abc import Iterator

MEMORY = Path("/dev/shm")  # noqa: S108 - each test makes a folder of its own there


@pytest.fixture(scope="session")
def campaign() -> Iterator[points.Campaign]:
    """One for all drills: each row is set up once, and its points are found once."""
    with points.campaign() as running:
        yield running


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A folder in memory where there is one: thousands of disks are made, synced and thrown away."""
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        yield Path(folder)
