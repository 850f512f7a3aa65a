"""A ring of buffers between one reader and several consumers, each on its own thread.

A large file is read once; blake3, sha256 and the writers work side by side on the same buffers. sha256 is the
slowest of them, so the whole is as fast as sha256 alone.
"""

from __future__ import annotations

import mmap
import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from artifactstore.objects.backend import Fill

    # Gets a buffer and the offset of its first byte in the stream.
    Consume = Callable[[memoryview, int], object]

BUFFER_SIZE = 4 << 20  # bytes, a multiple of every sector and page size
BUFFER_COUNT = 8


class _Ring:
    def __init__(self) -> None:
        # Anonymous maps are aligned to pages, as direct I/O demands.
        self._buffers = [mmap.mmap(-1, BUFFER_SIZE) for _ in range(BUFFER_COUNT)]
        self.views = [memoryview(buffer) for buffer in self._buffers]
        self.free: SimpleQueue[int] = SimpleQueue()
        for index in range(BUFFER_COUNT):
            self.free.put(index)
        self._users = [0] * BUFFER_COUNT
        self._lock = threading.Lock()
        self.errors: list[BaseException] = []

    def share(self, index: int, users: int) -> None:
        self._users[index] = users

    def release(self, index: int) -> None:
        with self._lock:
            self._users[index] -= 1
            done = self._users[index] == 0
        if done:
            self.free.put(index)

    def close(self) -> None:
        for view, buffer in zip(self.views, self._buffers, strict=True):
            view.release()
            buffer.close()


def pump(fill: Fill, consumers: Sequence[tuple[Consume, int]]) -> int:
    """Read a stream to its end and hand every buffer to every consumer.

    Args:
        fill: reads; runs on the calling thread. Only the last buffer may be short.
        consumers: each with the number of threads that share its work; with one thread it sees the
            buffers in order.
    Returns:
        The bytes read.
    Raises:
        whatever `fill` or a consumer raised first.
    """
    ring = _Ring()
    queues: list[SimpleQueue[tuple[int, int, int] | None]] = [SimpleQueue() for _ in consumers]
    threads = [
        threading.Thread(target=_consume, args=(ring, queue, consume), daemon=True)
        for queue, (consume, count) in zip(queues, consumers, strict=True)
        for _ in range(count)
    ]
    for thread in threads:
        thread.start()
    offset = 0
    try:
        while not ring.errors:
            index = ring.free.get()
            length = fill(ring.views[index])
            if length:
                ring.share(index, len(consumers))
                for queue in queues:
                    queue.put((index, length, offset))
                offset += length
            if length < BUFFER_SIZE:
                break
    finally:
        for queue, (_, count) in zip(queues, consumers, strict=True):
            for _ in range(count):
                queue.put(None)
        for thread in threads:
            thread.join()
        ring.close()
    if ring.errors:
        raise ring.errors[0]
    return offset


def _consume(ring: _Ring, queue: SimpleQueue[tuple[int, int, int] | None], consume: Consume) -> None:
    while (item := queue.get()) is not None:
        index, length, offset = item
        try:
            # After a failure the buffers only go back, so that the reader never waits for one in vain.
            if not ring.errors:
                with ring.views[index][:length] as view:
                    consume(view, offset)
        except BaseException as error:  # noqa: BLE001 - carried to the calling thread, which raises it
            ring.errors.append(error)
        finally:
            ring.release(index)
