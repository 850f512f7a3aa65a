"""The write transaction on a store's database, which small calls of several threads may share.

A commit waits for the disk. While one does, other threads queue for their turn; whoever is at the head of
the queue then begins a transaction, and instead of committing passes it on to the next, until nobody waits.
The last one commits for all, and only then does any of their calls return. Each has a savepoint of its own,
so that one which fails undoes what it did itself.

Source: docs/adr/0019-group-commit.md.
"""

from __future__ import annotations

import contextlib
import copy
import threading
import time
from typing import TYPE_CHECKING

from artifactstore import acknowledged
from artifactstore.errors import ArtifactStoreError, BackendError
from artifactstore.sqlite_errors import Translating

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from artifactstore.connection import Connection
    from artifactstore.turns import WritersTurns

_MOST = 64  # calls that are committed together
_LONGEST = 0.02  # seconds after which a group takes no more, so that other processes get their turn


class Group:
    """Calls whose changes are committed together, on one connection."""

    __slots__ = ("_begun", "_error", "_waiting", "committed", "connection")

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.committed = False
        self._error: ArtifactStoreError | None = None
        self._begun = time.monotonic()
        self._waiting: list[threading.Lock] = []

    @property
    def shared(self) -> bool:
        """Whether other calls wait for its commit."""
        return bool(self._waiting)

    @property
    def takes_more(self) -> bool:
        """Whether another call may come in."""
        return len(self._waiting) < _MOST and time.monotonic() - self._begun < _LONGEST

    def wait(self) -> threading.Lock:
        """A lock that is free once the group has ended."""
        lock = threading.Lock()
        lock.acquire()
        self._waiting.append(lock)
        return lock

    def go(self, lock: threading.Lock) -> None:
        """Wait no more."""
        self._waiting.remove(lock)

    def fail(self, error: ArtifactStoreError | None) -> None:
        """Note why the transaction was undone."""
        self._error = error

    def end(self) -> None:
        """Let go all who wait."""
        for lock in self._waiting:
            lock.release()
        self._waiting = []

    def refusal(self) -> ArtifactStoreError:
        """What a call raises whose changes were undone with those of the others."""
        if self._error is not None:
            return copy.copy(self._error)
        return BackendError("the commit was interrupted: nothing was changed", retryable=True)


class Write:
    """See `Database.write`; not a generator for the same reason as `Turn`.

    Args:
        begin: begins the transaction and gives the connection; it gets the descriptor of the lock file.
    """

    def __init__(
        self,
        path: str,
        turns: WritersTurns,
        begin: Callable[[Translating, int], Connection],
        *,
        shares: bool,
    ) -> None:
        self._translating = Translating(path)
        self._turns = turns
        self._begin = begin
        self._shares = shares
        self._lock_file = -1
        self._group: Group | None = None
        self._has_savepoint = False

    def __enter__(self) -> Connection:
        try:
            with self._translating:
                self._lock_file = self._turns.take(self, shares=self._shares)
                self._group = self._turns.handed(self)
                if self._group is None:
                    self._group = Group(self._begin(self._translating, self._lock_file))
                else:
                    self._translating.connection = self._group.connection
                    self._group.connection.execute("SAVEPOINT one")
                    self._has_savepoint = True
                return self._group.connection
        except BaseException as error:
            try:
                self._undo(error)
            finally:
                self._end()
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                with self._translating:
                    self._keep()
            else:
                self._undo(error)
        finally:
            self._end()
        self._translating.__exit__(kind, error, traceback)

    def _keep(self) -> None:
        """Commit, or let the last of the group do it; return when it is durable."""
        group = self._group
        if group is None:
            return
        if self._has_savepoint:
            group.connection.execute("RELEASE one")
        if self._shares and group.takes_more:
            ended = group.wait()
            if self._turns.hand_over(group):
                ended.acquire()
                if not group.committed:
                    raise group.refusal()
                return
            group.go(ended)
        self._commit(group)

    def _undo(self, error: BaseException) -> None:
        """Take back what this call did; what others did in the same transaction is committed all the same."""
        group = self._group or self._turns.handed(self)
        if group is None or not group.shared:
            return  # all of it is undone at the end
        if not group.connection.in_transaction:
            group.fail(self._translating.told(error))  # it was serious: SQLite has undone all
            return
        # The error to tell is the one at hand; those who wait hear of another.
        with contextlib.suppress(ArtifactStoreError), self._translating:
            if self._has_savepoint:
                group.connection.execute("ROLLBACK TO one")
                group.connection.execute("RELEASE one")
            if not (group.takes_more and self._turns.hand_over(group)):
                self._commit(group)

    def _commit(self, group: Group) -> None:
        connection = group.connection
        try:
            newest = acknowledged.newest(connection)
            connection.execute("COMMIT")
            group.committed = True
        except BaseException as error:
            told = self._translating.told(error)
            group.fail(told)
            # What is no error of SQLite's has come from a signal, after the commit if that has happened.
            group.committed = told is None and not connection.in_transaction
            raise
        acknowledged.note(self._lock_file, newest)

    def _end(self) -> None:
        """Undo what is not committed, and let others write, unless they do already."""
        if not self._turns.is_of(self):
            self._turns.give(self)
            return
        group = self._group or self._turns.handed(self)
        connection = self._translating.connection if group is None else group.connection
        try:
            if connection is not None and connection.in_transaction:
                connection.execute("ROLLBACK")
        finally:
            self._turns.give(self)
            if group is not None:
                group.end()
