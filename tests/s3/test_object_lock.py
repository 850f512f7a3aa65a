"""Retention and holds that the server enforces, and versions whose bytes really go."""

from __future__ import annotations

import datetime
import time
import uuid
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest
from store.harness import SAID, TREE, Home, incompressible, refused, write_tree

from artifactstore import AccessError, ArtifactStoreError, BackendError, Store
from artifactstore.digest import digest_pair, object_key
from artifactstore.lifecycle.policy import RetentionPolicy
from artifactstore.objects.remote import RemoteBackend
from artifactstore.objects.s3.calls import S3Calls
from s3.conftest import place_of
from s3.places import PART, REMOTE, Place, s3_service

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from artifactstore import GcResult
    from s3.places import Server

ACTOR = {"actor": "ada"}
SHORT = 2  # seconds that the class `transient` lasts here
LIFE = {**SAID, "retention_class": "transient"}


@dataclass
class Locked:
    """A bucket of its own with versions, on one server."""

    place: Place
    bucket: str
    calls: S3Calls

    def call(self, method: str, **arguments: Any) -> Any:
        return self.calls.call(method, Bucket=self.bucket, **arguments)

    def store(
        self, home: Home, mode: str | None, *, asked: Mapping[str, Any] | None = None, **further: Any
    ) -> Store:
        service = s3_service(self.place, bucket=self.bucket, object_lock=mode, **asked or {})
        return Store.open(
            home.database,
            home.objects,
            further={REMOTE: RemoteBackend(service, backend_id=REMOTE)},
            default_backend=REMOTE,
            policy=RetentionPolicy(overrides={"transient": SHORT}),
            **further,
        )

    def seen(self, data: bytes) -> dict[str, Any]:
        """What the server says of an object."""
        found: dict[str, Any] = self.call("head_object", Key=self.key(data))
        return found

    def until(self, data: bytes) -> datetime.datetime | None:
        """Until when an object is locked."""
        return self.seen(data).get("ObjectLockRetainUntilDate")

    def held(self, data: bytes) -> bool:
        """Whether an object is under a legal hold."""
        return bool(self.seen(data).get("ObjectLockLegalHoldStatus") == "ON")

    def key(self, data: bytes) -> str:
        return f"{self.place.prefix}/{object_key(digest_pair(data).blake3)}"

    def versions(self, data: bytes) -> list[str]:
        """All versions of an object, markers of deletions among them."""
        page = self.call("list_object_versions", Prefix=self.key(data))
        return [entry["VersionId"] for name in ("Versions", "DeleteMarkers") for entry in page.get(name, ())]


