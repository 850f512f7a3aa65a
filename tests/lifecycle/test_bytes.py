"""Verify, repair, copies and orphans: bytes that are damaged are found, reported, and given back."""

from __future__ import annotations

import errno
import io
import os
import shutil
from typing import TYPE_CHECKING

import pytest
from store.harness import incompressible, just_before, refused, unprivileged, write_tree

from artifactstore import (
    ArtifactStoreError,
    BackendError,
    IntegrityError,
    InvalidInputError,
    ObjectNotFoundError,
)
from artifactstore.lifecycle import copying
from artifactstore.lifecycle import verify as verifying
from artifactstore.objects.local import LocalBackend
from lifecycle.harness import DAY, SECOND, delete, flip, swap, truncate

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from lifecycle.harness import Life

CONTENT = b"some evidence\n" * 1000
LARGE = 5 << 20  # bytes; streamed
DAMAGE = {"digest differs": flip, "wrong size": truncate, "missing": delete}
damages = pytest.mark.parametrize(("reason", "damage"), DAMAGE.items())


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The digest of each object that is opened, in order."""
    opened: list[bytes] = []
    original = LocalBackend.open

    def counting(backend: LocalBackend, blake3: bytes, size: int) -> io.RawIOBase:
        opened.append(blake3)
        return original(backend, blake3, size)

    monkeypatch.setattr(LocalBackend, "open", counting)
    return opened


# Verify


def test_what_is_right_is_verified(life: Life) -> None:
    package = life.push({"small": CONTENT, "large": incompressible(LARGE), "empty": b""})
    oldest = life.store.verification(package).oldest_at
    life.tick(days=3)
    start = life.newest()
    result = life.store.verify(actor="scrub")
    assert (result.object_count, result.location_count, result.complete) == (4, 4, True)
    assert result.size == len(CONTENT) + LARGE + (life.store.get_package(package).manifest_size or 0)
    assert result.failures == ()
    assert life.types(after=start) == ["v1.storage.location_verified"] * 4
    after = life.store.verification(package)
    assert after.failed_count == 0
    assert after.oldest_at is not None
    assert oldest is not None
    assert after.oldest_at >= oldest + 3 * DAY * 1_000_000
    assert life.store.health().oldest_verified_at == after.oldest_at
    assert life.store.health().status == "ok"


@damages
@pytest.mark.parametrize("size", [14_000, LARGE], ids=["small", "large"])
def test_damage_is_found_with_its_reason_and_its_packages(
    life: Life, reason: str, damage: Callable[[Path], None], size: int
) -> None:
    data = incompressible(size)
    first, second, other = life.push(data), life.push({"copy": data}), life.push(b"other")
    damage(life.path(first))
    result = life.store.verify(actor="scrub")
    (failure,) = result.failures
    assert (failure.reason, failure.packages, failure.backend_id) == (reason, (first, second), "local")
    assert failure.blake3 == life.store.get_file(first, "data").digest.value
    assert [life.store.verification(package).failed_count for package in (first, second, other)] == [1, 1, 0]
    health = life.store.health()
    assert health.status == "degraded"
    assert "damaged objects in backend local: 1" in health.backend.reasons[0]
    # It stays known, and what is whole stays readable.
    assert life.store.verify(actor="scrub", failed_only=True).failures == (failure,)
    assert life.store.read_file(other, "data") == b"other"
    with pytest.raises((IntegrityError, ObjectNotFoundError)):
        life.store.read_file(first, "data")
    life.planted.append(f"objects: blake3:{failure.blake3.hex()} in backend local: a verify found it damaged")


def test_swapped_objects_are_two_failures(life: Life) -> None:
    package = life.push({"a": b"aaaa", "b": b"bbbb"})
    swap(life.path(package, "a"), life.path(package, "b"))
    result = life.store.verify(actor="scrub")
    assert [failure.reason for failure in result.failures] == ["digest differs"] * 2
    swap(life.path(package, "a"), life.path(package, "b"))
    healed = life.store.repair(actor="ada").healed
    assert {entry.origin for entry in healed} == {"in place"}
    assert life.store.health().status == "ok"


def test_an_object_that_may_not_be_read_is_a_failure(life: Life) -> None:
    package = life.push(CONTENT)
    path = life.path(package)
    path.chmod(0)
    with unprivileged():
        result = life.store.verify(actor="scrub")
    assert [failure.reason for failure in result.failures] == ["unreadable"]
    path.chmod(0o400)
    assert [entry.origin for entry in life.store.repair(actor="ada").healed] == ["in place"]


@pytest.mark.parametrize("stranger", ["folder", "link", "broken link", "fifo"])
def test_what_is_no_object_in_the_place_of_one_is_a_failure(
    life: Life, tmp_path: Path, stranger: str
) -> None:
    package = life.push(CONTENT)
    path = life.path(package)
    (tmp_path / "elsewhere").write_bytes(CONTENT)
    path.unlink()
    if stranger == "folder":
        path.mkdir()
    elif stranger == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to(tmp_path / ("elsewhere" if stranger == "link" else "nowhere"))
    (failure,) = life.store.verify(actor="scrub").failures
    assert failure.packages == (package,)
    result = life.store.repair(actor="ada", directory=tmp_path / "tree-0")
    assert [entry.origin for entry in result.healed] == ["directory"]
    assert life.store.read_file(package, "data") == CONTENT


def test_an_object_of_fifty_packages_is_read_once(life: Life, reads: list[bytes]) -> None:
    packages = [life.push({"data": CONTENT, "own": b"%d" % number}) for number in range(50)]
    blake3 = life.store.get_file(packages[0], "data").digest.value
    reads.clear()
    result = life.store.verify(actor="scrub")
    assert reads.count(blake3) == 1
    assert len(reads) == len(set(reads)) == result.object_count == 101
    assert result.location_count == 150


def test_an_object_is_read_once_across_batches(
    life: Life, reads: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verifying, "_TOGETHER", 3)
    for number in range(10):
        life.push({"data": CONTENT, "own": b"%d" % number})
    for _ in range(2):  # what was never verified, and what was
        reads.clear()
        result = life.store.verify(actor="scrub")
        assert len(reads) == len(set(reads)) == result.object_count == 21
        assert result.location_count == 30


def test_what_is_asked_for_ahead_of_the_log_is_read_once(life: Life, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifying, "_TOGETHER", 100)
    monkeypatch.setattr(verifying, "_RUN", 10)  # so that workers have objects of several batches
    # Two locations of each object, in batches far enough from each other and in batches side by side.
    for _ in range(2):
        life.push({f"{number:04}": b"%d" % (number // 2) for number in range(2000)})
    told: list[int] = []
    for _ in range(2):  # what was never verified, and what was
        told.clear()
        result = life.store.verify(actor="scrub", on_progress=lambda count, _: told.append(count))
        assert (result.object_count, result.location_count, result.complete) == (1002, 4002, True)
        assert told == list(range(1, 1003))
        life.tick(days=1)


def test_the_longest_unverified_come_first_within_a_budget_of_bytes(life: Life, reads: list[bytes]) -> None:
    packages = [life.push(incompressible(1000, seed)) for seed in range(6)]
    digests = [life.store.get_file(package, "data").digest.value for package in packages]
    assert life.store.verify(actor="scrub", package=packages[0]).object_count == 2
    life.tick(days=1)
    assert life.store.verify(actor="scrub", package=packages[3]).object_count == 2
    life.tick(days=1)
    found = []
    for _ in range(20):
        reads.clear()
        result = life.store.verify(actor="scrub", max_bytes=1)
        assert (result.object_count, result.complete) == (1, False)
        found.append(reads[0])
    chosen = [digest for digest in found[:12] if digest in digests]
    assert chosen == [digests[number] for number in (1, 2, 4, 5, 0, 3)]
    # Then the round begins anew.
    assert found[12:18] == found[:6]


def test_a_budget_of_time_ends_it(life: Life) -> None:
    for seed in range(5):
        life.push(incompressible(1000, seed))
    result = life.store.verify(actor="scrub", max_seconds=1e-9)
    assert (result.object_count, result.complete) == (1, False)
    assert life.store.verify(actor="scrub", max_seconds=3600).complete


def test_shards_are_all_objects_and_share_none(life: Life, reads: list[bytes]) -> None:
    for number in range(20):
        life.push({"data": b"%d" % number})
    seen = []
    for number in (1, 2, 3):
        reads.clear()
        result = life.store.verify(actor="scrub", shard=(number, 3))
        assert result.complete
        seen.append(set(reads))
    assert all(seen)
    assert sum(map(len, seen)) == len(set().union(*seen)) == 40
    assert life.store.verify(actor="scrub", shard=(1, 1)).object_count == 40


@pytest.mark.parametrize("shard", [(0, 3), (4, 3), (1, 0), (1, 65_537), (1, True), ("1", 3)])
def test_what_is_no_shard(life: Life, shard: tuple[int, int]) -> None:
    life.push({"data": CONTENT})
    with refused(InvalidInputError, "invalid-input"):
        life.store.verify(actor="scrub", shard=shard)


def test_only_what_was_not_verified_for_long(life: Life) -> None:
    old = life.push(b"old")
    life.store.verify(actor="scrub")
    life.tick(days=10)
    life.push(b"new")
    assert life.store.verify(actor="scrub", older_than=5 * DAY).object_count == 4
    life.tick(days=3)
    assert life.store.verify(actor="scrub", older_than=5 * DAY).object_count == 0
    life.tick(days=3)
    assert life.store.verify(actor="scrub", older_than=5 * DAY, package=old).object_count == 2


def test_a_sample_is_a_share(life: Life) -> None:
    life.push({f"f{number}": b"%d" % number for number in range(400)})
    count = life.store.verify(actor="scrub", sample=0.25).object_count
    assert 40 < count < 180
    assert life.store.verify(actor="scrub", sample=1).object_count == 401


@pytest.mark.parametrize(
    "budget", [{"sample": 0}, {"sample": -0.1}, {"sample": 1.01}, {"max_bytes": 0}, {"max_seconds": 0}]
)
def test_a_budget_that_is_none_is_refused(life: Life, budget: dict[str, float]) -> None:
    life.push(CONTENT)
    with life.home.unchanged(), pytest.raises(InvalidInputError):
        life.store.verify(actor="scrub", **budget)  # type: ignore[arg-type]  # that is the test


@pytest.mark.parametrize("together", [2, 3, 500])
def test_a_budget_that_just_suffices_is_enough(
    life: Life, monkeypatch: pytest.MonkeyPatch, together: int
) -> None:
    monkeypatch.setattr(verifying, "_TOGETHER", together)
    life.push({"a": b"a", "b": b"bb", "same": b"bb", "c": b"ccc"})
    size = life.store.verify(actor="scrub").size
    life.tick(days=1)
    exact = life.store.verify(actor="scrub", max_bytes=size)
    assert (exact.size, exact.complete) == (size, True)
    life.tick(days=1)
    assert life.store.verify(actor="scrub", max_bytes=size + 1).complete
    life.tick(days=1)
    assert not life.store.verify(actor="scrub", max_bytes=4).complete


def test_an_unknown_backend_is_refused(life: Life) -> None:
    life.push(CONTENT)
    with life.home.unchanged():
        for call in (
            lambda: life.store.verify(actor="scrub", backend="tape"),
            lambda: life.store.repair(actor="ada", backend="tape"),
            lambda: life.store.copy(source="tape", target="local", actor="ada"),
            lambda: life.store.copy(source="local", target="tape", actor="ada"),
        ):
            with refused(InvalidInputError, "unknown-backend", "'tape'"):
                call()
        with pytest.raises(InvalidInputError):
            life.store.copy(source="local", target="local", actor="ada")


def test_a_verify_that_is_stopped_goes_on(
    life: Life, reads: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verifying, "_TOGETHER", 10)
    package = life.push({f"f{number}": b"%d" % number for number in range(39)})

    def stop(count: int, _size: int) -> None:
        if count == 25:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        life.store.verify(actor="scrub", on_progress=stop)
    verified = {event.payload["blake3"] for event in life.store.events() if event.type.endswith("_verified")}
    assert len(verified) == 20
    life.reopen()
    reads.clear()
    assert life.store.verify(actor="scrub").complete
    # What was not verified came first.
    assert verified.isdisjoint(reads[:20])
    assert len(reads) == 40
    assert life.store.verification(package).failed_count == 0


def test_progress_counts_objects_and_bytes(life: Life) -> None:
    life.push({"a": b"a" * 10, "b": b"b" * 20, "large": incompressible(LARGE)})
    told: list[tuple[int, int]] = []
    result = life.store.verify(actor="scrub", on_progress=lambda count, size: told.append((count, size)))
    assert [count for count, _ in told] == [1, 2, 3, 4]
    assert told[-1] == (result.object_count, result.size)


def test_a_clock_that_stands_still_or_goes_back_does_not_make_verify_endless(life: Life) -> None:
    life.push({"a": b"a", "b": b"b"})
    assert life.store.verify(actor="scrub").object_count == 3
    life.tick(days=-30)
    for _ in range(3):
        assert life.store.verify(actor="scrub").object_count == 3


def test_collected_packages_are_not_verified(life: Life) -> None:
    (gone,) = life.expired(b"gone")
    kept = life.push(b"kept")
    life.store.gc(actor="cron")
    result = life.store.verify(actor="scrub")
    assert result.object_count == 2
    assert life.store.verify(actor="scrub", package=gone).object_count == 0
    assert life.store.verification(gone).oldest_at is None
    assert life.store.verification(kept).failed_count == 0


# Repair


def damaged_files(life: Life) -> list[bytes]:
    folder = life.home.objects / "damaged"
    return [path.read_bytes() for path in sorted(folder.iterdir())] if folder.is_dir() else []


@damages
@pytest.mark.parametrize("source", ["backend second", "directory", "a new ingest"])
def test_a_damaged_object_is_given_back_and_the_damage_kept(
    life: Life, reason: str, damage: Callable[[Path], None], source: str
) -> None:
    first, second = life.push(CONTENT), life.push({"copy": CONTENT, "own": b"own"})
    if source == "backend second":
        life.store.copy(source="local", target=SECOND, actor="ada")
    path = life.path(first)
    damage(path)
    rest = path.read_bytes() if path.exists() else None
    assert [failure.reason for failure in life.store.verify(actor="scrub").failures] == [reason]
    start = life.newest()
    if source == "a new ingest":
        life.push(CONTENT)
    else:
        directory = life.root / "tree-0" if source == "directory" else None
        result = life.store.repair(actor="ada", directory=directory)
        assert [(entry.origin, entry.backend_id) for entry in result.healed] == [(source, "local")]
        assert result.unhealed == ()
    # What was damaged is never thrown away.
    assert damaged_files(life) == ([] if rest is None else [rest])
    for package, name in ((first, "data"), (second, "copy")):
        assert life.store.read_file(package, name) == CONTENT
        assert life.store.verification(package).failed_count == 0
    repaired = [
        event for event in life.store.events(after=start) if event.type == "v1.storage.location_repaired"
    ]
    assert {event.payload["origin"] for event in repaired} == {source}
    assert len(repaired) >= 2
    assert life.store.health().status == "ok"
    assert life.store.verify(actor="scrub").failures == ()
    with life.home.unchanged():
        again = life.store.repair(actor="ada")
    assert (again.healed, again.unhealed) == ((), ())


def test_damage_of_the_right_size_is_found_by_verify_and_mended_by_the_next_push(life: Life) -> None:
    """An object of the right size is not written again, so a push relies on it until a verify has read it."""
    first = life.push(CONTENT)
    path = life.path(first)
    flip(path)
    damaged = path.read_bytes()
    second = life.push(CONTENT)
    assert path.read_bytes() == damaged
    # Wrong bytes are never given out as right ones, whoever names them.
    for package in (first, second):
        with refused(IntegrityError, "integrity"):
            life.store.read_file(package, "data")
    (failure,) = life.store.verify(actor="scrub").failures
    assert (failure.reason, failure.packages) == ("digest differs", (first, second))
    third = life.push(CONTENT)
    for package in (first, second, third):
        assert life.store.read_file(package, "data") == CONTENT
        assert life.store.verification(package).failed_count == 0
    assert damaged_files(life) == [damaged]
    assert life.types().count("v1.storage.location_repaired") == 3


def test_an_edited_sha256_is_found_though_the_bytes_are_right(life: Life) -> None:
    """What is read is proved by its BLAKE3; the edited row is what is wrong, and fsck names it."""
    package = life.push(CONTENT)
    life.home.tamper("UPDATE artifact_files SET sha256 = zeroblob(32)")
    assert life.store.read_file(package, "data") == CONTENT
    findings = [f"{found.part}: {found.what}" for found in life.store.fsck(read=True).findings]
    assert findings == ["views: artifact_files sequence 8: sha256 not as in the log"]
    (failure,) = life.store.verify(actor="scrub").failures
    assert (failure.reason, failure.packages) == ("digest differs", (package,))
    life.store.replay()
    (healed,) = life.store.repair(actor="ada").healed
    assert healed.origin == "in place"


@pytest.mark.parametrize("left", ["nothing", "an empty folder", "another store's"])
def test_nothing_is_judged_or_deleted_by_a_root_that_is_not_mounted(
    life: Life, tmp_path: Path, left: str
) -> None:
    life.push(CONTENT, "raw-evidence")
    life.expired(b"due")
    elsewhere = tmp_path / "elsewhere"
    life.home.objects.rename(elsewhere)
    before = life.newest()
    if left == "an empty folder":
        life.home.objects.mkdir()
    elif left == "another store's":
        life.home.objects.mkdir()
        write_tree(
            life.home.objects,
            {"artifactstore.json": b'{"format": 1, "store_id": "6f1c4b0e-9d52-4c57-8a3e-2f0b7d9c1e48"}'},
        )
    for call in (
        lambda: life.store.gc(actor="cron"),
        lambda: life.store.verify(actor="scrub"),
        lambda: life.store.repair(actor="ada"),
        lambda: life.store.orphans(actor="ada", delete=True),
        lambda: life.store.copy(source="local", target=SECOND, actor="ada"),
        lambda: life.store.copy(source=SECOND, target="local", actor="ada"),
    ):
        with refused(BackendError, "backend-missing", "local"):
            call()
    assert life.newest() == before
    assert life.store.health().status == "degraded"
    shutil.rmtree(life.home.objects, ignore_errors=True)
    elsewhere.rename(life.home.objects)
    assert len(life.store.gc(actor="cron").collected) == 1


def test_what_nobody_can_give_back_is_listed_with_packages_and_holds(life: Life, tmp_path: Path) -> None:
    first, second = life.push(CONTENT), life.push(CONTENT)
    hold = life.store.apply_hold(second, reason="lawsuit", actor="law")
    released = life.store.apply_hold(first, reason="audit", actor="law")
    life.store.release_hold(first, released.hold_id, reason="done", actor="law")
    path = life.path(first)
    flip(path)
    rest = path.read_bytes()
    life.store.verify(actor="scrub")
    write_tree(tmp_path / "other", {"same size": b"x" * len(CONTENT), "another": b"y"})
    with life.home.unchanged():
        result = life.store.repair(actor="ada", directory=tmp_path / "other")
    assert result.healed == ()
    (lost,) = result.unhealed
    assert (lost.failure.packages, lost.failure.reason) == ((first, second), "digest differs")
    assert lost.holds == (hold.hold_id,)
    # Nothing was made worse.
    assert path.read_bytes() == rest
    with pytest.raises(InvalidInputError):
        life.store.repair(actor="ada", directory=tmp_path / "none")
    life.planted.append("a verify found it damaged")


def test_what_vanishes_from_an_offered_directory_stops_no_repair(life: Life, tmp_path: Path) -> None:
    package = life.push({"a": CONTENT, "b": CONTENT[::-1]})
    flip(life.path(package, "a"))
    life.store.verify(actor="scrub")
    offered = write_tree(tmp_path / "offered", {"0": CONTENT[::-1], "1": CONTENT, "2": CONTENT[::-1]})
    with just_before(os.stat, lambda: [(offered / name).unlink() for name in "02"]):
        (healed,) = life.store.repair(actor="ada", directory=offered).healed
    assert healed.origin == "directory"


def test_a_damaged_copy_heals_nothing(life: Life) -> None:
    package = life.push(CONTENT)
    life.store.copy(source="local", target=SECOND, actor="ada")
    flip(life.path(package))
    flip(life.path(package, backend=SECOND))
    life.store.verify(actor="scrub")
    assert len(life.store.repair(actor="ada").unhealed) == 1
    life.planted += ["in backend local: a verify found it damaged", "in backend second: digest differs"]


def test_a_second_backend_is_verified_and_repaired_from_the_first(life: Life) -> None:
    package = life.push(CONTENT)
    life.store.copy(source="local", target=SECOND, actor="ada")
    truncate(life.path(package, backend=SECOND))
    assert life.store.verify(actor="scrub").failures == ()
    (failure,) = life.store.verify(actor="scrub", backend=SECOND).failures
    assert (failure.backend_id, failure.reason) == (SECOND, "wrong size")
    assert [entry.origin for entry in life.store.repair(actor="ada", backend=SECOND).healed] == [
        "backend local"
    ]
    assert len(list((life.root / SECOND / "damaged").iterdir())) == 1


def test_a_damaged_manifest_is_repaired_too(life: Life) -> None:
    package = life.push(CONTENT)
    life.store.copy(source="local", target=SECOND, actor="ada")
    data = life.store.get_manifest_bytes(package)
    flip(life.manifest_path(package))
    assert len(life.store.verify(actor="scrub").failures) == 1
    assert life.store.get_manifest_bytes(package) == data  # from the second backend
    assert len(life.store.repair(actor="ada").healed) == 1


def test_an_ingest_does_not_call_whole_what_was_found_damaged_meanwhile(
    life: Life, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The verify comes between the moment when the push has found the object there and its commit."""
    from artifactstore.objects.local_batch import LocalBatch

    package = life.push(CONTENT)
    flip(life.path(package))
    publish = LocalBatch.publish

    def published(batch: LocalBatch) -> None:
        publish(batch)
        life.store.verify(actor="scrub")

    before = life.store.list_packages().items
    with monkeypatch.context() as patched:
        patched.setattr(LocalBatch, "publish", published)
        with pytest.raises(ArtifactStoreError) as caught:
            life.push(CONTENT)
    assert getattr(caught.value, "retryable", False)
    assert life.store.list_packages().items == before
    assert life.store.health().status == "degraded"
    again = life.push(CONTENT)
    assert life.store.read_file(again, "data") == life.store.read_file(package, "data") == CONTENT
    assert life.store.health().status == "ok"
    life.planted.append("no location names it")  # the manifest of the push that was refused


