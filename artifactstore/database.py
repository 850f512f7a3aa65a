"""SQLite through apsw: how a store's database is made, read, written and copied.

Only this module touches the database file, with connections made by `connection`. Nothing else in the
process may open it, its `-wal` or its `-shm`, not even to copy them: closing any descriptor of those files
drops SQLite's locks.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import threading
from typing import TYPE_CHECKING

import apsw

from artifactstore import acknowledged, forks, schema
from artifactstore.connection import FLAGS, Connection, connect, is_reusable, transaction
from artifactstore.errors import AccessError, BackendError, IntegrityError, StateError, StoreNotFoundError
from artifactstore.group_commit import Write
from artifactstore.local_files import check_local_path, check_name_is_free, rename_new
from artifactstore.objects.durability import make_folders, sync_path
from artifactstore.os_errors import release, translation
from artifactstore.sqlite_errors import Translating
from artifactstore.turns import Turn, WritersTurns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

BUSY_TIMEOUT = 30.0  # seconds a writer waits for the others
PARTIAL = ".partial"  # ends the name of a backup that is not finished
_PAGES_AT_ONCE = 1000  # of a backup; between two steps it can be interrupted
_OLDEST_SQLITE = (3, 51, 3)  # before it, two checkpoints racing with a commit may lose the commit


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
        folder, name = os.path.split(os.path.abspath(check_local_path(path)))
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
        """Whether anything is at the path; a file that a crash left before its first commit is nothing.

        Raises:
            StateError: it is no file, or has a second name.
        """
        try:
            status = os.stat(self.path)
        except FileNotFoundError:
            return False
        except OSError as error:
            if error.errno == errno.EIO:
                raise translation(error, f"the database {self.path}") from error
            message = f"cannot look at the database {self.path}: {error.strerror}"
            raise AccessError(message) from error
        if not stat.S_ISREG(status.st_mode):
            kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a device, a FIFO or a socket"
            raise _not_a_store(self.path, f"it is {kind}")
        if status.st_nlink > 1:
            # SQLite names its log after the file: there would be two logs, each without the other's rows.
            message = f"the database {self.path} has {status.st_nlink} names (hard links)"
            raise StateError(message, hint="remove the others, or use a copy", code="database-linked")
        if status.st_size == 0:
            return False
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
        with Translating(self.path):
            make_folders(os.path.dirname(self.path))
            with contextlib.suppress(FileExistsError):
                # SQLite would make it readable for all; -wal and -shm take its mode.
                os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
            with (
                Turn(self._turns) as lock_file,
                contextlib.closing(connect(self.path, self._busy_timeout)) as connection,
                Translating(self.path, connection),
            ):
                if connection.pragma("user_version") or connection.pragma("application_id"):
                    return False
                if connection.execute("SELECT count(*) FROM sqlite_schema").get:
                    raise _not_a_store(self.path, "it holds another application's tables")
                connection.pragma("journal_mode", "wal")
                with transaction(connection):
                    for statement in (
                        *schema.EVENT_STATEMENTS,
                        *schema.VIEW_STATEMENTS,
                        *schema.INDEX_STATEMENTS,
                    ):
                        connection.execute(schema.statement_text(statement))
                    connection.pragma("application_id", schema.APPLICATION_ID)
                    connection.pragma("user_version", schema.SCHEMA_VERSION)
                    fill(connection)
                acknowledged.note(lock_file, acknowledged.newest(connection))
            sync_path(os.path.dirname(self.path), directory=True)
        return True

    def check(self, *, views: bool = True) -> int:
        """Refuse a file that is not a store of this version, before anything else reads it.

        Args:
            views: demand the views of this version too; false for those who are about to rebuild them.
        Returns:
            The schema version of the file.
        Raises:
            StoreNotFoundError: there is no file.
            StateError: it is another application's, newer, older, or has a second name.
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
            version = self._check_version(connection, views=views)
            if not schema.log_is_whole(connection):
                message = f"the event log of {self.path} has lost its table or its triggers"
                raise IntegrityError(message, hint="restore a backup", code="schema-changed")
            if views and not schema.views_are_whole(connection):
                message = f"the views of {self.path} are not those of a store"
                raise IntegrityError(message, hint="run `artifactstore replay`", code="schema-changed")
        return version

    def settle(self) -> None:
        """Make durable what a process may have left that died in its commit, before anybody relies on it.

        SQLite believes such a commit once it finds all of it in the WAL, and does not sync it.
        """
        with Translating(self.path), contextlib.suppress(FileNotFoundError):
            if os.stat(f"{self.path}-wal").st_size == 0:
                return
            connection = connect(self.path, self._busy_timeout)
            try:
                connection.pragma("user_version")  # a connection that has read nothing does no checkpoint
                # Busy: another process is at the same. The others cannot write now, and need not to read.
                with contextlib.suppress(apsw.BusyError, apsw.ReadOnlyError, apsw.FullError):
                    connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
            finally:
                connection.close()

    def _check_version(self, connection: Connection, *, views: bool) -> int:
        version: int = connection.pragma("user_version")
        if version > schema.SCHEMA_VERSION:
            message = f"the store {self.path} has version {version}, newer than {schema.SCHEMA_VERSION}"
            raise StateError(message, hint="upgrade artifactstore", code="store-too-new")
        if views and version < schema.SCHEMA_VERSION:
            message = f"the store {self.path} has version {version}, {schema.SCHEMA_VERSION} is needed"
            raise StateError(message, hint="run `artifactstore migrate`", code="store-needs-migration")
        return version

    # Reading

    def translated(self) -> AbstractContextManager[object]:
        """Turns what SQLite raises in the block into errors of ours, for those who go on after one."""
        return Translating(self.path)

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection that sees one unchanging state of the store until the block ends."""
        with Translating(self.path) as translating, self._at_work():
            self._refuse_closed()
            try:
                connection = self._readers.pop()
            except IndexError:
                connection = connect(self.path, self._busy_timeout, query_only=True)
            translating.connection = connection
            try:
                connection.execute("BEGIN DEFERRED")
                yield connection
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                if self._closed or not is_reusable(connection):
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

    def write(self, *, views: bool = True, shares: bool = False) -> AbstractContextManager[Connection]:
        """The one write transaction: committed and durable when the block ends, undone when it raises.

        Args:
            views: as in `check`.
            shares: it may be one transaction with such calls of other threads. Only for a short block that
                does nothing outside the database: what it sees may be undone yet.
        Raises:
            BusyError: another writer held the store for longer than the timeout.
            StateError: another program has migrated the store since it was opened.
            IntegrityError: the log has lost events that were acknowledged.
        """
        self._refuse_closed()
        return Write(
            self.path,
            self._turns,
            lambda translating, lock_file: self._begin_write(translating, lock_file, views=views),
            shares=shares,
        )

    def _begin_write(self, translating: Translating, lock_file: int, *, views: bool) -> Connection:
        if self._writer is not None and not is_reusable(self._writer):
            self._writer.close()
            self._writer = None
        if self._writer is None:
            # A restored backup comes with a rollback journal, under which FULL can lose a commit.
            self._writer = connect(self.path, self._busy_timeout, journal_mode="wal")
        connection = translating.connection = self._writer
        connection.execute("BEGIN IMMEDIATE")
        # This program would fill the views as its own version has them.
        self._check_version(connection, views=views)
        what = acknowledged.lost(connection, acknowledged.noted(lock_file))
        if what is not None:
            raise _shortened(self.path, what)
        return connection

    def last_acknowledged(self) -> acknowledged.Head | None:
        """The last event that a caller was told of; None if that is not known."""
        with contextlib.suppress(OSError):
            descriptor = os.open(f"{self.path}.lock", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                return acknowledged.noted(descriptor)
            finally:
                release(descriptor)
        return None

    # Maintenance

    def backup(self, path: str, *, examine: Callable[[str], None] | None = None) -> None:
        """Copy the whole database with SQLite's own backup, durable on return; readers and writers go on.

        Args:
            path: a new file in a real folder.
            examine: looks at the finished copy, at another path, before it gets its name; may refuse it.
        Raises:
            ConflictError: something has the name, perhaps only since the copy began.
        Crash: leaves `<path>.<random>.partial`, never half a backup under its name.
        """
        check_name_is_free(path)
        partial = f"{path}.{os.urandom(4).hex()}{PARTIAL}"
        with Translating(path), self._at_work():
            self._refuse_closed()
            try:
                os.close(os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
                self._copy_to(partial, path)
                if examine is not None:
                    examine(partial)
                rename_new(partial, path)
            finally:
                remove_partial(partial)
            try:
                sync_path(os.path.dirname(path), directory=True)
            except OSError:
                with contextlib.suppress(OSError):
                    os.unlink(path)  # nobody is told of it
                raise

    def _copy_to(self, partial: str, path: str) -> None:
        with (
            contextlib.closing(connect(self.path, self._busy_timeout)) as source,
            contextlib.closing(Connection(partial, flags=FLAGS)) as target,
            Translating(path, target),
        ):
            if target.readonly("main"):  # where the system refuses more, SQLite makes do with reading
                raise BackendError(f"the system opens {partial} for reading only", retryable=True)
            # One unchanging state: else each commit in between would make the copy begin anew.
            source.execute("BEGIN DEFERRED")
            source.pragma("user_version")
            with target.backup("main", source, "main") as copy:
                while not copy.done:
                    copy.step(_PAGES_AT_ONCE)
            # With a rollback journal the file stands alone: no write-ahead log belongs to it.
            if target.pragma("journal_mode", "delete") != "delete":
                raise BackendError(f"cannot finish the backup {path}", retryable=True)

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


def remove_partial(path: str) -> None:
    """Remove a backup that was not finished, with what SQLite left beside it."""
    for suffix in ("-journal", "-wal", "-shm", ""):
        with contextlib.suppress(OSError):
            os.unlink(f"{path}{suffix}")


def _shortened(path: str, what: str) -> IntegrityError:
    return IntegrityError(
        f"the log of {path} has lost events: {what}",
        hint=f"restore {path}-wal or a newer backup; to go on without them, close all programs that use the"
        f" store and remove {path}.lock",
        code="log-shortened",
    )


def _not_a_store(path: str, reason: str) -> StateError:
    return StateError(
        f"{path} is not an artifactstore database: {reason}", hint="choose another path", code="not-a-store"
    )
