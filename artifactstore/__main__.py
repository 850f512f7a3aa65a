"""`python -m artifactstore` is the command line."""

from __future__ import annotations

import sys

from artifactstore.cli import main

if __name__ == "__main__":
    sys.exit(main())
