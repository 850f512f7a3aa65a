"""How many processes a drill starts to be tried at once."""

from __future__ import annotations

import os


def share() -> int:
    """Its part of the cores, if pytest runs in several processes: more would only prepare more often."""
    return max(1, (os.cpu_count() or 1) // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")))
