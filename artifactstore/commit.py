"""The one transaction of every public call: append the events and project them, both or neither."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from artifactstore import event_log, views

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from artifactstore.connection import Connection
    from artifactstore.database import Database
    from artifactstore.events import Draft, Event
    from artifactstore.moment import Clock, IdSource

_BATCH = 5000  # events in memory at once


@dataclass(frozen=True, slots=True)
class Transaction:
    """An open write transaction; what it records is visible and durable when the block ends.

    Args:
        connection: for queries that must see the state under the lock.
        recorded_at: microseconds; the time of all events of this call.
    """

    connection: Connection
    actor: str
    recorded_at: int
    new_id: IdSource

    def record(self, drafts: Iterable[Draft]) -> Event:
        """Append events and apply them to the views.

        Args:
            drafts: at least one; may be a generator, memory stays bounded.
        Returns:
            The last event appended.
        """
        last = None
        stream = iter(drafts)
        while batch := list(islice(stream, _BATCH)):
            appended = event_log.append(
                self.connection, batch, actor=self.actor, recorded_at=self.recorded_at, new_id=self.new_id
            )
            views.apply(self.connection, appended)
            last = appended[-1]
        if last is None:
            raise ValueError("a call that changes something records at least one event")
        return last


class transaction:  # noqa: N801 - used like the functions of contextlib; not a generator, see `Turn`
    """The write transaction of a public call.

    Args:
        shares: as in `Database.write`.
    Raises:
        BusyError: another writer held the store for longer than the timeout; nothing was changed.
    Crash: before the commit nothing has happened; after it everything has.
    """

    def __init__(
        self, database: Database, *, actor: str, clock: Clock, new_id: IdSource, shares: bool
    ) -> None:
        self._write = database.write(shares=shares)
        self._actor = actor
        self._clock = clock
        self._new_id = new_id

    def __enter__(self) -> Transaction:
        connection = self._write.__enter__()
        try:
            # A clock that was set back must not make the log run backwards.
            recorded_at = max(self._clock(), event_log.newest_moment(connection))
            return Transaction(connection, self._actor, recorded_at, self._new_id)
        except BaseException as error:
            self._write.__exit__(type(error), error, error.__traceback__)
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._write.__exit__(kind, error, traceback)
