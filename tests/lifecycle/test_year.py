"""A year of simulated time: ten thousand files, all classes, and a log that explains every deletion."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from store.harness import incompressible

from artifactstore import events
from artifactstore.lifecycle.retention import DEFAULT_CLASSES
from lifecycle.harness import DAY, MICROSECONDS, SECOND, flip

if TYPE_CHECKING:
    from crash.report import Drill

    from artifactstore.events import Event
    from lifecycle.harness import Life

STEP = 5  # days


def all_events(life: Life) -> list[Event]:
    log: list[Event] = []
    while page := life.store.events(after=len(log)):
        log += page
    return log


def assert_explained(log: list[Event]) -> int:
    """Walk the log: each release must follow from a mark, an expiry and no hold; how many there were."""
    expires: dict[bytes, int | None] = {}
    marked: dict[bytes, bool] = {}
    holds: dict[bytes, set[bytes]] = {}
    users: dict[tuple[bytes, str], int] = {}
    collected = 0
    for event in log:
        package, payload = event.package_id or b"", event.payload
        if event.type in {events.FILE_INGESTED, events.PACKAGE_FINALIZED}:
            name = "blake3" if event.type == events.FILE_INGESTED else "manifest_blake3"
            key = (payload[name], payload["backend_id"])
            users[key] = users.get(key, 0) + 1
        if event.type == events.PACKAGE_FINALIZED:
            expires[package] = payload["expires_at"]
        elif event.type == events.RETENTION_EXTENDED:
            assert payload["expires_at"] is None or payload["expires_at"] > (expires[package] or 0)
            expires[package] = payload["expires_at"]
        elif event.type == events.HOLD_APPLIED:
            holds.setdefault(package, set()).add(payload["hold_id"])
        elif event.type == events.HOLD_RELEASED:
            holds[package].remove(payload["hold_id"])
        elif event.type == events.DELETION_ELIGIBLE:
            assert (payload["reason"], payload["expires_at"]) == ("expired", expires[package])
            marked[package] = True
        elif event.type == events.ELIGIBILITY_WITHDRAWN:
            marked[package] = False
        elif event.type == events.LOCATION_ADDED:
            key = (payload["blake3"], payload["backend_id"])
            users[key] = users.get(key, 0) + 1
        elif event.type in {events.LOCATION_DELETED, events.GARBAGE_COLLECTED}:
            limit = expires[package]
            assert limit is not None
            assert limit <= event.recorded_at
            assert marked[package]
            assert not holds.get(package)
            if event.type == events.LOCATION_DELETED:
                users[payload["blake3"], payload["backend_id"]] -= 1
            else:
                assert len(payload["plan_digest"]) == 32
                collected += 1
        elif event.type == events.OBJECT_DELETED:
            assert users.pop((payload["blake3"], payload["backend_id"])) == 0
    # And what nobody needs any more is gone.
    assert all(users.values())
    return collected


def walk(life: Life, *, packages: int, files: int) -> None:
    """Push, then a year of cron, with holds, extensions and one accident on the way."""
    generator = random.Random("a year")
    classes = list(DEFAULT_CLASSES)
    shared = [incompressible(300, seed) for seed in range(files // 5)]
    pushed: list[str] = []
    for number in range(packages):
        tree = {f"own/{place:03}": b"%d/%d\n" % (number, place) * 20 for place in range(files - len(shared))}
        tree |= {f"shared/{place:03}": data for place, data in enumerate(shared)}
        pushed.append(life.push(tree, classes[number % len(classes)], name=f"package-{number}"))
        life.tick(seconds=3600)
    life.store.copy(source="local", target=SECOND, retention_class="release-evidence", actor="ada")
    held: list[tuple[str, str]] = []
    gone: set[str] = set()
    for day in range(0, 370, STEP):
        life.tick(days=STEP)
        alive = [package for package in pushed if package not in gone]
        for package in generator.sample(alive, 3):
            hold = life.store.apply_hold(package, reason="lawsuit", case_id=f"case-{day}", actor="law")
            held.append((package, hold.hold_id))
        if len(held) > 12:
            package, hold_id = held.pop(generator.randrange(len(held)))
            life.store.release_hold(package, hold_id, reason="settled", actor="law")
        package = generator.choice(alive)
        expires = life.store.get_package(package).expires_at
        if expires is not None:
            until = max(expires, life.clock.now) + 20 * DAY * MICROSECONDS
            life.store.extend_retention(package, until=until, actor="ada", reason="still needed")
        life.store.sweep(actor="cron")
        holders = {package for package, _ in held}
        plan = life.store.plan_gc()
        assert holders.isdisjoint(package.package_id for package in plan.packages)
        result = life.store.gc(actor="cron", plan=plan)
        assert (result.removed_count, result.removed_size) == (plan.object_count, plan.freed_size)
        gone.update(result.collected)
        if day == 100:
            accident(life, alive)
    for package in pushed:
        expected = "garbage_collected" if package in gone else "finalized"
        assert life.store.get_package(package).status == expected
    assert assert_explained(all_events(life)) == len(gone)
    # A year has taken what its class says and nothing else; each one that is gone tells why.
    for package in gone:
        state = life.store.explain_retention(package).state
        assert state.retention_class in {"transient", "raw-evidence", "summary-evidence"}
        assert state.collected_plan is not None
        assert life.store.retention_history(package)[-1].type == events.GARBAGE_COLLECTED
    assert len(gone) >= packages // 5


def accident(life: Life, alive: list[str]) -> None:
    """A flipped byte is found, reported with its packages, and repaired from the second backend."""
    victim = next(
        package for package in alive if life.store.get_package(package).retention_class == "release-evidence"
    )
    file = life.store.list_files(victim).items[0]
    flip(life.path(victim, file.relative_path))
    (failure,) = life.store.verify(actor="scrub").failures
    assert victim in failure.packages
    assert life.store.health().status == "degraded"
    (healed,) = life.store.repair(actor="ada").healed
    assert (healed.blake3, healed.origin) == (file.digest.value, f"backend {SECOND}")
    assert life.store.health().status == "ok"


def test_a_year_with_few_files(life: Life) -> None:
    walk(life, packages=30, files=10)


@pytest.mark.slow
def test_a_year_with_thousands_of_files(life: Life, drill: Drill) -> None:
    walk(life, packages=200 if drill.full else 80, files=50)
