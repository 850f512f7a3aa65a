"""The golden vectors of schemas/vectors: still what the code writes, and right by other code."""

from __future__ import annotations

import hashlib
import json
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from blake3 import blake3

from artifactstore import codec, event_log, events
from artifactstore import manifest as manifests
from artifactstore.errors import IntegrityError, InvalidInputError
from artifactstore.lifecycle.gc_plan import GcPlan
from artifactstore.paths import broken_rule, check_relative_path
from format import make_vectors, reference_cbor

if TYPE_CHECKING:
    from types import ModuleType


def load(name: str) -> Any:
    return json.loads((make_vectors.VECTORS / name).read_text(encoding="ascii"))


CBOR, MANIFESTS, REFUSED_MANIFESTS, PATHS, EVENTS, PLANS = map(
    load,
    ("cbor.json", "manifest.json", "manifest_refused.json", "paths.json", "events.json", "gc_plan.json"),
)


def test_the_files_are_what_the_code_writes_today() -> None:
    written = {name: make_vectors.document(content) for name, content in make_vectors.all_vectors().items()}
    stored = {path.name: path.read_text(encoding="ascii") for path in make_vectors.VECTORS.iterdir()}
    assert stored == written


@pytest.mark.parametrize("vector", CBOR["accepted"], ids=lambda vector: vector["name"])
def test_accepted_cbor(verify: ModuleType, vector: dict[str, str]) -> None:
    data = bytes.fromhex(vector["cbor"])
    value = codec.decode(data)
    assert codec.encode(value) == data == reference_cbor.encode(value)
    assert reference_cbor.diagnostic(value) == vector["diagnostic"]
    assert repr(verify.Reader(data).value(0)) == repr(value)


@pytest.mark.parametrize("vector", CBOR["refused"], ids=lambda vector: vector["reason"])
def test_refused_cbor(vector: dict[str, str]) -> None:
    with pytest.raises(IntegrityError):
        codec.decode(bytes.fromhex(vector["cbor"]))


@pytest.mark.parametrize("vector", MANIFESTS, ids=lambda vector: vector["name"])
def test_manifests(verify: ModuleType, vector: dict[str, Any]) -> None:
    data = bytes.fromhex(vector["cbor"])
    decoded = manifests.decode(data)
    # Compared as text, which tells 1, 1.0 and true apart.
    for projection in (decoded.to_json(), verify.decode(data), json.loads(manifests.json_bytes(decoded))):
        assert json.dumps(projection, sort_keys=True) == json.dumps(vector["json"], sort_keys=True)
    assert vector["blake3"] == f"blake3:{blake3(data).hexdigest()}"
    assert vector["sha256"] == f"sha256:{hashlib.sha256(data).hexdigest()}"
    value: Any = codec.decode(data)
    listed = reference_cbor.encode(value["files"])
    assert data[7 : 7 + len(listed)] == listed
    assert vector["content_digest"] == f"sha256:{hashlib.sha256(listed).hexdigest()}"
    assert vector["content_digest"] == vector["json"]["content_digest"]


@pytest.mark.parametrize("vector", REFUSED_MANIFESTS, ids=lambda vector: vector["reason"])
def test_refused_manifests(verify: ModuleType, vector: dict[str, str]) -> None:
    data = bytes.fromhex(vector["cbor"])
    with pytest.raises(IntegrityError):
        manifests.decode(data)
    with pytest.raises(verify.ManifestError):
        verify.decode(data)
    # Its CBOR is as it should be: what is refused is what it says.
    assert reference_cbor.encode(codec.decode(data)) == data


def test_accepted_paths(verify: ModuleType) -> None:
    for vector in PATHS["accepted"]:
        path = vector["path"]
        assert path.encode().hex() == vector["utf8"]
        assert check_relative_path(path) == path
        verify.check_paths([path])


def test_refused_paths(verify: ModuleType) -> None:
    for vector in PATHS["refused"]:
        data = bytes.fromhex(vector["utf8"])
        path = data.decode("utf-8", "surrogateescape")
        assert broken_rule(path) == vector["rule"]
        with pytest.raises(InvalidInputError) as caught:
            check_relative_path(path)
        assert caught.value.code == "invalid-relative-path"
        assert vector["rule"] in caught.value.message
        if vector["path"] is not None:
            assert vector["path"] == path
            with pytest.raises(verify.ManifestError, match="unsafe"):
                verify.check_paths([path])


@pytest.mark.parametrize("number", range(len(EVENTS)))
def test_events(number: int) -> None:
    vector = EVENTS[number]
    assert vector["sequence"] == number + 1
    event_id, package_id = bytes.fromhex(vector["event_id"]), vector["package_id"]
    payload, envelope = bytes.fromhex(vector["payload"]), bytes.fromhex(vector["envelope"])
    columns: list[Any] = [
        vector["sequence"],
        event_id,
        vector["type"],
        None if package_id is None else bytes.fromhex(package_id),
        vector["actor"],
        vector["recorded_at"],
    ]
    assert envelope == reference_cbor.encode([*columns, hashlib.sha256(payload).digest()])
    assert vector["leaf_hash"] == hashlib.sha256(b"\0" + envelope).hexdigest()
    assert event_log.leaf_hash(*[*columns, payload]).hex() == vector["leaf_hash"]
    decoded: Any = codec.decode(payload)
    assert reference_cbor.encode(decoded) == payload
    projection = vector["json"]
    assert uuid.UUID(projection["event_id"]).bytes == event_id
    assert projection["leaf_hash"] == f"sha256:{vector['leaf_hash']}"
    assert projection["payload"].keys() == decoded.keys()


def test_the_example_events_are_about_the_example_manifests() -> None:
    by_package = {vector["json"]["package"]["package_id"]: vector for vector in MANIFESTS[1:]}
    finalized = [vector["json"] for vector in EVENTS if vector["type"] == events.PACKAGE_FINALIZED]
    assert len(finalized) == 2
    for event in finalized:
        manifest, payload = by_package[event["package_id"]], event["payload"]
        assert payload["manifest_blake3"] == manifest["blake3"]
        assert payload["manifest_sha256"] == manifest["sha256"]
        assert payload["manifest_size"] == len(manifest["cbor"]) // 2
        assert payload["content_digest"] == manifest["content_digest"]
        totals = {"files": payload["file_count"], "size": payload["total_size"]}
        assert totals == manifest["json"]["totals"]


def test_plans() -> None:
    (vector,) = PLANS
    data = bytes.fromhex(vector["cbor"])
    value = codec.decode(data)
    assert reference_cbor.encode(value) == data
    assert reference_cbor.diagnostic(value) == vector["diagnostic"]
    assert vector["sha256"] == f"sha256:{hashlib.sha256(data).hexdigest()}"
    plan = GcPlan.from_bytes(data)
    assert plan.to_bytes() == data
    assert f"sha256:{plan.digest.hex()}" == vector["sha256"]
    (collected,) = (event["json"] for event in EVENTS if event["type"] == events.GARBAGE_COLLECTED)
    assert collected["payload"]["plan_digest"] == vector["sha256"]
    assert [package.package_id for package in plan.packages] == [collected["package_id"]]


@pytest.mark.parametrize("length", [0, 1, 100, -1])
def test_a_plan_that_was_cut_or_is_none_is_refused(length: int) -> None:
    with pytest.raises(IntegrityError):
        GcPlan.from_bytes(bytes.fromhex(PLANS[0]["cbor"])[:length])
    with pytest.raises(IntegrityError):
        GcPlan.from_bytes(bytes.fromhex(MANIFESTS[0]["cbor"]))
