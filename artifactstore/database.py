"""SQLite through apsw: how a store's database is opened, read and written.

This module is the only one that touches the database file. Nothing else in the process may open it, its
`-wal` or its `-shm`, not even to copy them: closing any descriptor of those files drops SQLite's locks.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from typing import TYPE_CHECKING

import apsw

from artifactstore import forks, schema
from artifactstore.errors import (
    AccessError,
    ArtifactStoreError,
    BackendError,
    IntegrityError,
    StateError,
    StoreNotFoundError,
)
from artifactstore.medium import is_sealed
from artifactstore.os_errors import release, translation
from artifactstore.sqlite_errors import may_be_written, refusal_of_sqlite
from artifactstore.turns import Turn, WritersTurns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from types import TracebackType
    from typing import Any

    Row = tuple[Any, ...]

Connection = apsw.Connection

BUSY_TIMEOUT = 30.0  # seconds a writer waits for the others
PARTIAL = ".partial"  # ends the name of a backup that is not finished
_OLDEST_SQLITE = (3, 51, 3)  # before it, two checkpoints racing with a commit may lose the commit
_FLAGS = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_NOFOLLOW
_SEALED_FLAGS = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_NOFOLLOW | apsw.SQLITE_OPEN_URI


class Database:
    """A pool of readers and one writer on a store's database.

    Safe to share between threads. After a fork the child opens connections of its own. Writers of all
    threads and processes queue on an in-process lock and a lock file, then on `BEGIN IMMEDIATE`: SQLite's
    own busy handler alone is unfair under load, and its POSIX locks can be dropped by a careless neighbour.

    Args:
        path: the database file.
        busy_timeout: seconds that a writer waits for other writers.
    """

    def __init__(self, path: str, *, busy_timeout: float = BUSY_TIMEOUT) -> None:
        if tuple(int(part) for part in apsw.sqlite_lib_version().split(".")) < _OLDEST_SQLITE:
            message = f"SQLite {apsw.sqlite_lib_version()} can lose commits"
            raise StateError(message, hint="upgrade apsw to 3.51.3 or newer")
        # NOFOLLOW refuses a link in any part of the path: resolve the folder, keep the file itself strict.
        folder, name = os.path.split(os.path.abspath(path))
        self.path = os.path.join(os.path.realpath(folder), name)
        self._busy_timeout = busy_timeout
        self._closed = False
        self._begin()
        forks.watch(self)

    def _begin(self) -> None:
        self._turns = WritersTurns(self.path, self._busy_timeout)
        self._pool = threading.Condition()
        self._reading = 0  # connections at work beside the writer's
        self._readers: list[Connection] = []
        self._writer: Connection | None = None

    def _refuse_closed(self) -> None:
        if self._closed:
            raise StateError("the store is closed", hint="open it again", code="closed")

    def before_fork(self) -> None:
        """Close every connection; see `forks`. Waits for those at work, at most as long as a writer."""
        self._rests = self._turns.pause(self)
        self._pool.acquire()
        self._pool.wait_for(lambda: self._reading == 0, timeout=self._busy_timeout)
        self._close_connections(writer=self._rests)

    def after_fork(self, *, in_child: bool) -> None:
        """Go on; the child with nothing of its parent's, of which it must not even close a connection."""
        if in_child:
            self._turns.close()
            self._inherited = self._writer
            self._begin()
            return
        self._pool.release()
        self._turns.give(self)

    # Opening

    def exists(self) -> bool:
        """Whether anything is at the path; a file that a crash left before its first commit is nothing."""
        try:
            if os.stat(self.path).st_size == 0:
                return False
        except FileNotFoundError:
            return False
        except OSError as error:
            if error.errno == errno.EIO:
                raise translation(error, f"the database {self.path}") from error
            message = f"cannot look at the database {self.path}: {error.strerror}"
            raise AccessError(message) from error
        with self.read() as connection:
            return bool(
                connection.pragma("application_id")
                or connection.pragma("user_version")
                or connection.execute("SELECT count(*) FROM sqlite_schema").get
            )

    def create(self, fill: Callable[[Connection], None]) -> bool:
        """Make the schema and its first rows, all in one transaction, unless they are there.

        Args:
            fill: writes the first events; called in the transaction.
        Returns:
            True if this call made the store, False if another one had.
        """
        with _translated(self.path):
            _make_folder(os.path.dirname(self.path))
            with contextlib.suppress(FileExistsError):
                # SQLite would make it readable for all; -wal and -shm take its mode.
                os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
            with (
                Turn(self._turns),
                contextlib.closing(self._connect()) as connection,
                _translated(self.path, connection),
            ):
                if not self._fill(connection, fill):
                    return False
            _sync_folder(os.path.dirname(self.path))
        return True

    def _fill(self, connection: Connection, fill: Callable[[Connection], None]) -> bool:
        if connection.pragma("user_version") or connection.pragma("application_id"):
            return False
        if connection.execute("SELECT count(*) FROM sqlite_schema").get:
            raise _not_a_store(self.path, "it holds another application's tables")
        connection.pragma("journal_mode", "wal")
        with connection:
            for statement in (
                *schema.EVENT_STATEMENTS,
                *schema.VIEW_STATEMENTS,
                *schema.INDEX_STATEMENTS,
            ):
                connection.execute(schema.statement_text(statement))
            connection.pragma("application_id", schema.APPLICATION_ID)
            connection.pragma("user_version", schema.SCHEMA_VERSION)
            fill(connection)
        return True

    def check(self, *, views: bool = True) -> int:
        """Refuse a file that is not a store of this version, before anything else reads it.

        Args:
            views: demand the views of this version too; false for those who are about to rebuild them.
        Returns:
            The schema version of the file.
        Raises:
            StoreNotFoundError: there is no file.
            StateError: it is another application's, newer, or older.
            IntegrityError: it is not SQLite, or its schema was tampered with.
        """
        if not self.exists():
            raise StoreNotFoundError(
                f"there is no store at {self.path}",
                hint="run `artifactstore init`, or push something: that makes the store too",
            )
        with self.read() as connection:
            application_id = connection.pragma("application_id")
            if application_id != schema.APPLICATION_ID:
                raise _not_a_store(self.path, f"its application id is {application_id}")
            version: int = connection.pragma("user_version")
            if version > schema.SCHEMA_VERSION:
                message = f"the store {self.path} has version {version}, newer than {schema.SCHEMA_VERSION}"
                raise StateError(message, hint="upgrade artifactstore", code="store-too-new")
            if views and version < schema.SCHEMA_VERSION:
                message = f"the store {self.path} has version {version}, {schema.SCHEMA_VERSION} is needed"
                raise StateError(message, hint="run `artifactstore migrate`", code="store-needs-migration")
            if not _log_is_whole(connection):
                message = f"the event log of {self.path} has lost its table or its triggers"
                raise IntegrityError(message, hint="restore a backup", code="schema-changed")
            if views and not views_are_whole(connection):
                message = f"the views of {self.path} are not those of a store"
                raise IntegrityError(message, hint="run `artifactstore replay`", code="schema-changed")
        return version

    def _name_and_flags(self) -> tuple[str, int]:
        """How SQLite opens the file: on a sealed medium without locks and without files beside it."""
        beside = any(os.path.lexists(f"{self.path}{suffix}") for suffix in ("-wal", "-shm", "-journal"))
        if beside or not is_sealed(os.path.dirname(self.path)):
            return self.path, _FLAGS
        from urllib.parse import quote

        return f"file:{quote(self.path)}?immutable=1", _SEALED_FLAGS

    def _connect(self, **further: object) -> Connection:
        """A new connection, set up; closed again if that fails."""
        with contextlib.ExitStack() as unless_whole, _translated(self.path) as translating:
            connection = translating.connection = Connection(*self._name_and_flags())
            # Whoever keeps the error must not keep the file open with it.
            unless_whole.callback(connection.close)
            if connection.readonly("main") and may_be_written(self.path):
                # SQLite makes do with reading when the system has refused writing for a moment.
                raise BackendError(f"cannot open {self.path} for writing", hint="try again", retryable=True)
            connection.set_busy_timeout(int(self._busy_timeout * 1000))
            connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
            connection.config(apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0)
            connection.config(apsw.SQLITE_DBCONFIG_DQS_DML, 0)
            connection.config(apsw.SQLITE_DBCONFIG_DQS_DDL, 0)
            connection.limit(apsw.SQLITE_LIMIT_ATTACHED, 0)
            connection.transaction_mode = "IMMEDIATE"
            # With WAL only FULL keeps every acknowledged commit over a power cut.
            connection.pragma("synchronous", "FULL")
            connection.pragma("foreign_keys", True)
            connection.pragma("recursive_triggers", True)
            connection.pragma("cell_size_check", True)
            connection.pragma("mmap_size", 0)
            connection.pragma("temp_store", "MEMORY")
            connection.pragma("journal_size_limit", 64 << 20)
            for name, value in further.items():
                connection.pragma(name, value)
            unless_whole.pop_all()
        return connection

    # Reading

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection that sees one unchanging state of the store until the block ends."""
        with _translated(self.path) as translating, self._at_work():
            self._refuse_closed()
            try:
                connection = self._readers.pop()
            except IndexError:
                connection = self._connect(query_only=True)
            translating.connection = connection
            try:
                connection.execute("BEGIN DEFERRED")
                yield connection
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                if self._closed or not _is_reusable(connection):
                    connection.close()
                else:
                    self._readers.append(connection)

    @contextlib.contextmanager
    def _at_work(self) -> Iterator[None]:
        with self._pool:
            self._reading += 1
        try:
            yield
        finally:
            with self._pool:
                self._reading -= 1
                self._pool.notify_all()

    # Writing

    def write(self) -> AbstractContextManager[Connection]:
        """The one write transaction: committed and durable when the block ends, undone when it raises.

        Raises:
            BusyError: another writer held the store for longer than the timeout.
        """
        self._refuse_closed()
        return _Write(self.path, self._turns, self._connected_writer)

    def _connected_writer(self) -> Connection:
        """The writer's connection."""
        if self._writer is not None and not _is_reusable(self._writer):
            self._writer.close()
            self._writer = None
        if self._writer is None:
            # A restored backup comes with a rollback journal, under which FULL can lose a commit.
            self._writer = self._connect(journal_mode="wal")
        return self._writer

    # Maintenance

    def inodes(self) -> Iterator[tuple[int, int]]:
        """Device and inode of the database's files, which nobody else in the process may open."""
        for suffix in ("", "-wal", "-shm", ".lock"):
            with contextlib.suppress(OSError):
                status = os.stat(f"{self.path}{suffix}")
                yield status.st_dev, status.st_ino

    def backup(self, path: str) -> None:
        """Copy the whole database with SQLite's own backup, durable on return; readers and writers go on.

        Args:
            path: a new file; it must not exist.
        Crash: leaves `<path>.partial`, never half a backup under its name.
        """
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
        partial = f"{path}{PARTIAL}"
        with _translated(self.path), self._at_work():
            try:
                os.close(os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
                self._copy_to(partial)
                os.rename(partial, path)
            finally:
                remove_partial(partial)
            _sync_folder(os.path.dirname(path))

    def _copy_to(self, path: str) -> None:
        source = self._connect()
        target = Connection(path, flags=_FLAGS)
        try:
            with target.backup("main", source, "main") as copy:
                while not copy.done:
                    copy.step(1000)
            # With a rollback journal the file stands alone: no write-ahead log belongs to it.
            if target.pragma("journal_mode", "delete") != "delete":
                raise BackendError(f"cannot finish the backup {path}", retryable=True)
        finally:
            target.close()
            source.close()

    def close(self) -> None:
        """Close all connections; those still reading in other threads close when they are done."""
        self._closed = True
        # Whoever still writes is waited for, but not for ever.
        self._turns.pause(self)
        try:
            self._close_connections(writer=True)
            self._turns.close()
        finally:
            self._turns.give(self)

    def _close_connections(self, *, writer: bool) -> None:
        while self._readers:
            self._readers.pop().close()
        if writer and self._writer is not None:
            self._writer.close()
            self._writer = None


class _Write:
    """See `Database.write`; not a generator for the same reason as `Turn`."""

    def __init__(self, path: str, turns: WritersTurns, connected: Callable[[], Connection]) -> None:
        self._translating = _translated(path)
        self._turns = turns
        self._connected = connected

    def __enter__(self) -> Connection:
        try:
            with self._translating:
                self._turns.take(self)
                connection = self._translating.connection = self._connected()
                connection.__enter__()
                return connection
        except BaseException as error:
            self._end(type(error), error, None)
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._translating:
            self._end(kind, error, traceback)
        self._translating.__exit__(kind, error, traceback)

    def _end(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Commit, or undo after an error, and let others write."""
        connection = self._translating.connection
        try:
            if connection is not None and connection.in_transaction:
                connection.__exit__(kind, error, traceback)
        finally:
            self._turns.give(self)


def _is_reusable(connection: Connection) -> bool:
    """Whether the next one who uses a connection will see the newest state.

    A cursor that is not at its end, because an error is kept that holds it, keeps the state that it began
    with. And what has seen a medium sealed does not notice that it is writable again.
    """
    sealed = connection.open_flags & apsw.SQLITE_OPEN_URI
    return not sealed and connection.txn_state("main") == apsw.SQLITE_TXN_NONE


def fetch(connection: Connection, sql: str, values: Sequence[object] = ()) -> list[Row]:
    """All rows of a query."""
    return connection.execute(sql, tuple(values)).fetchall()


def fetch_one(connection: Connection, sql: str, values: Sequence[object] = ()) -> Row | None:
    """The first row of a query, or None."""
    return connection.execute(sql, tuple(values)).fetchone()


def remove_partial(path: str) -> None:
    """Remove a backup that was not finished, with what SQLite left beside it."""
    for suffix in ("-journal", "-wal", "-shm", ""):
        with contextlib.suppress(OSError):
            os.unlink(f"{path}{suffix}")


def _statements(connection: Connection) -> set[str]:
    rows = connection.execute("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL")
    return {schema.statement_text(row[0]) for row in rows}


def _log_is_whole(connection: Connection) -> bool:
    return {schema.statement_text(text) for text in schema.EVENT_STATEMENTS} <= _statements(connection)


def views_are_whole(connection: Connection) -> bool:
    """Whether the tables, indexes and triggers are exactly those of a store: none missing, none surplus."""
    expected = (*schema.EVENT_STATEMENTS, *schema.VIEW_STATEMENTS, *schema.INDEX_STATEMENTS)
    return {schema.statement_text(text) for text in expected} == _statements(connection)


@contextlib.contextmanager
def scratch() -> Iterator[Connection]:
    """An empty database of its own for a trial replay; SQLite spills it to a temporary file if it grows."""
    connection = Connection("")
    connection.pragma("synchronous", "OFF")
    connection.pragma("journal_mode", "off")
    try:
        for statement in schema.VIEW_STATEMENTS:
            connection.execute(schema.statement_text(statement))
        yield connection
    finally:
        connection.close()


def _make_folder(path: str) -> None:
    """Make a folder and its parents, private, each name durable."""
    parent = os.path.dirname(path)
    if os.path.isdir(path):
        return
    if parent != path:
        _make_folder(parent)
    with contextlib.suppress(FileExistsError):
        os.mkdir(path, 0o700)
    _sync_folder(parent)


def _sync_folder(path: str) -> None:
    descriptor = os.open(path or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        release(descriptor)


def _not_a_store(path: str, reason: str) -> StateError:
    return StateError(
        f"{path} is not an artifactstore database: {reason}", hint="choose another path", code="not-a-store"
    )


class _translated:  # noqa: N801 - used like the functions of contextlib, and cheaper than one
    """Turn SQLite's and the operating system's errors into ours, with the file's name.

    Args:
        connection: the one at work, which knows what the system has said to SQLite; may come later.
    """

    __slots__ = ("_path", "connection")

    def __init__(self, path: str, connection: Connection | None = None) -> None:
        self._path = path
        self.connection = connection

    def __enter__(self) -> _translated:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if isinstance(error, ArtifactStoreError):
            return
        if isinstance(error, OSError):
            raise translation(error, f"the database {self._path}") from error
        if isinstance(error, apsw.Error):
            system_errno = 0
            with contextlib.suppress(apsw.ConnectionClosedError):
                system_errno = 0 if self.connection is None else self.connection.system_errno
            ours = refusal_of_sqlite(error, self._path, system_errno)
            if ours is not None:
                raise ours from error
