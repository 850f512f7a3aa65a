"""What a drill did, in figures: points tried, faults that fired, violations; summed up at the end."""

from __future__ import annotations

import random
from collections import defaultdict
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

if TYPE_CHECKING:
    from collections.abc import Sequence

PointT = TypeVar("PointT")
KEY = "drill"
REMARK = "drill-remark"
SOAK_SECONDS = 60, 1800  # without and with --full
SEED = 20_261_125


class Drill:
    """The figures of the running drill, and how much of it to run."""

    def __init__(self, request: pytest.FixtureRequest) -> None:
        self._node = request.node
        self.full: bool = request.config.getoption("--full")
        self.soak_seconds: float = request.config.getoption("--soak-seconds") or SOAK_SECONDS[self.full]
        self._times: int = request.config.getoption("--times")
        self.random = random.Random(f"{request.config.getoption('--drill-seed')} {request.node.nodeid}")

    def sample(self, points: Sequence[PointT], at_most: int) -> list[PointT]:
        """All points in a full run; else so many of them, chosen by the seed, in their order."""
        at_most *= self._times
        if self.full or len(points) <= at_most:
            return list(points)
        return [points[number] for number in sorted(self.random.sample(range(len(points)), at_most))]

    def count(self, name: str, *, tried: int, fired: int, violations: int = 0) -> None:
        """Record figures under the name that docs/reliability.md uses; a drill whose fault never fired fails.

        Args:
            tried: points, cuts, inputs, ... that were tried.
            fired: how many of them met their fault.
            violations: promises that were broken; the drill itself fails because of them.
        """
        assert fired, f"{name}: no fault fired in {tried} tries: the drill proves nothing"
        self._node.user_properties.append((KEY, [name, tried, fired, violations]))

    def remark(self, text: str) -> None:
        """A figure that is printed below the table and judged by nobody."""
        self._node.user_properties.append((REMARK, text))


@pytest.fixture
def drill(request: pytest.FixtureRequest) -> Drill:
    """The figures of this drill."""
    return Drill(request)


def pytest_addoption(parser: pytest.Parser) -> None:
    """How much of the drills to run."""
    group = parser.getgroup("drills")
    group.addoption("--full", action="store_true", help="run every point of the drills, not a sample")
    group.addoption("--soak-seconds", type=float, help="how long the soak goes on (60, or 1800 with --full)")
    group.addoption("--times", type=int, default=1, help="so many times the points of a sample")
    group.addoption("--drill-seed", type=int, default=SEED, help="chooses the sample (%(default)s)")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the table of all drills of the run."""
    totals: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    remarks: list[str] = []
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", None) == "call":
                for key, value in report.user_properties:
                    if key == KEY:
                        name, *figures = value
                        totals[name] = [a + b for a, b in zip(totals[name], figures, strict=True)]
                    elif key == REMARK:
                        remarks.append(value)
    if totals:
        terminalreporter.section("drills")
        terminalreporter.write_line("| drill | tried | fired | violations |")
        terminalreporter.write_line("|---|---:|---:|---:|")
        for name, (tried, fired, violations) in sorted(totals.items()):
            terminalreporter.write_line(f"| {name} | {tried:,} | {fired:,} | {violations:,} |")
        for remark in remarks:
            terminalreporter.write_line(remark)
