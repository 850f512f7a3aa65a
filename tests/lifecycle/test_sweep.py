"""Sweep: marks what expired, takes back what is saved, and trusts no clock that jumps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from crash.disks import in_memory
from store.harness import SAID, refused, write_tree

from artifactstore import InvalidInputError, StateError
from artifactstore.lifecycle import sweep as sweeping
from artifactstore.lifecycle.policy import RetentionPolicy
from lifecycle.harness import DAY, MICROSECONDS, Life

if TYPE_CHECKING:
    from artifactstore.model import RetentionState


def ids(states: tuple[RetentionState, ...]) -> list[str]:
    return [state.package_id for state in states]


def test_a_sweep_marks_what_expired_and_again_nothing(life: Life) -> None:
    first, second = life.push(b"one"), life.push(b"two")
    life.push(b"three", "raw-evidence")
    life.push(b"four", "permanent-record")
    unfinished = life.store.create_package(**{**SAID, "retention_class": "transient"})
    assert ids(life.store.sweep(actor="cron").marked) == []
    life.tick(days=2)
    result = life.store.sweep(actor="cron")
    assert ids(result.marked) == [first, second]
    assert (result.withdrawn, result.abandoned) == ((), ())
    state = life.store.explain_retention(first).state
    assert (state.eligible_by, state.eligible_reason) == ("cron", "expired")
    assert life.store.explain_retention(unfinished).state.eligible_at is None
    with life.home.unchanged():
        again = life.store.sweep(actor="cron")
    assert (again.marked, again.withdrawn, again.abandoned) == ((), (), ())


def test_a_sweep_gives_the_packages_as_they_are_after_it(life: Life) -> None:
    def now(package: str) -> RetentionState:
        return life.store.explain_retention(package).state

    package, begun = life.push(b"one"), life.store.create_package(**SAID)
    life.tick(days=31)
    result = life.store.sweep(actor="cron", mark_abandoned=True)
    assert result.marked == (now(package),)
    assert result.abandoned == (now(begun),)
    assert [(state.eligible_by, state.eligible_reason) for state in (*result.marked, *result.abandoned)] == [
        ("cron", "expired"),
        ("cron", "abandoned"),
    ]
    life.store.apply_hold(package, reason="lawsuit", actor="law")
    assert life.store.sweep(actor="cron").withdrawn == (now(package),)


def test_the_instant_of_expiry_is_expired(life: Life) -> None:
    package = life.push(b"one")
    expires = life.store.get_package(package).expires_at
    assert expires is not None
    life.clock.now = expires - 20_000
    assert life.store.sweep(actor="cron").marked == ()
    life.clock.now = expires - 1000  # the clock moves by so much when it is looked at
    assert ids(life.store.sweep(actor="cron").marked) == [package]


def test_a_sweep_withdraws_after_a_hold_and_after_an_extension(life: Life) -> None:
    held, extended, left = life.expired(b"one", b"two", b"three")
    hold = life.store.apply_hold(held, reason="lawsuit", actor="law")
    life.store.extend_retention(extended, by=9 * DAY, actor="law")
    result = life.store.sweep(actor="cron")
    assert sorted(ids(result.withdrawn)) == sorted([held, extended])
    assert ids(result.marked) == []
    assert [event.payload["reason"] for event in life.store.events(after=life.newest() - 2)] == [
        "held", "not due any more"
    ]  # fmt: skip
    assert [package.package_id for package in life.store.plan_gc().packages] == [left]
    life.store.release_hold(held, hold.hold_id, reason="settled", actor="law")
    assert ids(life.store.sweep(actor="cron").marked) == [held]
    life.tick(days=20)
    assert ids(life.store.sweep(actor="cron").marked) == [extended]


def test_abandoned_packages_are_reported_and_swept_if_asked(life: Life) -> None:
    package = life.store.create_package(**SAID)
    life.store.ingest_file(package, "data", b"data", actor="ada")
    life.tick(days=20)
    life.store.ingest_file(package, "more", b"more", actor="ada")
    life.tick(days=20)
    # The last work counts, not the creation.
    assert life.store.sweep(actor="cron").abandoned == ()
    life.tick(days=11)
    with life.home.unchanged():
        assert ids(life.store.sweep(actor="cron").abandoned) == [package]
    assert ids(life.store.sweep(actor="cron", abandoned_after=100 * DAY).abandoned) == []
    assert ids(life.store.sweep(actor="cron", mark_abandoned=True).abandoned) == [package]
    assert life.store.sweep(actor="cron", mark_abandoned=True).abandoned == ()
    assert life.store.explain_retention(package).state.eligible_reason == "abandoned"
    # New work takes the mark away.
    life.store.ingest_file(package, "again", b"again", actor="ada")
    assert life.store.explain_retention(package).state.eligible_at is None
    life.tick(days=40)
    life.store.sweep(actor="cron", mark_abandoned=True)
    # So does the seal: then the clock of its class runs.
    life.store.finalize_package(package, actor="ada")
    assert life.store.explain_retention(package).state.eligible_at is None
    assert life.store.gc(actor="cron").collected == ()


def test_an_abandoned_package_is_collected(life: Life) -> None:
    package, empty = life.store.create_package(**SAID), life.store.create_package(**SAID)
    life.store.ingest_file(package, "data", b"data", actor="ada")
    path = life.path(package)
    life.tick(days=31)
    life.store.sweep(actor="cron", mark_abandoned=True)
    assert life.store.gc(actor="cron").collected == (package, empty)
    assert not path.exists()
    for gone in (package, empty):
        assert life.store.get_package(gone).status == "garbage_collected"
        with pytest.raises(StateError):
            life.store.ingest_file(gone, "late", b"late", actor="ada")
        with pytest.raises(StateError):
            life.store.finalize_package(gone, actor="ada")


def test_many_packages_are_marked_and_withdrawn_in_batches(life: Life) -> None:
    """More than two transactions' worth; written by the same events that 2,500 pushes would write."""
    from artifactstore import events

    count = 2 * sweeping._TOGETHER + 500
    keys = [life.ids().bytes for _ in range(count)]
    with life.store._transaction("ada") as transaction:
        for number, key in enumerate(keys):
            transaction.record(
                [
                    events.package_created(
                        key,
                        name=f"package-{number}",
                        producer="ci",
                        subject="app",
                        retention_class="transient",
                        retention_seconds=DAY,
                        metadata={},
                        metadata_schema=None,
                        created_at=transaction.recorded_at,
                        idempotency=None,
                    )
                ]
            )
    life.tick(days=31)
    assert len(life.store.sweep(actor="cron").abandoned) == count
    assert len(life.store.sweep(actor="cron", mark_abandoned=True).abandoned) == count
    with life.store._transaction("law") as transaction:
        transaction.record(
            events.hold_applied(key, hold_id=life.ids().bytes, reason="all", authority=None, case_id=None)
            for key in keys[100:]
        )
    assert len(life.store.sweep(actor="cron").withdrawn) == count - 100
    assert life.store.sweep(actor="cron").withdrawn == ()
    assert len(life.store.gc(actor="cron").collected) == 100


