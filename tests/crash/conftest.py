"""What the drills share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from crash import points
from crash.disks import in_memory

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def campaign() -> Iterator[points.Campaign]:
    """One for all drills: each row is set up once, and its points are found once."""
    with points.campaign() as running:
        yield running


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A folder in memory where there is one: thousands of disks are made, synced and thrown away."""
    with in_memory() as folder:
        yield folder
