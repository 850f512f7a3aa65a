"""Manifests with a few places changed, and what both readers say of them."""

from __future__ import annotations

import copy
import hashlib
import random
from typing import TYPE_CHECKING, Any

from artifactstore import manifest as manifests
from artifactstore.errors import IntegrityError
from format import reference_cbor
from format.manifest_cases import MANIFESTS, manifest_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    from artifactstore.manifest import Manifest, ManifestFile, ManifestPackage


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
    assert len(refusal.message) < 1000
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


_SEEDS = [MANIFESTS["metadata of every kind"], MANIFESTS["order of paths, executable and empty files"]]
_ENCODINGS = [manifest_bytes(package, listed) for package, listed in _SEEDS]
_TREES = [plain(package, listed) for package, listed in _SEEDS]


def mutant(chance: random.Random) -> bytes:
    """Broken bytes, or the canonical encoding of something else."""
    if chance.random() < 0.5:
        return changed_bytes(chance.choice(_ENCODINGS), chance)
    return changed_tree(chance.choice(_TREES), chance)


def mutants(count: int, seed: int) -> Iterator[bytes]:
    """Many of them, the same each time."""
    chance = random.Random(seed)
    return (mutant(chance) for _ in range(count))
