"""The programs in `examples/` run as they are, with no other step before them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from docs.isolation import isolated_environment
from docs.pages import PROJECT

if TYPE_CHECKING:
    from pathlib import Path


def run_example(name: str, *arguments: str, folder: Path) -> str:
    """What an example prints when its output is no terminal; it must end well and complain about nothing."""
    folder.mkdir(exist_ok=True)
    done = subprocess.run(
        [sys.executable, PROJECT / "examples" / name, *arguments],
        cwd=folder,
        env=isolated_environment(folder / "home"),
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def first_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Where the demo ran with its own directories, and what it told."""
    folder = tmp_path_factory.mktemp("demo")
    return folder, run_example("demo.py", "var/demo", folder=folder)


def test_the_demo_tells_its_story_with_two_packages_of_python(first_run: tuple[Path, str]) -> None:
    folder, told = first_run
    commands = re.findall(r"^\$ (?:artifactstore )?(\S+)", told, re.MULTILINE)
    story = ["push", "show", "export", "check", "python3"]
    assert commands == ["cd", "export", "init", *story, *story, "push", "push", "replay", "health"]
    assert len(re.findall("^result: +intact$", told, re.MULTILINE)) == 2
    assert len(re.findall("^intact: .* manifest blake3:[0-9a-f]{64}$", told, re.MULTILINE)) == 2
    assert len(re.findall("^stored +[0-9]+ new objects", told, re.MULTILINE)) == 2
    assert len(re.findall("^stored +0 new bytes", told, re.MULTILINE)) == 2
    assert "── decoder.py" in told
    assert "── mock.py" in told
    assert "__pycache__" not in told.replace("--exclude __pycache__", "")
    assert '"status": "ok"' in told
    exports = [path.name for path in (folder / "var/demo/exports").iterdir()]
    assert sorted(exports) == sorted(re.findall(r"^\$ artifactstore export (\S+)", told, re.MULTILINE))


def test_the_demo_works_again_and_with_a_chosen_directory(first_run: tuple[Path, str]) -> None:
    told = run_example("demo.py", "var/demo", os.path.dirname(json.__file__), folder=first_run[0])
    assert len(re.findall("^stored +0 new bytes", told, re.MULTILINE)) == 2
    assert "new object" not in told


def test_the_demo_prints_nothing_that_only_a_terminal_can_show(first_run: tuple[Path, str]) -> None:
    assert re.findall(r"[\x00-\x09\x0b-\x1f\x7f]", first_run[1]) == []


def test_the_demo_passes_on_the_exit_code_of_what_fails(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, PROJECT / "examples/demo.py", "store", "missing"],
        cwd=tmp_path,
        env=isolated_environment(tmp_path / "home"),
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 2
    assert "error: cannot read the directory" in done.stdout


def test_the_guides_smoke_script_runs_unchanged_and_again(tmp_path: Path) -> None:
    run_example("smoke.py", folder=tmp_path)
    printed = run_example("smoke.py", folder=tmp_path).splitlines()
    assert re.fullmatch("package: [0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", printed[0])
    assert re.fullmatch("manifest digest: blake3:[0-9a-f]{64}", printed[1])
    assert printed[2:] == ["files in manifest: ['hello.txt']"]
    assert (tmp_path / "home/data/artifactstore/artifactstore.db").is_file()
