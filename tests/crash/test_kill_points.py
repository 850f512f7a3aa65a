"""Every changing call, killed right before each of its system calls."""

from __future__ import annotations

import signal
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from crash.calls import ROWS
from crash.changing_call import ChangingCall, check
from crash.points import Campaign, Point, Verdict, done, judge
from crash.routes import ROUTES
from crash.tidiness import assert_tidy
from crash.tracing import requires_tracing

if TYPE_CHECKING:
    from crash.place import Place
    from crash.report import Drill

pytestmark = [pytest.mark.slow, requires_tracing]


@pytest.mark.parametrize("row", ROWS.values(), ids=lambda row: row.name)
def test_killed_before_each_system_call(drill: Drill, campaign: Campaign, row: ChangingCall) -> None:
    chosen = drill.sample(campaign.points(row), at_most=5)
    # The threads of a server make a call more or less from run to run.
    judge(drill, "kill points", campaign.verdicts(chosen, kill), all_fire=row not in ROUTES)


@pytest.mark.parametrize(
    "row", [ROWS["init"], ROWS["ingest new file"], ROWS["push"]], ids=lambda row: row.name
)
def test_killed_at_each_turning_point(drill: Drill, campaign: Campaign, row: ChangingCall) -> None:
    """Whatever the sample: before an object gets its name, and after each commit."""
    chosen = [
        point
        for before, point in pairwise(campaign.points(row))
        if before.call == "fdatasync" or point.call in {"linkat", "renameat"}
    ]
    judge(drill, "kill points", campaign.verdicts(chosen, kill))


def kill(place: Place, point: Point) -> Verdict:
    """Kill the row at the point; then look, do it again, look again, clean up."""
    row = ROWS[point.row]
    ended = done(
        place,
        point.row,
        point.way,
        lambda number, _call: signal.SIGKILL if number == point.number else None,
    )
    assert ended.code in {0, -signal.SIGKILL}, ended
    check(place, row, acknowledged=ended.acknowledged)
    row.again(place)
    check(place, row, acknowledged=True)
    assert_tidy(place, row)
    return Verdict(ended.code == -signal.SIGKILL, " ".join(ended.said))
