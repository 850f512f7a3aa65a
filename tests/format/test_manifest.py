"""Manifests: written and read back, and refused whenever anything about them is wrong."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from artifactstore import manifest as manifests
from artifactstore.errors import IntegrityError
from artifactstore.manifest import ManifestEncoder, ManifestFile, ManifestPackage
from artifactstore.moment import MOMENT_MAX, MOMENT_MIN
from artifactstore.paths import broken_rule, parents
from format import reference_cbor
from format.manifest_cases import (
    BAD_FILES,
    CONTRADICTIONS,
    MANIFESTS,
    PASSED,
    a_file,
    a_package,
    manifest_bytes,
    refused_manifests,
)
from format.mutants import agrees, mutants, plain
from format.values import metadata, texts

if TYPE_CHECKING:
    from types import ModuleType

segments = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/"), min_size=1, max_size=8)
paths = (
    st.lists(segments, min_size=1, max_size=4).map("/".join).filter(lambda path: broken_rule(path) is None)
)
files = st.builds(
    ManifestFile,
    relative_path=paths,
    media_type=texts,
    size=st.integers(0, 2**40),
    blake3=st.binary(min_size=32, max_size=32),
    sha256=st.binary(min_size=32, max_size=32),
    executable=st.booleans(),
)
ids = st.uuids().map(str)
packages = st.builds(
    ManifestPackage,
    package_id=ids,
    store_id=ids,
    name=texts,
    producer=texts,
    subject=texts,
    retention_class=texts,
    created_at=st.integers(MOMENT_MIN, MOMENT_MAX),
    metadata=metadata,
    metadata_schema=st.none() | texts,
)


def no_file_in_the_way(drawn: list[ManifestFile]) -> list[ManifestFile]:
    """Sorted, without those that are a folder of another one."""
    folders = {folder for file in drawn for folder in parents(file.relative_path)}
    kept = [file for file in drawn if file.relative_path not in folders]
    return sorted(kept, key=lambda file: file.relative_path.encode())


file_lists = st.lists(files, min_size=1, max_size=30, unique_by=lambda file: file.relative_path)


@settings(max_examples=150, deadline=None)
@given(packages, file_lists.map(no_file_in_the_way))
def test_a_manifest_is_what_the_format_says_and_reads_back(
    verify: ModuleType, package: ManifestPackage, listed: list[ManifestFile]
) -> None:
    encoder = ManifestEncoder(package, len(listed))
    data = b"".join(encoder.chunks(listed))
    described = plain(package, listed)
    assert data == reference_cbor.encode(described)
    decoded = manifests.decode(data)
    assert decoded.files == tuple(listed)
    assert decoded.package == package
    assert reference_cbor.diagnostic(decoded.package.metadata) == reference_cbor.diagnostic(
        reference_order(package.metadata)
    )
    assert decoded.total_size == encoder.total_size == described["totals"]["size"]
    assert decoded.content_digest.value == encoder.content_digest == described["content_digest"]
    assert verify.decode(data) == decoded.to_json()
    document = json.dumps(decoded.to_json(), ensure_ascii=False, indent=2, sort_keys=True)
    assert manifests.json_bytes(decoded) == f"{document}\n".encode()


def reference_order(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: reference_order(value[key]) for key in sorted(value, key=reference_cbor.encode)}
    return [reference_order(entry) for entry in value] if isinstance(value, list) else value


@pytest.mark.parametrize("count", [1, 23, 24, 255, 256, 999, 1000, 1001, 2500])
def test_any_number_of_files_is_written_in_parts(count: int) -> None:
    listed = [a_file(f"{number:05}", b"") for number in range(count)]
    chunks = list(ManifestEncoder(a_package(), count).chunks(iter(listed)))
    assert b"".join(chunks) == reference_cbor.encode(plain(a_package(), listed))
    assert len(manifests.decode(b"".join(chunks)).files) == count
    assert max(map(len, chunks)) < 200_000


def test_the_content_digest_covers_the_files_and_nothing_else() -> None:
    digests = {
        manifests.decode(manifest_bytes(a_package(**fields), [PASSED])).content_digest
        for fields in ({}, {"name": "other"}, {"created_at": 0}, {"metadata": {"a": 1}})
    }
    assert len(digests) == 1
    for changed in (a_file("report.txt", b""), a_file("other.txt", b"passed\n")):
        digests.add(manifests.decode(manifest_bytes(a_package(), [changed])).content_digest)
    digests.add(
        manifests.decode(manifest_bytes(a_package(), [a_file("report.txt", b"passed\n", executable=True)]))
        .content_digest
    )  # fmt: skip
    assert len(digests) == 4


@pytest.mark.parametrize("names", [["b", "a"], ["a", "a"], ["a/b", "a-b"], ["\U0001f600", "\uffee"], [""]])
def test_the_encoder_wants_files_in_order(names: list[str]) -> None:
    with pytest.raises(IntegrityError, match="not sorted"):
        manifest_bytes(a_package(), [a_file(name, b"") for name in names])


@pytest.mark.parametrize("announced", [0, 1, 3])
def test_the_encoder_wants_as_many_files_as_announced(announced: int) -> None:
    encoder = ManifestEncoder(a_package(), announced)
    with pytest.raises(IntegrityError, match=f"{announced} files were announced, 2 came"):
        list(encoder.chunks([a_file("a", b""), a_file("b", b"")]))


@pytest.mark.parametrize("name", MANIFESTS)
def test_both_readers_take_each_known_manifest(verify: ModuleType, name: str) -> None:
    assert agrees(verify, manifest_bytes(*MANIFESTS[name]))


@pytest.mark.parametrize("reason", [*CONTRADICTIONS, *BAD_FILES])
def test_both_readers_refuse_what_is_almost_a_manifest(verify: ModuleType, reason: str) -> None:
    data = dict(refused_manifests())[reason]
    assert not agrees(verify, data)
    with pytest.raises(IntegrityError, match=r"^not (a manifest|deterministic CBOR): "):
        manifests.decode(data)


@pytest.mark.parametrize(
    "data", [b"", b"\xa0", b"\xf6", b"\x80", b"{}", b"\xa6\x65files", reference_cbor.encode({"files": []})]
)
def test_what_is_no_manifest_at_all_is_refused(verify: ModuleType, data: bytes) -> None:
    assert not agrees(verify, data)


def test_a_manifest_cut_off_anywhere_is_refused(verify: ModuleType) -> None:
    data = manifest_bytes(*MANIFESTS["metadata of every kind"])
    for length in range(len(data)):
        assert not agrees(verify, data[:length])


def test_mutants_are_manifests_or_refused_and_both_readers_agree(verify: ModuleType) -> None:
    taken = sum(agrees(verify, data) for data in mutants(20_000, seed=1))
    # Both outcomes must occur: metadata may say anything, the rest may not.
    assert 200 < taken < 6_000
