"""Sending the bytes of one file: at once, or in parts that go on where a broken connection left them."""

from __future__ import annotations

import base64
import hashlib
import os
import time
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

from artifactstore import codec
from artifactstore.client import answers
from artifactstore.client.connection import BLOCK, Body, Request
from artifactstore.client.failures import is_unreachable
from artifactstore.client.targets import file_target, target
from artifactstore.digest import new_blake3
from artifactstore.errors import (
    AccessError,
    BackendError,
    ConflictError,
    InvalidInputError,
    NotFoundError,
    SourceChangedError,
)
from artifactstore.fields import check_label
from artifactstore.model import File
from artifactstore.paths import printable
from artifactstore.sources import reading

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from artifactstore.client.transport import Transport
    from artifactstore.digest import Buffer
    from artifactstore.ingest import Entry

_AT_ONCE = 1000  # digests of one question
_NAMED_AT_ONCE = 250  # files; with the longest paths there are a server still reads them as one document
_KEY_MAX = 128  # characters of a key in a header field
PART = 16 << 20  # bytes; a larger file goes in parts of this size
_OUTLASTED = 60.0  # seconds; a server ends a request sooner whose connection broke without a word
COMPLETED = 8 << 20  # bytes a second with which a server puts a complete upload at least where it belongs
_LOOK, _LOOK_MAX = 0.25, 4.0  # seconds between the first two looks whether it is done, and the last


