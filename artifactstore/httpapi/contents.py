"""The bytes of files on their way out, and what a client says of bytes on their way in."""

from __future__ import annotations

import base64
import binascii
import io
import logging
import os
import re
from typing import TYPE_CHECKING, cast

from artifactstore.digest import DIGEST_SIZE, Digest, new_blake3
from artifactstore.errors import IntegrityError
from artifactstore.httpapi.answers import Answer, disposition
from artifactstore.httpapi.checked_files import looks_of
from artifactstore.httpapi.negotiation import names_etag, wanted_range
from artifactstore.httpapi.refusals import Refusal
from artifactstore.reader import fill_from

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from artifactstore.httpapi.checked_files import CheckedFiles, Looks
    from artifactstore.httpapi.routes import Call
    from artifactstore.httpapi.wire import Wire
    from artifactstore.model import File
    from artifactstore.reader import ObjectReader

_log = logging.getLogger(__name__)

# What no browser runs, and people want to look at; all else is saved, never shown.
_SHOWN = frozenset({"text/plain", "image/png", "image/jpeg", "image/gif", "image/webp", "image/avif"})
_SMALL = 4 << 20  # bytes; up to it a file is checked in memory before any of it is sent
_BLOCK = 1 << 20  # bytes read at once in this process: they stay in the cache of a core
_LAST = 1 << 16  # bytes of a large file that are held back until its digest is known to be right
_RFC9530 = re.compile(r"sha-256=:([A-Za-z0-9+/]{43}=):")
_OURS = re.compile(
    r"sha-256\s*(?:=|$)", re.IGNORECASE
)  # however it goes on: one that is nearly right is refused


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
            if _OURS.match(part):
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
    # Without its buffer: what is sent is read in large blocks, or not by this process at all.
    stream = cast("ObjectReader", call.store.open_file(file.package_id, file.relative_path).detach())
    checked = call.service.checked_files
    if part is not None:
        start, length = part
        about["Content-Range"] = f"bytes {start}-{start + length - 1}/{file.size}"
        return Answer(206, FilePart(stream, file, checked, start, length), file.media_type, about)
    if file.size <= _SMALL:
        with stream:
            return Answer(200, stream.readall(), file.media_type, about)
    return Answer(200, WholeFile(stream, file, checked), file.media_type, about)


class FilePart:
    """A range of a stored file, as it is stored.

    Of several places that have it, none is taken that was found wrong a short while ago.
    """

    def __init__(
        self, stream: ObjectReader, file: File, checked: CheckedFiles, start: int, length: int
    ) -> None:
        self._stream = stream
        self._expected = file.digest.value
        self._checked = checked
        self._start = start
        self.size = length

    def write(self, wire: Wire, write: Callable[[bytes], None]) -> None:
        """Send it."""
        while (descriptor := _descriptor_of(self._stream)) is not None:
            found = self._checked.digest_of(looks_of(descriptor))
            if found in {None, self._expected} or not self._stream.reject():
                wire.send_file(descriptor, self._start, self.size)
                return
        _send_blocks(self._stream, self._start, self.size, write)

    def close(self) -> None:
        """Close the file."""
        self._stream.close()


class WholeFile:
    """A large stored file, whose end is held back until all of it is known to be right.

    So no client ever gets a complete answer with wrong bytes: one that is damaged ends too early. Who asks
    for a file that was found right a short while ago gets it without that.

    A file of this machine that has another place too is read before any of it is sent: what is sent cannot
    be taken back, and the other place may have it right. What comes over a network is not fetched twice.
    """

    def __init__(self, stream: ObjectReader, file: File, checked: CheckedFiles) -> None:
        self._stream = stream
        self._file = file
        self._checked = checked
        self.size = file.size

    def write(self, wire: Wire, write: Callable[[bytes], None]) -> None:
        """Send it, from the first place that has it right.

        Raises:
            IntegrityError: it is damaged; its end was not sent.
        """
        while (descriptor := _descriptor_of(self._stream)) is not None:
            looks = looks_of(descriptor)
            if self._checked.knows(looks, self._file.digest.value):
                wire.send_file(descriptor, 0, self.size)
                return
            if not self._stream.has_others:
                self._send_checked(wire, descriptor, looks)
                return
            if self._is_right(descriptor, looks):
                wire.send_file(descriptor, 0, self.size)
                return
            _log.warning("a copy of %s is damaged; it is read elsewhere", self._file.digest)
            if not self._stream.reject():
                raise self._damaged()
        _send_blocks(self._stream, 0, self.size, write)

    def close(self) -> None:
        """Close the file."""
        self._stream.close()

    def _is_right(self, descriptor: int, looks: Looks) -> bool:
        """Read it to the end, unless somebody has a short while ago."""
        found = self._checked.digest_of(looks)
        if found is None:
            try:
                found = _digest_of(descriptor, self.size)
            except OSError as error:
                _log.warning("%s cannot be read: %s", self._file.digest, error.strerror)
                return False
            self._checked.note(descriptor, looks, found)
        return found == self._file.digest.value

    def _send_checked(self, wire: Wire, descriptor: int, looks: Looks) -> None:
        """Send it while a second thread computes the digest beside."""
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(1, "artifactstore-digest") as beside:
            digest = beside.submit(_digest_of, descriptor, self.size)
            wire.send_file(descriptor, 0, self.size - _LAST)
            found = digest.result()
        if found != self._file.digest.value:
            raise self._damaged()
        self._checked.note(descriptor, looks, found)
        wire.send_file(descriptor, self.size - _LAST, _LAST)

    def _damaged(self) -> IntegrityError:
        return IntegrityError(f"the stored bytes of a file are not {self._file.digest}")


def _descriptor_of(stream: ObjectReader) -> int | None:
    """Of the file of this machine that the bytes are in; None if they come from elsewhere."""
    try:
        return stream.fileno()
    except io.UnsupportedOperation:
        return None


def _send_blocks(stream: ObjectReader, start: int, size: int, write: Callable[[bytes], None]) -> None:
    """Send a part of what no descriptor leads to; a place that fails is followed by the next one.

    Raises:
        IntegrityError: the whole was read, and is damaged; its last bytes were not sent.
    """
    stream.seek(start)
    fill = fill_from(stream)
    buffer = memoryview(bytearray(min(_BLOCK, size)))
    while size:
        # The last bytes come by themselves: reading them is what raises if the whole is wrong.
        count = fill(buffer[: min(_BLOCK, size - _LAST if size > _LAST else size)])
        if not count:
            raise IntegrityError("a stored file ends before its time")
        write(bytes(buffer[:count]))
        size -= count


def _digest_of(descriptor: int, size: int) -> bytes:
    """The digest of an open file, or of what there is of it."""
    digest = new_blake3()
    offset = 0
    buffer = memoryview(bytearray(min(_BLOCK, size)))
    while offset < size and (count := os.preadv(descriptor, [buffer], offset)):
        digest.update(buffer[:count])
        offset += count
    return digest.digest()
