"""What holds for every remote backend: file systems of fsspec, SeaweedFS, and Ceph RGW by http and https."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
from store.harness import SAID, TREE, FakeClock, Home, incompressible, read_tree, refused, write_tree

from artifactstore import (
    BackendError,
    IntegrityError,
    ObjectNotFoundError,
    SourceChangedError,
    Store,
)
from artifactstore.digest import digest_pair, object_key
from artifactstore.lifecycle.object_check import TRUNCATED
from artifactstore.objects.backend import SMALL_FILE
from artifactstore.objects.remote import RemoteBackend
from artifactstore.objects.service import PROBE
from s3.conftest import open_store
from s3.places import PART, REMOTE, Place
from s3.watched import Watched

if TYPE_CHECKING:
    from pathlib import Path

    from artifactstore.objects.backend import Fill

ACTOR = {"actor": "ada"}
DAY = 86_400_000_000  # microseconds
LIFE = {**SAID, "retention_class": "transient"}


def is_s3(place: Place) -> bool:
    return place.server is not None


def key_of(data: bytes) -> str:
    return object_key(digest_pair(data).blake3)


def fill_of(data: bytes) -> Fill:
    return io.BytesIO(data).readinto


def test_a_pushed_directory_comes_back(remote: Store, place: Place, tree: Path, tmp_path: Path) -> None:
    (tree / "large.bin").write_bytes(incompressible(2 * PART + 1))
    package = remote.push(tree, **SAID).package
    keys = place.all_keys()
    assert set(keys) == {
        "artifactstore.json",
        *(key_of(path.read_bytes()) for path in tree.rglob("*") if path.is_file()),
        object_key(package.manifest_digest.value) if package.manifest_digest else "",
    }
    remote.export_package(package.package_id, tmp_path / "out", bare=True)
    assert read_tree(tmp_path / "out") == read_tree(tree)
    assert remote.read_file(package.package_id, "large.bin") == incompressible(2 * PART + 1)
    verified = remote.verify(**ACTOR, backend=REMOTE)
    assert (verified.object_count, verified.failures) == (len(keys) - 1, ())
    assert remote.fsck(read=True).clean
    assert remote.orphans(**ACTOR).missing == ()
    assert remote.replay(check=True).identical
    assert remote.health(deep=True).status == "ok"
    assert place.all_keys() == keys


def test_what_is_there_is_not_sent_again(remote: Store, place: Place, tree: Path) -> None:
    (tree / "large.bin").write_bytes(incompressible(PART + 1))
    first = remote.push(tree, **SAID)
    before = {found.key: found.written_at for found in place.own.entries("blake3/")}
    again = remote.push(tree, **{**SAID, "name": "again"})
    assert first.ingest.new_object_count == len(before) - 1
    assert again.ingest.new_object_count == 0
    after = {found.key: found.written_at for found in place.own.entries("blake3/")}
    assert after == {**after, **before}
    assert len(after) == len(before) + 1


def test_sizes_around_the_threshold(remote: Store, place: Place, tmp_path: Path) -> None:
    package = remote.create_package(**SAID)
    for size in (0, PART - 1, PART, PART + 1, 2 * PART):
        (tmp_path / "source").write_bytes(incompressible(size))
        streamed = incompressible(size, 2)
        sources: dict[str, Any] = {
            f"path-{size}": tmp_path / "source",
            f"bytes-{size}": incompressible(size, 1),
            f"stream-{size}": iter([streamed[:1000], streamed[1000:]]),
        }
        for seed, (name, source) in enumerate(sources.items()):
            remote.ingest_file(package, name, source, **ACTOR)
            assert remote.read_file(package, name) == incompressible(size, seed)
    assert place.unfinished() == []


def test_any_range_is_read_without_the_rest(remote: Store) -> None:
    data = incompressible(2 * PART + 17)
    package = remote.create_package(**SAID)
    remote.ingest_file(package, "data", data, **ACTOR)
    with remote.open_file(package, "data") as stream:
        for start, length in (
            (0, 10),
            (PART - 3, 7),
            (PART * 2, 17),
            (PART, PART),
            (len(data) - 1, 5),
            (3, 0),
        ):
            stream.seek(start)
            assert stream.read(length) == data[start : start + length]
        assert stream.seek(-5, os.SEEK_END) == len(data) - 5
        assert stream.read() == data[-5:]
        stream.seek(len(data) + 100)
        assert stream.read(10) == b""


def test_gc_removes_the_bytes_that_nobody_needs(place: Place, home: Home, tmp_path: Path) -> None:
    clock = FakeClock()
    write_tree(tmp_path / "short", {"own": b"short only", "shared": b"both"})
    write_tree(tmp_path / "long", {"shared": b"both"})
    with open_store(home, place, clock) as store:
        store.push(tmp_path / "short", **LIFE)
        kept = store.push(tmp_path / "long", **SAID).package.package_id
        clock.now += 2 * DAY
        store.sweep(**ACTOR)
        store.copy(source=REMOTE, target="local", **ACTOR, package=kept)
        result = store.gc(**ACTOR)
        assert (len(result.collected), result.removed_count) == (1, 2)
        assert key_of(b"short only") not in place.all_keys()
        assert store.read_file(kept, "shared") == b"both"
        assert store.fsck(read=True).clean


def test_bytes_are_copied_and_repaired_both_ways(remote: Store, home: Home, place: Place, tree: Path) -> None:
    large = incompressible(PART + 1)
    (tree / "large.bin").write_bytes(large)
    package = remote.push(tree, **SAID).package.package_id
    count = remote.copy(source=REMOTE, target="local", **ACTOR).object_count
    assert count == len(place.all_keys()) - 1
    assert remote.copy(source=REMOTE, target="local", **ACTOR).location_count == 0

    small = TREE["README.md"]
    place.overwrite(key_of(small), small[::-1])
    place.overwrite(key_of(large), large[:-1])
    assert remote.read_file(package, "README.md") == small
    damaged = {failure.blake3 for failure in remote.verify(**ACTOR, backend=REMOTE).failures}
    assert damaged == {digest_pair(small).blake3, digest_pair(large).blake3}
    assert remote.health().status == "degraded"
    repaired = remote.repair(**ACTOR, backend=REMOTE)
    assert {(each.blake3, each.origin) for each in repaired.healed} == {
        (each, "backend local") for each in damaged
    }
    assert len([key for key in place.all_keys() if key.startswith("damaged/")]) == 2

    local = home.objects / key_of(small)
    local.chmod(0o600)
    local.write_bytes(small[::-1])
    assert len(remote.verify(**ACTOR, backend="local").failures) == 1
    assert remote.repair(**ACTOR, backend="local").healed[0].origin == f"backend {REMOTE}"
    assert remote.fsck(read=True).clean


def test_a_copy_puts_no_damaged_bytes_into_a_place(place: Place, home: Home, tree: Path) -> None:
    large, small = incompressible(SMALL_FILE + PART + 1), TREE["README.md"]
    (tree / "large.bin").write_bytes(large)
    with Store.open(home.database, home.objects, further={REMOTE: place.backend()}) as store:
        store.push(tree, **SAID)
        for data in (small, large):
            path = home.objects / key_of(data)
            path.chmod(0o600)
            path.write_bytes(data[:-1] + b"?")
        result = store.copy(source="local", target=REMOTE, **ACTOR)
        damaged = {failure.blake3 for failure in result.failures}
        assert damaged == {digest_pair(data).blake3 for data in (small, large)}
        stored = {key for key in place.all_keys() if key.startswith("blake3/")}
        there = {path.relative_to(home.objects).as_posix() for path in home.objects.glob("blake3/*/*/*")}
        assert stored == there - {key_of(small), key_of(large)}


def test_a_place_that_stops_answering_says_nothing_of_its_objects(
    home: Home, tree: Path, tmp_path: Path
) -> None:
    place = Place(None, f"local://{tmp_path}/remote")
    away = threading.Event()

    def watch(name: str, arguments: tuple[Any, ...]) -> None:
        if name == "get" and arguments[0].startswith("blake3/") and away.is_set():
            raise BackendError("the server is gone", code="connection-lost", retryable=True)

    service: Any = Watched(place.service(), watch)
    backend = RemoteBackend(service, backend_id=REMOTE)
    with Store.open(home.database, home.objects, further={REMOTE: backend}, default_backend=REMOTE) as store:
        package = store.push(tree, **SAID).package.package_id
        away.set()
        with refused(BackendError, "connection-lost"):
            store.verify(**ACTOR)
        with refused(BackendError, "connection-lost"):
            store.copy(source=REMOTE, target="local", **ACTOR)
        assert store.verification(package).failed_count == 0
        away.clear()
        assert store.verify(**ACTOR).failures == ()
    place.close()


def test_a_push_mends_what_a_verify_found_damaged(remote: Store, place: Place, tree: Path) -> None:
    small = TREE["README.md"]
    package = remote.push(tree, **SAID).package.package_id
    place.overwrite(key_of(small), small[::-1])
    with refused(IntegrityError, "integrity", "README.md"):
        remote.read_file(package, "README.md")
    assert len(remote.verify(**ACTOR).failures) == 1
    remote.push(tree, **{**SAID, "name": "again"})
    assert remote.read_file(package, "README.md") == small
    assert remote.fsck(read=True).clean


def test_an_object_that_was_emptied_or_cut_is_damaged(remote: Store, place: Place, tree: Path) -> None:
    small, large = TREE["README.md"], incompressible(PART + 1)
    (tree / "large.bin").write_bytes(large)
    package = remote.push(tree, **SAID).package.package_id
    with remote.open_file(package, "large.bin") as stream:
        assert stream.read(10) == large[:10]
        place.overwrite(key_of(small), b"")
        place.overwrite(key_of(large), large[:3])
        stream.seek(PART)
        with refused(IntegrityError, "integrity"):
            stream.read()
    for name in ("README.md", "large.bin"):
        with refused(IntegrityError, "integrity"):
            remote.read_file(package, name)
    failures = {failure.blake3: failure.reason for failure in remote.verify(**ACTOR, backend=REMOTE).failures}
    assert failures == {digest_pair(data).blake3: TRUNCATED for data in (small, large)}
    remote.push(tree, **{**SAID, "name": "again"})
    assert remote.fsck(read=True).clean


def test_reading_falls_back_to_another_backend(remote: Store, home: Home, place: Place, tree: Path) -> None:
    package = remote.push(tree, **SAID).package.package_id
    remote.copy(source=REMOTE, target="local", **ACTOR)
    key = key_of(TREE["README.md"])
    place.own.delete_all([key])
    assert remote.read_file(package, "README.md") == TREE["README.md"]
    (home.objects / key).unlink()
    with refused(ObjectNotFoundError, "object-not-found"):
        remote.read_file(package, "README.md")
    assert [failure.reason for failure in remote.orphans(**ACTOR).missing] == ["missing", "missing"]


def test_a_place_has_one_store(remote: Store, place: Place, tree: Path, tmp_path: Path) -> None:
    remote.push(tree, **SAID)
    other = Home(tmp_path / "other")
    with open_store(other, place) as store:
        with refused(BackendError, "backend-foreign", str(remote.store_id)):
            store.push(tree, **SAID)
        assert any(str(remote.store_id) in reason for reason in store.health().backend.reasons)
        with refused(BackendError, "backend-foreign"):
            store.verify(**ACTOR)
        assert store.adopt_backend(REMOTE) == str(remote.store_id)
        store.push(tree, **SAID)
        assert store.health().status == "ok"
    with refused(BackendError, "backend-foreign", str(store.store_id)):
        remote.verify(**ACTOR, backend=REMOTE)


def test_a_place_that_holds_something_is_not_claimed(place: Place, home: Home, tree: Path) -> None:
    place.overwrite("somebody/else", b"precious")
    with open_store(home, place) as store:
        with refused(BackendError, "backend-not-empty", "somebody/else"):
            store.push(tree, **SAID)
        assert store.adopt_backend(REMOTE) is None
        store.push(tree, **SAID)
    assert "somebody/else" in place.all_keys()


def test_a_lost_marker_is_noticed(remote: Store, place: Place, tree: Path) -> None:
    remote.push(tree, **SAID)
    place.own.delete_all(["artifactstore.json"])
    with refused(BackendError, "backend-missing"):
        remote.gc(**ACTOR)
    assert remote.health().status == "degraded"
    remote.adopt_backend(REMOTE)
    assert remote.gc(**ACTOR).removed_count == 0


def test_orphans_are_found_by_their_age(remote: Store, place: Place, tree: Path) -> None:
    remote.push(tree, **SAID)
    place.overwrite(key_of(b"nobody's"), b"nobody's")
    young = remote.orphans(**ACTOR, delete=True)
    assert (young.orphans, young.protected_count) == ((), 1)
    (found,) = remote.orphans(**ACTOR, delete=True, older_than=0).orphans
    assert (found.blake3, found.deleted) == (digest_pair(b"nobody's").blake3, True)
    assert key_of(b"nobody's") not in place.all_keys()
    assert remote.fsck(read=True).clean


def test_probes_that_a_crash_left_are_removed(remote: Store, place: Place, tree: Path) -> None:
    remote.push(tree, **SAID)
    before = place.all_keys()
    place.overwrite(f"{PROBE}{'0' * 32}", b"left")
    assert remote.orphans(**ACTOR, delete=True).stale_count == 0
    assert remote.orphans(**ACTOR, older_than=0).stale_count == 1
    assert len(place.all_keys()) == len(before) + 1
    assert remote.orphans(**ACTOR, older_than=0, delete=True).stale_count == 1
    assert place.all_keys() == before


@pytest.mark.parametrize("size", [SMALL_FILE, 2 * PART + 1])
def test_a_source_that_changes_between_its_two_readings_leaves_nothing(place: Place, size: int) -> None:
    data, other = incompressible(size), incompressible(size, 1)
    backend = place.backend()
    for changed in (other, data[:-1], data + b"x"):
        with backend.batch() as batch, refused(SourceChangedError, "source-changed"):
            batch.stage_stream(fill_of(data), again=lambda: fill_of(changed))  # noqa: B023 - called at once
    assert place.all_keys() == []
    assert place.unfinished() == []
    backend.close()


def test_equal_bytes_from_many_threads_are_one_object(place: Place) -> None:
    data = incompressible(100_000)
    backend = place.backend()
    news: list[bool] = []

    def stage(batch: Any) -> None:
        news.extend(batch.stage_bytes(data).new for _ in range(3))

    with backend.batch() as batch:
        threads = [threading.Thread(target=stage, args=(batch,)) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(news) == [False] * 17 + [True]
    assert place.all_keys() == [key_of(data)]
    backend.close()


SCRIPT = """
import os, sys
sys.path[:0] = sys.argv[3].split(os.pathsep)
from artifactstore import Store
from artifactstore.objects.remote import RemoteBackend
from artifactstore.objects.s3.config import S3Config
from artifactstore.objects.s3.service import S3Service
import json
said = json.loads(sys.argv[2])
keys = said.pop("keys")
config = S3Config(**said, credentials=lambda: tuple(keys))
whose = dict(name="n", producer="p", subject="s", retention_class="transient", actor="a")
further = {"s3": RemoteBackend(S3Service(config), backend_id="s3")}
root = sys.argv[1]
with Store.open(root + "/db", root + "/objects", further=further, default_backend="s3") as store:
    package = store.create_package(**whose)
    store.ingest_file(package, "before", b"before", actor="a")
    child = os.fork()
    if child == 0:
        store.ingest_file(package, "child", b"child", actor="a")
        assert store.read_file(package, "before") == b"before"
        store.close()
        sys.exit(0)
    assert os.waitpid(child, 0)[1] == 0
    store.ingest_file(package, "after", b"after", actor="a")
    assert store.read_file(package, "child") == b"child"
"""


def test_a_forked_child_goes_on_and_nobody_warns(bucket: Place, tmp_path: Path) -> None:
    import dataclasses
    import json

    assert bucket.server is not None
    config = bucket.server.config(bucket.prefix)
    said = {
        item.name: getattr(config, item.name)
        for item in dataclasses.fields(config)
        if item.name != "credentials"
    }
    said["keys"] = bucket.server.keys
    (tmp_path / "store").mkdir()
    done = subprocess.run(
        [
            sys.executable, "-W", "error", "-W", "ignore:This process:DeprecationWarning", "-c", SCRIPT,
            str(tmp_path / "store"), json.dumps(said), os.pathsep.join(sys.path),
        ],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
