"""Worker processes: the other cores for work on many small files.

Two threads that make short system calls spend more time handing Python's interpreter lock to each other than
they gain; processes do not. A worker only ever helps: what it cannot do, because it found an error, has died
or could not be started, the caller does itself, and so meets the error itself.
"""

from __future__ import annotations

import contextlib
import fcntl
import marshal
import os
import sys
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterable, Iterator, Sized
    from concurrent.futures import Future

ItemT = TypeVar("ItemT", bound="Sized")  # some files; its length says how many
ResultT = TypeVar("ResultT")

_ALONE = 400  # files done before a worker is worth its start
_MOST = 3
_WAITING = 4  # items that a worker has at once
_AHEAD = 16  # items whose results may wait for an earlier one
NETWORK_THREADS = 16  # for work that waits for a network
_PIPE = 1 << 20  # bytes; what an unprivileged process may ask for
_HEAD = 8  # bytes in front of a message: its length
_PROGRAM = "import sys; sys.path[:] = sys.argv[1:]; from artifactstore.workers import main; main()"


@dataclass(frozen=True, slots=True)
class Job(Generic[ItemT, ResultT]):
    """Work that processes can share.

    Args:
        here: does one item in this process.
        request: turns an item into plain values for a worker.
        receive: turns the item and the answer of a worker into a result.
        function: `module:name` of a function that is called once in each worker with `arguments`, and
            returns what answers requests there; empty if there can be no workers.
        arguments: plain values.
        descriptors: open files that a worker needs, by the same numbers as here.
        again: does an item that a worker has not done, and perhaps begun; `here` if not given.
        threads: so many share the items in this process, because `here` waits for a network; 0 for none.
    """

    here: Callable[[ItemT], ResultT]
    request: Callable[[ItemT], Any]
    receive: Callable[[ItemT, Any], ResultT]
    function: str
    arguments: tuple[Any, ...]
    descriptors: tuple[int, ...] = ()
    again: Callable[[ItemT], ResultT] | None = None
    threads: int = 0


class Workers(Generic[ItemT, ResultT]):
    """The processes that share a job; a context manager, and they end with it."""

    def __init__(self, job: Job[ItemT, ResultT]) -> None:
        self._job = job
        self._workers: list[_Worker[ItemT, ResultT]] | None = None
        self._count = 0
        self._started = contextlib.ExitStack()

    def __enter__(self) -> Workers[ItemT, ResultT]:
        return self

    def __exit__(self, *error: object) -> None:
        self._started.close()

    def spread(self, items: Iterable[ItemT]) -> Iterator[tuple[ItemT, ResultT]]:
        """Do all items, on several cores once there are many, and give the results in order.

        Raises:
            what `Job.here` raises.
        """
        if self._job.threads:
            yield from self._in_threads(items)
            return
        waiting: deque[_Slot[ItemT, ResultT]] = deque()
        for item in items:
            slot: _Slot[ItemT, ResultT] = _Slot(item)
            waiting.append(slot)
            # Nothing to do is not worth asking for.
            if not len(item) or not any(worker.take(slot) for worker in self._running(item)):
                slot.result = self._job.here(item)
                slot.done = True
            while waiting and (waiting[0].done or len(waiting) > _AHEAD):
                yield self._finish(waiting.popleft())
        while waiting:
            yield self._finish(waiting.popleft())

    def _in_threads(self, items: Iterable[ItemT]) -> Iterator[tuple[ItemT, ResultT]]:
        from concurrent.futures import ThreadPoolExecutor

        waiting: deque[tuple[ItemT, Future[ResultT]]] = deque()
        with ThreadPoolExecutor(self._job.threads, thread_name_prefix="artifactstore-worker") as pool:
            try:
                for item in items:
                    waiting.append((item, pool.submit(self._job.here, item)))
                    if len(waiting) > self._job.threads:
                        first, future = waiting.popleft()
                        yield first, future.result()
                while waiting:
                    first, future = waiting.popleft()
                    yield first, future.result()
            finally:
                # After a failure what has not begun is not begun; what has is waited for.
                for _, future in waiting:
                    future.cancel()

    def _running(self, item: ItemT) -> list[_Worker[ItemT, ResultT]]:
        """The workers, which start when it is clear that there is enough to do."""
        if self._workers is None:
            if self._count < _ALONE or not self._job.function:
                self._count += len(item)
                return []
            self._workers = [self._started.enter_context(_Worker(self._job)) for _ in range(_helpers())]
        return self._workers

    def _finish(self, slot: _Slot[ItemT, ResultT]) -> tuple[ItemT, ResultT]:
        while not slot.done and slot.worker is not None:
            slot.worker.receive()
        if not slot.done:
            slot.result = (self._job.again or self._job.here)(slot.item)
        return slot.item, slot.result  # type: ignore[return-value]  # it is there once the slot is done


