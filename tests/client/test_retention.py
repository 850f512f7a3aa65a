"""What a client does about deletion beyond one request, and what it believes of a plan."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from cli.harness import answer_of
from store.harness import SAID, FakeClock, refused, write_tree

from artifactstore import BackendError, GcPlan, InvalidInputError
from artifactstore.client import Client, retention
from artifactstore.facts import plan_document
from artifactstore.moment import system_clock
from client.harness import answering, closing, http_answer, rude
from client.serving import Served, serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from store.harness import Home

DAY = 86_400_000_000  # microseconds
EXPIRED = 3


@pytest.fixture
def served(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """Three expired packages and two abandoned ones, at a client that asks for one at a time."""
    monkeypatch.setattr(retention, "PACKAGES_AT_ONCE", 1)
    with home.open(clock=FakeClock(system_clock() - 40 * DAY)) as store:
        for number in range(EXPIRED):
            tree = write_tree(tmp_path / str(number), {"a.txt": b"%d" % number})
            store.push(tree, **{**SAID, "retention_class": "transient"})
        for _ in range(2):
            store.create_package(**SAID)
    with home.open() as store, serving(store) as running:
        yield running


def test_a_sweep_takes_as_many_requests_as_there_is_work(served: Served) -> None:
    with served.client() as client:
        swept = client.sweep(actor="ada", mark_abandoned=True)
        assert (len(swept.marked), len(swept.withdrawn), len(swept.abandoned)) == (EXPIRED, 0, 2)
        assert len({state.package_id for state in (*swept.marked, *swept.abandoned)}) == EXPIRED + 2
        for state in swept.marked:
            client.apply_hold(state.package_id, reason="case", actor="ada")
        again = client.sweep(actor="ada")
        assert {state.package_id for state in again.withdrawn} == {state.package_id for state in swept.marked}


def test_a_command_says_that_there_may_be_more(
    served: Served, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    with served.client() as client:
        client.sweep(actor="ada")
    answer = answer_of([*served.flags(), "retention", "gc", "--yes"])
    assert (answer.code, "run gc again for the rest" in answer.stderr) == (0, True)
    monkeypatch.setattr(retention, "PACKAGES_AT_ONCE", 100)
    assert "run gc again" not in answer_of([*served.flags(), "retention", "gc", "--yes"]).stderr


EMPTY = GcPlan("00000000-0000-7000-8000-000000000000", (), 0, 0, 0)


def planned(document: dict[str, Any]) -> GcPlan:
    """What a client makes of an answer."""
    answer = http_answer(json.dumps(document).encode())
    with rude(answering(answer)) as server, Client(server.url, "token") as client:
        return client.plan_gc()


def altered(plan: dict[str, Any]) -> None:
    plan["freed_size"] = 1


def nameless(plan: dict[str, Any]) -> None:
    del plan["plan_digest"]


def shapeless(plan: dict[str, Any]) -> None:
    plan["packages"] = [{}]


@pytest.mark.parametrize("change", [altered, nameless, shapeless])
def test_a_plan_that_is_not_what_its_digest_says_is_none(change: Callable[[dict[str, Any]], None]) -> None:
    document: Any = plan_document(EMPTY)
    assert planned(document) == EMPTY
    change(document)
    with refused(BackendError, "not-an-api"):
        planned(document)


def test_a_deletion_is_asked_for_once() -> None:
    with rude(closing()) as server, Client(server.url, "token") as client:
        for call in (client.gc, client.sweep):
            with refused(BackendError, "server-unreachable", "may have been done"):
                call(actor="ada")
        assert len(server.requests) == 2


def test_what_is_no_plan_is_not_sent() -> None:
    with rude(closing()) as server, Client(server.url, "token") as client:
        for call in (lambda plan: client.gc(actor="ada", plan=plan), lambda plan: client.plan_gc(plan=plan)):
            with refused(InvalidInputError, "invalid-input", "a plan must be a GcPlan, not bytes"):
                call(EMPTY.to_bytes())  # type: ignore[no-untyped-call]
        assert server.requests == []
