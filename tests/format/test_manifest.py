"""Manifests: written and read back, and refused whenever anything about them is wrong."""

from __future__ import annotations

import copy
import hashlib
import random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from artifactstore import manifest as manifests
from artifactstore.errors import IntegrityError
from artifactstore.manifest import Manifest, ManifestEncoder, ManifestFile, ManifestPackage
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
from format.values import metadata, texts

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType


def plain(package: ManifestPackage, files: list[ManifestFile]) -> dict[str, Any]:
    """A manifest as docs/format.md describes it, keys in no particular order."""
    listed = [
        {
            "relative_path": file.relative_path,
            "media_type": file.media_type,
            "size": file.size,
            "blake3": file.blake3,
            "sha256": file.sha256,
            "executable": file.executable,
        }
        for file in files
    ]
    return {
        "version": 1,
        "media_type": "application/vnd.artifactstore.manifest.v1+cbor",
        "package": {
            "package_id": package.package_id,
            "store_id": package.store_id,
            "name": package.name,
            "producer": package.producer,
            "subject": package.subject,
            "retention_class": package.retention_class,
            "created_at": package.created_at,
            "metadata": package.metadata,
            "metadata_schema": package.metadata_schema,
        },
        "totals": {"files": len(files), "size": sum(file.size for file in files)},
        "content_digest": hashlib.sha256(reference_cbor.encode(listed)).digest(),
        "files": listed,
    }


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


def accepted(data: bytes) -> Manifest | None:
    """The manifest, or None if it is refused in the one way in which a manifest is refused."""
    refusal = None
    try:
        return manifests.decode(data)
    except IntegrityError as error:
        refusal = error
    assert type(refusal) is IntegrityError
    assert refusal.code in {"not-a-manifest", "not-canonical"}
    assert refusal.message.isprintable()
    return None


def agrees(verify: ModuleType, data: bytes) -> bool:
    """Whether the bytes are a manifest, to the package and the auditor's program alike."""
    decoded = accepted(data)
    try:
        read = verify.decode(data)
    except verify.ManifestError:
        read = None
    assert (decoded is None) == (read is None), data.hex()
    if decoded is None:
        return False
    assert decoded.to_json() == read
    assert manifest_bytes(decoded.package, list(decoded.files)) == data
    return True


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


# Mutants

ODD: list[Any] = [
    *(None, True, False, 0, 1, -1, 2**63 - 1, -(2**63), 2**63, 253_402_300_800_000_000, 0.0, 1.0, 1.5),
    *(float("nan"), float("inf"), "", "a", "a/b", "..", "/", "\0", "a" * 300, b"", b"\0", bytes(32), [], {}),
    *([[]], {"a": 1}, {"a": b""}, "01a204e5-d1a0-7000-8000-000000000001", "text/plain"),
]  # fmt: skip


def changed_bytes(data: bytes, chance: random.Random) -> bytes:
    """One to three places overwritten, cut out, doubled, moved or filled."""
    for _ in range(chance.randint(1, 3)):
        start = chance.randrange(len(data) + 1)
        length = chance.choice([0, 1, 1, 1, 2, 4, 8, 32, 40])
        piece = data[start : start + length]
        elsewhere = chance.randrange(len(data) + 1)
        filling = chance.choice(
            [
                chance.randbytes(length),
                bytes(byte ^ 1 << chance.randrange(8) for byte in piece),
                b"",
                piece * 2,
                data[elsewhere : elsewhere + length],
                bytes([chance.randrange(256)]),
            ]
        )
        data = data[:start] + filling + data[start + length :]
    return data


def changed_tree(manifest: dict[str, Any], chance: random.Random) -> bytes:
    """One or two nodes replaced, removed, doubled or added; sums put right now and then; encoded again."""
    manifest = copy.deepcopy(manifest)
    for _ in range(chance.randint(1, 2)):
        change_node(chance.choice(list(containers(manifest))), chance)
    listed, totals = manifest.get("files"), manifest.get("totals")
    if chance.random() < 0.7 and isinstance(listed, list) and isinstance(totals, dict):
        sizes: list[Any] = [file.get("size") for file in listed if isinstance(file, dict)]
        if "size" in totals and all(isinstance(size, int) for size in sizes):
            totals["size"] = max(-(2**63), min(sum(sizes), 2**64 - 1))
        if "files" in totals:
            totals["files"] = len(listed)
        if "content_digest" in manifest:
            manifest["content_digest"] = hashlib.sha256(reference_cbor.encode(listed)).digest()
    return reference_cbor.encode(manifest)


def containers(value: Any) -> Iterator[Any]:
    """All lists and maps of a value that hold something."""
    if value and isinstance(value, dict | list):
        yield value
        for entry in list(value.values() if isinstance(value, dict) else value):
            yield from containers(entry)


def change_node(container: Any, chance: random.Random) -> None:
    odd = copy.deepcopy(chance.choice(ODD))
    keys = list(container) if isinstance(container, dict) else list(range(len(container)))
    key, other = chance.choice(keys), chance.choice(keys)
    kind = chance.randrange(5)
    if kind == 0:
        del container[key]
    elif kind == 1:
        container[key], container[other] = container[other], container[key]
    elif kind == 2 and isinstance(container, dict):
        container[chance.choice(["", "size", "more"])] = odd
    elif kind == 2:
        container.insert(key, copy.deepcopy(container[other]))
    else:
        container[key] = odd


SEEDS = [MANIFESTS["metadata of every kind"], MANIFESTS["order of paths, executable and empty files"]]


def mutants(count: int, seed: int) -> Iterator[bytes]:
    """Half of them broken bytes, half of them canonical encodings of something else."""
    chance = random.Random(seed)
    encodings = [manifest_bytes(package, listed) for package, listed in SEEDS]
    trees = [plain(package, listed) for package, listed in SEEDS]
    for number in range(count // 2):
        yield changed_bytes(encodings[number % 2], chance)
        yield changed_tree(trees[number % 2], chance)


def check_mutants(verify: ModuleType, count: int, seed: int) -> None:
    taken = sum(agrees(verify, data) for data in mutants(count, seed))
    # Both outcomes must occur: metadata may say anything, the rest may not.
    assert count // 100 < taken < count // 3


def test_mutants_are_manifests_or_refused_and_both_readers_agree(verify: ModuleType) -> None:
    check_mutants(verify, 20_000, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 12))
def test_many_mutants(verify: ModuleType, seed: int) -> None:
    check_mutants(verify, 100_000, seed)