def test_a_copy_heals_a_damaged_target(life: Life) -> None:
    first = life.push(CONTENT)
    life.store.copy(source="local", target=SECOND, actor="ada")
    flip(life.path(first, backend=SECOND))
    life.store.verify(actor="scrub", backend=SECOND)
    second = life.push({"again": CONTENT})
    life.store.copy(source="local", target=SECOND, package=second, actor="ada")
    assert life.store.health().status == "ok"
    assert life.path(first, backend=SECOND).read_bytes() == CONTENT
    assert len(list((life.root / SECOND / "damaged").iterdir())) == 1


def test_a_damaged_object_that_is_not_needed_any_more_goes_with_its_package(life: Life) -> None:
    package = life.push(CONTENT)
    flip(life.path(package))
    life.store.verify(actor="scrub")
    life.tick(days=2)
    life.store.sweep(actor="cron")
    assert life.store.gc(actor="cron").collected == (package,)
    assert life.store.health().status == "ok"
    assert life.home.object_paths() == []


def test_a_folder_in_the_place_of_an_object_does_not_stop_a_gc(life: Life) -> None:
    (package,) = life.expired(CONTENT)
    path = life.path(package)
    path.unlink()
    write_tree(path, {"precious": b"somebody's"})
    assert life.store.gc(actor="cron").collected == (package,)
    assert not path.exists()
    (kept,) = (life.home.objects / "damaged").iterdir()
    assert (kept / "precious").read_bytes() == b"somebody's"


