"""One changing call in a process of its own, as `python -m crash.worker NAME ROOT`; says when it returned."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from crash.calls import ROWS, Place

if __name__ == "__main__":
    ROWS[sys.argv[1]].run(Place(Path(sys.argv[2])), lambda: os.write(1, b"acknowledged\n"))
