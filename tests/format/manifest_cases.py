"""Manifests, and canonical CBOR that is almost one."""

from __future__ import annotations

import copy
import hashlib
import uuid
from typing import TYPE_CHECKING, Any

from blake3 import blake3

from artifactstore import codec
from artifactstore.manifest import ManifestEncoder, ManifestFile, ManifestPackage
from artifactstore.media_types import guess_media_type

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MOMENT = 1_795_378_500_000_000  # 2026-11-22T20:15:00Z


def numbered_id(number: int) -> uuid.UUID:
    """A UUIDv7 of that moment with a number in place of the randomness."""
    return uuid.UUID(int=(MOMENT // 1000) << 80 | 0x7 << 76 | 0b10 << 62 | number)


def a_file(path: str, content: bytes, *, executable: bool = False, size: int | None = None) -> ManifestFile:
    """A file of a manifest; with a size given, only its digests are made of the content."""
    return ManifestFile(
        relative_path=path,
        media_type=guess_media_type(path),
        size=len(content) if size is None else size,
        blake3=blake3(content).digest(),
        sha256=hashlib.sha256(content).digest(),
        executable=executable,
    )


def a_package(**fields: Any) -> ManifestPackage:
    values: dict[str, Any] = {
        "package_id": str(numbered_id(1)),
        "store_id": "6f1c4b0e-9d52-4c57-8a3e-2f0b7d9c1e48",
        "name": "nightly run",
        "producer": "guide-board",
        "subject": "example.org",
        "retention_class": "raw-evidence",
        "created_at": MOMENT,
        "metadata": {},
        "metadata_schema": None,
        **fields,
    }
    return ManifestPackage(**values)


def nested(levels: int) -> dict[str, Any]:
    """A document of that many maps and lists inside one another, itself counted."""
    inner: Any = []
    for _ in range(levels - 2):
        inner = [inner]
    return {"deep": inner}


PASSED = a_file("report.txt", b"passed\n")
MANIFESTS: dict[str, tuple[ManifestPackage, list[ManifestFile]]] = {
    "one file": (a_package(), [PASSED]),
    "order of paths, executable and empty files": (
        a_package(
            package_id=str(numbered_id(3)),
            name="Prüfung №7",
            subject="a/b@c",
            producer="x" * 255,
            retention_class="permanent-record",
        ),
        [
            a_file("a b", b"1"),
            a_file("a-b/c", b"2", executable=True),
            a_file("a.b", b""),
            a_file("a/b", b"3"),
            a_file("aa", b"4"),
            a_file("back\\slash", b"5"),
            a_file("logs/Prüfung.JSON", b"{}"),
            a_file("\uffee", b"6"),
            a_file("\U0001f600.tar.gz", b"7"),
        ],
    ),
    "24 files": (a_package(), [a_file(f"part-{number:02}.bin", b"same") for number in range(24)]),
    "metadata of every kind": (
        a_package(
            package_id=str(numbered_id(2)),
            metadata_schema="guide-board.run.v1",
            metadata={
                "": "the empty key",
                "b": None,
                "aa": [True, False, [], {}],
                "integers": [0, 23, 24, 255, 256, 65_536, 2**32, 2**63 - 1, -1, -(2**63)],
                "floats": [0.0, -0.0, 1.5, 100_000.0, 1.1, 5e-324, 1e300],
                "texts": ["", "ü", "\U0001f600", "\x00\x1b", "a" * 256],
                "run": {"id": 7, "tags": ["a", "b"]},
            },
        ),
        [PASSED],
    ),
    "metadata of 64 levels": (a_package(metadata=nested(64)), [PASSED]),
    "the epoch, and a size beyond 4 GiB": (
        a_package(created_at=0),
        [a_file("large.bin", b"not of this size", size=5 * 2**30 + 1)],
    ),
    "the last microsecond": (a_package(created_at=253_402_300_799_999_999), [PASSED]),
}


def manifest_bytes(package: ManifestPackage, files: list[ManifestFile]) -> bytes:
    return b"".join(ManifestEncoder(package, len(files)).chunks(files))


def _put(*place: Any, to: Any) -> Callable[[Any], None]:
    def change(manifest: Any) -> None:
        for key in place[:-1]:
            manifest = manifest[key]
        manifest[place[-1]] = to

    return change


def _drop(*place: Any) -> Callable[[Any], None]:
    def change(manifest: Any) -> None:
        for key in place[:-1]:
            manifest = manifest[key]
        del manifest[place[-1]]

    return change


def _paths(*paths: str) -> Callable[[Any], None]:
    def change(manifest: Any) -> None:
        manifest["files"] = [{**manifest["files"][0], "relative_path": path} for path in paths]

    return change


# Changes of a good manifest, each of which breaks one rule.
CONTRADICTIONS: dict[str, Callable[[Any], None]] = {
    "another version": _put("version", to=2),
    "version true": _put("version", to=True),
    "version 1.0": _put("version", to=1.0),
    "another media type": _put("media_type", to="application/cbor"),
    "no version": _drop("version"),
    "no files": _drop("files"),
    "no package": _drop("package"),
    "a surplus key": _put("more", to=None),
    "a surplus key of the package": _put("package", "more", to=None),
    "a surplus key of the totals": _put("totals", "more", to=None),
    "a missing key of the package": _drop("package", "metadata_schema"),
    "a missing key of the totals": _drop("totals", "size"),
    "the package is a list": _put("package", to=[]),
    "the files are a map": _put("files", to={}),
    "wrong total size": _put("totals", "size", to=15),
    "wrong number of files": _put("totals", "files", to=3),
    "total size as a float": _put("totals", "size", to=14.0),
    "number of files as a float": _put("totals", "files", to=2.0),
    "wrong content digest": _put("content_digest", to=bytes(32)),
    "content digest of 31 bytes": _put("content_digest", to=bytes(31)),
    "content digest as text": _put("content_digest", to="sha256:" + "0" * 64),
    "name is null": _put("package", "name", to=None),
    "package id is no UUID": _put("package", "package_id", to="1"),
    "package id in upper case": _put("package", "package_id", to=str(numbered_id(1)).upper()),
    "package id as bytes": _put("package", "package_id", to=numbered_id(1).bytes),
    "store id with braces": _put("package", "store_id", to="{6f1c4b0e-9d52-4c57-8a3e-2f0b7d9c1e48}"),
    "metadata schema is a number": _put("package", "metadata_schema", to=1),
    "creation as text": _put("package", "created_at", to="2026-11-22T20:15:00Z"),
    "creation as a float": _put("package", "created_at", to=1.5),
    "creation is true": _put("package", "created_at", to=True),
    "creation after the year 9999": _put("package", "created_at", to=253_402_300_800_000_000),
    "creation before the year 1": _put("package", "created_at", to=-62_135_596_800_000_001),
    "metadata is a list": _put("package", "metadata", to=[]),
    "metadata is null": _put("package", "metadata", to=None),
    "bytes in the metadata": _put("package", "metadata", to={"a": [b""]}),
    "metadata of 65 levels": _put("package", "metadata", to=nested(65)),
}
# The same for its files; totals and content digest are then put right, so that nothing else is wrong.
BAD_FILES: dict[str, Callable[[Any], None]] = {
    "an empty list of files": _put("files", to=[]),
    "files out of order": _paths("b", "a"),
    "a path twice": _paths("a", "a"),
    "order of UTF-16": _paths("\U0001f600", "\uffee"),
    "a file and a folder": _paths("a", "a/b"),
    "a file and a folder with others between them": _paths("a", "a-b", "a.c", "a/b"),
    "a path that leaves the package": _paths("../a"),
    "an absolute path": _paths("/etc/passwd"),
    "an empty path": _paths(""),
    "a path with a control character": _paths("a\x1b[31m"),
    "a segment of 256 bytes": _paths("n" * 256),
    "a missing key of a file": _drop("files", 0, "executable"),
    "a surplus key of a file": _put("files", 0, "more", to=None),
    "a file is a list": _put("files", 1, to=[]),
    "negative size": _put("files", 0, "size", to=-1),
    "size as a float": _put("files", 0, "size", to=7.0),
    "size is true": _put("files", 0, "size", to=True),
    "blake3 of 31 bytes": _put("files", 0, "blake3", to=bytes(31)),
    "sha256 of 33 bytes": _put("files", 0, "sha256", to=bytes(33)),
    "sha256 as text": _put("files", 0, "sha256", to="0" * 32),
    "executable is 1": _put("files", 0, "executable", to=1),
    "media type is null": _put("files", 0, "media_type", to=None),
    "path as bytes": _put("files", 0, "relative_path", to=b"report.txt"),
}


def refused_manifests() -> Iterator[tuple[str, bytes]]:
    """Manifests that are canonical CBOR and yet none, each with the rule that it breaks."""
    two = [a_file("log.txt", b"passed\n"), PASSED]
    good: Any = codec.decode(manifest_bytes(a_package(), two))
    for reason, change in CONTRADICTIONS.items():
        manifest = copy.deepcopy(good)
        change(manifest)
        yield reason, codec.encode(manifest)
    for reason, change in BAD_FILES.items():
        manifest = copy.deepcopy(good)
        change(manifest)
        files = manifest["files"]
        sizes = [file["size"] for file in files if isinstance(file, dict)]
        manifest["totals"] = {"files": len(files), "size": sum(sizes)}
        manifest["content_digest"] = hashlib.sha256(codec.encode(files)).digest()
        yield reason, codec.encode(manifest)