@pytest.mark.slow
def test_more_expired_packages_than_fit_in_a_batch_are_marked() -> None:
    with in_memory() as folder:
        life = Life(folder)
        tree = write_tree(folder / "tree", {"data": b"the same"})
        said = {**SAID, "retention_class": "transient"}
        packages = [life.store.push(tree, **said).package.package_id for _ in range(1_200)]
        assert len(packages) > sweeping._TOGETHER
        life.tick(days=2)
        assert ids(life.store.sweep(actor="cron").marked) == packages
        assert life.store.sweep(actor="cron").marked == ()
        result = life.store.gc(actor="cron")
        assert len(result.collected) == 1_200
        assert result.removed_count == 1_201  # each has a manifest of its own
        life.finish()


# Clocks


def test_a_clock_that_goes_backwards_shortens_nothing_and_is_reported(life: Life) -> None:
    (package,) = life.expired(b"one")
    life.tick(days=-10)
    later = life.push(b"two")
    found = life.store.get_package(later)
    newest = life.store.events(after=life.newest() - 1)[0].recorded_at
    assert found.finalized_at == newest
    assert found.expires_at == newest + DAY * MICROSECONDS
    health = life.store.health()
    assert health.status == "ok"
    assert "the clock stands before the newest event" in health.warnings[0]
    # What is not due by this clock is not deleted by it.
    assert life.store.gc(actor="cron").collected == ()
    assert ids(life.store.sweep(actor="cron").withdrawn) == [package]
    life.tick(days=10)
    assert life.store.health().warnings == ()
    assert ids(life.store.sweep(actor="cron").marked) == [package]


def test_a_clock_a_year_ahead_stops_sweep_and_gc_unless_it_is_accepted(life: Life) -> None:
    (package,) = life.expired(b"one")
    kept = life.push(b"two", "summary-evidence")
    plan = life.store.plan_gc()
    assert life.store.explain_retention(package).gc == "delete it"
    life.tick(days=365, seconds=10)
    assert life.store.health().status == "ok"
    assert "more than a year after the newest event" in life.store.health().warnings[0]
    explained = life.store.explain_retention(package)
    assert explained.sweep == explained.gc
    assert explained.gc.startswith("stop, unless the clock is accepted")
    with life.home.unchanged():
        for call in (life.store.sweep, life.store.gc):
            with refused(StateError, "clock-jumped", "the newest event is of"):
                call(actor="cron")
        with refused(StateError, "clock-jumped"):
            life.store.gc(actor="cron", plan=plan)
    assert ids(life.store.sweep(actor="cron", accept_clock=True).marked) == [kept]
    # The events of that sweep are of today, so the clock is believed from here on.
    assert life.store.health().warnings == ()
    assert life.store.explain_retention(package).gc == "delete it"
    assert life.store.gc(actor="cron").collected == (package, kept)