def made(
    kind: str,
    start: Callable[[str], Server],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    *,
    lock: bool,
) -> Locked:
    place = place_of(kind, start, monkeypatch, tmp_path)
    assert place.server is not None
    calls = S3Calls(place.server.config(""))
    bucket = f"versions-{uuid.uuid4().hex[:8]}"
    if lock:
        calls.call("create_bucket", Bucket=bucket, ObjectLockEnabledForBucket=True)
    else:
        calls.call("create_bucket", Bucket=bucket)
        calls.call("put_bucket_versioning", Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    return Locked(place, bucket, calls)


@pytest.fixture(params=["seaweedfs", "ceph"])
def locked(
    request: pytest.FixtureRequest,
    start: Callable[[str], Server],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Iterator[Locked]:
    """A bucket with Object Lock on each server."""
    found = made(request.param, start, monkeypatch, tmp_path, lock=True)
    yield found
    found.place.close()
    found.calls.close()


@pytest.fixture(params=["seaweedfs", "ceph"])
def versioned(
    request: pytest.FixtureRequest,
    start: Callable[[str], Server],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Iterator[Locked]:
    """A bucket with versions and without locks on each server."""
    found = made(request.param, start, monkeypatch, tmp_path, lock=False)
    yield found
    found.place.close()
    found.calls.close()


def collected(store: Store, count: int) -> GcResult:
    """Sweep and gc until so many packages are collected; their time must run out meanwhile."""
    give_up = time.monotonic() + 60
    while time.monotonic() < give_up:
        store.sweep(**ACTOR)
        result = store.gc(**ACTOR)
        if len(result.collected) == count:
            return result
    raise AssertionError("nothing was collected")


def freed(store: Store, locked: Locked, data: bytes) -> GcResult:
    """Gc until all locks have ended and the bytes are gone; all that these calls did."""
    give_up = time.monotonic() + 60
    count = size = 0
    while time.monotonic() < give_up:
        result = store.gc(**ACTOR)
        count += result.removed_count
        size += result.removed_size
        if not result.locked_count:
            assert locked.versions(data) == []
            return replace(result, removed_count=count, removed_size=size)
    raise AssertionError("nothing was removed")


def test_a_pushed_object_is_locked_until_it_expires(locked: Locked, home: Home, tmp_path: Path) -> None:
    large = incompressible(PART + 1)
    write_tree(tmp_path / "tree", {"small": b"small", "large": large})
    with locked.store(home, "COMPLIANCE") as store:
        package = store.push(tmp_path / "tree", **SAID).package
        assert package.expires_at is not None
        for data in (b"small", large, store.get_manifest_bytes(package.package_id)):
            until = locked.until(data)
            assert until is not None
            assert 0 <= until.timestamp() - package.expires_at / 1_000_000 < 60
            assert locked.seen(data)["ObjectLockMode"] == "COMPLIANCE"
            assert not locked.held(data)
            with pytest.raises(AccessError):
                locked.call("delete_object", Key=locked.key(data), VersionId=locked.versions(data)[0])


def test_a_package_that_is_filled_file_by_file_is_locked_when_it_is_sealed(
    locked: Locked, home: Home
) -> None:
    with locked.store(home, "GOVERNANCE") as store:
        package = store.create_package(**SAID)
        store.ingest_file(package, "one", b"one", **ACTOR)
        assert locked.until(b"one") is None
        store.finalize_package(package, **ACTOR)
        assert locked.until(b"one") is not None
        expires = store.get_package(package).expires_at
        assert expires is not None
        # An extension is one of the lock, before it is one of the log.
        store.extend_retention(package, by=86_400, **ACTOR)
        later = locked.until(b"one")
        assert later is not None
        assert later.timestamp() >= expires / 1_000_000 + 86_400


def test_the_longest_of_those_that_share_an_object_counts(locked: Locked, home: Home, tmp_path: Path) -> None:
    write_tree(tmp_path / "short", {"own": b"own", "shared": b"shared"})
    write_tree(tmp_path / "long", {"shared": b"shared"})
    with locked.store(home, "GOVERNANCE") as store:
        store.push(tmp_path / "long", **SAID)
        long = locked.until(b"shared")
        store.push(tmp_path / "short", **LIFE)
        assert locked.until(b"shared") == long
        own = locked.until(b"own")
        assert own is not None
        assert long is not None
        assert own < long
        first = collected(store, 1)
        assert first.removed_count + freed(store, locked, b"own").removed_count == 2
        assert len(locked.versions(b"shared")) == 1
        assert store.fsck(read=True).clean


def test_gc_waits_for_a_lock_and_says_so(locked: Locked, home: Home, tmp_path: Path) -> None:
    write_tree(tmp_path / "tree", {"file": b"file"})
    with locked.store(home, "COMPLIANCE") as store:
        store.push(tmp_path / "tree", **LIFE)
        # Somebody else locks it for longer than the log asks.
        until = locked.until(b"file")
        assert until is not None
        locked.call(
            "put_object_retention",
            Key=locked.key(b"file"),
            Retention={"Mode": "COMPLIANCE", "RetainUntilDate": until + datetime.timedelta(seconds=10)},
        )
        result = collected(store, 1)
        assert result.locked_count >= 1
        assert result.locked_size >= len(b"file")
        assert result.unlocked_at is not None
        assert result.unlocked_at >= until.timestamp() * 1_000_000
        # The bytes are there, and the log does not say otherwise.
        assert locked.seen(b"file")["ContentLength"] == 4
        assert store.fsck().clean
        later = freed(store, locked, b"file")
        assert result.removed_count + later.removed_count == 2
        assert later.removed_size >= len(b"file")
        assert store.fsck().clean


def test_a_hold_is_a_legal_hold_while_any_package_that_shares_is_held(
    locked: Locked, home: Home, tmp_path: Path
) -> None:
    write_tree(tmp_path / "one", {"shared": b"shared", "one": b"one"})
    write_tree(tmp_path / "two", {"shared": b"shared"})
    with locked.store(home, "GOVERNANCE") as store:
        one = store.push(tmp_path / "one", **SAID).package.package_id
        two = store.push(tmp_path / "two", **SAID).package.package_id
        first = store.apply_hold(one, reason="case 1", **ACTOR).hold_id
        assert locked.held(b"shared")
        assert locked.held(b"one")
        second = store.apply_hold(two, reason="case 2", **ACTOR).hold_id
        store.release_hold(one, first, reason="over", **ACTOR)
        assert locked.held(b"shared")
        assert not locked.held(b"one")
        store.release_hold(two, second, reason="over", **ACTOR)
        assert not locked.held(b"shared")
        # A hold on an open package is one on each file that comes.
        package = store.create_package(**SAID)
        store.apply_hold(package, reason="case 3", **ACTOR)
        store.ingest_file(package, "new", b"new", **ACTOR)
        assert locked.held(b"new")


def test_a_hold_that_the_server_does_not_take_is_none(locked: Locked, home: Home, tmp_path: Path) -> None:
    write_tree(tmp_path / "one", {"one": b"one"})
    with locked.store(home, "GOVERNANCE") as store:
        package = store.push(tmp_path / "one", **SAID).package.package_id
        for version in locked.versions(b"one"):
            locked.call(
                "delete_object",
                Key=locked.key(b"one"),
                VersionId=version,
                BypassGovernanceRetention=True,
            )
        # One server says that the object is missing, the other that something failed inside.
        with pytest.raises(ArtifactStoreError):
            store.apply_hold(package, reason="case", **ACTOR)
        assert store.explain_retention(package).holds == ()


def test_a_copy_gets_the_locks_of_its_packages(locked: Locked, home: Home, tmp_path: Path) -> None:
    write_tree(tmp_path / "tree", {"file": b"file"})
    with locked.store(home, "GOVERNANCE") as store:
        local = Store.open(home.database, home.objects)
        package = local.push(tmp_path / "tree", **SAID).package
        local.close()
        store.apply_hold(package.package_id, reason="case", **ACTOR)
        store.copy(source="local", target=REMOTE, **ACTOR)
        assert locked.held(b"file")
        until = locked.until(b"file")
        assert until is not None
        assert package.expires_at is not None
        assert until.timestamp() >= package.expires_at // 1_000_000


def test_what_is_mended_is_locked_again(locked: Locked, home: Home, tmp_path: Path) -> None:
    write_tree(tmp_path / "tree", {"file": b"file"})
    with locked.store(home, "GOVERNANCE") as store:
        store.push(tmp_path / "tree", **SAID)
        until = locked.until(b"file")
        locked.call("put_object", Key=locked.key(b"file"), Body=b"elif")
        assert locked.until(b"file") is None
        assert len(store.verify(**ACTOR).failures) == 1
        store.push(tmp_path / "tree", **{**SAID, "name": "again"})
        again = locked.until(b"file")
        assert until is not None
        assert again is not None
        assert again >= until
        assert store.fsck(read=True).clean


def test_a_bucket_without_object_lock_is_refused(versioned: Locked, home: Home, tmp_path: Path) -> None:
    write_tree(tmp_path / "tree", TREE)
    with versioned.store(home, "GOVERNANCE") as store:
        with refused(BackendError, "object-lock-missing", versioned.bucket):
            store.push(tmp_path / "tree", **SAID)
        assert store.list_packages().items == ()
        assert "no Object Lock" in store.health(deep=True).backend.reasons[0]


def test_the_bytes_of_a_versioned_bucket_go_with_their_versions(
    versioned: Locked, home: Home, tmp_path: Path
) -> None:
    write_tree(tmp_path / "tree", {"file": b"file"})
    with versioned.store(home, None) as store:
        store.push(tmp_path / "tree", **LIFE)
        versioned.call("put_object", Key=versioned.key(b"file"), Body=b"file")
        assert len(versioned.versions(b"file")) == 2
        result = collected(store, 1)
        assert result.removed_count == 2
        assert versioned.versions(b"file") == []
        assert store.fsck().clean
