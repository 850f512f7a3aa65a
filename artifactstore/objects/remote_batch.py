"""Objects on their way to a remote place: what is new goes straight to its key, nothing is sent twice."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from typing import TYPE_CHECKING

from artifactstore.digest import Hasher, digest_pair, new_blake3, object_key
from artifactstore.errors import AccessError, BackendError, SourceChangedError
from artifactstore.objects.backend import Staged
from artifactstore.objects.ring import pump
from artifactstore.os_errors import translation

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence, Set
    from types import TracebackType
    from typing import Self

    from artifactstore.digest import Buffer, DigestPair
    from artifactstore.objects.backend import Fill, Named
    from artifactstore.objects.ring import Consume
    from artifactstore.objects.service import Service
    from artifactstore.objects.staging import StagingElsewhere

_log = logging.getLogger(__name__)

SET_ASIDE = "damaged"
_SENT_UNSEEN = 64 << 10  # bytes up to which an object that the log has never named is sent without a look


class RemoteBatch:
    """Objects on their way to a remote place; see `Batch`.

    What `stage_bytes` and `stage_stream` return of is stored: there is nothing left for `publish` to do. They
    may be called from any number of threads; equal bytes are sent by one of them.
    """

    def __init__(
        self, service: Service, *, keep: bool, damaged: frozenset[bytes], named: Named | None = None
    ) -> None:
        self._service = service
        self._named = named
        self._keep = keep
        self._damaged = damaged
        self._turn = threading.Condition()
        self._busy: set[bytes] = set()
        self._met: set[bytes] = set()
        self._sent: set[bytes] = set()
        self._done: set[bytes] = set()
        # Small objects that this batch may have to store again.
        self._kept: dict[bytes, tuple[bytes, DigestPair]] = {}

    def __enter__(self) -> RemoteBatch:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._kept.clear()

    @property
    def met(self) -> Collection[bytes]:
        """What was there already; see `Batch.met`."""
        return self._met

    @property
    def sent(self) -> Collection[bytes]:
        """What this batch wrote; see `Batch.sent`."""
        return self._sent

    def stage_bytes(self, data: Buffer) -> Staged:
        """Store bytes that are in memory; see `Batch.stage_bytes`."""
        digests = digest_pair(data)
        if self._keep:
            self._kept[digests.blake3] = bytes(data), digests

        def send(key: str, replace: bool) -> bool:
            with memoryview(data) as view:
                return self._service.put(key, view, sha256=digests.sha256, replace=replace)

        return self._stage(digests, len(data), send)

    def stage_stream(
        self, fill: Fill, *, expected: int = 0, again: Callable[[], Fill] | None = None
    ) -> Staged:
        """Store bytes of any length; see `Batch.stage_stream`.

        A source that can be read again is: once for its digests, which tell whether it must be sent at all,
        and once for sending. Any other goes through a temporary file.
        """
        hasher = Hasher()
        hashes: list[tuple[Consume, int]] = [
            (lambda view, _offset: hasher.update_sha256(view), 1),
            (lambda view, _offset: hasher.update_blake3(view), 1),
        ]
        with contextlib.ExitStack() as stack:
            if again is None:
                spool = stack.enter_context(_Spool())
                hashes.append((spool.write, 1))
                again = spool.again
            reading = again
            size = pump(fill, hashes)
            digests = hasher.pair()

            def send(key: str, replace: bool) -> bool:
                stream = _unchanged(reading(), size, digests.blake3)
                return self._service.upload(key, stream, size, sha256=digests.sha256, replace=replace)

            return self._stage(digests, size, send)

    def _stage(self, digests: DigestPair, size: int, send: Callable[[str, bool], bool]) -> Staged:
        """Send the bytes unless they are there, or another thread sends them.

        Args:
            send: gets the key and whether to replace what is there; False if the key was taken.
        """
        with self._one_at_a_time(digests.blake3) as sent:
            new = not sent and self._store(digests.blake3, size, send)
            if new:
                self._written(digests.blake3)
            return Staged(digests, size, new=new)

    def _store(self, blake3: bytes, size: int, send: Callable[[str, bool], bool]) -> bool:
        key = object_key(blake3)
        # A look costs as much as sending a few bytes that are hardly ever there.
        unseen = size <= _SENT_UNSEEN and self._named is not None and not self._named(blake3)
        if unseen and send(key, False):
            return True
        found = self._service.head(key)
        if found is not None and (found.size != size or blake3 in self._damaged):
            self._set_aside(key)
            return send(key, True)
        if found is not None:
            self._met.add(blake3)
            return False
        if send(key, False):
            return True
        # Taken meanwhile: by another writer of the same bytes, or by a call of ours whose answer was lost.
        found = self._service.head(key)
        if found is None or found.size != size:
            message = f"{self._service.name}: {key} was changed while it was written"
            raise BackendError(message, code="write-conflict", retryable=True)
        self._met.add(blake3)
        return False

    def _written(self, blake3: bytes) -> None:
        if self._service.object_locks is not None:
            self._sent.add(blake3)

    @contextlib.contextmanager
    def _one_at_a_time(self, blake3: bytes) -> Iterator[bool]:
        """Whether this batch has stored the object; if not, no other thread tries meanwhile."""
        with self._turn:
            while blake3 in self._busy:
                self._turn.wait()
            sent = blake3 in self._done
            if not sent:
                self._busy.add(blake3)
        if sent:
            yield True
            return
        stored = False
        try:
            yield False
            stored = True
        finally:
            with self._turn:
                self._busy.discard(blake3)
                if stored:
                    self._done.add(blake3)
                self._turn.notify_all()

    def _set_aside(self, key: str) -> None:
        """Keep a damaged object for those who will ask how it came about."""
        kept = f"{SET_ASIDE}/{key.rpartition('/')[2]}.{os.urandom(4).hex()}"
        try:
            is_there = self._service.copy(key, kept)
        except (AccessError, BackendError) as error:
            raise error.about(f"{key} is damaged and cannot be set aside") from error.__cause__
        if is_there:
            _log.warning("object %s is damaged; set aside as %s and written anew", key, kept)

    def reuse(self, wanted: Sequence[tuple[bytes, int]]) -> set[bytes]:
        """Which of these objects need not be staged; see `Batch.reuse`."""
        there = set()
        for blake3, size in wanted:
            found = None if blake3 in self._damaged else self._service.head(object_key(blake3))
            if found is not None and found.size == size:
                there.add(blake3)
        self._met |= there
        return there

    def elsewhere(self) -> StagingElsewhere | None:
        """None: threads help here; see `Batch.elsewhere`."""
        return None

    def adopt(
        self, staged: Mapping[bytes, str], present: Iterable[bytes], damaged: Iterable[bytes]
    ) -> set[bytes]:
        """Nothing is staged elsewhere; see `Batch.adopt`."""
        raise NotImplementedError

    def restore(self, missing: Iterable[bytes]) -> bool:
        """Store again what a gc has removed since; see `Batch.restore`."""
        wanted = [self._kept.get(blake3) for blake3 in missing]
        for kept in wanted:
            if kept is None:
                return False
            data, digests = kept
            self._service.put(object_key(digests.blake3), data, sha256=digests.sha256, replace=False)
            self._written(digests.blake3)
        return True

    def forget_others(self, wanted: Set[bytes]) -> None:
        """Nothing: what is staged is stored; see `Batch.forget_others`."""

    def publish(self) -> None:
        """Nothing: what is staged is stored; see `Batch.publish`."""
        # What was met so far may be removed by a gc from now on: a later equal file is looked for anew.
        with self._turn:
            self._done.clear()


class _Spool:
    """A temporary file with the bytes of a stream that can be read only once."""

    def __enter__(self) -> Self:
        import tempfile

        with _translated():
            self._file = tempfile.TemporaryFile(prefix="artifactstore-")
        return self

    def __exit__(self, *_about: object) -> None:
        # What is needed of it has been read: a last write that fails hides no other error.
        with contextlib.suppress(OSError):
            self._file.close()

    def write(self, view: memoryview, _offset: int) -> None:
        """Take the next bytes."""
        with _translated():
            self._file.write(view)

    def again(self) -> Fill:
        """All of them from the start."""
        with _translated():
            self._file.seek(0)
        return self._fill

    def _fill(self, buffer: memoryview) -> int:
        with _translated():
            data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """Turn the operating system's errors about the temporary folder into ours."""
    try:
        yield
    except OSError as error:
        raise translation(error, "the folder for temporary files") from error


def _unchanged(fill: Fill, size: int, blake3: bytes) -> Fill:
    """A stream that raises at its end, or at the first byte too many, if it is not what was read before."""
    digest = new_blake3()
    done = 0

    def checked(buffer: memoryview) -> int:
        nonlocal done
        count = fill(buffer)
        with buffer[:count] as view:
            digest.update(view)
        done += count
        if done > size or (count < len(buffer) and (done != size or digest.digest() != blake3)):
            message = "the source changed while it was read"
            raise SourceChangedError(message, hint="push again when its producer is done")
        return count

    return checked
