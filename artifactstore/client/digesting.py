"""Reading evidence for its digests: a batch that keeps nothing, its worker processes, one that keeps all."""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING, Self

from artifactstore.digest import Hasher, digest_pair
from artifactstore.ingest import stage_run
from artifactstore.objects.backend import Staged
from artifactstore.objects.ring import pump
from artifactstore.objects.staging import StagingElsewhere
from artifactstore.scan import Run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence, Set
    from types import TracebackType

    from artifactstore.digest import Buffer
    from artifactstore.ingest import Answer
    from artifactstore.objects.backend import Fill


class Digesting:
    """A `Batch` into which bytes go to be digested, not to stay."""

    @property
    def met(self) -> None:
        """None: nothing is there; see `Batch.met`."""
        return None

    @property
    def sent(self) -> tuple[bytes, ...]:
        """None of them; see `Batch.sent`."""
        return ()

    def stage_bytes(self, data: Buffer) -> Staged:
        """Both digests of bytes in memory."""
        return Staged(digest_pair(data), len(data), new=False)

    def stage_stream(
        self, fill: Fill, *, expected: int = 0, again: Callable[[], Fill] | None = None
    ) -> Staged:
        """Both digests of bytes of any length, each on a thread of its own."""
        hasher = Hasher()
        size = pump(
            fill,
            (
                (lambda view, _offset: hasher.update_sha256(view), 1),
                (lambda view, _offset: hasher.update_blake3(view), 1),
            ),
        )
        return Staged(hasher.pair(), size, new=False)

    def reuse(self, wanted: Sequence[tuple[bytes, int]]) -> set[bytes]:
        """Nothing was kept."""
        return set()

    def elsewhere(self) -> StagingElsewhere:
        """What a worker process needs: nothing but the source."""
        return StagingElsewhere((), (), "artifactstore.client.digesting:digesting_worker")

    def adopt(
        self,
        staged: Mapping[bytes, str],
        present: Iterable[bytes],
        damaged: Iterable[bytes],
    ) -> set[bytes]:
        """A worker has kept nothing either."""
        return set()

    def restore(self, missing: Iterable[bytes]) -> bool:
        """Nothing was kept."""
        return not list(missing)

    def forget_others(self, wanted: Set[bytes]) -> None:
        """Nothing was kept."""

    def publish(self) -> None:
        """There is nothing to be seen."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...


class Spool(Digesting):
    """A `Batch` for one source that can be read only once: it is kept until it is sent."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the batch

    @property
    def descriptor(self) -> int:
        """What was staged, as an open file."""
        return self._file.fileno()

    def stage_bytes(self, data: Buffer) -> Staged:
        """Both digests of bytes in memory, which are kept."""
        self._file.write(data)
        self._file.flush()
        return super().stage_bytes(data)

    def stage_stream(
        self, fill: Fill, *, expected: int = 0, again: Callable[[], Fill] | None = None
    ) -> Staged:
        """Both digests of bytes of any length, which are kept."""

        def kept(buffer: memoryview) -> int:
            count = fill(buffer)
            self._file.write(buffer[:count])
            return count

        staged = super().stage_stream(kept, expected=expected)
        self._file.flush()
        return staged

    def __exit__(self, *error: object) -> None:
        self._file.close()


def digesting_worker(source: int) -> Callable[[tuple[str, str, list[tuple[str, str]]]], Answer]:
    """What a worker process does for a directory whose digests are wanted.

    Args:
        source: descriptor of the directory that is read.
    """
    batch = Digesting()

    def answer(request: tuple[str, str, list[tuple[str, str]]]) -> Answer:
        return stage_run(batch, source, Run(*request)), ({}, (), ())

    return answer