# Copies


def test_a_copy_is_a_location_and_again_nothing(life: Life) -> None:
    package = life.push({"a": b"a", "b": b"b", "same": b"a"})
    start = life.newest()
    result = life.store.copy(source="local", target=SECOND, actor="ada")
    assert (result.location_count, result.object_count) == (4, 3)
    assert life.types(after=start) == ["v1.storage.location_added"] * 4
    for name in ("a", "b"):
        assert life.path(package, name, backend=SECOND).read_bytes() == name.encode()
    with life.home.unchanged():
        again = life.store.copy(source="local", target=SECOND, actor="ada")
    assert (again.location_count, again.object_count, again.size) == (0, 0, 0)


def test_only_some_packages_are_copied(life: Life) -> None:
    one = life.push(b"one", producer="ci")
    two = life.push(b"two", "raw-evidence", producer="ci")
    three = life.push(b"three", "raw-evidence", producer="lab")

    def copied() -> list[str]:
        return [package for package in (one, two, three) if life.path(package, backend=SECOND).exists()]

    life.store.copy(source="local", target=SECOND, actor="ada", package=one)
    assert copied() == [one]
    life.store.copy(source="local", target=SECOND, actor="ada", producer="ci", retention_class="raw-evidence")
    assert copied() == [one, two]
    assert life.store.copy(source="local", target=SECOND, actor="ada", producer="nobody").location_count == 0
    life.store.copy(source="local", target=SECOND, actor="ada", retention_class="raw-evidence")
    assert copied() == [one, two, three]


