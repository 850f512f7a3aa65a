"""The two files of each upload session: what it is, durably, and the bytes that have come."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import uuid
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from artifactstore.digest import Digest
from artifactstore.errors import ArtifactStoreError, ConflictError
from artifactstore.local_files import read_whole
from artifactstore.objects.durability import sync_path
from artifactstore.objects.files import NEW_FILE
from artifactstore.os_errors import release, translation

if TYPE_CHECKING:
    from collections.abc import Iterator

_STATE = ".json"
_STATE_MAX = 64 << 10  # bytes of a state file


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


class UploadFiles:
    """The folder of sessions: `<id>.json` is the state of one, `<id>.part` its bytes and its lock.

    A state is made, changed and removed by the holder of the lock alone.

    Args:
        folder: need not exist while there is no session.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def names(self) -> set[str]:
        """All names in the folder, ours or not."""
        with contextlib.suppress(FileNotFoundError):
            return set(os.listdir(self.folder))
        return set()

    def count(self) -> int:
        """How many sessions there are, those that are over among them."""
        return sum(name.endswith(_STATE) for name in self.names())

    def has_state(self, upload_id: str) -> bool:
        """Whether there is a session of this id, even one that cannot be read."""
        return os.path.lexists(self._state(upload_id))

    def read(self, upload_id: str) -> Upload | None:
        """A session, or None if there is none of this id."""
        try:
            said: dict[str, Any] = json.loads(read_whole(self._state(upload_id), limit=_STATE_MAX))
            digest = said["expected_digest"]
            return Upload(**{**said, "expected_digest": None if digest is None else Digest.parse(digest)})
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, KeyError, ArtifactStoreError):
            return None  # nobody of ours wrote that; it goes when it is old

    def save(self, upload: Upload) -> None:
        """Write the state in one step, durably."""
        said = asdict(upload) | {
            "expected_digest": None if upload.expected_digest is None else str(upload.expected_digest)
        }
        path = self._state(upload.upload_id)
        new = f"{path}.{os.urandom(4).hex()}.new"
        descriptor = os.open(new, NEW_FILE, 0o600)
        try:
            try:
                write_all(descriptor, json.dumps(said).encode(), None)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            os.rename(new, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(new)
            raise
        self.sync()

    def sync(self) -> None:
        """Make the names in the folder durable."""
        sync_path(self.folder, directory=True)

    @contextlib.contextmanager
    def locked(self, upload_id: str) -> Iterator[int]:
        """The descriptor of the bytes, for this caller alone.

        Raises:
            ConflictError: another one has it.
        """
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        while True:
            descriptor = os.open(self.part(upload_id), flags, 0o600)
            try:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    message = "another request is working on this upload"
                    raise ConflictError(message, hint="wait for it", code="upload-busy") from None
                # If the one before has removed the file, the lock on it keeps nobody out.
                if os.fstat(descriptor).st_nlink:
                    yield descriptor
                    return
            finally:
                release(descriptor)

    def remove(self, upload_id: str) -> None:
        """Remove a session, durably."""
        # The state first, durably: bytes without one are nobody's, but it must never stand without its bytes.
        for path in (self._state(upload_id), self.part(upload_id)):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            self.sync()

    def _state(self, upload_id: str) -> str:
        return os.path.join(self.folder, f"{upload_id}{_STATE}")

    def part(self, upload_id: str) -> str:
        """The path of the bytes of a session."""
        return os.path.join(self.folder, f"{upload_id}.part")

    @contextlib.contextmanager
    def translated(self) -> Iterator[None]:
        """Turns what the system refuses in the block into errors of ours."""
        try:
            yield
        except ArtifactStoreError:
            raise
        except OSError as error:
            raise translation(error, "the folder of uploads") from error


def write_all(descriptor: int, data: bytes, offset: int | None) -> int:
    """Write all of it, at an offset or where the file stands; returns the offset behind it."""
    with memoryview(data) as view:
        start = 0
        while start < len(view):
            rest = view[start:]
            start += (
                os.write(descriptor, rest) if offset is None else os.pwrite(descriptor, rest, offset + start)
            )
    return (offset or 0) + len(data)


def is_id(text: str) -> bool:
    """Whether a text is the id of a session, as we write it."""
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False
