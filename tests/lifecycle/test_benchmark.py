"""The benchmarks of the lifecycle run, and what they fill a store with is a store."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from artifactstore import Store

if TYPE_CHECKING:
    from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent.parent

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the benchmarks read /proc and call syncfs")


@pytest.fixture
def lifecycle(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT)
    return importlib.import_module("benchmarks.lifecycle")


def test_expiry_runs_to_its_end(lifecycle: ModuleType, tmp_path: Path) -> None:
    findings = lifecycle.expiry(tmp_path, count=200)
    assert {finding.what for finding in findings if finding.most is not None} == {
        "orphans among 400 objects, beside listing them",
        "sweep: 1% against all others",
        "gc: 1% against all others",
    }


def test_verify_runs_to_its_end(lifecycle: ModuleType, tmp_path: Path) -> None:
    files = importlib.import_module("benchmarks.datasets").SmallFiles(
        tmp_path / "small", count=20, directories=2
    )
    files.build()
    assert [finding.ratio is None for finding in lifecycle.verify(files, tmp_path, rounds=1)] == [True, False]


def test_the_filled_store_is_one(lifecycle: ModuleType, tmp_path: Path) -> None:
    with Store.open(tmp_path / "life.db", tmp_path / "life", clock=lifecycle.Calendar()) as store:
        lifecycle.fill(store, 0, 50)
        assert store.replay(check=True).identical
        # The stand-ins for manifests are the only thing that is wrong with it.
        assert {finding.part for finding in store.fsck(read=True).findings} == {"manifests"}
