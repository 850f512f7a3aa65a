"""Gc: what it plans, what it deletes, what it leaves alone, and what it does when it is stopped."""

from __future__ import annotations

import dataclasses
import errno
import os
from typing import TYPE_CHECKING, Any

import pytest
from store.harness import read_tree, refused

from artifactstore import (
    AccessError,
    IntegrityError,
    InvalidInputError,
    StateError,
    codec,
)
from artifactstore.lifecycle import gc
from artifactstore.lifecycle.gc_plan import PLAN_TYPE, GcPlan
from lifecycle.harness import DAY

if TYPE_CHECKING:
    from pathlib import Path

    from lifecycle.harness import Life

SHARED = b"shared" * 100


def release_only(life: Life) -> list[tuple[str, bool]]:
    """A gc that dies between the release and the removal."""
    begin = lambda: life.store._transaction("cron")  # noqa: E731
    return list(gc.release(begin, life.store.plan_gc(), life.clock))


def test_a_plan_tells_names_and_bytes_and_changes_nothing(life: Life) -> None:
    one = life.push({"own": b"1234", "shared": SHARED, "twice": SHARED}, name="first")
    two = life.push({"other": b"123456", "shared": SHARED}, name="second")
    stays = life.push({"mine": b"12", "common": b"common"}, "raw-evidence")
    three = life.push({"common": b"common"}, name="third")
    life.tick(days=2)
    life.store.sweep(actor="cron")
    with life.home.unchanged():
        plan = life.store.plan_gc()
    manifests = {package: life.store.get_package(package).manifest_size or 0 for package in (one, two, three)}
    assert plan.store_id == str(life.store.store_id)
    assert [package.package_id for package in plan.packages] == [one, two, three]
    # Bytes are counted once for the plan, and once for each package that needs them.
    assert plan.freed_size == len(SHARED) + 4 + 6 + sum(manifests.values())
    assert plan.shared_size == len(b"common")
    assert plan.object_count == 6
    first, second, third = plan.packages
    assert (first.name, first.retention_class, first.reason) == ("first", "transient", "expired")
    assert (first.eligible_by, first.file_count, first.total_size) == ("cron", 3, 4 + 2 * len(SHARED))
    assert (first.freed_size, first.shared_size) == (len(SHARED) + 4 + manifests[one], 0)
    assert second.freed_size == len(SHARED) + 6 + manifests[two]
    assert (third.freed_size, third.shared_size) == (manifests[three], len(b"common"))
    assert first.expires_at == life.store.get_package(one).expires_at
    result = life.store.gc(actor="gc", plan=plan)
    assert (result.collected, result.passed_over) == ((one, two, three), ())
    assert (result.removed_count, result.removed_size) == (plan.object_count, plan.freed_size)
    assert life.store.read_file(stays, "common") == b"common"


def test_gc_removes_the_bytes_and_nothing_else(life: Life) -> None:
    kept = life.push({"kept": b"kept", "shared": SHARED}, "raw-evidence")
    before = read_tree(life.home.objects)
    packages = [life.push({"a": b"a", "b": b"bb" * 9000, "shared": SHARED}), life.push({"a": b"a"})]
    paths = {life.path(packages[0], name) for name in "ab"} | set(map(life.manifest_path, packages))
    assert all(path.exists() for path in paths)
    life.tick(days=2)
    life.store.sweep(actor="cron")
    start = life.newest()
    result = life.store.gc(actor="gc")
    assert result.removed_count == 4
    assert read_tree(life.home.objects) == before
    assert life.types(after=start) == [
        *["v1.storage.location_deleted"] * 4, "v1.package.garbage_collected",
        *["v1.storage.location_deleted"] * 2, "v1.package.garbage_collected",
        *["v1.storage.object_deleted"] * 4,
    ]  # fmt: skip
    assert {event.actor for event in life.store.events(after=start)} == {"gc"}
    assert life.store.read_file(kept, "shared") == SHARED


