"""The benchmarks of a growing store run, and what they fill a store with is a store."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

from artifactstore import Store

ROOT = Path(__file__).resolve().parent.parent.parent

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the benchmarks read /proc and call syncfs")


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The suite, module by module."""
    monkeypatch.syspath_prepend(ROOT)
    return lambda name: importlib.import_module(f"benchmarks.{name}")


def test_a_store_that_grows_is_measured_to_its_end(benchmark: Any, tmp_path: Path) -> None:
    findings = benchmark("many").w5(tmp_path, limit=200)
    assert {finding.what for finding in findings if finding.most is not None} == {
        "orphans among 396 objects, beside listing them",
    }


def test_what_should_be_flat_is_told_beside_the_first_size(benchmark: Any) -> None:
    findings = benchmark("many").Findings()
    findings.flat("show", 1_000, 10.0, "us")
    findings.flat("show", 10_000, 15.0, "us")
    findings.flat("commits", 1_000, 300.0, "1/s", rate=True)
    findings.flat("commits", 10_000, 150.0, "1/s", rate=True)
    assert [(finding.ratio, finding.most is None) for finding in findings] == [
        (1.0, True),
        (1.5, False),
        (1.0, True),
        (2.0, False),
    ]


def test_verify_runs_to_its_end(benchmark: Any, tmp_path: Path) -> None:
    files = benchmark("datasets").SmallFiles(tmp_path / "small", count=20, directories=2)
    files.build()
    findings = benchmark("verifying").verify(files, tmp_path, rounds=1, patience=0.0)
    assert [finding.ratio is None for finding in findings] == [True, False]


@pytest.mark.parametrize("objects", [True, False])
def test_the_filled_store_is_one(benchmark: Any, tmp_path: Path, objects: bool) -> None:
    filling = benchmark("filling")
    clock = filling.Calendar()
    with Store.open(tmp_path / "life.db", tmp_path / "life", clock=clock) as store:
        filling.fill(store, clock, 0, 50, files=2, objects=objects)
        assert store.replay(check=True).identical
        parts = {finding.part for finding in store.fsck(read=True).findings}
        assert parts == (set() if objects else {"manifests", "objects"})
