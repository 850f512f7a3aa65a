"""The benchmark suite: its data are the same everywhere, and every peer's commands run."""

from __future__ import annotations

import hashlib
import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent
SMALL_BYTES = 1526393
SMALL_DIGEST = "66758d6e9307b50a3ee8e64be97c9d8a262d8db2559e16618ed6b4cb4288a7ec"
LARGE_DIGEST = "05950d8a477ea8003f06e0ac1f7fb39fdd3c33bf9be75583860e10b39fcf0de2"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the benchmarks read /proc and call syncfs")


@pytest.fixture
def datasets(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT)
    return importlib.import_module("benchmarks.datasets")


def tree_digest(root: Path) -> str:
    """One digest over names and bytes."""
    digest = hashlib.sha256()
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(root)}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def test_small_files_are_the_same_on_every_machine(datasets: ModuleType, tmp_path: Path) -> None:
    files = datasets.SmallFiles(tmp_path / "small", count=200, directories=4)
    files.build()
    assert datasets.tree_size(files.root) == (200, SMALL_BYTES)
    assert tree_digest(files.root) == SMALL_DIGEST
    contents = [path.read_bytes() for path in files.root.rglob("*.*")]
    assert len(set(contents)) == 180  # 10% duplicates


def test_changing_one_percent_can_be_taken_back(datasets: ModuleType, tmp_path: Path) -> None:
    files = datasets.SmallFiles(tmp_path / "small", count=200, directories=4)
    files.build()
    before = {path: path.read_bytes() for path in files.root.rglob("*.*")}
    files.change()
    assert sum(path.read_bytes() != content for path, content in before.items()) == 2
    files.reset()
    assert {path: path.read_bytes() for path in files.root.rglob("*.*")} == before


def test_the_large_file_has_its_size_and_the_same_bytes_everywhere(
    datasets: ModuleType, tmp_path: Path
) -> None:
    file = datasets.LargeFile(tmp_path / "large", size=datasets.CHUNK_SIZE + 1000)
    file.build()
    assert datasets.tree_size(file.root) == (1, datasets.CHUNK_SIZE + 1000)
    assert tree_digest(file.root) == LARGE_DIGEST


def test_help_lists_the_sets() -> None:
    answer = benchmarks("--help")
    assert answer.returncode == 0
    assert all(name in answer.stdout for name in ("w1", "w2", "w3", "w4", "replay", "packages"))


def test_an_unknown_peer_is_named() -> None:
    answer = benchmarks("w1", "--peers", "tape")
    assert answer.returncode == 2
    assert "no peer is called 'tape'" in answer.stderr


@pytest.mark.parametrize("name", ["w1", "w4"])
def test_a_set_runs_with_each_peer_that_every_machine_has(
    name: str, datasets: ModuleType, tmp_path: Path
) -> None:
    peers, report, suite = (
        importlib.import_module(f"benchmarks.{part}") for part in ("peers", "report", "suite")
    )
    files = datasets.SmallFiles(tmp_path / "small", count=20, directories=2)
    files.build()
    lines = suite.Suite(name, files, tmp_path, repeats=0, patience=0.0).run(
        [peers.Copy, peers.Sha256sum], rounds=1
    )
    document: dict[str, Any] = json.loads(json.dumps(report.document({}, lines, [])))
    assert {line["failure"] for line in document["results"]} == {None}
    assert {line["work"] for line in document["results"]} == set(suite.WORKS[name])
    for line in document["results"]:
        assert line["samples"]
        assert line["peer"] == "artifactstore" or line["summary"]["ratio"] > 0
    assert "cp+sync" in report.table(lines, 0)


def test_an_absent_peer_and_a_failing_one_are_lines(datasets: ModuleType, tmp_path: Path) -> None:
    peers, report, suite = (
        importlib.import_module(f"benchmarks.{part}") for part in ("peers", "report", "suite")
    )

    class Absent(peers.Copy):  # type: ignore[misc, name-defined]  # the module is imported when the test runs
        name = "absent"
        version_command = ("no-such-program-anywhere",)

    class Failing(peers.Copy):  # type: ignore[misc, name-defined]  # the module is imported when the test runs
        name = "failing"

        def push(self) -> tuple[Any, ...]:
            return (self.command("ls", self.place / "nothing"),)

    files = datasets.SmallFiles(tmp_path / "small", count=20, directories=2)
    files.build()
    lines = suite.Suite("w1", files, tmp_path, repeats=0, patience=0.0).run([Absent, Failing], rounds=2)
    failures = {(line.work, line.peer): line.failure for line in lines}
    assert failures["push", "absent"] == "absent: `no-such-program-anywhere` does not run"
    assert "nothing" in failures["push", "failing"]
    assert "nothing" in failures["export", "failing"]
    assert "does not run" in report.table(lines, 0)


def benchmarks(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The suite as a user starts it."""
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
