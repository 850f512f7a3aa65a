"""What the tests of the store share: a home for a store, deterministic time and ids, snapshots, refusals."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import itertools
import os
import stat
import sys
import threading
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import apsw
import pytest

from artifactstore import ArtifactStoreError, Store
from artifactstore.objects.local import MARKER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path
    from types import FrameType

    from artifactstore.codec import Value

START = 1_795_000_000_000_000  # microseconds: an instant in November 2026
LARGE = 4 << 20  # bytes; from here on content is streamed instead of held in memory


# What a caller says of a package.
SAID: dict[str, Any] = {
    "name": "nightly",
    "producer": "ci",
    "subject": "app",
    "retention_class": "raw-evidence",
    "actor": "ada",
}

TREE: dict[str, bytes] = {
    "README.md": b"# Evidence\n",
    "bin/run.sh": b"#!/bin/sh\nexit 0\n",
    "empty.log": b"",
    "logs/a.log": b"a line\n",
    "logs/b.log": b"a line\n",
    "logs-old/c.log": b"an old line\n",
    "r\u00e9sultats/donn\u00e9es.json": b"{}",
}
EXECUTABLE = "bin/run.sh"


def write_tree(root: Path, files: Mapping[str, bytes], *, executable: str | None = None) -> Path:
    """Write files below a root and return the root."""
    for path, data in files.items():
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    if executable is not None:
        (root / executable).chmod(0o755)
    return root


def read_tree(root: Path) -> dict[str, bytes]:
    """All files below a root by their relative path."""
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def incompressible(size: int, seed: int = 0) -> bytes:
    """Bytes of which no two blocks are alike, the same each time."""
    return hashlib.shake_128(seed.to_bytes(8, "big")).digest(size)


@dataclass
class FakeClock:
    """A clock that moves by one millisecond each time somebody looks."""

    now: int = START

    def __call__(self) -> int:
        self.now += 1000
        return self.now


@dataclass
class CountedIds:
    """UUIDv7 that differ in a counter alone, so that ids of one test share a long prefix."""

    counter: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def __call__(self) -> uuid.UUID:
        return uuid.UUID(int=(START // 1000 << 80) | (7 << 76) | (0b10 << 62) | next(self.counter))


@dataclass(frozen=True)
class Snapshot:
    """Everything that a store keeps: its events, its views, its schema and its objects.

    Two snapshots are equal if nothing changed in between.
    """

    tables: Mapping[str, tuple[tuple[object, ...], ...]]
    schema: tuple[tuple[object, ...], ...]
    version: int
    objects: Mapping[str, tuple[int, int, str]]
    neighbours: tuple[str, ...]

    @property
    def event_count(self) -> int:
        """Events in the log."""
        return len(self.tables.get("events", ()))


@dataclass(frozen=True)
class Home:
    """A directory for one store."""

    root: Path

    @property
    def database(self) -> Path:
        """The database file."""
        return self.root / "artifactstore.db"

    @property
    def objects(self) -> Path:
        """The object root."""
        return self.root / "storage"

    def open(
        self,
        *,
        clock: FakeClock | None = None,
        new_id: CountedIds | None = None,
        create: bool = True,
        busy_timeout: float = 30.0,
    ) -> Store:
        """Open the store, by default with the clock and the ids of the operating system."""
        # None is not handed on for the clock, so that the default of the call itself is used.
        chosen = {} if clock is None else {"clock": clock}
        return Store.open(
            self.database, self.objects, create=create, new_id=new_id, busy_timeout=busy_timeout, **chosen
        )

    def connect(self) -> apsw.Connection:
        """A connection beside the store's own; only apsw may touch the file in this process."""
        connection = apsw.Connection(str(self.database), flags=apsw.SQLITE_OPEN_READWRITE)
        connection.set_busy_timeout(30_000)
        return connection

    def tamper(self, *statements: str) -> None:
        """Change the database behind the store's back, with the triggers of the log out of the way."""
        with contextlib.closing(self.connect()) as connection, connection:
            for statement in statements:
                connection.execute(statement)

    def snapshot(self) -> Snapshot:
        """What the store keeps now."""
        with contextlib.closing(self.connect()) as connection, connection:
            connection.pragma("query_only", True)

            def rows(table: str) -> apsw.Cursor:
                return connection.execute(f'SELECT * FROM "{table}"')  # noqa: S608 - a name from the schema

            schema = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema").fetchall()
            tables = {
                str(name): tuple(sorted(rows(str(name)), key=repr))
                for kind, name, *_ in schema
                if kind == "table"
            }
            version = connection.pragma("user_version")
        own = {f"{self.database.name}{suffix}" for suffix in ("-wal", "-shm", ".lock")}
        neighbours = sorted(path.name for path in self.root.iterdir() if path.name not in own)
        return Snapshot(tables, tuple(schema), version, dict(self._object_files()), tuple(neighbours))

    def _object_files(self) -> Iterator[tuple[str, tuple[int, int, str]]]:
        for path in sorted(self.objects.rglob("*")) if self.objects.is_dir() else ():
            status = path.lstat()
            if stat.S_ISREG(status.st_mode):
                digest = hashlib.sha256(path.read_bytes()).hexdigest()
                yield str(path.relative_to(self.objects)), (status.st_size, status.st_mode, digest)

    def staged(self) -> list[str]:
        """What lies in the staging folder; nothing unless a call is at work or has crashed."""
        staging = self.objects / "tmp"
        return sorted(str(path.relative_to(staging)) for path in staging.rglob("*"))

    def object_paths(self) -> list[Path]:
        """The files of all objects, without the marker."""
        return sorted(path for path in (self.objects / "blake3").rglob("*") if path.is_file())

    @contextlib.contextmanager
    def unchanged(self) -> Iterator[None]:
        """Assert that the block changes nothing: no event, no row, no object, no staged file."""
        before = self.snapshot()
        yield
        after = self.snapshot()
        # The parts first: their difference is easier to read.
        assert sorted(after.objects) == sorted(before.objects)
        assert after.event_count == before.event_count
        assert after == before
        assert self.staged() == []

    def marker(self) -> Path:
        """The file that says whose objects these are."""
        return self.objects / MARKER


