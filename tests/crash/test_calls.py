"""Without a fault every row of the drills happens, and can be done again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from crash.calls import ROWS
from crash.changing_call import ChangingCall, check
from crash.place import Place

if TYPE_CHECKING:
    from pathlib import Path

# What these do cannot be told from what was there before, or nothing was there before.
ALWAYS_TRUE = {"init", "migrate", "replay"}


@pytest.mark.parametrize("row", ROWS.values(), ids=lambda row: row.name)
def test_each_row_happens_and_can_be_done_again(tmp_path: Path, row: ChangingCall) -> None:
    place = Place(tmp_path)
    row.set_up(place)
    if row.name not in ALWAYS_TRUE:
        with place.open() as store:
            assert not row.happened(place, store)
    row.run(place)
    check(place, row, acknowledged=True)
    row.again(place)
    check(place, row, acknowledged=True)
