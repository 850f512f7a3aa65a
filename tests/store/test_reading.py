"""Reading back: streams and ranges, manifests, digests, the log, replay, health."""

from __future__ import annotations

import hashlib
import io
import json
import os
import uuid
from typing import TYPE_CHECKING, Any

import cbor2
import pytest

from artifactstore import InvalidInputError, NotFoundError, StateError
from artifactstore.event_log import leaf_hash
from artifactstore.manifest import decode
from artifactstore.moment import format_moment
from store.harness import LARGE, SAID, TREE, incompressible, refused

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from artifactstore import Store
    from store.doors import Door
    from store.harness import Home

EVENTS_OF_A_NEW_STORE = 6  # its creation and five retention classes


@pytest.fixture(params=[0, 1, 70_000, LARGE + 5])
def content(request: pytest.FixtureRequest) -> bytes:
    return incompressible(request.param)


@pytest.fixture
def stream(store: Store, content: bytes) -> Iterator[io.BufferedReader]:
    package = store.create_package(**SAID)
    store.ingest_file(package, "data.bin", content, actor="ada")
    with store.open_file(package, "data.bin") as opened:
        yield opened


def test_a_stream_is_a_binary_seekable_read_only_file(stream: io.BufferedReader, content: bytes) -> None:
    assert (stream.readable(), stream.seekable(), stream.writable()) == (True, True, False)
    assert stream.read() == content
    assert stream.read() == b""
    assert stream.tell() == len(content)
    assert stream.seek(0) == 0
    assert stream.read(10) == content[:10]
    with pytest.raises(io.UnsupportedOperation):
        stream.write(b"x")


