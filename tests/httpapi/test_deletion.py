"""Sweep, plan and gc over HTTP: who may, what a plan must be, and where it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from store.harness import SAID, FakeClock, Home, write_tree

from artifactstore.client.retention import PACKAGES_AT_ONCE
from artifactstore.httpapi.deletion_routes import PACKAGES_MAX
from artifactstore.moment import system_clock

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from artifactstore import Store
    from httpapi.harness import Client

DAY = 86_400_000_000  # microseconds


@pytest.fixture
def store(home: Home, tmp_path: Path) -> Any:
    """A store with two packages that expired long ago."""
    with home.open(clock=FakeClock(system_clock() - 40 * DAY)) as early:
        for name in ("one", "two"):
            tree = write_tree(tmp_path / name, {"a.txt": name.encode()})
            early.push(tree, **{**SAID, "name": name, "retention_class": "transient"})
    with home.open() as store:
        yield store


@pytest.mark.parametrize("path", ["/retention/sweep", "/retention/gc", "/retention/gc/plan"])
def test_only_an_admin_may(client: Client, stranger: Client, operator: Client, path: str) -> None:
    assert client("POST", path, {}, status=403).document["code"] == "scope-missing"
    stranger("POST", path, {}, status=401)
    operator("POST", path, {}, status=200)
    operator("POST", path, status=200)  # nothing need be said


def test_a_reviewed_plan_is_executed_as_it_is(store: Store, operator: Client) -> None:
    operator("POST", "/retention/sweep", {}, status=200)
    plan = operator("POST", "/retention/gc/plan", {"limit": 1}, status=200).document
    assert [package["name"] for package in plan["packages"]] == ["one"]
    done = operator("POST", "/retention/gc", {"plan": plan}, status=200).document
    assert done["plan_digest"] == plan["plan_digest"]
    assert done["collected"] == [plan["packages"][0]["package_id"]]
    event = store.retention_history(done["collected"][0])[-1]
    assert (event.type, event.actor) == ("v1.package.garbage_collected", "operator")
    assert f"sha256:{event.payload['plan_digest'].hex()}" == plan["plan_digest"]  # type: ignore[union-attr]
    again = operator("POST", "/retention/gc", {"plan": plan}, status=409).document
    assert again["code"] == "plan-stale"
    assert len(store.plan_gc().packages) == 1


def shortened(plan: dict[str, Any]) -> None:
    plan["packages"].pop()


def renamed(plan: dict[str, Any]) -> None:
    plan["packages"][0]["name"] = "another"


def without_digest(plan: dict[str, Any]) -> None:
    del plan["plan_digest"]


def without_a_member(plan: dict[str, Any]) -> None:
    del plan["object_count"]


def with_a_member_more(plan: dict[str, Any]) -> None:
    plan["more"] = 1


def with_a_wrong_moment(plan: dict[str, Any]) -> None:
    plan["packages"][0]["eligible_at"] = "yesterday"


def with_another_kind(plan: dict[str, Any]) -> None:
    plan["packages"] = {"0": plan["packages"][0]}


def with_no_package(plan: dict[str, Any]) -> None:
    plan["packages"][0] = "01"


def with_a_part_of_a_number(plan: dict[str, Any]) -> None:
    plan["object_count"] = 1.5


@pytest.mark.parametrize(
    "change",
    [
        shortened,
        renamed,
        without_digest,
        without_a_member,
        with_a_member_more,
        with_a_wrong_moment,
        with_another_kind,
        with_no_package,
        with_a_part_of_a_number,
    ],
)
def test_an_altered_plan_is_none(
    store: Store, operator: Client, change: Callable[[dict[str, Any]], None]
) -> None:
    operator("POST", "/retention/sweep", {}, status=200)
    plan = operator("POST", "/retention/gc/plan", {}, status=200).document
    change(plan)
    before = store.newest_sequence()
    refused = operator("POST", "/retention/gc", {"plan": plan}, status=422).document
    assert refused["code"] in {"not-a-plan", "invalid-time"}
    assert store.newest_sequence() == before


@pytest.mark.parametrize("limit", [0, -1, PACKAGES_MAX + 1, 1 << 70])
@pytest.mark.parametrize("path", ["/retention/sweep", "/retention/gc", "/retention/gc/plan"])
def test_a_limit_is_none_beyond_the_limit(store: Store, operator: Client, path: str, limit: int) -> None:
    before = store.newest_sequence()
    operator("POST", path, {"limit": limit}, status=422)
    assert store.newest_sequence() == before


def test_a_client_asks_for_as_much_as_a_server_gives() -> None:
    assert PACKAGES_AT_ONCE == PACKAGES_MAX


@pytest.mark.parametrize("age", ["soon", "", 1 << 70, True, 1.5])
def test_an_age_that_is_none(store: Store, operator: Client, age: object) -> None:
    before = store.newest_sequence()
    operator("POST", "/retention/sweep", {"abandoned_after": age}, status=422)
    assert store.newest_sequence() == before
