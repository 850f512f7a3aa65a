"""What a drill did, in figures: points tried, faults that fired, violations; summed up at the end."""

from __future__ import annotations

import compileall
import random
from collections import defaultdict
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from crash.roll_call import absences

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from crash.roll_call import Absence

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
    group.addoption(
        "--every-drill",
        action="store_true",
        help="fail if a drill was not run that docs/reliability.md names",
    )
    group.addoption("--soak-seconds", type=float, help="how long the soak goes on (60, or 1800 with --full)")
    group.addoption("--times", type=int, default=1, help="so many times the points of a sample")
    group.addoption("--drill-seed", type=int, default=SEED, help="chooses the sample (%(default)s)")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest come first: all other processes would wait for a long one that is begun last."""
    items.sort(key=_seconds, reverse=True)


def _seconds(item: pytest.Item) -> int:
    """About how long a drill takes, if it says so."""
    mark = item.get_closest_marker("slow")
    return mark.kwargs.get("seconds", 0) if mark else 0


def pytest_sessionstart(session: pytest.Session) -> None:
    """Compile once what other processes import: where Python may not, each of them would at its start."""
    if not hasattr(session.config, "workerinput"):
        for folder in ("artifactstore", "tests"):
            compileall.compile_dir(session.config.rootpath / folder, quiet=2)


def _reports(config: pytest.Config, *outcomes: str) -> Iterator[pytest.TestReport]:
    stats = config.pluginmanager.get_plugin("terminalreporter").stats
    for outcome in outcomes or tuple(stats):
        yield from (report for report in stats.get(outcome, ()) if isinstance(report, pytest.TestReport))


def _totals(config: pytest.Config) -> tuple[dict[str, list[int]], list[str]]:
    """The figures of each drill that has counted, and the remarks."""
    totals: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    remarks: list[str] = []
    for report in _reports(config):
        for key, value in report.user_properties if report.when == "call" else ():
            if key == KEY:
                name, *figures = value
                totals[name] = [a + b for a, b in zip(totals[name], figures, strict=True)]
            elif key == REMARK:
                remarks.append(value)
    return totals, remarks


def _absences(config: pytest.Config) -> list[Absence]:
    """The drills that the run should have counted and has not."""
    if not config.getoption("--every-drill"):
        return []
    from docs.reliability import promises

    drills = {name: promise.modules for promise in promises() for name in promise.drills}
    skipped = [
        (config.rootpath / report.location[0], report.longrepr[2])
        for report in _reports(config, "skipped")
        if isinstance(report.longrepr, tuple)
    ]
    return absences(drills, _totals(config)[0], skipped)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """A run that leaves out a drill without an excuse is no success."""
    sound = exitstatus == pytest.ExitCode.OK and not hasattr(session.config, "workerinput")
    if sound and not all(absence.excused for absence in _absences(session.config)):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """The table that docs/reliability.md shows."""
    totals, remarks = _totals(config)
    if totals:
        terminalreporter.section("drills")
        terminalreporter.write_line("| drill | tried | fired | violations |")
        terminalreporter.write_line("|---|---:|---:|---:|")
        for name, (tried, fired, violations) in sorted(totals.items()):
            terminalreporter.write_line(f"| {name} | {tried:,} | {fired:,} | {violations:,} |")
        for remark in remarks:
            terminalreporter.write_line(remark)
    for absence in _absences(config):
        terminalreporter.write_line(str(absence), **({} if absence.excused else {"red": True}))
