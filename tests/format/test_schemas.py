"""The JSON Schemas: they take every projection that the code makes and refuse what is none."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft202012Validator

from artifactstore import event_log
from format import make_vectors
from format.whole_life import live

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from store.harness import FakeClock, Home

    from artifactstore import Store

SCHEMAS = make_vectors.VECTORS.parent


def validator(name: str) -> Draft202012Validator:
    schema = json.loads((SCHEMAS / name).read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


MANIFEST = validator("manifest.v1.schema.json")
EVENT = validator("event.v1.schema.json")
MANIFESTS = [vector["json"] for vector in make_vectors.manifest_vectors()]
EVENTS = [vector["json"] for vector in make_vectors.event_vectors()]


def in_json(value: Any) -> Any:
    return json.loads(json.dumps(value))


@pytest.mark.parametrize("number", range(len(MANIFESTS)))
def test_known_manifests(number: int) -> None:
    MANIFEST.validate(in_json(MANIFESTS[number]))


@pytest.mark.parametrize("number", range(len(EVENTS)))
def test_known_events(number: int) -> None:
    EVENT.validate(in_json(EVENTS[number]))


def test_what_a_real_store_says(store: Store, tree: Path) -> None:
    package = store.push(
        tree,
        name="Prüfung",
        producer="ci",
        subject="app",
        retention_class="permanent-record",
        actor="ada",
        metadata={"a": [None, 1.5]},
        idempotency_key="run 1",
    ).package
    MANIFEST.validate(json.loads(store.get_manifest_bytes(package.package_id, format="json")))
    for event in store.events():
        EVENT.validate(in_json(event_log.to_json(event)))


def test_what_a_store_says_of_a_whole_life(home: Home, clock: FakeClock, tree: Path) -> None:
    with live(home, clock, tree) as store:
        for event in store.events(limit=1000):
            EVENT.validate(in_json(event_log.to_json(event)))


def places(value: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The place of everything in a document that the schema speaks of; metadata may say anything."""
    if above:
        yield above
    if above[-1:] in {("metadata",), ("body",), ("message",)}:
        return
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield from places(value[key], (*above, key))


def damaged(document: Any) -> Iterator[tuple[str, Any]]:
    """A document with one thing wrong, in every place."""
    for *above, key in places(document):
        for kind in ("missing", "surplus", "another type"):
            changed = copy.deepcopy(document)
            container = changed
            for step in above:
                container = container[step]
            if kind == "missing" and isinstance(container, dict) and key != "idempotency":
                del container[key]
            elif (
                kind == "surplus"
                and isinstance(container[key], dict)
                and key not in {"metadata", "body", "message"}
            ):
                container[key]["more"] = 1
            elif kind == "another type":
                container[key] = 1.5
            else:
                continue
            yield f"{kind} {'/'.join(map(str, [*above, key]))}", changed


@pytest.mark.parametrize("check", [MANIFEST, EVENT], ids=["manifest", "event"])
def test_every_damage_is_seen(check: Draft202012Validator) -> None:
    documents = MANIFESTS[:2] if check is MANIFEST else EVENTS
    seen = [
        (place, check.is_valid(changed)) for document in documents for place, changed in damaged(document)
    ]
    assert [place for place, valid in seen if valid] == []
    assert len(seen) > 100


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("package_id", "01A204E5-D1A0-7000-8000-000000000001"),
        ("package_id", "01a204e5d1a070008000000000000001"),
        ("created_at", "2026-11-22T20:15:00Z"),
        ("created_at", "2026-11-22T20:15:00.000000+00:00"),
        ("created_at", 1_795_378_500_000_000),
        ("metadata", []),
    ],
)
def test_forms_of_the_package(key: str, value: Any) -> None:
    manifest = copy.deepcopy(MANIFESTS[0])
    manifest["package"][key] = value
    assert not MANIFEST.is_valid(manifest)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("size", -1),
        ("size", 2**63),
        ("size", "7"),
        ("blake3", "sha256:" + "0" * 64),
        ("sha256", "0" * 64),
        ("sha256", "sha256:" + "A" * 64),
        ("executable", 0),
    ],
)
def test_forms_of_a_file(key: str, value: Any) -> None:
    manifest = copy.deepcopy(MANIFESTS[0])
    manifest["files"][0][key] = value
    assert not MANIFEST.is_valid(manifest)


def test_paths() -> None:
    known = make_vectors.path_vectors()
    manifest = copy.deepcopy(MANIFESTS[0])
    for vector in known["accepted"]:
        manifest["files"][0]["relative_path"] = vector["path"]
        assert MANIFEST.is_valid(manifest), ascii(vector["path"])
    for vector in known["refused"]:
        # Lengths in bytes are beyond JSON Schema, and what is not UTF-8 is not JSON.
        if vector["path"] is not None and "bytes" not in vector["rule"]:
            manifest["files"][0]["relative_path"] = vector["path"]
            assert not MANIFEST.is_valid(manifest), ascii(vector["path"])


def test_an_event_of_an_unknown_type_is_refused() -> None:
    for kind in ("v1.file.removed", "v2.store.created", ""):
        assert not EVENT.is_valid({**EVENTS[0], "type": kind})


def test_an_event_with_the_payload_of_another_type_is_refused() -> None:
    for one in EVENTS:
        for other in EVENTS:
            # What has the same keys may well say the same.
            if one["type"] != other["type"] and one["payload"].keys() != other["payload"].keys():
                assert not EVENT.is_valid({**one, "payload": other["payload"]})
