"""A connection to SQLite: how it is opened and set up, a transaction on it, a query on it."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

import apsw

from artifactstore import schema
from artifactstore.errors import BackendError
from artifactstore.medium import is_sealed
from artifactstore.sqlite_errors import Translating, may_be_written

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    Row = tuple[Any, ...]

Connection = apsw.Connection

FLAGS = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_NOFOLLOW
_SEALED_FLAGS = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_NOFOLLOW | apsw.SQLITE_OPEN_URI


def connect(path: str, busy_timeout: float, **further: object) -> Connection:
    """A new connection, set up; closed again if that fails.

    Args:
        path: the database file, which exists.
        busy_timeout: seconds to wait for another writer.
        further: pragmas and their values.
    """
    with Translating(path):
        connection = Connection(*_name_and_flags(path))
    # The errors of the set-up are told by what the connection knows, so it is closed after that.
    with _closed_on_error(connection), Translating(path, connection):
        if connection.readonly("main") and may_be_written(path):
            # SQLite makes do with reading when the system has refused writing for a moment.
            raise BackendError(f"cannot open {path} for writing", hint="try again", retryable=True)
        _configure(connection, busy_timeout)
        for name, value in further.items():
            connection.pragma(name, value)
    return connection


def _name_and_flags(path: str) -> tuple[str, int]:
    """How SQLite opens the file: on a sealed medium without locks and without files beside it."""
    beside = any(os.path.lexists(f"{path}{suffix}") for suffix in ("-wal", "-shm", "-journal"))
    if beside or not is_sealed(os.path.dirname(path)):
        return path, FLAGS
    from urllib.parse import quote

    return f"file:{quote(path)}?immutable=1", _SEALED_FLAGS


def _configure(connection: Connection, busy_timeout: float) -> None:
    connection.set_busy_timeout(int(busy_timeout * 1000))
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


@contextlib.contextmanager
def _closed_on_error(connection: Connection) -> Iterator[None]:
    """Close a connection that cannot be used at once, and not when its error is forgotten."""
    try:
        yield
    except BaseException:
        connection.close()
        raise


def is_reusable(connection: Connection) -> bool:
    """Whether the next one who uses a connection will see the newest state.

    A cursor that is not at its end, because an error is kept that holds it, keeps the state that it began
    with. And what has seen a medium sealed does not notice that it is writable again.
    """
    sealed = connection.open_flags & apsw.SQLITE_OPEN_URI
    return not sealed and connection.txn_state("main") == apsw.SQLITE_TXN_NONE


@contextlib.contextmanager
def transaction(connection: Connection) -> Iterator[Connection]:
    """Commit when the block ends, undo when it raises.

    The connection's own context undoes in any case, which is an error of its own where the disk's error has
    ended the transaction already, and hides that one.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def fetch(connection: Connection, sql: str, values: Sequence[object] = ()) -> list[Row]:
    """All rows of a query."""
    return connection.execute(sql, tuple(values)).fetchall()


def fetch_one(connection: Connection, sql: str, values: Sequence[object] = ()) -> Row | None:
    """The first row of a query, or None."""
    return connection.execute(sql, tuple(values)).fetchone()


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
