"""A drill that was not run is told, and fails the run unless something excuses it."""

from __future__ import annotations

import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest
from docs.pages import PROJECT
from docs.reliability import promises

from crash.roll_call import NEEDS, absences

HERE, ELSEWHERE = Path("here.py"), Path("elsewhere.py")


@pytest.mark.parametrize(
    ("name", "skipped", "excused"),
    [
        ("power loss, real: xfs", [(HERE, "only root may mount")], True),
        ("power loss, real: xfs", [(ELSEWHERE, "only root may mount")], False),
        ("power loss, real: xfs", [], False),
        ("kill points", [(HERE, "strace is missing")], False),
    ],
)
def test_only_what_needs_more_and_was_skipped_is_excused(
    name: str, skipped: list[tuple[Path, str]], excused: bool
) -> None:
    (absence,) = absences({name: {HERE}, "signals": {HERE}}, {"signals"}, skipped)
    assert absence.excused is excused
    assert str(absence).startswith(f"{name}: not run (")
    assert all(reason in str(absence) for module, reason in skipped if module == HERE)


def test_what_is_counted_beside_a_drill_need_not_be_there() -> None:
    assert absences({"corruption: marker, of no effect": {HERE}}, set(), []) == []


def test_what_may_be_excused_is_a_drill() -> None:
    named = {name for promise in promises() for name in promise.drills}
    assert [pattern for pattern in NEEDS if not any(fnmatch(name, pattern) for name in named)] == []


def test_a_run_that_leaves_out_a_drill_fails() -> None:
    run = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/crash/test_disk_states.py"]
    assert subprocess.run(run, cwd=PROJECT, capture_output=True, check=False).returncode == 0
    done = subprocess.run([*run, "--every-drill"], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "kill points: not run (no test was skipped for it): it must run\n" in done.stdout
