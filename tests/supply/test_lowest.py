"""The lower bounds in pyproject.toml are true: with exactly those versions the suite passes."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from typing import TYPE_CHECKING

import pytest
from docs.pages import PROJECT

from supply.requirements import lowest, requirements

if TYPE_CHECKING:
    from pathlib import Path

    from crash.report import Drill

# The parts of the suite that touch every dependency.
SAMPLE = [
    "tests/crash/test_calls.py",
    "tests/format/test_layout.py",
    "tests/cli/test_entry.py",
    "tests/interop/test_filesystem.py",
    "tests/test_settings.py",
]


def install(python: Path, lines: list[str]) -> None:
    """Install exactly these; skip if no package index can be reached."""
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    command += ["--disable-pip-version-check", "--no-compile", "--only-binary", ":all:", *lines]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "(from versions: none)" in done.stderr:
        pytest.skip("no package index can be reached")
    assert done.returncode == 0, done.stderr
    assert "yanked" not in done.stderr


@pytest.mark.slow(seconds=60)
def test_the_suite_passes_on_the_lowest_versions(tmp_path: Path, drill: Drill) -> None:
    asked = requirements("test", *(["s3"] if drill.full else []))
    pins = [f"{requirement.name}=={lowest(requirement)}" for requirement in asked]
    venv.create(tmp_path / "venv", symlinks=True)
    python = tmp_path / "venv/bin/python"
    install(python, [*pins, "--editable", str(PROJECT)])
    suite = ["tests"] if drill.full else SAMPLE
    options = ["-q", "-x", "-p", "no:cacheprovider", "--basetemp", str(tmp_path / "tmp")]
    done = subprocess.run(
        [python, "-m", "pytest", *options, *suite],
        cwd=PROJECT,
        # Compiled once for all the programs that the suite starts, and not into the work tree.
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(tmp_path / "compiled")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr
    drill.count("lowest versions", tried=len(pins), fired=len(pins))