def test_a_collected_package_answers_as_a_tombstone(life: Life) -> None:
    package = life.push({"a": b"a", "b": b"b"}, metadata={"run": 7})
    before, files = life.store.get_package(package), life.store.list_files(package).items
    life.tick(days=2)
    life.store.sweep(actor="cron")
    plan = life.store.plan_gc()
    life.store.gc(actor="gc", plan=plan)
    after = life.store.get_package(package)
    assert after == dataclasses.replace(before, status="garbage_collected")
    assert life.store.list_files(package).items == files
    state = life.store.explain_retention(package).state
    assert (state.collected_by, state.collected_plan, state.eligible_by) == ("gc", plan.digest, "cron")
    assert state.collected_at is not None
    last = life.store.retention_history(package)[-1]
    assert (last.type, last.payload["reason"]) == ("v1.package.garbage_collected", "expired")
    # Listed on request only, found by digest always.
    assert life.store.list_packages().items == ()
    assert life.store.list_packages(status="garbage_collected").items == (after,)
    for digest in (files[0].digest, files[0].sha256):
        (hit,) = life.store.find_object(str(digest))
        assert (hit.package, hit.file) == (after, files[0])
    # What has no bytes says so.
    with refused(StateError, "collected", package):
        life.store.get_manifest_bytes(package)
    with refused(StateError, "collected", package):
        life.store.read_file(package, "a")


def test_an_object_is_removed_with_its_last_user(life: Life) -> None:
    packages = [life.push(SHARED, name) for name in ("transient", "raw-evidence", "summary-evidence")]
    path = life.path(packages[0])
    for days, left in ((2, True), (90, True), (300, False)):
        life.tick(days=days)
        life.store.sweep(actor="cron")
        assert len(life.store.gc(actor="cron").collected) == 1
        assert path.exists() is left
        assert life.store.fsck(read=True).clean


def test_gc_again_does_nothing(life: Life) -> None:
    life.expired(b"one")
    assert life.store.gc(actor="cron").removed_count == 2
    with life.home.unchanged():
        result = life.store.gc(actor="cron")
    assert (result.plan.packages, result.collected, result.removed_count) == ((), (), 0)


# Plans


def test_a_plan_survives_its_file(life: Life, tmp_path: Path) -> None:
    packages = life.expired(b"one", b"two")
    plan = life.store.plan_gc()
    (tmp_path / "plan").write_bytes(plan.to_bytes())
    read = GcPlan.from_bytes((tmp_path / "plan").read_bytes())
    assert read == plan
    assert read.digest == plan.digest
    assert life.store.gc(actor="gc", plan=read).collected == tuple(packages)
    with refused(StateError, "plan-stale"):
        life.store.gc(actor="gc", plan=read)


def test_a_plan_executes_only_what_it_names(life: Life) -> None:
    (package,) = life.expired(b"one")
    plan = life.store.plan_gc()
    (later,) = life.expired(b"two")
    assert life.store.gc(actor="gc", plan=plan).collected == (package,)
    assert [entry.package_id for entry in life.store.plan_gc().packages] == [later]


def test_a_truncated_or_altered_plan_deletes_nothing(life: Life) -> None:
    life.expired(b"one", b"two")
    data = life.store.plan_gc().to_bytes()
    with life.home.unchanged():
        for length in range(len(data)):
            with pytest.raises(IntegrityError):
                GcPlan.from_bytes(data[:length])
        with pytest.raises(IntegrityError):
            GcPlan.from_bytes(data + b"\x00")
        for position in range(len(data)):
            for bit in (0x01, 0x10, 0x80):
                altered = bytearray(data)
                altered[position] ^= bit
                with pytest.raises((IntegrityError, StateError, InvalidInputError)):
                    life.store.gc(actor="gc", plan=GcPlan.from_bytes(bytes(altered)))


@pytest.mark.parametrize(
    "change",
    [
        {"media_type": "text/plain"},
        {"packages": 3},
        {"packages": [3]},
        {"packages": [{"package_id": "x"}]},
        {"surplus": 1},
        {"store_id": None},
        {"object_count": "many"},
        {"package_id": 7},
        {"package_id": [1]},
        {"package_id": None},
        {"name": {"a": 1}},
        {"freed_size": 10**18},
        {"store_id": "x" * 100_000},
        {"store_id": {"a": 1}},
        {"name": 7},
        {"expires_at": 2**62},
        {"expires_at": "2026"},
        {"eligible_at": None},
        {"eligible_at": True},
        {"file_count": -1},
        {"total_size": 1.5},
        {"reason": None},
    ],
    ids=str,
)
def test_a_document_that_is_no_plan_is_refused(life: Life, change: dict[str, Any]) -> None:
    life.expired(b"one")
    document: Any = codec.decode(life.store.plan_gc().to_bytes())
    target = document["packages"][0] if change.keys() & document["packages"][0].keys() else document
    target.update({key: value for key, value in change.items() if key != "freed_size"})
    if "freed_size" in change:
        document["packages"][0].update(change)
    with life.home.unchanged(), pytest.raises((IntegrityError, StateError)) as caught:
        life.store.gc(actor="gc", plan=GcPlan.from_bytes(codec.encode(document)))
    assert len(caught.value.message) < 300


