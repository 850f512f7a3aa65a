"""The floor of a push and of a verify: sha256 of every file below a directory, one core, nothing else."""

from __future__ import annotations

import hashlib
import os
import sys


def main(directory: str) -> None:
    """Read and hash, and print one digest over all."""
    total = hashlib.sha256()
    for folder, _, names in os.walk(directory):
        for name in names:
            with open(os.path.join(folder, name), "rb") as file:
                total.update(hashlib.file_digest(file, "sha256").digest())
    print(total.hexdigest())


if __name__ == "__main__":
    main(sys.argv[1])
