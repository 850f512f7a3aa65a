"""What a remote backend asks of the service behind it: bytes under keys."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from artifactstore.objects.backend import Fill

PROBE = "artifactstore.probe-"  # begins the keys of what `Service.prove_writable` writes


@dataclass(frozen=True, slots=True)
class Found:
    """Something that lies under a key.

    Args:
        size: bytes.
        written_at: microseconds since 1970.
    """

    key: str
    size: int
    written_at: int


@dataclass(frozen=True, slots=True)
class Range:
    """A part of what lies under a key, and how long the whole is."""

    data: bytes | bytearray
    size: int


@dataclass(frozen=True, slots=True)
class Lock:
    """What keeps something from being deleted.

    Args:
        until: microseconds; None without retention.
        held: whether there is a legal hold, which has no end.
    """

    until: int | None
    held: bool


class ObjectLocks(Protocol):
    """Locks that a place enforces against everybody. Safe to share between threads."""

    def retain(self, key: str, until: int) -> None:
        """Lock what lies under a key at least until an instant; a longer lock stays.

        An instant that has passed locks nothing.

        Args:
            until: microseconds.
        Raises:
            ObjectNotFoundError: nothing lies there.
        """

    def hold(self, key: str, *, on: bool) -> None:
        """Lock what lies under a key until the hold is ended, or end it.

        Raises:
            ObjectNotFoundError: nothing lies there.
        """

    def covers(self, key: str, wanted: Lock) -> bool:
        """Whether what lies under a key is locked at least so; an instant that has passed wants nothing.

        Raises:
            ObjectNotFoundError: nothing lies there.
        """


class Service(Protocol):
    """A place for bytes under keys. Safe to share between threads and after a fork.

    All keys are relative to the place. Every call ends within a deadline where the service allows that, and
    raises `AccessError` or `BackendError`, never an error of the library beneath.
    """

    @property
    def name(self) -> str:
        """What to call the place in a message, without secrets."""

    def head(self, key: str) -> Found | None:
        """What lies under a key; None may also mean that the place itself is gone, see `require`."""

    def require(self) -> None:
        """Raise if the place itself is gone, where a missing place looks like a missing key."""

    def get(self, key: str, start: int, length: int) -> Range | None:
        """At most so many bytes from a position on, none of them behind the end; None if the key is free.

        Args:
            length: over 0.
        """

    def put(self, key: str, data: bytes | memoryview, *, sha256: bytes, replace: bool) -> bool:
        """Store bytes, whole or not at all, checked by the service where it can.

        Args:
            sha256: raw digest of the data.
            replace: write also if something is there.
        Returns:
            False if the key was taken.
        """

    def upload(self, key: str, fill: Fill, size: int, *, sha256: bytes, replace: bool) -> bool:
        """Store so many bytes of a stream in bounded memory, whole or not at all; otherwise as `put`.

        Whatever `fill` raises before the end ends the upload and leaves nothing visible.
        """

    def copy(self, key: str, target: str) -> bool:
        """Copy within the place; False if nothing lies under the key."""

    def entries(self, prefix: str) -> Iterator[Found]:
        """What lies under all keys with a prefix, in the order of the keys."""

    def hidden(self, prefix: str) -> Iterator[Found]:
        """What `delete_all` has hidden and not removed, with the moment when it did: it was broken off.

        The size is that of all versions together.
        """

    @property
    def object_locks(self) -> ObjectLocks | None:
        """The locks of this place; None if it enforces none, or is not asked to."""

    def delete_all(self, keys: Sequence[str], *, released: Collection[str] = ()) -> dict[str, Lock]:
        """Free keys, with all versions of what lies there, hidden or not; idempotent.

        Args:
            released: keys whose legal holds are over, and are lifted where they are still there.
        Returns:
            Those that are locked and so still there, and how.
        Raises:
            BackendError: some may be free, and not all are.
        """

    def unfinished(self, prefix: str, before: int) -> Iterator[tuple[str, str]]:
        """Uploads that nobody has completed, and whose bytes are no object's: key, and what `abort` wants.

        Args:
            before: microseconds; only those begun earlier.
        """

    def abort(self, key: str, upload: str) -> None:
        """Throw an unfinished upload away; idempotent."""

    def prove_writable(self) -> None:
        """Write and remove something, and check that what was asked of every write is honoured."""

    def close(self) -> None:
        """Release connections. The next call opens them again."""
