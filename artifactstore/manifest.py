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
from artifactstore.fields import METADATA_MAX
from artifactstore.moment import MOMENT_MAX, MOMENT_MIN, format_moment
from artifactstore.paths import check_relative_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from artifactstore.codec import Value

MEDIA_TYPE = "application/vnd.artifactstore.manifest.v1+cbor"
VERSION = 1
MAX_SIZE = 1 << 30  # bytes that a reader takes; the manifest of a million files has some 200 MB
_START = b"\xa6" + codec.encode_ordered("files")  # a map of six, and the shortest of its keys
_REST_KEYS = {"totals", "package", "version", "media_type", "content_digest"}
_REST_MAX = METADATA_MAX + (1 << 16)  # bytes of all that is not in `files`
_FILE_KEYS = ("size", "blake3", "sha256", "executable", "media_type", "relative_path")
_FILE_START = b"\xa6" + codec.encode_ordered("size")
_FILE_MIDDLE = re.compile(
    rb"\x66blake3\x58\x20(.{32})\x66sha256\x58\x20(.{32})\x6aexecutable([\xf4\xf5])\x6amedia_type", re.DOTALL
)
_FILE_PATH = codec.encode_ordered("relative_path")
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
    # The files are read in the one form that they can have, so that a document which is no manifest is
    # refused at its first wrong byte; decoded as any CBOR, it could take a hundred times its size.
    if not data.startswith(_START):
        raise InvalidInputError("it does not begin with the list of files")
    file_count, position = codec.decode_head(data, len(_START), codec.ARRAY)
    if file_count == 0:
        raise InvalidInputError("it lists no files")
    files, end = _decode_files(data, position, file_count)
    _check_folders([file.relative_path for file in files])
    if len(data) - end > _REST_MAX:
        raise InvalidInputError(f"more than {_REST_MAX} bytes follow its files")
    # The map without its first entry is canonical if the whole one is.
    rest = _map_of(codec.decode(b"\xa5" + data[end:]), _REST_KEYS, "the manifest behind its files")
    if rest["media_type"] != MEDIA_TYPE or _integer(rest["version"], "version") != VERSION:
        raise InvalidInputError("its media type or version is unknown")
    totals = _map_of(rest["totals"], {"size", "files"}, "totals")
    total_size = sum(file.size for file in files)
    if (_integer(totals["size"], "size"), _integer(totals["files"], "files")) != (total_size, len(files)):
        raise InvalidInputError("its totals are not those of its files")
    content_digest = hashlib.sha256(memoryview(data)[len(_START) : end]).digest()
    if rest["content_digest"] != content_digest:
        raise InvalidInputError("its content digest is not that of its files")
    return Manifest(
        package=_decode_package(rest["package"]),
        files=files,
        total_size=total_size,
        content_digest=Digest("sha256", content_digest),
    )


def _decode_files(data: bytes, position: int, count: int) -> tuple[tuple[ManifestFile, ...], int]:
    """The files, which stand one behind the other, and where they end."""
    files = []
    previous = b""
    for number in range(1, count + 1):
        if not data.startswith(_FILE_START, position):
            raise _malformed_file(number, position)
        size, position = codec.decode_head(data, position + len(_FILE_START), codec.INTEGER)
        middle = _FILE_MIDDLE.match(data, position)
        if middle is None or size > codec.INTEGER_MAX:
            raise _malformed_file(number, position)
        blake3, sha256, executable = middle.groups()
        media_type, position = codec.decode_text(data, middle.end())
        if not data.startswith(_FILE_PATH, position):
            raise _malformed_file(number, position)
        path, position = codec.decode_text(data, position + len(_FILE_PATH))
        encoded = check_relative_path(path).encode()
        if encoded <= previous:
            raise InvalidInputError(f"its files are not sorted, or doubled, at {path!r}")
        previous = encoded
        files.append(ManifestFile(path, media_type, size, blake3, sha256, executable == b"\xf5"))
    return tuple(files), position


def _malformed_file(number: int, position: int) -> InvalidInputError:
    return InvalidInputError(
        f"its file {number} does not have the keys {', '.join(_FILE_KEYS)} in this order and their types,"
        f" near byte {position}"
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


def _check_folders(paths: list[str]) -> None:
    """No path is a folder of another one."""
    folders: set[str] = set()
    for path in paths:
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
