"""What the rest of the package asks of an object store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import io
    import uuid
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence, Set
    from types import TracebackType

    from artifactstore.digest import Buffer, DigestPair
    from artifactstore.objects.service import Lock, ObjectLocks
    from artifactstore.objects.staging import StagingElsewhere

    # Whether the log has ever named an object (blake3) in a place.
    Named = Callable[[bytes], bool]
    # Fills the buffer from its start; returns the bytes put there, 0 at the end, and never too few before it.
    Fill = Callable[[memoryview], int]

SMALL_FILE = 4 << 20  # bytes; from this size on a file is streamed instead of read whole


@dataclass(frozen=True, slots=True)
class Staged:
    """Bytes that a batch holds or has found already stored.

    Args:
        size: bytes.
        new: True if this batch wrote them, False if the object, or an equal one in the batch, was there.
    """

    digests: DigestPair
    size: int
    new: bool


@dataclass(frozen=True, slots=True)
class Stored:
    """An object that lies in a backend.

    Args:
        size: bytes.
        written_at: microseconds since 1970.
    """

    blake3: bytes
    size: int
    written_at: int


class Batch(Protocol):
    """Objects on their way into a backend: staged one by one, published together.

    A context manager: leaving it without `publish` leaves nothing behind.
    """

    @property
    def met(self) -> Collection[bytes] | None:
        """blake3 of the objects that were there already; None where a look at all of them is cheap."""

    @property
    def sent(self) -> Collection[bytes]:
        """blake3 of the objects that it wrote, which are not locked yet; empty in a place without locks."""

    def stage_bytes(self, data: Buffer) -> Staged:
        """Take bytes that are in memory."""

    def stage_stream(
        self, fill: Fill, *, expected: int = 0, again: Callable[[], Fill] | None = None
    ) -> Staged:
        """Take bytes of any length in bounded memory.

        Args:
            expected: bytes that will come, if that is known.
            again: reads the same source from its start once more; None if it can be read only once.
        Raises:
            BackendError: there is no space for them, seen before the first one is read.
        """

    def reuse(self, wanted: Sequence[tuple[bytes, int]]) -> set[bytes]:
        """Which of these objects (blake3, size) are there and can be named as if they had been staged."""

    def elsewhere(self) -> StagingElsewhere | None:
        """How a worker process stages for this batch; None if staging waits for a network.

        Then threads help: such a batch may be fed by any number of them.
        """

    def adopt(
        self, staged: Mapping[bytes, str], present: Iterable[bytes], damaged: Iterable[bytes]
    ) -> set[bytes]:
        """Take over what a worker process has staged.

        Returns:
            blake3 of what this batch has itself.
        """

    def restore(self, missing: Iterable[bytes]) -> bool:
        """Publish again what a gc has removed since; only in a batch that keeps.

        Returns:
            False if the batch does not have some of it.
        """

    def forget_others(self, wanted: Set[bytes]) -> None:
        """Do not publish what is staged and not among these objects: nobody will name it."""

    def publish(self) -> None:
        """Make everything staged so far visible under its digest, durable on return.

        What was already there is durable on return too. Further objects may be staged afterwards, and
        meanwhile by worker processes; they belong to the next publication.

        Raises:
            BackendError: storage refused; nothing that was not there before is named by any caller yet.
        Crash: leaves files in the staging folder or objects that no event names; both are found by age.
        """

    def __enter__(self) -> Batch: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...


class Backend(Protocol):
    """One place for objects. Safe to share between threads."""

    @property
    def backend_id(self) -> str:
        """The name under which the log knows it."""

    @property
    def folder(self) -> str:
        """Where its objects lie on this machine, for worker processes; empty if they lie elsewhere."""

    def attach(self, store_id: uuid.UUID, *, create: bool) -> None:
        """Make sure that the place belongs to this store.

        Args:
            create: claim an empty or absent place; false if the log says that objects should be there.
        Raises:
            BackendError: it is absent, unreadable, or belongs to another store.
        """

    def check_free(self) -> None:
        """Refuse a place that a new store could not claim. Changes nothing.

        Raises:
            BackendError: it belongs to a store, or holds what no store has marked.
        """

    def take_over(self, store_id: uuid.UUID) -> str | None:
        """Mark the place as this store's, whoever it belonged to; for people who know what they do.

        Returns:
            The id of the store that it belonged to, if any.
        """

    def require(self) -> None:
        """Raise if the place does not answer now, or is not there."""

    def batch(
        self, *, keep: bool = False, damaged: frozenset[bytes] = frozenset(), named: Named | None = None
    ) -> Batch:
        """Begin to add objects.

        Args:
            keep: hold a second name of what is staged until the batch ends, for `Batch.restore`.
            damaged: blake3 of objects that are there but are not to be trusted: they are set aside and
                written anew.
            named: what the log has never named need not be looked for before it is sent; asked from any
                thread.
        """

    def open(self, blake3: bytes, size: int) -> io.RawIOBase:
        """A seekable binary stream over an object.

        Raises:
            ObjectNotFoundError: it is not there.
            IntegrityError: it has another size than the log says.
        """

    def size_of(self, blake3: bytes) -> int | None:
        """The size of an object in bytes, None if it is not there."""

    def missing(self, wanted: Iterable[tuple[bytes, int]]) -> list[bytes]:
        """Which of these objects (blake3, size) are not there with that size."""

    def stored(self) -> Iterator[Stored]:
        """All objects, in the order of their digests."""

    def hidden(self) -> Iterator[Stored]:
        """Objects that a deletion has hidden and whose bytes are still there, with the moment when it did."""

    @property
    def object_locks(self) -> ObjectLocks | None:
        """The locks of this place, by the keys of objects; None if it has none."""

    def remove_all(self, wanted: Iterable[bytes], *, released: Collection[bytes] = ()) -> dict[bytes, Lock]:
        """Remove objects, hidden or not, durable on return; idempotent.

        Call under the write lock, see `lifecycle.gc`.

        Args:
            released: those whose legal holds are over, and are lifted where they are still there.
        Returns:
            Those that are locked and still there, and how.
        """

    def remove_stale(self, *, older_than: int, dry_run: bool = False) -> int:
        """Remove what crashes left beside objects.

        Args:
            older_than: seconds since the last change.
            dry_run: only count it.
        Returns:
            How many staging folders, unfinished uploads or probes that is.
        """

    def problems(
        self, store_id: uuid.UUID, *, claimed: bool = True, deep: bool = False, max_age: float = 0
    ) -> tuple[str, ...]:
        """Why the place cannot be used now; empty if it can.

        Args:
            claimed: whether the log names objects there; if not, it may have no marker yet.
            deep: also write a probe and remove it; without it nothing is changed.
            max_age: an answer that is so many seconds old is good enough.
        """

    def close(self) -> None:
        """Release what is held open."""
