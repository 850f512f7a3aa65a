"""Each test of the lifecycle ends with an fsck that reads all bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lifecycle.harness import Life

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def life(tmp_path: Path) -> Iterator[Life]:
    """An empty store with two backends; at the end everything agrees but for what the test has planted."""
    life = Life(tmp_path)
    yield life
    life.finish()
