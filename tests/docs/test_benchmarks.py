"""The page of benchmarks shows what was measured, and nothing else."""

from __future__ import annotations

import importlib
import json
import re
import sys
from typing import Any

import pytest

from docs.pages import PROJECT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the benchmarks read /proc and call syncfs")


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module that writes the page."""
    monkeypatch.syspath_prepend(PROJECT)
    return importlib.import_module("benchmarks.page")


def test_page_and_charts_are_those_of_the_results(page: Any) -> None:
    document = json.loads(page.RESULTS.read_text(encoding="utf-8"))
    text = page.PAGE.read_text(encoding="utf-8")
    assert text == page.rendered(text, document), "run `python -m benchmarks.page`"
    scale, about_scale = (
        json.loads(page.SCALE.read_text(encoding="utf-8")),
        page.SCALE_PAGE.read_text("utf-8"),
    )
    assert about_scale == page.rendered_scale(about_scale, scale, document), "run `python -m benchmarks.page`"
    drawn = page.charts(document)
    assert {path.name: path.read_text(encoding="utf-8") for path in page.CHARTS.glob("*.svg")} == drawn
    assert set(re.findall(r"\(charts/([^)]+)\)", text)) == set(drawn)


def test_what_others_disturbed_is_no_number(page: Any) -> None:
    summary = {"median": 1.5, "fastest": 1.25, "slowest": 2.0, "ratio": 0.5, "peak": 1 << 20, "noisy": True}
    line = {
        "set": "w1",
        "work": "push",
        "peer": "restic",
        "version": "1",
        "promise": "fsync",
        "failure": None,
    }
    document = {
        "machine": {},
        "results": [line | {"disk": 1 << 20, "syncs": {"fsync": 3}, "summary": summary}],
        "library": [],
    }
    assert "| push | restic | fsync | disturbed |  |  | 1 | 1 | 3 fsync |" in page.set_table(
        "w1", document["results"]
    )
    assert "| w1 push | restic | at most 0.65 |  | disturbed |" in page.targets_table(document)
    assert page.charts(document) == {}
    summary["noisy"] = False
    assert "| 1.50 | 1.25 to 2.00 | 0.50 | 1 | 1 | 3 fsync |" in page.set_table("w1", document["results"])
    assert "| w1 push | restic | at most 0.65 | 0.50 | met |" in page.targets_table(document)
    assert "1.50 s</text>" in page.charts(document)["w1.svg"]