@damages
def test_reads_fall_back_over_healthy_locations(
    life: Life, reason: str, damage: Callable[[Path], None]
) -> None:
    package = life.push(CONTENT)
    life.store.copy(source="local", target=SECOND, actor="ada")
    damage(life.path(package))
    if reason != "digest differs":  # only a whole reading sees that
        assert life.store.read_file(package, "data") == CONTENT
    life.store.verify(actor="scrub")
    assert life.store.read_file(package, "data") == CONTENT
    life.store.export_package(package, life.root / "export", bare=True)
    assert (life.root / "export" / "data").read_bytes() == CONTENT
    life.planted.append("a verify found it damaged")


@damages
@pytest.mark.parametrize("size", [14_000, LARGE], ids=["small", "large"])
def test_a_copy_leaves_out_what_is_damaged_and_tells(
    life: Life, reason: str, damage: Callable[[Path], None], size: int
) -> None:
    content = incompressible(size)
    hurt, also_hurt = life.push({"data": content, "whole": b"w"}), life.push({"again": content})
    other = life.push({"data": b"another", "large": content[::-1]})
    damage(life.path(hurt))
    result = life.store.copy(source="local", target=SECOND, actor="ada")
    (failure,) = result.failures
    blake3 = life.store.get_file(hurt, "data").digest.value
    assert (failure.blake3, failure.backend_id, failure.reason) == (blake3, "local", reason)
    assert failure.packages == (hurt, also_hurt)
    # The rest has arrived, and nothing else: not even under its own digest.
    assert (result.location_count, result.object_count) == (6, 6)
    wanted = {life.path(hurt, "whole").name, *(life.path(other, name).name for name in ("data", "large"))}
    wanted |= {life.manifest_path(package).name for package in (hurt, also_hurt, other)}
    target = life.root / SECOND
    assert {path.name for path in (target / "blake3").rglob("*") if path.is_file()} == wanted
    assert not any((target / "tmp").iterdir())
    assert life.store.verification(hurt).failed_count == 0
    # Again: it is told again, until a verify has marked it, which makes it no source at all.
    again = life.store.copy(source="local", target=SECOND, actor="ada")
    assert (again.location_count, again.failures) == (0, result.failures)
    life.store.verify(actor="scrub")
    assert life.store.copy(source="local", target=SECOND, actor="ada").failures == ()
    life.planted.append("a verify found it damaged")