def test_any_range_can_be_read(stream: io.BufferedReader, content: bytes) -> None:
    size = len(content)
    for start, length in (
        (size // 2, 17),
        (0, 5),
        (max(size - 3, 0), 10),
        (size, 4),
        (size + 9, 4),
        (3, 80_000),
    ):
        stream.seek(start)
        assert stream.read(length) == content[start : start + length]
    assert stream.seek(0, os.SEEK_END) == size
    assert stream.seek(-min(size, 4), os.SEEK_END) == size - min(size, 4)
    assert stream.read() == content[size - min(size, 4) :]
    stream.seek(min(size, 6))
    assert stream.seek(-min(size, 6), os.SEEK_CUR) == 0
    assert stream.read() == content


def test_a_stream_can_be_copied_in_pieces(stream: io.BufferedReader, content: bytes) -> None:
    pieces = list(iter(lambda: stream.read(65_537), b""))
    assert b"".join(pieces) == content


def test_streams_of_one_file_are_independent(store: Store) -> None:
    package = store.create_package(**SAID)
    store.ingest_file(package, "a", b"0123456789", actor="ada")
    with store.open_file(package, "a") as one, store.open_file(package, "a") as two:
        assert (one.read(4), two.read(2), one.read()) == (b"0123", b"01", b"456789")


def test_a_stream_outlives_the_store(store: Store) -> None:
    package = store.create_package(**SAID)
    store.ingest_file(package, "a", b"0123456789", actor="ada")
    with store.open_file(package, "a") as stream:
        store.close()
        assert stream.read() == b"0123456789"


def test_a_closed_store_answers_with_its_state(store: Store) -> None:
    store.close()
    store.close()
    with refused(StateError, "closed"):
        store.list_packages()
    with refused(StateError, "closed"):
        store.create_package(**SAID)
    assert store.health().status == "degraded"


def test_what_is_not_there_is_not_found(door: Door, home: Home) -> None:
    package = door.create_package(**SAID)
    door.ingest_file(package, "a/b.txt", b"b", actor="ada")
    with home.unchanged():
        for path in ("a", "a/b", "a/b.txt/c", "A/b.txt", "c"):
            with refused(NotFoundError, "not-found", path):
                door.read_file(package, path)
        other = str(uuid.UUID(int=uuid.UUID(package).int ^ 1))
        with refused(NotFoundError, "not-found", other):
            door.get_package(other)
        with refused(NotFoundError, "not-found", "abcdef12"):
            door.find_object("abcdef12")


def test_the_manifest_as_json_says_what_the_bytes_say(door: Door, tree: Path) -> None:
    package = door.push(tree, **SAID, metadata={"run": 7, "\u00fc": [1.5, None]}).package
    manifest = decode(door.get_manifest_bytes(package.package_id))
    document = json.loads(door.get_manifest_bytes(package.package_id, format="json"))
    assert document == manifest.to_json()
    assert document["package"]["package_id"] == package.package_id
    assert document["package"]["metadata"] == {"run": 7, "\u00fc": [1.5, None]}
    assert document["package"]["created_at"] == format_moment(package.created_at)
    assert document["content_digest"] == str(package.content_digest)
    assert document["totals"] == {"files": len(TREE), "size": sum(map(len, TREE.values()))}
    assert {file["relative_path"]: file["sha256"] for file in document["files"]} == {
        path: f"sha256:{hashlib.sha256(data).hexdigest()}" for path, data in TREE.items()
    }
    assert manifest.files == tuple(sorted(manifest.files, key=lambda file: file.relative_path.encode()))


def test_the_stored_manifest_is_an_object_like_any_other(store: Store, tree: Path, home: Home) -> None:
    package = store.push(tree, **SAID).package
    assert package.manifest_digest is not None
    digits = package.manifest_digest.hex
    stored = home.objects / "blake3" / digits[:2] / digits[2:4] / digits
    assert stored.read_bytes() == store.get_manifest_bytes(package.package_id)
    assert store.get_manifest(package.package_id) == decode(stored.read_bytes())


def test_an_open_package_has_no_manifest(door: Door, home: Home, tmp_path: Path) -> None:
    package = door.create_package(**SAID)
    door.ingest_file(package, "a", b"a", actor="ada")
    with home.unchanged():
        with refused(StateError, "not-finalized", package):
            door.get_manifest_bytes(package)
        with refused(StateError, "not-finalized", package):
            door.export_package(package, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_find_names_every_place_of_the_bytes(door: Door, tree: Path) -> None:
    first = door.push(tree, **SAID).package
    second = door.create_package(**SAID)
    file = door.ingest_file(second, "copy.log", b"a line\n", actor="ada")
    expected = [
        (first.package_id, "logs/a.log"),
        (first.package_id, "logs/b.log"),
        (second, "copy.log"),
    ]
    for text in (
        str(file.digest),
        str(file.sha256),
        file.digest.hex,
        file.sha256.hex,
        f"blake3:{file.digest.hex[:12]}",
        f"sha256:{file.sha256.hex[:12]}",
        file.digest.hex[:12],
        file.sha256.hex[:13],
        file.sha256.hex.upper(),
        f"BLAKE3:{file.digest.hex.upper()}",
        file.digest,
        file.sha256,
    ):
        hits = door.find_object(text)
        assert [(hit.package.package_id, hit.file.relative_path) for hit in hits] == expected
    assert hits[0].package == first
    assert hits[2].file == file


def test_find_says_whose_manifest_a_digest_is(door: Door, tree: Path) -> None:
    package = door.push(tree, **SAID).package
    assert package.manifest_digest is not None
    with pytest.raises(NotFoundError, match=str(package.manifest_digest)) as caught:
        door.find_object(package.manifest_digest)
    assert f"artifactstore show {package.package_id}" in str(caught.value.hint)
    with pytest.raises(NotFoundError) as caught:
        door.find_object("0123456789abcdef")
    assert caught.value.hint is None


def test_a_prefix_of_several_digests_is_refused(store: Store, home: Home) -> None:
    package = store.create_package(**SAID)
    by_prefix: dict[str, bytes] = {}
    for number in range(100_000):
        data = number.to_bytes(4, "big")
        prefix = hashlib.sha256(data).hexdigest()[:4]
        if prefix in by_prefix:
            break
        by_prefix[prefix] = data
    for name, content in (("one", by_prefix[prefix]), ("two", data)):
        store.ingest_file(package, name, content, actor="ada")
    with home.unchanged():
        for text in (prefix, f"sha256:{prefix}"):
            with refused(InvalidInputError, "ambiguous-digest", prefix):
                store.find_object(text)
    longer = hashlib.sha256(data).hexdigest()[:20]
    assert [hit.file.relative_path for hit in store.find_object(longer)] == ["two"]


def test_a_prefix_of_several_packages_is_refused(store: Store, home: Home) -> None:
    ids = [store.create_package(**SAID) for _ in range(5)]
    with home.unchanged(), refused(InvalidInputError, "ambiguous-id", ids[0][:8], ids[0], ids[1], "..."):
        store.get_package(ids[0][:8])


@pytest.mark.parametrize("text", ["", "abc", "xyzw", "g" * 32, "0" * 33, "01-", "%", "' OR 1=1"])
def test_what_is_no_id_is_refused(store: Store, home: Home, text: str) -> None:
    store.create_package(**SAID)
    with home.unchanged(), refused(InvalidInputError, "invalid-input", text):
        store.get_package(text)


@pytest.mark.parametrize(
    "text",
    ["", "abc", "xyzw", "blake3:", "md5:0123456789", "0" * 65, "sha256:abc", ":abcdef", "%%%%"],
)
def test_what_is_no_digest_is_refused(store: Store, home: Home, text: str) -> None:
    with home.unchanged(), refused(InvalidInputError, "invalid-input", text):
        store.find_object(text)


@pytest.mark.parametrize("value", [None, 7, b"0123", uuid.UUID(int=7)])
def test_what_is_asked_for_is_text(store: Store, home: Home, value: Any) -> None:
    package = store.create_package(**SAID)
    kind = type(value).__name__
    with home.unchanged():
        with refused(InvalidInputError, "invalid-input", "package", kind):
            store.get_package(value)
        with refused(InvalidInputError, "invalid-input", "digest", kind):
            store.find_object(value)
        with refused(InvalidInputError, "invalid-input", "relative path", kind):
            store.read_file(package, value)
        with refused(InvalidInputError, "invalid-input", "relative path", kind):
            store.ingest_file(package, value, b"", actor="ada")


def test_a_format_of_the_manifest_that_there_is_not(python_door: Door, tree: Path) -> None:
    package = python_door.push(tree, **SAID).package.package_id
    unknown: Any = "yaml"
    with refused(InvalidInputError, "invalid-input", "'yaml'"):
        python_door.get_manifest_bytes(package, format=unknown)


def test_the_log_of_a_push(python_door: Door, tree: Path) -> None:
    package = python_door.push(tree, **SAID).package
    events = python_door.events()
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    assert [event.type for event in events] == [
        "v1.store.created",
        *["v1.retention.class_defined"] * 5,
        "v1.package.created",
        *["v1.file.ingested"] * len(TREE),
        "v1.package.finalized",
    ]
    of_the_push = events[EVENTS_OF_A_NEW_STORE:]
    assert {event.actor for event in of_the_push} == {"ada"}
    assert {event.package_id for event in of_the_push} == {uuid.UUID(package.package_id).bytes}
    assert sorted(str(event.payload["relative_path"]) for event in of_the_push[1:-1]) == sorted(TREE)
    for event in events:
        payload = cbor2.dumps(event.payload, canonical=True)
        assert event.leaf_hash == leaf_hash(
            event.sequence,
            event.event_id,
            event.type,
            event.package_id,
            event.actor,
            event.recorded_at,
            payload,
        )


def test_a_push_is_one_transaction_in_the_order_of_its_paths(store: Store, tree: Path) -> None:
    store.push(tree, **SAID)
    of_the_push = store.events()[EVENTS_OF_A_NEW_STORE:]
    assert len({event.recorded_at for event in of_the_push}) == 1
    assert [event.payload["relative_path"] for event in of_the_push[1:-1]] == sorted(TREE, key=os.fsencode)


def test_the_log_is_read_in_pages(python_door: Door, tree: Path) -> None:
    python_door.push(tree, **SAID)
    everything = python_door.events()
    seen = []
    after = 0
    while page := python_door.events(after=after, limit=4):
        assert len(page) <= 4
        seen += page
        after = page[-1].sequence
    assert seen == everything
    assert python_door.events(after=len(everything)) == []


def test_replay_gives_the_same_views(door: Door, tree: Path, home: Home) -> None:
    door.push(tree, **SAID, metadata={"run": {"id": 7}}, idempotency_key="key")
    package = door.create_package(**SAID)
    door.ingest_file(package, "a", b"a", actor="ada")
    with home.unchanged():
        checked = door.replay(check=True)
        replayed = door.replay()
    assert checked == replayed
    assert checked.identical
    assert checked.event_count == len(door.events())


def test_a_sound_store_is_healthy(door: Door, home: Home) -> None:
    with home.unchanged():
        health = door.health()
    assert health.status == "ok"
    assert (health.db.healthy, health.backend.healthy) == (True, True)
    assert (health.db.reasons, health.backend.reasons, health.warnings) == ((), (), ())


def test_reopened_it_is_the_same_store(home: Home, tree: Path) -> None:
    with home.open() as store:
        store_id = store.store_id
        package = store.push(tree, **SAID).package
    with home.open(create=False) as store:
        assert store.store_id == store_id
        assert store.get_package(package.package_id) == package
        assert store.read_file(package.package_id, "README.md") == TREE["README.md"]
