"""The bytes of files on their way out, and what a client says of bytes on their way in."""

from __future__ import annotations

import base64
import binascii
import os
import re
from typing import TYPE_CHECKING

from artifactstore.digest import DIGEST_SIZE, Digest, new_blake3
from artifactstore.errors import IntegrityError
from artifactstore.httpapi.answers import Answer, disposition
from artifactstore.httpapi.checked_files import looks_of
from artifactstore.httpapi.negotiation import names_etag, wanted_range
from artifactstore.httpapi.refusals import Disconnected, Refusal

if TYPE_CHECKING:
    import io
    from collections.abc import Callable, Mapping

    from artifactstore.httpapi.checked_files import CheckedFiles
    from artifactstore.httpapi.routes import Call
    from artifactstore.httpapi.wire import Wire
    from artifactstore.model import File

# What no browser runs, and people want to look at; all else is saved, never shown.
_SHOWN = frozenset({"text/plain", "image/png", "image/jpeg", "image/gif", "image/webp", "image/avif"})
_SMALL = 4 << 20  # bytes; up to it a file is checked in memory before any of it is sent
_BLOCK = 1 << 20  # bytes read at once for a digest: they stay in the cache of a core
_LAST = 1 << 16  # bytes of a large file that are held back until its digest is known to be right
_RFC9530 = re.compile(r"sha-256=:([A-Za-z0-9+/]{43}=):")


def expected_of(fields: Mapping[str, str]) -> list[Digest]:
    """The digests that the bytes of a request must have.

    Raises:
        Refusal: one is none.
    """
    expected = []
    own = fields.get("artifactstore-digest")
    if own is not None:
        expected.append(Digest.parse(own))
    for name in ("content-digest", "repr-digest"):
        text = fields.get(name)
        # Other algorithms than ours may be passed over: RFC 9530 §2.
        for part in (each.strip() for each in text.split(",")) if text is not None else ():
            if part.lower().startswith("sha-256="):
                expected += [_sha256(part)]
    return expected


def _sha256(text: str) -> Digest:
    match = _RFC9530.fullmatch(text)
    try:
        value = base64.b64decode(match[1], validate=True) if match else b""
    except binascii.Error:
        value = b""
    if len(value) != DIGEST_SIZE:
        raise Refusal(422, "a digest field is not sha-256=:<base64>:", code="invalid-field")
    return Digest("sha256", value)


def file_answer(call: Call, file: File) -> Answer:
    """A file, or the part of it that is asked for, or nothing if the client has it already."""
    fields = call.head.fields
    etag = f'"{file.digest}"'
    about = {
        "ETag": etag,
        "Accept-Ranges": "bytes",
        "Repr-Digest": f"sha-256=:{base64.b64encode(file.sha256.value).decode()}:",
        "Content-Disposition": disposition(
            file.relative_path.rpartition("/")[2], inline=file.media_type.partition(";")[0].strip() in _SHOWN
        ),
        "Cache-Control": "private, no-cache",
    }
    if names_etag(fields.get("if-none-match"), etag):
        return Answer(304, fields=about)
    part = wanted_range(fields.get("range"), fields.get("if-range"), etag, file.size)
    stream = call.store.open_file(file.package_id, file.relative_path)
    if part is not None:
        start, length = part
        about["Content-Range"] = f"bytes {start}-{start + length - 1}/{file.size}"
        return Answer(206, FilePart(stream, start, length), file.media_type, about)
    if file.size <= _SMALL:
        with stream:
            return Answer(200, stream.read(), file.media_type, about)
    return Answer(200, WholeFile(stream, file, call.service.checked_files), file.media_type, about)


class FilePart:
    """A range of a stored file, as it is stored."""

    def __init__(self, stream: io.BufferedReader, start: int, length: int) -> None:
        self._stream = stream
        self._start = start
        self.size = length

    def write(self, wire: Wire, write: Callable[[bytes], None]) -> None:
        """Send it."""
        del write
        wire.send_file(self._stream.fileno(), self._start, self.size)

    def close(self) -> None:
        """Close the file."""
        self._stream.close()


class WholeFile:
    """A large stored file, whose end is held back until all of it is known to be right.

    So no client ever gets a complete answer with wrong bytes: one that is damaged ends too early. Who asks
    for a file that was found right a short while ago gets it without that.
    """

    def __init__(self, stream: io.BufferedReader, file: File, checked: CheckedFiles) -> None:
        self._stream = stream
        self._file = file
        self._checked = checked
        self.size = file.size

    def write(self, wire: Wire, write: Callable[[bytes], None]) -> None:
        """Send it; a second thread computes the digest beside, if need be."""
        del write
        descriptor, expected = self._stream.fileno(), self._file.digest
        looks = looks_of(descriptor)
        if self._checked.knows(looks, expected.value):
            wire.send_file(descriptor, 0, self.size)
            return
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(1, "artifactstore-digest") as beside:
            digest = beside.submit(_digest_of, descriptor, self.size)
            wire.send_file(descriptor, 0, self.size - _LAST)
            found = digest.result()
        if found != expected.value:
            raise IntegrityError(f"the stored bytes of a file are not {expected}")
        self._checked.note(descriptor, looks, found)
        wire.send_file(descriptor, self.size - _LAST, _LAST)

    def close(self) -> None:
        """Close the file."""
        self._stream.close()


def _digest_of(descriptor: int, size: int) -> bytes:
    digest = new_blake3()
    offset = 0
    buffer = memoryview(bytearray(min(_BLOCK, size)))
    while offset < size:
        count = os.preadv(descriptor, [buffer], offset)
        if not count:
            raise Disconnected
        digest.update(buffer[:count])
        offset += count
    return digest.digest()
