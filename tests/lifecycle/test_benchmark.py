"""The benchmarks of a growing store run, and what they fill a store with is a store."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from artifactstore import Store

if TYPE_CHECKING:
    from collections.abc import Iterator

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


def test_what_should_be_flat_is_told_beside_a_store_of_the_first_size(benchmark: Any) -> None:
    findings = benchmark("many").Findings()
    findings.flat("show", 1_000, [(10.0, 10.0)], "us")
    findings.flat("show", 10_000, [(15.0, 10.0), (60.0, 20.0), (30.0, 15.0)], "us")
    findings.flat("commits", 10_000, [(150.0, 300.0)], "1/s", rate=True)
    assert [(finding.value, finding.ratio, finding.most is None) for finding in findings] == [
        (10.0, 1.0, True),
        (30.0, 2.0, False),
        (150.0, 2.0, False),
    ]


def test_each_of_two_stores_goes_first_in_turn_until_one_has_no_more(benchmark: Any) -> None:
    order = []

    def measured(name: str, count: int) -> Iterator[str]:
        for number in range(count):
            order.append(name)
            yield f"{name}{number}"

    pairs = list(benchmark("many").in_turns(measured("large", 3), measured("small", 9)))
    assert pairs == [("large0", "small0"), ("large1", "small1"), ("large2", "small2")]
    assert order[:6] == ["large", "small", "small", "large", "large", "small"]


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
