"""The page of benchmarks shows what was measured, and nothing else."""

from __future__ import annotations

import importlib
import json
import re
import sys
from fnmatch import fnmatchcase
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


def test_a_page_without_a_place_for_a_part_is_refused(page: Any) -> None:
    document = json.loads(page.RESULTS.read_text(encoding="utf-8"))
    text = page.PAGE.read_text(encoding="utf-8")
    for part in re.findall(r"<!-- (\w+) -->\n", text):
        if part != "end":
            with pytest.raises(ValueError, match=f"<!-- {part} -->"):
                page.rendered(text.replace(f"<!-- {part} -->", ""), document)


def test_each_target_has_a_row_and_each_missed_one_a_limit(page: Any) -> None:
    text = page.PAGE.read_text(encoding="utf-8")
    rows = [row.split(" | ") for row in part(text, "targets")[2:]]
    # Where some of the pairs meet the target, there is no distance to explain.
    assert [row[0] for row in rows if row[4] == "no limit measured" and "within noise" not in row[5]] == []
    assert [row for row in rows if not row[5].startswith(("met", "MISSED"))] == []
    limits = " ".join(row.split(" | ")[0] for row in part(text, "limits"))
    assert [row[0] for row in rows if row[5].startswith("MISSED") and row[0].strip("| ") not in limits] == []
    nothing = page.targets_table(page.judged([], []))
    assert nothing.count("not measured") == len(page.targets.PEERS) + 1 + len(page.targets.INSIDE)


def part(text: str, name: str) -> list[str]:
    """The lines of a generated part."""
    return text.partition(f"<!-- {name} -->\n")[2].partition("\n<!-- end -->")[0].splitlines()


def test_each_finding_with_a_bound_is_about_one_target(page: Any) -> None:
    document = json.loads(page.RESULTS.read_text(encoding="utf-8"))
    for item in document["library"]:
        if item["most"] is not None or item["least"] is not None:
            about = [
                wanted
                for wanted in page.targets.INSIDE
                if wanted.benchmark == item["benchmark"] and fnmatchcase(item["what"], wanted.what)
            ]
            assert len(about) == 1, item


@pytest.mark.parametrize(
    ("ratio", "ratios", "wanted", "said"),
    [
        (0.9, [0.8, 0.9, 0.95], {"most": 1.0}, "met"),
        (0.9, [0.8, 0.9, 1.1], {"most": 1.0}, "met, within noise"),
        (1.2, [1.1, 1.2, 1.3], {"most": 1.0}, "MISSED"),
        (1.2, [0.9, 1.2, 1.3], {"most": 1.0}, "MISSED, within noise"),
        (0.5, [0.4, 0.6], {"least": 0.3}, "met"),
        (0.5, [0.2, 0.8], {"least": 0.3}, "met, within noise"),
    ],
)
def test_a_target_is_met_by_the_median_and_its_spread_is_told(
    page: Any, ratio: float, ratios: list[float], wanted: dict[str, Any], said: str
) -> None:
    assert page.targets.verdict(ratio, ratios, **wanted) == said


def line(page: Any, *, peer: str = "restic", **told: Any) -> dict[str, Any]:
    """A line of w1 that is whole."""
    summary = {"median": 1.5, "fastest": 1.25, "slowest": 2.0, "ratio": 0.5, "peak": 1 << 20, "noisy": False}
    start = {"set": "w1", "work": "push", "peer": peer, "version": "1", "promise": "fsync", "failure": None}
    return start | {"measured": page.UNTOLD, "disk": 1 << 20, "syncs": {}, "summary": summary} | told


def test_lines_of_different_commits_say_so(page: Any) -> None:
    old = line(page)
    new = line(page, peer="borg", measured={"commit": "a1", "date": "2026-01-02", "machine": "one"})
    assert page.set_table("w1", [old]).startswith("Commit not known, measured on: not known.")
    assert page.set_table("w1", [new]).startswith("Commit a1, measured on: 2026-01-02.")
    mixed = page.set_table("w1", [old, new])
    assert mixed.startswith("**These lines are from different commits of the program.**")
    assert "| a1 of 2026-01-02 |" in mixed
    assert "| not known |" in mixed
    assert page.machines([old, new]).splitlines() == ["- not known (w1)", "- one (w1)"]