class Uploads:
    """Sends files into one open package. Safe to share between threads.

    Args:
        package: its id, or a unique prefix of it.
        actor: who does it.
        key: begins the idempotency key of each file.
        clock: seconds, only forward.
    """

    def __init__(
        self,
        transport: Transport,
        package: str,
        actor: str,
        key: str,
        *,
        tries: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._transport = transport
        self._package = package
        self._actor = actor
        self._key = key
        self._tries = tries
        self._clock = clock

    def known(self, objects: Iterable[bytes]) -> set[bytes] | None:
        """Which of these objects (blake3) the server has; None if this token may not ask.

        A server lets only those ask who may read: else a writer could claim bytes that it never had.
        """
        known: set[bytes] = set()
        rest = iter(objects)
        while part := list(islice(rest, _AT_ONCE)):
            texts = {f"blake3:{blake3.hex()}": blake3 for blake3 in part}
            try:
                document = self._transport.ask_with("POST", target("objects", "query"), {"digests": [*texts]})
            except AccessError as error:
                if error.code != "scope-missing":
                    raise
                return None
            known |= {texts[text] for text in self._texts(document, "present", texts.keys())}
        return known

    def name(self, entries: list[Entry]) -> list[Entry]:
        """Put files into the package whose bytes the server has, as many at once as one request holds.

        Returns:
            Those that it has not taken, since it does not have the bytes of all of them any more.
        """
        left: list[Entry] = []
        for at in range(0, len(entries), _NAMED_AT_ONCE):
            part = entries[at : at + _NAMED_AT_ONCE]
            files = [
                {
                    "relative_path": path,
                    "digest": f"blake3:{blake3.hex()}",
                    "media_type": media_type,
                    "executable": executable,
                }
                for path, media_type, _, blake3, _, executable in part
            ]
            place = target("packages", self._package, "files")
            headers = changing(self._actor, self.key_of(part))
            try:
                found = self._files(self._transport.send("POST", place, {"files": files}, headers))
            except NotFoundError as error:
                if error.code != "object-unknown":
                    raise
                left += part
                continue
            if found != part:
                raise self._transport.foreign("it has named other files than those asked for")
        return left

    def key_of(self, entries: list[Entry]) -> str:
        """The idempotency key of one request of a call, which tells it from the others."""
        listed = hashlib.sha256(codec.encode_ordered([list(entry) for entry in entries])).hexdigest()
        return derived_key(self._key, listed[:24])

    def send(self, entry: Entry, descriptor: int, *, key: str | None = None) -> File:
        """Send an open file, as it was when it was digested.

        Args:
            key: idempotency key of this file; one of the call's own if not given.
        Raises:
            SourceChangedError: it is not so any more.
        """
        path, _, size, blake3, _, _ = entry
        if size <= PART:
            data = b"".join(map(bytes, _blocks(descriptor, path, 0, size)))
            if new_blake3(data).digest() != blake3:
                raise _changed(path)
            return self._put(entry, Body.of(data), key)
        try:
            return self._in_parts(entry, descriptor, key)
        except InvalidInputError as error:
            # What was digested before is not what was sent.
            raise _changed(path) if error.code == "digest-mismatch" else error from None

    def _put(self, entry: Entry, body: Body, key: str | None) -> File:
        path, media_type, _, blake3, sha256, executable = entry
        place = file_target(self._package, path, (("executable", executable),))
        headers = {
            "Content-Type": media_type,
            "Content-Digest": f"sha-256=:{base64.b64encode(sha256).decode()}:",
            "Artifactstore-Digest": f"blake3:{blake3.hex()}",
            **changing(self._actor, key or self.key_of([entry])),
        }
        return self._file(entry, self._transport.document(Request("PUT", place, headers, body)))

    def _in_parts(self, entry: Entry, descriptor: int, key: str | None) -> File:
        """Send a file by an upload session, which the server keeps for a day if nobody ends it."""
        path, _, size, _, _, _ = entry
        session = self._begin(entry, key or self.key_of([entry]))
        offset = self._offset(session, size)
        pauses = self._transport.pauses()
        while offset < size:
            length = min(PART, size - offset)
            body = Body(length, partial(_blocks, descriptor, path, offset, length))
            fields = {"Content-Type": "application/octet-stream", "Upload-Offset": str(offset)}
            request = Request("PATCH", target("uploads", session), fields, body, repeatable=False)
            try:
                self._when_free(partial(self._transport.document, request))
            except (BackendError, ConflictError) as error:
                # What came before a break stays.
                if not (is_unreachable(error) or isinstance(error, ConflictError)) or not pauses:
                    raise
                time.sleep(pauses.pop(0))
                offset = self._offset(session, size)
            else:
                offset, pauses = offset + length, self._transport.pauses()
        # The server reads all of it once more, and may have to send it on.
        waits = size / COMPLETED
        place = target("uploads", session, "complete")
        completion = Request("POST", place, changing(self._actor, None), waits=waits)
        return self._file(entry, self._when_free(partial(self._transport.document, completion), waits=waits))

    def _when_free(self, ask: Callable[[], Any], *, waits: float = 0.0) -> Any:
        """The answer to a request to a session, in whose way an earlier one may be that still runs.

        The earlier one may be the same, whose answer did not come in time or was lost on the way: the time
        that it is given begins only when the server says that it is still at work.

        Args:
            ask: sends the request.
            waits: seconds that the server may take beyond the usual.
        """
        until: float | None = None
        pause = _LOOK
        while True:
            try:
                return ask()
            except ConflictError as error:
                now = self._clock()
                if until is None:
                    until = now + _OUTLASTED + waits
                if error.code != "upload-busy" or now > until:
                    raise
            time.sleep(pause)
            pause = min(1.5 * pause, _LOOK_MAX)

    def _begin(self, entry: Entry, key: str) -> str:
        path, media_type, size, blake3, _, executable = entry
        wanted = {
            "package": self._package,
            "relative_path": path,
            "media_type": media_type,
            "executable": executable,
            "expected_size": size,
            "expected_digest": f"blake3:{blake3.hex()}",
        }
        fields = changing(self._actor, key)
        document = self._when_free(partial(self._transport.send, "POST", target("uploads"), wanted, fields))
        session = document.get("upload_id") if isinstance(document, dict) else None
        if not isinstance(session, str):
            raise self._transport.foreign("it names no upload session")
        return session

    def _offset(self, session: str, size: int) -> int:
        """How much of an upload the server has."""
        with self._transport.ask(Request("HEAD", target("uploads", session))) as answer:
            said = answer.headers.get("Upload-Offset", "")
        if not (said.isascii() and said.isdecimal() and len(said) < 20 and int(said) <= size):
            raise self._transport.foreign("it does not say how much of an upload it has")
        return int(said)

    def _texts(self, document: object, name: str, asked: Collection[str]) -> list[str]:
        """A list of texts in an answer, all of which we have asked about."""
        found = document.get(name) if isinstance(document, dict) else None
        if not isinstance(found, list) or not all(isinstance(text, str) and text in asked for text in found):
            raise self._transport.foreign(f"{name} is not a list of what was asked about")
        return found

    def _file(self, entry: Entry, document: object) -> File:
        """What the server has taken, if that is what was sent."""
        try:
            file = answers.value(File, document)
        except answers.MalformedError as error:
            raise self._transport.foreign(str(error)) from None
        if entry_of(file) != entry or not _digits(file.package_id).startswith(_digits(self._package)):
            raise self._transport.foreign("it has taken something else than what was sent")
        return file

    def _files(self, document: object) -> list[Entry]:
        try:
            return [entry_of(file) for file in answers.page(File, document).items]
        except answers.MalformedError as error:
            raise self._transport.foreign(str(error)) from None


def _blocks(descriptor: int, path: str, offset: int, length: int) -> Iterator[Buffer]:
    """A part of an open file.

    Raises:
        SourceChangedError: it has become shorter.
    """
    left = length
    while left:
        with reading(path):
            block = os.pread(descriptor, min(BLOCK, left), offset)
        if not block:
            raise _changed(path)
        offset += len(block)
        left -= len(block)
        yield block


def entry_of(file: File) -> Entry:
    """What a file is, without where it is."""
    digests = file.digest.value, file.sha256.value
    return file.relative_path, file.media_type, file.size, *digests, file.executable


def changing(actor: str, key: str | None) -> dict[str, str]:
    """The header fields of a request that changes something.

    Args:
        actor: whom the request is for; the server records it beside the name of the token.
        key: by which the server knows a repetition; None if it cannot.
    Raises:
        InvalidInputError: the actor is none.
    """
    check_label(actor, field="actor")
    headers = {"Artifactstore-Actor": actor.encode().decode("latin-1")}
    if key is not None:
        headers["Idempotency-Key"] = key if key.isascii() and len(key) <= _KEY_MAX else _short(key)
    return headers


def derived_key(key: str, part: str) -> str:
    """An idempotency key for a part of a call that has one."""
    return f"{key}/{part}"


def _digits(package: str) -> str:
    return package.replace("-", "").lower()


def _short(key: str) -> str:
    """Stands for a key that no header field can carry."""
    return hashlib.sha256(key.encode()).hexdigest()


def _changed(path: str) -> SourceChangedError:
    return SourceChangedError(
        f"{printable(path)} changed while it was read", hint="push again when its producer is done"
    )
