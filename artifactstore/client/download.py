"""Bytes that come from a server: resumed where they broke off, small ones fetched ahead."""

from __future__ import annotations

import io
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, cast

from artifactstore.client.connection import Request
from artifactstore.client.failures import is_unreachable
from artifactstore.digest import Digest
from artifactstore.errors import BackendError, IntegrityError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from concurrent.futures import Future
    from types import TracebackType

    from _typeshed import WriteableBuffer

    from artifactstore.client.transport import Answer, Transport

    Wanted = tuple[bytes, int]  # blake3, size

_RANGE = re.compile(r"bytes ([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19})")
_ETAG = re.compile('"blake3:([0-9a-f]{64})"')
_SMALL = 1 << 20  # bytes; what is larger is not fetched ahead
_AHEAD = 64  # objects
_AHEAD_SIZE = 16 << 20  # bytes


class Download(io.RawIOBase):
    """A seekable binary stream over the content of a file behind the API; what is first is asked for at once.

    Whoever reads it compares the digest; here only size and entity tag are.

    Args:
        target: where the content is.
        expected: digest and size that it must have; those that the first answer names if not given.
        tries: how often it is asked for again without any progress.
    Raises:
        ArtifactStoreError: as the server refuses.
        IntegrityError: it has another size or is another entity.
    """

    def __init__(
        self, transport: Transport, target: str, expected: tuple[Digest, int] | None = None, *, tries: int
    ) -> None:
        self._transport = transport
        self._target = target
        self._tries = tries
        self._position = 0
        self._answer: Answer | None = None
        answer = self._send({})
        try:
            self.digest, self.size = expected or self._named(answer)
            self._check(answer)
        except BaseException:
            answer.close()
            raise
        self._answer = answer

    def readable(self) -> bool:
        """Always true."""
        return True

    def seekable(self) -> bool:
        """Always true."""
        return True

    def tell(self) -> int:
        """The position, in bytes."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Move to a position, in bytes."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}[whence]
        if base + offset < 0:
            raise ValueError(f"the position {base + offset} lies before the start")
        if base + offset != self._position:
            self._drop()
            self._position = base + offset
        return self._position

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Read what is there; 0 at the end.

        Raises:
            BackendError: it broke off, and cannot be resumed.
        """
        if self._position >= self.size:
            return 0
        left = self._tries
        while True:
            try:
                if self._answer is None:
                    self._answer = self._ask()
                count = self._answer.readinto(buffer)
            except BackendError as error:
                self._drop()
                left -= 1
                if not is_unreachable(error) or left <= 0:
                    raise
            else:
                self._position += count
                if self._position >= self.size:
                    self._finish(self._answer)
                return count

    def close(self) -> None:
        """Give the connection back."""
        self._drop()
        super().close()

    def _ask(self) -> Answer:
        part = {"Range": f"bytes={self._position}-", "If-Range": f'"{self.digest}"'} if self._position else {}
        answer = self._send(part)
        try:
            self._check(answer)
        except BaseException:
            answer.close()
            raise
        return answer

    def _send(self, fields: dict[str, str]) -> Answer:
        return self._transport.ask(Request("GET", self._target, {"Accept": "*/*", **fields}))

    def _named(self, answer: Answer) -> tuple[Digest, int]:
        """Digest and size as the server names them."""
        etag = _ETAG.fullmatch(answer.headers.get("ETag", ""))
        if etag is None or answer.length is None:
            raise self._transport.foreign("it does not name the digest and the size of a file")
        return Digest("blake3", bytes.fromhex(etag[1])), answer.length

    def _check(self, answer: Answer) -> None:
        address = self._transport.address
        if answer.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise self._transport.foreign("the content is encoded")
        if answer.headers.get("ETag") != f'"{self.digest}"':
            raise IntegrityError(f"the server at {address} has other bytes than {self.digest}")
        if answer.status != (206 if self._position else 200):
            raise self._transport.foreign(f"status {answer.status} to a request for a part")
        if answer.status == 206:
            said = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
            wanted = (self._position, self.size - 1, self.size)
            if said is None or tuple(map(int, said.groups())) != wanted:
                raise self._transport.foreign("it is another part than the one asked for")
        if answer.length is not None and answer.length != self.size - self._position:
            raise IntegrityError(
                f"the server at {address} has {answer.length + self._position} bytes where {self.size} are"
                " recorded"
            )

    def _finish(self, answer: Answer) -> None:
        """Read the end of a chunked answer too, so that its connection can be kept."""
        if answer.length is None and answer.read(1):
            raise IntegrityError(f"more bytes come than the {self.size} that are recorded")
        self._drop()

    def _drop(self) -> None:
        if self._answer is not None:
            self._answer.close()
            self._answer = None


class Ahead:
    """Opens objects roughly in a known order; the small ones that come next are fetched meanwhile.

    A context manager. Safe to share between threads. The bytes are not checked here.

    Args:
        open_stored: opens one object, by blake3 and size.
        wanted: what will be opened, each object once.
        threads: how many fetch at once.
        give_up: ends what these threads wait for, when the caller is interrupted.
    """

    def __init__(
        self,
        open_stored: Callable[[bytes, int], io.RawIOBase],
        wanted: Iterable[Wanted],
        threads: int,
        give_up: Callable[[], object],
    ) -> None:
        self._open_stored = open_stored
        self._wanted = iter(wanted)
        self._give_up = give_up
        self._lock = threading.Lock()
        self._coming: dict[Wanted, Future[bytes]] = {}
        self._size = 0
        self._opened: set[Wanted] = set()
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="artifactstore-fetch")

    def __enter__(self) -> Ahead:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        if error is not None and not isinstance(error, Exception):
            self._give_up()
        self._threads.shutdown()

    def open(self, blake3: bytes, size: int) -> io.RawIOBase:
        """A binary stream over an object."""
        with self._lock:
            self._fetch_more()
            fetched = self._coming.pop((blake3, size), None)
            self._opened.add((blake3, size))
            self._size -= 0 if fetched is None else size
        if fetched is None:
            return self._open_stored(blake3, size)
        return cast("io.RawIOBase", io.BytesIO(fetched.result()))

    def _fetch_more(self) -> None:
        while len(self._coming) < _AHEAD and self._size < _AHEAD_SIZE:
            wanted = next(self._wanted, None)
            if wanted is None:
                return
            if wanted[1] <= _SMALL and wanted not in self._opened:
                self._size += wanted[1]
                self._coming[wanted] = self._threads.submit(self._fetch, *wanted)

    def _fetch(self, blake3: bytes, size: int) -> bytes:
        with self._open_stored(blake3, size) as raw:
            return _read_all(raw, size)


def _read_all(raw: io.RawIOBase, size: int) -> bytes:
    data = bytearray(size)
    with memoryview(data) as view:
        length = 0
        while length < size and (count := raw.readinto(view[length:])):
            length += count
    return bytes(data[:length])
