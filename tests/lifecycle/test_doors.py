"""Sweep and gc do the same through every door."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from store.doors import DOORS, Door
from store.harness import SAID, FakeClock, Home, write_tree

from artifactstore import InvalidInputError, StateError
from artifactstore.moment import system_clock
from lifecycle.harness import DAY, MICROSECONDS

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    Opened = Callable[[Home], AbstractContextManager[Door]]

SHARED = b"bytes that two packages share"
TRANSIENT = {**SAID, "retention_class": "transient"}


@pytest.fixture
def expired(home: Home, tmp_path: Path) -> list[str]:
    """Two packages that expired a month ago, and one whose time has not come, which shares their bytes."""
    with home.open(clock=FakeClock(system_clock() - 40 * DAY * MICROSECONDS)) as store:
        old = [
            store.push(write_tree(tmp_path / name, {"own": name.encode(), "shared": SHARED}), **TRANSIENT)
            for name in ("one", "two")
        ]
        store.push(write_tree(tmp_path / "kept", {"shared": SHARED}), **SAID)
        store.create_package(**SAID)
    return [pushed.package.package_id for pushed in old]


@pytest.mark.parametrize("opened", DOORS)
def test_what_has_expired_is_marked_planned_and_deleted(
    home: Home, expired: list[str], opened: Opened
) -> None:
    with opened(home) as door:
        swept = door.sweep(actor="ada")
        assert [state.package_id for state in swept.marked] == expired
        assert {state.eligible_by for state in swept.marked} == {"ada"}
        assert len(swept.abandoned) == 1
        again = door.sweep(actor="ada", abandoned_after=60 * DAY)
        assert (again.marked, again.withdrawn, again.abandoned) == ((), (), ())
        plan = door.plan_gc()
        assert [package.package_id for package in plan.packages] == expired
        # Their own files and their manifests; what the third shares stays.
        assert (plan.object_count, plan.shared_size) == (4, len(SHARED))
        assert door.plan_gc(plan=plan) == plan
        result = door.gc(actor="ada", plan=plan)
        assert result.plan == plan
        assert (list(result.collected), result.removed_count) == (expired, 4)
        assert [door.get_package(each).status for each in expired] == ["garbage_collected"] * 2
        marked = door.sweep(actor="ada", mark_abandoned=True)
        assert len(marked.abandoned) == 1
        assert list(door.gc(actor="ada").collected) == [marked.abandoned[0].package_id]
    with home.open() as store:
        assert store.fsck(read=True).clean
        (collected,) = {event.actor for event in store.events() if event.type.endswith("garbage_collected")}
        assert collected == "ada"


@pytest.mark.parametrize("opened", DOORS)
def test_a_plan_that_does_not_hold_deletes_nothing(home: Home, expired: list[str], opened: Opened) -> None:
    with opened(home) as door:
        door.sweep(actor="ada")
        plan = door.plan_gc()
        with home.open() as store:
            store.apply_hold(expired[1], reason="case", actor="ada")
        with pytest.raises(StateError, match=f"{expired[1]} may not go any more") as stale:
            door.gc(actor="ada", plan=plan)
        assert stale.value.code == "plan-stale"
        with pytest.raises(StateError):
            door.plan_gc(plan=plan)
        assert door.get_package(expired[0]).status == "finalized"


@pytest.mark.parametrize("opened", DOORS)
def test_a_plan_of_another_store_is_refused(
    home: Home, tmp_path: Path, expired: list[str], opened: Opened
) -> None:
    with Home(tmp_path / "other").open() as other:
        foreign = other.plan_gc()
    with opened(home) as door, pytest.raises(InvalidInputError) as refused:
        door.gc(actor="ada", plan=foreign)
    assert refused.value.code == "plan-of-another-store"


def test_a_limit_takes_the_oldest_first(home: Home, expired: list[str]) -> None:
    with home.open() as store:
        assert [state.package_id for state in store.sweep(actor="ada", limit=1).marked] == expired[:1]
        assert [state.package_id for state in store.sweep(actor="ada", limit=1).marked] == expired[1:]
        plan = store.plan_gc(limit=1)
        assert [package.package_id for package in plan.packages] == expired[:1]
        assert list(store.gc(actor="ada", plan=plan).collected) == expired[:1]
        assert [package.package_id for package in store.plan_gc(limit=1).packages] == expired[1:]
        for package in expired[1:]:
            store.apply_hold(package, reason="case", actor="ada")
        assert [state.package_id for state in store.sweep(actor="ada", limit=1).withdrawn] == expired[1:]
        for limit in (0, -1):
            with pytest.raises(InvalidInputError):
                store.plan_gc(limit=limit)
            with pytest.raises(InvalidInputError):
                store.sweep(actor="ada", limit=limit)
