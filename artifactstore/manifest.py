"""The manifest: a canonical list of a package's files that is enough, alone, to check a directory.

Source: docs/format.md. The digest of the manifest names the package's content.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from artifactstore import codec
from artifactstore.digest import Digest
from artifactstore.errors import IntegrityError, InvalidInputError
from artifactstore.moment import MOMENT_MAX, MOMENT_MIN, format_moment
from artifactstore.paths import check_relative_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from artifactstore.codec import Value

MEDIA_TYPE = "application/vnd.artifactstore.manifest.v1+cbor"
VERSION = 1
MAX_SIZE = 1 << 30  # bytes that a reader takes; the manifest of a million files has some 200 MB
_TOP_KEYS = {"files", "totals", "package", "version", "media_type", "content_digest"}
_FILE_ORDER = ("size", "blake3", "sha256", "executable", "media_type", "relative_path")
_FILE_KEYS = set(_FILE_ORDER)
_PACKAGE_TEXTS = ("name", "subject", "producer", "store_id", "package_id", "retention_class")
_PACKAGE_KEYS = {*_PACKAGE_TEXTS, "metadata", "created_at", "metadata_schema"}
_UUID = re.compile("[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class ManifestFile:
    """One file of a manifest: sizes in bytes, digests raw (32 bytes each)."""

    relative_path: str
    media_type: str
    size: int
    blake3: bytes
    sha256: bytes
    executable: bool


@dataclass(frozen=True, slots=True)
class ManifestPackage:
    """Which package the files belong to, and what its producer said of it."""

    package_id: str
    store_id: str
    name: str
    producer: str
    subject: str
    retention_class: str
    created_at: int
    metadata: Mapping[str, Value]
    metadata_schema: str | None


@dataclass(frozen=True, slots=True)
class Manifest:
    """A decoded manifest; `files` is sorted by the bytes of the relative path."""

    package: ManifestPackage
    files: tuple[ManifestFile, ...]
    total_size: int
    content_digest: Digest

    def to_json(self) -> dict[str, Value]:
        """The JSON projection: the same keys, digests and times as text."""
        return {
            "version": VERSION,
            "media_type": MEDIA_TYPE,
            "package": {
                "package_id": self.package.package_id,
                "store_id": self.package.store_id,
                "name": self.package.name,
                "producer": self.package.producer,
                "subject": self.package.subject,
                "retention_class": self.package.retention_class,
                "created_at": format_moment(self.package.created_at),
                "metadata": self.package.metadata,
                "metadata_schema": self.package.metadata_schema,
            },
            "totals": {"files": len(self.files), "size": self.total_size},
            "content_digest": str(self.content_digest),
            "files": [
                {
                    "relative_path": file.relative_path,
                    "media_type": file.media_type,
                    "size": file.size,
                    "blake3": f"blake3:{file.blake3.hex()}",
                    "sha256": f"sha256:{file.sha256.hex()}",
                    "executable": file.executable,
                }
                for file in self.files
            ],
        }


class ManifestEncoder:
    """Writes a manifest as a stream, so that a million files need no million objects at once.

    After `chunks` is exhausted, `content_digest` (raw sha256) and `total_size` are set.

    Args:
        file_count: how many files will follow; CBOR says it in front.
    """

    def __init__(self, package: ManifestPackage, file_count: int) -> None:
        self._package = package
        self._file_count = file_count
        self.content_digest = b""
        self.total_size = 0

    def chunks(self, files: Iterable[ManifestFile]) -> Iterator[bytes]:
        """The encoding in parts.

        Args:
            files: sorted by the bytes of their relative path.
        Raises:
            IntegrityError: the files are not sorted, or not as many as announced.
        """
        content = hashlib.sha256()
        head = codec.array_head(self._file_count)
        content.update(head)
        yield b"\xa6" + codec.encode_ordered("files") + head
        previous = b""
        count = 0
        part: list[bytes] = []
        for file in files:
            path = file.relative_path.encode()
            if path <= previous:
                raise IntegrityError(f"files are not sorted at {file.relative_path!r}")
            previous = path
            self.total_size += file.size
            count += 1
            part.append(_encode_file(file))
            if len(part) == 1000:
                block = b"".join(part)
                part.clear()
                content.update(block)
                yield block
        block = b"".join(part)
        content.update(block)
        if count != self._file_count:
            raise IntegrityError(f"{self._file_count} files were announced, {count} came")
        self.content_digest = content.digest()
        yield block
        yield self._tail()

    def _tail(self) -> bytes:
        package = self._package
        tail: dict[str, Value] = {
            "totals": {"size": self.total_size, "files": self._file_count},
            "package": {
                "name": package.name,
                "subject": package.subject,
                "metadata": package.metadata,
                "producer": package.producer,
                "store_id": package.store_id,
                "created_at": package.created_at,
                "package_id": package.package_id,
                "metadata_schema": package.metadata_schema,
                "retention_class": package.retention_class,
            },
            "version": VERSION,
            "media_type": MEDIA_TYPE,
            "content_digest": self.content_digest,
        }
        # `files` is the shortest key, so what follows it is the encoding of the rest without its map head.
        return codec.encode(tail)[1:]


def json_bytes(manifest: Manifest) -> bytes:
    """The JSON projection as a document: sorted keys, UTF-8, a newline at the end."""
    quoted = json.JSONEncoder(ensure_ascii=False).encode
    # Python's own encoder of indented documents is slow. What one file says has always the same shape, and
    # no other line of the document begins with two blanks and `"files"`.
    files = ",\n".join(
        f'    {{\n      "blake3": "blake3:{file.blake3.hex()}",\n'
        f'      "executable": {"true" if file.executable else "false"},\n'
        f'      "media_type": {quoted(file.media_type)},\n'
        f'      "relative_path": {quoted(file.relative_path)},\n'
        f'      "sha256": "sha256:{file.sha256.hex()}",\n'
        f'      "size": {file.size}\n    }}'
        for file in manifest.files
    )
    rest = manifest.to_json() | {"files": []}
    text = json.dumps(rest, ensure_ascii=False, indent=2, sort_keys=True)
    return text.replace('\n  "files": []', f'\n  "files": [\n{files}\n  ]', 1).encode() + b"\n"


def _encode_file(file: ManifestFile) -> bytes:
    return codec.encode_ordered(
        {
            "size": file.size,
            "blake3": file.blake3,
            "sha256": file.sha256,
            "executable": file.executable,
            "media_type": file.media_type,
            "relative_path": file.relative_path,
        }
    )


def decode(data: bytes) -> Manifest:
    """Read the bytes of a manifest and check everything that it says about itself.

    Args:
        data: the deterministic CBOR of a manifest.
    Raises:
        IntegrityError: it is not canonical, not a manifest, unsorted, unsafe, or its sums are wrong.
    Source: docs/format.md.
    """
    try:
        return _decode(data)
    except InvalidInputError as error:
        message = f"not a manifest: {error.message}"
        raise IntegrityError(message, code="not-a-manifest") from error


def _decode(data: bytes) -> Manifest:
    top = _map_of(codec.decode_listing(data, "files", _FILE_ORDER), _TOP_KEYS, "the manifest")
    if top["media_type"] != MEDIA_TYPE or _integer(top["version"], "version") != VERSION:
        raise InvalidInputError("its media type or version is unknown")
    entries = top["files"]
    if not isinstance(entries, list) or not entries:
        raise InvalidInputError("it lists no files")
    files = tuple(_decode_file(entry) for entry in entries)
    _check_order([file.relative_path for file in files])
    totals = _map_of(top["totals"], {"size", "files"}, "totals")
    total_size = sum(file.size for file in files)
    if (_integer(totals["size"], "size"), _integer(totals["files"], "files")) != (total_size, len(files)):
        raise InvalidInputError("its totals are not those of its files")
    content_digest = hashlib.sha256(_encoded_files(data, top)).digest()
    if top["content_digest"] != content_digest:
        raise InvalidInputError("its content digest is not that of its files")
    return Manifest(
        package=_decode_package(top["package"]),
        files=files,
        total_size=total_size,
        content_digest=Digest("sha256", content_digest),
    )


def _encoded_files(data: bytes, top: dict[str, Value]) -> memoryview:
    """The part of a manifest that lists the files: `files` is the shortest key, so it comes first."""
    start = len(codec.encode({"files": ()})) - 1
    rest = len(codec.encode({name: value for name, value in top.items() if name != "files"})) - 1
    return memoryview(data)[start : len(data) - rest]


def _decode_file(entry: Value) -> ManifestFile:
    entry = _map_of(entry, _FILE_KEYS, "a file")
    size = _integer(entry["size"], "size")
    blake3, sha256, executable = entry["blake3"], entry["sha256"], entry["executable"]
    if not (isinstance(blake3, bytes) and isinstance(sha256, bytes) and len(blake3) == len(sha256) == 32):
        raise InvalidInputError("a digest is not 32 bytes")
    if not isinstance(executable, bool) or size < 0:
        raise InvalidInputError("a size or an executable bit is malformed")
    return ManifestFile(
        relative_path=check_relative_path(_text(entry["relative_path"], "relative_path")),
        media_type=_text(entry["media_type"], "media_type"),
        size=size,
        blake3=blake3,
        sha256=sha256,
        executable=executable,
    )


def _decode_package(value: Value) -> ManifestPackage:
    package = _map_of(value, _PACKAGE_KEYS, "package")
    texts = {name: _text(package[name], name) for name in _PACKAGE_TEXTS}
    metadata, schema = package["metadata"], package["metadata_schema"]
    codec.check_json_shaped(metadata, name="metadata")
    if not isinstance(metadata, dict):
        raise InvalidInputError("metadata is not a map")
    if not (_UUID.fullmatch(texts["package_id"]) and _UUID.fullmatch(texts["store_id"])):
        raise InvalidInputError("an id is not a UUID in lower case")
    created_at = _integer(package["created_at"], "created_at")
    if not MOMENT_MIN <= created_at <= MOMENT_MAX:
        raise InvalidInputError("created_at is not between the years 1 and 9999")
    return ManifestPackage(
        **texts,
        created_at=created_at,
        metadata=metadata,
        metadata_schema=None if schema is None else _text(schema, "metadata_schema"),
    )


def _check_order(paths: list[str]) -> None:
    """Sorted, without duplicates, and no path a folder of another one."""
    folders: set[str] = set()
    previous = b""
    for path in paths:
        encoded = path.encode()
        if encoded <= previous:
            raise InvalidInputError(f"its files are not sorted, or doubled, at {path!r}")
        previous = encoded
        cut = path.rfind("/")
        while cut > 0 and path[:cut] not in folders:
            folders.add(path[:cut])
            cut = path.rfind("/", 0, cut)
    for path in paths:
        if path in folders:
            raise InvalidInputError(f"{path!r} is both a file and a folder")


def _map_of(value: Value, keys: set[str], what: str) -> dict[str, Value]:
    if not isinstance(value, dict) or value.keys() != keys:
        raise InvalidInputError(f"{what} does not have exactly the keys {', '.join(sorted(keys))}")
    return value


def _text(value: Value, name: str) -> str:
    if not isinstance(value, str):
        raise InvalidInputError(f"{name} is not text")
    return value


def _integer(value: Value, name: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidInputError(f"{name} is not an integer")
    return value