@contextlib.contextmanager
def refused(
    error: type[ArtifactStoreError], code: str, *mentions: str
) -> Iterator[pytest.ExceptionInfo[ArtifactStoreError]]:
    """Assert that the block raises exactly this error with this code, naming each of the values."""
    with pytest.raises(error) as caught:
        yield caught
    assert type(caught.value) is error
    assert caught.value.code == code
    for mention in mentions:
        assert mention in caught.value.message
    # One line without control characters, fit for a terminal and a log.
    assert caught.value.message.isprintable(), ascii(caught.value.message)


def assert_replay_identical(store: Store) -> None:
    """Assert that the views are what the events say."""
    assert store.replay(check=True).identical


def metadata_of_depth(depth: int) -> dict[str, Value]:
    """A document whose maps nest so deep; the document itself counts as 1."""
    document: dict[str, Value] = {"leaf": 1}
    for _ in range(depth - 1):
        document = {"d": document}
    return document


class _Capabilities(ctypes.Structure):
    """Two words each of the effective, permitted and inheritable set; see capset(2)."""

    _fields_ = [
        (f"{kind}_{word}", ctypes.c_uint32)
        for word in (0, 1)
        for kind in ("effective", "permitted", "inheritable")
    ]


_PAST_FILE_MODES = 0b1110  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER


@contextlib.contextmanager
def unprivileged() -> Iterator[None]:
    """Run the block, and the threads that it starts, without root's right to pass over file modes."""
    if os.geteuid() != 0:
        yield
        return
    if sys.platform != "linux":
        pytest.skip("root cannot give up its rights for a while here")
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3, this thread
    held = _Capabilities()
    assert libc.capget(header, ctypes.byref(held)) == 0
    fewer = _Capabilities.from_buffer_copy(held)
    fewer.effective_0 &= ~_PAST_FILE_MODES
    assert libc.capset(header, ctypes.byref(fewer)) == 0
    try:
        yield
    finally:
        assert libc.capset(header, ctypes.byref(held)) == 0


@contextlib.contextmanager
def just_before(
    function: Callable[..., object], act: Callable[[], object], *, times: int = 1
) -> Iterator[list[object]]:
    """Act right before a built-in function is called in the block, the first time or the first few times.

    Sees this thread and the ones that the block starts. The code under test runs as it is; only the moment of
    the act is chosen. The block fails if there was none. Its value is what is still to be done.
    """
    acts: list[Callable[[], object]] = [act] * times

    def observe(_frame: FrameType, event: str, called: object) -> None:
        if event == "c_call" and called == function:
            with contextlib.suppress(IndexError):
                acts.pop()()

    threading.setprofile(observe)
    sys.setprofile(observe)
    try:
        yield acts
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    assert len(acts) < times, f"{function.__name__} was never called"
