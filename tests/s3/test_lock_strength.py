"""No lock is ever weaker than the log, and none outlasts it that gc could lift."""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING, Any

import pytest
from store.harness import SAID, FakeClock, Home, write_tree

from artifactstore import BackendError, Store
from artifactstore.lifecycle.policy import RetentionPolicy
from s3.places import REMOTE
from s3.proxy import Fault, Request, error, in_front_of
from s3.test_object_lock import ACTOR, LIFE, SHORT, collected, freed, locked

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from s3.test_object_lock import Locked

__all__ = ["locked"]

DAY = 86_400_000_000  # microseconds
ALWAYS = 1000


def past() -> FakeClock:
    """A clock by which whatever is short has ended long ago on the server."""
    return FakeClock(time.time_ns() // 1000 - 10 * DAY)


def endpoint(locked: Locked) -> str:
    assert locked.place.server is not None
    return str(locked.place.server.config("").endpoint_url)


def about(locked: Locked, data: bytes, method: str, query: str) -> Callable[[Request], bool]:
    """Whether a request is of a kind, and about an object."""
    key = locked.key(data)
    return lambda asked: asked.method == method and query in asked.path and f"/{key}?" in asked.path


def is_hold(asked: Request) -> bool:
    return asked.method == "PUT" and "legal-hold" in asked.path


def lock_by_hand(locked: Locked, data: bytes, *, on: bool, **version: str) -> None:
    status = {"Status": "ON" if on else "OFF"}
    locked.call("put_object_legal_hold", Key=locked.key(data), LegalHold=status, **version)


def test_what_is_kept_for_ever_is_locked_as_long_as_any_server_can(
    locked: Locked, home: Home, tmp_path: Path
) -> None:
    write_tree(tmp_path / "tree", {"file": b"file"})
    with locked.store(home, "GOVERNANCE") as store:
        store.push(tmp_path / "tree", **{**SAID, "retention_class": "permanent-record"})
        until = locked.until(b"file")
        assert until is not None
        assert until.year == 2106
        assert store.fsck().clean
        # It is as long as it can be, which is no reason to fail.
        store.push(tmp_path / "tree", **{**SAID, "retention_class": "permanent-record", "name": "again"})
        assert store.verify(**ACTOR).relocked_count == 0


def test_a_hold_is_lifted_when_the_log_says_that_it_is_over(
    locked: Locked, home: Home, tmp_path: Path
) -> None:
    write_tree(tmp_path / "tree", {"file": b"file"})
    logged: list[int] = []
    with (
        in_front_of(endpoint(locked)) as proxy,
        locked.store(home, "GOVERNANCE", asked={"endpoint_url": proxy.url}) as store,
        locked.store(home, "GOVERNANCE") as other,
    ):
        package = store.push(tmp_path / "tree", **SAID).package.package_id
        hold = store.apply_hold(package, reason="case", **ACTOR).hold_id
        proxy.plan(
            Fault(is_hold, ALWAYS, before=lambda: logged.append(len(other.explain_retention(package).holds)))
        )
        store.release_hold(package, hold, reason="over", **ACTOR)
        assert logged == [0, 0]  # the file, the manifest
        assert not locked.held(b"file")


def test_a_hold_that_the_server_does_not_lift_is_lifted_by_gc(
    locked: Locked, home: Home, tmp_path: Path
) -> None:
    write_tree(tmp_path / "tree", {"file": b"file"})
    with (
        in_front_of(endpoint(locked)) as proxy,
        locked.store(home, "GOVERNANCE", asked={"endpoint_url": proxy.url, "pause": 0.01}) as store,
    ):
        package = store.push(tmp_path / "tree", **LIFE).package.package_id
        hold = store.apply_hold(package, reason="case", **ACTOR).hold_id
        proxy.plan(refusal := Fault(is_hold, ALWAYS, instead=error(403, "AccessDenied")))
        assert store.release_hold(package, hold, reason="over", **ACTOR).released_at is not None
        assert refusal.seen
        assert locked.held(b"file")
        proxy.plan()
        first = collected(store, 1)
        assert first.held_count == 0
        assert first.removed_count + freed(store, locked, b"file").removed_count == 2


@pytest.mark.parametrize("mode", ["GOVERNANCE", None])
def test_a_hold_of_somebody_else_stays(locked: Locked, home: Home, tmp_path: Path, mode: str | None) -> None:
    write_tree(tmp_path / "tree", {"file": b"file", "other": b"other"})
    clock = past()
    with locked.store(home, mode, clock=clock) as store:
        store.push(tmp_path / "tree", **LIFE)
        [version] = locked.versions(b"file")
        lock_by_hand(locked, b"file", on=True)
        clock.now += DAY
        store.sweep(**ACTOR)
        for removed in (2, 0):
            result = store.gc(**ACTOR)
            assert (result.removed_count, result.locked_count) == (removed, 0)
            assert (result.held_count, result.held_size) == (1, 4)
            assert version in locked.versions(b"file")
        lock_by_hand(locked, b"file", on=False, VersionId=version)
        assert freed(store, locked, b"file").removed_count == 1
        assert store.fsck().clean


def test_what_is_held_past_its_time_is_copied_and_mended(locked: Locked, home: Home, tmp_path: Path) -> None:
    write_tree(tmp_path / "tree", {"file": b"file"})
    clock = past()
    policy = RetentionPolicy(overrides={"transient": SHORT})
    with Store.open(home.database, home.objects, clock=clock, policy=policy) as local:
        package = local.push(tmp_path / "tree", **LIFE).package.package_id
        local.apply_hold(package, reason="case", **ACTOR)
    clock.now += DAY
    with locked.store(home, "GOVERNANCE", clock=clock) as store:
        assert store.copy(source="local", target=REMOTE, **ACTOR).object_count == 2
        assert locked.held(b"file")
        assert locked.until(b"file") is None
        locked.call("put_object", Key=locked.key(b"file"), Body=b"elif")
        assert len(store.verify(**ACTOR).failures) == 1
        assert len(store.repair(**ACTOR).healed) == 1
        assert locked.held(b"file")
        locked.call("put_object", Key=locked.key(b"file"), Body=b"life")
        assert len(store.verify(**ACTOR).failures) == 1
        store.push(tmp_path / "tree", **{**LIFE, "name": "again"})
        assert locked.held(b"file")
        assert store.fsck(read=True).clean


def versions(locked: Locked, data: bytes) -> dict[str, bool]:
    """The versions of an object, and whether each has the right bytes."""
    found = {}
    page = locked.call("list_object_versions", Prefix=locked.key(data))
    for entry in page.get("Versions", ()):
        answer = locked.call("get_object", Key=locked.key(data), VersionId=entry["VersionId"])
        found[entry["VersionId"]] = bytes(answer["Body"]) == data
    return found


def damage_and_mend(locked: Locked, data: bytes) -> str:
    """Give an object three versions, of which one is damaged; which that is."""
    for body in (data[::-1], data):
        locked.call("put_object", Key=locked.key(data), Body=body)
    found = versions(locked, data)
    assert sorted(found.values()) == [False, True, True]
    return next(version for version, right in found.items() if not right)


@pytest.mark.parametrize("mode", ["GOVERNANCE", None])
@pytest.mark.parametrize("interrupted", [1, 2])  # of the three deletions: nothing is hidden first
def test_an_interrupted_gc_uncovers_no_older_version(
    locked: Locked, home: Home, tmp_path: Path, mode: str | None, interrupted: int
) -> None:
    write_tree(tmp_path / "tree", {"file": b"file"})
    clock = past()
    with (
        in_front_of(endpoint(locked)) as proxy,
        locked.store(home, mode, clock=clock, asked={"endpoint_url": proxy.url, "pause": 0.01}) as store,
    ):
        store.push(tmp_path / "tree", **LIFE)
        damage_and_mend(locked, b"file")
        clock.now += DAY
        store.sweep(**ACTOR)
        counted = itertools.count()
        removal = about(locked, b"file", "DELETE", "versionId=")
        fault = Fault(
            lambda asked: removal(asked) and next(counted) >= interrupted,
            ALWAYS,
            instead=error(500, "InternalError"),
        )
        proxy.plan(fault)
        with pytest.raises(BackendError):
            store.gc(**ACTOR)
        assert fault.seen
        proxy.plan()
        # A push that finds something there takes it for the object.
        package = store.push(tmp_path / "tree", **{**LIFE, "name": "again"}).package.package_id
        assert store.read_file(package, "file") == b"file"
        assert store.fsck(read=True).clean


@pytest.mark.parametrize("mode", ["GOVERNANCE", None])
def test_a_locked_older_version_does_not_come_to_light(
    locked: Locked, home: Home, tmp_path: Path, mode: str | None
) -> None:
    write_tree(tmp_path / "tree", {"file": b"file"})
    clock = past()
    with locked.store(home, mode, clock=clock) as store:
        store.push(tmp_path / "tree", **LIFE)
        damaged = damage_and_mend(locked, b"file")
        lock_by_hand(locked, b"file", on=True, VersionId=damaged)
        clock.now += DAY
        store.sweep(**ACTOR)
        result = store.gc(**ACTOR)
        assert (result.removed_count, result.held_count) == (1, 1)
        package = store.push(tmp_path / "tree", **{**LIFE, "name": "again"}).package.package_id
        assert store.read_file(package, "file") == b"file"
        clock.now += DAY
        store.sweep(**ACTOR)
        lock_by_hand(locked, b"file", on=False, VersionId=damaged)
        assert store.gc(**ACTOR).held_count == 0
        assert locked.versions(b"file") == []


def test_what_a_gc_takes_beside_a_push_is_sent_and_locked_again(
    locked: Locked, home: Home, tmp_path: Path
) -> None:
    write_tree(tmp_path / "old", {"same": b"same"})
    write_tree(tmp_path / "new", {"same": b"same", "own": b"own"})
    clock = past()
    with (
        in_front_of(endpoint(locked)) as proxy,
        locked.store(home, "GOVERNANCE", clock=clock) as other,
        locked.store(
            home, "GOVERNANCE", clock=clock, asked={"endpoint_url": proxy.url, "pause": 0.01}
        ) as store,
    ):
        other.push(tmp_path / "old", **LIFE)
        clock.now += DAY
        other.sweep(**ACTOR)
        taken: list[int] = []
        # The push has found it, and is about to lock it.
        concerned = about(locked, b"same", "PUT", "retention")
        proxy.plan(Fault(concerned, before=lambda: taken.append(other.gc(**ACTOR).removed_count)))
        package = store.push(tmp_path / "new", **SAID).package
        assert taken == [2]
        assert store.read_file(package.package_id, "same") == b"same"
        assert package.expires_at is not None
        for data in (b"same", b"own", store.get_manifest_bytes(package.package_id)):
            until = locked.until(data)
            assert until is not None
            assert until.timestamp() >= package.expires_at // 1_000_000
        assert store.fsck(read=True).clean


def overwrite(locked: Locked, data: bytes) -> None:
    locked.call("put_object", Key=locked.key(data), Body=b"of another size")


def hide(locked: Locked, data: bytes) -> None:
    locked.call("delete_object", Key=locked.key(data))


@pytest.mark.parametrize("harm", [overwrite, hide])
@pytest.mark.parametrize("call", ["push", "ingest_file", "ingest_directory"])
def test_what_is_sent_again_is_locked_for_all_who_need_it(
    locked: Locked, home: Home, tmp_path: Path, harm: Callable[[Locked, bytes], None], call: str
) -> None:
    tree = write_tree(tmp_path / "tree", {"file": b"file"})
    with locked.store(home, "GOVERNANCE") as store:
        first = store.push(tree, **SAID).package.package_id
        store.apply_hold(first, reason="case", **ACTOR)
        before = locked.until(b"file")
        assert before is not None
        harm(locked, b"file")
        if call == "push":
            store.push(tree, **LIFE)
        else:
            package = store.create_package(**LIFE)
            more: tuple[Any, ...] = ("file", b"file") if call == "ingest_file" else (tree,)
            getattr(store, call)(package, *more, **ACTOR)
        assert locked.held(b"file")
        after = locked.until(b"file")
        assert after is not None
        assert (before - after).total_seconds() <= 3  # what a commit may take
        assert store.fsck(read=True).clean


def test_a_verify_locks_what_was_stored_without_locks(locked: Locked, home: Home, tmp_path: Path) -> None:
    write_tree(tmp_path / "tree", {"file": b"file"})
    write_tree(tmp_path / "over", {"over": b"over"})
    clock = past()
    with locked.store(home, None, clock=clock) as store:
        package = store.push(tmp_path / "tree", **SAID).package
        store.push(tmp_path / "over", **LIFE)
        store.apply_hold(package.package_id, reason="case", **ACTOR)
        assert store.fsck().clean
    with locked.store(home, "GOVERNANCE", clock=clock) as store:
        [finding] = store.fsck().findings
        assert finding.part == "retention"
        assert "locked less than the log says: 2" in finding.what
        assert store.verify(**ACTOR).relocked_count == 2
        assert locked.held(b"file")
        until = locked.until(b"file")
        assert until is not None
        assert package.expires_at is not None
        assert until.timestamp() >= package.expires_at // 1_000_000
        assert locked.until(b"over") is None
        assert store.fsck().clean
        assert store.verify(**ACTOR).relocked_count == 0
