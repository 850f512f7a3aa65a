"""SQLite through apsw: how a store's database is opened, read and written.

This module is the only one that touches the database file. Nothing else in the process may open it, its
`-wal` or its `-shm`, not even to copy them: closing any descriptor of those files drops SQLite's locks.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import threading
import time
from typing import TYPE_CHECKING

import apsw

from artifactstore import forks, schema
from artifactstore.errors import (
    AccessError,
    ArtifactStoreError,
    BackendError,
    BusyError,
    IntegrityError,
    StateError,
    StoreNotFoundError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    Row = tuple[Any, ...]

Connection = apsw.Connection

BUSY_TIMEOUT = 30.0  # seconds a writer waits for the others
PARTIAL = ".partial"  # ends the name of a backup that is not finished
_OLDEST_SQLITE = (3, 51, 3)  # before it, two checkpoints racing with a commit may lose the commit
_FLAGS = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_NOFOLLOW


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
        self._write_lock = threading.Lock()
        self._pool = threading.Condition()
        self._reading = 0  # connections at work beside the writer's
        self._readers: list[Connection] = []
        self._writer: Connection | None = None
        self._lock_descriptor: int | None = None

    def _refuse_closed(self) -> None:
        if self._closed:
            raise StateError("the store is closed", hint="open it again", code="closed")

    def before_fork(self) -> None:
        """Close every connection; see `forks`. Waits for those at work, at most as long as a writer."""
        self._rests = self._write_lock.acquire(timeout=self._busy_timeout)
        self._pool.acquire()
        self._pool.wait_for(lambda: self._reading == 0, timeout=self._busy_timeout)
        self._close_connections(writer=self._rests)

    def after_fork(self, *, in_child: bool) -> None:
        """Go on; the child with nothing of its parent's, of which it must not even close a connection."""
        if in_child:
            if self._lock_descriptor is not None:
                os.close(self._lock_descriptor)
            self._inherited = self._writer
            self._begin()
            return
        self._pool.release()
        if self._rests:
            self._write_lock.release()

    # Opening

    def exists(self) -> bool:
        """Whether anything is at the path; a file that a crash left before its first commit is nothing."""
        try:
            if os.stat(self.path).st_size == 0:
                return False
        except FileNotFoundError:
            return False
        except OSError as error:
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
            with self._writers_turn():
                connection = self._connect()
                try:
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
                finally:
                    connection.close()
            _sync_folder(os.path.dirname(self.path))
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

    def _connect(self) -> Connection:
        connection = Connection(self.path, flags=_FLAGS)
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
        return connection

    # Reading

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection that sees one unchanging state of the store until the block ends."""
        with _translated(self.path), self._at_work():
            self._refuse_closed()
            try:
                connection = self._readers.pop()
            except IndexError:
                connection = self._connect()
                connection.pragma("query_only", True)
            try:
                connection.execute("BEGIN DEFERRED")
                yield connection
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                if self._closed:
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

    @contextlib.contextmanager
    def write(self) -> Iterator[Connection]:
        """The one write transaction: committed and durable when the block ends, undone when it raises.

        Raises:
            BusyError: another writer held the store for longer than the timeout.
        """
        with _translated(self.path), self._writers_turn():
            if self._writer is None:
                writer = self._connect()
                # A restored backup comes with a rollback journal, under which FULL can lose a commit.
                writer.pragma("journal_mode", "wal")
                self._writer = writer
            with self._writer:
                yield self._writer

    @contextlib.contextmanager
    def _writers_turn(self) -> Iterator[None]:
        self._refuse_closed()
        deadline = time.monotonic() + self._busy_timeout
        if not self._write_lock.acquire(timeout=self._busy_timeout):
            raise _busy(self.path, self._busy_timeout)
        try:
            if self._lock_descriptor is None:
                self._lock_descriptor = os.open(
                    f"{self.path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
                )
            descriptor = self._lock_descriptor
            self._wait_for_lock_file(descriptor, deadline)
            try:
                yield
            finally:
                fcntl.flock(descriptor, fcntl.LOCK_UN)
        finally:
            self._write_lock.release()

    def _wait_for_lock_file(self, descriptor: int, deadline: float) -> None:
        pause = 0.0005
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise _busy(self.path, self._busy_timeout) from None
                time.sleep(pause)
                pause = min(pause * 2, 0.01)
            else:
                return

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
            except BaseException:
                remove_partial(partial)
                raise
            _sync_folder(os.path.dirname(path))

    def _copy_to(self, path: str) -> None:
        source = self._connect()
        target = Connection(path, flags=_FLAGS)
        try:
            with target.backup("main", source, "main") as copy:
                while not copy.done:
                    copy.step(1000)
            # A rollback journal can be opened from a read-only medium, WAL cannot.
            target.pragma("journal_mode", "delete")
        finally:
            target.close()
            source.close()

    def close(self) -> None:
        """Close all connections; those still reading in other threads close when they are done."""
        self._closed = True
        with self._write_lock:
            self._close_connections(writer=True)
            if self._lock_descriptor is not None:
                os.close(self._lock_descriptor)
                self._lock_descriptor = None

    def _close_connections(self, *, writer: bool) -> None:
        while self._readers:
            self._readers.pop().close()
        if writer and self._writer is not None:
            self._writer.close()
            self._writer = None


def fetch(connection: Connection, sql: str, values: Sequence[object] = ()) -> list[Row]:
    """All rows of a query."""
    return connection.execute(sql, tuple(values)).fetchall()


def fetch_one(connection: Connection, sql: str, values: Sequence[object] = ()) -> Row | None:
    """The first row of a query, or None."""
    return connection.execute(sql, tuple(values)).fetchone()


def remove_partial(path: str) -> None:
    """Remove a backup that was not finished, with what SQLite left beside it."""
    for suffix in ("-journal", "-wal", "-shm", ""):
        with contextlib.suppress(FileNotFoundError):
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
    if os.path.isdir(path):
        return
    parent = os.path.dirname(path)
    _make_folder(parent)
    with contextlib.suppress(FileExistsError):
        os.mkdir(path, 0o700)
    _sync_folder(parent)


def _sync_folder(path: str) -> None:
    descriptor = os.open(path or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _busy(path: str, timeout: float) -> BusyError:
    return BusyError(f"another writer has held {path} for more than {timeout:g} s", hint="try again later")


def _not_a_store(path: str, reason: str) -> StateError:
    return StateError(
        f"{path} is not an artifactstore database: {reason}", hint="choose another path", code="not-a-store"
    )


@contextlib.contextmanager
def _translated(path: str) -> Iterator[None]:
    """Turn SQLite's and the operating system's errors into ours, with the file's name."""
    try:
        yield
    except ArtifactStoreError:
        raise
    except apsw.BusyError as error:
        message = f"another program has held {path} for longer than the timeout"
        raise BusyError(message, hint="try again later") from error
    except apsw.FullError as error:
        raise BackendError(f"no space left for {path}", code="disk-full", retryable=True) from error
    except (apsw.ReadOnlyError, apsw.PermissionsError, apsw.AuthError) as error:
        raise AccessError(f"cannot write {path}: {error}", hint="check its permissions and mount") from error
    except apsw.CantOpenError as error:
        message = f"cannot open {path}: {error}"
        raise AccessError(message, hint="check the path, its permissions and that it is no link") from error
    except (apsw.NotADBError, apsw.CorruptError) as error:
        raise IntegrityError(f"{path} is damaged or not SQLite: {error}", code="database-damaged") from error
    except apsw.IOError as error:
        raise BackendError(f"reading or writing {path} failed: {error}", retryable=True) from error
    except apsw.ConstraintError as error:
        raise IntegrityError(f"what the log of {path} says contradicts itself: {error}") from error
    except PermissionError as error:
        raise AccessError(f"no permission for {error.filename or path}") from error
    except OSError as error:
        if error.errno == errno.EROFS:
            raise AccessError(f"{path} is on a read-only file system", hint="remount it writable") from error
        full = error.errno in {errno.ENOSPC, errno.EDQUOT}
        raise BackendError(
            f"reading or writing {error.filename or path} failed: {error.strerror}",
            code="disk-full" if full else None,
            retryable=True,
        ) from error
