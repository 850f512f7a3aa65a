"""Upload sessions: a file that arrives in parts, over several requests and over a restart.

A session is two files in a folder beside the database: `<id>.json` says what is being uploaded and how many
bytes are acknowledged, `<id>.part` holds the bytes. An offset is told to nobody before the bytes below it are
durable; what a crash left behind it is overwritten. The log knows nothing of a session: evidence begins with
the event that puts the whole file into its package.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import uuid
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from artifactstore.digest import Digest
from artifactstore.errors import (
    ArtifactStoreError,
    ConflictError,
    IntegrityError,
    InvalidInputError,
    NotFoundError,
    StateError,
)
from artifactstore.local_files import read_whole
from artifactstore.media_types import check_media_type, guess_media_type
from artifactstore.objects.durability import make_folders, sync_path
from artifactstore.objects.files import NEW_FILE
from artifactstore.os_errors import release, translation
from artifactstore.paths import check_relative_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from artifactstore.model import File
    from artifactstore.moment import Clock, IdSource
    from artifactstore.store import Store

_log = logging.getLogger(__name__)

LIFETIME = 86_400  # seconds without a request after which a session is over
SESSIONS_MAX = 10_000
_ACKNOWLEDGED = 64 << 20  # bytes between two notes of the offset
_STATE_MAX = 64 << 10  # bytes of a state file
_WRONG_BYTES = "digest-mismatch"


@dataclass(frozen=True, slots=True)
class Upload:
    """A session.

    Args:
        owner: who may go on with it.
        expected_size, expected_digest: what the whole must have; None if nobody said.
        offset: bytes that are there and durable.
        expires_at: microseconds; moves with each request.
        file_id: of the file that it became; None before.
    """

    upload_id: str
    package_id: str
    relative_path: str
    media_type: str
    executable: bool
    expected_size: int | None
    expected_digest: Digest | None
    offset: int
    owner: str
    created_at: int
    expires_at: int
    file_id: str | None


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
        self._folder = folder
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
            ConflictError: the key was used with other arguments.
        """
        check_relative_path(relative_path)
        media_type = guess_media_type(relative_path) if media_type is None else check_media_type(media_type)
        if expected_size is not None and not 0 <= expected_size < 1 << 63:
            raise InvalidInputError("the size of an upload is a number of bytes", code="invalid-field")
        now = self._clock()
        with self._translated():
            self._sweep(now)
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
        with contextlib.suppress(NotFoundError):
            return self._same(self.get(upload.upload_id, owner=owner), upload)
        upload = replace(upload, package_id=self._store.check_new_file(package, relative_path).package_id)
        with self._translated():
            make_folders(self._folder)
            self._save(upload)
        return upload

    def get(self, upload_id: str, *, owner: str) -> Upload:
        """A session.

        Raises:
            NotFoundError: there is none, it has expired, or it is somebody else's.
        """
        with self._translated():
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
        with self._translated(), self._held(upload_id, owner) as (upload, descriptor):
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
                    offset = _write(descriptor, chunk, offset)
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
        with self._translated(), self._held(upload_id, owner) as (upload, descriptor):
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
        with self._translated(), self._held(upload_id, owner) as (upload, descriptor):
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
                    self._part(upload_id),
                    actor=actor,
                    media_type=upload.media_type,
                    executable=upload.executable,
                    expected_size=upload.offset,
                    expected_digests=() if upload.expected_digest is None else (upload.expected_digest,),
                    idempotency_key=f"upload:{upload_id}",
                )
            except InvalidInputError as error:
                if error.code == _WRONG_BYTES:
                    self._remove(upload_id)
                raise
            try:
                self._save(replace(upload, file_id=file.file_id))
                os.unlink(self._part(upload_id))
            except OSError as error:
                # The file is where it belongs; what is left here goes with the next call, or by age.
                _log.warning("cannot end the upload %s: %s", upload_id, error.strerror)
            return file

    def cancel(self, upload_id: str, *, owner: str) -> None:
        """End a session and remove its bytes; what it became stays."""
        with self._translated():
            self._load(upload_id, owner)
            with self._locked(upload_id):
                self._load(upload_id, owner)
                self._remove(upload_id)

    def remove_expired(self) -> int:
        """Remove sessions that nobody has gone on with, and what a crash left of others.

        Returns:
            How many there were.
        """
        with self._translated():
            return self._sweep(self._clock())

    # What the calls above are made of

    def _same(self, first: Upload, again: Upload) -> Upload:
        arguments = ("relative_path", "media_type", "executable", "expected_size", "expected_digest")
        if any(getattr(first, name) != getattr(again, name) for name in arguments) or not (
            first.package_id.replace("-", "").startswith(again.package_id.replace("-", "").lower())
        ):
            raise ConflictError(
                "the idempotency key was used for another upload",
                hint="use a new key for a new request",
                code="idempotency-conflict",
            )
        return first

    def _sweep(self, now: int) -> int:
        try:
            names = set(os.listdir(self._folder))
        except FileNotFoundError:
            return 0
        if len(names) > 2 * SESSIONS_MAX:
            raise StateError(
                "there are too many uploads", hint="finish or cancel some", code="too-many-uploads"
            )
        removed = 0
        for name in names:
            path = os.path.join(self._folder, name)
            with contextlib.suppress(FileNotFoundError, ConflictError):
                upload_id, _, kind = name.partition(".")
                if kind == "json":
                    upload = self._read(upload_id)
                    over = upload is None or upload.expires_at < now
                else:
                    over = f"{upload_id}.json" not in names and self._is_old(path, now)
                if kind.endswith(".new") and self._is_old(path, now):
                    os.unlink(path)
                elif over and _is_id(upload_id):
                    with self._locked(upload_id):
                        self._remove(upload_id)
                    removed += 1
        return removed

    def _is_old(self, path: str, now: int) -> bool:
        return os.lstat(path).st_mtime < now / 1_000_000 - self._lifetime

    def _load(self, upload_id: str, owner: str) -> Upload:
        upload = self._read(upload_id) if _is_id(upload_id) else None
        if upload is None or upload.owner != owner or upload.expires_at < self._clock():
            raise NotFoundError("there is no such upload", hint="it may have expired", code="no-such-upload")
        return upload

    def _read(self, upload_id: str) -> Upload | None:
        try:
            said: dict[str, Any] = json.loads(read_whole(self._state(upload_id), limit=_STATE_MAX))
            digest = said["expected_digest"]
            return Upload(**{**said, "expected_digest": None if digest is None else Digest.parse(digest)})
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, KeyError, ArtifactStoreError):
            return None  # nobody of ours wrote that; it goes when it is old

    def _save(self, upload: Upload) -> None:
        """Write the state in one step, durably."""
        said = asdict(upload) | {
            "expected_digest": None if upload.expected_digest is None else str(upload.expected_digest)
        }
        path = self._state(upload.upload_id)
        new = f"{path}.{os.urandom(4).hex()}.new"
        descriptor = os.open(new, NEW_FILE, 0o600)
        try:
            try:
                _write(descriptor, json.dumps(said).encode(), None)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            os.rename(new, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(new)
            raise
        sync_path(self._folder, directory=True)

    def _acknowledge(self, upload: Upload, descriptor: int, offset: int) -> Upload:
        os.fsync(descriptor)
        if upload.offset == 0:
            # Its name too: a state that is durable must not tell of bytes that are not.
            sync_path(self._folder, directory=True)
        upload = replace(upload, offset=offset, expires_at=self._clock() + self._lifetime * 1_000_000)
        self._save(upload)
        return upload

    @contextlib.contextmanager
    def _held(self, upload_id: str, owner: str) -> Iterator[tuple[Upload, int]]:
        """The session, for this caller alone."""
        self._load(upload_id, owner)
        with self._locked(upload_id) as descriptor:
            # Once more: it may have been cancelled in between.
            upload = self._load(upload_id, owner)
            if upload.file_id is None and os.fstat(descriptor).st_size < upload.offset:
                message = "bytes of the upload that were acknowledged are gone"
                raise IntegrityError(message, hint="cancel it and begin again")
            yield upload, descriptor

    @contextlib.contextmanager
    def _locked(self, upload_id: str) -> Iterator[int]:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(self._part(upload_id), flags, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                message = "another request is working on this upload"
                raise ConflictError(message, hint="wait for it", code="upload-busy") from None
            yield descriptor
        finally:
            release(descriptor)

    def _remove(self, upload_id: str) -> None:
        # The state first, durably: bytes without one are nobody's, but it must never stand without its bytes.
        for path in (self._state(upload_id), self._part(upload_id)):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            sync_path(self._folder, directory=True)

    def _state(self, upload_id: str) -> str:
        return os.path.join(self._folder, f"{upload_id}.json")

    def _part(self, upload_id: str) -> str:
        return os.path.join(self._folder, f"{upload_id}.part")

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except ArtifactStoreError:
            raise
        except OSError as error:
            raise translation(error, "the folder of uploads") from error


def _write(descriptor: int, data: bytes, offset: int | None) -> int:
    """Write all of it, at an offset or where the file stands; returns the offset behind it."""
    with memoryview(data) as view:
        start = 0
        while start < len(view):
            rest = view[start:]
            start += (
                os.write(descriptor, rest) if offset is None else os.pwrite(descriptor, rest, offset + start)
            )
    return (offset or 0) + len(data)


def _is_id(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False


def _id_of_key(owner: str, key: str) -> uuid.UUID:
    """The same id for the same key of the same caller."""
    value = int.from_bytes(hashlib.sha256(f"{owner}\0{key}".encode()).digest()[:16], "big")
    return uuid.UUID(int=value & ~(0xF << 76) & ~(0b11 << 62) | 0x8 << 76 | 0b10 << 62)