def test_a_plan_says_that_gc_would_not_believe_the_clock(
    life: Life, caplog: pytest.LogCaptureFixture
) -> None:
    (package,) = life.expired(b"one")
    life.store.plan_gc()
    assert caplog.text == ""
    life.tick(days=400)
    with life.home.unchanged():
        assert [planned.package_id for planned in life.store.plan_gc().packages] == [package]
    assert "gc deletes nothing unless the clock is accepted" in caplog.text
    caplog.clear()
    assert life.store.gc(actor="cron", accept_clock=True).collected == (package,)
    assert caplog.text == ""


@pytest.mark.parametrize("days", [3, 30, 364.9])
def test_an_idle_time_below_a_year_passes(life: Life, days: float) -> None:
    package = life.push(b"one")
    life.tick(days=days)
    assert ids(life.store.sweep(actor="cron").marked) == [package]
    life.tick(days=days)
    assert life.store.gc(actor="cron").collected == (package,)


def test_an_interrupted_sweep_is_finished_by_the_next(life: Life, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeping, "_TOGETHER", 2)
    packages = [life.push(bytes([number])) for number in range(5)]
    life.tick(days=2)
    looks = iter(range(100))

    def clock() -> int:
        if next(looks) == 3:
            raise KeyboardInterrupt
        return life.clock()

    with pytest.raises(KeyboardInterrupt):
        sweeping.sweep(
            lambda: life.store._transaction("cron"), clock, abandoned_after=DAY, mark_abandoned=False
        )
    before = len(life.store.plan_gc().packages)
    life.reopen()
    rest = ids(life.store.sweep(actor="cron").marked)
    assert before + len(rest) == len(packages)
    assert [package.package_id for package in life.store.plan_gc().packages] == packages


def test_a_sweep_says_that_the_clock_stands_back(life: Life, caplog: pytest.LogCaptureFixture) -> None:
    life.push(b"one")
    life.tick(days=-1)
    assert life.store.sweep(actor="cron").marked == ()
    assert "the clock stands before the newest event" in caplog.text


def test_an_unchanged_push_never_returns_a_package_that_may_go(life: Life) -> None:
    (package,) = life.expired(b"one")
    again = life.push(b"one", if_changed=True)
    assert again != package
    assert life.push(b"one", if_changed=True) == again


def test_an_unchanged_push_never_returns_a_package_whose_time_is_over(life: Life) -> None:
    package = life.push(b"one")
    assert life.push(b"one", if_changed=True) == package
    life.tick(days=2)  # and nobody has swept
    assert life.push(b"one", if_changed=True) != package


def test_an_unchanged_push_never_returns_a_package_of_another_class(life: Life) -> None:
    package = life.push(b"one")
    longer = life.push(b"one", if_changed=True, retention_class="release-evidence")
    assert longer != package
    assert life.push(b"one", if_changed=True) == package
    assert life.push(b"one", if_changed=True, retention_class="release-evidence") == longer


def test_a_push_with_a_key_is_repeated_after_its_class_has_left_the_policy(life: Life) -> None:
    life.reopen(RetentionPolicy({"nightly": 3600}))
    said = {"retention_class": "nightly", "idempotency_key": "run-1"}
    package = life.push(b"one", **said)
    life.reopen()
    assert life.push(b"one", **said) == package
    with life.home.unchanged(), refused(InvalidInputError, "unknown-retention-class", "nightly"):
        life.push(b"one", retention_class="nightly")


def test_a_push_with_the_key_of_a_package_that_is_gone_does_not_say_that_it_is_stored(life: Life) -> None:
    package = life.push(b"one", idempotency_key="run-1")
    assert life.push(b"one", idempotency_key="run-1") == package
    life.tick(days=2)
    life.store.sweep(actor="cron")
    assert life.push(b"one", idempotency_key="run-1") == package
    life.store.gc(actor="cron")
    with life.home.unchanged(), refused(StateError, "collected", "'run-1'", package):
        life.push(b"one", idempotency_key="run-1")
    assert life.store.read_file(life.push(b"one", idempotency_key="run-2"), "data") == b"one"