def test_a_missed_target_stands_beside_the_floor_of_the_same_run(page: Any) -> None:
    missed = line(page, floor=2 << 20)
    missed["summary"] = missed["summary"] | {"ratio": 0.9, "ratios": [0.8, 0.9, 1.0]}
    found = {"most": None, "least": None, "ratio": None, "foreign": 0.0, "unit": "ms"}
    bare = found | {"benchmark": "floor", "what": "push: stage, sync, bare loop", "value": 1050.0}
    (with_floor, *_), (without, *_) = page.judged([missed], [bare]), page.judged([missed], [])
    assert "| 0.90 (0.80 to 1.00) | 0.70 | MISSED |" in page.targets_table([with_floor])
    assert "| no limit measured | MISSED |" in page.targets_table([without])
    assert "| w1 push | a bare loop" in page.limits_table([with_floor])
    assert "| w1 push | no limit measured |" in page.limits_table([without])
    assert "| at most 1 |" in page.set_table("w1", [missed])


def test_the_floor_of_a_target_is_told_in_its_own_measure(page: Any) -> None:
    def told(benchmark: str, what: str, value: float, unit: str, **bound: float) -> dict[str, Any]:
        bare = {"most": None, "least": None, "ratio": None, "foreign": 0.0, "ratios": []}
        return bare | {"benchmark": benchmark, "what": what, "value": value, "unit": unit} | bound

    rows = page.judged(
        [line(page, set="w3", work="push"), line(page, set="w1", work="verify")],
        [
            told("floor", "push: stage, sync, bare loop", 150.0, "ms"),
            told("floor", "push of a real tree of 9 files: stage, sync, bare loop", 300.0, "ms"),
            told("verify", "reading and hashing 9,001 objects, 60 MiB", 0.6, "s"),
            told("verify", "reading and hashing 2 objects, 1024 MiB", 6.0, "s"),
            told("replay", "database for each of 9 files", 900.0, "B", ratio=1.5, most=1.0),
            told("replay", "of a file's bytes: log and rows of the views alone, packed", 540.0, "B"),
            told("calls", "create_package, one caller", 1000.0, "calls/s"),
            told("calls", "create_package, 16 callers", 2000.0, "calls/s", ratio=2.0, least=3.0),
            told("calls", "processor time of a create_package among 16 callers", 400.0, "us"),
            *(
                told("w5", what.format(size), value, unit, **bound)
                for size, factor in (("10", 1.0), ("200", 2.0))
                for what, value, unit, bound in (
                    ("replay, {} packages", 100.0, "events/s", {"ratio": 0.1, "least": 0.28}),
                    ("bare executemany of as many events, {} packages", 1000.0 * factor, "rows/s", {}),
                    ("of a replay: reading and decoding, {} packages", 1000.0, "events/s", {}),
                    ("of a replay: SQLite copying the rows, {} packages", 1000.0, "events/s", {}),
                )
            ),
        ],
    )
    floors = {row.work: row.limit for row in rows if row.limit}
    assert floors == {
        "w3 push": "0.20",
        "w1 verify": "0.40",
        "database for each of 9 files": "0.90",
        "create_package, 16 callers": "2.50",
        "replay, 10 packages": "0.50",
        "replay, 200 packages": "0.25",
    }


def test_what_others_disturbed_is_no_number(page: Any) -> None:
    disturbed = line(page, syncs={"fsync": 3}, floor=0)
    summary = disturbed["summary"]
    summary["noisy"] = True
    document = {"results": [disturbed]}
    assert "| push | restic | fsync | disturbed |  |  | 1 | 1 | 3 fsync |" in page.set_table(
        "w1", [disturbed]
    )
    assert "| w1 push | restic | at most 0.65 |  |  | disturbed |" in page.targets_table(
        page.judged([disturbed], [])
    )
    assert page.charts(document) == {}
    summary["noisy"] = False
    assert "| 1.50 | 1.25 to 2.00 | 0.50 | 1 | 1 | 3 fsync |" in page.set_table("w1", [disturbed])
    assert "| 0.50 |  | met, spread not known |" in page.targets_table(page.judged([disturbed], []))
    assert "1.50 s</text>" in page.charts(document)["w1.svg"]
