"""An environment for commands in which nothing of the machine's user is seen."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def isolated_environment(home: Path) -> dict[str, str]:
    """Our commands come first in the path, the user data directory is below `home`, nothing is configured."""
    home.mkdir(parents=True, exist_ok=True)
    return {
        "HOME": str(home),
        "XDG_DATA_HOME": str(home / "data"),
        "PATH": f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}",
        "LC_ALL": "C.UTF-8",
        "TERM": "dumb",
        "ARTIFACTSTORE_NO_PROGRESS": "true",
    }
