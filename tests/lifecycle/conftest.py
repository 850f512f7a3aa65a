"""Each test of the lifecycle ends with an fsck that reads all bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

pytest.register_assert_rewrite("lifecycle.harness")

from lifecycle.harness import Life  # noqa: E402 - only after assertions are rewritten

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def life(tmp_path: Path) -> Iterator[Life]:
    """An empty store with two backends; at the end everything agrees but for what the test has planted."""
    life = Life(tmp_path)
    yield life
    life.finish()
