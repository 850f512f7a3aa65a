"""What lies where below an object root, and what can be an object there."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os

STAGING = "tmp"  # the folder of an object root in which batches have theirs


def is_object(status: os.stat_result | None, size: int) -> bool:
    """Whether what stands in the place of an object can be it, as far as that is seen without reading."""
    return status is not None and stat.S_ISREG(status.st_mode) and status.st_size == size