def _helpers() -> int:
    """How many workers there are cores for."""
    # Where Python runs inside another program, that is what would be started.
    if not os.path.basename(sys.executable or "").startswith(("python", "pypy")):
        return 0
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    return min(cores - 1, _MOST)


class _Slot(Generic[ItemT, ResultT]):
    """One item on its way to a result."""

    def __init__(self, item: ItemT) -> None:
        self.item = item
        self.done = False
        self.result: ResultT | None = None
        self.worker: _Worker[ItemT, ResultT] | None = None


class _Worker(Generic[ItemT, ResultT]):
    """One process and the items that it has."""

    def __init__(self, job: Job[ItemT, ResultT]) -> None:
        self._job = job
        self._slots: deque[_Slot[ItemT, ResultT]] = deque()
        self._sizes: deque[int] = deque()  # bytes of their requests
        self._room = 1
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> _Worker[ItemT, ResultT]:
        import subprocess

        try:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _PROGRAM, *sys.path],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                pass_fds=self._job.descriptors,
                bufsize=0,
            )
        except OSError:
            return self
        self._process = process
        assert process.stdin is not None and process.stdout is not None  # noqa: S101, PT018 - for the types
        self._requests, self._answers = process.stdin.fileno(), process.stdout.fileno()
        with contextlib.suppress(AttributeError, OSError):  # there, but not on every system
            fcntl.fcntl(self._requests, fcntl.F_SETPIPE_SZ, _PIPE)
            self._room = _WAITING
        if not self._send(marshal.dumps((self._job.function, self._job.arguments))):
            self._give_up()
        return self

    def __exit__(self, *_error: object) -> None:
        if self._process is not None:
            # Whatever it is doing must have ended before the caller cleans up after it.
            self._process.kill()
            self._process.communicate()
            self._process = None

    def take(self, slot: _Slot[ItemT, ResultT]) -> bool:
        """Hand an item over, if there is room."""
        while self._slots and self._is_ready():
            self.receive()
        if self._process is None or len(self._slots) >= self._room:
            return False
        message = marshal.dumps(self._job.request(slot.item))
        # What waits in the pipe must fit into it: a worker that writes an answer reads nothing meanwhile.
        if self._slots and sum(self._sizes) + len(message) > _PIPE // 2:
            return False
        if not self._send(message):
            return False
        slot.worker = self
        self._slots.append(slot)
        self._sizes.append(len(message))
        return True

    def receive(self) -> None:
        """Wait for the oldest item."""
        try:
            answer = _read(self._answers)
        except (OSError, EOFError, ValueError):
            self._give_up()
            return
        slot = self._slots.popleft()
        self._sizes.popleft()
        slot.worker = None
        if answer is not None:
            slot.result = self._job.receive(slot.item, answer)
            slot.done = True

    def _is_ready(self) -> bool:
        import select

        poll = select.poll()
        poll.register(self._answers, select.POLLIN)
        return bool(poll.poll(0))

    def _send(self, message: bytes) -> bool:
        try:
            _write(self._requests, message)
        except OSError:
            self._give_up()
            return False
        return True

    def _give_up(self) -> None:
        """The process is dead: what it had is done here."""
        for slot in self._slots:
            slot.worker = None
        self._slots.clear()
        self.__exit__()


def _write(descriptor: int, message: bytes) -> None:
    rest = memoryview(len(message).to_bytes(_HEAD, "big") + message)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _read(descriptor: int) -> Any:
    length = int.from_bytes(_read_exactly(descriptor, _HEAD), "big")
    return marshal.loads(_read_exactly(descriptor, length))  # noqa: S302 - our own process at our own pipe


def _read_exactly(descriptor: int, length: int) -> bytes:
    parts = []
    while length:
        part = os.read(descriptor, min(length, _PIPE))
        if not part:
            raise EOFError
        parts.append(part)
        length -= len(part)
    return b"".join(parts)


def main() -> None:
    """What a worker process runs: answer requests until there are no more."""
    import importlib
    import signal

    # A stop concerns the caller, who ends this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(EOFError, OSError):
        function, arguments = _read(0)
        module, _, name = function.partition(":")
        answer = getattr(importlib.import_module(module), name)(*arguments)
        while True:
            request = _read(0)
            try:
                message = marshal.dumps(answer(request))
            except Exception:  # noqa: BLE001 - the caller does it again and reports what is wrong
                message = marshal.dumps(None)
            _write(1, message)
    # Nothing here needs the interpreter's own end.
    os._exit(0)
