"""Upload sessions: a file that arrives in parts, over several requests and over a restart.

An offset is told to nobody before the bytes below it are durable; what a crash left behind it is overwritten.
The log knows nothing of a session: evidence begins with the event that puts the whole file into its package.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING

from artifactstore.errors import (
    ConflictError,
    IntegrityError,
    InvalidInputError,
    NotFoundError,
    StateError,
)
from artifactstore.media_types import check_media_type, guess_media_type
from artifactstore.objects.durability import make_folders
from artifactstore.paths import check_new_path
from artifactstore.upload_files import Upload, UploadFiles, is_id, write_all

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from artifactstore.digest import Digest
    from artifactstore.model import File
    from artifactstore.moment import Clock, IdSource
    from artifactstore.store import Store

_log = logging.getLogger(__name__)

LIFETIME = 86_400  # seconds without a request after which a session is over
SESSIONS_MAX = 10_000
_ACKNOWLEDGED = 64 << 20  # bytes between two notes of the offset
_WRONG_BYTES = "digest-mismatch"


class Uploads:
    """The sessions of a store. Safe to share between threads and processes.

    Args:
        folder: where they lie; made when the first one begins.
        store: takes what is complete.
        lifetime: seconds.
    """

    def __init__(
        self, folder: str, store: Store, clock: Clock, new_id: IdSource, *, lifetime: int = LIFETIME
    ) -> None:
        self._files = UploadFiles(folder)
        self._store = store
        self._clock = clock
        self._new_id = new_id
        self._lifetime = lifetime

    def create(
        self,
        package: str,
        relative_path: str,
        *,
        owner: str,
        media_type: str | None = None,
        executable: bool = False,
        expected_size: int | None = None,
        expected_digest: Digest | None = None,
        idempotency_key: str | None = None,
    ) -> Upload:
        """Begin to upload a file of a package; durable on return.

        Args:
            idempotency_key: the same key with the same arguments returns the same session.
        Raises:
            InvalidInputError: a path, a media type or a size breaks a rule.
            DuplicateRelativePathError, StateError, NotFoundError: the package could not take the file.
            ConflictError: the key was used with other arguments, or another request of the same key is at it.
            StateError: too many sessions are open.
        """
        check_new_path(relative_path)
        media_type = guess_media_type(relative_path) if media_type is None else check_media_type(media_type)
        if expected_size is not None and not 0 <= expected_size < 1 << 63:
            raise InvalidInputError("the size of an upload is a number of bytes", code="invalid-field")
        now = self._clock()
        upload_id = self._new_id() if idempotency_key is None else _id_of_key(owner, idempotency_key)
        upload = Upload(
            str(upload_id),
            package,
            relative_path,
            media_type,
            executable,
            expected_size,
            expected_digest,
            0,
            owner,
            now,
            now + self._lifetime * 1_000_000,
            None,
        )
        with self._files.translated(), contextlib.suppress(NotFoundError):
            return self._same(upload)
        upload = replace(upload, package_id=self._store.check_new_file(package, relative_path).package_id)
        with self._files.translated():
            self._make_room(now)
            make_folders(self._files.folder)
            with self._files.locked(upload.upload_id):
                # Once more: a quicker request of the same key may have begun it, and gone on with it.
                with contextlib.suppress(NotFoundError):
                    return self._same(upload)
                self._files.save(upload)
        return upload

    def get(self, upload_id: str, *, owner: str) -> Upload:
        """A session.

        Raises:
            NotFoundError: there is none, it has expired, or it is somebody else's.
        """
        with self._files.translated():
            return self._load(upload_id, owner)

    def append(self, upload_id: str, chunks: Iterable[bytes], *, offset: int, owner: str) -> Upload:
        """Add bytes at the end of what is there; durable on return, and whatever came if this raises.

        Args:
            chunks: raises `InvalidInputError` if its bytes turn out to be wrong; then none of them stay.
            offset: what the caller believes to be there.
        Raises:
            ConflictError: other bytes are there, or another request is adding some.
            InvalidInputError: more came than was announced; none of it stays.
        """
        with self._files.translated(), self._held(upload_id, owner) as (upload, descriptor):
            if upload.file_id is not None:
                raise StateError("the upload is complete", code="upload-complete")
            if offset != upload.offset:
                raise ConflictError(
                    f"the upload stands at {upload.offset}, not at {offset}",
                    hint="ask for its offset and go on from there",
                    code="wrong-offset",
                )
            os.ftruncate(descriptor, offset)
            begun = noted = offset
            try:
                for chunk in chunks:
                    if upload.expected_size is not None and offset + len(chunk) > upload.expected_size:
                        message = f"more came than the {upload.expected_size} bytes that were announced"
                        raise InvalidInputError(message, code="size-mismatch")
                    offset = write_all(descriptor, chunk, offset)
                    if offset - noted >= _ACKNOWLEDGED:
                        noted = self._acknowledge(upload, descriptor, offset).offset
            except OSError:
                # The disk refused, perhaps a sync, and a sync does not say twice what it has lost.
                raise
            except InvalidInputError:
                self._acknowledge(upload, descriptor, begun)
                raise
            except BaseException:
                # What came before a connection broke is what a resumed upload goes on from.
                self._acknowledge(upload, descriptor, offset)
                raise
            return self._acknowledge(upload, descriptor, offset)

    def restart(self, upload_id: str, *, owner: str) -> Upload:
        """Forget the bytes that are there, for one that is sent as a whole."""
        with self._files.translated(), self._held(upload_id, owner) as (upload, descriptor):
            if upload.file_id is not None:
                raise StateError("the upload is complete", code="upload-complete")
            return self._acknowledge(upload, descriptor, 0)

    def complete(self, upload_id: str, *, owner: str, actor: str) -> File:
        """Put the file into its package; the bytes of the session are removed.

        Idempotent: until the session expires, a second call returns the same file.

        Raises:
            InvalidInputError: the digest is not the one that was announced; the session is removed.
            StateError: not all bytes are there yet.
            others: as `Store.ingest_file`; the session stays.
        Crash: the file is in its package or not; a second call returns it in either case.
        """
        with self._files.translated(), self._held(upload_id, owner) as (upload, descriptor):
            if upload.file_id is not None:
                return self._store.find_file(upload.file_id)
            if upload.expected_size is not None and upload.offset < upload.expected_size:
                raise StateError(
                    f"{upload.offset} of {upload.expected_size} bytes are there",
                    hint="send the rest",
                    code="upload-incomplete",
                )
            # What a crash left behind the offset was never acknowledged.
            os.ftruncate(descriptor, upload.offset)
            try:
                file = self._store.ingest_file(
                    upload.package_id,
                    upload.relative_path,
                    self._files.part(upload_id),
                    actor=actor,
                    media_type=upload.media_type,
                    executable=upload.executable,
                    expected_size=upload.offset,
                    expected_digests=() if upload.expected_digest is None else (upload.expected_digest,),
                    idempotency_key=f"upload:{upload_id}",
                )
            except InvalidInputError as error:
                if error.code == _WRONG_BYTES:
                    self._files.remove(upload_id)
                raise
            try:
                self._files.save(replace(upload, file_id=file.file_id))
                os.unlink(self._files.part(upload_id))
            except OSError as error:
                # The file is where it belongs; what is left here goes with the next call, or by age.
                _log.warning("cannot end the upload %s: %s", upload_id, error.strerror)
            return file

    def cancel(self, upload_id: str, *, owner: str) -> None:
        """End a session and remove its bytes; what it became stays."""
        with self._files.translated():
            self._load(upload_id, owner)
            with self._files.locked(upload_id):
                self._load(upload_id, owner)
                self._files.remove(upload_id)

    def remove_expired(self) -> int:
        """Remove sessions that nobody has gone on with, and what a crash left of others.

        Returns:
            How many there were.
        """
        with self._files.translated():
            return self._sweep(self._clock())

    # What the calls above are made of

    def _same(self, again: Upload) -> Upload:
        """The session that a request of the same key has begun.

        Raises:
            NotFoundError: none has.
        """
        first = self._load(again.upload_id, again.owner)
        arguments = ("relative_path", "media_type", "executable", "expected_size", "expected_digest")
        if any(getattr(first, name) != getattr(again, name) for name in arguments) or not (
            first.package_id.replace("-", "").startswith(again.package_id.replace("-", "").lower())
        ):
            raise ConflictError(
                "the idempotency key was used for another upload",
                hint="use a new key for a new request",
                code="idempotency-conflict",
            )
        # Whoever began it may have died before its name was durable.
        self._files.sync()
        return first

    def _make_room(self, now: int) -> None:
        """Refuse a session too many; those that are over count only until somebody needs their place."""
        if self._files.count() >= SESSIONS_MAX:
            self._sweep(now)
            if self._files.count() >= SESSIONS_MAX:
                hint = "finish or cancel some"
                raise StateError("there are too many uploads", hint=hint, code="too-many-uploads")

    def _sweep(self, now: int) -> int:
        removed = 0
        for name in self._files.names():
            upload_id, _, kind = name.partition(".")
            with contextlib.suppress(FileNotFoundError, ConflictError):
                if kind.endswith(".new"):
                    path = os.path.join(self._files.folder, name)
                    if self._is_old(path, now):
                        os.unlink(path)
                elif is_id(upload_id) and self._is_over(upload_id, now):
                    with self._files.locked(upload_id):
                        # Once more: a request may have gone on with it.
                        if self._is_over(upload_id, now):
                            self._files.remove(upload_id)
                            removed += 1
        return removed

    def _is_over(self, upload_id: str, now: int) -> bool:
        """Whether nobody can go on with a session, or with bytes that have none."""
        if not self._files.has_state(upload_id):
            return self._is_old(self._files.part(upload_id), now)
        upload = self._files.read(upload_id)
        return upload is None or upload.expires_at < now

    def _is_old(self, path: str, now: int) -> bool:
        return os.lstat(path).st_mtime < now / 1_000_000 - self._lifetime

    def _load(self, upload_id: str, owner: str) -> Upload:
        upload = self._files.read(upload_id) if is_id(upload_id) else None
        if upload is None or upload.owner != owner or upload.expires_at < self._clock():
            raise NotFoundError("there is no such upload", hint="it may have expired", code="no-such-upload")
        return upload

    def _acknowledge(self, upload: Upload, descriptor: int, offset: int) -> Upload:
        os.fsync(descriptor)
        if upload.offset == 0:
            # Its name too: a state that is durable must not tell of bytes that are not.
            self._files.sync()
        upload = replace(upload, offset=offset, expires_at=self._clock() + self._lifetime * 1_000_000)
        self._files.save(upload)
        return upload

    @contextlib.contextmanager
    def _held(self, upload_id: str, owner: str) -> Iterator[tuple[Upload, int]]:
        """The session, for this caller alone."""
        self._load(upload_id, owner)
        with self._files.locked(upload_id) as descriptor:
            # Once more: it may have been cancelled in between.
            upload = self._load(upload_id, owner)
            if upload.file_id is None and os.fstat(descriptor).st_size < upload.offset:
                message = "bytes of the upload that were acknowledged are gone"
                raise IntegrityError(message, hint="cancel it and begin again")
            yield upload, descriptor


def _id_of_key(owner: str, key: str) -> uuid.UUID:
    """The same id for the same key of the same caller."""
    value = int.from_bytes(hashlib.sha256(f"{owner}\0{key}".encode()).digest()[:16], "big")
    return uuid.UUID(int=value & ~(0xF << 76) & ~(0b11 << 62) | 0x8 << 76 | 0b10 << 62)