def test_a_copy_whose_source_fails_for_a_moment_is_refused(
    life: Life, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing(io.FileIO):
        def readinto(self, _buffer: object, /) -> int:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    package = life.push(CONTENT)
    path = life.path(package)
    original, faults = LocalBackend.open, iter([Failing(path)])
    monkeypatch.setattr(LocalBackend, "open", lambda *given: next(faults, None) or original(*given))
    with refused(BackendError, "backend-failed", "backend local"):
        life.store.copy(source="local", target=SECOND, actor="ada")
    assert life.store.copy(source="local", target=SECOND, actor="ada").failures == ()
    assert life.path(package, backend=SECOND).read_bytes() == CONTENT


def test_a_copy_goes_on_behind_a_part_that_is_damaged_altogether(
    life: Life, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "_TOGETHER", 2)
    first, second = life.push({"data": b"first", "more": b"m"}), life.push({"data": b"second"})
    for name in ("data", "more"):
        flip(life.path(first, name))
    result = life.store.copy(source="local", target=SECOND, actor="ada")
    assert len(result.failures) == 2
    assert result.location_count == 3
    assert life.path(second, backend=SECOND).read_bytes() == b"second"
    life.store.verify(actor="scrub")
    life.planted.append("a verify found it damaged")


# Orphans


def test_an_object_without_a_location_is_found_and_deleted_past_the_protection(life: Life) -> None:
    package = life.push(CONTENT)
    old = life.plant(b"left by a crash", age=2 * DAY)
    young = life.plant(b"of an ingest that is under way", age=60)
    life.store.sweep(actor="cron")
    with life.home.unchanged():
        result = life.store.orphans(actor="ada")
    (orphan,) = result.orphans
    assert (orphan.size, orphan.pending, orphan.deleted, orphan.backend_id) == (15, False, False, "local")
    assert (result.protected_count, result.missing) == (1, ())
    (orphan,) = life.store.orphans(actor="ada", delete=True).orphans
    assert orphan.deleted
    assert (old.exists(), young.exists()) == (False, True)
    assert life.types()[-1] == "v1.storage.object_deleted"
    assert life.store.read_file(package, "data") == CONTENT
    (orphan,) = life.store.orphans(actor="ada", delete=True, older_than=30).orphans
    assert not young.exists()
    with life.home.unchanged():
        assert life.store.orphans(actor="ada", delete=True, older_than=30).orphans == ()


def test_an_object_that_gc_will_remove_is_pending(life: Life) -> None:
    from artifactstore.lifecycle import gc

    (package,) = life.expired(b"one")
    paths = [life.path(package), life.manifest_path(package)]
    list(gc.release(lambda: life.store._transaction("cron"), life.store.plan_gc(), life.clock))
    for path in paths:
        life.age(path, 2 * DAY)
    assert [orphan.pending for orphan in life.store.orphans(actor="ada").orphans] == [True, True]
    assert [orphan.pending for orphan in life.store.orphans(actor="ada", delete=True).orphans] == [True, True]
    assert life.store.gc(actor="cron").removed_count == 0
    assert not any(path.exists() for path in paths)


def test_a_location_without_its_object_is_reported(life: Life) -> None:
    package = life.push(CONTENT)
    life.path(package).unlink()
    (missing,) = life.store.orphans(actor="ada", delete=True).missing
    assert (missing.packages, missing.reason) == ((package,), "missing")
    life.planted.append("missing")


def test_stale_staging_folders_go_with_the_orphans(life: Life) -> None:
    stale = life.home.objects / "tmp" / "0123456789abcdef"
    stale.mkdir(parents=True)
    (stale / "1").write_bytes(b"half")
    os.utime(stale, (0, 0))
    assert life.store.orphans(actor="ada").stale_count == 1
    assert (stale / "1").read_bytes() == b"half"
    assert life.store.orphans(actor="ada", delete=True).stale_count == 1
    assert not stale.exists()