@pytest.mark.parametrize("value", [None, 3, "text", b"", [], {}, {"media_type": PLAN_TYPE}])
def test_other_cbor_is_no_plan(value: Any) -> None:
    with refused(IntegrityError, "not-a-plan"):
        GcPlan.from_bytes(codec.encode(value))


def test_a_plan_names_a_package_twice(life: Life) -> None:
    life.expired(b"one")
    plan = life.store.plan_gc()
    with life.home.unchanged(), refused(StateError, "plan-stale"):
        life.store.gc(actor="gc", plan=dataclasses.replace(plan, packages=plan.packages * 2))


def test_a_plan_of_another_store_is_refused(life: Life, tmp_path: Path) -> None:
    from store.harness import CountedIds

    from lifecycle.harness import Life as Another

    life.expired(b"one")
    ids = CountedIds()
    ids()  # the id of a store is its first one
    other = Another(tmp_path / "other", ids=ids)
    other.expired(b"one")
    with (
        life.home.unchanged(),
        refused(InvalidInputError, "plan-of-another-store", str(other.store.store_id)),
    ):
        life.store.gc(actor="gc", plan=other.store.plan_gc())
    other.finish()


def test_a_plan_is_stale_after_a_hold_an_extension_a_withdrawal_or_a_new_user(life: Life) -> None:
    (package,) = life.expired(b"one")

    def stale(mention: str) -> None:
        with life.home.unchanged():
            with refused(StateError, "plan-stale", mention):
                life.store.gc(actor="gc", plan=plan)
            with refused(StateError, "plan-stale", mention):
                life.store.plan_gc(plan=plan)

    plan = life.store.plan_gc()
    hold = life.store.apply_hold(package, reason="lawsuit", actor="law")
    stale("may not go")
    life.store.sweep(actor="cron")
    life.store.release_hold(package, hold.hold_id, reason="settled", actor="law")
    life.store.sweep(actor="cron")
    stale("was marked again")
    plan = life.store.plan_gc()
    assert life.store.plan_gc(plan=plan) is plan
    life.push(b"one", "raw-evidence")
    stale("share")
    plan = life.store.plan_gc()
    life.store.extend_retention(package, by=9 * DAY, actor="law")
    stale("may not go")


@pytest.mark.parametrize("saved", ["hold", "extension", "another gc"])
def test_what_is_saved_between_plan_and_release_is_passed_over(life: Life, saved: str) -> None:
    """The decision is made again under the lock, for each package."""
    first, second = life.expired(b"one", b"two")
    plan = life.store.plan_gc()
    begin = lambda: life.store._transaction("cron")  # noqa: E731
    releasing = gc.release(begin, plan, life.clock)
    assert next(releasing) == (first, True)
    if saved == "hold":
        life.store.apply_hold(second, reason="lawsuit", actor="law")
    elif saved == "extension":
        life.store.extend_retention(second, by=9 * DAY, actor="law")
    else:
        assert life.store.gc(actor="cron").collected == (second,)
    assert next(releasing) == (second, False)
    if saved != "another gc":
        assert list(gc.remove_objects(begin, life.store._backends.present()))
        assert life.store.read_file(second, "data") == b"two"
    assert life.store.get_package(first).status == "garbage_collected"


# Interruptions


def test_an_interrupted_gc_is_finished_by_the_next(life: Life) -> None:
    packages = life.expired(b"one", b"two")
    paths = [*map(life.path, packages), *map(life.manifest_path, packages)]
    assert release_only(life) == [(package, True) for package in packages]
    assert all(path.exists() for path in paths)
    life.reopen()
    # An object that waits to be removed is nobody's loss and nobody's orphan.
    assert life.store.fsck(read=True).clean
    paths[0].unlink()  # as if it had died between the removal and its record
    assert life.store.fsck(read=True).clean
    result = life.store.gc(actor="cron")
    assert (result.collected, result.removed_count) == ((), 4)
    assert not any(path.exists() for path in paths)


