"""Where the tests of a run put the files that they hand over."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from pathlib import Path

import pytest

from artifactstore.paths import check_new_path

EVIDENCE = "evidence"
STAGING = pytest.StashKey[Path]()  # where a run with `--artifactstore` collects its files
STAGING_FOR_WORKERS = "artifactstore_staging"  # the same, on its way to a worker of xdist
_LONGEST_NAME = 100  # characters of a folder that is named after a test


class Evidence:
    """Takes the files that one test hands over; they are stored below `evidence/` and the name of the test.

    Args:
        directory: what a test writes here is handed over too.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def add(self, source: str | os.PathLike[str], name: str | None = None) -> Path:
        """Hand over a copy of a file, or of a directory with all its files, as it is now.

        Args:
            name: relative path below the test's directory; the source's own name if not given.
        Raises:
            FileExistsError: the test has handed over something of that name.
            InvalidInputError: the name leaves the directory or cannot be stored.
        """
        target = self._target(Path(source).name if name is None else name)
        if Path(source).is_dir():
            shutil.copytree(source, target, symlinks=True)
        else:
            shutil.copyfile(source, target)
        return target

    def write(self, name: str, content: str | bytes) -> Path:
        """Hand over text, or bytes, as a file.

        Raises:
            as `add`.
        """
        target = self._target(name)
        target.write_bytes(content.encode() if isinstance(content, str) else content)
        return target

    def _target(self, name: str) -> Path:
        target = self.directory / check_new_path(name)
        if os.path.lexists(target):
            raise FileExistsError(f"this test has handed over {name!r} already")
        target.parent.mkdir(parents=True, exist_ok=True)
        return target


def make_folder(staging: Path, test: str) -> Path:
    """A new, empty folder for the files that a test hands over; another one each time it runs.

    Args:
        test: its node id.
    """
    module, _, name = test.partition("::")
    above = staging.joinpath(EVIDENCE, *map(_safe, module.split("/")))
    above.mkdir(parents=True, exist_ok=True)
    name = _safe(name)
    attempt = 1
    while True:
        folder = above / (name if attempt == 1 else f"{name}.{attempt}")
        try:
            folder.mkdir()
        except FileExistsError:
            attempt += 1
        else:
            return folder


def _safe(name: str) -> str:
    """A part of a node id as a name that every file system takes; one that had to be changed stays unique."""
    safe = re.sub(r"[^A-Za-z0-9_.\[\]=-]+", "-", name).lstrip(".")[:_LONGEST_NAME]
    if safe == name:
        return safe
    return f"{safe}-{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"