@pytest.mark.parametrize("way", ["push", "ingest_file", "ingest_directory"])
def test_bytes_that_come_back_between_release_and_removal_are_kept(
    life: Life, tmp_path: Path, way: str
) -> None:
    (package,) = life.expired(SHARED)
    path = life.path(package)
    release_only(life)
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / "data").write_bytes(SHARED)
    if way == "push":
        new = life.push(SHARED, "raw-evidence")
    else:
        new = life.store.create_package(
            name="again", producer="ci", subject="app", retention_class="raw-evidence", actor="ada"
        )
        if way == "ingest_file":
            life.store.ingest_file(new, "data", SHARED, actor="ada")
        else:
            life.store.ingest_directory(new, tmp_path / "again", actor="ada")
    result = life.store.gc(actor="cron")
    assert result.removed_count == 1  # the manifest of the old one
    assert path.exists()
    assert life.store.read_file(new, "data") == SHARED


@pytest.mark.parametrize("way", ["push", "ingest_file", "ingest_directory", "finalize"])
def test_bytes_that_go_while_an_ingest_runs_are_written_again(
    life: Life, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """A gc runs whole between the moment when the ingest has published and its commit."""
    from artifactstore.objects.local_batch import LocalBatch

    (package,) = life.expired(SHARED)
    path = life.path(package)
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / "data").write_bytes(SHARED)
    new = life.store.create_package(
        name="again", producer="ci", subject="app", retention_class="raw-evidence", actor="ada"
    )
    publish = LocalBatch.publish
    collected = []

    def published(batch: LocalBatch) -> None:
        publish(batch)
        if not collected:
            collected.append(package)
            assert life.store.gc(actor="cron").collected == (package,)
            life.store.orphans(actor="cron", delete=True, older_than=-10 * 365 * DAY)

    if way == "finalize":
        life.store.ingest_file(new, "data", SHARED, actor="ada")
    monkeypatch.setattr(LocalBatch, "publish", published)
    if way == "push":
        new = life.push(SHARED, "raw-evidence")
    elif way == "ingest_file":
        life.store.ingest_file(new, "data", SHARED, actor="ada")
    elif way == "ingest_directory":
        life.store.ingest_directory(new, tmp_path / "again", actor="ada")
    else:
        life.store.finalize_package(new, actor="ada")
    assert collected
    assert path.exists()
    assert life.store.read_file(new, "data") == SHARED


def test_a_gc_that_may_not_remove_goes_on_when_it_may(life: Life, monkeypatch: pytest.MonkeyPatch) -> None:
    (package,) = life.expired(b"one")
    path = life.path(package)
    unlink = os.unlink
    calls = iter(range(9))

    def refusing(path: str, *, dir_fd: int | None = None) -> None:
        if next(calls) == 1:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), path)
        unlink(path, dir_fd=dir_fd)

    with monkeypatch.context() as patched:
        patched.setattr(os, "unlink", refusing)
        with pytest.raises(AccessError):
            life.store.gc(actor="cron")
    assert life.store.fsck(read=True).clean
    assert life.store.gc(actor="cron").removed_count == 2
    assert not path.exists()


def test_gc_frees_the_copies_too(life: Life) -> None:
    package = life.push(SHARED)
    life.store.copy(source="local", target="second", actor="ada")
    life.tick(days=2)
    life.store.sweep(actor="cron")
    copy = life.path(package, backend="second")
    assert copy.exists()
    plan = life.store.plan_gc()
    assert plan.object_count == 4
    assert life.store.gc(actor="cron").removed_count == 4
    assert not copy.exists()


def test_many_objects_are_removed_in_several_transactions(
    life: Life, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gc, "_REMOVED_AT_ONCE", 3)
    life.push({f"f{number}": b"%d" % number for number in range(10)})
    life.tick(days=2)
    life.store.sweep(actor="cron")
    assert life.store.gc(actor="cron").removed_count == 11
    assert life.home.object_paths() == []


def test_a_push_whose_object_goes_before_it_is_published_does_not_fail(
    life: Life, monkeypatch: pytest.MonkeyPatch
) -> None:
    from artifactstore.objects.local_batch import LocalBatch

    (package,) = life.expired(SHARED)
    publish = LocalBatch.publish
    collected: list[str] = []

    def published(batch: LocalBatch) -> None:
        if not collected:
            collected.append(package)
            assert life.store.gc(actor="cron").collected == (package,)
        publish(batch)

    monkeypatch.setattr(LocalBatch, "publish", published)
    assert life.store.read_file(life.push(SHARED, "raw-evidence"), "data") == SHARED
